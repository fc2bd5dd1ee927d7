from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from local.http1 import Exchange, Server
from local.pace import IMMEDIATE, Pace
from local.script import Cut, Head, Hold, Pause, Performance, Reset, Script, Send, perform

if TYPE_CHECKING:
    from collections.abc import Iterator


def performed(script: Script, leave_after: float | None = None) -> tuple[Performance, bytes]:
    """Perform a script for one caller; return what became of it and what the caller got."""
    performance = Performance()
    done = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await perform(script, exchange, performance)
        done.set()

    async def main() -> bytes:
        async with Server(handler) as server:
            await server.listen()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            got = b""
            try:
                async with asyncio.timeout(leave_after):
                    while piece := await reader.read(100_000):
                        got += piece
            except (TimeoutError, ConnectionResetError):
                pass
            writer.close()
            await asyncio.wait_for(done.wait(), 5)
            return got

    got = asyncio.run(main())
    return performance, got


def test_steps_are_done_in_order_and_end_properly() -> None:
    """A script without an ending of its own ends the answer as HTTP wants it."""
    performance, got = performed([Head(200, (("x", "y"),)), Send(b"one"), Send(b"two")])
    assert got.startswith(b"HTTP/1.1 200 \r\nx: y\r\n")
    assert got.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert performance.ending == "complete"
    assert [sent.size for sent in performance.sent] == [3, 3]


def test_a_script_keeps_its_time() -> None:
    """Pauses count from when the step before was due: slow steps do not add up."""

    def slow() -> Iterator[Send | Pause | Head]:
        yield Head(200)
        for _ in range(10):
            time.sleep(0.01)
            yield Pause(0.02)
            yield Send(b"x")

    performance, _ = performed(slow())
    assert performance.sent[-1].at - performance.sent[0].at == pytest.approx(0.18, abs=0.05)


@pytest.mark.parametrize(("step", "ending"), [(Cut(), "cut"), (Reset(), "reset")])
def test_a_script_may_end_badly(step: Cut | Reset, ending: str) -> None:
    """`Cut` and `Reset` end the connection without the end of the answer; nothing after them is done."""
    performance, got = performed([Head(200), Send(b"half"), Pause(0.05), step, Send(b"never")])
    assert performance.ending == ending
    assert not got.endswith(b"0\r\n\r\n")
    assert b"never" not in got


def test_what_is_sent_may_come_in_pieces() -> None:
    """The pieces of one `Send` are writes of their own, with pauses between them that count as others do."""
    performance, got = performed(
        [Head(200), Send(b"abcde", piece=2, pause=0.05), Pause(0.05), Send(b"f")]
    )
    assert got.endswith(b"2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n1\r\nf\r\n0\r\n\r\n")
    times = [sent.at for sent in performance.sent]
    assert [sent.size for sent in performance.sent] == [2, 2, 1, 1]
    assert times[-1] - times[0] == pytest.approx(0.15, abs=0.05)


@pytest.mark.parametrize(
    ("end", "ending", "sent"),
    [([], "complete", [5]), ([Cut()], "cut", [5]), ([Reset()], "reset", [5])],
)
def test_what_is_sent_may_be_held_back(
    end: list[Cut | Reset], ending: str, sent: list[int]
) -> None:
    """After `Hold` everything is written at once in the end, however the answer ends."""
    performance, _ = performed(
        [Head(200), Hold(), Send(b"abc", piece=1), Pause(0.05), Hold(), Send(b"de"), *end]
    )
    assert (performance.ending, [one.size for one in performance.sent]) == (ending, sent)


def test_nothing_may_be_held_back() -> None:
    """After `Hold` an answer without a body is as it would be without it."""
    performance, got = performed([Head(200), Hold()])
    assert got.endswith(b"\r\n\r\n0\r\n\r\n")
    assert performance.sent == []


def test_a_pause_may_have_no_end() -> None:
    """An infinite pause lasts until the peer leaves."""
    performance, got = performed([Head(200), Pause(float("inf")), Send(b"x")], leave_after=0.2)
    assert performance.ending == "peer left"
    assert got.endswith(b"\r\n\r\n")


def test_a_peer_that_leaves_ends_the_script_at_once() -> None:
    """A pause ends when the peer leaves, so the time at which it left can be told."""
    began = time.monotonic()
    performance, _ = performed([Head(200), Send(b"x"), Pause(30), Send(b"y")], leave_after=0.1)
    assert performance.ending == "peer left"
    assert time.monotonic() - began < 5


def test_a_pace_is_exact() -> None:
    """The first token comes after its own time, each further one in step."""
    pace = Pace(0.5, 10)
    assert [pace.pause_before(n) for n in range(3)] == [0.5, 0.1, 0.1]
    assert pace.seconds(11) == pytest.approx(1.5)
    assert pace.seconds(0) == 0.5
    assert IMMEDIATE.seconds(1_000_000) == 0


@pytest.mark.parametrize(
    ("first", "rate"), [(-1, 50), (0, 0), (0, -5), (float("nan"), 1), (0, float("nan"))]
)
def test_what_is_no_pace_is_refused(first: float, rate: float) -> None:
    """A pace says what was expected and what came."""
    with pytest.raises(ValueError, match=r"expected .* got"):
        Pace(first, rate)

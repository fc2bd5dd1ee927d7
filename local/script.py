"""What a stand-in does to answer: a script, which is a list of timed steps, and its performance.

A script says when the head of the answer is sent, each piece of its body, and how it ends; so every fault there is
can be written as one, or made from an honest one by a function from steps to steps::

    [Pause(0.6), Head(200, headers), Send(frame), Pause(0.02), Send(frame)]    ends properly
    [Head(200, headers), Send(frame), Send(frame[:7]), Cut()]                  ends within a frame

Pauses count from when the step before was due, not from when it was done: a script keeps its time, however long.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from local.connection import PeerLeft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from local.http1 import Exchange

Ending: TypeAlias = Literal["complete", "cut", "reset", "peer left"]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Head:
    """The status and headers of the answer; its body is chunked unless they say a content-length."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Some bytes of the body, as a rule one frame.

    Attributes:
        data: the bytes.
        piece: how many of them are written at once; 0 for all.
        pause: the seconds between two pieces.
    """

    data: bytes
    piece: int = 0
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Hold:
    """What is sent from now on is held back until the end, and then written at once."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed without the end of the answer."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset, as by a crash; what was sent last may be lost."""


_PlainStep: TypeAlias = Pause | Head | Send | Cut | Reset
Step: TypeAlias = _PlainStep | Hold
Script: TypeAlias = "Iterable[Step]"


@dataclass(frozen=True, slots=True)
class Sent:
    """Some bytes of the body, written at once.

    Attributes:
        at: when, in seconds of `time.monotonic`.
        size: how many bytes.
    """

    at: float
    size: int


@dataclass(slots=True)
class Performance:
    """What became of a script.

    Attributes:
        sent: what was written so far; mostly one a `Send`.
        ending: how it ended; ``None`` while it goes on.
    """

    sent: list[Sent] = field(default_factory=list)
    ending: Ending | None = None


async def perform(script: Script, exchange: Exchange, performance: Performance) -> None:
    """Perform the steps until the last one, or until the peer leaves."""
    due = time.monotonic()
    try:
        for step in _write_by_write(script):
            match step:
                case Pause(seconds):
                    due += seconds
                    await _wait_until(due, exchange)
                case Head(status, headers):
                    await exchange.start(status, headers)
                case Send(data):
                    performance.sent.append(Sent(time.monotonic(), len(data)))
                    await exchange.write(data)
                case Cut():
                    exchange.cut()
                    performance.ending = "cut"
                    return
                case Reset():
                    exchange.reset()
                    performance.ending = "reset"
                    return
        performance.ending = "complete"
        await exchange.finish()
    except PeerLeft:
        performance.ending = "peer left"


def _write_by_write(script: Script) -> Iterator[_PlainStep]:
    """Yield the steps so that each `Send` is one write."""
    held: bytearray | None = None
    for step in script:
        match step:
            case Hold():
                held = held or bytearray()
            case Send(data) if held is not None:
                held += data
            case Send(data, piece, pause) if piece:
                for at in range(0, len(data), piece):
                    if at:
                        yield Pause(pause)
                    yield Send(data[at : at + piece])
            case Cut() | Reset() if held:
                yield Send(bytes(held))
                yield step
            case _:
                yield step
    if held:
        yield Send(bytes(held))


async def _wait_until(due: float, exchange: Exchange) -> None:
    delay = due - time.monotonic()
    if delay > 0:
        await asyncio.wait([exchange.left], timeout=delay)
    if exchange.left.done():
        raise PeerLeft

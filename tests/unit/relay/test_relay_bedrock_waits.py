from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from botocore import exceptions as boto  # noqa: TID251  # what a call raises is boto3's

from relay.errors import RelayError
from relay.watchdog import Heartbeat, Watchdog
from tests.frames import LAST_CHUNK, MESSAGE_START
from tests.unit.relay.fake_boto import (
    INTERRUPTED,
    SECRET,
    EventStream,
    Noting,
    Raw,
    a_call,
    answers,
    read,
)

if TYPE_CHECKING:
    from relay.bedrock import Bedrock

# What the watchdog is told while two frames are read to their end.
TOLD = ["ask", "rest", "listen", "wait", "hear", "wait", "hear", "wait", "rest"]


def test_the_watchdog_knows_what_is_waited_for(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call, then each frame; while a frame is with its reader, nothing is."""
    watchdog = Noting()
    answers(bedrock, monkeypatch, {"stream": EventStream(Raw(MESSAGE_START, LAST_CHUNK))})
    with bedrock.stream(a_call(), watchdog) as answer:
        assert watchdog.noted == TOLD[:2]
        assert (next(answer.frames).data, watchdog.noted) == (MESSAGE_START, TOLD[:5])
        assert (next(answer.frames).data, watchdog.noted) == (LAST_CHUNK, TOLD[:7])
        assert (list(answer.frames), watchdog.noted) == ([], TOLD)


@pytest.mark.parametrize("at", range(1, len(TOLD) + 1))
def test_an_interrupt_becomes_its_error_wherever_it_comes(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Up to the end of each wait: no interrupt gets out or is left to come, and a stream that has begun is closed."""
    stream = EventStream(Raw(MESSAGE_START, LAST_CHUNK))
    answers(bedrock, monkeypatch, {"stream": stream})
    watchdog = Noting(interrupt_at=at)
    with pytest.raises(RelayError) as caught:
        read(bedrock, watchdog=watchdog)
    assert caught.value is INTERRUPTED
    assert stream.closed == (at > 2)
    assert watchdog.noted[at:][-1:] == ["rest"]


@pytest.mark.parametrize("at", range(1, len(TOLD) + 1))
def test_boto3_is_made_anew_after_an_interrupted_call(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Once, and when it is needed; what was interrupted in reading a stream leaves nothing behind."""
    made: list[object] = []

    def new_client() -> object:
        made.append(bedrock._client)
        return bedrock._client

    monkeypatch.setattr(bedrock, "_new_client", new_client)
    answers(bedrock, monkeypatch, {"stream": EventStream(Raw(MESSAGE_START, LAST_CHUNK))})
    with pytest.raises(RelayError):
        read(bedrock, watchdog=Noting(interrupt_at=at))
    assert made == [], "whoever waits for the error does not wait for this"
    for _ in range(2):
        answers(bedrock, monkeypatch, {"stream": EventStream(Raw(MESSAGE_START))})
        assert [frame.data for frame in read(bedrock)] == [MESSAGE_START]
    assert len(made) == (at <= 2)


@pytest.mark.parametrize("end", [boto.ReadTimeoutError(endpoint_url=SECRET), None], ids=type)
def test_what_a_failed_call_raised_is_told_after_the_wait(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, end: Exception | None
) -> None:
    """While an error is put into our words nothing is waited for, and so nothing interrupts."""
    watchdog = Noting()
    if end is not None:
        answers(bedrock, monkeypatch, end)
    else:
        answers(bedrock, monkeypatch, {"stream": EventStream(Raw(b"damage" * 9))})
    with pytest.raises(RelayError):
        read(bedrock, watchdog=watchdog)
    assert watchdog.noted == (["ask", "rest"] if end else ["ask", "rest", "listen", "wait", "rest"])


def _sleep() -> None:
    time.sleep(20)


def test_a_call_that_takes_too_long_is_left(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline wakes the very call, and the next one is made by a client of the same settings."""
    spoiled, config = bedrock._client, bedrock._client.meta.config
    answers(bedrock, monkeypatch, _sleep)
    began = time.monotonic()
    watchdog = Watchdog(deadline=began + 0.1, read_timeout=math.inf)
    with pytest.raises(RelayError) as caught, watchdog.on_duty():
        read(bedrock, watchdog=watchdog)
    assert caught.value.code == "timeout"
    assert time.monotonic() - began >= 0.1
    no_call = replace(a_call(), parameters={})
    with pytest.raises(RelayError, match="fit"), bedrock.stream(no_call, Noting()):
        pytest.fail("a real client looks at the parameters first")
    assert bedrock._client is not spoiled
    assert bedrock._client.meta.config.retries == config.retries
    assert bedrock._client.meta.config.read_timeout == config.read_timeout


def test_a_stream_that_stalls_is_left(bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames that came, heartbeats for a while, then the end, and the connection closed."""
    stream = EventStream(Raw(MESSAGE_START, _sleep))
    answers(bedrock, monkeypatch, {"stream": stream})
    beats: list[float] = []
    heartbeat = Heartbeat(lambda: beats.append(time.monotonic()), 60.0, 0.05)
    watchdog = Watchdog(deadline=math.inf, read_timeout=0.3, heartbeat=heartbeat)
    with watchdog.on_duty(), bedrock.stream(a_call(), watchdog) as answer:
        began = time.monotonic()
        assert next(answer.frames).data == MESSAGE_START
        with pytest.raises(RelayError) as caught:
            next(answer.frames)
        seconds = time.monotonic() - began
    assert caught.value.code == "read_timeout"
    assert seconds >= 0.3
    assert 1 <= len(beats) <= seconds / 0.05
    assert stream.closed == 1


class CallerGone(Exception):
    """What a heartbeat finds out."""


@pytest.mark.parametrize("waits_for", ["the call", "a frame"])
def test_what_a_heartbeat_finds_out_gets_through(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, waits_for: str
) -> None:
    """It is raised as it is, past everything that would translate it."""

    def send() -> None:
        raise CallerGone

    answers(
        bedrock,
        monkeypatch,
        _sleep if waits_for == "the call" else {"stream": EventStream(Raw(_sleep))},
    )
    watchdog = Watchdog(
        deadline=math.inf, read_timeout=math.inf, heartbeat=Heartbeat(send, 0.05, 0.05)
    )
    with pytest.raises(CallerGone), watchdog.on_duty():
        read(bedrock, watchdog=watchdog)

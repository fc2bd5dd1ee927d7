"""Bedrock speaks TLS, whose library waits in its own way: silences are broken and stalls ended all the same."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from tests.caller import ask
from tests.frames import MESSAGE_START, MESSAGE_STOP, METADATA, delta, end_block
from tests.upstream import CHUNKED_HEAD, END, Upstream, http_chunk

if TYPE_CHECKING:
    import socket  # noqa: TID251  # only its name
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.caller import Answer

BEGIN = CHUNKED_HEAD + http_chunk(MESSAGE_START) + http_chunk(delta(text="a"))
FRAME = http_chunk(delta(text="b"))
REST = b"".join(map(http_chunk, (end_block(), MESSAGE_STOP, METADATA))) + END
SETTINGS = {
    "RIVULET_COMMIT_AFTER": "0.5",
    "RIVULET_HEARTBEAT_INTERVAL": "0.3",
    "RIVULET_READ_TIMEOUT": "1.5",
    "RIVULET_MAX_ATTEMPTS": "1",
}


class Stage:
    """A function, and an upstream that says some bytes, is silent for a while, and says the rest."""

    def __init__(self, upstream: Upstream, function: LocalFunction) -> None:
        self._upstream = upstream
        self._function = function

    def ask(self, before: bytes, silence: float, after: bytes) -> tuple[Answer, float]:
        """Return the answer, and how many seconds it took."""
        done = threading.Event()

        def answer(connection: socket.socket) -> bool:
            connection.sendall(before)
            done.wait(silence)
            connection.sendall(after)
            return True

        return self.ask_for(answer, done)

    def ask_paused(self, before: bytes, meanwhile: bytes, after: bytes) -> tuple[Answer, float]:
        """Return the answer, during which the function does not run for longer than a silence may be."""
        (pid,) = self._function.pids

        def answer(connection: socket.socket) -> bool:
            connection.sendall(before)
            time.sleep(0.5)
            os.kill(pid, signal.SIGSTOP)
            connection.sendall(meanwhile)
            time.sleep(2)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.7)
            connection.sendall(after)
            return True

        return self.ask_for(answer, threading.Event())

    def ask_for(
        self, answer: Callable[[socket.socket], bool], done: threading.Event
    ) -> tuple[Answer, float]:
        """Return what the upstream's answer becomes, and how many seconds that took."""
        self._upstream.answer = answer
        began = time.monotonic()
        try:
            answered = ask(self._function.url)
        finally:
            done.set()
        return answered, time.monotonic() - began


@pytest.fixture(scope="module")
def stage(tmp_path_factory: Any) -> Iterator[Stage]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle: Path = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    with Upstream(tls=context) as upstream:
        environment = {
            **SETTINGS,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": upstream.url,
            "AWS_CA_BUNDLE": str(bundle),
        }
        with LocalFunction(
            FunctionConfiguration(concurrency=1), environment=environment
        ) as function:
            yield Stage(upstream, function)


@pytest.mark.xdist_group("relay tls")
@pytest.mark.parametrize(
    ("before", "after", "beats"),
    [
        (b"", BEGIN + FRAME + REST, 2),
        (BEGIN, FRAME + REST, 3),
        (BEGIN + FRAME[:30], FRAME[30:] + REST, 3),
    ],
    ids=["before the head", "between frames", "within a frame"],
)
def test_a_silence_is_broken(stage: Stage, before: bytes, after: bytes, beats: int) -> None:
    """Heartbeats come while the TLS library waits, wherever that is, and the answer is whole after them."""
    answered, _ = stage.ask(before, 1.05, after)
    assert answered.status == 200
    # The machine has other things to do: the next piece may be late, and so there may be one more.
    assert answered.body.count(b": ping\n\n") in {beats, beats + 1}
    assert answered.types == ["start", "text", "text", "block_end", "done"]


@pytest.mark.xdist_group("relay tls")
def test_a_stall_is_ended(stage: Stage) -> None:
    """A silence that is too long is a typed end in time; the connection is given up, and the next one works."""
    answered, seconds = stage.ask(BEGIN + FRAME[:30], 20, b"")
    assert answered.types == ["start", "text", "block_end", "error"]
    assert answered.objects[-1]["code"] == "read_timeout"
    assert 1.5 <= seconds < 3
    answered, _ = stage.ask(BEGIN + FRAME + REST, 0, b"")
    assert answered.types[-1] == "done"


@pytest.mark.xdist_group("relay tls")
def test_a_pause_of_the_process_ends_no_stream(stage: Stage) -> None:
    """What Bedrock sent while the function did not run is read, however long that was."""
    answered, seconds = stage.ask_paused(BEGIN, FRAME, REST)
    assert answered.types == ["start", "text", "text", "block_end", "done"]
    assert seconds > 1.5 + 0.5

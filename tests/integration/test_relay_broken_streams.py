"""An upstream that breaks at every byte, in every way: the real process, its real sockets, one invocation a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from relay.eventstream import read_frames
from tests.caller import ask
from tests.frames import (
    LAST_CHUNK,
    MESSAGE_START,
    MESSAGE_STOP,
    METADATA,
    chunk,
    delta,
    end_block,
)
from tests.upstream import (
    CHUNKED_HEAD,
    CLOSE_DELIMITED_HEAD,
    END,
    Upstream,
    fin,
    http_chunk,
    rst,
)

if TYPE_CHECKING:
    import socket  # noqa: TID251  # only its name
    from collections.abc import Callable, Iterator

    from tests.caller import Answer

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
INVOKE_PATH = f"/model/{MODEL}/invoke-with-response-stream"
CONVERSE_FRAMES = (MESSAGE_START, delta(text="Grüße"), end_block(), MESSAGE_STOP, METADATA)
INVOKE_FRAMES = (chunk({"text": "Grüße"}), LAST_CHUNK)
BASE = {"RIVULET_MAX_ATTEMPTS": "1", "RIVULET_READ_TIMEOUT": "5"}


def _chunked(frames: tuple[bytes, ...]) -> bytes:
    return CHUNKED_HEAD + b"".join(map(http_chunk, frames)) + END


def _close_delimited(frames: tuple[bytes, ...]) -> bytes:
    return CLOSE_DELIMITED_HEAD + b"".join(frames)


class Stage:
    """One function process, and the upstream behind it."""

    def __init__(self, upstream: Upstream, function: LocalFunction) -> None:
        self.upstream = upstream
        self.function = function
        self.pids = list(function.pids)

    def ask(
        self,
        wire: bytes,
        ending: Callable[[socket.socket], bool],
        path: str = "/stream",
        accept: str = "text/event-stream",
    ) -> Answer:
        def answer(connection: socket.socket) -> bool:
            connection.sendall(wire)
            return ending(connection)

        self.upstream.answer = answer
        return ask(self.function.url, path, accept=accept)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Upstream() as upstream:
        environment = {**BASE, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": upstream.url}
        configuration = FunctionConfiguration(concurrency=1, timeout=30)
        with LocalFunction(configuration, environment=environment) as function:
            yield Stage(upstream, function)


def _check(answer: Answer, complete: int, frames: tuple[bytes, ...]) -> str:
    """Check that an answer has exactly one end, the honest one; return its kind."""
    if answer.status != 200:
        assert answer.headers["content-type"] == "application/json"
        assert 500 <= answer.status < 600
        assert answer.objects[0].keys() == {"error"}
        assert answer.objects[0]["error"]["code"] != "internal", answer
        return "status"
    types = answer.types
    assert types[0] == "start"
    assert sum(t in {"done", "error"} for t in types) == 1, types
    if types[-1] == "done":
        assert complete == len(frames), "a made-up end"
        assert answer.whole
    else:
        assert types[-1] == "error"
        assert answer.objects[-1]["code"] in {"truncated", "corrupt", "connection_lost"}
        assert answer.objects[-1]["retryable"] is True
    return types[-1]


def _complete(wire_so_far: bytes, frames: tuple[bytes, ...]) -> int:
    """Return how many frames have come whole."""
    at = count = 0
    for frame in frames:
        at = wire_so_far.find(frame, at)
        if at < 0:
            break
        at += len(frame)
        count += 1
    return count


ENDINGS = {"fin": fin, "rst": rst}
BROKEN = {(502, "connect_failed"), (502, "connection_lost")}
WIRES = {"chunked": _chunked, "close-delimited": _close_delimited}


@pytest.mark.xdist_group("broken streams")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("wire", "accept", "every"),
    [
        ("chunked", "text/event-stream", 1),
        ("chunked", "application/x-ndjson", 11),
        ("close-delimited", "application/x-ndjson", 3),
    ],
)
def test_a_stream_cut_at_any_byte_has_one_honest_end(
    stage: Stage, wire: str, ending: str, accept: str, every: int
) -> None:
    """Cut after each byte: an error status or one error event, ``done`` only if all was there; the loop goes on."""
    data = WIRES[wire](CONVERSE_FRAMES)
    seen = set()
    for cut in range(0, len(data) + 1, every):
        answer = stage.ask(data[:cut], ENDINGS[ending], accept=accept)
        seen.add(_check(answer, _complete(data[:cut], CONVERSE_FRAMES), CONVERSE_FRAMES))
    assert seen >= {"status", "error"}
    assert stage.ask(_chunked(CONVERSE_FRAMES), lambda _: True).types[-1] == "done"
    assert stage.function.pids == stage.pids, "the same process served all"
    stage.upstream.wait_for_open_connections(1)


@pytest.mark.xdist_group("broken streams")
def test_a_byte_spoiled_anywhere_has_one_honest_end(stage: Stage) -> None:
    """Each byte changed in turn, framing of HTTP included: never a crash, a hang, a wrong word or a second end."""
    data = _chunked(CONVERSE_FRAMES)
    texts = {"Grüße"}
    for at in range(len(data)):
        spoiled = data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :]
        answer = stage.ask(spoiled, fin)
        if answer.status == 200:
            types = answer.types
            assert sum(t in {"done", "error"} for t in types) == 1, (at, types)
            assert types[-1] in {"done", "error"}
            assert {o["text"] for o in answer.objects if o["type"] == "text"} <= texts, at
            if types[-1] == "done":
                assert types == ["start", "text", "block_end", "done"], at
            else:
                assert answer.objects[-1]["code"] != "internal", at
        else:
            assert answer.objects[0]["error"]["code"] != "internal", (at, answer)
    assert stage.ask(_chunked(CONVERSE_FRAMES), lambda _: True).types[-1] == "done"
    assert stage.function.pids == stage.pids
    stage.upstream.wait_for_open_connections(1)


@pytest.mark.xdist_group("broken streams")
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_event_stream_cut_at_any_byte_ends_with_a_whole_exception(
    stage: Stage, ending: str
) -> None:
    """The AWS event stream: whole frames as Bedrock sent them, then one exception frame, or nothing where all came."""
    data = _chunked(INVOKE_FRAMES)
    for cut in range(len(data) + 1):
        answer = stage.ask(data[:cut], ENDINGS[ending], INVOKE_PATH, "*/*")
        if answer.status != 200:
            assert answer.objects[0]["error"]["code"] != "internal", answer
            continue
        frames = list(read_frames([answer.body]))
        complete = _complete(data[:cut], INVOKE_FRAMES)
        came = [f.data for f in frames if f.headers[":message-type"] == "event"]
        # A reset may take away what was sent before it.
        assert came == list(INVOKE_FRAMES[: len(came)])
        assert ending == "rst" or len(came) == complete
        exceptions = [f.headers.get(":exception-type") for f in frames[len(came) :]]
        whole = len(came) == len(INVOKE_FRAMES)
        assert exceptions == ([] if whole else ["modelStreamErrorException"]), cut
    assert stage.ask(_chunked(INVOKE_FRAMES), lambda _: True, INVOKE_PATH, "*/*").whole
    assert stage.function.pids == stage.pids
    stage.upstream.wait_for_open_connections(1)


@pytest.mark.xdist_group("broken streams")
@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_an_event_stream_spoiled_anywhere_gives_no_wrong_frame(stage: Stage, accept: str) -> None:
    """Whatever byte is changed, a frame that goes out is one that Bedrock sent."""
    data = _chunked(INVOKE_FRAMES)
    for at in range(len(CHUNKED_HEAD), len(data), 1 if accept == "*/*" else 5):
        spoiled = data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :]
        answer = stage.ask(spoiled, fin, INVOKE_PATH, accept)
        if answer.status != 200:
            assert answer.objects[0]["error"]["code"] != "internal", (at, answer)
        elif accept == "*/*":
            frames = list(read_frames([answer.body]))
            came = [f.data for f in frames if f.headers[":message-type"] == "event"]
            assert came == list(INVOKE_FRAMES[: len(came)]), at
            assert len(frames) - len(came) == int(len(came) < len(INVOKE_FRAMES)), at
        else:
            assert sum(t in {"done", "error"} for t in answer.types) == 1, at


def _refusals() -> dict[str, bytes]:
    body = b'{"message":"Slow down, 123456789012."}'
    head = b"HTTP/1.1 429 Too Many\r\nx-amzn-ErrorType: ThrottlingException\r\n"
    return {
        "length": head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        "chunked": head + b"Transfer-Encoding: chunked\r\n\r\n" + http_chunk(body) + END,
    }


@pytest.mark.xdist_group("broken streams")
@pytest.mark.parametrize("framing", _refusals())
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_refusal_cut_at_any_byte_is_a_refusal(stage: Stage, framing: str, ending: str) -> None:
    """Even an error may break on its way: the caller gets an error status, 429 if it was understood."""
    data = _refusals()[framing]
    seen: set[Any] = set()
    for cut in range(len(data) + 1):
        answer = stage.ask(data[:cut], ENDINGS[ending])
        code = answer.objects[0]["error"]["code"]
        # Cut within its headers, the name of the error may be missing, or half of one.
        assert answer.status == 429 or (answer.status, code) in BROKEN, (cut, answer)
        assert code != "internal"
        assert "123456789012" not in answer.body.decode()
        seen.add(code)
    assert "throttling" in seen

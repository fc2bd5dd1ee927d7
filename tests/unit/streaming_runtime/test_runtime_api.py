from __future__ import annotations

import base64
import json
import socket  # noqa: TID251  # a reader who takes nothing
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from streaming_runtime import ResponseClosed, runtime_api
from streaming_runtime.exchange import NO_ANSWER
from streaming_runtime.runtime_api import RuntimeApi, StreamedBody
from tests.unit.streaming_runtime.scripted_api import PATIENCE, ScriptedRuntimeApi

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADERS = {"Lambda-Runtime-Invocation-Id": "7"}
INTEGRATION = "application/vnd.awslambda.http-integration-response"


@pytest.fixture(params=["", "/.rt/function"], ids=["plain address", "address with a path"])
def scripted(request: pytest.FixtureRequest) -> Iterator[ScriptedRuntimeApi]:
    with ScriptedRuntimeApi(request.param) as scripted:
        yield scripted


@pytest.fixture
def body(scripted: ScriptedRuntimeApi) -> StreamedBody:
    return _open(scripted)


def _open(scripted: ScriptedRuntimeApi, *, over_http: bool = True) -> StreamedBody:
    api = RuntimeApi(scripted.address, "test/1")
    return api.open_response("id-1", HEADERS, over_http=over_http)


def _path(scripted: ScriptedRuntimeApi, call: str) -> str:
    return f"/{scripted.address.partition('/')[2]}/2018-06-01{call}".replace("//", "/")


def test_request(scripted: ScriptedRuntimeApi) -> None:
    """A call goes to the API's path with its headers and body, on a connection of its own."""
    api = RuntimeApi(scripted.address, "test/1")
    answer = api.request("POST", "/runtime/init/error", b'{"a":1}', {"X-Y": "z"})
    assert answer.status == 202
    call = scripted.call()
    assert (call.method, call.path) == ("POST", _path(scripted, "/runtime/init/error"))
    assert call.body == b'{"a":1}'
    assert call.headers == {
        "host": scripted.address.partition("/")[0],
        "user-agent": "test/1",
        "connection": "close",
        "x-y": "z",
        "content-length": "7",
    }


def test_request_without_a_body(scripted: ScriptedRuntimeApi) -> None:
    """A GET says nothing of a body; an empty POST says that it is empty."""
    api = RuntimeApi(scripted.address, "test/1")
    api.request("GET", "/runtime/restore/next")
    assert "content-length" not in scripted.call().headers
    api.request("POST", "/runtime/x/response", b"")
    assert scripted.call().headers["content-length"] == "0"


def test_the_next_invocation(scripted: ScriptedRuntimeApi) -> None:
    """The next invocation is waited for, and comes with its headers and body."""
    api = RuntimeApi(scripted.address, "test/1")
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(api.request, "GET", "/runtime/invocation/next")
        assert scripted.asked.acquire(timeout=10)
        time.sleep(0.05)
        assert not waiting.done()
        scripted.invoke({"x": "y" * 100_000}, "id-2")
        status, headers, body = waiting.result(10)
    assert (status, headers["lambda-runtime-aws-request-id"]) == (200, "id-2")
    assert len(body) == 100_000 + len('{"x": ""}')


def test_text_in_headers_is_utf8(scripted: ScriptedRuntimeApi) -> None:
    """Any text fits in a header, as awslambdaric sends it; what would be another header does not."""
    api = RuntimeApi(scripted.address, "test/1")
    api.request("POST", "/x/error", b"", {"X-Type": "Ошибка\r\nX-Evil: 1"})
    headers = scripted.call().headers
    assert headers["x-type"] == "Ошибка  X-Evil: 1"
    assert "x-evil" not in headers


def test_a_dead_api() -> None:
    """Nobody there is an OSError; so it is for a response, which says that it is closed."""
    with ScriptedRuntimeApi() as scripted:
        pass
    api = RuntimeApi(scripted.address, "test/1")
    with pytest.raises(OSError, match="refused"):
        api.request("GET", "/runtime/invocation/next")
    body = api.open_response("id-1", {}, over_http=True)
    with pytest.raises(ResponseClosed, match="the connection broke") as closed:
        body.start(200, {}, [])
    assert closed.value.status is None
    assert not body.started, "nothing was sent, so the error can still be posted"
    assert body.finish() is None


def test_an_api_that_hangs_up(scripted: ScriptedRuntimeApi) -> None:
    """A call whose answer never comes is an error, not a hang."""
    api = RuntimeApi(scripted.address, "test/1")
    scripted.hang_up_next()
    with pytest.raises(NO_ANSWER):
        api.request("GET", "/runtime/invocation/next")


def test_a_refused_body(scripted: ScriptedRuntimeApi) -> None:
    """A body that is refused while it is sent has the refusal for an answer."""
    scripted.refuse_early("response", 413)
    api = RuntimeApi(scripted.address, "test/1")
    assert api.request("POST", "/runtime/x/response", bytes(32 * 1024 * 1024)).status == 413


def test_a_streamed_response(scripted: ScriptedRuntimeApi, body: StreamedBody) -> None:
    """Prelude in one chunk, eight NULs in the next, then one chunk a piece; no error in the trailers."""
    body.start(201, {"content-type": "text/plain"}, ["a=b"])
    for piece in (b"one", b"two", b"x"):
        body.send(piece)
    assert body.finish() == 202
    call = scripted.call()
    assert call.path == _path(scripted, "/runtime/invocation/id-1/response")
    assert call.prelude == {
        "statusCode": 201,
        "headers": {"content-type": "text/plain"},
        "cookies": ["a=b"],
    }
    assert call.payload == (b"one", b"two", b"x")
    assert call.trailers == {}
    assert call.headers == {
        "host": scripted.address.partition("/")[0],
        "user-agent": "test/1",
        "lambda-runtime-invocation-id": "7",
        "content-type": INTEGRATION,
        "lambda-runtime-function-response-mode": "streaming",
        "transfer-encoding": "chunked",
        "trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        "connection": "close",
    }


def test_an_empty_response(scripted: ScriptedRuntimeApi, body: StreamedBody) -> None:
    """An empty response is its prelude and nothing else (fact 33)."""
    body.start(204, {}, [])
    body.finish()
    call = scripted.call()
    assert call.prelude["statusCode"] == 204
    assert call.payload == ()


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ({}, "application/octet-stream"),
        ({"Content-Type": "text/event-stream"}, "text/event-stream"),
        ({"content-type": "a/b", "x": "y"}, "a/b"),
    ],
)
def test_a_direct_invocation(
    headers: dict[str, str], content_type: str, scripted: ScriptedRuntimeApi
) -> None:
    """Not over HTTP, the payload has no prelude (fact 39) and keeps the handler's content type."""
    body = _open(scripted, over_http=False)
    body.start(201, headers, ["a=b"])
    body.send(b"piece")
    body.finish()
    call = scripted.call()
    assert call.chunks == (b"piece",)
    assert call.headers["content-type"] == content_type
    assert call.headers["lambda-runtime-function-response-mode"] == "streaming"


def test_an_empty_direct_invocation(scripted: ScriptedRuntimeApi) -> None:
    """An empty direct answer is an empty body."""
    body = _open(scripted, over_http=False)
    body.start(200, {}, [])
    assert body.finish() == 202
    assert scripted.call().chunks == ()


@pytest.mark.parametrize("size", [1, 9, 16, 65535, 65536, 65537, 1024 * 1024, 5_000_001])
def test_a_piece_of_any_size_is_one_chunk(
    size: int, scripted: ScriptedRuntimeApi, body: StreamedBody
) -> None:
    """However large, a piece is one chunk."""
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    body.start(200, {}, [])
    body.send(data)
    body.send(b"after")
    body.finish()
    assert scripted.call().payload == (data, b"after")


@pytest.mark.parametrize("message", ["", "x", "é€", 'a"b\r\nc: d', "x" * 2_000])
def test_error_trailers(message: str, scripted: ScriptedRuntimeApi, body: StreamedBody) -> None:
    """A failure is told in the trailers: its type, and the error as JSON in base64 (fact 31)."""
    body.start(200, {}, [])
    body.send(b"part")
    body.fail("Bedrock.throttlingException", message)
    body.finish()
    call = scripted.call()
    assert call.payload == (b"part",)
    assert set(call.trailers) == {
        "lambda-runtime-function-error-type",
        "lambda-runtime-function-error-body",
    }
    assert call.trailers["lambda-runtime-function-error-type"] == "Bedrock.throttlingException"
    assert _error(call.trailers) == {
        "errorType": "Bedrock.throttlingException",
        "errorMessage": message,
    }


@pytest.mark.parametrize(
    ("error_type", "sent"), [("A\r\nX-Evil: 1\r\n\r\n", "A  X-Evil: 1"), ("Ошибка", "Ошибка")]
)
def test_an_odd_error_type(
    error_type: str, sent: str, scripted: ScriptedRuntimeApi, body: StreamedBody
) -> None:
    """No error's name can forge a trailer, nor fail to be sent: Python's names need not be ASCII."""
    body.start(200, {}, [])
    body.fail(error_type, "")
    assert body.finish() == 202
    trailers = scripted.call().trailers
    assert trailers["lambda-runtime-function-error-type"] == sent
    assert len(trailers) == 2


def test_the_last_failure_counts(scripted: ScriptedRuntimeApi, body: StreamedBody) -> None:
    """A failure noted before the first byte is kept until the end, and a later one takes its place."""
    body.fail("First", "1")
    body.start(200, {}, [])
    body.fail_with({"errorType": "Second", "errorMessage": "2"})
    body.finish()
    assert _error(scripted.call().trailers) == {"errorType": "Second", "errorMessage": "2"}


@pytest.mark.parametrize("calls", [0, 1, 20, 1000])
@pytest.mark.parametrize("message", ["short", "x" * 100_000, "€" * 100_000])
@pytest.mark.parametrize("error_type", ["LookupError", "Ö" * 5_000])
def test_a_long_error(
    error_type: str, message: str, calls: int, scripted: ScriptedRuntimeApi, body: StreamedBody
) -> None:
    """AWS's server takes 4 KB of trailers: the innermost calls are kept, then the message's beginning."""
    trace = [f'  File "/var/task/app.py", line {n}, in call\n    call()\n' for n in range(calls)]
    error = {"errorType": error_type, "errorMessage": message, "requestId": "id", "stackTrace": trace}  # fmt: skip
    body.start(200, {}, [])
    body.fail_with(error)
    body.finish()
    trailers = scripted.call().trailers
    assert sum(len(f"{name}: {value}\r\n".encode()) for name, value in trailers.items()) < 4_000
    told = _error(trailers)
    assert error_type.startswith(told["errorType"])
    assert told["errorType"] == trailers["lambda-runtime-function-error-type"]
    assert message.startswith(told["errorMessage"])
    assert told["errorMessage"]
    assert told["stackTrace"] == trace[len(trace) - len(told["stackTrace"]) :]
    if message == "short" and error_type == "LookupError":
        assert (told["errorMessage"], bool(told["stackTrace"])) == (message, bool(calls))


@pytest.mark.parametrize("status", [400, 413, 500])
def test_an_early_refusal(status: int, scripted: ScriptedRuntimeApi, body: StreamedBody) -> None:
    """A refusal before the end is told to the handler, again and again, and is the answer at the end."""
    scripted.refuse_early("response", status)
    body.start(200, {}, [])
    for _ in range(2):
        with pytest.raises(ResponseClosed, match=f"Lambda answered {status}") as closed:
            _send_until_closed(body)
        assert closed.value.status == status
    assert body.finish() == status


def test_an_early_success(scripted: ScriptedRuntimeApi, body: StreamedBody) -> None:
    """An early success does not stop the stream: everything arrives, and success is the answer."""
    scripted.refuse_early("response", 200)
    body.start(200, {}, [])
    for _ in range(20):
        body.send(b"piece")
        time.sleep(0.005)
    assert body.finish() == 200
    assert scripted.call().payload == (b"piece",) * 20


def test_a_caller_that_leaves_after_an_early_success(
    scripted: ScriptedRuntimeApi, body: StreamedBody
) -> None:
    """An emulator that answered 200 and then drops the connection has not refused: it broke."""
    scripted.refuse_early("response", 200, then_close=True)
    body.start(200, {}, [])
    with pytest.raises(ResponseClosed, match="the connection broke") as closed:
        _send_until_closed(body)
    assert closed.value.status is None


def test_a_broken_connection(scripted: ScriptedRuntimeApi, body: StreamedBody) -> None:
    """A connection that breaks without an answer is told too, and the end says that none came."""
    scripted.refuse_early("response", None, then_close=True)
    body.start(200, {}, [])
    with pytest.raises(ResponseClosed, match="the connection broke") as closed:
        _send_until_closed(body)
    assert closed.value.status is None
    assert body.finish() is None


@pytest.fixture
def nobody_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an API that accepts a connection, and takes nothing from it; there is patience for its answer."""
    monkeypatch.setattr(runtime_api, "PATIENCE", 10 * PATIENCE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_reader_who_takes_nothing(nobody_reads: str) -> None:
    """At its deadline a blocked write says that the response is closed, and so do all others, at once."""
    deadline = time.monotonic() + 0.3
    api = RuntimeApi(nobody_reads, "test/1")
    body = api.open_response("id-1", {}, over_http=True, deadline=deadline)
    body.start(200, {}, [])
    with pytest.raises(ResponseClosed, match="the connection broke") as closed:
        body.send(bytes(64 * 1024 * 1024))
    assert closed.value.status is None
    assert deadline <= time.monotonic() < deadline + PATIENCE
    with pytest.raises(ResponseClosed):
        body.send(b"more")
    assert body.finish() is None


def test_an_end_that_nobody_takes(nobody_reads: str) -> None:
    """The end is not waited for beyond the deadline either: there is an invocation after this one."""
    deadline = time.monotonic() + 0.3
    api = RuntimeApi(nobody_reads, "test/1")
    body = api.open_response("id-1", {}, over_http=True, deadline=deadline)
    body.start(200, {}, [])
    assert body._exchange is not None
    with suppress(BlockingIOError):  # full to the brim
        while True:
            body._exchange._socket.send(bytes(64 * 1024), socket.MSG_DONTWAIT)
    assert body.finish() is None
    assert deadline <= time.monotonic() < deadline + PATIENCE


def test_a_refusal_at_the_end(scripted: ScriptedRuntimeApi, body: StreamedBody) -> None:
    """Where the caller left, AWS lets every write succeed and answers 400 at the end: no exception, but the status."""
    scripted.refuse("response", 400)
    body.start(200, {}, [])
    body.send(b"piece")
    assert body.finish() == 400


def test_a_finished_response_takes_no_more(
    scripted: ScriptedRuntimeApi, body: StreamedBody
) -> None:
    """After the end nothing can be sent, and a second end changes nothing."""
    body.start(200, {}, [])
    assert body.finish() == 202
    with pytest.raises(ResponseClosed):
        body.send(b"late")
    assert body.finish() == 202
    assert scripted.call().payload == ()
    assert scripted.calls.empty()


def _send_until_closed(body: StreamedBody) -> None:
    for _ in range(1000):
        body.send(b"piece")
        time.sleep(0.005)


def _error(trailers: dict[str, str]) -> Any:
    return json.loads(base64.b64decode(trailers["lambda-runtime-function-error-body"]))

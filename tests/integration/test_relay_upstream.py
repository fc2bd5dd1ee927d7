"""What the connection to Bedrock does, and what the caller, the record and the connection itself make of it."""

from __future__ import annotations

import json
import socket  # noqa: TID251  # callers that leave, and a port where nobody listens
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.runtime_api import Limits
from tests.caller import ask
from tests.frames import (
    LAST_CHUNK,
    MESSAGE_START,
    MESSAGE_STOP,
    METADATA,
    chunk,
    delta,
    exception,
)
from tests.upstream import (
    CHUNKED_HEAD,
    CLOSE_DELIMITED_HEAD,
    END,
    Upstream,
    http_chunk,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
INVOKE_PATH = f"/model/{MODEL}/invoke-with-response-stream"
WHOLE = CHUNKED_HEAD + b"".join(
    map(http_chunk, (MESSAGE_START, delta(text="a"), MESSAGE_STOP, METADATA))
)
# Fact 11, and what nobody listed: the status and code the caller is told, and whether to retry.
REFUSALS = {
    (403, "AccessDeniedException"): (403, "access_denied", False),
    (429, "ThrottlingException"): (429, "throttling", True),
    (429, "ModelNotReadyException"): (429, "model_not_ready", True),
    (404, "ResourceNotFoundException"): (404, "resource_not_found", False),
    (400, "ValidationException"): (400, "validation", False),
    (400, "ServiceQuotaExceededException"): (400, "service_quota_exceeded", False),
    (408, "ModelTimeoutException"): (408, "model_timeout", True),
    (424, "ModelErrorException"): (424, "model_error", True),
    (500, "InternalServerException"): (500, "internal_server", True),
    (503, "ServiceUnavailableException"): (503, "service_unavailable", True),
    (403, "ExpiredTokenException"): (403, "expired_token", False),
    (418, "TeapotException"): (418, "teapot", False),
    (529, "OverloadedException"): (529, "overloaded", True),
    (503, ""): (503, "unknown", True),
    (302, ""): (502, "unknown", True),
}
# Of these boto3's standard mode makes another try.
TRIED_AGAIN = {"throttling", "model_not_ready", "internal_server", "service_unavailable", "unknown"}


@contextmanager
def _function(
    upstream: str, configuration: FunctionConfiguration | None = None, **settings: str
) -> Iterator[LocalFunction]:
    environment = {f"RIVULET_{name.upper()}": value for name, value in settings.items()}
    environment["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = upstream
    chosen = configuration or FunctionConfiguration(concurrency=1, timeout=30)
    with LocalFunction(chosen, environment=environment) as function:
        yield function


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def function(upstream: Upstream) -> Iterator[LocalFunction]:
    with _function(upstream.url, max_attempts="2", read_timeout="0.3") as function:
        yield function


def _record(function: LocalFunction, request_id: str) -> dict[str, Any]:
    """Return the record of one request."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for line in tuple(function.log):
            if request_id in line and '"message":"stream"' in line:
                record = json.loads(line)
                assert isinstance(record, dict)
                return record
        time.sleep(0.01)
    raise TimeoutError("\n".join(function.log))


def _sends(*pieces: bytes) -> Any:
    def answer(connection: socket.socket) -> bool:
        for piece in pieces:
            connection.sendall(piece)
        return True

    return answer


@pytest.mark.xdist_group("relay upstream")
@pytest.mark.parametrize("refused", REFUSALS, ids=lambda r: r[1] or str(r[0]))
@pytest.mark.parametrize("path", ["/stream", INVOKE_PATH])
def test_bedrocks_refusals_keep_their_status(
    upstream: Upstream, function: LocalFunction, refused: tuple[int, str], path: str
) -> None:
    """Each error of the call becomes its HTTP status, with a code and nothing secret; it is tried as configured."""
    status, code, retryable = REFUSALS[refused]
    said = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x is at fault"
    upstream.answer = _sends(refusal(*refused, said))
    before = len(upstream.requests)
    answer = ask(function.url, path, accept="*/*")
    error = answer.objects[0]["error"]
    assert (answer.status, error["code"], error["retryable"]) == (status, code, retryable)
    assert answer.headers["content-type"] == "application/json"
    assert "123456789012" not in answer.body.decode()
    attempts = len(upstream.requests) - before
    assert attempts == (2 if code in TRIED_AGAIN and status != 502 else 1)
    record = _record(function, answer.headers["x-request-id"])
    assert (record["error"], record["status"]) == (code, status)
    assert record["cause"] in {"ClientError", refused[1]}


@pytest.mark.xdist_group("relay upstream")
def test_a_refusal_is_recorded_with_what_support_asks_for(
    upstream: Upstream, function: LocalFunction
) -> None:
    """Bedrock's own request id, and how often the call was tried again."""
    refused = refusal(429, "ThrottlingException", "slow down")
    upstream.answer = _sends(refused.replace(b"\r\n", b"\r\nx-amzn-RequestId: bedrocks-own\r\n", 1))
    answer = ask(function.url)
    record = _record(function, answer.headers["x-request-id"])
    assert (record["bedrock_request_id"], record["retries"]) == ("bedrocks-own", 1)


@pytest.mark.xdist_group("relay upstream")
def test_a_try_that_succeeds_is_all_the_caller_sees(
    upstream: Upstream, function: LocalFunction
) -> None:
    """Throttled once, then answered: the stream, and no trace of the first try."""
    answers = iter([refusal(429, "ThrottlingException", "slow down"), WHOLE + END])

    def answer(connection: socket.socket) -> bool:
        connection.sendall(next(answers))
        return True

    upstream.answer = answer
    assert ask(function.url).types == ["start", "text", "block_end", "done"]


@pytest.mark.xdist_group("relay upstream")
def test_silence_before_the_stream_is_a_gateway_timeout(
    upstream: Upstream, function: LocalFunction
) -> None:
    """Nothing within the read timeout: 504, and no second try, for Bedrock may still be working on the first."""
    before = len(upstream.requests)

    def silence(_: socket.socket) -> bool:
        time.sleep(1)
        return False

    upstream.answer = silence
    answer = ask(function.url)
    assert (answer.status, answer.objects[0]["error"]["code"]) == (504, "read_timeout")
    assert len(upstream.requests) - before == 1


@pytest.mark.xdist_group("relay upstream")
@pytest.mark.parametrize("sent", [CHUNKED_HEAD, WHOLE[:-300], WHOLE[:-10]], ids=len)
def test_silence_within_the_stream_ends_it(
    upstream: Upstream, function: LocalFunction, sent: bytes
) -> None:
    """A stream that goes on in silence is ended after the read timeout, typed, and its connection closed."""
    release = threading.Event()

    def answer(connection: socket.socket) -> bool:
        connection.sendall(sent)
        release.wait(10)
        return True

    upstream.answer = answer
    began = time.monotonic()
    try:
        answered = ask(function.url)
    finally:
        release.set()
    assert 0.25 < time.monotonic() - began < 2
    if sent == CHUNKED_HEAD:
        assert (answered.status, answered.objects[0]["error"]["code"]) == (504, "read_timeout")
    else:
        assert answered.types[-1] == "error"
        assert answered.objects[-1]["code"] == "read_timeout"
    upstream.wait_for_open_connections(0)


def test_a_refused_connection_is_a_bad_gateway() -> None:
    """Nobody listens there: 502, in one word, without an address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with _function(f"http://127.0.0.1:{port}", max_attempts="1") as function:
        answer = ask(function.url)
        error = answer.objects[0]["error"]
        assert (answer.status, error["code"]) == (502, "connect_failed")
        assert str(port) not in answer.body.decode()
        assert (
            _record(function, answer.headers["x-request-id"])["cause"] == "EndpointConnectionError"
        )


def test_missing_credentials_are_the_deployments_fault() -> None:
    """What only the deployment can mend is a 500 that says so, and no detail."""
    environment = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    with LocalFunction(FunctionConfiguration(concurrency=1), environment=environment) as function:
        answer = ask(function.url)
        error = answer.objects[0]["error"]
        assert (answer.status, error["code"], error["retryable"]) == (500, "misconfigured", False)
        assert error["message"] == "This deployment cannot call Bedrock."


@pytest.mark.xdist_group("relay upstream")
def test_a_connection_serves_many_complete_streams(
    upstream: Upstream, function: LocalFunction
) -> None:
    """Read to its end, a connection is used again: by both lanes, and after a refusal as well."""
    upstream.answer = _sends(WHOLE + END)
    ask(function.url)
    connections = len(upstream.connections)
    for _ in range(10):
        assert ask(function.url).types[-1] == "done"
    upstream.answer = _sends(CHUNKED_HEAD + http_chunk(chunk({})) + http_chunk(LAST_CHUNK) + END)
    assert ask(function.url, INVOKE_PATH).types[-1] == "done"
    upstream.answer = _sends(refusal(403, "AccessDeniedException", "no"))
    assert ask(function.url).status == 403
    upstream.answer = _sends(WHOLE + END)
    assert ask(function.url).types[-1] == "done"
    assert len(upstream.connections) == connections
    upstream.wait_for_open_connections(1)  # an earlier test's may take a moment to be closed


@pytest.mark.xdist_group("relay upstream")
@pytest.mark.parametrize(
    "failed",
    [
        CHUNKED_HEAD + http_chunk(exception("throttlingException", {"message": "x"})),
        CHUNKED_HEAD + http_chunk(MESSAGE_START) + http_chunk(exception("throttlingException", {})),
        CHUNKED_HEAD + http_chunk(MESSAGE_START) + http_chunk(b"no frame at all"),
    ],
    ids=["refused in the first frame", "failed in mid-stream", "damaged"],
)
def test_a_connection_that_failed_is_closed(
    upstream: Upstream, function: LocalFunction, failed: bytes
) -> None:
    """What is left unread is not read, and nothing stays open: Bedrock is told that nobody listens."""
    upstream.answer = _sends(failed)
    answer = ask(function.url)
    assert answer.status == 429 or answer.types[-1] == "error"
    upstream.wait_for_open_connections(0)


@pytest.mark.xdist_group("relay upstream")
def test_a_connection_that_was_closed_meanwhile_is_not_tried(
    upstream: Upstream, function: LocalFunction
) -> None:
    """A connection that Bedrock closed between two invocations costs nothing but a new one."""

    def answer(connection: socket.socket) -> bool:
        connection.sendall(WHOLE + END)
        return False

    upstream.answer = answer
    for _ in range(3):
        assert ask(function.url).types == ["start", "text", "block_end", "done"]
        upstream.wait_for_open_connections(0)


@pytest.mark.xdist_group("relay upstream")
@pytest.mark.parametrize("size", [b"-1", b"-5", b"+5", b"0x5", b"5_0", b" ", b"", b"g"])
def test_a_chunk_whose_size_is_none_ends_the_stream(
    upstream: Upstream, function: LocalFunction, size: bytes
) -> None:
    """What Python's own number parser makes of a chunk's size is not believed."""

    def answer(connection: socket.socket) -> bool:
        broken = size + b"\r\n" + delta(text="b") + b"\r\n"
        connection.sendall(CHUNKED_HEAD + http_chunk(MESSAGE_START) + broken + END)
        return False

    upstream.answer = answer
    types = ask(function.url).types
    assert (types[0], types[-1]) == ("start", "error")
    upstream.wait_for_open_connections(0)


@pytest.mark.xdist_group("relay upstream")
@pytest.mark.parametrize("head", [CHUNKED_HEAD, CLOSE_DELIMITED_HEAD], ids=["chunked", "close"])
def test_a_frame_is_not_held_back(upstream: Upstream, function: LocalFunction, head: bytes) -> None:
    """A frame goes out when it has come, whether or not Bedrock's body is chunked, and cut in two as it may be."""
    framed = http_chunk if head == CHUNKED_HEAD else bytes
    seen = threading.Event()
    held: list[bool] = []

    def answer(connection: socket.socket) -> bool:
        frame = delta(text="a")
        connection.sendall(head + framed(MESSAGE_START) + framed(frame[:20]))
        rest = framed(frame[20:])
        # Even the end of its own chunk may come with the next one.
        late = b"\r\n" if head == CHUNKED_HEAD else b""
        connection.sendall(rest.removesuffix(late))
        held.append(not seen.wait(0.2))
        connection.sendall(late + framed(MESSAGE_STOP) + framed(METADATA))
        if head == CHUNKED_HEAD:
            connection.sendall(END)
        return False

    upstream.answer = answer
    address = urlsplit(function.url)
    got = b"Rate Exceeded."
    while b"Rate Exceeded." in got:  # the environment is not done with the invocation before
        with socket.create_connection((address.hostname, address.port), timeout=20) as caller:
            caller.sendall(
                b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b'Content-Length: 15\r\n\r\n{"prompt":"hi"}'
            )
            got = b""
            while not any(end in got for end in (b'"done"', b'"error"', b"Rate Exceeded.")):
                got += caller.recv(65536)
                if b'"text":"a"' in got:
                    seen.set()
    assert b'"done"' in got, got
    assert held == [False]


@pytest.mark.parametrize("leave", ["fin", "rst"])
def test_a_caller_that_leaves_stops_the_spending(leave: str) -> None:
    """Where the platform tells, upstream is closed at once, and the record says ``caller_gone``."""
    stopped: list[float] = []

    def endless(connection: socket.socket) -> bool:
        connection.sendall(CHUNKED_HEAD + http_chunk(MESSAGE_START))
        try:
            for _ in range(5000):
                connection.sendall(http_chunk(delta(text="x" * 100)))
                time.sleep(0.005)
        except OSError:
            stopped.append(time.monotonic())
        return False

    configuration = FunctionConfiguration(
        concurrency=1, timeout=60, limits=Limits(tell_when_caller_leaves=True)
    )
    with Upstream(endless) as upstream, _function(upstream.url, configuration) as function:
        address = urlsplit(function.url)
        caller = socket.create_connection((address.hostname, address.port))
        caller.sendall(
            b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 15\r\n\r\n{"prompt":"hi"}'
        )
        got = b""
        while b'"text"' not in got:
            got += caller.recv(65536)
        if leave == "rst":
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        left = time.monotonic()
        caller.close()
        record = json.loads(function.wait_for_line('"message":"stream"'))
        assert (record["error"], record["status"]) == ("caller_gone", 200)
        assert record["pieces"] >= 1
        assert record["bytes"] > 0
        assert '"Refusals":[1.0]' in function.wait_for_line('"Requests":[1.0]')
        upstream.wait_for_open_connections(0)
        assert stopped[0] - left < 1
        upstream.answer = _sends(WHOLE + END)
        assert ask(function.url).types[-1] == "done", "the loop goes on"

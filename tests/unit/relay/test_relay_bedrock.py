# ruff: noqa: TID251  # what boto3, botocore and urllib3 do is what this is about

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest
from botocore import exceptions as boto
from botocore.awsrequest import AWSResponse
from botocore.parsers import ResponseParserError
from urllib3 import exceptions as urllib3

from relay.bedrock import Bedrock
from relay.errors import RelayError, UpstreamError
from relay.watchdog import Watchdog
from tests.frames import LAST_CHUNK, MESSAGE_START, chunk
from tests.unit.relay.conftest import ENVIRONMENT
from tests.unit.relay.fake_boto import (
    CALLS,
    SECRET,
    SETTINGS,
    EventStream,
    Noting,
    Raw,
    a_call,
    answers,
    read,
)
from tests.upstream import Upstream, fin

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


def test_the_client_is_as_the_settings_say(bedrock: Bedrock) -> None:
    """Timeouts and tries are the deployment's; retries are botocore's standard mode."""
    config = bedrock._client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (1.5, 60)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}


def test_shapes_are_those_of_the_operations(bedrock: Bedrock) -> None:
    """The request's shape comes from the service model that boto3 brings."""
    assert "messages" in bedrock.input_shape("ConverseStream").members
    assert "body" in bedrock.input_shape("InvokeModelWithResponseStream").members


@pytest.mark.parametrize("operation", CALLS)
def test_frames_are_given_and_the_stream_closed(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Each operation's own method is called, its frames are read, and its connection is closed once."""
    stream = EventStream(Raw(MESSAGE_START[:9], MESSAGE_START[9:] + LAST_CHUNK))
    answers(bedrock, monkeypatch, {CALLS[operation][1]: stream})
    assert [frame.data for frame in read(bedrock, operation)] == [MESSAGE_START, LAST_CHUNK]
    assert stream.closed == 1


@pytest.mark.parametrize("fails", [True, False])
def test_the_stream_is_closed_whatever_its_reader_does(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """A reader that fails finds its own exception, and the connection closed, even if closing fails as well."""
    stream = EventStream(Raw(chunk({}), chunk({})), fails=fails)
    answers(bedrock, monkeypatch, {"stream": stream})

    def read() -> None:
        with bedrock.stream(a_call(), Noting()) as answer:
            next(answer.frames)
            raise KeyError("the reader")

    with pytest.raises(KeyError, match="the reader"):
        read()
    assert stream.closed == 1


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (boto.ConnectTimeoutError(endpoint_url=SECRET), 504, "connect_timeout"),
        (boto.ReadTimeoutError(endpoint_url=SECRET), 504, "read_timeout"),
        (boto.EndpointConnectionError(endpoint_url=SECRET), 502, "connect_failed"),
        (boto.ConnectionClosedError(endpoint_url=SECRET), 502, "connect_failed"),
        (boto.SSLError(endpoint_url=SECRET, error=SECRET), 502, "connect_failed"),
        (boto.ProxyConnectionError(proxy_url=SECRET), 502, "connect_failed"),
        (boto.HTTPClientError(error=SECRET), 502, "connect_failed"),
        (urllib3.ProtocolError(SECRET), 502, "connection_lost"),
        (ConnectionResetError(SECRET), 502, "connection_lost"),
        (ResponseParserError(SECRET), 502, "connection_lost"),
        (boto.NoCredentialsError(), 500, "misconfigured"),
        (boto.NoRegionError(), 500, "misconfigured"),
        (
            boto.CredentialRetrievalError(provider="x", error_msg=SECRET),
            500,
            "misconfigured",
        ),
        (boto.ParamValidationError(report=SECRET), 400, "invalid_request"),
        (RecursionError(SECRET), 400, "invalid_request"),
        (
            boto.ClientError(
                {
                    "Error": {"Code": "ThrottlingException", "Message": SECRET},
                    "ResponseMetadata": {"HTTPStatusCode": 429},
                },
                "ConverseStream",
            ),
            429,
            "throttling",
        ),
        (boto.ClientError({}, "ConverseStream"), 502, "unknown"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_a_call_raises_is_told_in_our_words(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    """Every way in which a call can fail has a status and a code, and none of the exception's own words."""
    answers(bedrock, monkeypatch, error)
    with pytest.raises(RelayError) as caught:
        read(bedrock)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert SECRET not in str(caught.value) + caught.value.message


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (urllib3.ReadTimeoutError(None, "", SECRET), "read_timeout"),  # type: ignore[arg-type]  # any pool
        (urllib3.ProtocolError(SECRET), "connection_lost"),
        (urllib3.IncompleteRead(1, 2), "connection_lost"),
        (urllib3.SSLError(SECRET), "connection_lost"),
        (ConnectionResetError(SECRET), "connection_lost"),
        (chunk({})[:-1], "truncated"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "corrupt"),
    ],
)
def test_what_breaks_a_stream_is_told_in_our_words(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, end: bytes | Exception, code: str
) -> None:
    """The frames that came, then one error of ours with its cause, and the connection closed (facts 15 and 16)."""
    stream = EventStream(Raw(MESSAGE_START, end))
    answers(bedrock, monkeypatch, {"stream": stream})
    with bedrock.stream(a_call(), Noting()) as answer:
        assert next(answer.frames).data == MESSAGE_START
        with pytest.raises(RelayError) as caught:
            next(answer.frames)
    assert caught.value.code == code
    assert caught.value.__cause__ is not None
    assert SECRET not in caught.value.message
    assert stream.closed == 1


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"RequestId": "b1", "RetryAttempts": 2}, ("b1", 2)),
        ({}, ("", 0)),
    ],
)
def test_an_answer_says_what_it_took(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, metadata: Any, told: tuple[str, int]
) -> None:
    """Bedrock's own id for the request, and how often boto3 tried again, where boto3 says so."""
    answer = {"stream": EventStream(Raw()), "ResponseMetadata": metadata}
    answers(bedrock, monkeypatch, answer)
    with bedrock.stream(a_call(), Noting()) as answered:
        assert (answered.request_id, answered.retries) == told


class Body:
    """The body of a refusal, as botocore reads it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data


@pytest.mark.parametrize(
    ("refused", "body", "headers", "told"),
    [
        ((429, "ThrottlingException"), {}, {}, ("throttling", 429, "5", None)),
        ((429, "ThrottlingException"), {}, {"Retry-After": "9"}, ("throttling", 429, "9", None)),
        ((400, "ValidationException"), {}, {"retry-after": "9"}, ("validation", 400, None, None)),
        (
            (424, "ModelErrorException"),
            {"originalStatusCode": 529, "resourceName": "x"},
            {},
            ("model_error", 424, None, 529),
        ),
        ((418, "QuiteNewException"), {}, {}, ("quite_new", 418, None, None)),
    ],
    ids=str,
)
def test_bedrocks_refusals_say_what_they_say(
    bedrock: Bedrock, refused: tuple[int, str], body: Any, headers: Any, told: tuple[Any, ...]
) -> None:
    """Of Bedrock's own response boto3 reads the code, the status, when to try again, and the model's own status."""
    status, code = refused
    bedrock._client = bedrock._new_client()  # one of its own, to be changed
    events = bedrock._client.meta.events
    events.unregister("needs-retry.bedrock-runtime", unique_id="retry-config-bedrock-runtime")

    def answer(**_: Any) -> AWSResponse:
        data = json.dumps({"message": SECRET, **body}).encode()
        return AWSResponse("http://x", status, {"x-amzn-errortype": code, **headers}, Body(data))

    events.register("before-send.bedrock-runtime", answer)
    with pytest.raises(RelayError) as caught, bedrock.stream(a_call(), Noting()):
        pytest.fail("there is no answer")
    error = caught.value
    assert (
        error.code,
        error.status,
        error.headers.get("retry-after"),
        error.original_status,
    ) == told
    assert error.headers["x-amzn-errortype"] == code


@pytest.mark.parametrize(
    ("error", "tried_again"),
    [
        (boto.ReadTimeoutError(endpoint_url="x"), False),
        (boto.ConnectTimeoutError(endpoint_url="x"), True),
        (boto.EndpointConnectionError(endpoint_url="x"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_silence_is_not_tried_again(
    bedrock: Bedrock, error: Exception, *, tried_again: bool
) -> None:
    """A call that Bedrock has accepted may still be at work, and cost; of the rest boto3 knows more."""
    client = bedrock._client
    _, answer = client.meta.events.emit_until_response(
        "needs-retry.bedrock-runtime.ConverseStream",
        response=None,
        endpoint=None,
        operation=client.meta.service_model.operation_model("ConverseStream"),
        attempts=1,
        caught_exception=error,
        request_dict={"context": {}},
    )
    assert (answer is not False) == tried_again


def test_a_stream_that_was_left_ends_no_later_wait(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is over when it is left, not when the garbage collector closes it: the watch over the next call goes on."""
    answers(bedrock, monkeypatch, {"stream": EventStream(Raw(chunk({}), chunk({})))})
    watchdog = Watchdog(deadline=time.monotonic() + 60, read_timeout=60)
    with bedrock.stream(a_call(), watchdog) as answer:
        next(answer.frames)
    watchdog.ask()
    assert isinstance(answer.frames, Generator)
    answer.frames.close()  # as the garbage collector does, some time later
    assert watchdog._waiting_since is not None


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING], ids=logging.getLevelName)
@pytest.mark.usefixtures("bedrock")
def test_no_library_logs_what_was_said(level: int) -> None:
    """At DEBUG they would log whole requests: they warn, and no more, whatever level the root has."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(level)
    try:
        for name in (
            "boto3",
            "botocore.endpoint",
            "botocore.credentials",
            "urllib3.connectionpool",
        ):
            assert logging.getLogger(name).getEffectiveLevel() == logging.WARNING
    finally:
        root.setLevel(before)


@pytest.mark.parametrize(
    ("wait", "asked", "code"), [(0.0, 2, "connect_failed"), (0.3, 1, "connection_lost")]
)
def test_what_bedrock_may_be_working_on_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, wait: float, asked: int, code: str
) -> None:
    """A connection that is closed at once was closed before; one that is closed later may have cost something."""
    monkeypatch.setattr("relay.bedrock._AT_ONCE", 0.2)

    def closes(connection: socket.socket) -> bool:
        time.sleep(wait)
        return fin(connection)

    with Upstream(closes) as upstream:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", upstream.url)
        bedrock = Bedrock(SETTINGS)
        with pytest.raises(UpstreamError) as caught, bedrock.stream(a_call(), Noting()):
            pass
        bedrock._client.close()
    assert (caught.value.code, len(upstream.requests)) == (code, asked)

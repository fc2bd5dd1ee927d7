# ruff: noqa: TID251  # what boto3, botocore and urllib3 do is what this is about

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3 import exceptions as urllib3

from relay import formats
from relay.bedrock import Bedrock
from relay.errors import RelayError
from relay.request import ModelCall
from relay.settings import Settings
from tests.frames import LAST_CHUNK, MESSAGE_START, chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.eventstream import Frame

SECRET = "https://bedrock.internal arn:aws:iam::123456789012:role/secret"
SETTINGS = Settings.from_environment(
    {
        "RIVULET_MODEL_IDS": "m",
        "RIVULET_MAX_ATTEMPTS": "2",
        "RIVULET_CONNECT_TIMEOUT": "1.5",
        "RIVULET_READ_TIMEOUT": "60",
    }
)
CALLS = {
    "ConverseStream": ("converse_stream", "stream"),
    "InvokeModelWithResponseStream": ("invoke_model_with_response_stream", "body"),
}


def _call(operation: str = "ConverseStream") -> ModelCall:
    return ModelCall(
        route="/stream",
        operation=operation,
        model="m",
        parameters={"modelId": "m"},
        format=formats.SSE,
    )


class Raw:
    """A response of urllib3's: pieces, then an end or an exception."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = iter(pieces)

    def read1(self, _size: int) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece


class EventStream:
    """boto3's event stream, as far as it is used."""

    def __init__(self, raw: Raw, *, fails: bool = False) -> None:
        self._raw_stream = raw
        self._fails = fails
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        if self._fails:
            raise OSError(SECRET)


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bedrock]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bedrock = Bedrock(SETTINGS)
    yield bedrock
    bedrock._client.close()


def _answers(bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def method(**parameters: Any) -> Any:
        assert parameters == {"modelId": "m"}
        if isinstance(answer, BaseException):
            raise answer
        return answer

    methods = {name: method for name, _ in CALLS.values()}
    monkeypatch.setattr(bedrock, "_client", SimpleNamespace(**methods, close=lambda: None))


def _read(bedrock: Bedrock, operation: str = "ConverseStream") -> list[Frame]:
    with bedrock.stream(_call(operation)) as frames:
        return list(frames)


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
    _answers(bedrock, monkeypatch, {CALLS[operation][1]: stream})
    assert [frame.data for frame in _read(bedrock, operation)] == [MESSAGE_START, LAST_CHUNK]
    assert stream.closed == 1


@pytest.mark.parametrize("fails", [True, False])
def test_the_stream_is_closed_whatever_its_reader_does(
    bedrock: Bedrock, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """A reader that fails finds its own exception, and the connection closed, even if closing fails as well."""
    stream = EventStream(Raw(chunk({}), chunk({})), fails=fails)
    _answers(bedrock, monkeypatch, {"stream": stream})

    def read() -> None:
        with bedrock.stream(_call()) as frames:
            next(frames)
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
    _answers(bedrock, monkeypatch, error)
    with pytest.raises(RelayError) as caught:
        _read(bedrock)
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
    _answers(bedrock, monkeypatch, {"stream": stream})
    with bedrock.stream(_call()) as frames:
        assert next(frames).data == MESSAGE_START
        with pytest.raises(RelayError) as caught:
            next(frames)
    assert caught.value.code == code
    assert caught.value.__cause__ is not None
    assert SECRET not in caught.value.message
    assert stream.closed == 1

# ruff: noqa: TID251  # botocore is the judge

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError
from botocore.parsers import EventStreamJSONParser

from relay.errors import (
    LimitError,
    RelayError,
    UpstreamError,
    bedrock_error,
    internal_error,
    limit_error,
    transport_error,
)
from relay.events import BlockEnd, Done, Failure, Forwarded, Start, Text
from relay.eventstream import read_frames
from relay.formats import eventstream
from relay.formats.eventstream import HEARTBEAT, forward_converse
from relay.formats.eventstream import forward_invoke as forward
from tests.frames import LAST_CHUNK, chunk, event, exception

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.events import Event

OPERATION = "InvokeModelWithResponseStream"
NEW_EVENT = event("newEvent", b"\x00")


class Raw:
    """What botocore reads an event stream from."""

    def __init__(self, *data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield from self._data

    def close(self) -> None:
        """Nothing is open."""


def _judge(*data: bytes) -> list[Any]:
    """Return what boto3 makes of a stream."""
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model(OPERATION).get_event_stream_output()
    return list(EventStream(Raw(*data), shape, EventStreamJSONParser(), OPERATION))


def test_frames_go_out_as_they_came() -> None:
    """Every frame byte for byte, unknown ones too, one piece each; what has no frame is for other formats."""
    first = chunk({"a": 1}, p="padding", newField=1)
    events: list[Event] = [
        Start("m", "r"),
        Forwarded("chunk", b"", first),
        Forwarded("newEvent", b"\x00", NEW_EVENT),
        Text(0, "of another lane"),
        BlockEnd(0),
        Forwarded("chunk", b"", LAST_CHUNK),
        Done(None, {}),
    ]
    pieces = list(forward(events))
    assert pieces == [first, NEW_EVENT, LAST_CHUNK]
    assert [e["chunk"]["bytes"] for e in _judge(*pieces)] == [
        b'{"a": 1}',
        _judge(LAST_CHUNK)[0]["chunk"]["bytes"],
    ]


def test_bedrocks_own_failure_keeps_its_frame() -> None:
    """What Bedrock reported is told in its own words, down to the bytes."""
    data = exception("throttlingException", {"message": "Slow down.", "new": 1})
    failure = Failure(bedrock_error("throttlingException", "Slow down."), {}, data)
    assert list(forward([failure])) == [data]


@pytest.mark.parametrize(
    ("error", "exception_type"),
    [
        (transport_error("truncated"), "modelStreamErrorException"),
        (transport_error("connect_failed"), "modelStreamErrorException"),
        (transport_error("read_timeout"), "modelTimeoutException"),
        (limit_error("timeout"), "modelTimeoutException"),
        (limit_error("response_too_large"), "modelStreamErrorException"),
        (limit_error("too_many_streams"), "throttlingException"),
        (bedrock_error("ModelTimeoutException"), "modelTimeoutException"),
        (bedrock_error("ThrottlingException"), "throttlingException"),
        (bedrock_error("ModelNotReadyException"), "throttlingException"),
        (bedrock_error("ValidationException"), "validationException"),
        (bedrock_error("ServiceQuotaExceededException"), "validationException"),
        (bedrock_error("ServiceUnavailableException"), "serviceUnavailableException"),
        (bedrock_error("InternalServerException"), "internalServerException"),
        (bedrock_error("AccessDeniedException"), "modelStreamErrorException"),
        (bedrock_error("ResourceNotFoundException"), "modelStreamErrorException"),
        (bedrock_error("ModelErrorException"), "modelStreamErrorException"),
        (bedrock_error("QuiteNewException", status=599), "modelStreamErrorException"),
        (internal_error(KeyError()), "internalServerException"),
    ],
    ids=lambda value: value.code if isinstance(value, RelayError) else None,
)
def test_a_failure_of_the_way_is_an_exception_to_boto3(
    error: RelayError, exception_type: str
) -> None:
    """What Bedrock did not put into a frame itself is one that boto3 raises: by its status, with what is said of it."""
    first = chunk({"a": 1})
    pieces = list(forward([Forwarded("chunk", b"", first), Failure(error)]))
    assert pieces[0] == first
    (frame,) = read_frames(pieces[1:])
    assert frame.headers == {
        ":exception-type": exception_type,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    assert json.loads(frame.payload) == {
        "message": error.message,
        "originalStatusCode": error.status,
        "originalMessage": error.code,
    }
    with pytest.raises(EventStreamError) as caught:
        _judge(*pieces)
    assert caught.value.response["Error"] == {"Code": exception_type, "Message": error.message}


@pytest.mark.parametrize("kind", [UpstreamError, LimitError])
def test_the_models_own_status_is_kept(kind: type[RelayError]) -> None:
    """Where it is known what the model itself failed with, that is the original status."""
    (piece,) = forward([Failure(kind(424, "model_error", "No.", original_status=529))])
    (frame,) = read_frames([piece])
    assert json.loads(frame.payload)["originalStatusCode"] == 529


@pytest.mark.parametrize(
    ("operation", "made"),
    [
        (OPERATION, eventstream._INVOKE_EXCEPTIONS),
        ("ConverseStream", eventstream._CONVERSE_EXCEPTIONS),
    ],
)
def test_every_exception_is_one_of_bedrocks(operation: str, made: dict[int, str]) -> None:
    """An SDK that knows Bedrock's model knows each exception that may be made here."""
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    members = model.operation_model(operation).get_event_stream_output().members
    known = {name for name, shape in members.items() if shape.metadata.get("exception")}
    assert {*made.values(), "modelStreamErrorException"} == known


def test_a_timeout_has_another_name_where_converse_has_none() -> None:
    """ConverseStream's callers know no exception for it: they are told one that they know, with the status."""
    (piece,) = forward_converse([Failure(limit_error("timeout"))])
    (frame,) = read_frames([piece])
    assert frame.headers[":exception-type"] == "modelStreamErrorException"
    assert json.loads(frame.payload)["originalStatusCode"] == 504


def test_a_heartbeat_is_passed_over() -> None:
    """A whole frame of a type that no model lists: between two chunks boto3 does not see it."""
    (frame,) = read_frames([HEARTBEAT])
    assert (frame.headers[":event-type"], frame.headers[":message-type"]) == ("ping", "event")
    assert frame.payload == b"{}"
    assert _judge(HEARTBEAT, chunk({"a": 1}), HEARTBEAT, LAST_CHUNK) == _judge(
        chunk({"a": 1}), LAST_CHUNK
    )

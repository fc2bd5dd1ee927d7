# ruff: noqa: TID251  # botocore is the judge

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError
from botocore.parsers import EventStreamJSONParser

from relay.errors import INTERNAL, bedrock_error, transport_error
from relay.events import BlockEnd, Chunk, Done, Failure, Start, Text, Unknown
from relay.eventstream import read_frames
from relay.formats.eventstream import forward
from tests.frames import LAST_CHUNK, chunk, event, exception

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.errors import RelayError
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
        Chunk(b"", first),
        Unknown("newEvent", b"\x00", NEW_EVENT),
        Text(0, "of the other lane"),
        BlockEnd(0),
        Chunk(b"", LAST_CHUNK),
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
    "error",
    [transport_error("truncated"), transport_error("read_timeout"), INTERNAL],
)
def test_a_failure_of_the_way_is_an_exception_to_boto3(error: RelayError) -> None:
    """A stream that broke on the way ends with a frame that boto3 raises, with what is said of it."""
    first = chunk({"a": 1})
    pieces = list(forward([Chunk(b"", first), Failure(error)]))
    assert pieces[0] == first
    (frame,) = read_frames(pieces[1:])
    assert frame.headers == {
        ":exception-type": "modelStreamErrorException",
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    with pytest.raises(EventStreamError, match=error.message) as caught:
        _judge(*pieces)
    assert caught.value.response["Error"] == {
        "Code": "modelStreamErrorException",
        "Message": error.message,
    }

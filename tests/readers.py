"""Readers of the wire formats that are not ours: what each makes of bytes, however these are cut."""

# ruff: noqa: TID251  # botocore is a judge

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore.session
import httpx
from botocore.eventstream import EventStream, EventStreamBuffer
from botocore.exceptions import EventStreamError
from botocore.parsers import create_parser
from httpx_sse import EventSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MODEL = botocore.session.get_session().get_service_model("bedrock-runtime")


def read_sse(pieces: Iterable[bytes]) -> list[Any]:
    """Return the JSON of each server-sent event, as httpx-sse reads them; none has more than that."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    events = list(EventSource(httpx.Response(200, headers=headers, content=pieces)).iter_sse())
    assert all((event.event, event.id, event.retry) == ("message", "", None) for event in events)
    return [json.loads(event.data) for event in events]


def read_named_sse(pieces: Iterable[bytes]) -> list[tuple[str, str]]:
    """Return the name and the data of each server-sent event, as httpx-sse reads them; none is left unfinished."""
    data = b"".join(pieces)
    assert not data or data.endswith(b"\n\n")
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    events = EventSource(httpx.Response(200, headers=headers, content=data)).iter_sse()
    return [(event.event, event.data) for event in events]


def read_ndjson(pieces: Iterable[bytes]) -> list[Any]:
    """Return the JSON of each line, as httpx splits lines: at all that Unicode takes for a line's end."""
    headers = {"content-type": "application/x-ndjson; charset=utf-8"}
    lines = httpx.Response(200, headers=headers, content=pieces).iter_lines()
    return [json.loads(line) for line in lines]


def read_text(pieces: Iterable[bytes]) -> str:
    """Return text as an incremental decoder reads it, which takes no half characters."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    return "".join(map(decoder.decode, pieces)) + decoder.decode(b"", final=True)


def read_frames(pieces: Iterable[bytes]) -> list[tuple[dict[str, Any], bytes]]:
    """Return headers and payload of each frame, as botocore reads them; none is left unfinished."""
    reader = EventStreamBuffer()
    read = []
    for piece in pieces:
        reader.add_data(piece)
        read += [(message.headers, message.payload) for message in reader]
    assert reader._data == b""
    return read


class Received(NamedTuple):
    """What boto3 gives its callers of a stream: events, and the error code and message it ends with, if it does."""

    events: list[Any]
    error: tuple[str, str] | None


class _Raw:
    """What botocore reads a response's body from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def stream(self) -> Iterator[bytes]:
        yield from self._pieces


def read_as_boto3(pieces: Iterable[bytes], operation: str) -> Received:
    """Return what boto3 makes of a response of this operation."""
    shape = _MODEL.operation_model(operation).get_event_stream_output()
    parser = create_parser("rest-json")._event_stream_parser
    events = []
    try:
        for event in EventStream(_Raw(pieces), shape, parser, operation):
            events.append(event)  # noqa: PERF402  # those before the error count
    except EventStreamError as error:
        said = error.response["Error"]
        return Received(events, (said["Code"], said["Message"]))
    return Received(events, None)

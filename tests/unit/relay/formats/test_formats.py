from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from httpx_sse import EventSource

from relay import formats
from relay.events import Forwarded, Start, Unknown
from relay.eventstream import read_frames
from tests.frames import event

if TYPE_CHECKING:
    from relay.formats import Format


def test_each_media_type_is_announced_as_itself() -> None:
    """The table's key, by which a format is asked for, is the content type that it announces."""
    for table in (formats.CONVERSE, formats.INVOKE):
        for media_type, chosen in table.items():
            assert chosen.headers["content-type"].partition(";")[0] == media_type
            assert media_type == media_type.lower()


def test_each_format_can_encode() -> None:
    """Every entry of the tables is a function from events to bytes."""
    for chosen in (*formats.CONVERSE.values(), *formats.INVOKE.values()):
        assert all(isinstance(piece, bytes) for piece in chosen.encode([Start("m", "r")]))


def _sse(data: bytes) -> int:
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=data)
    return len(list(EventSource(response).iter_sse()))


def _ndjson(data: bytes) -> int:
    types = [json.loads(line)["type"] for line in data.decode().splitlines()]
    return sum(kind != "ping" for kind in types)


def _event_stream(data: bytes) -> int:
    types = [frame.headers[":event-type"] for frame in read_frames([data])]
    return sum(kind != "ping" for kind in types)


@pytest.mark.parametrize(
    ("chosen", "heartbeat", "read"),
    [
        (formats.SSE, b": ping\n\n", _sse),
        (formats.NDJSON, b'{"type":"ping"}\n', _ndjson),
        (formats.INVOKE_FRAMES, formats.eventstream.HEARTBEAT, _event_stream),
    ],
    ids=["SSE", "NDJSON", "event stream"],
)
def test_a_heartbeat_means_nothing(chosen: Format, heartbeat: bytes, read: Any) -> None:
    """Before, between and after events a format's heartbeats leave whoever reads it with just the events (fact 63)."""
    assert chosen.heartbeat == heartbeat
    made = Forwarded if chosen.is_bedrocks else Unknown
    unknown = made("new", b"{}", event("new", {}))
    pieces = list(chosen.encode([unknown, unknown]))
    assert read(b"".join(pieces)) == 2
    assert read(heartbeat + b"".join(piece + heartbeat for piece in pieces) + heartbeat) == 2


def test_plain_text_has_no_heartbeat() -> None:
    """Where every byte means something, silence is not broken."""
    assert formats.TEXT.heartbeat == b""

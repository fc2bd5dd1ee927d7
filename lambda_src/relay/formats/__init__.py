"""The wire formats: each a function from events to bytes, chosen by the route and the ``Accept`` header.

To add one, write a file with such a function and give it a line here. A format yields a piece for every event it has to
tell, as soon as it has it, and never holds, joins or splits what came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from relay.events import Event
from relay.formats import eventstream, json_objects, text

Encode: TypeAlias = Callable[[Iterable[Event]], Iterator[bytes]]


class Format(NamedTuple):
    """A wire format.

    Attributes:
        headers: the response headers that announce it.
        encode: the function that makes its bytes.
        heartbeat: the bytes that break a silence between two pieces and mean nothing (fact 63); none where every byte
            means something.
    """

    headers: Mapping[str, str]
    encode: Encode
    heartbeat: bytes = b""


SSE = Format(
    {"content-type": "text/event-stream; charset=utf-8"},
    json_objects.server_sent_events,
    b": ping\n\n",
)
NDJSON = Format(
    {"content-type": "application/x-ndjson; charset=utf-8"},
    json_objects.ndjson,
    b'{"type":"ping"}\n',
)
TEXT = Format({"content-type": "text/plain; charset=utf-8"}, text.plain)
EVENT_STREAM = Format(
    {
        "content-type": "application/vnd.amazon.eventstream",
        "x-amzn-bedrock-content-type": "application/json",
    },
    eventstream.forward,
    eventstream.HEARTBEAT,
)

# By media type, for each kind of call; the first one is for callers without a preference.
CONVERSE: Mapping[str, Format] = {
    "text/event-stream": SSE,
    "application/x-ndjson": NDJSON,
    "text/plain": TEXT,
}
INVOKE: Mapping[str, Format] = {
    "application/vnd.amazon.eventstream": EVENT_STREAM,
    "text/event-stream": SSE,
    "application/x-ndjson": NDJSON,
}

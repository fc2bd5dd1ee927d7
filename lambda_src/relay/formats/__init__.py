"""The wire formats: each a function from events to bytes, chosen by the route and the ``Accept`` header.

To add one, write a file with such a function and give it a line here. A format yields a piece for every event it has to
tell, as soon as it has it, and never holds, joins or splits what came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.formats import eventstream, json_objects, text
from relay.formats.format import Api, Asked, Format, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONVERSE", "INVOKE", "NDJSON", "Api", "Asked", "Format", "Refusal"]

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

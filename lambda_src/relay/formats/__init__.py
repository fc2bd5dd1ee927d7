"""The wire formats: each a function from events to bytes, chosen by the route and the ``Accept`` header.

To add one, write a file with such a function and give it a line here. A format yields a piece for every event it has to
tell, as soon as it has it, and never holds, joins or splits what came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.formats import (
    anthropic_messages,
    document,
    eventstream,
    json_objects,
    openai_chat,
    openai_responses,
    text,
    vercel_ui,
)
from relay.formats.format import Api, Asked, Format, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "APIS",
    "CONVERSE",
    "CONVERSE_FRAMES",
    "DOCUMENT",
    "INVOKE",
    "INVOKE_FRAMES",
    "NDJSON",
    "Api",
    "Asked",
    "Format",
    "Refusal",
]

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
INVOKE_FRAMES = Format(
    {
        "content-type": "application/vnd.amazon.eventstream",
        "x-amzn-bedrock-content-type": "application/json",
    },
    eventstream.forward_invoke,
    eventstream.HEARTBEAT,
    is_bedrocks=True,
)
CONVERSE_FRAMES = Format(
    {"content-type": "application/vnd.amazon.eventstream"},
    eventstream.forward_converse,
    eventstream.HEARTBEAT,
    is_bedrocks=True,
)
DOCUMENT = Format({"content-type": "application/json"}, document.whole, is_bedrocks=True)

# By media type, for each kind of call; the first one is for callers without a preference.
CONVERSE: Mapping[str, Format] = {
    "text/event-stream": SSE,
    "application/x-ndjson": NDJSON,
    "text/plain": TEXT,
}
INVOKE: Mapping[str, Format] = {
    "application/vnd.amazon.eventstream": INVOKE_FRAMES,
    "text/event-stream": SSE,
    "application/x-ndjson": NDJSON,
}

# The APIs that clients speak already, by their path.
APIS: Mapping[str, Api] = {
    "/v1/chat/completions": openai_chat.API,
    "/v1/responses": openai_responses.API,
    "/v1/messages": anthropic_messages.API,
    "/v1/messages/count_tokens": anthropic_messages.COUNT_TOKENS,
    "/ui/chat": vercel_ui.API,
}

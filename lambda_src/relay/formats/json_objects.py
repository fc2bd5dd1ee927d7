"""Server-sent events and NDJSON: one JSON object an event, told apart by its ``type``.

``{"type":"start",…}``, pieces such as ``{"type":"text","index":0,"text":"…"}``, then one ``{"type":"done",…}`` or
``{"type":"error",…}``. In SSE the objects are ``data:`` alone: ``EventSource`` gives unnamed events to ``onmessage``,
and keeps the name ``error`` for itself.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from relay import events as e
from relay import strict_json
from relay.formats.json_line import dump, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def server_sent_events(events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield each event as one server-sent event."""
    for event in events:
        yield b"data: %b\n\n" % _encode(event)


def ndjson(events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield each event as one line."""
    for event in events:
        yield b"%b\n" % _encode(event)


def _encode(event: e.Event) -> bytes:
    """Return one line of JSON in UTF-8."""
    return _chunk(event.document) if isinstance(event, e.Chunk) else dump(describe(event))


def _chunk(document: bytes) -> bytes:
    """Return a model's document in its own bytes where those are JSON."""
    try:
        strict_json.parse(document)
    except ValueError:
        return b'{"type":"chunk","bytes":"%b"}' % b64encode(document)
    return b'{"type":"chunk","chunk":%b}' % one_line(document)


def describe(event: e.Event) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912  # one case an event
    """Return the JSON object that tells an event."""
    match event:
        case e.Text(index, text):
            return {"type": "text", "index": index, "text": text}
        case e.Reasoning(index, text):
            return {"type": "reasoning", "index": index, "text": text}
        case e.ReasoningSignature(index, signature):
            return {"type": "reasoning_signature", "index": index, "signature": signature}
        case e.RedactedReasoning(index, data):
            return {"type": "redacted_reasoning", "index": index, "data": data}
        case e.ToolStart(index, tool):
            return {"type": "tool_start", "index": index, "tool": tool}
        case e.ToolInput(index, piece):
            return {"type": "tool_input", "index": index, "input": piece}
        case e.ToolResultStart(index, result):
            return {"type": "tool_result_start", "index": index, "result": result}
        case e.ToolResult(index, content):
            return {"type": "tool_result", "index": index, "content": content}
        case e.ImageStart(index, format_):
            return {"type": "image_start", "index": index, "format": format_}
        case e.Image(index, image):
            return {"type": "image", "index": index, "image": image}
        case e.Citation(index, citation):
            return {"type": "citation", "index": index, "citation": citation}
        case e.BlockEnd(index, complete):
            cut = {} if complete else {"complete": False}
            return {"type": "block_end", "index": index, **cut}
        case e.Chunk(document):
            return {"type": "chunk", "chunk": _readable(document)}
        case e.Unknown(name, payload) | e.Forwarded(name, payload):
            return {"type": "unknown", "name": name, "payload": _readable(payload)}
        case e.Start(model, request_id, asked):
            instead = {} if asked is None else {"fallback_from": asked}
            return {"type": "start", "model": model, "request_id": request_id, **instead}
        case e.Done(stop_reason, usage, details):
            reason = {} if stop_reason is None else {"stop_reason": stop_reason}
            told = {"type": "done", **reason, "usage": usage}
            return {**told, **details, **told}  # no detail of tomorrow may pass for another type
        case e.Failure(error, usage):
            counted = {"usage": usage, "usage_partial": True} if usage else {}
            return {"type": "error", **error.told(), **counted}


def _readable(payload: bytes) -> Any:
    """Return JSON as what it says, anything else in base64."""
    try:
        return strict_json.parse(payload)
    except ValueError:
        return b64encode(payload).decode()

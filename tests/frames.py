"""Frames as Bedrock sends them, for the relay's tests: events, and the two kinds of failures there are."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from relay.eventstream import encode, read_frames

if TYPE_CHECKING:
    from relay.eventstream import Frame


def event(event_type: str, body: Any) -> bytes:
    """Return an event; a body that is bytes is its payload as it is."""
    headers = {
        ":event-type": event_type,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return encode(headers, _payload(body))


def chunk(document: Any, **beside: Any) -> bytes:
    """Return an InvokeModelWithResponseStream chunk with a document, given as JSON's value or as bytes."""
    return event("chunk", {"bytes": b64encode(_payload(document)).decode(), **beside})


def exception(exception_type: str, body: Any) -> bytes:
    """Return a modelled exception in mid-stream."""
    headers = {
        ":exception-type": exception_type,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return encode(headers, _payload(body))


def unmodelled_error(code: str, message: str) -> bytes:
    """Return an error that the service model does not list."""
    return encode({":message-type": "error", ":error-code": code, ":error-message": message}, b"")


def delta(index: int = 0, **content: Any) -> bytes:
    """Return a ConverseStream delta."""
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": content})


def start_block(index: int = 0, **content: Any) -> bytes:
    """Return the start of a ConverseStream block."""
    return event("contentBlockStart", {"contentBlockIndex": index, "start": content})


def end_block(index: int = 0) -> bytes:
    """Return the end of a ConverseStream block."""
    return event("contentBlockStop", {"contentBlockIndex": index})


def _payload(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()


USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
MESSAGE_START = event("messageStart", {"role": "assistant", "p": "ab"})
MESSAGE_STOP = event("messageStop", {"stopReason": "end_turn", "p": "abc"})
METADATA = event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 900}, "p": "a"})
METRICS = {"inputTokenCount": 3, "outputTokenCount": 5, "invocationLatency": 9}
LAST_CHUNK = chunk({"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS})


def frames(*data: bytes) -> list[Frame]:
    """Return the frames that are in some bytes."""
    return list(read_frames(data))

"""From the frames of Bedrock's event streams to events: the two lanes of the relay.

``converse_events`` reads ConverseStream, whose events mean the same for every model. ``invoke_events`` reads
InvokeModelWithResponseStream, whose chunks are the model's own business, and hands them on as they are.

Both end a stream with exactly one ``Done`` or ``Failure``. Bedrock's streams say themselves when they are complete,
with their usage; one that ends without has been cut, however cleanly its connection was closed (fact 15).
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from relay.errors import UpstreamError, bedrock_error, transport_error
from relay.events import (
    BlockEnd,
    Chunk,
    Citation,
    Done,
    Event,
    Failure,
    Image,
    ImageStart,
    Reasoning,
    ReasoningSignature,
    RedactedReasoning,
    Start,
    Text,
    ToolInput,
    ToolResult,
    ToolResultStart,
    ToolStart,
    Unknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from relay.eventstream import Frame

_METRICS = "amazon-bedrock-invocationMetrics"
# InvokeModel counts under other names than Converse (fact 12); callers are told one.
_USAGE_NAMES = {
    "inputTokenCount": "inputTokens",
    "outputTokenCount": "outputTokens",
    "cacheReadInputTokenCount": "cacheReadInputTokens",
    "cacheWriteInputTokenCount": "cacheWriteInputTokens",
}


class _ExceptionFrame(Exception):
    """A frame in which Bedrock reports a failure."""

    def __init__(self, error: UpstreamError, frame: bytes) -> None:
        super().__init__()
        self.error = error
        self.frame = frame


def converse_events(frames: Iterable[Frame], *, model: str, request_id: str) -> Iterator[Event]:
    """Yield the events of a ConverseStream.

    Args:
        frames: the stream; reading it may raise ``UpstreamError``.
        model: the model's id, for the start event.
        request_id: the caller's handle on this stream, for the start event.
    """
    started = False
    stop: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    error: UpstreamError | _ExceptionFrame | None = None
    try:
        for frame in frames:
            name = _event_type(frame)
            if not started:
                started = True
                yield Start(model, request_id)
            if name in _PIECES:
                yield _PIECES[name](frame)
            elif name == "messageStop":
                stop = _parse(frame)
            elif name == "metadata":
                metadata = _parse(frame)
            elif name != "messageStart":  # which says what Start said: the assistant speaks
                yield Unknown(name, frame.payload, frame.data)
    except (UpstreamError, _ExceptionFrame) as raised:
        error = raised
    # The usage comes after the stop reason (fact 3). With both the answer is complete, and what breaks after them
    # breaks nothing; without both the end has not been seen.
    if stop is None or metadata is None:
        yield _failure(error, metadata)
    else:
        details = {
            k: v for k, v in (stop | metadata).items() if k not in {"stopReason", "usage", "p"}
        }
        yield Done(stop.get("stopReason"), metadata.get("usage") or {}, details)


def invoke_events(frames: Iterable[Frame], *, model: str, request_id: str) -> Iterator[Event]:
    """Yield the events of an InvokeModelWithResponseStream; the arguments are those of ``converse_events``."""
    started = False
    metrics: dict[str, Any] | None = None
    error: UpstreamError | _ExceptionFrame | None = None
    try:
        for frame in frames:
            name = _event_type(frame)
            if not started:
                started = True
                yield Start(model, request_id)
            if name == "chunk":
                document = _document(frame)
                metrics = _invocation_metrics(document) or metrics
                yield Chunk(document, frame.data)
            else:
                yield Unknown(name, frame.payload, frame.data)
    except (UpstreamError, _ExceptionFrame) as raised:
        error = raised
    if metrics is None:
        yield _failure(error, None)
    else:
        usage = {
            ours: metrics[theirs] for theirs, ours in _USAGE_NAMES.items() if theirs in metrics
        }
        details = {k: v for k, v in metrics.items() if k not in _USAGE_NAMES}
        yield Done(None, usage, {"metrics": details})


def _failure(
    error: UpstreamError | _ExceptionFrame | None, metadata: Mapping[str, Any] | None
) -> Failure:
    """Return the end of a stream that broke off; with no error, its connection was just closed."""
    usage = (metadata or {}).get("usage") or {}
    if isinstance(error, _ExceptionFrame):
        return Failure(error.error, usage, error.frame)
    return Failure(error or transport_error("truncated"), usage)


def _event_type(frame: Frame) -> str:
    """Return the frame's event type; raise where it reports a failure (facts 13 and 14)."""
    headers = frame.headers
    kind = headers.get(":message-type")
    if kind == "event":
        return headers.get(":event-type", "")
    if kind == "exception":
        message = _parse_or_empty(frame.payload).get("message")
        error = bedrock_error(headers.get(":exception-type", ""), str(message or ""))
    else:
        error = bedrock_error(headers.get(":error-code", ""), headers.get(":error-message", ""))
    raise _ExceptionFrame(error, frame.data)


def _parse(frame: Frame) -> dict[str, Any]:
    try:
        body = json.loads(frame.payload)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise transport_error("corrupt")
    return body


def _parse_or_empty(payload: bytes) -> dict[str, Any]:
    try:
        body = json.loads(payload)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _text(event: Callable[[int, str], Event]) -> Callable[[int, Any], Event]:
    """Let only text into an event that carries text."""

    def make(index: int, value: Any) -> Event:
        if not isinstance(value, str):
            raise TypeError
        return event(index, value)

    return make


_DELTAS: dict[str, Callable[[int, Any], Event]] = {
    "text": _text(Text),
    "toolUse": lambda index, tool: ToolInput(index, tool["input"]),
    "citation": Citation,
    "image": Image,
    "toolResult": ToolResult,
}
_REASONING: dict[str, Callable[[int, Any], Event]] = {
    "text": _text(Reasoning),
    "signature": _text(ReasoningSignature),
    "redactedContent": _text(RedactedReasoning),
}
_STARTS: dict[str, Callable[[int, Any], Event]] = {
    "toolUse": ToolStart,
    "toolResult": ToolResultStart,
    "image": lambda index, image: ImageStart(index, image["format"]),
}


def _block_start(frame: Frame) -> Event:
    body = _parse(frame)
    return _union(_STARTS, frame, body, body.get("start"))


def _block_end(frame: Frame) -> Event:
    return BlockEnd(_parse(frame).get("contentBlockIndex", 0))


def _delta(frame: Frame) -> Event:
    body = _parse(frame)
    delta = body.get("delta")
    if isinstance(delta, dict) and "reasoningContent" in delta:
        return _union(_REASONING, frame, body, delta["reasoningContent"])
    return _union(_DELTAS, frame, body, delta)


def _union(
    members: Mapping[str, Callable[[int, Any], Event]],
    frame: Frame,
    body: Mapping[str, Any],
    union: Any,
) -> Event:
    """Return the event for the one member that a union has; an unknown one is passed on whole (fact 17)."""
    try:
        ((member, value),) = union.items()
        return members[member](body.get("contentBlockIndex", 0), value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Unknown(frame.headers[":event-type"], frame.payload, frame.data)


_PIECES: dict[str, Callable[[Frame], Event]] = {
    "contentBlockStart": _block_start,
    "contentBlockDelta": _delta,
    "contentBlockStop": _block_end,
}


def _document(frame: Frame) -> bytes:
    try:
        return b64decode(_parse(frame)["bytes"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise transport_error("corrupt") from None


def _invocation_metrics(document: bytes) -> dict[str, Any] | None:
    """Return the counts that the last chunk carries; others are not parsed for them."""
    if _METRICS.encode() not in document:
        return None
    metrics = _parse_or_empty(document).get(_METRICS)
    return metrics if isinstance(metrics, dict) else None

"""From the frames of Bedrock's event streams to events: the two lanes of the relay.

``converse_events`` reads ConverseStream, whose events mean the same for every model. ``invoke_events`` reads
InvokeModelWithResponseStream, whose chunks are the model's own business, and hands them on as they are.

Both end a stream with exactly one ``Done`` or ``Failure``. Bedrock's streams say themselves when they are complete,
with their usage; one that ends without has been cut, however cleanly its connection was closed (fact 15).
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from relay import strict_json
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
    usage = _object((metadata or {}).get("usage"))
    # The usage comes after the stop reason (fact 3). With both the answer is complete, and a connection that breaks
    # after them breaks nothing; without both the end has not been seen. What Bedrock reports itself is always told.
    if stop is None or metadata is None or isinstance(error, _ExceptionFrame):
        yield _failure(error, usage)
    else:
        details = {
            k: v for k, v in (stop | metadata).items() if k not in {"stopReason", "usage", "p"}
        }
        reason = stop.get("stopReason")
        yield Done(reason if isinstance(reason, str) else None, usage, details)


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
                found = _invocation_metrics(document)
                metrics = metrics if found is None else found
                yield Chunk(document, frame.data)
            else:
                yield Unknown(name, frame.payload, frame.data)
    except (UpstreamError, _ExceptionFrame) as raised:
        error = raised
    counted = metrics or {}
    usage = {ours: counted[theirs] for theirs, ours in _USAGE_NAMES.items() if theirs in counted}
    if metrics is None or isinstance(error, _ExceptionFrame):
        yield _failure(error, usage)
    else:
        details = {k: v for k, v in metrics.items() if k not in _USAGE_NAMES}
        yield Done(None, usage, {"metrics": details})


def _failure(error: UpstreamError | _ExceptionFrame | None, usage: Mapping[str, Any]) -> Failure:
    """Return the end of a stream that broke off; with no error, its connection was just closed."""
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
        body = strict_json.parse(frame.payload)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise transport_error("corrupt")
    return body


def _parse_or_empty(payload: bytes) -> dict[str, Any]:
    try:
        return _object(strict_json.parse(payload))
    except ValueError:
        return {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _carrying(
    kind: type, event: Callable[[int, Any], Event], member: str | None = None
) -> Callable[[int, Any], Event]:
    """Let only a value of one kind into an event: the union's own, or that of its one ``member``."""

    def make(index: int, value: Any) -> Event:
        if member is not None:
            ((name, value),) = value.items()
            if name != member:
                raise KeyError(name)
        if not isinstance(value, kind):
            raise TypeError
        return event(index, value)

    return make


_DELTAS: dict[str, Callable[[int, Any], Event]] = {
    "text": _carrying(str, Text),
    "toolUse": _carrying(str, ToolInput, "input"),
    "citation": _carrying(dict, Citation),
    "image": _carrying(dict, Image),
    "toolResult": _carrying(list, ToolResult),
}
_REASONING: dict[str, Callable[[int, Any], Event]] = {
    "text": _carrying(str, Reasoning),
    "signature": _carrying(str, ReasoningSignature),
    "redactedContent": _carrying(str, RedactedReasoning),
}
_STARTS: dict[str, Callable[[int, Any], Event]] = {
    "toolUse": _carrying(dict, ToolStart),
    "toolResult": _carrying(dict, ToolResultStart),
    "image": _carrying(str, ImageStart, "format"),
}


def _block_start(frame: Frame) -> Event:
    body = _parse(frame)
    return _union(_STARTS, frame, body, body.get("start"))


def _block_end(frame: Frame) -> Event:
    index = _parse(frame).get("contentBlockIndex", 0)
    return BlockEnd(index) if isinstance(index, int) else _unknown(frame)


def _delta(frame: Frame) -> Event:
    body = _parse(frame)
    delta = body.get("delta")
    if isinstance(delta, dict) and delta.keys() == {"reasoningContent"}:
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
        index = body.get("contentBlockIndex", 0)
        return members[member](index, value) if isinstance(index, int) else _unknown(frame)
    except (AttributeError, KeyError, TypeError, ValueError):
        return _unknown(frame)


def _unknown(frame: Frame) -> Unknown:
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

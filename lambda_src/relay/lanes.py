"""From the frames of Bedrock's event streams to events: the lanes of the relay.

``converse_events`` reads ConverseStream, whose events mean the same for every model. ``invoke_events`` reads
InvokeModelWithResponseStream, whose chunks are the model's own business, and hands them on as they are.
``converse_frames`` and ``invoke_frames`` hand on their frames, for callers who speak Bedrock's own protocol, and
``document_events`` the one answer of an operation that does not stream.

All end a stream with exactly one ``Done`` or ``Failure``. Bedrock's streams say themselves when they are complete,
with their usage; one that ends without has been cut, however cleanly its connection was closed (fact 15).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Protocol

from relay import strict_json
from relay.errors import RelayError, UpstreamError, bedrock_error, transport_error
from relay.events import (
    BlockEnd,
    Chunk,
    Citation,
    Done,
    Event,
    Failure,
    Forwarded,
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
from relay.redaction import redact_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from relay.eventstream import Frame

    class Lane(Protocol):
        """Makes events of frames."""

        def __call__(
            self,
            frames: Iterable[Frame],
            start: Start,
            usage: dict[str, Any],
            on_complete: Callable[[], None] = ...,
        ) -> Iterator[Event]:
            """Yield the events of a stream."""


_METRICS = "amazon-bedrock-invocationMetrics"
# What is in a document that counts something; others are not parsed.
_COUNTS = (b'"usage"', _METRICS.encode())


def _in_base64(data: bytes) -> Iterator[bytes]:
    """Yield what of base64 is the same wherever these bytes stand in it: there are three ways for them to."""
    for before in range(3):
        encoded = b64encode(bytes(before) + data)
        yield encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


_COUNTS_IN_BASE64 = re.compile(
    b"|".join(re.escape(letters) for count in _COUNTS for letters in _in_base64(count))
)
# A chunk, without looking into what it brings.
_CHUNK = re.compile(rb'\{.*"bytes"\s*:\s*"[A-Za-z0-9+/]*={0,2}".*\}', re.DOTALL)
# InvokeModel without a stream counts in headers.
_USAGE_HEADERS = {
    "x-amzn-bedrock-input-token-count": "inputTokens",
    "x-amzn-bedrock-output-token-count": "outputTokens",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokens",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokens",
}
# InvokeModel counts under other names than Converse (fact 12), and models under their own; callers are told one.
_USAGE_NAMES = {
    "inputTokenCount": "inputTokens",
    "outputTokenCount": "outputTokens",
    "cacheReadInputTokenCount": "cacheReadInputTokens",
    "cacheWriteInputTokenCount": "cacheWriteInputTokens",
}
_MODELS_USAGE_NAMES = {
    **_USAGE_NAMES,
    "inputTokens": "inputTokens",
    "outputTokens": "outputTokens",
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_input_tokens": "cacheReadInputTokens",
    "cache_creation_input_tokens": "cacheWriteInputTokens",
}


# What makes a ConverseStream complete: why the model stopped, and what Bedrock has counted.
_ENDING = frozenset({"messageStop", "metadata"})


class _ExceptionFrame(Exception):
    """A frame in which Bedrock reports a failure."""

    def __init__(self, error: UpstreamError, frame: bytes | None) -> None:
        super().__init__()
        self.error = error
        self.frame = frame


def _nobody() -> None:
    """Whoever need not know."""


def converse_events(
    frames: Iterable[Frame],
    start: Start,
    usage: dict[str, Any],
    on_complete: Callable[[], None] = _nobody,
) -> Iterator[Event]:
    """Yield the events of a ConverseStream.

    Args:
        frames: the stream; reading it may raise ``RelayError``.
        start: the start event, for when Bedrock has begun to answer.
        usage: filled with what Bedrock has counted, once it has.
        on_complete: called when nothing is missing from the answer any more, for what may still come.
    """
    started = False
    ending: dict[str, dict[str, Any]] = {}
    error: RelayError | _ExceptionFrame | None = None
    try:
        for frame in frames:
            name = _event_type(frame)
            if not started:
                started = True
                yield start
            if name in _PIECES:
                yield _PIECES[name](frame)
            elif name in _ENDING:
                ending[name] = _parse(frame)
                usage.update(_object(ending[name].get("usage")))
                if ending.keys() == _ENDING:
                    on_complete()
            elif name != "messageStart":  # which says what Start said: the assistant speaks
                yield Unknown(name, frame.payload, frame.data)
    except (RelayError, _ExceptionFrame) as raised:
        error = raised
    # The usage comes after the stop reason (fact 3). With both the answer is complete, and a connection that breaks
    # after them breaks nothing; without both the end has not been seen. What Bedrock reports itself is always told.
    if ending.keys() != _ENDING or isinstance(error, _ExceptionFrame):
        yield _failure(error, usage)
    else:
        said = ending["messageStop"] | ending["metadata"]
        details = {k: v for k, v in said.items() if k not in {"stopReason", "usage", "p"}}
        yield Done(_reason(said), usage, details)


def invoke_events(
    frames: Iterable[Frame],
    start: Start,
    usage: dict[str, Any],
    on_complete: Callable[[], None] = _nobody,
) -> Iterator[Event]:
    """Yield the events of an InvokeModelWithResponseStream; the arguments are those of ``converse_events``."""
    started = False
    metrics: dict[str, Any] | None = None
    error: RelayError | _ExceptionFrame | None = None
    try:
        for frame in frames:
            name = _event_type(frame)
            if not started:
                started = True
                yield start
            if name == "chunk":
                document = _document(frame)
                if _COUNTS[0] in document or _COUNTS[1] in document:
                    found = _count(document, usage)
                    if found is not None:
                        metrics = found
                        on_complete()
                yield Chunk(document, frame.data)
            else:
                yield Unknown(name, frame.payload, frame.data)
    except (RelayError, _ExceptionFrame) as raised:
        error = raised
    if metrics is None or isinstance(error, _ExceptionFrame):
        yield _failure(error, usage)
    else:
        yield Done(None, usage, {"metrics": metrics})


def converse_frames(
    frames: Iterable[Frame],
    start: Start,
    usage: dict[str, Any],
    on_complete: Callable[[], None] = _nobody,
) -> Iterator[Event]:
    """Yield a ConverseStream's events with their frames as they came; the arguments are those of ``converse_events``.

    Only what tells the end and the usage is looked into.
    """
    ending: dict[str, dict[str, Any]] = {}

    def completes(name: str, frame: Frame) -> bool:
        if name not in _ENDING:
            if name in _PIECES and not _is_object(frame.payload):
                raise transport_error("corrupt")
            return False
        ending[name] = _parse(frame)
        usage.update(_object(ending[name].get("usage")))
        return ending.keys() == _ENDING

    return _forwarded(frames, start, usage, completes, on_complete, ending)


def invoke_frames(
    frames: Iterable[Frame],
    start: Start,
    usage: dict[str, Any],
    on_complete: Callable[[], None] = _nobody,
) -> Iterator[Event]:
    """Yield an InvokeModelWithResponseStream's events with their frames, as ``converse_frames``."""

    def completes(name: str, frame: Frame) -> bool:
        if name != "chunk":
            return False
        if not _CHUNK.fullmatch(frame.payload):
            raise transport_error("corrupt")
        if not _COUNTS_IN_BASE64.search(frame.payload):
            return False
        return _count(_document(frame), usage) is not None

    return _forwarded(frames, start, usage, completes, on_complete, {})


def _forwarded(
    frames: Iterable[Frame],
    start: Start,
    usage: Mapping[str, Any],
    completes: Callable[[str, Frame], bool],
    on_complete: Callable[[], None],
    ending: Mapping[str, Mapping[str, Any]],
) -> Iterator[Event]:
    """Yield each frame as an event.

    ``completes`` tells whether nothing is missing after it, and keeps in ``ending`` what has said so.
    """
    started = complete = False
    error: RelayError | _ExceptionFrame | None = None
    try:
        for frame in frames:
            name = _event_type(frame)
            if not started:
                started = True
                yield start
            if completes(name, frame):
                complete = True
                on_complete()
            yield Forwarded(name, frame.payload, frame.data, frame.more)
    except (RelayError, _ExceptionFrame) as raised:
        error = raised
    if complete and not isinstance(error, _ExceptionFrame):
        yield Done(_reason(ending.get("messageStop", {})), usage)
    else:
        yield _failure(error, usage)


def _is_object(payload: bytes) -> bool:
    """Tell whether JSON may be an object, by its ends alone."""
    return payload[:1] == b"{" and payload[-1:] == b"}"


def document_events(
    frames: Iterable[Frame],
    start: Start,
    usage: dict[str, Any],
    on_complete: Callable[[], None] = _nobody,
) -> Iterator[Event]:
    """Yield the one document of an operation that does not stream; the arguments are those of ``converse_events``."""
    for frame in frames:
        on_complete()
        is_json = "json" in frame.headers.get("content-type", "json")
        try:
            body = _object(strict_json.parse(frame.payload)) if is_json else {}
        except ValueError:  # it was cut, or damaged
            yield Failure(transport_error("corrupt"), usage)
            return
        usage.update(_object(body.get("usage")) if "stopReason" in body else {})
        for header, name in _USAGE_HEADERS.items():
            if frame.headers.get(header, "").isdecimal():
                usage[name] = int(frame.headers[header])
        yield start
        yield Chunk(frame.payload)
        yield Done(_reason(body), usage)


def _reason(said: Mapping[str, Any]) -> str | None:
    reason = said.get("stopReason")
    return reason if isinstance(reason, str) else None


def _failure(error: RelayError | _ExceptionFrame | None, usage: Mapping[str, Any]) -> Failure:
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
        body = _parse_or_empty(frame.payload)
        error = bedrock_error(
            headers.get(":exception-type", ""),
            str(body.get("message") or ""),
            original_status=body.get("originalStatusCode"),
        )
    else:
        error = bedrock_error(headers.get(":error-code", ""), headers.get(":error-message", ""))
    # A frame of another kind, or of none, is a failure to nobody else: readers pass over it.
    raise _ExceptionFrame(error, redact_frame(frame) if kind in {"exception", "error"} else None)


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


def _count(document: bytes, usage: dict[str, Any]) -> dict[str, Any] | None:
    """Take what a chunk has counted into the usage; return the rest of Bedrock's own metrics, if they are in it.

    They are in the last chunk. Until then some models say in their own words what they have counted so far.
    """
    body = _parse_or_empty(document)
    for said in (body, *(value for value in body.values() if isinstance(value, dict))):
        _take(_object(said.get("usage")), _MODELS_USAGE_NAMES, usage)
    metrics = body.get(_METRICS)
    if not isinstance(metrics, dict):
        return None
    usage.clear()  # now it is Bedrock that counts
    _take(metrics, _USAGE_NAMES, usage)
    return {name: value for name, value in metrics.items() if name not in _USAGE_NAMES}


def _take(counts: Mapping[str, Any], names: Mapping[str, str], usage: dict[str, Any]) -> None:
    for theirs, ours in names.items():
        if isinstance(counts.get(theirs), int):
            usage[ours] = counts[theirs]


_LANES: dict[str, Lane] = {
    "ConverseStream": converse_events,
    "InvokeModelWithResponseStream": invoke_events,
    "Converse": document_events,
    "InvokeModel": document_events,
    "CountTokens": document_events,
}
_FRAME_LANES: dict[str, Lane] = {
    "ConverseStream": converse_frames,
    "InvokeModelWithResponseStream": invoke_frames,
}


def lane_of(operation: str, *, is_bedrocks: bool) -> Lane:
    """Return what makes events of the frames of an operation's answer; ``is_bedrocks`` is its format's."""
    return (_LANES | _FRAME_LANES if is_bedrocks else _LANES)[operation]

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
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Protocol

from relay import strict_json
from relay.counting import count, count_headers, is_telling, is_telling_in_base64
from relay.errors import RelayError, UpstreamError, bedrock_error, transport_error
from relay.events import Chunk, Done, Event, Failure, Forwarded, Start, Unknown
from relay.frame_json import an_object, parse, parse_or_empty
from relay.pieces import PIECES
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


# A chunk, without looking into what it brings.
_CHUNK = re.compile(rb'\{.*"bytes"\s*:\s*"[A-Za-z0-9+/]*={0,2}".*\}', re.DOTALL)
# What makes a ConverseStream complete: why the model stopped, and what Bedrock has counted.
_ENDING = frozenset({"messageStop", "metadata"})


class _ExceptionFrame(Exception):
    """A frame in which Bedrock, or the model itself, reports a failure."""

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
            piece: Event | None = None
            if name in PIECES:
                piece = PIECES[name](frame)
            elif name in _ENDING:
                ending[name] = parse(frame)
                usage.update(an_object(ending[name].get("usage")))
                if ending.keys() == _ENDING:
                    on_complete()
            elif name != "messageStart":  # which says what Start said: the assistant speaks
                piece = Unknown(name, frame.payload, frame.data)
            if not started:  # no sooner: a first frame that is damaged is an error with a status
                started = True
                yield start
            if piece is not None:
                yield piece
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
            piece: Event = Unknown(name, frame.payload, frame.data)
            if name == "chunk":
                piece = Chunk(_document(frame), frame.data)
                found = _counted(piece.document, usage) if is_telling(piece.document) else None
                if found is not None:
                    metrics = found
                    on_complete()
            if not started:
                started = True
                yield start
            yield piece
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
            if name in PIECES and not _is_object(frame.payload):
                raise transport_error("corrupt")
            return False
        ending[name] = parse(frame)
        usage.update(an_object(ending[name].get("usage")))
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
        if not is_telling_in_base64(frame.payload):
            return False
        return _counted(_document(frame), usage) is not None

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
            if completes(name, frame):
                complete = True
                on_complete()
            if not started:
                started = True
                yield start
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
            body = an_object(strict_json.parse(frame.payload)) if is_json else {}
        except ValueError:  # it was cut, or damaged
            yield Failure(transport_error("corrupt"), usage)
            return
        usage.update(an_object(body.get("usage")) if "stopReason" in body else {})
        count_headers(frame.headers, usage)
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


def _document(frame: Frame) -> bytes:
    try:
        return b64decode(parse(frame)["bytes"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise transport_error("corrupt") from None


def _counted(document: bytes, usage: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return count(document, usage)
    except UpstreamError as error:
        # Whatever was counted before it and whatever comes after it, this is the end.
        raise _ExceptionFrame(error, None) from None


def _event_type(frame: Frame) -> str:
    """Return the frame's event type; raise where it reports a failure (facts 13 and 14)."""
    headers = frame.headers
    kind = headers.get(":message-type")
    if kind == "event":
        return headers.get(":event-type", "")
    if kind == "exception":
        body = parse_or_empty(frame.payload)
        error = bedrock_error(
            headers.get(":exception-type", ""),
            str(body.get("message") or ""),
            original_status=body.get("originalStatusCode"),
        )
    else:
        error = bedrock_error(headers.get(":error-code", ""), headers.get(":error-message", ""))
    # A frame of another kind, or of none, is a failure to nobody else: readers pass over it.
    raise _ExceptionFrame(error, redact_frame(frame) if kind in {"exception", "error"} else None)


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

"""From a frame of ConverseStream to the piece of an answer that it brings.

Only what is of the shape that Bedrock's API says becomes an event of ours; all else is passed on as it came (fact 17).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.events import (
    BlockEnd,
    Citation,
    Event,
    Image,
    ImageStart,
    Reasoning,
    ReasoningSignature,
    RedactedReasoning,
    Text,
    ToolInput,
    ToolResult,
    ToolResultStart,
    ToolStart,
    Unknown,
)
from relay.frame_json import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.eventstream import Frame


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
    body = parse(frame)
    return _union(_STARTS, frame, body, body.get("start"))


def _block_end(frame: Frame) -> Event:
    index = parse(frame).get("contentBlockIndex", 0)
    return BlockEnd(index) if isinstance(index, int) else _unknown(frame)


def _delta(frame: Frame) -> Event:
    body = parse(frame)
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


PIECES: dict[str, Callable[[Frame], Event]] = {
    "contentBlockStart": _block_start,
    "contentBlockDelta": _delta,
    "contentBlockStop": _block_end,
}
"""By event type: what makes an event of a frame."""

"""The JSON in the frames of Bedrock's event streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay import strict_json
from relay.errors import transport_error

if TYPE_CHECKING:
    from relay.eventstream import Frame


def parse(frame: Frame) -> dict[str, Any]:
    """Return the object that a frame carries.

    Raises:
        UpstreamError: it carries none.
    """
    try:
        body = strict_json.parse(frame.payload)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise transport_error("corrupt")
    return body


def parse_or_empty(payload: bytes) -> dict[str, Any]:
    """Return the object in a payload; an empty one where there is none."""
    try:
        return an_object(strict_json.parse(payload))
    except ValueError:
        return {}


def an_object(value: Any) -> dict[str, Any]:
    """Return a value if it is an object, or else an empty one."""
    return value if isinstance(value, dict) else {}

"""Takes the names of resources and accounts out of what Bedrock says, before it is told to a caller."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from relay import strict_json
from relay.eventstream import encode

if TYPE_CHECKING:
    from relay.eventstream import Frame

# ARNs, percent-encoded or not, and account ids.
_SECRETS = re.compile(r"arn(?::|%3A)[^\s,;'\")\]]+|(?<!\d)\d{12}(?!\d)", re.IGNORECASE)


def redact(text: str) -> str:
    """Return a text without them."""
    return _SECRETS.sub("…", text)


def redact_frame(frame: Frame) -> bytes:
    """Return a frame without them; where it has none, as it came."""
    headers = {name: redact(value) for name, value in frame.headers.items()}
    payload = _redact_payload(frame.payload)
    if payload == frame.payload and headers == frame.headers:
        return frame.data
    return encode(headers, payload)


def _redact_payload(payload: bytes) -> bytes:
    """Return JSON as JSON, whose escapes a name may end at or be written in, and anything else as text."""
    text = payload.decode(errors="replace")
    said = redact(text)
    try:
        body = strict_json.parse(payload)
    except ValueError:
        return payload if said == text else said.encode()
    told = _redact_value(body)
    return payload if (said, told) == (text, body) else json.dumps(told).encode()


def _redact_value(value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case list():
            return [_redact_value(item) for item in value]
        case dict():
            return {redact(name): _redact_value(member) for name, member in value.items()}
        case _:
            return value

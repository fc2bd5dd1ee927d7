"""JSON on one line, in UTF-8: what server-sent events and NDJSON are made of."""

from __future__ import annotations

import json
from typing import Any

_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_dump_ascii = json.JSONEncoder(separators=(",", ":")).encode
_LINE_ENDS_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")  # in JSON they are only ever white space
# Line ends to Unicode, though not to SSE or NDJSON: many readers of lines split at them all the same.
_LINE_ENDS_TO_ESCAPES = (
    ("\x85".encode(), rb"\u0085"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)


def dump(value: Any) -> bytes:
    """Return a value as one line of JSON."""
    try:
        line = _dump(value).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, the other half being in the next piece: JSON's escapes can carry it, UTF-8 cannot.
        return _dump_ascii(value).encode()
    return _escape_line_ends(line)


def one_line(document: bytes) -> bytes:
    """Return what is JSON already on one line, and otherwise in its own bytes."""
    return _escape_line_ends(document.translate(_LINE_ENDS_TO_SPACES))


def _escape_line_ends(line: bytes) -> bytes:
    if not line.isascii():
        for line_end, escape in _LINE_ENDS_TO_ESCAPES:
            line = line.replace(line_end, escape)
    return line

"""Bytes that come in pieces, each in base64 with an end of its own."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def joined(pieces: Sequence[str]) -> str | None:
    """Return the base64 of all of them; ``None`` where they are none."""
    try:
        whole = [b64decode(piece, validate=True) for piece in pieces]
    except ValueError:
        return None
    return pieces[0] if len(pieces) == 1 else b64encode(b"".join(whole)).decode()

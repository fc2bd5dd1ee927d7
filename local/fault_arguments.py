"""The kinds of arguments that faults have: how the text of a value is read, and what it must be."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.faults import Place


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a fault.

    Attributes:
        sign: what stands for its value where faults are listed.
        expected: what the value must be, in words.
        read: makes the value of its text; raises ``ValueError``.
        default: the text where none is given; without one the value is ``None`` then.
    """

    sign: str
    expected: str
    read: Callable[[str], Any]
    default: str | None = None

    def by_default(self, text: str) -> Argument:
        """Return the same with a default."""
        return replace(self, default=text)


def number(least: int, most: int) -> Argument:
    """Return a kind: a whole number between two others, or one of them."""

    def read(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError
        return value

    return Argument("N", f"a whole number from {least} to {most}", read)


def _matching(sign: str, expected: str, pattern: str) -> Argument:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return Argument(sign, expected, read)


def _one_of(sign: str, *words: str) -> Argument:
    return _matching(sign, f"one of {', '.join(words)}", "|".join(words))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1e6:
        raise ValueError
    return value


def _place(text: str) -> Place:
    return text if text in _EVENTS else int(COUNT.read(text))


# Those of ConverseStream and Amazon Nova, then those of Anthropic's Messages.
_EVENTS = (
    *("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop"),
    *("messageStop", "metadata"),
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
    *("message_delta", "message_stop"),
)

COUNT = number(0, 10**9)
SIZE = number(1, 10**9)
SECONDS = Argument("S", "a number of seconds from 0 to 1000000", _seconds)
PLACE = Argument("PLACE", f"a number of frames or one of {', '.join(_EVENTS)}", _place)
EVENT = _one_of("EVENT", *_EVENTS, "metrics")
# Fit for headers.
NAME = _matching("NAME", "up to 100 of a-z, A-Z, 0-9, _, - and .", r"[A-Za-z0-9_.-]{0,100}")
WORD = _matching("WORD", "1 to 1000 letters, none of them a space", r"\S{1,1000}")

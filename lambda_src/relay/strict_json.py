"""JSON as RFC 8259 has it: UTF-8, no ``NaN`` and nothing that becomes it, no depth that exhausts the stack.

Python's own parser also guesses other encodings, takes ``NaN`` and makes ``Infinity`` of ``1e999``; what it took would
go on as no JSON at all.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


class NotStrict(ValueError):
    """What Python's own parser would have taken; says what it is."""


def _no_constant(_name: str) -> NoReturn:
    raise NotStrict("no finite number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotStrict("no finite number")
    return value


# Far beyond what anyone means, far below what exhausts the stack of whatever reads it next.
_MAX_DEPTH = 100

# Each takes up to two hundred bytes of memory for the two that it has here; texts with so many braces are longer than
# models read.
_MOST_CONTAINERS = 500_000

_decode = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite).decode


def parse(data: bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none; a ``JSONDecodeError`` where there is a place to point at.
    """
    if data.count(b"{") + data.count(b"[") > _MOST_CONTAINERS:
        raise NotStrict("too many objects and lists")
    try:
        value = _decode(data.decode())
    except RecursionError:
        raise NotStrict("nested too deeply") from None
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Refuse what is nested more deeply than anyone means.

    Raises:
        ValueError: it is.
    """
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise NotStrict("nested too deeply")


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()

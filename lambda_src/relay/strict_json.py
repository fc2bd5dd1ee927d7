"""JSON as RFC 8259 has it: UTF-8, no ``NaN`` and nothing that becomes it, no depth that exhausts the stack.

Python's own parser also guesses other encodings, takes ``NaN`` and makes ``Infinity`` of ``1e999``; what it took would
go on as no JSON at all.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


_decode = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite).decode


def parse(data: bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none; a ``JSONDecodeError`` where there is a place to point at.
    """
    try:
        return _decode(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None

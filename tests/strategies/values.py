"""Values, JSON, and ways to cut both, drawn at random."""

from __future__ import annotations

import json
import re
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hypothesis.strategies import DrawFn


def paired(text: str) -> str:
    """Return text with its surrogates as JSON's readers have them: a pair is one character, a half is itself."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def in_unicode(text: str) -> str:
    """Return text whose surrogates are paired as far as they can be; what is left is no character."""
    return re.sub("[\ud800-\udfff]", "\ufffd", paired(text))


# Line ends by any standard, the borders of each wire format, halves of surrogate pairs, characters of every length.
_ALPHABET = '\n\r\u2028\u2029\x85\x0b\x1e\x00\ufeff: {}[]"\\data/ping,ü𝕏🦦\ud83e\udda6'
_CHARACTERS = st.sampled_from(_ALPHABET) | st.characters()
TEXT = st.text(_CHARACTERS, max_size=12).map(paired)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=2)
NO_JSON = st.binary(max_size=8).map(lambda data: b"\xff" + data) | st.sampled_from(
    [b"", b"{", b'{"a":NaN}', b"[1e999]", b'"\n"', b"[" * 200, b'{"a":1}x', b"\xef\xbb\xbf{}"]
)
NO_OBJECT = NO_JSON | st.sampled_from([b"[]", b"1", b"null", b'"{}"'])
NO_COUNT = 10**400  # a number all the same
COUNTS = st.integers(0, 100_000)
SIZES = st.sampled_from([[1], [100_000]]) | st.lists(st.integers(1, 60), min_size=1, max_size=4)


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Yield bytes in pieces of these sizes, over and over: what a transport may make of them."""
    at = 0
    for size in cycle(sizes):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


@st.composite
def written(draw: DrawFn, value: Any) -> bytes:
    """Draw a way to write JSON: with escapes or without, with white space or without."""
    separators = draw(st.sampled_from([(",", ":"), (" ,\r\n", "\t: ")]))
    try:
        return json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators).encode()
    except UnicodeEncodeError:  # half a surrogate pair needs an escape
        return json.dumps(value, separators=separators).encode()


@st.composite
def split_texts(draw: DrawFn) -> list[str]:
    """Draw a text in pieces, cut between the code units of UTF-16 as JSON's escapes can be; some may be empty."""
    units = draw(st.text(_CHARACTERS, min_size=1, max_size=30)).encode("utf-16-le", "surrogatepass")
    cuts = draw(st.lists(st.integers(0, len(units) // 2), max_size=4))
    borders = [0, *sorted(2 * unit for unit in cuts), len(units)]
    return [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in pairwise(borders)]

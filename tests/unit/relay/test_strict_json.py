from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import strict_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.booleans())
def test_json_is_read(value: Any, ascii_only: bool) -> None:  # noqa: FBT001  # hypothesis gives it
    """Whatever Python can say in JSON is read back, escaped or not."""
    try:
        data = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair has no UTF-8
    assert strict_json.parse(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"{'a': 1}",
        b'{"a": NaN}',
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\n"',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        '{"a":1}'.encode("utf-8-sig"),
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"1" * 10_000,
    ],
)
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    """No JSON, no UTF-8, no number, no end to the nesting: one kind of error."""
    with pytest.raises(ValueError):  # noqa: PT011  # its words are not shown
        strict_json.parse(data)


@given(st.binary())
def test_any_bytes_are_json_or_a_value_error(data: bytes) -> None:
    """Nothing else gets out, and what got in can be written again."""
    try:
        value = strict_json.parse(data)
    except ValueError:
        return
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(("depth", "accepted"), [(100, True), (101, False), (100_000, False)])
def test_depth_is_bounded(depth: int, accepted: bool) -> None:  # noqa: FBT001  # a case
    """A hundred levels are enough for anyone; more would exhaust the stack of whoever reads on."""
    data = b"[" * depth + b"]" * depth
    if accepted:
        strict_json.parse(data)
    else:
        with pytest.raises(ValueError, match="nested too deeply"):
            strict_json.parse(data)

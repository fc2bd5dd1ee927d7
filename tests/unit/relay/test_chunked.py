from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.chunked import ChunkError, dechunk

if TYPE_CHECKING:
    from collections.abc import Iterable

ENDS = [b"0\r\n\r\n", b"000\r\n\r\n", b"0;a=b\r\nname: value\r\nother: value\r\n\r\n"]
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _coded(chunks: Iterable[bytes], size: str = "{:x}") -> bytes:
    return b"".join(size.format(len(c)).encode() + b"\r\n" + c + b"\r\n" for c in chunks)


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    parts: list[bytes] = []
    while data:
        size = sizes[len(parts) % len(sizes)]
        parts.append(data[:size])
        data = data[size:]
    return parts


def _h11(data: bytes) -> bytes | None:
    """Return what h11 makes of a body; nothing where it is none."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(HEAD + data)
    body = b""
    try:
        while True:
            match client.next_event():
                case h11.Data(data=piece):
                    body += piece
                case h11.EndOfMessage():
                    return body if client.trailing_data[0] == b"" else None
                case h11.NEED_DATA:
                    return None
                case _:
                    pass
    except h11.RemoteProtocolError:
        return None


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    end=st.sampled_from(ENDS),
    size=st.sampled_from(["{:x}", "{:X}", "00{:x}", "{:x} ", "{:x};name=value"]),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=5),
)
def test_the_body_is_that_of_h11(
    chunks: list[bytes], end: bytes, size: str, sizes: list[int]
) -> None:
    """However it is cut and coded, the body comes out, and each byte of it with the part that brought it."""
    data = _coded(chunks, size) + end
    read = 0

    def parts() -> Iterable[bytes]:
        nonlocal read
        for part in _cut(data, sizes):
            read += len(part)
            yield part

    got = b""
    for piece in dechunk(parts()):
        got += piece
        # Nothing that has arrived is kept back.
        came, at = 0, 0
        for chunk in chunks:
            at += len(_coded([chunk], size)) - len(chunk) - 2
            came += max(0, min(len(chunk), read - at))
            at += len(chunk) + 2
        assert len(got) == came
    assert got == b"".join(chunks) == _h11(data)
    assert read == len(data)


@given(
    data=st.lists(
        st.sampled_from(
            [b"1", b"a", b"0", b"\r\n", b"\r", b"\n", b"x", b";", b"1\r\nx\r\n", b"0\r\n\r\n"]
        ),
        max_size=12,
    ).map(b"".join),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
)
def test_what_h11_refuses_is_refused(data: bytes, sizes: list[int]) -> None:
    """Sizes that are none, chunks that are longer, what is cut short, and what comes after the end."""
    judged = _h11(data)
    try:
        got = b"".join(dechunk(_cut(data, sizes)))
    except ChunkError:
        # h11 takes lines that end in a line feed alone, which nobody needs.
        assert judged is None or b"\n" in data.replace(b"\r\n", b"")
    else:
        assert got == judged or (judged is None and data != got)


@pytest.mark.parametrize(
    "bad", [b"-1", b"+5", b"0x5", b"5_0", b"", b" ", b"g", b"f" * 16, b"1 1", b"x" * 70_000]
)
def test_what_came_before_a_fault_is_told(bad: bytes) -> None:
    """A chunk whose size is none ends the body, but not before what is well."""
    got: list[bytes] = []
    with pytest.raises(ChunkError):
        got.extend(dechunk([b"3\r\nabc\r\n" + bad + b"\r\nx"]))
    pieces = dechunk([b"3\r\nabc\r\n" + bad + b"\r\nx"])
    assert next(pieces) == b"abc"


@pytest.mark.parametrize(
    "data", [b"", b"5\r\nab", b"3\r\nabc", b"3\r\nabc\r\n", b"0\r\n", b"0\r\nx: y\r\n"]
)
def test_a_body_that_ends_too_early_says_so(data: bytes) -> None:
    """Only its own end is its end."""
    with pytest.raises(ChunkError, match="too early"):
        list(dechunk([data]))


def test_nothing_comes_after_the_end() -> None:
    """What does is no part of the body, and the connection is not to be used again."""
    with pytest.raises(ChunkError, match="after the end"):
        list(dechunk([b"1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK"]))

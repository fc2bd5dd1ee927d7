# ruff: noqa: TID251  # botocore is the judge

from __future__ import annotations

import random
import struct
import time
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from relay.eventstream import Frame, FrameCut, FrameError, encode, read_frames

if TYPE_CHECKING:
    from collections.abc import Iterable

# One frame, field by field, its checksums computed by hand with zlib.
BY_HAND = (
    b"\x00\x00\x00\x34"  # 52 bytes in all
    b"\x00\x00\x00\x22"  # 34 of headers
    + struct.pack("!I", crc32(b"\x00\x00\x00\x34\x00\x00\x00\x22"))
    + b"\x0b:event-type\x07\x00\x05chunk"
    + b"\x01t\x00"  # true
    + b"\x03day\x02\x05"  # a byte
    + b"\x01x\x07\x00\x00"  # an empty string
    + b"\x7b\x7d"
)
BY_HAND += struct.pack("!I", crc32(BY_HAND))

HEADERS = {":event-type": "contentBlockDelta", ":message-type": "event", "ü": "Grüße"}
STREAM = [
    encode(HEADERS, b'{"a":"b"}'),
    encode({":event-type": "x"}, b""),
    encode({}, bytes(range(256))),
    encode({}, b""),
]


def _read(pieces: Iterable[bytes]) -> list[Frame]:
    return list(read_frames(pieces))


def _frame(headers: bytes, payload: bytes = b"") -> bytes:
    """Return a frame with headers encoded elsewhere; its checksums are right."""
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack("!I", crc32(lengths)) + headers + payload
    return message + struct.pack("!I", crc32(message))


def test_a_frame_made_by_hand_is_read() -> None:
    """Headers, payload and the bytes themselves are what was written; headers that are no strings are passed over."""
    (frame,) = _read([BY_HAND])
    assert frame == Frame(BY_HAND, {":event-type": "chunk", "x": ""}, b"{}")


def test_a_frame_by_itself_is_given_at_once() -> None:
    """A frame is yielded when its last byte is in, and before the next byte is asked for."""
    asked = 0

    def one_by_one() -> Iterable[bytes]:
        nonlocal asked
        for data in STREAM:
            for at in range(len(data)):
                asked += 1
                yield data[at : at + 1]

    sizes = []
    for frame in read_frames(one_by_one()):
        sizes.append(len(frame.data))
        assert asked == sum(sizes)
    assert sizes == [len(data) for data in STREAM]


@given(st.lists(st.integers(0, sum(map(len, STREAM)))))
def test_the_borders_of_pieces_mean_nothing(cuts: list[int]) -> None:
    """However the bytes are cut, empty pieces included, the frames are the same."""
    data = b"".join(STREAM)
    borders = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(borders)]
    read = _read(pieces)
    assert [frame[:3] for frame in read] == [frame[:3] for frame in _read([data])]
    # Whether the next one is there is told with each.
    ends = list(accumulate(map(len, STREAM)))
    came = [next(border for border in borders[1:] if border >= end) for end in ends]
    assert [frame.more for frame in read] == [a == b for a, b in pairwise([*came, -1])]
    assert [frame.data for frame in _read([data])] == STREAM


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode()) < 256),
        st.text(max_size=200),
    ),
    st.binary(),
)
def test_what_is_encoded_is_read_back(headers: dict[str, str], payload: bytes) -> None:
    """Encoding and reading are inverse to each other, and botocore reads the same."""
    data = encode(headers, payload)
    assert _read([data]) == [Frame(data, headers, payload)]
    judge = EventStreamBuffer()
    judge.add_data(data)
    (message,) = list(judge)
    assert (message.headers, message.payload) == (headers, payload)


def test_a_stream_cut_at_any_byte_is_noticed() -> None:
    """Between two frames nothing is missing; anywhere else ``FrameCut`` says so, after all whole frames."""
    data = b"".join(STREAM)
    borders = {sum(map(len, STREAM[:n])): n for n in range(len(STREAM) + 1)}
    for cut in range(len(data) + 1):
        seen: list[Frame] = []
        if cut in borders:
            seen.extend(read_frames([data[:cut]]))
            assert len(seen) == borders[cut]
        else:
            with pytest.raises(FrameCut, match="bytes into a frame"):
                seen.extend(read_frames([data[:cut]]))


@pytest.mark.parametrize("whole", [True, False])
def test_any_flipped_bit_is_noticed(*, whole: bool) -> None:
    """Lengths, checksums, headers, payload: a bit that changed anywhere never gives a frame."""
    data = encode(HEADERS, b'{"a":"b"}')
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        size = len(damaged) if whole else 1
        pieces = [bytes(damaged[at : at + size]) for at in range(0, len(damaged), size)]
        with pytest.raises(FrameError):
            _read(pieces)


def test_frames_before_the_damage_are_given() -> None:
    """The damage of one frame takes nothing from those before it."""
    frames = read_frames([STREAM[0] + STREAM[1] + b"HTTP/1.1 200 OK"])
    assert [next(frames).data, next(frames).data] == STREAM[:2]
    with pytest.raises(FrameError, match="prelude checksum"):
        next(frames)


@pytest.mark.parametrize(
    ("total", "headers"),
    [(15, 0), (16, 1), (0, 0), (1 << 31, 0), (25 * 1024 * 1024, 0), (300_000, 128 * 1024 + 1)],
)
def test_lengths_out_of_bounds_are_refused_at_the_prelude(total: int, headers: int) -> None:
    """A length that cannot be is noticed at once, not waited for."""
    lengths = struct.pack("!II", total, headers)
    with pytest.raises(FrameError, match="lengths out of bounds"):
        _read([lengths + struct.pack("!I", crc32(lengths))])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (0, b""),
        (1, b""),
        (2, b"\x01"),
        (3, b"\x01\x02"),
        (4, b"\x01\x02\x03\x04"),
        (5, bytes(8)),
        (6, b"\x00\x03abc"),
        (8, bytes(8)),
        (9, bytes(16)),
    ],
)
def test_headers_of_every_other_type_are_passed_over(kind: int, value: bytes) -> None:
    """A header that is no string does not disturb those after it; botocore finds the same borders."""
    headers = b"\x01a\x07\x00\x01b" + b"\x05other" + bytes([kind]) + value + b"\x01c\x07\x00\x01d"
    (frame,) = _read([_frame(headers, b"payload")])
    assert frame.headers == {"a": "b", "c": "d"}
    assert frame.payload == b"payload"
    judge = EventStreamBuffer()
    judge.add_data(frame.data)
    assert {"a": "b", "c": "d"}.items() <= next(judge).headers.items()


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05ab",  # the name goes on behind the headers
        b"\x01a",  # no type
        b"\x01a\x0a",  # no such type
        b"\x01a\x07",  # no length
        b"\x01a\x07\x00",  # half a length
        b"\x01a\x07\x00\x05abc",  # a value longer than the headers
        b"\x01a\x05abc",  # as well, of fixed size
        b"\x01\xff\x07\x00\x01a",  # a name that is no UTF-8
        b"\x01a\x07\x00\x01\xff",  # a value that is none
    ],
)
def test_malformed_headers_are_refused(headers: bytes) -> None:
    """What does not parse to the last byte is an error, also where the checksums hold."""
    with pytest.raises(FrameError):
        _read([_frame(headers, b"payload that must not be read as headers")])


def test_header_blocks_are_told_apart() -> None:
    """Headers are remembered by their bytes: many different blocks, and the same again, are all read rightly."""
    stream = [encode({"n": str(n % 100)}, b"") for n in range(300)]
    assert [frame.headers["n"] for frame in _read(stream)] == [str(n % 100) for n in range(300)]


def test_a_huge_frame_in_small_pieces_takes_linear_time() -> None:
    """The longest frame there is, in pieces of a packet, is not copied over and over."""

    def seconds(size: int) -> float:
        data = encode({}, bytes(size))
        pieces = [data[at : at + 1460] for at in range(0, len(data), 1460)]
        began = time.process_time()
        assert len(_read(pieces)) == 1
        return time.process_time() - began

    seconds(1 << 20)
    assert seconds(24 << 20) < 2, "24 MiB"


def test_many_frames_in_one_piece_take_linear_time() -> None:
    """A backlog that arrives at once is not copied over and over."""
    data = encode(HEADERS, b"x" * 50) * 50_000
    began = time.process_time()
    assert sum(1 for _ in read_frames([data])) == 50_000
    assert time.process_time() - began < 3


def test_random_bytes_never_do_worse_than_an_error() -> None:
    """Whatever comes, it is frames or a ``FrameError``."""
    dice = random.Random(1)
    for _ in range(2000):
        data = bytearray(b"".join(dice.choices(STREAM, k=3)))
        for _ in range(dice.randrange(4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with suppress(FrameError):
            _read([bytes(data)])

"""The AWS event stream encoding (``application/vnd.amazon.eventstream``), read and written without loss.

A frame, all integers big-endian::

    total length  4 bytes   of the whole frame
    headers length 4 bytes
    prelude CRC   4 bytes   CRC-32 of the 8 bytes before it
    headers                 name length 1, name, type 1, value (a string: length 2, UTF-8)
    payload
    message CRC   4 bytes   CRC-32 of all bytes before it

botocore's own reader drops the events that its service model does not list, and says nothing when a stream ends within
a frame (facts 15 and 17). This one keeps each frame's bytes as they came and accounts for every one of them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct("!III")
_LENGTH = _CRC = struct.Struct("!I")
_OVERHEAD = _PRELUDE.size + _CRC.size
# The format's own bounds: 128 KiB of headers and 24 MiB of payload.
_MAX_HEADERS = 128 * 1024
_MAX_FRAME = 24 * 1024 * 1024 + _MAX_HEADERS + _OVERHEAD

_STRING = 7
# Bytes that a header value takes by its type: true, false, byte, short, int, long; timestamp, uuid.
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
# Byte arrays and strings carry their own length.
_SIZED = {6, _STRING}


class FrameError(ValueError):
    """The bytes are no event stream: a checksum or a length does not hold."""


class FrameCut(FrameError):
    """The bytes ended within a frame."""


class Frame(NamedTuple):
    """One message of an event stream.

    Attributes:
        data: the whole frame, as it came.
        headers: its string headers, such as ``:event-type``. Shared between frames: read only.
        payload: what it carries, mostly JSON.
        more: whether the next one has arrived with it.
    """

    data: bytes
    headers: Mapping[str, str]
    payload: bytes
    more: bool = False


def read_frames(pieces: Iterable[bytes]) -> Iterator[Frame]:
    """Yield the frames of a byte stream, each as soon as its last byte is in.

    The pieces may be cut anywhere: their borders mean nothing.

    Raises:
        FrameError: a checksum or a length does not hold.
        FrameCut: the pieces ended within a frame.
    """
    buffer = bytearray()
    known_headers: dict[bytes, Mapping[str, str]] = {}
    for piece in pieces:
        buffer += piece
        start = 0
        while len(buffer) - start >= _PRELUDE.size:
            total, headers_length = _read_prelude(buffer, start)
            end = start + total
            if len(buffer) < end:
                break
            data = bytes(buffer[start:end])
            if crc32(data[:-4]) != _CRC.unpack_from(data, total - 4)[0]:
                raise FrameError(f"message checksum does not match in a frame of {total} bytes")
            payload_at = _PRELUDE.size + headers_length
            encoded = data[_PRELUDE.size : payload_at]
            # A stream repeats a handful of header blocks: each is parsed once.
            headers = known_headers.get(encoded)
            if headers is None:
                headers = known_headers[encoded] = _parse_headers(encoded)
                if len(known_headers) > 64:
                    known_headers.clear()
            yield Frame(data, headers, data[payload_at:-4], _has_frame(buffer, end))
            start = end
        del buffer[:start]
    if buffer:
        raise FrameCut(f"the stream ended {len(buffer)} bytes into a frame")


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one frame with string headers, in the order given."""
    encoded = b"".join(
        b"%c%b%c%b%b" % (len(name), name, _STRING, len(value).to_bytes(2), value)
        for name, value in ((n.encode(), v.encode()) for n, v in headers.items())
    )
    lengths = struct.pack("!II", _OVERHEAD + len(encoded) + len(payload), len(encoded))
    message = lengths + _CRC.pack(crc32(lengths)) + encoded + payload
    return message + _CRC.pack(crc32(message))


def _has_frame(buffer: bytearray, at: int) -> bool:
    """Tell whether all of a frame seems to be there."""
    left = len(buffer) - at
    return left >= _OVERHEAD and _LENGTH.unpack_from(buffer, at)[0] <= left


def _read_prelude(buffer: bytearray, at: int) -> tuple[int, int]:
    """Return the total and the headers length of the frame that begins at ``at``."""
    total, headers_length, checksum = _PRELUDE.unpack_from(buffer, at)
    if crc32(buffer[at : at + 8]) != checksum:
        raise FrameError("prelude checksum does not match")
    if headers_length > _MAX_HEADERS or not headers_length + _OVERHEAD <= total <= _MAX_FRAME:
        raise FrameError(f"lengths out of bounds: {total} in all, {headers_length} of headers")
    return total, headers_length


def _parse_headers(encoded: bytes) -> dict[str, str]:
    """Return the string headers; the other types, which Bedrock does not send, are passed over."""
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(encoded):
            value_at = at + 2 + encoded[at]
            name = encoded[at + 1 : value_at - 1].decode()
            kind = encoded[value_at - 1]
            if kind in _SIZED:
                (size,) = struct.unpack_from("!H", encoded, value_at)
                value_at += 2
            else:
                size = _FIXED_SIZES[kind]
            at = value_at + size
            if at > len(encoded):
                raise FrameError("a header is longer than the headers")
            if kind == _STRING:
                headers[name] = encoded[value_at:at].decode()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise FrameError("malformed headers") from error
    return headers

"""The chunked transfer coding of HTTP/1.1 (RFC 9112, section 7.1), taken apart as fast as it comes.

Bedrock sends each event in a chunk of its own. The libraries on the way read one chunk at a time, which costs more than
all that is done with it afterwards; this takes whatever has arrived.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?", re.DOTALL)
_LONGEST_LINE = 64 * 1024


class ChunkError(ValueError):
    """The bytes are no chunked body, or not all of one."""


def dechunk(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what each part of a chunked body brings, and stop at the body's own end.

    Args:
        parts: the body, cut anywhere.

    Raises:
        ChunkError: it is none, it ends too early, or something comes after it.
    """
    body = _Body()
    for part in parts:
        if brought := body.take(part):
            yield brought
        if body.error:
            raise body.error
        if body.ended:
            return
    raise ChunkError("the body ended too early")


class _Body:
    """A chunked body that is being read.

    Attributes:
        ended: whether its own end has been read.
        error: what is wrong with it, from there on.
    """

    def __init__(self) -> None:
        self.ended = False
        self.error: ChunkError | None = None
        self._pending = b""
        self._left = 0  # bytes of the chunk that is being read
        self._read_line = self._read_size

    def take(self, part: bytes) -> bytes:
        """Return what a part brings."""
        brought: list[bytes] = []
        try:
            self._take(part, brought)
        except ChunkError as error:
            self.error = error
        return b"".join(brought)

    def _take(self, part: bytes, brought: list[bytes]) -> None:
        data = self._pending + part if self._pending else part
        at = 0
        while not self.ended:
            if self._left:
                piece = data[at : at + self._left]
                brought.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._read_line = self._read_end_of_chunk
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > _LONGEST_LINE:
                    raise ChunkError("a line is too long")
                break
            self._read_line(data[at:end])
            at = end + 2
        self._pending = data[at:]
        if self.ended and self._pending:
            raise ChunkError("something comes after the end")

    def _read_size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise ChunkError("a chunk has no size")
        self._left = int(match[1], 16)
        if not self._left:
            self._read_line = self._read_trailer

    def _read_end_of_chunk(self, line: bytes) -> None:
        if line:
            raise ChunkError("a chunk is longer than it says")
        self._read_line = self._read_size

    def _read_trailer(self, line: bytes) -> None:
        self.ended = not line

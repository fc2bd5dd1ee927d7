"""One HTTP/1.1 connection of a server: bytes in and out of h11, and nothing held back on the way.

asyncio calls the upper half of `Connection`, `http1.py` the lower. Reading stops when nobody asks
for what has arrived, writing waits while the peer takes no more, and `left` tells when the peer
has gone. asyncio sets TCP_NODELAY on every connection by itself.
"""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251  # the option that makes a reset has no other name
import struct
from typing import TYPE_CHECKING, cast

import h11

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_READ_AHEAD = 256 * 1024  # bytes taken from the network before anyone asks for them
_HEADERS_LIMIT = 1024 * 1024  # an error trailer carries a whole stack trace (fact 31)


class PeerLeft(Exception):
    """Nobody reads what is written from now on."""


class Connection(asyncio.Protocol):
    """A connection.

    Attributes:
        left: done once the peer has ended its side; it may still read a last answer.
        lost: done once the connection is closed on both sides.
        task: what serves the connection, from its begin to its end.
    """

    task: asyncio.Task[None]
    _transport: asyncio.Transport

    def __init__(self, serve: Callable[[Connection], Coroutine[None, None, None]]) -> None:
        loop = asyncio.get_running_loop()
        self.left: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._serve = serve
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADERS_LIMIT)
        self._unread = 0
        self._arrival: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast("asyncio.Transport", transport)
        self.task = asyncio.get_running_loop().create_task(self._serve(self))

    def data_received(self, data: bytes) -> None:
        """Take what arrived; no more of it while nobody reads."""
        self._h11.receive_data(data)
        self._unread += len(data)
        if self._unread > _READ_AHEAD:
            self._transport.pause_reading()
        _resolve(self._arrival)

    def eof_received(self) -> bool:
        """Note that the peer sends no more; a last answer may still reach it."""
        self._h11.receive_data(b"")
        _resolve(self._arrival)
        _resolve(self.left)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Wake whoever waits for the peer."""
        self._h11.receive_data(b"")
        for future in (self._arrival, self._drained, self.left, self.lost):
            _resolve(future)

    def pause_writing(self) -> None:
        """Let writers wait."""
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let writers go on."""
        _resolve(self._drained)
        self._drained = None

    @property
    def address(self) -> str:
        """The peer's address."""
        return str(self._transport.get_extra_info("peername")[0])

    @property
    def expects_request_body(self) -> bool:
        """Whether a request's end has not been read yet."""
        return self._h11.their_state is h11.SEND_BODY

    @property
    def may_answer(self) -> bool:
        """Whether the head of an answer can still be sent."""
        return self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    async def next_event(self) -> object:
        """Return the h11 event that the peer causes next.

        Raises:
            h11.RemoteProtocolError: it sent what is no HTTP, or left within a message.
        """
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._unread = 0
            self._transport.resume_reading()
            if self._h11.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        return event

    def start_next_cycle(self) -> bool:
        """Make ready for the next request; return whether there can be one."""
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            return True
        return False

    async def send(self, event: h11.Event) -> None:
        """Hand an event's bytes to the network; wait while it takes no more.

        Raises:
            PeerLeft: the connection is gone.
            h11.LocalProtocolError: the event does not fit; nothing was sent.
        """
        data = self._h11.send(event)
        if self._transport.is_closing():
            raise PeerLeft
        self._transport.write(data or b"")
        if self._drained is not None:
            await self._drained

    def close(self) -> None:
        """Send what was written, then end the connection."""
        self._transport.close()

    def reset(self) -> None:
        """End the connection at once, as a crashed peer does: by a TCP reset."""
        if not self.lost.done():
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


def _resolve(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)

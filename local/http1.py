"""A small HTTP/1.1 server made for streams: no piece is held, joined or re-split.

It exists because the Runtime API needs what no ready-made server gives together: the trailers of a
request, an answer while the request's body is still arriving, each piece of an answer written at
once as its own chunk, and word of a peer that left. h11 is the protocol, `connection.py` moves its
bytes. A handler is a coroutine that gets one `Exchange`: a request and the means to answer it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h11

from local.connection import Connection, PeerLeft

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
    from typing import Self, TypeAlias

    Handler: TypeAlias = "Callable[[Exchange], Awaitable[None]]"
    Headers: TypeAlias = "Iterable[tuple[str, str]]"

_LINGER = 1.0  # seconds that the rest of an unread request is passed over before closing

_log = logging.getLogger(__name__)


class BodyCut(Exception):
    """A request's body ended before its end."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request.

    Attributes:
        method: as sent.
        path: as sent, still percent-encoded, without the query.
        query: as sent, without the question mark.
        headers: names in lower case, in the order sent.
        http_version: such as ``1.1``.
        peer: the address it came from.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    http_version: str
    peer: str

    def header(self, name: str) -> str | None:
        """Return a header's value, several joined with commas, or ``None``."""
        values = [value for key, value in self.headers if key == name]
        return ",".join(values) if values else None


class Exchange:
    """One request and its answer.

    Attributes:
        request: its head.
        trailers: what followed its body, once that is read.
        started: whether the head of the answer is out.
        left: done once the peer has ended its side of the connection.
    """

    def __init__(self, connection: Connection, request: Request) -> None:
        self.request = request
        self.trailers: dict[str, str] = {}
        self.started = False
        self.left = connection.left
        self._connection = connection
        self._bodiless = request.method == "HEAD"

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the request's body, each piece as it arrives; afterwards the trailers are known.

        Raises:
            BodyCut: the peer left, or sent what is no body, before its end.
        """
        while self._connection.expects_request_body:
            try:
                event = await self._connection.next_event()
            except h11.RemoteProtocolError as error:
                raise BodyCut(str(error)) from error
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.trailers = dict(_text(event.headers))

    async def read(self, limit: int) -> bytes | None:
        """Return the whole body, or ``None`` as soon as it is longer than the limit."""
        body = bytearray()
        async for piece in self.body():
            body += piece
            if len(body) > limit:
                return None
        return bytes(body)

    async def start(self, status: int, headers: Headers = ()) -> None:
        """Send the head of the answer. Without a content-length the body will be chunked.

        Raises:
            PeerLeft: nobody is there to read it.
            h11.LocalProtocolError: a header is not fit to be sent; nothing was.
        """
        self._bodiless |= status in {204, 304}
        await self._connection.send(h11.Response(status_code=status, headers=list(headers)))
        self.started = True

    async def write(self, piece: bytes) -> None:
        """Send one piece of the body, at once and as one chunk; wait while the peer is slower.

        Raises:
            PeerLeft: nobody is there to read it.
        """
        if self.left.done():
            raise PeerLeft
        if piece and not self._bodiless:
            await self._connection.send(h11.Data(data=piece))

    async def finish(self) -> None:
        """End the answer properly."""
        await self._connection.send(h11.EndOfMessage())

    async def answer(self, status: int, body: bytes, headers: Headers) -> None:
        """Send a whole answer."""
        await self.start(status, [*headers, ("content-length", str(len(body)))])
        if not self._bodiless:
            await self._connection.send(h11.Data(data=body))
        await self.finish()

    async def answer_json(self, status: int, value: Any, headers: Headers = ()) -> None:
        """Send a whole answer in JSON."""
        body = json.dumps(value, ensure_ascii=False).encode()
        await self.answer(status, body, [("content-type", "application/json"), *headers])

    def cut(self) -> None:
        """Send what was written, then close the connection without the end of the answer."""
        self._connection.close()

    def reset(self) -> None:
        """Drop the connection at once, as a crashed peer does."""
        self._connection.reset()


class Server:
    """A server on a loopback port; ``async with`` closes it and its connections."""

    def __init__(self, handler: Handler) -> None:
        self.port = 0
        self._handler = handler
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, port: int = 0) -> Self:
        """Listen; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        connect = lambda: Connection(self._serve)  # noqa: E731  # asyncio wants a factory
        self._server = await loop.create_server(connect, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        """Stop listening and break every connection."""
        if self._server is not None:
            self._server.close()
        connections = tuple(self._connections)
        for connection in connections:
            connection.reset()
            connection.task.cancel()
        await asyncio.gather(
            *(c.task for c in connections), *(c.lost for c in connections), return_exceptions=True
        )

    async def __aenter__(self) -> Self:
        """Return itself, listening or not."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    def _serve(self, connection: Connection) -> Coroutine[None, None, None]:
        self._connections.add(connection)
        connection.lost.add_done_callback(lambda _: self._connections.discard(connection))
        return self._requests(connection)

    async def _requests(self, connection: Connection) -> None:
        try:
            while await self._serve_one(connection):
                pass
        except PeerLeft:
            pass
        finally:
            connection.close()

    async def _serve_one(self, connection: Connection) -> bool:
        """Serve one request; return whether the connection carries another."""
        try:
            event = await connection.next_event()
        except h11.RemoteProtocolError as error:
            await _refuse(connection, error)
            return False
        if not isinstance(event, h11.Request):
            return False
        exchange = Exchange(connection, _request(event, connection.address))
        try:
            await self._handler(exchange)
        except (PeerLeft, BodyCut):
            return False
        except Exception:  # noqa: BLE001  # whatever it was, the other connections go on
            _log.exception("a handler failed: this is a bug in local/")
            if not exchange.started:
                await exchange.answer_json(500, {"message": "a bug in local/: see its log"})
            return False
        await _pass_over_body(exchange)
        return connection.start_next_cycle()


async def _pass_over_body(exchange: Exchange) -> None:
    """Read on after an early answer: closing now would make the peer lose it to a reset."""
    with suppress(TimeoutError, BodyCut):
        async with asyncio.timeout(_LINGER):
            async for _ in exchange.body():
                pass


async def _refuse(connection: Connection, error: h11.RemoteProtocolError) -> None:
    if connection.may_answer:
        headers = [("content-length", "0"), ("connection", "close")]
        await connection.send(h11.Response(status_code=error.error_status_hint, headers=headers))


def _request(event: h11.Request, peer: str) -> Request:
    path, _, query = event.target.decode("latin-1").partition("?")
    return Request(
        method=event.method.decode(),
        path=path,
        query=query,
        headers=_text(event.headers),
        http_version=event.http_version.decode(),
        peer=peer,
    )


def _text(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)

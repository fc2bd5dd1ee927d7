"""A function URL on this machine: HTTP in, payload-2.0 event to the function, its answer out while it comes.

In invoke mode ``RESPONSE_STREAM`` each piece that the function sends goes out at once as a chunk of its own. A failure
before the first byte is a 502, one in mid-stream just ends the connection, as callers see no trailers (fact 35). In
mode ``BUFFERED`` the answer is collected and read as a proxy response.
"""

from __future__ import annotations

from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING

import h11

from local.connection import PeerLeft
from local.cors import Cors
from local.event import to_event
from local.http1 import Exchange, Server
from local.http_response import HTTP_INTEGRATION, BadResponse, Head, PreludeReader, proxy_response
from local.invocation import Failure, Invocation, Throttled, new_trace_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from local.environments import Environments

REQUEST_LIMIT = 6 * 1024 * 1024  # of the event, so base64 counts
_BUFFERED_LIMIT = 6 * 1024 * 1024


class FunctionUrl:
    """A function URL."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        streams = environments.function.invoke_mode == "RESPONSE_STREAM"
        self._sink = _StreamingSink if streams else _BufferingSink
        self._cors = Cors(environments.function.cors_origins)
        self._server = Server(self._handle)

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.port}"

    async def start(self, port: int = 0) -> None:
        """Listen."""
        await self._server.listen(port)

    async def close(self) -> None:
        """Stop."""
        await self._server.close()

    async def _handle(self, exchange: Exchange) -> None:
        if self._cors.is_preflight(exchange.request):
            await exchange.answer(200, b"", self._cors.preflight(exchange.request))
            return
        body = await exchange.read(REQUEST_LIMIT)
        sink = self._sink(exchange)
        invocation = Invocation(
            b"", sink, trace_id=new_trace_id(exchange.request.header("x-amzn-trace-id"))
        )
        sink.headers = (
            ("date", formatdate(usegmt=True)),
            ("x-amzn-requestid", invocation.id),
            ("x-amzn-trace-id", invocation.trace_id),
            *self._cors.headers(exchange.request),
        )
        if body is not None:
            invocation.event = self._event(exchange, body, invocation)
        if body is None or len(invocation.event) > REQUEST_LIMIT:
            await exchange.answer_json(413, {"Message": "Request Entity Too Large"}, sink.headers)
            return
        try:
            failure = await self._environments.invoke(invocation)
        except Throttled:
            await exchange.answer_json(429, {"Message": "Rate Exceeded."}, sink.headers)
            return
        try:
            await sink.end(failure)
        except BadResponse as error:
            self._environments.log(f"RequestId: {invocation.id} Error: bad response: {error}")

    def _event(self, exchange: Exchange, body: bytes, invocation: Invocation) -> bytes:
        return to_event(
            exchange.request,
            body,
            region=self._environments.function.region,
            request_id=invocation.id,
            trace_id=invocation.trace_id,
            port=self._server.port,
        )


class _StreamingSink:
    """Sends an answer while it comes.

    Attributes:
        headers: those that Lambda adds.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.headers: tuple[tuple[str, str], ...] = ()
        self._exchange = exchange
        self._prelude: PreludeReader | None = None
        self._bad: BadResponse | None = None

    @property
    def caller_left(self) -> bool:
        """Whether the caller has gone."""
        return self._exchange.left.done()

    async def begin(self, content_type: str | None) -> None:
        """Wait for a prelude; where none is announced, the head is known already."""
        if content_type == HTTP_INTEGRATION:
            self._prelude = PreludeReader()
        else:
            await self._start(
                Head(200, (("content-type", content_type or "application/octet-stream"),))
            )

    async def write(self, piece: bytes) -> None:
        """Send a piece; what comes after what is no prelude goes nowhere."""
        if self._bad is not None:
            return
        if self._prelude is not None:
            try:
                found = self._prelude.read(piece)
                if found is None:
                    return
                self._prelude = None
                await self._start(found[0])
            except BadResponse as error:
                self._bad = error
                return
            piece = found[1]
        await _until_caller_leaves(self._exchange.write(piece))

    async def end(self, failure: Failure | None) -> None:
        """End the answer, properly only if all went well.

        Raises:
            BadResponse: the function sent no prelude; the caller was told.
        """
        if not self._exchange.started:
            await _bad_gateway(self._exchange, self.headers)
        elif failure is None:
            await self._exchange.finish()
        else:
            self._exchange.cut()
        if self._bad is not None:
            raise self._bad

    async def _start(self, head: Head) -> None:
        try:
            await _until_caller_leaves(
                self._exchange.start(head.status, (*head.headers, *self.headers))
            )
        except h11.LocalProtocolError as error:
            raise BadResponse(f"{error}; got {head}") from error


class _BufferingSink:
    """Collects an answer.

    Attributes:
        headers: those that Lambda adds.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.headers: tuple[tuple[str, str], ...] = ()
        self.caller_left = False  # an answer that is not sent yet cannot tell
        self._exchange = exchange
        self._payload = bytearray()
        self._size = 0
        self._has_prelude = False

    async def begin(self, content_type: str | None) -> None:
        """Note whether there will be a prelude."""
        self._has_prelude = content_type == HTTP_INTEGRATION

    async def write(self, piece: bytes) -> None:
        """Keep a piece."""
        self._size += len(piece)
        if self._size <= _BUFFERED_LIMIT:
            self._payload += piece

    async def end(self, failure: Failure | None) -> None:
        """Send the answer.

        Raises:
            BadResponse: it is none; the caller was told.
        """
        if failure is not None:
            await _bad_gateway(self._exchange, self.headers)
            return
        try:
            head, body = self._response()
            await self._exchange.answer(head.status, body, (*head.headers, *self.headers))
        except (BadResponse, h11.LocalProtocolError) as error:
            await _bad_gateway(self._exchange, self.headers)
            raise BadResponse(str(error)) from error

    def _response(self) -> tuple[Head, bytes]:
        if self._size > _BUFFERED_LIMIT:
            raise BadResponse(
                f"payload; expected at most {_BUFFERED_LIMIT} bytes; got {self._size}"
            )
        if not self._has_prelude:
            return proxy_response(bytes(self._payload))
        found = PreludeReader().read(bytes(self._payload))
        if found is None:
            raise BadResponse("prelude; expected its end, 8 NULs; got none")
        return found


async def _until_caller_leaves(sending: Awaitable[None]) -> None:
    with suppress(PeerLeft):
        await sending


async def _bad_gateway(exchange: Exchange, headers: Iterable[tuple[str, str]]) -> None:
    with suppress(PeerLeft):
        await exchange.answer(
            502, b"Internal Server Error", (("content-type", "text/plain"), *headers)
        )

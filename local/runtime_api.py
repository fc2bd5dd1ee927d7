"""Lambda's Runtime API (2018-06-01) as one execution environment sees it (facts 31 to 38).

`GET …/next` waits for an invocation; `POST …/response` takes its answer, whole or as a stream that goes on piece by
piece while it is being received; `POST …/error` and the trailers of a stream tell of failures. It answers as Lambda
does, also where that surprises: when the caller leaves, the function is not told, all its writes succeed, and only the
last answer is a 400.
"""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.http1 import BodyCut, Exchange, Server
from local.invocation import Failure, Invocation, first_done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_ROOT = "/2018-06-01/runtime"
_INVOCATION_PATH = re.compile(rf"{_ROOT}/invocation/([^/]+)/(response|error)")
_ERROR_TYPE = "lambda-runtime-function-error-type"
_ERROR_BODY = "lambda-runtime-function-error-body"


@dataclass(frozen=True, slots=True)
class Limits:
    """Lambda's limits.

    Attributes:
        buffered: bytes of an answer that is no stream: 6 MB and what Lambda adds.
        streamed: bytes of a stream.
        burst: bytes of a stream that pass at full speed.
        bandwidth: bytes a second after that, 2 MB in Lambda; ``None`` for no limit.
        tell_when_caller_leaves: whether the function's connection breaks when the caller has gone. Lambda does not.
    """

    buffered: int = 6 * 1024 * 1024 + 100
    streamed: int = 200 * 1024 * 1024
    burst: int = 6 * 1024 * 1024
    bandwidth: float | None = None
    tell_when_caller_leaves: bool = False


class RuntimeApi:
    """The Runtime API of one environment.

    Attributes:
        ready: done once the function has started: ``None`` when it asks for its first invocation, or why it cannot.
    """

    def __init__(self, limits: Limits) -> None:
        self.ready: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        self._limits = limits
        self._offered: asyncio.Queue[Invocation] = asyncio.Queue()
        self._asked_again: asyncio.Future[None] | None = None
        self._unanswered: dict[str, Invocation] = {}
        self._server = Server(self._handle)
        self._calls: dict[tuple[str, str], Callable[[Exchange], Awaitable[None]]] = {
            ("GET", f"{_ROOT}/invocation/next"): self._next,
            ("POST", f"{_ROOT}/init/error"): self._init_error,
            ("GET", f"{_ROOT}/restore/next"): self._restore_next,
            ("POST", f"{_ROOT}/restore/error"): self._init_error,
        }

    @property
    def address(self) -> str:
        """Where it is, for ``AWS_LAMBDA_RUNTIME_API``."""
        return f"127.0.0.1:{self._server.port}"

    async def start(self) -> None:
        """Listen on a free port."""
        await self._server.listen()

    async def close(self) -> None:
        """Stop."""
        await self._server.close()

    def offer(self, invocation: Invocation) -> asyncio.Future[None]:
        """Hand over an invocation; what is returned is done once the function asks for the next one."""
        self._asked_again = asyncio.get_running_loop().create_future()
        self._unanswered[invocation.id] = invocation
        self._offered.put_nowait(invocation)
        return self._asked_again

    async def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        call = self._calls.get((request.method, request.path))
        match = _INVOCATION_PATH.fullmatch(request.path)
        if call is not None:
            await call(exchange)
        elif match is None or request.method != "POST":
            await exchange.answer_json(
                404, _error("NotFound", f"no {request.method} {request.path} here")
            )
        elif (invocation := self._unanswered.pop(match[1], None)) is None:
            await exchange.answer_json(400, _error("InvalidRequestID", "Invalid request ID"))
        elif match[2] == "error":
            await self._error(invocation, exchange)
        else:
            await self._response(invocation, exchange)

    async def _next(self, exchange: Exchange) -> None:
        """Answer with the next invocation, however long that takes."""
        self._resolve_ready(None)
        if self._asked_again is not None and not self._asked_again.done():
            self._asked_again.set_result(None)
        offered = asyncio.ensure_future(self._offered.get())
        await first_done(offered, exchange.left)
        if not offered.done():
            offered.cancel()
            return
        invocation = offered.result()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
            "Lambda-Runtime-Client-Context": invocation.client_context,
            "Lambda-Runtime-Aws-Tenant-Id": invocation.tenant_id,
            "Content-Type": "application/json",
        }
        await exchange.answer(200, invocation.event, [(k, v) for k, v in headers.items() if v])

    async def _response(self, invocation: Invocation, exchange: Exchange) -> None:
        mode = exchange.request.header("lambda-runtime-function-response-mode") or "buffered"
        take = self._take_stream if mode.lower() == "streaming" else self._take_whole
        await invocation.sink.begin(exchange.request.header("content-type"))
        try:
            await take(invocation, exchange)
        except BodyCut:
            message = "the response ended before its end"
            invocation.settle(Failure("Runtime.TruncatedResponse", message))
            await exchange.answer_json(400, _error("Runtime.TruncatedResponse", message))

    async def _take_whole(self, invocation: Invocation, exchange: Exchange) -> None:
        body = await exchange.read(self._limits.buffered)
        if body is None:
            await self._refuse_size(invocation, exchange, self._limits.buffered)
            return
        await invocation.sink.write(body)
        invocation.settle()
        await _accept(exchange)

    async def _take_stream(self, invocation: Invocation, exchange: Exchange) -> None:
        sink = invocation.sink
        size = 0
        async for piece in exchange.body():
            size += len(piece)
            if size > self._limits.streamed:
                await self._refuse_size(invocation, exchange, self._limits.streamed)
                return
            await sink.write(piece)
            await self._limit_bandwidth(size, len(piece))
            if sink.caller_left and self._limits.tell_when_caller_leaves:
                invocation.settle()
                exchange.reset()
                return
        invocation.settle(_told_in_trailers(exchange.trailers))
        if sink.caller_left:
            await exchange.answer_json(
                400, _error("TruncatedHTTPRequest", "HTTP request detected as truncated")
            )
        else:
            await _accept(exchange)

    async def _limit_bandwidth(self, size: int, latest: int) -> None:
        if self._limits.bandwidth is not None and size > self._limits.burst:
            await asyncio.sleep(latest / self._limits.bandwidth)

    async def _refuse_size(self, invocation: Invocation, exchange: Exchange, limit: int) -> None:
        message = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
        invocation.settle(Failure("Function.ResponseSizeTooLarge", message))
        await exchange.answer_json(413, _error("RequestEntityTooLarge", message))

    async def _error(self, invocation: Invocation, exchange: Exchange) -> None:
        invocation.settle(await self._told_in_body(exchange))
        await _accept(exchange)

    async def _init_error(self, exchange: Exchange) -> None:
        self._resolve_ready(await self._told_in_body(exchange))
        await _accept(exchange)

    async def _restore_next(self, exchange: Exchange) -> None:
        """Answer at once: at home nothing is frozen between the snapshot and its restore."""
        await exchange.answer_json(200, {})

    def _resolve_ready(self, failure: Failure | None) -> None:
        if not self.ready.done():
            self.ready.set_result(failure)

    async def _told_in_body(self, exchange: Exchange) -> Failure:
        body = await exchange.read(self._limits.buffered)
        return _failure(exchange.request.header(_ERROR_TYPE), body or b"")


def _told_in_trailers(trailers: dict[str, str]) -> Failure | None:
    """Return what a stream's trailers tell of an error, if they do (fact 31)."""
    if _ERROR_TYPE not in trailers and _ERROR_BODY not in trailers:
        return None
    try:
        body = b64decode(trailers.get(_ERROR_BODY, ""), validate=True)
    except ValueError:
        body = b""
    return _failure(trailers.get(_ERROR_TYPE), body)


def _failure(error_type: str | None, body: bytes) -> Failure:
    try:
        details = json.loads(body)
    except ValueError:
        details = None
    if not isinstance(details, dict):
        details = {}
    kind = error_type or str(details.get("errorType", "Runtime.Unknown"))
    return Failure(kind, str(details.get("errorMessage", "")), details)


async def _accept(exchange: Exchange) -> None:
    await exchange.answer_json(202, {"status": "OK"})


def _error(error_type: str, message: str) -> dict[str, Any]:
    return {"errorType": error_type, "errorMessage": message}

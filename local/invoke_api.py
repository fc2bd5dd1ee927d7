"""Lambda's InvokeWithResponseStream API on this machine: the way in for callers that are not HTTP (facts 35 and 39).

The payload is the function's event as it is; the answer is an AWS event stream of ``PayloadChunk`` events and then one
``InvokeComplete``, which tells of errors. Signatures are not checked.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote

from local.connection import PeerLeft
from local.http1 import Exchange, Server
from local.invocation import Failure, Invocation, Throttled, new_trace_id
from relay import eventstream

if TYPE_CHECKING:
    from local.environments import Environments

_PATH = re.compile(r"/2021-11-15/functions/([^/]+)/response-streaming-invocations")
_REQUEST_LIMIT = 6 * 1024 * 1024


class InvokeError(Exception):
    """What Lambda answers instead of invoking.

    Attributes:
        status: the HTTP status.
        code: such as ``ResourceNotFoundException``.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class InvokeApi:
    """The API, for one function."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self._server = Server(self._handle)

    @property
    def url(self) -> str:
        """Where it is, for an SDK's ``endpoint_url``."""
        return f"http://127.0.0.1:{self._server.port}"

    async def start(self) -> None:
        """Listen on a free port."""
        await self._server.listen()

    async def close(self) -> None:
        """Stop."""
        await self._server.close()

    async def _handle(self, exchange: Exchange) -> None:
        try:
            await self._invoke(exchange)
        except InvokeError as error:
            body = {"Type": "User", "Message": str(error)}
            await exchange.answer_json(error.status, body, [("x-amzn-ErrorType", error.code)])

    async def _invoke(self, exchange: Exchange) -> None:
        self._check_function(exchange)
        event = await exchange.read(_REQUEST_LIMIT)
        _check_event(event)
        if exchange.request.header("x-amz-invocation-type") == "DryRun":
            await exchange.answer(204, b"", ())
            return
        sink = _EventStreamSink(exchange)
        invocation = Invocation(
            event or b"{}",
            sink,
            trace_id=new_trace_id(exchange.request.header("x-amzn-trace-id")),
            client_context=_client_context(exchange),
            tenant_id=exchange.request.header("x-amz-tenant-id"),
        )
        sink.request_id = invocation.id
        try:
            failure = await self._environments.invoke(invocation)
        except Throttled as error:
            raise InvokeError(429, "TooManyRequestsException", "Rate Exceeded.") from error
        await sink.end(failure)

    def _check_function(self, exchange: Exchange) -> None:
        request = exchange.request
        match = _PATH.fullmatch(request.path)
        if match is None or request.method != "POST":
            raise InvokeError(
                404, "UnknownOperationException", f"no {request.method} {request.path} at home"
            )
        # A name, a partial ARN or a whole one, each perhaps with a qualifier.
        name = unquote(match[1])
        if name.rpartition("function:")[2].partition(":")[0] != self._environments.function.name:
            raise InvokeError(404, "ResourceNotFoundException", f"Function not found: {name}")


class _EventStreamSink:
    """Sends an answer while it comes, a frame a piece.

    Attributes:
        request_id: the invocation's.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.request_id = ""
        self._exchange = exchange

    @property
    def caller_left(self) -> bool:
        """Whether the caller has gone."""
        return self._exchange.left.done()

    async def begin(self, content_type: str | None) -> None:  # noqa: ARG002  # the stream has its own
        """Send the head."""
        with suppress(PeerLeft):
            await self._exchange.start(
                200,
                [
                    ("content-type", eventstream.CONTENT_TYPE),
                    ("x-amz-executed-version", "$LATEST"),
                    ("x-amzn-requestid", self.request_id),
                ],
            )

    async def write(self, piece: bytes) -> None:
        """Send a piece."""
        with suppress(PeerLeft):
            await self._exchange.write(_event("PayloadChunk", "application/octet-stream", piece))

    async def end(self, failure: Failure | None) -> None:
        """Say that it is complete, and why it failed if it did."""
        complete = {}
        if failure is not None:
            details = {
                "errorType": failure.type,
                "errorMessage": failure.message,
                **failure.details,
            }
            complete = {
                "ErrorCode": failure.type,
                "ErrorDetails": json.dumps(details, ensure_ascii=False),
            }
        if not self._exchange.started:
            await self.begin(None)
        await self._exchange.write(
            _event("InvokeComplete", "application/json", json.dumps(complete).encode())
        )
        await self._exchange.finish()


def _event(event_type: str, content_type: str, payload: bytes) -> bytes:
    headers = {":event-type": event_type, ":content-type": content_type, ":message-type": "event"}
    return eventstream.encode(headers, payload)


def _check_event(event: bytes | None) -> None:
    if event is None:
        message = f"Request must be smaller than {_REQUEST_LIMIT} bytes for the InvokeWithResponseStream operation"
        raise InvokeError(413, "RequestTooLargeException", message)
    try:
        json.loads(event or b"{}")
    except (ValueError, RecursionError) as error:
        message = f"Could not parse request body into json: {error}"
        raise InvokeError(400, "InvalidRequestContentException", message) from error


def _client_context(exchange: Exchange) -> str | None:
    given = exchange.request.header("x-amz-client-context")
    try:
        return given and b64decode(given, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        message = f"Client context must be a valid Base64-encoded JSON object: {error}"
        raise InvokeError(400, "InvalidRequestContentException", message) from error

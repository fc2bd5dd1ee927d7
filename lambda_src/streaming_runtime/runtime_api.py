"""Lambda's Runtime API, version 2018-06-01: the calls, and the response that is written while it is sent."""

from __future__ import annotations

import json
import math
import time
from base64 import b64encode
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from streaming_runtime.errors import ResponseClosed
from streaming_runtime.exchange import (
    NO_ANSWER,
    PATIENCE,
    Answer,
    Exchange,
    chunk,
    field_lines,
    request_head,
)
from streaming_runtime.response import http_prelude

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VERSION = "/2018-06-01"
_HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"
_PRELUDE_END = bytes(8)
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
# Up to here a chunk is joined with its size line and sent at once; above, the copy costs more than a second packet.
_JOIN_LIMIT = 64 * 1024
_LONGEST_WAIT = 86_400.0  # seconds: sockets take no timeouts of many years
# AWS's server takes no more than 4 KB of trailers: after longer ones the whole response counts as cut short.
_TRAILERS_LIMIT = 3_900
_ERROR_TYPE_LIMIT = 128


class RuntimeApi:
    """The Runtime API at ``AWS_LAMBDA_RUNTIME_API``: ``host:port``, and for some emulators a path after it."""

    def __init__(self, address: str, user_agent: str) -> None:
        self._authority, slash, path = address.partition("/")
        self._prefix = f"{slash}{path}".rstrip("/") + _VERSION
        self._fields = {"Host": self._authority, "User-Agent": user_agent, "Connection": "close"}

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer, for however long it takes (fact 38).

        Raises:
            OSError, HTTPException: the connection broke.
        """
        fields = {**self._fields, **(headers or {})}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        head = request_head(method, self._prefix + path, fields)
        with closing(Exchange(self._authority)) as exchange:
            exchange.send(
                head, body or b""
            )  # refused before its end or not, the answer is what counts
            return exchange.answer()

    def open_response(
        self,
        request_id: str,
        headers: Mapping[str, str],
        *,
        over_http: bool,
        deadline: float = math.inf,
    ) -> StreamedBody:
        """Return the body of a streamed response; the connection is made when it starts.

        Args:
            request_id: of the invocation.
            headers: of the request that carries the response.
            over_http: whether status and headers go before the body.
            deadline: until when a write waits for its reader, in seconds of ``time.monotonic``.
        """
        path = f"{self._prefix}/runtime/invocation/{request_id}/response"
        fields = {**self._fields, **headers}
        return StreamedBody(self._authority, path, fields, over_http=over_http, deadline=deadline)


class StreamedBody:
    """One ``POST …/response`` whose body is still being written (facts 31 to 35).

    Attributes:
        started: whether the request has been sent, so that only trailers can still tell of an error (fact 34).
    """

    streams = True

    def __init__(
        self,
        authority: str,
        path: str,
        fields: Mapping[str, str],
        *,
        over_http: bool,
        deadline: float = math.inf,
    ) -> None:
        self.started = False
        self._authority = authority
        self._path = path
        self._fields = fields
        self._over_http = over_http
        self._deadline = deadline
        self._exchange: Exchange | None = None
        self._answer: int | None = None
        self._trailers = b""

    def start(self, status: int, headers: Mapping[str, str], cookies: Sequence[str]) -> None:
        """Connect, and send the head of the request with the first bytes."""
        if self._over_http:
            content_type = _HTTP_INTEGRATION
            # The prelude is a chunk of its own and its end the next: Lambda does not care, some emulators do.
            first = chunk(http_prelude(status, headers, cookies)) + chunk(_PRELUDE_END)
        else:
            # Not HTTP: a prelude would be visible in the payload (fact 39).
            content_type = next(
                (v for k, v in headers.items() if k.lower() == "content-type"),
                "application/octet-stream",
            )
            first = b""
        fields = {
            **self._fields,
            "Content-Type": content_type,
            "Lambda-Runtime-Function-Response-Mode": "streaming",
            "Transfer-Encoding": "chunked",
            "Trailer": f"{_ERROR_TYPE}, {_ERROR_BODY}",
        }
        try:
            self._exchange = Exchange(self._authority, self._deadline)
        except OSError as error:
            raise ResponseClosed(None) from error
        self.started = True
        self._send(request_head("POST", self._path, fields) + first)

    def send(self, data: bytes) -> None:
        """Send one piece as one chunk. Blocks while the reader is slower.

        Raises:
            ResponseClosed: Lambda has answered before the end, the connection broke, or the deadline has come.
        """
        if len(data) <= _JOIN_LIMIT:
            self._send(chunk(data))
        else:
            self._send(b"%x\r\n" % len(data), data, b"\r\n")

    def fail(self, error_type: str, message: str) -> None:
        """End with the error trailers."""
        self.fail_with({"errorType": error_type, "errorMessage": message})

    def fail_with(self, error: Mapping[str, Any]) -> None:
        """End with the error trailers, of an error as Lambda spells it."""
        self._trailers = _error_trailers(error)

    def finish(self) -> int | None:
        """Send the end; return the status of Lambda's answer, or ``None`` when the connection broke without one."""
        if self._exchange is not None:
            complete = self._exchange.send(b"0\r\n" + self._trailers + b"\r\n")
            # Lambda answers once the caller has taken everything, which may be never.
            self._take_answer(self._exchange, self._time_left() if complete else self._patience())
        return self._answer

    def _patience(self) -> float:
        """Return how many seconds to wait for an answer to what could not be sent."""
        left = self._time_left()
        return PATIENCE if left is None else min(PATIENCE, left)

    def _time_left(self) -> float | None:
        """Return the seconds until the deadline, but never 0, with which nothing would be waited for; or ``None``."""
        if self._deadline == math.inf:
            return None
        return min(max(self._deadline - time.monotonic(), 0.001), _LONGEST_WAIT)

    def _send(self, *buffers: bytes) -> None:
        if self._exchange is not None:
            if self._exchange.send(*buffers):
                return
            self._take_answer(self._exchange, self._patience())
        refused = self._answer is not None and self._answer >= 300
        raise ResponseClosed(self._answer if refused else None)

    def _take_answer(self, exchange: Exchange, patience: float | None) -> None:
        with suppress(*NO_ANSWER):
            self._answer = exchange.status(patience)
        exchange.close()
        self._exchange = None


def _error_trailers(error: Mapping[str, Any]) -> bytes:
    """Return a type, and the error as JSON; what is too long loses its outermost calls, then the message's end."""
    error_type = str(error["errorType"])[:_ERROR_TYPE_LIMIT]
    error = {**error, "errorType": error_type}
    while True:
        body = b64encode(json.dumps(error, separators=(",", ":")).encode()).decode()
        trailers = field_lines({_ERROR_TYPE: error_type, _ERROR_BODY: body})
        if len(trailers) <= _TRAILERS_LIMIT:
            return trailers
        calls, message = error.get("stackTrace"), error["errorMessage"]
        if calls:
            error["stackTrace"] = calls[(len(calls) + 1) // 2 :]
        else:
            error["errorMessage"] = message[: len(message) // 2]

"""Lambda's Runtime API, version 2018-06-01, over the standard library's HTTP: every socket of this package.

A connection serves one request. None outlives an invocation, a freeze or a snapshot, so none can turn out to be dead
when it is needed, and a streamed response must close its own anyway (fact 31).
"""

# ruff: noqa: TID251  # this is the file for sockets

from __future__ import annotations

import json
import select
import socket
from base64 import b64encode
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, NamedTuple

from streaming_runtime.errors import ResponseClosed
from streaming_runtime.response import http_prelude

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from http.client import HTTPMessage

_VERSION = "/2018-06-01"
_HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"
_PRELUDE_END = bytes(8)
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
# Up to here a chunk is joined with its size line and sent at once; above, the copy costs more than a second packet.
_JOIN_LIMIT = 64 * 1024


class Answer(NamedTuple):
    """What the Runtime API said."""

    status: int
    headers: HTTPMessage
    body: bytes


class RuntimeApi:
    """The Runtime API at ``AWS_LAMBDA_RUNTIME_API``: ``host:port``, and for some emulators a path after it."""

    def __init__(self, address: str, user_agent: str) -> None:
        authority, slash, path = address.partition("/")
        self._authority = authority
        self._prefix = f"{slash}{path}".rstrip("/") + _VERSION
        self._user_agent = user_agent

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
        connection = HTTPConnection(self._authority)
        try:
            connection.request(
                method,
                self._prefix + path,
                body,
                {"User-Agent": self._user_agent, **(headers or {})},
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def open_response(
        self, request_id: str, headers: Mapping[str, str], *, over_http: bool
    ) -> StreamedBody:
        """Return the body of a streamed response; the connection is made when it starts."""
        path = f"{self._prefix}/runtime/invocation/{request_id}/response"
        head = {"Host": self._authority, "User-Agent": self._user_agent, **headers}
        return StreamedBody(self._authority, path, head, over_http=over_http)


class StreamedBody:
    """One ``POST …/response`` whose body is still being written (facts 31 to 35).

    Attributes:
        started: whether the request has been sent, so that only trailers can still tell of an error (fact 34).
    """

    def __init__(
        self, authority: str, path: str, headers: Mapping[str, str], *, over_http: bool
    ) -> None:
        self.started = False
        self._authority = authority
        self._path = path
        self._headers = headers
        self._over_http = over_http
        self._socket: socket.socket | None = None
        self._readable = select.poll()
        self._answer: int | None = None
        self._trailers = b""

    def start(self, status: int, headers: Mapping[str, str], cookies: Sequence[str]) -> None:
        """Connect, and send the head of the request with the first bytes."""
        if self._over_http:
            content_type = _HTTP_INTEGRATION
            # The prelude is a chunk of its own and its end the next: Lambda does not care, some emulators do.
            first = _chunk(http_prelude(status, headers, cookies)) + _chunk(_PRELUDE_END)
        else:
            # Not HTTP: a prelude would be visible in the payload (fact 39).
            content_type = next(
                (v for k, v in headers.items() if k.lower() == "content-type"),
                "application/octet-stream",
            )
            first = b""
        self.started = True
        lines = {
            **self._headers,
            "Content-Type": content_type,
            "Lambda-Runtime-Function-Response-Mode": "streaming",
            "Transfer-Encoding": "chunked",
            "Trailer": f"{_ERROR_TYPE}, {_ERROR_BODY}",
            "Connection": "close",
        }
        head = (
            f"POST {self._path} HTTP/1.1\r\n"
            + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
            + "\r\n"
        )
        host, _, port = self._authority.partition(":")
        try:
            self._socket = socket.create_connection((host, int(port or 80)))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._readable.register(self._socket, select.POLLIN)
            self._socket.sendall(head.encode("latin-1") + first)
        except OSError as error:
            raise self._close() from error

    def send(self, data: bytes) -> None:
        """Send one piece as one chunk. Blocks while the reader is slower.

        Raises:
            ResponseClosed: Lambda has answered before the end, or the connection broke.
        """
        if self._socket is None:
            raise ResponseClosed(self._answer)
        if self._readable.poll(0):
            self._heed_early_answer()
        try:
            if len(data) <= _JOIN_LIMIT:
                self._socket.sendall(_chunk(data))
            else:
                self._socket.sendall(b"%x\r\n" % len(data))
                self._socket.sendall(data)
                self._socket.sendall(b"\r\n")
        except OSError as error:
            raise self._close() from error

    def fail(self, error_type: str, message: str) -> None:
        """End with the error trailers."""
        self.fail_with(error_type, json.dumps({"errorType": error_type, "errorMessage": message}))

    def fail_with(self, error_type: str, error: str) -> None:
        """End with the error trailers: a type, and the error as JSON."""
        body = b64encode(error.encode()).decode()
        self._trailers = f"{_ERROR_TYPE}: {error_type}\r\n{_ERROR_BODY}: {body}\r\n".encode(
            "latin-1"
        )

    def finish(self) -> int | None:
        """Send the end; return the status of Lambda's answer, or ``None`` when the connection broke without one."""
        if self._socket is not None:
            with suppress(OSError):  # Lambda may have answered early: its answer is what counts
                self._socket.sendall(b"0\r\n" + self._trailers + b"\r\n")
            self._close()
        return self._answer

    def _heed_early_answer(self) -> None:
        """Stop for an answer that comes before the end: nobody reads on, though writing may still succeed.

        A success is no reason to stop: some emulators accept the response when it begins.
        """
        self._read_answer()
        if self._answer is None or self._answer >= 300:
            raise self._close()
        self._readable = select.poll()

    def _read_answer(self) -> None:
        if self._socket is not None and self._answer is None:
            response = HTTPResponse(self._socket, method="POST")
            with suppress(OSError, HTTPException):  # no answer, then
                response.begin()
                self._answer = response.status
            response.close()

    def _close(self) -> ResponseClosed:
        """Close the connection, read what Lambda answered and return what the handler is to be told."""
        self._read_answer()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        return ResponseClosed(self._answer)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)

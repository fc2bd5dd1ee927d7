"""One HTTP/1.1 request and its answer, on a connection of their own: every socket of this package.

The answer may come before the end of the request, and whoever answers early may not read on, so sending always
listens. ``http.client``'s connection cannot; and tracers patch it to see the calls that the function makes, which these
are not. Its response serves to read the answer.
"""

# ruff: noqa: TID251  # this is the file for sockets

from __future__ import annotations

import math
import re
import select
import socket
import time
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage

# Seconds: an answer that has begun, or was sent before the connection broke, comes now or never.
PATIENCE = 5
_LONGEST_WAIT = 3600  # seconds, after which to wait again: the system's own limit is not far above
NO_ANSWER = (OSError, HTTPException)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes


class Exchange:
    """A connection for one request.

    None outlives an invocation, a freeze or a snapshot, so none can turn out to be dead when it is needed; and a
    streamed response must close its own anyway (fact 31).
    """

    def __init__(self, authority: str, deadline: float = math.inf) -> None:
        """Connect to ``host:port``.

        Args:
            authority: where to.
            deadline: until when to wait for a reader that takes nothing, in seconds of ``time.monotonic``.

        Raises:
            OSError: nobody listens there.
        """
        address = urlsplit(f"//{authority}")
        # The timeout is given so that a default set by the function does not count.
        self._socket = socket.create_connection(
            (address.hostname, address.port or 80), timeout=None
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces do not wait
        self._response = HTTPResponse(self._socket)
        self._failure: Exception | None = None
        self._deadline = deadline
        self._ready = select.poll()
        self._ready.register(self._socket, select.POLLIN | select.POLLOUT)

    def send(self, *buffers: bytes) -> bool:
        """Send everything, as slowly as it is read; return whether anybody wants more.

        A refusal that comes early ends it, and so does the deadline. A success does not: some emulators accept a
        response when it begins.
        """
        try:
            for buffer in buffers:
                rest = memoryview(buffer)
                while rest:
                    ready = self._ready.poll(0) or self._wait()
                    if not ready:
                        return False
                    ((_, readiness),) = ready
                    if not readiness & select.POLLIN:
                        rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]
                    elif self.status(PATIENCE) >= 300:
                        return False
                    else:
                        self._ready.modify(self._socket, select.POLLOUT)
        except NO_ANSWER:
            return False
        return True

    def status(self, patience: float | None = None) -> int:
        """Wait for the beginning of the answer: for so many seconds, or however long it takes (fact 38).

        Raises:
            OSError, HTTPException: there is none.
        """
        if self._failure is not None:
            raise self._failure
        self._socket.settimeout(patience)
        try:
            self._response.begin()  # does nothing once it has succeeded
        except NO_ANSWER as failure:
            self._failure = failure  # and cannot be tried again
            raise
        return self._response.status

    def answer(self) -> Answer:
        """Wait for the whole answer.

        Raises:
            OSError, HTTPException: there is none, or only a part of one.
        """
        return Answer(self.status(), self._response.headers, self._response.read())

    def _wait(self) -> list[tuple[int, int]]:
        """Wait until something can be sent or read; return what ``poll`` says, which is nothing at the deadline."""
        while (remaining := self._deadline - time.monotonic()) > 0:
            ready = self._ready.poll(min(remaining, _LONGEST_WAIT) * 1000)
            if ready:
                return ready
        return []

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._socket.close()


def request_head(method: str, path: str, fields: Mapping[str, str]) -> bytes:
    """Return the request line and header section."""
    return f"{method} {path} HTTP/1.1\r\n".encode() + field_lines(fields) + b"\r\n"


def field_lines(fields: Mapping[str, str]) -> bytes:
    """Return header or trailer lines: any text in UTF-8, with nothing in it that would end a line."""
    return "".join(f"{k}: {_CONTROL.sub(' ', v)}\r\n" for k, v in fields.items()).encode()


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body; of no bytes it would be the last (fact 37)."""
    return b"%x\r\n%b\r\n" % (len(data), data)

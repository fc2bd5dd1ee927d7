"""A raw upstream: it accepts the calls of Bedrock's clients and answers with bytes, whole, cut or spoiled.

`Upstream.answer` says what a call is answered with: a function that writes to the connection and returns whether it
stays open. What became of each connection is kept, so that a test can see which were reused and which were left open.
"""

from __future__ import annotations

import socket  # noqa: TID251  # this is what it is about: bytes on a socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Self, TypeAlias

    Answer: TypeAlias = Callable[[socket.socket], bool]

CHUNKED_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: application/vnd.amazon.eventstream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
CLOSE_DELIMITED_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n\r\n"
)
END = b"0\r\n\r\n"


def http_chunk(data: bytes) -> bytes:
    """Return bytes as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def refusal(status: int, code: str, message: str) -> bytes:
    """Return an error of Bedrock's as a whole HTTP response."""
    body = b'{"message":"%b"}' % message.encode()
    error_type = f"x-amzn-ErrorType: {code}:http://internal.amazon.com/coral/\r\n" if code else ""
    head = f"HTTP/1.1 {status} X\r\n{error_type}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def fin(connection: socket.socket) -> bool:
    """End the connection politely."""
    connection.close()
    return False


def rst(connection: socket.socket) -> bool:
    """End the connection by a TCP reset, as a crash does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return False


@dataclass(slots=True)
class Served:
    """What became of one connection."""

    calls: int = 0
    open: bool = True


class Upstream:
    """The upstream, on a loopback port of its own; a thread a connection. Over TLS, if a context for that is given."""

    def __init__(self, answer: Answer | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Answer = answer or fin
        self._tls = tls
        self.connections: list[Served] = []
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []

    @property
    def url(self) -> str:
        """Where it is, for ``AWS_ENDPOINT_URL_BEDROCK_RUNTIME``."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def open_connections(self) -> int:
        """How many connections neither side has closed."""
        return sum(served.open for served in self.connections)

    def wait_for_open_connections(self, expected: int, timeout: float = 5.0) -> None:
        """Wait until so many are left, since a close takes its time to arrive.

        Raises:
            TimeoutError: it stays another number.
        """
        until = time.monotonic() + timeout
        while self.open_connections != expected:
            if time.monotonic() > until:
                raise TimeoutError(f"open; expected {expected}; got {self.open_connections}")
            time.sleep(0.005)

    def __enter__(self) -> Self:
        """Listen."""
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                served = Served()
                self.connections.append(served)
                self._sockets.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection, served))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket, served: Served) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._sockets.append(connection)
            while _read_request(connection, self.requests):
                served.calls += 1
                if not self.answer(connection):
                    break
        served.open = False
        connection.close()


def _read_request(connection: socket.socket, requests: list[bytes]) -> bool:
    """Read one request; return whether there was one."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return False
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (
        int(line.partition(b":")[2])
        for line in head.splitlines()
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return False
        body += piece
    requests.append(head + b"\r\n\r\n" + body)
    return True

"""A Runtime API for many invocations: one connection after the other, in the test's own thread, read by h11.

A standard environment makes one call at a time, so whoever takes its calls in turn sees each of them, and sees at once
when there is one too many: `waiting()` takes the call for an invocation, to be answered by `hand_out`, and `call()`
takes the one that must follow.
"""

# ruff: noqa: TID251  # a server needs sockets

from __future__ import annotations

import json
import socket
import struct
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

PATIENCE = 20  # seconds, on a machine that has other things to do


@dataclass(slots=True)
class TakenCall:
    """One call of the runtime, whose body may still be on its way."""

    path: str
    headers: dict[str, str]
    trailers: dict[str, str] = field(default_factory=dict)
    _peer: socket.socket = field(kw_only=True)
    _connection: h11.Connection = field(kw_only=True)

    def chunks(self) -> Iterator[bytes]:
        """Return the chunks as they were sent, to the end of the body; then the trailers are known."""
        chunk = bytearray()
        while not isinstance(event := _event(self._peer, self._connection), h11.EndOfMessage):
            assert isinstance(event, h11.Data), f"cut short: {event}"
            chunk += event.data
            if event.chunk_end:  # (chunk_start is not set where the size came before the data)
                yield bytes(chunk)
                chunk.clear()
        if chunk:  # not chunked: a content-length says how long it is
            yield bytes(chunk)
        self.trailers = _text(event.headers)

    def answer(self, status: int, headers: str = "", body: bytes = b"") -> None:
        """Answer; the body of the call may still be on its way."""
        head = f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self._peer.sendall(head.encode() + body)

    def hand_out(self, request_id: str, event: Any) -> None:
        """Answer the call for the next invocation with one."""
        headers = (
            "Content-Type: application/json\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {request_id}\r\n"
            f"Lambda-Runtime-Invocation-Id: invocation-{request_id}\r\n"
            "Lambda-Runtime-Deadline-Ms: 2000000000000\r\n"
            "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:123456789012:function:f\r\n"
        )
        self.answer(200, headers, json.dumps(event).encode())
        assert self.rest() == b""

    def rest(self) -> bytes:
        """Wait until the runtime closes; return what else it has sent."""
        rest = b""
        while data := self._peer.recv(1024 * 1024):
            rest += data
        return rest


class RuntimeApiInTurn(AbstractContextManager["RuntimeApiInTurn"]):
    """The Runtime API, on a loopback port of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()

    @contextmanager
    def waiting(self) -> Iterator[TakenCall]:
        """Take the call for the next invocation: the runtime is idle until it is answered."""
        with self.call() as call:
            assert call.path == "/2018-06-01/runtime/invocation/next"
            assert not list(call.chunks())
            yield call

    @contextmanager
    def call(self) -> Iterator[TakenCall]:
        """Take the next call. Its connection is reset at the end, as by a crash unless the runtime has closed it."""
        peer, _ = self._listener.accept()
        with peer:
            # So a reset can be had by closing, and ten thousand connections leave no port behind in TIME_WAIT.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.settimeout(PATIENCE)
            connection = h11.Connection(h11.SERVER)
            request = _event(peer, connection)
            assert isinstance(request, h11.Request)
            yield TakenCall(
                request.target.decode(),
                _text(request.headers),
                _peer=peer,
                _connection=connection,
            )


def _event(peer: socket.socket, connection: h11.Connection) -> Any:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(peer.recv(1024 * 1024))
    return event


def _text(headers: Any) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}

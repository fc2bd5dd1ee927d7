"""A Runtime API that follows a script, and lets h11 read what it is sent: chunks and trailers as they were on the wire.

It stands before ``streaming_runtime`` and plain ``awslambdaric`` alike, so that one can be held against the other.
"""

# ruff: noqa: TID251  # a server needs sockets

from __future__ import annotations

import json
import queue
import socketserver
import threading
from collections import defaultdict, deque
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType

PATIENCE = 20  # seconds, on a machine that has other things to do
TRACE_ID = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
URL_EVENT: dict[str, Any] = {
    "version": "2.0",
    "requestContext": {
        "apiId": "id",
        "domainName": "id.lambda-url.eu-west-1.on.aws",
        "http": {"method": "POST", "path": "/"},
    },
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came: ``complete`` unless the connection ended in the middle of it."""

    method: str
    path: str
    headers: dict[str, str]
    chunks: tuple[bytes, ...]
    trailers: dict[str, str]
    complete: bool = True

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def prelude(self) -> Any:
        assert self.chunks[1] == bytes(8)
        return json.loads(self.chunks[0])

    @property
    def payload(self) -> tuple[bytes, ...]:
        return self.chunks[2:]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What ``/next`` hands out; a header of ``None`` is left out."""

    event: Any = field(default_factory=dict)
    request_id: str = "request"
    headers: dict[str, str | bytes | None] = field(default_factory=dict)

    def answer(self) -> tuple[int, list[tuple[str, str | bytes]], bytes]:
        body = self.event if isinstance(self.event, bytes) else json.dumps(self.event).encode()
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Lambda-Runtime-Aws-Request-Id": self.request_id,
            "Lambda-Runtime-Deadline-Ms": "2000000000000",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:f",
            **self.headers,
        }
        return 200, [(name, value) for name, value in headers.items() if value is not None], body


class ScriptedRuntimeApi(AbstractContextManager["ScriptedRuntimeApi"]):
    """Hands out the invocations queued, answers as told, and keeps every other call in the order it ended."""

    def __init__(self, prefix: str = "") -> None:
        self.calls: queue.Queue[Call] = queue.Queue()
        self.asked = threading.Semaphore(0)  # released whenever somebody waits for an invocation
        self._invocations: queue.Queue[Invocation | int | None] = queue.Queue()
        self._statuses: defaultdict[str, deque[int]] = defaultdict(deque)
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.answer_to = self._answer_to
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._serving.start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}{prefix}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _ in range(64):
            self._invocations.put(None)
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()

    def invoke(
        self, event: Any = None, request_id: str = "request", **headers: str | bytes | None
    ) -> None:
        """Queue an invocation; ``Aws_Tenant_Id`` is the header ``Lambda-Runtime-Aws-Tenant-Id``."""
        names = {
            name: name.replace("_", "-")
            if name == "Content_Type"
            else f"Lambda-Runtime-{name.replace('_', '-')}"
            for name in headers
        }
        self._invocations.put(
            Invocation(
                {} if event is None else event,
                request_id,
                {names[name]: value for name, value in headers.items()},
            )
        )

    def refuse_next(self, status: int) -> None:
        """Let ``/next`` answer with a status instead of an invocation."""
        self._invocations.put(status)

    def hang_up_next(self) -> None:
        """Close the connection on which the next invocation is waited for."""
        self._invocations.put(None)

    def refuse_early(self, call: str, status: int | None, *, then_close: bool = False) -> None:
        """Answer such a call when it has begun: read on after a success, and hang up after anything else."""
        self._server.early[call].append((status, then_close))

    def refuse(self, call: str, *statuses: int) -> None:
        """Let the next calls whose path ends so be answered with these statuses."""
        self._statuses[call].extend(statuses)

    def call(self) -> Call:
        """Wait for a call other than for the next invocation."""
        return self.calls.get(timeout=PATIENCE)

    def _answer_to(self, call: Call) -> tuple[int, list[tuple[str, str | bytes]], bytes] | None:
        if call.path.endswith("/invocation/next"):
            self.asked.release()
            invocation = self._invocations.get()
            if isinstance(invocation, int):
                return invocation, [("Content-Length", "0")], b""
            return invocation.answer() if invocation else None
        self.calls.put(call)
        kind = call.path.rpartition("/")[2]
        default = 200 if call.path.endswith("/restore/next") else 202
        statuses = self._statuses[kind]
        return statuses.popleft() if statuses else default, [("Content-Length", "0")], b""


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 64
    answer_to: Any

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.early: defaultdict[str, deque[tuple[int | None, bool]]] = defaultdict(deque)


class _Connection(socketserver.BaseRequestHandler):
    request: socket.socket
    server: _Server

    def handle(self) -> None:
        self.request.settimeout(PATIENCE * 3)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=4 * 1024 * 1024)
        early_answer: int | None = None

        def begin(request: h11.Request) -> bool:
            nonlocal early_answer
            early = self.server.early[request.target.decode().rpartition("/")[2]]
            if not early:
                return True
            early_answer, then_close = early.popleft()
            if early_answer is not None:
                self.request.sendall(
                    b"HTTP/1.1 %d Early\r\nContent-Length: 0\r\n\r\n" % early_answer
                )
            return not then_close and early_answer is not None and early_answer < 300

        while (call := read_call(self.request, connection, begin)) is not None:
            answer = self.server.answer_to(call)
            if answer is None or early_answer is not None or not call.complete:
                return
            status, headers, body = answer
            try:
                self.request.sendall(
                    connection.send(h11.Response(status_code=status, headers=headers))
                    + connection.send(h11.Data(data=body))
                    + connection.send(h11.EndOfMessage())
                )
            except OSError:
                return  # the caller was ended by its test
            if connection.our_state is h11.MUST_CLOSE:
                return
            connection.start_next_cycle()


def read_call(
    peer: socket.socket,
    connection: h11.Connection,
    begin: Callable[[h11.Request], bool] = lambda _: True,
) -> Call | None:
    """Read one request with h11, chunk by chunk as it was sent.

    ``None`` is returned when the caller hung up instead, or when ``begin``, shown its head, wants no more of it.
    """
    request: h11.Request | None = None
    chunks: list[bytes] = []
    piece = bytearray()
    trailers: dict[str, str] = {}
    complete = False
    while not complete:
        try:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(peer.recv(1024 * 1024))
                continue
        except (OSError, h11.RemoteProtocolError):
            break
        if isinstance(event, h11.Request):
            request = event
            if not begin(request):
                return None
        elif isinstance(event, h11.Data):
            piece += event.data
            if (
                event.chunk_end
            ):  # (chunk_start is not set where a chunk's size came before its data)
                chunks.append(bytes(piece))
                piece.clear()
        elif isinstance(event, h11.EndOfMessage):
            chunks += [bytes(piece)] if piece else []  # not chunked
            trailers = _text(event.headers)
            complete = True
        else:
            break
    if request is None:
        return None
    return Call(
        request.method.decode(),
        request.target.decode(),
        _text(request.headers),
        tuple(chunks),
        trailers,
        complete,
    )


def _text(headers: Any) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}

"""The two ends between which a function is measured: Bedrock, and Lambda's Runtime API. Both as thin as can be.

They run in threads of the measuring process, so that a piece is sent and received by one clock, and do next to nothing
a piece, so that what is measured is the function.
"""

# ruff: noqa: TID251  # sockets are what a measuring server is made of

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from base64 import b64encode
from typing import TYPE_CHECKING

from relay.eventstream import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def serve(answer: Callable[[socket.socket], None]) -> tuple[socket.socket, int]:
    """Answer every connection in a thread of its own; return the listening socket and its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=run, args=(connection,), daemon=True).start()

    def run(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            answer(connection)

    threading.Thread(target=accept, daemon=True).start()
    return listener, listener.getsockname()[1]


class Bedrock:
    """Answers any request with one stream of text pieces, as fast as they are taken or at a pace.

    Attributes:
        pieces: how many text pieces a stream has.
        interval: seconds between two of them; the text of a paced piece is the time it was sent.
    """

    def __init__(self, pieces: int, interval: float) -> None:
        self.pieces = pieces
        self.interval = interval
        self._listener, self.port = serve(self._answer)

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _answer(self, connection: socket.socket) -> None:
        invoke = b"invoke-with-response-stream" in _read_request(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        if self.interval:
            for frame in _stream(self._timed_pieces(), invoke=invoke):
                connection.sendall(_chunk(frame))
        else:
            words = (f" word{i % 10}" for i in range(self.pieces))
            frames = list(_stream(words, invoke=invoke))
            for start in range(0, len(frames), 100):
                connection.sendall(b"".join(map(_chunk, frames[start : start + 100])))
        connection.sendall(b"0\r\n\r\n")

    def _timed_pieces(self) -> Iterator[str]:
        for _ in range(self.pieces):
            time.sleep(self.interval)
            yield f"@{time.perf_counter_ns()}@"


class RuntimeApi:
    """Hands out one invocation and takes its response.

    Attributes:
        received: the time and the bytes of each read of the response, in order.
        done: set when the response is complete.
    """

    def __init__(self, event: object) -> None:
        self.received: list[tuple[int, bytes]] = []
        self.done = threading.Event()
        self._event = json.dumps(event).encode()
        self._handed_out = False
        self._closed = threading.Event()
        self._listener, self.port = serve(self._answer)

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _answer(self, connection: socket.socket) -> None:
        head, body = read_head(connection)
        if head.startswith(b"GET"):
            if self._handed_out:
                self._closed.wait()  # there is no second one
                return
            self._handed_out = True
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: 1\r\n"
                b"Lambda-Runtime-Deadline-Ms: 9999999999999\r\nContent-Length: %d\r\n\r\n%b"
                % (len(self._event), self._event)
            )
        else:
            receive(connection, head, body, self.received)
            connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            self.done.set()


def receive(
    connection: socket.socket, head: bytes, body: bytes, received: list[tuple[int, bytes]]
) -> None:
    """Read a message's body to its end, noting when each part of it came."""
    received.append((time.perf_counter_ns(), body))
    length = _content_length(head)
    while len(body) < length if length else not body.endswith(b"0\r\n\r\n"):
        part = connection.recv(1 << 20)
        received.append((time.perf_counter_ns(), part))
        body = body[-5:] + part if not length else body + part


def _read_request(connection: socket.socket) -> bytes:
    """Read a whole request; return its head."""
    head, body = read_head(connection)
    length = _content_length(head)
    while len(body) < length:
        body += connection.recv(1 << 16)
    return head


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the head of a message, and what came of the body with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def _content_length(head: bytes) -> int:
    lines = (line.lower().partition(b":") for line in head.split(b"\r\n"))
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


def _stream(texts: Iterator[str], *, invoke: bool) -> Iterator[bytes]:
    if invoke:
        for text in texts:
            yield _invoke_chunk({"type": "content_block_delta", "delta": {"text": text}})
        counts = {"inputTokenCount": 1, "outputTokenCount": 1}
        yield _invoke_chunk({"type": "message_stop", "amazon-bedrock-invocationMetrics": counts})
    else:
        yield _frame("messageStart", {"role": "assistant"})
        for text in texts:
            yield _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})
        yield _frame("contentBlockStop", {"contentBlockIndex": 0})
        yield _frame("messageStop", {"stopReason": "end_turn"})
        usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
        yield _frame("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})


def _invoke_chunk(document: object) -> bytes:
    return _frame("chunk", {"bytes": b64encode(json.dumps(document).encode()).decode()})


def _frame(event_type: str, body: object) -> bytes:
    headers = {
        ":event-type": event_type,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return encode(headers, json.dumps(body, separators=(",", ":")).encode())


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)

# ruff: noqa: TID251  # the other end of a socket is a socket
from __future__ import annotations

import math
import socket
import struct
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import h11
import pytest

from streaming_runtime import exchange as exchange_module
from streaming_runtime.exchange import (
    NO_ANSWER,
    Exchange,
    chunk,
    field_lines,
    request_head,
)
from tests.unit.streaming_runtime.scripted_api import PATIENCE, read_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = request_head("POST", "/path", {"Host": "h", "Transfer-Encoding": "chunked"})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def _address(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def _connected(
    listener: socket.socket, deadline: float = math.inf
) -> Iterator[tuple[Exchange, socket.socket]]:
    with closing(Exchange(_address(listener), deadline)) as exchange, listener.accept()[0] as peer:
        peer.settimeout(PATIENCE)
        yield exchange, peer


def _in_thread(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_a_request_and_its_answer(listener: socket.socket) -> None:
    """h11 reads the request; its answer is read whole."""
    with _connected(listener) as (exchange, peer):
        assert exchange.send(HEAD, chunk(b"a"), chunk(b"bc"), b"0\r\n\r\n")
        call = read_call(peer, h11.Connection(h11.SERVER))
        assert call is not None
        assert (call.method, call.path, call.chunks) == ("POST", "/path", (b"a", b"bc"))
        peer.sendall(b"HTTP/1.1 202 Accepted\r\nX-Y: z\r\nContent-Length: 4\r\n\r\nbody")
        status, headers, body = exchange.answer()
    assert (status, headers["x-y"], body) == (202, "z", b"body")


def test_no_piece_waits_for_another(listener: socket.socket) -> None:
    """Nagle's algorithm is off: small pieces leave at once."""
    with _connected(listener) as (exchange, _):
        assert exchange._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_default_timeout_does_not_count(listener: socket.socket) -> None:
    """A function that sets socket's default timeout does not shorten the wait for its next invocation."""
    socket.setdefaulttimeout(0.05)
    try:
        exchange = Exchange(_address(listener))
    finally:
        socket.setdefaulttimeout(None)
    with closing(exchange), listener.accept()[0] as peer:
        exchange.send(request_head("GET", "/", {}))
        answering = threading.Timer(0.2, peer.sendall, (b"HTTP/1.1 204 No Content\r\n\r\n",))
        answering.start()
        assert exchange.status() == 204
        answering.join()


def test_ipv6() -> None:
    """An address in brackets is one of IPv6."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener, closing(Exchange(f"[::1]:{listener.getsockname()[1]}")):
        pass


def test_nobody_there(listener: socket.socket) -> None:
    """A refused connection is an OSError, at once."""
    address = _address(listener)
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        Exchange(address)


@pytest.mark.parametrize("status", [301, 400, 403, 413, 500])
def test_an_early_refusal(status: int, listener: socket.socket) -> None:
    """A refusal before the end stops the sending, though the connection would take more."""
    with _connected(listener) as (exchange, peer):
        assert exchange.send(HEAD)
        peer.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
        _until_readable(exchange)
        assert not exchange.send(chunk(b"x"))
        assert exchange.status() == status


def test_an_early_success(listener: socket.socket) -> None:
    """Some emulators answer 200 when the response begins: the rest is sent all the same."""
    with _connected(listener) as (exchange, peer):
        exchange.send(HEAD)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        _until_readable(exchange)
        for _ in range(3):
            assert exchange.send(chunk(b"x"))
        assert exchange.send(b"0\r\n\r\n")
        assert exchange.status() == 200
        call = read_call(peer, h11.Connection(h11.SERVER))
        assert call is not None
        assert call.chunks == (b"x",) * 3


def test_a_success_and_then_a_broken_connection(listener: socket.socket) -> None:
    """After an early success, a connection that breaks still ends the sending."""
    with _connected(listener) as (exchange, peer):
        exchange.send(HEAD)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        _until_readable(exchange)
        assert exchange.send(chunk(b"x"))
        _reset(peer)
        assert not _send_until_refused(exchange)


def test_a_refusal_while_nobody_reads(listener: socket.socket) -> None:
    """A server that answers and reads no more, but keeps the connection, cannot hang the sender."""
    with _connected(listener) as (exchange, peer):
        answering = threading.Timer(0.2, peer.sendall, (b"HTTP/1.1 413 Too Large\r\n\r\n",))
        answering.start()
        assert not exchange.send(HEAD, bytes(64 * 1024 * 1024))
        assert exchange.status() == 413
        answering.join()


def test_a_refusal_and_a_reset(listener: socket.socket) -> None:
    """A refusal sent just before the connection was reset is still heard."""
    with _connected(listener) as (exchange, peer):
        peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        exchange.send(HEAD)
        _reset(peer)
        assert not _send_until_refused(exchange)
        assert exchange.status() == 413


@pytest.mark.parametrize("end", ["close", "reset", "half close"])
def test_a_broken_connection(end: str, listener: socket.socket) -> None:
    """A connection that ends without an answer ends the sending, and there is no status."""
    with _connected(listener) as (exchange, peer):
        exchange.send(HEAD)
        if end == "close":
            peer.close()
        elif end == "reset":
            _reset(peer)
        else:
            peer.shutdown(socket.SHUT_WR)
        assert not _send_until_refused(exchange)
        with pytest.raises(NO_ANSWER):
            exchange.status()


@pytest.mark.parametrize(
    "beginning",
    [
        b"H",
        b"HTTP/1.1 4",
        b"HTTP/1.1 413 Too Large\r\nContent-",
        b"\0\1\2\3\r\n",
        b"HTTP/1.1 x\r\n",
    ],
)
def test_part_of_an_answer(beginning: bytes, listener: socket.socket) -> None:
    """An answer of which only the beginning comes, or that is none, ends the sending without a status."""
    with _connected(listener) as (exchange, peer):
        exchange.send(HEAD)
        peer.sendall(beginning)
        peer.close()
        assert not _send_until_refused(exchange)
        with pytest.raises(NO_ANSWER):
            exchange.status()


def test_an_answer_that_never_ends(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that stops in the middle, on a connection that stays, is waited for with patience only."""
    monkeypatch.setattr(exchange_module, "PATIENCE", 0.1)
    with _connected(listener) as (exchange, peer):
        exchange.send(HEAD)
        peer.sendall(b"HTTP/1.1 413")
        _until_readable(exchange)
        assert not exchange.send(chunk(b"x"))
        with pytest.raises(OSError, match="timed out"):
            exchange.status(0.1)


def test_a_slow_reader_slows_the_writer(listener: socket.socket) -> None:
    """Sending goes at the reader's pace, and all of it arrives."""
    size = 24 * 1024 * 1024
    with _connected(listener) as (exchange, peer):
        writer = _in_thread(lambda: exchange.send(bytes(size)))
        writer.join(0.3)
        assert writer.is_alive(), "the writer did not wait for the reader"
        received = 0
        while received < size:
            received += len(peer.recv(1024 * 1024))
        writer.join(PATIENCE)
        assert not writer.is_alive()


def test_a_wait_may_be_longer_than_one_poll(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader without a deadline is waited for again and again, and all of it arrives."""
    monkeypatch.setattr(exchange_module, "_LONGEST_WAIT", 0.01)
    size = 24 * 1024 * 1024
    with _connected(listener) as (exchange, peer):
        sent: list[bool] = []
        writer = _in_thread(lambda: sent.append(exchange.send(bytes(size))))
        writer.join(0.3)
        assert writer.is_alive(), "the writer did not wait for the reader"
        received = 0
        while received < size:
            received += len(peer.recv(1024 * 1024))
        writer.join(PATIENCE)
    assert sent == [True]


def test_a_reader_who_takes_nothing_is_given_up_at_the_deadline(listener: socket.socket) -> None:
    """Not before it, for a slow reader is one; and then nothing more is waited for."""
    deadline = time.monotonic() + 0.3
    with _connected(listener, deadline) as (exchange, _):
        assert not exchange.send(HEAD, bytes(64 * 1024 * 1024))
        assert deadline <= time.monotonic() < deadline + PATIENCE
        began = time.monotonic()
        assert not exchange.send(b"more")
        assert time.monotonic() - began < PATIENCE


def test_a_reader_who_is_just_slow_is_not_given_up(listener: socket.socket) -> None:
    """Within the deadline it gets everything, at its own pace."""
    size = 24 * 1024 * 1024
    with _connected(listener, time.monotonic() + PATIENCE) as (exchange, peer):
        sent: list[bool] = []
        writer = _in_thread(lambda: sent.append(exchange.send(bytes(size))))
        writer.join(0.1)
        received = 0
        while received < size:
            received += len(peer.recv(1024 * 1024))
        writer.join(PATIENCE)
    assert sent == [True]


def test_after_the_deadline_what_is_taken_is_sent(listener: socket.socket) -> None:
    """The last words of a handler reach a reader who does read."""
    with _connected(listener, time.monotonic() - 1) as (exchange, peer):
        for _ in range(3):
            assert exchange.send(HEAD, chunk(b"last words"), b"0\r\n\r\n")
            call = read_call(peer, h11.Connection(h11.SERVER))
            assert call is not None
            assert call.chunks == (b"last words",)


def test_a_refusal_is_heard_before_the_deadline(listener: socket.socket) -> None:
    """A reader who takes nothing, but says why, is not waited for."""
    with _connected(listener, time.monotonic() + 10 * PATIENCE) as (exchange, peer):
        answering = threading.Timer(0.1, peer.sendall, (b"HTTP/1.1 413 Too Large\r\n\r\n",))
        answering.start()
        assert not exchange.send(HEAD, bytes(64 * 1024 * 1024))
        assert exchange.status() == 413
        answering.join()


def test_a_signal_does_not_tear_a_piece(listener: socket.socket) -> None:
    """Only what was sent counts: a socket that takes little at a time gets every byte once."""
    data = bytes(range(256)) * 16384
    with _connected(listener) as (exchange, peer):
        exchange._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer = _in_thread(lambda: exchange.send(data, b"end"))
        received = b""
        while len(received) < len(data) + 3:
            received += peer.recv(65536)
        writer.join()
    assert received == data + b"end"


def test_head() -> None:
    """The head is a request line and header lines; nothing in a value can end its line."""
    assert (
        request_head("GET", "/p", {"Host": "h", "X": "a\r\nY: b\0"})
        == b"GET /p HTTP/1.1\r\nHost: h\r\nX: a  Y: b \r\n\r\n"
    )
    assert field_lines({"X": "é€"}) == b"X: \xc3\xa9\xe2\x82\xac\r\n"
    assert request_head("GET", "/", {}) == b"GET / HTTP/1.1\r\n\r\n"


def test_chunk() -> None:
    """A chunk is its size in hexadecimal, its bytes, and line ends."""
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def _until_readable(exchange: Exchange) -> None:
    """Wait until what the peer sent is there, which takes a moment even on one machine."""
    exchange._socket.recv(1, socket.MSG_PEEK)


def _send_until_refused(exchange: Exchange) -> bool:
    """Send until the other end's reset has arrived; return whether it never did."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not exchange.send(chunk(b"x")):
            return False
        time.sleep(0.01)
    return True


def _reset(peer: socket.socket) -> None:
    """End a connection the hard way, with RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()

from __future__ import annotations

import asyncio
import socket  # noqa: TID251  # looks at a socket's options
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import h11
import pytest

from local.connection import PeerLeft
from local.http1 import BodyCut, Exchange, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

POST = b"POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nX-Two: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Client:
    """A peer that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), 5)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 5)

    def say(self, data: bytes) -> None:
        self.writer.write(data)


@asynccontextmanager
async def serving(handler: Callable[[Exchange], Awaitable[None]]) -> AsyncIterator[Client]:
    async with Server(handler) as server:
        await server.listen()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


def served(
    handler: Callable[[Exchange], Awaitable[None]], talk: Callable[[Client], Awaitable[Any]]
) -> Any:
    """Return what a conversation with a handler returns."""

    async def main() -> Any:
        async with serving(handler) as client:
            return await talk(client)

    return asyncio.run(main())


def test_each_piece_goes_out_at_once_as_a_chunk_of_its_own() -> None:
    """Every piece of an answer is a chunk of its own, written before the next one exists."""
    go_on = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, [("content-type", "text/plain")])
        await exchange.write(b"one")
        await go_on.wait()
        await exchange.write(b"")
        await exchange.write(b"two and three")
        await exchange.finish()

    async def talk(client: Client) -> None:
        client.say(GET)
        head = await client.until(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        assert await client.until(b"one\r\n") == b"3\r\none\r\n"
        go_on.set()
        assert await client.until(b"0\r\n\r\n") == b"d\r\ntwo and three\r\n0\r\n\r\n"

    served(handler, talk)


def test_a_request_is_read_piece_by_piece_and_then_its_trailers() -> None:
    """A chunked body is an iterator of its pieces as they arrive; the trailers are known after it."""
    seen: list[Any] = []
    arrived = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        seen.append(
            (exchange.request.path, exchange.request.query, exchange.request.header("x-two"))
        )
        async for piece in exchange.body():
            seen.append(piece)
            arrived.set()
        seen.append(exchange.trailers)
        await exchange.answer_json(202, {"ok": "é"})

    async def talk(client: Client) -> bytes:
        client.say(POST + b"3\r\none\r\n")
        await asyncio.wait_for(arrived.wait(), 5)
        assert seen[1:] == [b"one"]
        client.say(b"3\r\ntwo\r\n5\r\nthr")
        await asyncio.sleep(0.05)
        client.say(b"ee\r\n0\r\nX-Why: because\r\n\r\n")
        return await client.until(b"}")

    answer = served(handler, talk)
    assert seen == [("/a%20b", "c=d", "1,2"), b"one", b"two", b"thr", b"ee", {"x-why": "because"}]
    assert answer.startswith(b"HTTP/1.1 202")
    assert answer.endswith('{"ok": "é"}'.encode())


def test_an_answer_may_come_before_the_request_has_ended() -> None:
    """A handler may answer in the middle of a request; the peer gets the answer, not a reset."""

    async def handler(exchange: Exchange) -> None:
        async for _ in exchange.body():
            await exchange.answer_json(413, {})
            return

    async def talk(client: Client) -> bytes:
        client.say(POST + b"3\r\none\r\n")
        answer = await client.until(b"{}")
        client.say(b"3\r\ntwo\r\n" * 50_000)
        await client.writer.drain()
        return answer

    assert served(handler, talk).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("cut", [b"", b"3\r\non", b"3\r\none\r\n", b"3\r\none\r\n0\r\n", b"zz\r\n"])
def test_a_body_without_its_end_is_told(cut: bytes) -> None:
    """A body that is cut short anywhere, or is no body, ends in `BodyCut`; it can still be answered."""
    told = []

    async def handler(exchange: Exchange) -> None:
        try:
            async for _ in exchange.body():
                pass
        except BodyCut as error:
            told.append(error)
            await exchange.answer_json(400, {})

    async def talk(client: Client) -> bytes:
        client.say(POST + cut)
        client.writer.write_eof()
        return await client.rest()

    assert served(handler, talk).startswith(b"HTTP/1.1 400")
    assert len(told) == 1


def test_a_peer_that_leaves_is_noticed_while_nothing_is_written() -> None:
    """`left` is done as soon as the peer has gone, and the next piece cannot be written."""
    noticed = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200)
        await asyncio.wait([exchange.left], timeout=5)
        with pytest.raises(PeerLeft):
            await exchange.write(b"nobody")
        noticed.set()

    async def talk(client: Client) -> None:
        client.say(GET)
        await client.until(b"\r\n\r\n")
        client.writer.close()
        await asyncio.wait_for(noticed.wait(), 5)

    served(handler, talk)


def test_a_slow_reader_holds_the_writer_back() -> None:
    """Writing waits while the peer does not read: no more than buffers' worth is taken."""
    written = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal written
        await exchange.start(200)
        for _ in range(1000):
            await exchange.write(bytes(100_000))
            written += 1
        await exchange.finish()

    async def main() -> int:
        async with serving(handler) as client:
            client.say(GET)
            await client.until(b"\r\n\r\n")
            await asyncio.sleep(0.3)
            held_at = written
            while written < 1000:
                assert await client.reader.read(1 << 20)
            return held_at

    assert asyncio.run(main()) < 500


def test_a_slow_handler_holds_the_sender_back() -> None:
    """What nobody reads is not taken from the network without end."""

    async def handler(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        size = 0
        async for piece in exchange.body():
            size += len(piece)
        await exchange.answer_json(200, size)

    async def talk(client: Client) -> bytes:
        client.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        client.say(bytes(50_000_000))
        await asyncio.sleep(0.2)
        assert client.writer.transport.get_write_buffer_size() > 30_000_000
        return await client.until(b"50000000")

    served(handler, talk)


def test_a_connection_carries_many_requests() -> None:
    """Requests follow each other on a connection, also when they were sent all at once."""

    async def handler(exchange: Exchange) -> None:
        body = await exchange.read(100)
        await exchange.answer(200, b"<%b>" % (body or b""), [])

    async def talk(client: Client) -> bytes:
        client.say(
            GET
            + POST
            + b"1\r\na\r\n0\r\n\r\n"
            + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        return await client.rest()

    answer = served(handler, talk)
    assert [part[:3] for part in answer.split(b"<")[1:]] == [b">HT", b"a>H", b">"]


def test_a_waiting_sender_is_told_to_continue() -> None:
    """`Expect: 100-continue` gets its answer when the body is asked for."""

    async def handler(exchange: Exchange) -> None:
        await exchange.answer_json(200, len(await exchange.read(100) or b""))

    async def talk(client: Client) -> bytes:
        client.say(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        client.say(b"hi")
        await client.until(b"\r\n\r\n")
        return await client.until(b"2")

    assert served(handler, talk) == b"2"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_that_may_have_no_body_has_none(method: str, status: int) -> None:
    """Pieces of an answer to HEAD, or under a status without a body, are left out."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(status)
        await exchange.write(b"body")
        await exchange.finish()

    async def talk(client: Client) -> bytes:
        client.say(f"{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return await client.rest()

    assert b"body" not in served(handler, talk)


def test_what_is_no_http_is_refused() -> None:
    """Bytes that are no HTTP request get a 400 and the connection ends."""

    async def handler(_: Exchange) -> None:
        raise AssertionError

    async def talk(client: Client) -> bytes:
        client.say(b"what?\r\n\r\n")
        return await client.rest()

    assert served(handler, talk).startswith(b"HTTP/1.1 400")


def test_a_bug_in_a_handler_is_a_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that fails before its answer makes a 500, and tells the log why."""

    async def handler(_: Exchange) -> None:
        raise RuntimeError("my fault")

    async def talk(client: Client) -> bytes:
        client.say(GET)
        return await client.rest()

    assert served(handler, talk).startswith(b"HTTP/1.1 500")
    assert "my fault" in caplog.text


def test_a_bad_header_leaves_the_answer_unsent() -> None:
    """A header that must not be sent raises before a byte is out, so another answer can be given."""

    async def handler(exchange: Exchange) -> None:
        with pytest.raises(h11.LocalProtocolError):
            await exchange.start(200, [("x", "a\r\nb")])
        await exchange.answer_json(502, {})

    async def talk(client: Client) -> bytes:
        client.say(GET)
        return await client.until(b"{}")

    assert served(handler, talk).startswith(b"HTTP/1.1 502")


def test_a_cut_answer_lacks_its_end() -> None:
    """`cut` sends what was written and closes without the last chunk."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200)
        await exchange.write(b"half")
        exchange.cut()

    async def talk(client: Client) -> bytes:
        client.say(GET)
        return await client.rest()

    assert served(handler, talk).endswith(b"4\r\nhalf\r\n")


def test_a_reset_is_a_reset() -> None:
    """`reset` ends the connection by a TCP reset."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200)
        await asyncio.sleep(0.05)
        exchange.reset()

    async def talk(client: Client) -> None:
        client.say(GET)
        await client.until(b"\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.rest()

    served(handler, talk)


def test_nagle_is_off() -> None:
    """Connections have TCP_NODELAY set, so that no small piece waits for an acknowledgement."""

    async def handler(exchange: Exchange) -> None:
        raw = exchange._connection._transport.get_extra_info("socket")
        await exchange.answer_json(200, raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def talk(client: Client) -> bytes:
        client.say(GET)
        await client.until(b"\r\n\r\n")
        return await client.until(b"1")

    served(handler, talk)


def test_closing_ends_what_is_going_on() -> None:
    """A server that closes ends its handlers and connections, however long they would have taken."""
    ended = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        try:
            await exchange.start(200)
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def main() -> None:
        server = await Server(handler).listen()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.wait_for(server.close(), 5)
        assert ended.is_set()
        writer.close()

    asyncio.run(main())

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from streaming_runtime import Response, ResponseClosed, ResponseStarted
from streaming_runtime.response import BufferedBody, http_prelude

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class RecordingBody:
    streams = True

    def __init__(self) -> None:
        self.heads: list[tuple[int, dict[str, str], list[str]]] = []
        self.pieces: list[bytes] = []
        self.failures: list[tuple[str, str]] = []

    def start(self, status: int, headers: Mapping[str, str], cookies: Sequence[str]) -> None:
        self.heads.append((status, dict(headers), list(cookies)))

    def send(self, data: bytes) -> None:
        self.pieces.append(data)

    def fail(self, error_type: str, message: str) -> None:
        self.failures.append((error_type, message))


@pytest.fixture
def body() -> RecordingBody:
    return RecordingBody()


@pytest.fixture
def response(body: RecordingBody) -> Response:
    return Response(body)


def test_head_goes_once_and_before_the_first_byte(response: Response, body: RecordingBody) -> None:
    """Status, headers and cookies set before the first write precede it, once."""
    response.status = 418
    response.headers["content-type"] = "text/plain"
    response.cookies.append("a=b; Secure")
    assert not response.started
    response.write("tea")
    response.write(b"pot")
    response.start()
    assert body.heads == [(418, {"content-type": "text/plain"}, ["a=b; Secure"])]
    assert body.pieces == [b"tea", b"pot"]
    assert response.started
    assert response.bytes_written == 6


def test_default_head(response: Response, body: RecordingBody) -> None:
    """A handler that says nothing answers 200 without headers."""
    response.start()
    assert body.heads == [(200, {}, [])]


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        ("héllo", "héllo".encode()),
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        (memoryview(b"\1\0\0\0\2\0\0\0").cast("I"), b"\1\0\0\0\2\0\0\0"),
    ],
)
def test_every_kind_of_data(
    data: Any, sent: bytes, response: Response, body: RecordingBody
) -> None:
    """Text goes as UTF-8 and anything bytes-like as its bytes, counted in bytes."""
    response.write(data)
    assert body.pieces == [sent]
    assert response.bytes_written == len(sent)


def test_a_buffer_can_be_used_again(response: Response, body: RecordingBody) -> None:
    """What was written does not change with the caller's buffer."""
    buffer = bytearray(b"one")
    response.write(buffer)
    buffer[:] = b"two"
    assert body.pieces == [b"one"]


@pytest.mark.parametrize("data", ["", b"", bytearray(), memoryview(b"")], ids=type)
def test_empty_write_sends_nothing(data: Any, response: Response, body: RecordingBody) -> None:
    """An empty write neither starts the response nor sends a piece."""
    response.write(data)
    assert (response.started, body.heads, body.pieces) == (False, [], [])


@pytest.mark.parametrize("data", [None, 5, ["a"], {"a": 1}])
def test_what_is_not_data_is_refused(data: Any, response: Response, body: RecordingBody) -> None:
    """Anything but text and bytes is a TypeError, before a byte is sent."""
    with pytest.raises(TypeError):
        response.write(data)
    assert body.heads == []


def test_status_comes_too_late(response: Response) -> None:
    """After the first byte the status is settled, and saying so is the handler's error."""
    response.write("x")
    with pytest.raises(ResponseStarted, match="status: expected before the first byte"):
        response.status = 500
    assert response.status == 200


def test_headers_and_cookies_are_read_only_after_the_first_byte(response: Response) -> None:
    """After the first byte headers and cookies can be read, not changed."""
    response.headers["a"] = "b"
    response.cookies.append("c=d")
    response.write("x")
    assert dict(response.headers) == {"a": "b"}
    assert tuple(response.cookies) == ("c=d",)
    with pytest.raises(TypeError):
        response.headers["a"] = "c"
    with pytest.raises(AttributeError):
        response.cookies.append("e=f")


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 1000, -200])
def test_impossible_status(status: int, response: Response) -> None:
    """Only a final status code can be set."""
    with pytest.raises(ValueError, match=f"status: expected 200 to 599, got {status}"):
        response.status = status


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä", "a\0", "a/b", 5, None])
def test_impossible_header_name(name: Any, response: Response, body: RecordingBody) -> None:
    """A name that is no field name is refused before anything is sent."""
    response.headers[name] = "x"
    with pytest.raises(ValueError, match="headers: expected a field name"):
        response.write("x")
    assert (body.heads, response.started) == ([], False)


@pytest.mark.parametrize(
    "value", ["a\r\nb: c", "a\nb", "a\0", "\x7f", "€", "\u2028", 5, None, b"x"]
)
def test_impossible_header_value(value: Any, response: Response, body: RecordingBody) -> None:
    """A value that would be another header, or none at all, is refused; the message does not tell it."""
    response.headers["x-key"] = value
    with pytest.raises(ValueError, match=r"^headers\['x-key'\]: expected printable Latin-1 text$"):
        response.start()
    assert body.heads == []


@pytest.mark.parametrize("cookie", ["a=b\r\nset-cookie: c=d", "a=\n", "a=€", None, 5, b"a=b"])
def test_impossible_cookie(cookie: Any, response: Response, body: RecordingBody) -> None:
    """So is such a cookie."""
    response.cookies.append(cookie)
    with pytest.raises(ValueError, match="cookies: expected printable Latin-1 text"):
        response.start()
    assert body.heads == []


@pytest.mark.parametrize("value", ["", "a\tb", "é", "~!", "x" * 7000])
def test_possible_header_value(value: str, response: Response, body: RecordingBody) -> None:
    """Anything HTTP allows in a header goes through."""
    response.headers["x-key"] = value
    response.cookies.append(value)
    response.start()
    assert body.heads == [(200, {"x-key": value}, [value])]


def test_a_header_twice(response: Response, body: RecordingBody) -> None:
    """Names that differ in case only are one header: a doubled content type breaks browsers."""
    response.headers["content-type"] = "text/plain"
    response.headers["Content-Type"] = "text/html"
    with pytest.raises(ValueError, match="each name once"):
        response.start()
    assert body.heads == []


def test_the_head_is_limited(response: Response, body: RecordingBody) -> None:
    """Lambda looks for the prelude's end in the first 16 KB: a longer one is refused here."""
    response.headers["x-long"] = "x" * 16_000
    with pytest.raises(ValueError, match="at most 16000 bytes in all, got 160"):
        response.start()
    assert body.heads == []


def test_a_refused_head_can_be_mended(response: Response, body: RecordingBody) -> None:
    """After a refusal nothing has been sent: an error handler may still answer."""
    response.headers["x"] = "\n"
    with pytest.raises(ValueError, match="headers"):
        response.start()
    del response.headers["x"]
    response.status = 500
    response.write("sorry")
    assert (body.heads, body.pieces) == ([(500, {}, [])], [b"sorry"])


def test_fail_is_passed_on(response: Response, body: RecordingBody) -> None:
    """An error that was answered can still count as one, before and after the first byte."""
    response.fail("A", "before")
    response.write("x")
    response.fail("B", "after")
    assert body.failures == [("A", "before"), ("B", "after")]


@pytest.mark.parametrize(("body", "streams"), [(RecordingBody(), True), (BufferedBody(), False)])
def test_a_response_says_whether_it_streams(
    body: RecordingBody | BufferedBody, *, streams: bool
) -> None:
    """A handler that would break a silence knows whether anyone could hear it, before the first byte and after it."""
    response = Response(body)
    assert response.streams is streams
    response.write("x")
    assert response.streams is streams


@pytest.mark.parametrize("started", [False, True])
def test_nothing_is_written_after_the_end(
    *, started: bool, response: Response, body: RecordingBody
) -> None:
    """A response kept beyond its invocation takes no more: it must not answer another one."""
    if started:
        response.write("x")
    sent = list(body.pieces)
    response.end()
    for write in (response.start, lambda: response.write("late")):
        with pytest.raises(ResponseClosed, match="its invocation is over") as closed:
            write()
        assert closed.value.status is None
    assert (body.pieces, len(body.heads)) == (sent, int(started))


def test_threads_write_whole_pieces() -> None:
    """Writes of several threads go out one after the other, behind one head, and all are counted."""

    class SlowBody(RecordingBody):
        def __init__(self) -> None:
            super().__init__()
            self.busy = threading.Lock()

        def start(self, status: int, headers: Mapping[str, str], cookies: Sequence[str]) -> None:
            assert self.busy.acquire(blocking=False)
            super().start(status, headers, cookies)
            self.busy.release()

        def send(self, data: bytes) -> None:
            assert self.busy.acquire(blocking=False)
            super().send(data)
            self.busy.release()

    body = SlowBody()
    response = Response(body)
    ready = threading.Barrier(8)

    def write() -> None:
        ready.wait()
        for _ in range(200):
            response.write("piece")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(body.heads) == 1
    assert len(body.pieces) == 1600
    assert response.bytes_written == 8000


def test_end_waits_for_a_write_under_way() -> None:
    """The end does not overtake a piece that another thread is sending."""
    sending, go_on = threading.Event(), threading.Event()

    class StuckBody(RecordingBody):
        def send(self, data: bytes) -> None:
            sending.set()
            assert go_on.wait(10)
            super().send(data)

    body = StuckBody()
    response = Response(body)
    writer = threading.Thread(target=response.write, args=("x",))
    ender = threading.Thread(target=response.end)
    writer.start()
    assert sending.wait(10)
    ender.start()
    ender.join(0.05)
    assert ender.is_alive()
    go_on.set()
    writer.join()
    ender.join()
    assert body.pieces == [b"x"]


def test_prelude() -> None:
    """The prelude is compact ASCII JSON with status, headers and cookies, all three always."""
    prelude = http_prelude(201, {"x": "é"}, ["a=b"])
    assert prelude.isascii()
    assert b" " not in prelude
    assert json.loads(prelude) == {"statusCode": 201, "headers": {"x": "é"}, "cookies": ["a=b"]}
    assert json.loads(http_prelude(200, {}, [])) == {
        "statusCode": 200,
        "headers": {},
        "cookies": [],
    }


@pytest.mark.parametrize(
    ("content_type", "body", "expected", "is_base64"),
    [
        ("text/plain", b"hi", "hi", False),
        ("text/event-stream; charset=utf-8", "é".encode(), "é", False),
        ("application/json", b"{}", "{}", False),
        ("application/problem+json", b"{}", "{}", False),
        ("application/x-ndjson", b"{}\n", "{}\n", False),
        ("APPLICATION/JSON", b"{}", "{}", False),
        ("text/plain; charset=latin-1", b"\xe9", "6Q==", True),
        ("application/vnd.amazon.eventstream", b"\0\1", "AAE=", True),
        ("image/png", b"png", "cG5n", True),
        ("", b"", "", True),
    ],
)
def test_buffered_proxy_response(
    content_type: str, body: bytes, expected: str, *, is_base64: bool
) -> None:
    """Collected, text is a string in the proxy response and anything else base64."""
    headers = {"Content-Type": content_type} if content_type else {}
    buffered = BufferedBody()
    buffered.start(200, headers, ["a=b"])
    for byte in body:
        buffered.send(bytes([byte]))
    buffered.fail("X", "ignored: an answer was given")
    assert buffered.proxy_response() == {
        "statusCode": 200,
        "headers": headers,
        "cookies": ["a=b"],
        "body": expected,
        "isBase64Encoded": is_base64,
    }


def test_headers_and_cookies_can_be_replaced() -> None:
    """Headers and cookies may be set as a whole, or added to in place, until the first byte."""
    body = BufferedBody()
    response = Response(body)
    response.headers = {"content-type": "text/plain"}
    response.cookies += ["a=b", "c=d"]
    response.write("x")
    assert body.proxy_response()["headers"] == {"content-type": "text/plain"}
    assert body.proxy_response()["cookies"] == ["a=b", "c=d"]
    with pytest.raises(ResponseStarted):
        response.headers = {}
    with pytest.raises(ResponseStarted):
        response.cookies = []

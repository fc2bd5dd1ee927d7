"""The response a handler writes: a status, headers and cookies until the first byte, then bytes.

What is written goes to a ``Body``: a streamed one sends each piece on its way at once (``runtime_api``), a buffered one
keeps them for the end. The handler cannot tell which it has, and need not.
"""

from __future__ import annotations

import json
import re
import threading
from base64 import b64encode
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

from streaming_runtime.errors import ResponseClosed, ResponseStarted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # a field name: RFC 9110, section 5.6.2
_FORBIDDEN = re.compile(r"[^\t\x20-\x7e\x80-\xff]")  # not in a field value: section 5.5
_TEXT_TYPES = re.compile(
    r"(text/|application/([\w.-]+\+)?(json|xml|x-ndjson|javascript)\b)", re.IGNORECASE
)


class Body(Protocol):
    """Where the bytes of a response go.

    Attributes:
        streams: whether they go out at once, rather than at the end.
    """

    streams: bool

    def start(self, status: int, headers: Mapping[str, str], cookies: Sequence[str]) -> None:
        """Take what precedes the first byte. Called once, before ``send``."""

    def send(self, data: bytes) -> None:
        """Take the next bytes, never none.

        Raises:
            ResponseClosed: nobody reads them any more.
        """

    def fail(self, error_type: str, message: str) -> None:
        """Note that the stream ends with an error."""


class Response:
    """An HTTP response in the making. Threads may share it: each ``write`` goes out whole.

    Attributes:
        started: whether status, headers and cookies are settled.
        bytes_written: the length of the body so far.
    """

    def __init__(self, body: Body) -> None:
        self.started = False
        self.bytes_written = 0
        self._body = body
        self._lock = threading.RLock()
        self._ended = False
        self._status = 200
        self._headers: dict[str, str] = {}
        self._cookies: list[str] = []

    @property
    def streams(self) -> bool:
        """Whether what is written goes out at once: where it is collected, no silence can be broken."""
        return self._body.streams

    @property
    def status(self) -> int:
        """The HTTP status code: 200 unless set before the first byte.

        Raises:
            ResponseStarted: set after the first byte.
            ValueError: set to what is no final status code.
        """
        return self._status

    @status.setter
    def status(self, status: int) -> None:
        self._expect_not_started("status")
        if not 200 <= status <= 599:
            raise ValueError(f"status: expected 200 to 599, got {status}")
        self._status = int(status)

    @property
    def headers(self) -> MutableMapping[str, str]:
        """Header values by name; after the first byte a read-only view of them."""
        if self.started:
            return cast("MutableMapping[str, str]", MappingProxyType(self._headers))
        return self._headers

    @headers.setter
    def headers(self, headers: Mapping[str, str]) -> None:
        self._expect_not_started("headers")
        self._headers = dict(headers)

    @property
    def cookies(self) -> list[str]:
        """Whole ``set-cookie`` values, one each; after the first byte a read-only view of them."""
        if self.started:
            return cast("list[str]", tuple(self._cookies))
        return self._cookies

    @cookies.setter
    def cookies(self, cookies: Iterable[str]) -> None:
        self._expect_not_started("cookies")
        self._cookies = list(cookies)

    def _expect_not_started(self, what: str) -> None:
        if self.started:
            raise ResponseStarted(f"{what}: expected before the first byte, got after it")

    def start(self) -> None:
        """Settle and send status, headers and cookies. The first ``write`` does so by itself.

        Raises:
            ValueError: a header or a cookie cannot be sent.
            ResponseClosed: nobody reads them any more.
        """
        with self._lock:
            if self._ended:
                raise ResponseClosed(None, "its invocation is over")
            if not self.started:
                _check(self._headers, self._cookies)
                self.started = True
                self._body.start(self._status, self._headers, self._cookies)

    def write(self, data: str | bytes | bytearray | memoryview) -> None:
        """Send bytes, or text as UTF-8, on their way now.

        Raises:
            ResponseClosed: Lambda or the caller ended the stream, or the handler has returned.
        """
        if isinstance(data, str):
            data = data.encode()
        elif not isinstance(data, bytes):
            data = memoryview(data).tobytes()  # the owner may change it; len() may not count bytes
        if not data:
            return  # an empty chunk would end a chunked body (fact 37)
        with self._lock:
            if self._ended or not self.started:
                self.start()
            self._body.send(data)
            self.bytes_written += len(data)

    def fail(self, error_type: str, message: str) -> None:
        """Let the invocation count as failed, although an answer was written.

        Where the response is streamed this becomes the error trailers, which function URL callers do not see but
        Lambda's metrics and callers of InvokeWithResponseStream do (fact 35). Say nothing secret.
        """
        self._body.fail(error_type, message)

    def end(self) -> None:
        """Take no more writes, once one under way is through: a thread may outlive the handler that started it."""
        with self._lock:
            self._ended = True


class BufferedBody:
    """Keeps the pieces, for a runtime or a way in that cannot stream."""

    streams = False

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._pieces: list[bytes] = []

    def start(self, status: int, headers: Mapping[str, str], cookies: Sequence[str]) -> None:
        """Keep what precedes the first byte."""
        self._head = {"statusCode": status, "headers": dict(headers), "cookies": list(cookies)}

    def send(self, data: bytes) -> None:
        """Keep the next bytes."""
        self._pieces.append(data)

    def fail(self, error_type: str, message: str) -> None:
        """Do nothing: a function that returns an answer has not failed, and the answer itself says what happened."""

    def proxy_response(self) -> dict[str, Any]:
        """Return the response in Lambda's proxy format: text as it is, anything else in base64."""
        body = b"".join(self._pieces)
        content_type = next(
            (v for k, v in self._head["headers"].items() if k.lower() == "content-type"), ""
        )
        if _TEXT_TYPES.match(content_type):
            try:
                return {**self._head, "body": body.decode(), "isBase64Encoded": False}
            except UnicodeDecodeError:
                pass  # labelled as text, but in another charset: base64 keeps it whole
        return {**self._head, "body": b64encode(body).decode(), "isBase64Encoded": True}


def http_prelude(status: int, headers: Mapping[str, str], cookies: Sequence[str]) -> bytes:
    """Return the JSON that precedes the payload of a streamed HTTP response (fact 32)."""
    head = {"statusCode": status, "headers": dict(headers), "cookies": list(cookies)}
    return json.dumps(head, separators=(",", ":")).encode()


def _check(headers: Mapping[str, str], cookies: Sequence[str]) -> None:
    """Refuse what would break the head of an HTTP response, or be read as another header."""
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError(f"headers: expected a field name, got {name!r}")
        if not isinstance(value, str) or _FORBIDDEN.search(value):
            raise ValueError(f"headers[{name!r}]: expected printable Latin-1 text")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError(f"headers: expected each name once in any case, got {list(headers)}")
    for cookie in cookies:
        if not isinstance(cookie, str) or _FORBIDDEN.search(cookie):
            raise ValueError("cookies: expected printable Latin-1 text, one string each")
    # The prelude and its delimiter belong in the first 16 KB (fact 32); what is left is for the delimiter.
    size = len(http_prelude(200, headers, cookies))
    if size > 16_000:
        raise ValueError(f"headers and cookies: expected at most 16000 bytes in all, got {size}")

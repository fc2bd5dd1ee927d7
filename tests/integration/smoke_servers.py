"""Servers that stand in front of a function, or in its place, and do one thing wrong."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection  # noqa: TID251  # a proxy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port; return the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        pass

    def do_POST(self) -> None:  # as the standard library calls it
        self.respond(self.rfile.read(int(self.headers.get("content-length", 0))))

    def do_GET(self) -> None:  # as above
        self.respond(b"")

    def do_OPTIONS(self) -> None:  # as above
        self.respond(b"")

    def respond(self, body: bytes) -> None:
        raise NotImplementedError


def proxy(url: str, block: int, **headers: str) -> type[BaseHTTPRequestHandler]:
    """Return a proxy that hands answers on in blocks of so many bytes, or whole with 0."""
    behind = urlsplit(url).netloc

    class Proxy(_Quiet):
        def respond(self, body: bytes) -> None:
            connection = HTTPConnection(behind)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            response = connection.getresponse()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "date"}:
                    self.send_header(name, value)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            while data := response.read(block or None):
                self.wfile.write(data)
            connection.close()

    return Proxy


def answering(
    answer: Callable[[str, Mapping[str, str]], tuple[int, dict[str, str], Any]],
) -> type[BaseHTTPRequestHandler]:
    """Return a server whose answers a function makes of the method and path, and of the headers in lower case."""

    class Server(_Quiet):
        def respond(self, body: bytes) -> None:  # noqa: ARG002  # not asked
            sent = {name.lower(): value for name, value in self.headers.items()}
            status, headers, said = answer(f"{self.command} {self.path}", sent)
            data = json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    return Server


def in_turns(line: bytes, times: int, pause: float) -> type[BaseHTTPRequestHandler]:
    """Return a server that sends a line so many times, with a pause between, then breaks off."""

    class Server(_Quiet):
        protocol_version = "HTTP/1.1"

        def respond(self, body: bytes) -> None:  # noqa: ARG002  # not asked
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for _ in range(times):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
                time.sleep(pause)
            self.close_connection = True

    return Server

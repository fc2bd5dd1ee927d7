"""TLS in front of a function at home, for clients that send their keys over nothing else."""

# ruff: noqa: TID251  # it passes requests on

from __future__ import annotations

import ssl
import threading
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@contextmanager
def tls_front(url: str, folder: Path, *names: str) -> Iterator[str]:
    """Give a URL that answers as another does, whole and over TLS, by other names as well.

    ``authority.pem`` in the folder vouches for it.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", *names).configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(urlsplit(url).netloc))
    server.daemon_threads = False  # waited for at the end
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(behind: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with closing(HTTPConnection(behind, timeout=20)) as connection:
                connection.request("POST", self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler

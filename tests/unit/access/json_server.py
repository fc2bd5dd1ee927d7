"""A server on this machine that answers each path with what a test puts there, and counts who asks."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Said(NamedTuple):
    """What a path answers; bytes as they are, anything else as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012  # nobody changes it


class JsonServer:
    """The server.

    Attributes:
        url: where it is.
        paths: what is at each path; nothing is 404.
        asked: the paths that were asked for, oldest first.
    """

    def __init__(self) -> None:
        self.paths: dict[str, Said] = {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False  # waited for at the end
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, body: bytes) -> Said:
        """Answer a request."""
        self.asked.append(path)
        del body
        return self.paths.get(path, Said({}, 404))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                said = server.answer(self.path, sent)
                body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815  # as the server calls it

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class SecretsManager(JsonServer):
    """Secrets Manager, as far as it is asked here.

    Attributes:
        secret: the secret's text; ``None`` for none.
    """

    def __init__(self, secret: str | None = None) -> None:
        super().__init__()
        self.secret = secret

    def answer(self, path: str, body: bytes) -> Said:
        name = json.loads(body)["SecretId"]
        self.asked.append(name)
        if path in self.paths:
            return self.paths[path]
        if self.secret is None:
            arn = f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}"
            told = {"__type": "ResourceNotFoundException", "Message": f"no {arn}"}
            return Said(told, 400, {"content-type": "application/x-amz-json-1.1"})
        return Said({"Name": name, "SecretString": self.secret})

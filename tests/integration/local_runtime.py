"""A function for the local run to hold: its runtime is plain http.client, the path says what it does."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from http.client import HTTPConnection  # noqa: TID251  # all that it needs
from typing import Any

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
ROOT = "/2018-06-01/runtime"
PRELUDE = b'{"statusCode": 201, "headers": {"Content-Type": "text/plain", "X-A": "1"}, "cookies": ["a=1", "b=2"]}'
HTTP = "application/vnd.awslambda.http-integration-response"


class Stream:
    """A streamed response."""

    def __init__(self, request_id: str, content_type: str = HTTP) -> None:
        self.connection = HTTPConnection(API)
        self.connection.putrequest("POST", f"{ROOT}/invocation/{request_id}/response")
        self.connection.putheader("Content-Type", content_type)
        self.connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        self.connection.putheader("Transfer-Encoding", "chunked")
        self.connection.putheader(
            "Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
        )
        self.connection.endheaders()

    def write(self, data: bytes) -> None:
        self.connection.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, trailers: bytes = b"") -> None:
        self.connection.send(b"0\r\n" + trailers + b"\r\n")
        print("answered", self.connection.getresponse().status, flush=True)
        self.connection.close()


def post(path: str, value: Any) -> None:
    connection = HTTPConnection(API)
    connection.request("POST", ROOT + path, json.dumps(value), {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()


def streamed(request_id: str, *pieces: bytes, pause: float = 0.0, trailers: bytes = b"") -> None:
    stream = Stream(request_id)
    for piece in (PRELUDE, bytes(8), *pieces):
        stream.write(piece)
        time.sleep(pause)
    stream.end(trailers)


def handle(request_id: str, event: dict[str, Any]) -> None:
    error = base64.b64encode(b'{"errorType": "Oops", "errorMessage": "in the middle"}')
    told = (
        b"Lambda-Runtime-Function-Error-Type: Oops\r\nLambda-Runtime-Function-Error-Body: %b\r\n"
        % error
    )
    match event.get("rawPath", "/direct"):
        case "/stream":
            streamed(request_id, b"one", b"two", pause=0.05)
        case "/empty":
            streamed(request_id)
        case "/long":
            streamed(request_id, *[b"x" * 1000] * 40, pause=0.02)
        case "/middle":
            streamed(request_id, b"half", trailers=told)
        case "/echo":
            post(f"/invocation/{request_id}/response", event)
        case "/proxy":
            post(
                f"/invocation/{request_id}/response",
                {"statusCode": 202, "body": "é", "cookies": ["c=3"]},
            )
        case "/bare":
            stream = Stream(request_id, "text/x-bare")
            stream.write(b"as it is")
            stream.end()
        case "/slow":
            time.sleep(0.5)
            post(f"/invocation/{request_id}/response", {"pid": os.getpid()})
        case "/direct":
            stream = Stream(request_id, "text/plain")
            stream.write("grüß".encode())
            stream.write(json.dumps(event).encode())
            stream.end(told if event.get("fail") else b"")
        case path:
            go_wrong(request_id, path)


def go_wrong(request_id: str, path: str) -> None:
    match path:
        case "/error":
            post(
                f"/invocation/{request_id}/error",
                {"errorType": "ValueError", "errorMessage": "at once"},
            )
        case "/noprelude":
            stream = Stream(request_id)
            stream.write(b"no json" + bytes(8) + b"payload")
            stream.end()
        case "/bad-header":
            stream = Stream(request_id)
            stream.write(b'{"headers": {"x": "a\\nb"}}' + bytes(8) + b"payload")
            stream.end()
        case "/endless-prelude":
            stream = Stream(request_id)
            stream.write(PRELUDE)
            stream.end()
        case "/large":
            streamed(request_id, *[bytes(1_000_000)] * 7)
        case "/exit":
            print("I leave", flush=True)
            os._exit(3)
        case "/exit-in-stream":
            stream = Stream(request_id)
            stream.write(PRELUDE + bytes(8) + b"half")
            time.sleep(0.1)
            os._exit(3)
        case "/hang":
            time.sleep(60)
        case "/hang-in-stream":
            stream = Stream(request_id)
            stream.write(PRELUDE + bytes(8) + b"half")
            time.sleep(60)
        case _:
            pass  # no answer


def main() -> None:
    if "FAIL" in os.environ:
        post(
            "/init/error",
            {"errorType": "Runtime.ImportModuleError", "errorMessage": "no such module"},
        )
        sys.exit(1)
    if "DAWDLE" in os.environ:
        time.sleep(60)
    print("started", sorted(os.environ), flush=True)
    while True:
        connection = HTTPConnection(API)
        connection.request("GET", f"{ROOT}/invocation/next")
        response = connection.getresponse()
        event = json.loads(response.read())
        request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
        remaining = int(response.headers["Lambda-Runtime-Deadline-Ms"]) / 1000 - time.time()
        print(f"{request_id} has {remaining:.1f} s", flush=True)
        connection.close()
        handle(request_id, event)


if __name__ == "__main__":
    main()

"""A caller of the function URL that tells what it got, however the answer ended."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http.client import HTTPConnection, IncompleteRead  # noqa: TID251  # it keeps what came before a break
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes:
        body: all bytes that came.
        whole: whether the transport said that these were all.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def objects(self) -> list[Any]:
        """The JSON objects in it, as SSE without its comments, NDJSON or one alone."""
        return [
            json.loads(line.removeprefix("data: "))
            for line in self.body.decode().split("\n")
            if line and not line.startswith(":")
        ]

    @property
    def types(self) -> list[str]:
        """The types of the events in it."""
        return [event["type"] for event in self.objects]


def ask(
    url: str,
    path: str = "/stream",
    body: Any = None,
    *,
    method: str = "POST",
    accept: str = "text/event-stream",
    timeout: float = 20.0,
) -> Answer:
    """Ask the function; wait until its one environment is done with the invocation before."""
    while True:
        answer = _ask(url, path, body, method, accept, timeout)
        if answer.status != 429 or b"Rate Exceeded." not in answer.body:
            return answer
        time.sleep(0.005)


def _ask(url: str, path: str, body: Any, method: str, accept: str, timeout: float) -> Answer:
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=timeout)
    try:
        headers = {"accept": accept, "content-type": "application/json"}
        said = json.dumps({"prompt": "hi"} if body is None else body)
        connection.request(method, path, said, headers)
        response = connection.getresponse()
        whole = True
        try:
            data = response.read()
        except IncompleteRead as cut:
            data, whole = cut.partial, False
        lower = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, lower, data, whole)
    finally:
        connection.close()

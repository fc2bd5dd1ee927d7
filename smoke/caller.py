"""A caller of a deployment, who notes when each piece of an answer arrives.

It is ``http.client``, which hands over what has arrived at once, follows nothing and keeps no cookies: what is seen is
what was sent.
"""
# ruff: noqa: TID251  # a client of the function's, not the function

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from smoke.credentials import PAYLOAD_HASH, Credential, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Piece = tuple[float, bytes]

_TIMEOUT = (
    120.0  # seconds without a byte: longer than heartbeats are apart, and than a cold start takes
)
_RETRY_AFTER = 1.0  # seconds
_LONGEST_READ = 65_536


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer, with the times of its pieces in seconds after the request began.

    Attributes:
        headers: by their names in lower case; several of one name are joined with commas.
        cookies: how many it set.
        head_at: when status and headers had come.
        pieces: what came of the body, and when.
        whole: whether the transport said that this was all of it.
        retries: how many calls of the same were refused before.
    """

    status: int
    headers: Mapping[str, str]
    cookies: int
    head_at: float
    pieces: tuple[Piece, ...]
    whole: bool
    retries: int = 0

    @property
    def body(self) -> bytes:
        """All that came of the body."""
        return b"".join(data for _, data in self.pieces)

    @cached_property
    def json(self) -> Any:
        """What the body says, or ``None`` if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def error(self) -> str:
        """A word and a sentence on what went wrong, from whichever API's error it is; or the body's first bytes."""
        said = self.json if isinstance(self.json, dict) else {}
        error = said["error"] if isinstance(said.get("error"), dict) else said
        words = (error.get(name) for name in ("code", "type", "message", "Message"))
        return ": ".join(dict.fromkeys(word for word in words if isinstance(word, str))) or repr(
            self.body[:80]
        )

    @property
    def is_the_functions(self) -> bool:
        """Whether the function answered, rather than something in front of it."""
        return "x-request-id" in self.headers

    def lines(self) -> Iterator[tuple[float, str]]:
        """Yield each line that has come to its end, with the time of its end."""
        rest = b""
        for at, data in self.pieces:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield at, line.decode(errors="replace")

    def events(self) -> Iterator[tuple[float, Any]]:
        """Yield the JSON values of server-sent events, or of NDJSON."""
        for at, line in self.lines():
            text = line.removeprefix("data:").strip()
            if text.startswith("{"):
                yield at, json.loads(text)

    def said(self) -> list[str]:
        """Return what each server-sent event says."""
        return [line[5:].strip() for _, line in self.lines() if line.startswith("data:")]


class Caller:
    """Calls one deployment in one way.

    Args:
        url: without a slash at its end.
        credential: who calls.
        answers: takes each answer.
        patience: until when, in seconds of `time.monotonic`, a 403 that is not the function's is only a deployment
            that has not settled yet, and the call is made again (fact 46).
    """

    def __init__(
        self, url: str, credential: Credential, answers: list[Answer], *, patience: float = 0.0
    ) -> None:
        self.url = url
        self._credential = credential
        self._answers = answers
        self._patience = patience

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Call with GET; see `call`."""
        return self.call("GET", path, headers=headers)

    def post(
        self,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        until: Callable[[bytes], bool] | None = None,
    ) -> Answer:
        """Call with POST and JSON; see `call`."""
        headers = {"content-type": "application/json", **(headers or {})}
        return self.call("POST", path, json.dumps(body).encode(), headers=headers, until=until)

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        until: Callable[[bytes], bool] | None = None,
    ) -> Answer:
        """Make a request and read the answer to its end.

        Args:
            method: of HTTP.
            path: below the URL.
            body: of the request.
            headers: of the request.
            until: leaves, in the middle of the answer, as soon as this says so of what has come.

        Raises:
            OSError, HTTPException: there is no answer.
        """
        retries = 0
        while True:
            answer = self._call(method, path, body, dict(headers or {}), until, retries)
            refused = answer.status == 403 and not answer.is_the_functions
            if not refused or time.monotonic() > self._patience:
                self._answers.append(answer)
                return answer
            retries += 1
            time.sleep(_RETRY_AFTER)

    def _call(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        until: Callable[[bytes], bool] | None,
        retries: int,
    ) -> Answer:
        if (
            method == "POST"
        ):  # behind CloudFront, which cannot sign a body that it has not read (fact 42)
            headers[PAYLOAD_HASH] = hashlib.sha256(body).hexdigest()
        headers.setdefault("accept-encoding", "identity")
        headers |= self._credential.headers(Request(method, self.url + path, headers, body))
        address = urlsplit(self.url + path)
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        connection = kind(address.hostname or "", address.port, timeout=_TIMEOUT)
        began = time.monotonic()
        try:
            connection.request(method, address.path, body or None, headers)
            response = connection.getresponse()
            head_at = time.monotonic() - began
            pieces: list[Piece] = []
            whole = False
            try:
                while data := response.read1(_LONGEST_READ):
                    pieces.append((time.monotonic() - began, data))
                    if until is not None and until(b"".join(piece for _, piece in pieces)):
                        break
                else:
                    whole = not response.length  # none of it is missing
            except (HTTPException, OSError):
                pass  # what came before the break tells more than the break
        finally:
            connection.close()
        return Answer(
            status=response.status,
            headers=_joined(response.getheaders()),
            cookies=len(response.headers.get_all("set-cookie", [])),
            head_at=head_at,
            pieces=tuple(pieces),
            whole=whole,
            retries=retries,
        )


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined

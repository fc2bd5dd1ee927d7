"""Anthropic's own client in front of given bytes: what a caller of the Messages API makes of an answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}
ASKED: dict[str, Any] = {
    "model": "a.model",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi"}],
}


class Answering:
    """A client to whom every request is answered with the same bytes.

    Attributes:
        client: the client.
        requests: those that it has sent.
    """

    def __init__(self, http_client: httpx2.Client, requests: list[httpx2.Request]) -> None:
        self.client = anthropic.Anthropic(
            api_key="any", base_url="http://rivulet.test", http_client=http_client, max_retries=0
        )
        self.requests = requests


@contextmanager
def answering(
    pieces: Iterable[bytes], headers: Mapping[str, str] = SSE, status: int = 200
) -> Iterator[Answering]:
    """Return a client to whom every request is answered with these bytes."""
    requests: list[httpx2.Request] = []
    kept = list(pieces)

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(status, headers=headers, content=iter(kept))

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http_client:
        yield Answering(http_client, requests)


def streamed(pieces: Iterable[bytes]) -> anthropic.types.ParsedMessage[Any]:
    """Return the message that the client puts together from a stream."""
    with answering(pieces) as answered, answered.client.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


def whole(pieces: Iterable[bytes]) -> anthropic.types.Message:
    """Return the message that the client reads from an answer in one piece."""
    with answering(pieces, JSON) as answered:
        message = answered.client.messages.create(**ASKED)
    assert isinstance(message, anthropic.types.Message)
    return message


def failure(pieces: Iterable[bytes]) -> anthropic.APIStatusError:
    """Return the exception that the client raises in the middle of a stream."""
    try:
        streamed(pieces)
    except anthropic.APIStatusError as error:
        return error
    raise AssertionError("the client has noticed nothing")

"""What a wire format is, and what an API is: the types of the tables in ``relay.formats``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from relay.events import Event

if TYPE_CHECKING:
    from relay.errors import RelayError

Encode: TypeAlias = Callable[[Iterable[Event]], Iterator[bytes]]


class Format(NamedTuple):
    """A wire format.

    Attributes:
        headers: the response headers that announce it.
        encode: the function that makes its bytes. A format that is one document, rather than a stream, yields it at
            the end, and nothing for a failure, which then has a status of its own.
        heartbeat: the bytes that break a silence between two pieces and mean nothing (fact 63); none where every byte
            means something.
        request_id_header: where its clients look for the request's id, if it is not in ``x-request-id``.
        is_bedrocks: whether it is Bedrock's own: then frames are not taken apart, and its headers go along.
    """

    headers: Mapping[str, str]
    encode: Encode
    heartbeat: bytes = b""
    request_id_header: str = "x-request-id"
    is_bedrocks: bool = False


class Asked(NamedTuple):
    """A request to another API, in Bedrock's terms.

    Attributes:
        operation: Bedrock's: ``ConverseStream``, ``InvokeModel``, ``InvokeModelWithResponseStream`` or ``CountTokens``.
        request: its request in JSON, bytes in base64, without ``modelId``; for InvokeModel, the body.
        format: of the answer.
    """

    operation: str
    request: Mapping[str, Any]
    format: Format


class Refusal(NamedTuple):
    """An error before the first byte, in an API's own shape.

    Attributes:
        headers: those that its clients look at.
        body: JSON.
    """

    headers: Mapping[str, str]
    body: Mapping[str, Any]


class Api(NamedTuple):
    """An API that clients speak already.

    Attributes:
        read: makes Bedrock's request of the body's JSON (an object), the id of the model that is to answer, and the
            request's headers, their names in lower case. Raises ``RequestError`` with the API's own name of the field.
        refuse: tells an error before the first byte, with the request's id and what Bedrock has counted by then.
        max_tokens: its name for the limit on tokens, on which a deployment may have the last word; none where nothing
            is generated.
    """

    read: Callable[[Mapping[str, Any], str, Mapping[str, str]], Asked]
    refuse: Callable[[RelayError, str, Mapping[str, Any]], Refusal]
    max_tokens: str = "max_tokens"

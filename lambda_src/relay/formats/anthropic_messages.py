"""Anthropic's Messages API, in front of any model of Bedrock's.

Anthropic's own models speak it themselves. Their requests go to InvokeModel as they came, but for what Bedrock has told
elsewhere: the model, whether to stream, the names of previews. What they ask for is for Bedrock to judge. The answers
come back as they are. Other models are asked in Converse's terms (``anthropic_request``), and their answers put into
Anthropic's (``anthropic_answer``).

A failure in mid-stream is Anthropic's ``error`` event. Where the documents are a model's own, no block is closed
before it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from relay import events as e
from relay import strict_json
from relay.errors import transport_error
from relay.formats import anthropic_answer, anthropic_errors, document
from relay.formats.anthropic_request import to_converse
from relay.formats.fields import Fields
from relay.formats.format import Api, Asked, Format
from relay.formats.json_line import dump, one_line
from relay.models import family
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# The one that Bedrock takes for all of them. Later versions, which clients name in a header, only forbid more.
_BEDROCKS_VERSION = "bedrock-2023-05-31"
# A preview that is the route for counting itself, which clients name there. Bedrock's has no such preview.
_COUNTING = "token-counting-2024-11-01"
# What a Converse request may have to be counted.
_COUNTED = ("messages", "system", "toolConfig", "additionalModelRequestFields")
_TYPE = re.compile(r"[A-Za-z0-9_.-]+")  # it becomes a line of its own


def _read(body: Mapping[str, Any], model: str, headers: Mapping[str, str]) -> Asked:
    fields = Fields(body)
    streams = bool(fields.flag("stream"))
    if family(model) != "anthropic":
        return Asked("ConverseStream", to_converse(fields, model), _STREAM if streams else _MESSAGE)
    own = _own_request(fields, headers)
    if streams:
        return Asked("InvokeModelWithResponseStream", own, _OWN_STREAM)
    return Asked("InvokeModel", own, _OWN_MESSAGE)


def _read_to_count(body: Mapping[str, Any], model: str, headers: Mapping[str, str]) -> Asked:
    fields = Fields(body)
    fields.ignore("stream")
    if family(model) != "anthropic":
        request = to_converse(fields, model, to_count=True)
        counted = {"converse": {name: request[name] for name in _COUNTED if name in request}}
    else:
        own = _own_request(fields, headers)
        # Bedrock wants the limit of an answer here, too, though it changes nothing.
        if own.get("max_tokens") is None:
            own["max_tokens"] = _enough_tokens(own.get("thinking"))
        counted = {"invokeModel": {"body": b64encode(dump(own)).decode()}}
    return Asked("CountTokens", {"input": counted}, _COUNT)


def _own_request(fields: Fields, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what InvokeModel is sent for one of Anthropic's models."""
    fields.ignore("model")
    previews = [name.strip() for name in headers.get("anthropic-beta", "").split(",")]
    for member in ("anthropic_beta", "betas"):
        for name in fields.items(member):
            if not isinstance(name, str):
                raise invalid(member, "a list of text", f"one with {describe(name)}")
            previews.append(name)
    names = [name for name in dict.fromkeys(previews) if name and name != _COUNTING]
    own = {"anthropic_version": _BEDROCKS_VERSION, **fields.rest()}
    return {**own, "anthropic_beta": names} if names else own


def _enough_tokens(thinking: Any) -> int:
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return budget + 1 if isinstance(budget, int) else 1


def _forward(events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield the documents of one of Anthropic's models as the events that they are.

    ``message_stop`` waits for Bedrock's own end, which is at hand: a stream has one, and it comes last.
    """
    request_id, stop = "", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    for event in events:
        match event:
            case e.Start():
                request_id = event.request_id
            case e.Chunk():
                type_ = _type_of(event.document)
                written = _forwarded(event.document, type_)
                if type_ == b"message_stop":
                    stop = written
                else:
                    yield written
            case e.Done():
                yield stop
            case e.Failure():
                yield anthropic_answer.failed(event, request_id)
            case _:
                pass  # the documents say themselves that they are all; Bedrock's other events are none of Anthropic's


def _type_of(written: bytes) -> bytes | None:
    """Return the type of a document: none, where it is no object that says one; empty, where it is no JSON."""
    try:
        said = strict_json.parse(written)
    except ValueError:
        return b""
    type_ = said.get("type") if isinstance(said, dict) else None
    return type_.encode() if isinstance(type_, str) and _TYPE.fullmatch(type_) else None


def _forwarded(written: bytes, type_: bytes | None) -> bytes:
    """Return a document as a server-sent event; one without a name, which clients pass over, where it has no type."""
    if type_ is None:
        return b"data: %b\n\n" % one_line(written)
    if not type_:
        return b'data: {"bytes":"%b"}\n\n' % b64encode(written)
    return b"event: %b\ndata: %b\n\n" % (type_, one_line(written))


def _count(events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield how many tokens Bedrock has counted."""
    for event in events:
        if isinstance(event, e.Chunk):
            try:
                count = strict_json.parse(event.document)["inputTokens"]
            except (KeyError, TypeError, ValueError):
                raise transport_error("corrupt") from None
            yield dump({"input_tokens": count})


_SSE = {"content-type": "text/event-stream; charset=utf-8"}
_JSON = {"content-type": "application/json"}
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'  # which clients pass over wherever it comes

_REQUEST_ID = "request-id"
_OWN_STREAM = Format(_SSE, _forward, _PING, _REQUEST_ID)
_OWN_MESSAGE = Format(_JSON, document.whole, request_id_header=_REQUEST_ID)
_STREAM = Format(_SSE, anthropic_answer.stream, _PING, _REQUEST_ID)
_MESSAGE = Format(_JSON, anthropic_answer.message, request_id_header=_REQUEST_ID)
_COUNT = Format(_JSON, _count, request_id_header=_REQUEST_ID)

API = Api(_read, anthropic_errors.refuse)
COUNT_TOKENS = Api(_read_to_count, anthropic_errors.refuse, max_tokens="")

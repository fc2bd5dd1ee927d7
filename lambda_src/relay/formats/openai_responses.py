"""OpenAI's Responses API: ``POST /v1/responses``, streamed or whole, made of ConverseStream.

Each of the model's content blocks is an item of ``output``: text a ``message``, a tool call a ``function_call``, an
image an ``image_generation_call``, reasoning a ``reasoning`` item. What Bedrock tells of the model's reasoning is its
``summary``: clients show that, and the AI SDK passes over the events of ``reasoning_text``.
Its signature is in ``encrypted_content``, which is always there, for the caller is the only one who keeps it;
``openai_responses_input`` says how, and takes it back.

A call that the stream failed within has no event that says it is done: what is done is a call to the AI SDK, whatever
its status, and one with ``{}`` where nothing of the input has come. It is told of by ``response.failed``, with which
the stream ends. OpenAI's own clients raise only what has an ``error`` beside its ``type``, so that has one, too.

Left out of an answer, for the format has no place for them: what rests on anything but web pages, tools that Bedrock
runs itself and their results, guardrails' traces, and what nobody has listed. ``POST /stream`` has them all.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from relay import events as e
from relay.formats.format import Api, Asked, Format
from relay.formats.json_line import dump
from relay.formats.openai_errors import refuse, told
from relay.formats.openai_responses_items import Call, Image, Item, Message, Reasoning, Told
from relay.formats.openai_responses_request import converse_request, repeated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SSE = {"content-type": "text/event-stream; charset=utf-8"}
_HEARTBEAT = b": ping\n\n"
_JSON = {"content-type": "application/json"}

# Why an answer ends before it is whole; what nobody has listed, as it is.
_INCOMPLETE = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
_COMPLETE = frozenset({"end_turn", "stop_sequence", "tool_use"})
# By the type of an error: for the failure of a response OpenAI has codes of its own, and few.
_FAILURES = {
    "rate_limit_error": "rate_limit_exceeded",
    "invalid_request_error": "invalid_prompt",
}
_KINDS: tuple[type[Item], ...] = (Message, Reasoning, Call, Image)
_Kind = TypeVar("_Kind", bound=Item)


def _read(body: Mapping[str, Any], model: str, _headers: Mapping[str, str]) -> Asked:
    request, streams = converse_request(body, model)
    said = repeated(body, model)
    stream, whole = partial(_stream, said), partial(_whole, said)
    answer = Format(_SSE, stream, _HEARTBEAT) if streams else Format(_JSON, whole)
    return Asked("ConverseStream", request, answer)


def _stream(said: Mapping[str, Any], events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield what there is to tell of each event; ``said`` is what the answer repeats of its request."""
    answer = _Answer(said)
    numbers = count()
    for event in events:
        if news := answer.take(event):
            yield b"".join(_server_sent_event(one, next(numbers)) for one in news)


def _whole(said: Mapping[str, Any], events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield the answer, once it is complete."""
    answer = _Answer(said)
    for event in events:
        answer.take(event)
        if isinstance(event, e.Done):
            yield dump(answer.response)


def _server_sent_event(event: Told, number: int) -> bytes:
    type_, members = event
    data = dump({"type": type_, "sequence_number": number, **members})
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), data)


class _Answer:
    """The response, as it grows.

    Args:
        said: what it repeats of its request.

    Attributes:
        response: the object that is told of at the beginning and at the end.
    """

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.response: dict[str, Any] = {
            "id": "resp_0",  # until the start says whose it is
            "object": "response",
            "created_at": 0,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
            **said,
        }
        self._request_id = ""
        self._items: list[Item] = []
        self._open: dict[tuple[int, type[Item]], Item] = {}

    def take(self, event: e.Event) -> list[Told]:  # noqa: C901, PLR0911, PLR0912  # one case an event
        """Take an event; return what there is to tell of it."""
        match event:
            case e.Start():
                return self._begin(event)
            case e.Text(index, text):
                return self._add(Message, index, text)
            case e.Reasoning(index, text):
                return self._add(Reasoning, index, text)
            case e.ReasoningSignature(index, signature):
                reasoning, begun = self._opened(Reasoning, index)
                reasoning.signature += signature
                return begun
            case e.RedactedReasoning(index, data):
                reasoning, begun = self._opened(Reasoning, index)
                reasoning.redacted.append(data)
                return begun
            case e.ToolStart(index, tool):
                bedrocks = tool.get("type") == "server_tool_use"  # which callers are not to run
                return [] if bedrocks else self._start(Call, index, tool)
            case e.ToolInput(index, piece):
                return self._add_to(Call, index, piece)
            case e.ImageStart(index, format_):
                return self._start(Image, index, {"output_format": format_})
            case e.Image(index, image):
                return self._add_to(Image, index, _data(image))
            case e.Citation(index, citation):
                message = self._open.get((index, Message))
                if isinstance(message, Message):
                    message.cite(citation)
                return []
            case e.BlockEnd(index, complete):
                ended = [self._end(kind, index, complete=complete) for kind in _KINDS]
                return [one for told_of_one in ended for one in told_of_one]
            case e.Done():
                return self._finish(event)
            case e.Failure():
                return self._fail(event)
            case e.ToolResultStart() | e.ToolResult() | e.Chunk() | e.Unknown() | e.Forwarded():
                return []

    def _begin(self, start: e.Start) -> list[Told]:
        self._request_id = start.request_id
        self.response |= {
            "id": f"resp_{start.request_id}",
            "created_at": start.created,
            "model": start.model,
        }
        response = {"response": self.response}
        return [("response.created", response), ("response.in_progress", response)]

    def _opened(
        self, kind: type[_Kind], index: int, start: Mapping[str, Any] | None = None
    ) -> tuple[_Kind, list[Told]]:
        """Return the item that a block is, and what there is to tell if that is new."""
        item = self._open.get((index, kind))
        if isinstance(item, kind):
            return item, []
        item = kind(self._request_id, len(self._items), start or {})
        self._open[index, kind] = item
        self._items.append(item)
        return item, item.begin()

    def _start(self, kind: type[Item], index: int, start: Mapping[str, Any]) -> list[Told]:
        forgotten = self._end(kind, index, complete=False)
        _, begun = self._opened(kind, index, start)
        return [*forgotten, *begun]

    def _add(self, kind: type[Item], index: int, piece: str) -> list[Told]:
        if not piece:
            return []
        item, begun = self._opened(kind, index)
        return [*begun, *item.add(piece)]

    def _add_to(self, kind: type[Item], index: int, piece: str) -> list[Told]:
        """Take a piece of an item that has had a start of its own."""
        item = self._open.get((index, kind))
        return item.add(piece) if item and piece else []

    def _end(self, kind: type[Item], index: int, *, complete: bool) -> list[Told]:
        item = self._open.pop((index, kind), None)
        return item.end(complete=complete) if item else []

    def _finish(self, done: e.Done) -> list[Told]:
        why = done.stop_reason or "end_turn"
        reason = None if why in _COMPLETE else _INCOMPLETE.get(why, why)
        if reason and self._items:
            self._items[-1].cut()
        tier = done.details.get("serviceTier")
        if isinstance(tier, dict) and isinstance(tier.get("type"), str):
            self.response["service_tier"] = tier["type"]
        self.response["incomplete_details"] = reason and {"reason": reason}
        return [self._told("incomplete" if reason else "completed", done.usage)]

    def _fail(self, failure: e.Failure) -> list[Told]:
        error = told(failure.error, self._request_id)
        code = _FAILURES.get(error["type"], "server_error")
        self.response["error"] = {"code": code, "message": error["message"]}
        type_, members = self._told("failed", failure.usage)
        return [(type_, {**members, "error": error})]

    def _told(self, status: str, usage: Mapping[str, Any]) -> Told:
        """Return the event that ends the answer."""
        output = [item.value for item in self._items]
        self.response |= {"status": status, "output": output, "usage": _usage(usage)}
        return f"response.{status}", {"response": self.response}


def _usage(counted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the usage in OpenAI's terms: what was read from a cache or written to it was input, too."""
    if not counted:
        return None
    names = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "outputTokens")
    fresh, cached, written, answered = (
        tokens if isinstance(tokens := counted.get(name), int) else 0 for name in names
    )
    asked = fresh + cached + written
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": 0},  # Bedrock does not count them apart
        "total_tokens": asked + answered,
    }


def _data(image: Mapping[str, Any]) -> str:
    """Return the base64 of a piece of an image."""
    source = image.get("source")
    data = source.get("bytes") if isinstance(source, dict) else None
    return data if isinstance(data, str) else ""


API = Api(read=_read, refuse=partial(refuse, usage=_usage), max_tokens="max_output_tokens")

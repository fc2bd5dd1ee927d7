"""OpenAI's Chat Completions: ``POST /v1/chat/completions``, streamed or whole, made of ConverseStream.

What Bedrock cannot honour is refused under OpenAI's name for it, a participant's ``name`` included. Taken, though they
change nothing, are hints on cost and load (an image's ``detail``, ``prompt_cache_key``, ``…_retention``,
``…_options``), and what says again what stands elsewhere in a message that comes back (``annotations``, ``parsed``, the
``name`` of a tool beside the id of its call).

Reasoning has no place in OpenAI's messages, and is told by two conventions that clients share: as ``reasoning_content``
(DeepSeek's), which is its text, and as ``thinking_blocks`` (LiteLLM's), which keep each block's signature and what is
redacted. Claude goes on after a tool call only with these: they are taken back, and stand before all else in their
message. ``reasoning_content`` that comes back alone is not sent to models that refuse reasoning without a signature.
In a stream, each entry of a list has the ``index`` by which OpenAI's own client adds it up; in one that comes back, it
is passed over. ``cache_control`` on a part of a message or on a tool (OpenRouter's and LiteLLM's) is a cache point, as
OpenAI's ``prompt_cache_breakpoint`` is.

Left out of an answer, for the format has no place for them: images, citations of anything but web pages, tools that
Bedrock runs itself and their results, guardrails' traces, and what nobody has listed. ``POST /stream`` has them all.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from relay import events as e
from relay.formats.fields import Fields
from relay.formats.format import Api, Asked, Format
from relay.formats.json_line import dump
from relay.formats.openai_chat_request import converse_request
from relay.formats.openai_errors import refuse, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.formats.openai_request import Block

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
# Bedrock has been seen to say the one where the model called a tool, and the other where it did not.
_MAY_HAVE_CALLED = frozenset({"end_turn", "tool_use"})


def _read(body: Mapping[str, Any], model: str, _headers: Mapping[str, str]) -> Asked:
    fields = Fields(body)
    fields.ignore("model")
    chosen = _format(fields)
    request = converse_request(fields, model)
    fields.end()
    return Asked("ConverseStream", request, chosen)


def _format(fields: Fields) -> Format:
    """Return the format of the answer."""
    streams = fields.flag("stream")
    options = fields.object("stream_options")
    with_usage = None
    if options is not None:
        with_usage = options.flag("include_usage")
        options.only("include_obfuscation", False)
        options.end()
    if not streams:
        return _WHOLE
    return _STREAM_WITH_USAGE if with_usage else _STREAM


class _Message:
    """Tells what each event adds to the message: a delta of OpenAI's."""

    def __init__(self) -> None:
        self._calls = 0
        self._call_of: dict[int, int] = {}  # its number, by the block's index (fact 9)
        self._without_input: set[int] = set()
        self._thought_of: dict[tuple[int, str], int] = {}
        self._length = 0
        self._begin_of: dict[int, int] = {}  # where a block's text begins in the whole
        self._pages: dict[int, list[Block]] = {}
        self._annotations = 0

    def delta(self, event: e.Event) -> Block | None:  # noqa: PLR0911  # one case an event
        """Return what an event adds, if it adds anything."""
        match event:
            case e.Text(index, text):
                self._begin_of.setdefault(index, self._length)
                self._length += len(text)
                return {"content": text}
            case e.Reasoning(index, text):
                block = self._thought(index, "thinking", thinking=text)
                return {"reasoning_content": text, **block}
            case e.ReasoningSignature(index, signature):
                return self._thought(index, "thinking", thinking="", signature=signature)
            case e.RedactedReasoning(index, data):
                return self._thought(index, "redacted_thinking", data=data)
            case e.ToolStart(index, tool):
                return self._tool_start(index, tool)
            case e.ToolInput(index, piece):
                return self._tool_input(index, piece)
            case e.Citation(index, citation):
                self._cite(index, citation)
                return None
            case e.BlockEnd(index, complete):
                return self._block_end(index) if complete else None
            case (
                e.Start()
                | e.ToolResultStart()
                | e.ToolResult()
                | e.ImageStart()
                | e.Image()
                | e.Chunk()
                | e.Unknown()
                | e.Forwarded()
                | e.Done()
                | e.Failure()
            ):
                return None

    def finish_reason(self, stop_reason: str | None) -> str:
        """Return why the answer ends; what nobody has listed, as it is."""
        reason = stop_reason or "end_turn"
        if self._calls and reason in _MAY_HAVE_CALLED:
            return "tool_calls"
        return _FINISH_REASONS.get(reason, reason)

    def _thought(self, index: int, kind: str, **said: str) -> Block:
        number = self._thought_of.setdefault((index, kind), len(self._thought_of))
        return {"thinking_blocks": [{"index": number, "type": kind, **said}]}

    def _tool_start(self, index: int, tool: Mapping[str, Any]) -> Block | None:
        if tool.get("type") == "server_tool_use":
            return None  # the caller is not to run it
        number = self._call_of[index] = self._calls
        self._calls += 1
        self._without_input.add(index)
        function = {"name": tool.get("name"), "arguments": ""}
        call = {"index": number, "id": tool.get("toolUseId"), "type": "function"}
        return {"tool_calls": [{**call, "function": function}]}

    def _tool_input(self, index: int, piece: str) -> Block | None:
        if index not in self._call_of:
            return None
        if piece.strip():
            self._without_input.discard(index)
        number = self._call_of[index]
        return {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}

    def _cite(self, index: int, citation: Mapping[str, Any]) -> None:
        """Keep a web page until it is known how far the text goes that rests on it: its block's."""
        location = citation.get("location")
        web = location.get("web") if isinstance(location, dict) else None
        if isinstance(web, dict) and isinstance(web.get("url"), str):
            title = citation.get("title") or web.get("domain") or web["url"]
            self._pages.setdefault(index, []).append({"title": title, "url": web["url"]})

    def _block_end(self, index: int) -> Block | None:
        if index in self._without_input:
            return self._tool_input(index, "{}")
        pages = self._pages.pop(index, [])
        if not pages or index not in self._begin_of:
            return None
        span = {"start_index": self._begin_of[index], "end_index": self._length}
        annotations = []
        for page in pages:
            citation = {"type": "url_citation", "url_citation": {**span, **page}}
            annotations.append({"index": self._annotations, **citation})
            self._annotations += 1
        return {"annotations": annotations}


def _stream(events: Iterable[e.Event], *, with_usage: bool) -> Iterator[bytes]:
    """Yield ``chat.completion.chunk``s, and ``[DONE]`` or an error."""
    message = _Message()
    head: Block = {}
    unknown_yet = {"usage": None} if with_usage else {}
    request_id = ""

    def chunk(delta: Block, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _event({**head, "choices": [choice], **more, **unknown_yet})

    for event in events:
        match event:
            case e.Start():
                head, request_id = _head(event, "chat.completion.chunk"), event.request_id
                yield chunk({"role": "assistant", "content": ""})
            case e.Done(stop_reason, usage, details):
                tier = _tier(details)
                end = chunk({}, message.finish_reason(stop_reason), **tier)
                if with_usage:
                    end += _event({**head, "choices": [], **tier, "usage": _usage(usage)})
                yield end + b"data: [DONE]\n\n"
            case e.Failure(error, usage):
                counted = {"usage": _usage(usage)} if usage else {}
                yield _event({"error": {**told(error, request_id), **counted}})
            case _:
                delta = message.delta(event)
                if delta is not None:
                    yield chunk(delta)


def _whole(events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield one ``chat.completion``, if the answer is complete."""
    message = _Message()
    head: Block = {}
    gathered: Block = {}
    for event in events:
        if isinstance(event, e.Start):
            head = _head(event, "chat.completion")
        elif isinstance(event, e.Done):
            said = _joined(gathered)
            content = said.pop("content", "") or ("" if "tool_calls" not in said else None)
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, **said},
                "logprobs": None,
                "finish_reason": message.finish_reason(event.stop_reason),
            }
            answer = {"choices": [choice], "usage": _usage(event.usage), **_tier(event.details)}
            yield dump({**head, **answer})
        else:
            _gather(gathered, message.delta(event) or {})


# Texts that grow with each delta; they are gathered in pieces, and joined once.
_GROWING = frozenset({"content", "reasoning_content", "thinking", "signature", "data", "arguments"})


def _gather(into: Block, delta: Mapping[Any, Any]) -> None:
    """Add a delta to what was gathered; lists are objects by index until they are whole."""
    for name, value in delta.items():
        if name in _GROWING:
            into.setdefault(name, []).append(value)
        elif isinstance(value, list):
            items = into.setdefault(name, {})
            for item in value:
                said = {member: v for member, v in item.items() if member != "index"}
                _gather(items.setdefault(item["index"], {}), said)
        elif isinstance(value, dict):
            _gather(into.setdefault(name, {}), value)
        else:
            into[name] = value


def _joined(gathered: Any) -> Any:
    if isinstance(gathered, list):
        return "".join(gathered)
    if not isinstance(gathered, dict):
        return gathered
    if gathered and all(isinstance(name, int) for name in gathered):
        return [_joined(item) for item in gathered.values()]
    return {name: _joined(value) for name, value in gathered.items()}


def _event(data: Block) -> bytes:
    return b"data: %b\n\n" % dump(data)


def _head(start: e.Start, kind: str) -> Block:
    return {
        "id": f"chatcmpl-{start.request_id}",
        "object": kind,
        "created": start.created,
        "model": start.model,
    }


def _tier(details: Mapping[str, Any]) -> Block:
    tier = details.get("serviceTier")
    return {"service_tier": tier["type"]} if isinstance(tier, dict) and "type" in tier else {}


def _usage(counted: Mapping[str, Any]) -> Block:
    """Return what was counted, in OpenAI's terms: what a cache saved or took is part of the prompt."""
    fresh, read, written, completion = (
        count if isinstance(count := counted.get(name), int) else 0
        for name in (
            "inputTokens",
            "cacheReadInputTokens",
            "cacheWriteInputTokens",
            "outputTokens",
        )
    )
    prompt = fresh + read + written
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }


_SSE = {"content-type": "text/event-stream; charset=utf-8"}
_PING = b": ping\n\n"
_STREAM = Format(_SSE, partial(_stream, with_usage=False), _PING)
_STREAM_WITH_USAGE = Format(_SSE, partial(_stream, with_usage=True), _PING)
_WHOLE = Format({"content-type": "application/json"}, _whole)

API = Api(read=_read, refuse=partial(refuse, usage=_usage), max_tokens="max_completion_tokens")

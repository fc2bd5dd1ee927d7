"""Anthropic's answer to a request that another model has answered: a Converse stream in the events of its Messages API.

Bedrock's blocks of text and reasoning have no beginning: their first piece is. Anthropic's blocks are numbered without
gaps, whatever Bedrock's numbers are. Images, and the results of tools that Bedrock runs itself, have no place there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay import events as e
from relay import strict_json
from relay.formats import anthropic_citations, anthropic_errors
from relay.formats.anthropic_usage import usage
from relay.formats.base64_pieces import joined
from relay.formats.json_line import dump

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeAlias

    Said: TypeAlias = "dict[str, Any]"

_STOP_REASONS: Mapping[str, str] = {
    "content_filtered": "refusal",
    "guardrail_intervened": "refusal",
}
_EMPTY: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def stream(events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield the server-sent events, together those of one event of Bedrock's."""
    for said in _answer(events):
        yield b"".join(map(server_sent_event, said))


def server_sent_event(said: Mapping[str, Any]) -> bytes:
    """Return an event under the name that it has in its data, too (fact 61)."""
    return b"event: %b\ndata: %b\n\n" % (said["type"].encode(), dump(said))


def failed(failure: e.Failure, request_id: str) -> bytes:
    """Return the event that ends a stream which failed."""
    return server_sent_event(anthropic_errors.told(failure.error, request_id, failure.usage))


def message(events: Iterable[e.Event]) -> Iterator[bytes]:
    """Yield the message that the events add up to, if they come to their end."""
    whole: Said = {}
    for event in (event for said in _answer(events) for event in said):
        match event["type"]:
            case "message_start":
                whole = event["message"]
            case "content_block_start":
                whole["content"].append(event["content_block"])
            case "content_block_delta":
                _extend(whole["content"][event["index"]], event["delta"])
            case "message_delta":
                whole |= {**event["delta"], "usage": event["usage"]}
            case "message_stop":
                whole["content"] = [_finished(block) for block in whole["content"]]
                yield dump(whole)
            case _:
                pass  # a block's end adds nothing, and an error is told without a message


def _extend(block: Said, delta: Mapping[str, Any]) -> None:
    for member, piece in delta.items():
        match member:
            case "text" | "thinking" | "signature":
                _grow(block, member, piece)
            case "partial_json":
                _grow(block, "input", piece)
            case "citation":
                block.setdefault("citations", []).append(piece)
            case _:
                pass  # its type


def _grow(block: Said, member: str, piece: str) -> None:
    """Add a piece to a text that is joined in the end."""
    if not isinstance(block[member], list):
        block[member] = [block[member] or ""]
    block[member].append(piece)


def _finished(block: Said) -> Said:
    """Return a block with its texts joined, and with an input, if it has one, that is no text any more.

    One that was cut short (fact 7) stands in the object that Anthropic has for it in what its models are told.
    """
    grown = ("text", "thinking", "signature", "input")
    joined = {m: "".join(block[m]) for m in grown if isinstance(block.get(m), list)}
    block = {**block, **joined}
    text = block.get("input")
    if not isinstance(text, str):
        return block
    try:
        value = strict_json.parse(text.encode(errors="surrogatepass")) if text.strip() else {}
    except ValueError:
        value = None
    return {**block, "input": value if isinstance(value, dict) else {"INVALID_JSON": text}}


def _answer(events: Iterable[e.Event]) -> Iterator[list[Said]]:
    """Yield what Anthropic's API would say, for each event of Bedrock's that makes it say something."""
    request_id = ""
    blocks = _Blocks()
    for event in events:
        match event:
            case e.Start():
                request_id = event.request_id
                yield [_message_start(event)]
            case e.Done():
                yield [_message_delta(event), {"type": "message_stop"}]
            case e.Failure():
                yield [anthropic_errors.told(event.error, request_id, event.usage)]
            case _:
                said = blocks.take(event)
                if said:
                    yield said


class _Blocks:
    """Anthropic's content blocks: those that are open, by the index that Bedrock has for them."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, str]] = {}
        self._redacted: dict[int, list[str]] = {}  # which has no pieces here: it waits for its end
        self._count = 0

    def take(self, event: e.Event) -> list[Said]:  # noqa: PLR0911  # one an event
        """Return what a piece of a block is in Anthropic's terms."""
        match event:
            case e.Text(index, text):
                return self._add(index, "text", {"type": "text_delta", "text": text})
            case e.Citation(index, citation):
                place = anthropic_citations.to_anthropic(citation)
                delta = {"type": "citations_delta", "citation": place}
                return self._add(index, "text", delta) if place else []
            case e.Reasoning(index, text):
                return self._add(index, "thinking", {"type": "thinking_delta", "thinking": text})
            case e.ReasoningSignature(index, signature):
                delta = {"type": "signature_delta", "signature": signature}
                return self._add(index, "thinking", delta)
            case e.RedactedReasoning(index, data):
                self._redacted.setdefault(index, []).append(data)
                return []
            case e.ToolStart(index, tool):
                return self._begin(index, _tool_use(tool))
            case e.ToolInput(index, piece):
                delta = {"type": "input_json_delta", "partial_json": piece}
                return self._add(index, "tool_use", delta)
            case e.BlockEnd(index, complete):
                return [*self._end(index), *self._redacted_whole(index, complete=complete)]
            case _:
                return []

    def _add(self, index: int, kind: str, delta: Said) -> list[Said]:
        """Add a piece to a block of its kind; it is the first of one, where none is open."""
        said: list[Said] = []
        if index not in self._open or self._open[index][1] != kind:
            if kind not in _EMPTY:
                return []  # a call of no tool that has a name
            said = self._begin(index, {**_EMPTY[kind]})
        number, _ = self._open[index]
        return [*said, {"type": "content_block_delta", "index": number, "delta": delta}]

    def _begin(self, index: int, block: Said) -> list[Said]:
        """Begin a block; one that is still open there ends."""
        said = self._end(index)
        number, self._count = self._count, self._count + 1
        self._open[index] = number, block["type"].removeprefix("server_")
        return [*said, {"type": "content_block_start", "index": number, "content_block": block}]

    def _redacted_whole(self, index: int, *, complete: bool) -> list[Said]:
        """Tell the redacted thinking of a block that is over; a part of it would be no proof of anything."""
        pieces = self._redacted.pop(index, [])
        if not (pieces and complete):
            return []
        data = joined(pieces)
        whole = "".join(pieces) if data is None else data
        return [
            *self._begin(index, {"type": "redacted_thinking", "data": whole}),
            *self._end(index),
        ]

    def _end(self, index: int) -> list[Said]:
        """End the block that is open there, if one is."""
        if index not in self._open:
            return []
        number, _ = self._open.pop(index)
        return [{"type": "content_block_stop", "index": number}]


def _tool_use(tool: Mapping[str, Any]) -> Said:
    kind = "server_tool_use" if tool.get("type") == "server_tool_use" else "tool_use"
    return {"type": kind, "id": tool.get("toolUseId"), "name": tool.get("name"), "input": {}}


def _message_start(start: e.Start) -> Said:
    begun: Said = {
        "id": f"msg_{start.request_id}",
        "type": "message",
        "role": "assistant",
        "model": start.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage({}),  # Bedrock counts at the end
    }
    return {"type": "message_start", "message": begun}


def _message_delta(done: e.Done) -> Said:
    reason = done.stop_reason or "end_turn"
    # Which of its stop sequences ended the answer, Converse does not say.
    delta = {"stop_reason": _STOP_REASONS.get(reason, reason), "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": usage(done.usage)}

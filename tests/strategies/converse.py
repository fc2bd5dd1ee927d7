"""ConverseStream's answers, drawn at random: blocks of every kind, in turns, and the two events that end them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.frames import MESSAGE_START, event
from tests.strategies.sent import Sent, damaged, disturbed, unknown
from tests.strategies.values import (
    COUNTS,
    JSON,
    NO_COUNT,
    NO_OBJECT,
    OBJECTS,
    TEXT,
    split_texts,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis.strategies import DrawFn

_REASONING = {"text": "text", "signature": "signature", "redactedContent": "data"}
_REASONING_TYPES = {
    "text": "reasoning",
    "signature": "reasoning_signature",
    "redactedContent": "redacted_reasoning",
}
# Unions with a member that nobody has listed, with two, with none, or that are none at all.
_UNIONS = [{}, {"new": 1}, {"text": "", "image": {}}, {"text": 5}, {"toolUse": 1}, None, "x", [1]]


class _Block:
    """Draws the events of one block. Bedrock pads them, and may leave out an index that is 0."""

    def __init__(self, draw: DrawFn, index: int) -> None:
        self.sent: list[Sent] = []
        self._draw = draw
        self._index = index

    def start(self, type_: str, told: Mapping[str, Any], **start: Any) -> None:
        self._send("contentBlockStart", type_, told, start=start)

    def delta(self, type_: str, told: Mapping[str, Any], **delta: Any) -> None:
        self._send("contentBlockDelta", type_, told, delta=delta)

    def end(self) -> None:
        self._send("contentBlockStop", "block_end", {})

    def _send(self, name: str, type_: str, told: Mapping[str, Any], **body: Any) -> None:
        if self._index or self._draw(st.booleans()):
            body["contentBlockIndex"] = self._index
        body |= self._draw(st.sampled_from([{}, {"p": "abcdef"}]))
        data = event(name, self._draw(written(body)))
        self.sent.append(Sent(data=data, told={"type": type_, "index": self._index, **told}))


def _text(draw: DrawFn, block: _Block) -> None:
    for text in draw(split_texts()):
        block.delta("text", {"text": text}, text=text)
    if draw(st.booleans()):
        citation = draw(OBJECTS)
        block.delta("citation", {"citation": citation}, citation=citation)


def _reasoning(draw: DrawFn, block: _Block) -> None:
    for member in draw(st.lists(st.sampled_from(list(_REASONING)), min_size=1, max_size=3)):
        said = draw(TEXT)
        told = {_REASONING[member]: said}
        block.delta(_REASONING_TYPES[member], told, reasoningContent={member: said})


def _tool(draw: DrawFn, block: _Block) -> None:
    """Draw a tool call whose input is JSON in pieces, or none (fact 7)."""
    tool = {"toolUseId": draw(TEXT), "name": draw(TEXT)}
    block.start("tool_start", {"tool": tool}, toolUse=tool)
    whole = draw(JSON.map(json.dumps) | TEXT)
    for piece in ("", whole[:3], whole[3:]):
        block.delta("tool_input", {"input": piece}, toolUse={"input": piece})


def _tool_result(draw: DrawFn, block: _Block) -> None:
    result, content = draw(OBJECTS), draw(st.lists(OBJECTS, max_size=2))
    block.start("tool_result_start", {"result": result}, toolResult=result)
    block.delta("tool_result", {"content": content}, toolResult=content)


def _image(draw: DrawFn, block: _Block) -> None:
    image = draw(OBJECTS)
    block.start("image_start", {"format": "png"}, image={"format": "png"})
    block.delta("image", {"image": image}, image=image)


def _nothing(_draw: DrawFn, _block: _Block) -> None:
    """Draw a block that is only ended."""


@st.composite
def _blocks(draw: DrawFn) -> list[Sent]:
    """Draw a block; one in four is never ended, and two may have the same index."""
    block = _Block(draw, draw(st.integers(0, 3)))
    kinds = [_text, _text, _text, _reasoning, _tool, _tool_result, _image, _nothing]
    draw(st.sampled_from(kinds))(draw, block)
    if draw(st.integers(0, 3)):
        block.end()
    return block.sent


@st.composite
def _unknown_members(draw: DrawFn) -> Sent:
    """Draw an event of a block that says what nobody has listed."""
    name, union = draw(
        st.sampled_from([("contentBlockDelta", "delta"), ("contentBlockStart", "start")])
    )
    body = {"contentBlockIndex": draw(st.integers(0, 3)), union: draw(st.sampled_from(_UNIONS))}
    told = {"type": "unknown", "name": name, "payload": body}
    return Sent(data=event(name, draw(written(body))), told=told)


@st.composite
def _in_turns(draw: DrawFn, blocks: list[list[Sent]]) -> list[Sent]:
    """Draw an order for the events of several blocks, in which each keeps its own."""
    turns = [turn for turn, block in enumerate(blocks) for _ in block]
    if draw(st.booleans()):
        turns = draw(st.permutations(turns))
    left = [iter(block) for block in blocks]
    return [next(left[turn]) for turn in turns]


@st.composite
def _stops(draw: DrawFn) -> Sent:
    said = draw(st.fixed_dictionaries({"additionalModelResponseFields": JSON}) | st.just({}))
    reason = draw(st.sampled_from(["end_turn", "tool_use", "max_tokens", "quite_new"]) | TEXT)
    body = {"stopReason": reason, "p": "abc", **said}
    told = {"stop_reason": reason, **said}
    return Sent(data=event("messageStop", draw(written(body))), brings={"stop": told})


@st.composite
def _metadata(draw: DrawFn) -> Sent:
    """Draw the event that counts. What is new in it is told, too, unless its name is one that callers know."""
    names = ["inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens"]
    usage = draw(st.dictionaries(st.sampled_from(names), COUNTS | st.just(NO_COUNT)))
    told = draw(
        st.fixed_dictionaries(
            {"metrics": OBJECTS}, optional={"trace": JSON, "new": JSON, "type": JSON}
        )
    )
    body = {"usage": usage, "p": "abc", **told}
    brings = {"usage": told}
    return Sent(data=event("metadata", draw(written(body))), counts=usage, brings=brings)


@st.composite
def _ends(draw: DrawFn) -> list[Sent]:
    """Draw the end of an answer, mostly a complete one."""
    stop, metadata = draw(_stops()), draw(_metadata())
    whole = [stop, metadata]
    ways = [whole, whole, whole, whole, [stop], [metadata], [], [metadata, stop]]
    return draw(st.sampled_from([*ways, [*whole, draw(_metadata())]]))


@st.composite
def answers(draw: DrawFn) -> list[Sent]:
    """Draw all that Bedrock sends."""
    pieces = draw(_in_turns(draw(st.lists(_blocks(), min_size=1, max_size=3))))
    opening = [Sent(data=MESSAGE_START)] if draw(st.integers(0, 4)) else []
    names = ["contentBlockStart", "contentBlockDelta", "contentBlockStop"]
    damage = damaged([*names, "messageStop", "metadata"], NO_OBJECT)
    rare = unknown() | _unknown_members()
    return draw(disturbed([*opening, *pieces, *draw(_ends())], rare, damage))

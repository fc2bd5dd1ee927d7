"""What answers say if callers choose it, before a judge that is not ours: what boto3 sees of it in every schema."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.integration.fault_caller import LANES, NOTHING, Caller, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.bedrock import Bedrock


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Bedrock]:
    with stand_in() as bedrock:
        yield bedrock


@pytest.fixture
def caller(bedrock: Bedrock) -> Iterator[Caller]:
    with closing(Caller(bedrock.url)) as caller:
        yield caller


@pytest.mark.judge
@LANES
def test_gap(caller: Caller, lane: str) -> None:
    """A tool's input comes in bursts; it is whole in the end (facts 7 and 8)."""
    seen = caller.see(lane, "tool; gap seconds=0.4 pieces=8")
    inputs = [
        str(delta.get("toolUse", {}).get("input") or delta.get("partial_json", ""))
        for delta in seen.deltas
    ]
    assert json.loads("".join(inputs)) == {"city": "Paris", "days": 3, "unit": "°C"}
    silences = [later - earlier for earlier, later in pairwise(seen.times)]
    pieces = sum(bool(one) for one in inputs)
    assert sum(silence > 0.3 for silence in silences) == (pieces - 1) // 8 > 1


@pytest.mark.judge
@LANES
@pytest.mark.parametrize("size", [0, 300_000])
def test_text(caller: Caller, lane: str, size: int) -> None:
    """One more piece of text is empty, or huge."""
    honest = caller.see(lane, NOTHING)
    seen = caller.see(lane, f"text after=5 size={size}")
    assert len(seen.events) == len(honest.events) + 1
    texts = [delta["text"] for delta in seen.deltas if "text" in delta]
    texts.remove("x" * size)
    assert "".join(texts) == honest.text


@pytest.mark.judge
@LANES
def test_surrogates(caller: Caller, lane: str) -> None:
    """A letter outside the BMP comes in two halves, which are one only when the pieces are put together."""
    pieces = [delta.get("text", "") for delta in caller.see(lane, "surrogates").deltas]
    at = pieces.index("\ud83d")
    assert pieces[at + 1] == "\ude00"
    assert "".join(pieces[at : at + 2]).encode("utf-16", "surrogatepass").decode("utf-16") == "😀"


@pytest.mark.judge
@LANES
def test_unknown_event(bedrock: Bedrock, caller: Caller, lane: str) -> None:
    """An event that the service model does not list is dropped without a word (fact 17)."""
    honest = caller.see(lane, NOTHING)
    seen = caller.see(lane, "unknown_event after=3")
    assert (seen.error, len(seen.events)) == (None, len(honest.events))
    assert len(bedrock.calls[-1].performance.sent) == len(honest.events) + 1


@pytest.mark.judge
def test_unknown_members(caller: Caller) -> None:
    """Members of unions that nobody has listed become `SDK_UNKNOWN_MEMBER` (fact 17); stop reasons pass (fact 4)."""
    seen = caller.see("converse", "unknown_block; unknown_delta; unknown_stop")
    assert seen.error is None
    start = seen.events[1]["contentBlockStart"]["start"]
    assert start == {"SDK_UNKNOWN_MEMBER": {"name": "futureBlock"}}
    unknown = {"SDK_UNKNOWN_MEMBER": {"name": "futureDelta"}}
    assert [delta for delta in seen.deltas if "text" not in delta] == [unknown] * 3
    assert seen.events[-2] == {"messageStop": {"stopReason": "future_reason"}}


@pytest.mark.judge
def test_unknown_types(caller: Caller) -> None:
    """In Anthropic's schema they are types."""
    seen = caller.see("anthropic", "unknown_block; unknown_delta; unknown_stop")
    assert seen.events[1]["content_block"] == {"type": "future_block"}
    assert [delta.get("type") for delta in seen.deltas].count("future_delta") == 3
    assert seen.events[-2]["delta"]["stop_reason"] == "future_reason"


@pytest.mark.judge
@pytest.mark.parametrize(
    ("lane", "event"),
    [
        ("converse", "metadata"),
        ("converse", "messageStop"),
        ("converse", "messageStart"),
        ("converse", "contentBlockStop"),
        ("converse", "contentBlockDelta"),
        ("nova", "messageStop"),
        ("anthropic", "message_delta"),
    ],
)
def test_drop(caller: Caller, lane: str, event: str) -> None:
    """The events of a name are missing, and boto3 does not miss them (fact 15)."""
    honest, seen = caller.see(lane, NOTHING), caller.see(lane, f"drop event={event}")
    assert seen.error is None
    assert seen.names == [name for name in honest.names if name != event] != honest.names


@pytest.mark.judge
@pytest.mark.parametrize("lane", ["anthropic", "nova"])
def test_drop_metrics(caller: Caller, lane: str) -> None:
    """The last chunk comes, without what Bedrock adds to it (fact 12)."""
    honest, seen = caller.see(lane, NOTHING), caller.see(lane, "drop event=metrics")
    metrics = honest.events[-1].pop("amazon-bedrock-invocationMetrics")
    assert metrics["outputTokenCount"] > 100
    assert seen.events[-1] == honest.events[-1]


@pytest.mark.judge
@LANES
def test_tool(caller: Caller, lane: str) -> None:
    """A tool is called though the request has none, and its input can be broken off in the middle."""
    seen = caller.see(lane, "tool; end after=12")
    inputs = [delta.get("toolUse", delta) for delta in seen.deltas]
    pieces = "".join(one.get("input") or one.get("partial_json", "") for one in inputs)
    assert pieces.startswith('{"city": "Paris"')
    assert not pieces.endswith("}")
    assert "get_weather" in json.dumps(seen.events)


@pytest.mark.judge
def test_reasoning(caller: Caller) -> None:
    """Reasoning comes first, redacted as bytes, readable with a signature (facts 2 and 6)."""
    seen = caller.see("converse", "reasoning; redacted")
    pieces = [d["reasoningContent"] for d in seen.deltas if "reasoningContent" in d]
    assert isinstance(pieces[0]["redactedContent"], bytes)
    assert pieces[1]["text"] == "The"
    assert "signature" in pieces[-1]
    assert seen.text.startswith("A stream does not make")


@pytest.mark.judge
def test_reasoning_in_a_models_own_schema(caller: Caller) -> None:
    """In Anthropic's schema it is thinking, and redacted thinking as a whole."""
    seen = caller.see("anthropic", "reasoning; redacted")
    kinds = [e["content_block"]["type"] for e in seen.events if "content_block" in e]
    assert kinds == ["redacted_thinking", "thinking", "text"]
    assert any("signature" in delta for delta in seen.deltas)


@pytest.mark.judge
def test_cached(caller: Caller) -> None:
    """Usage has the tokens of the cache (facts 5 and 12)."""
    usage = caller.see("converse", "cached read=40 write=5").events[-1]["metadata"]["usage"]
    assert (usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (40, 5)
    for lane in ("anthropic", "nova"):
        last = caller.see(lane, "cached read=40 write=5").events[-1]
        metrics = last["amazon-bedrock-invocationMetrics"]
        assert metrics["cacheReadInputTokenCount"] == 40
        assert metrics["cacheWriteInputTokenCount"] == 5

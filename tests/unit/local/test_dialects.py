from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from local.answers import Reasoning, Redacted, Reply, Text, ToolUse, Unknown
from local.dialects import (
    INVOCATION_METRICS,
    Event,
    anthropic,
    check_model_id,
    converse,
    nova,
    of_model,
)
from local.pace import Pace
from local.prompts import BedrockError

if TYPE_CHECKING:
    from local.dialects import Dialect

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
REPLY = Reply(
    blocks=(
        Reasoning(("hm",), "c2ln"),
        Text(("Grüße", ", world")),
        ToolUse("tooluse_1", "look", ('{"q":', '"x"}')),
    ),
    stop_reason="tool_use",
    stop_sequence=None,
    input_tokens=3,
)
PACE = Pace(0.5, 10)


def test_converse_speaks_its_events_in_order() -> None:
    """ConverseStream: a start only for tools, an index a block, usage after the stop (facts 2, 3 and 7)."""
    events = [{event.type: event.body} for event in converse(REPLY, PACE, CLAUDE)]

    def delta(index: int, **content: Any) -> dict[str, Any]:
        return {"contentBlockDelta": {"contentBlockIndex": index, "delta": content}}

    tool = {"toolUse": {"toolUseId": "tooluse_1", "name": "look"}}
    assert events == [
        {"messageStart": {"role": "assistant"}},
        delta(0, reasoningContent={"text": "hm"}),
        delta(0, reasoningContent={"signature": "c2ln"}),
        {"contentBlockStop": {"contentBlockIndex": 0}},
        delta(1, text="Grüße"),
        delta(1, text=", world"),
        {"contentBlockStop": {"contentBlockIndex": 1}},
        {"contentBlockStart": {"contentBlockIndex": 2, "start": tool}},
        delta(2, toolUse={"input": ""}),
        delta(2, toolUse={"input": '{"q":'}),
        delta(2, toolUse={"input": '"x"}'}),
        {"contentBlockStop": {"contentBlockIndex": 2}},
        {"messageStop": {"stopReason": "tool_use"}},
        {
            "metadata": {
                "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8},
                "metrics": {"latencyMs": 900},
            }
        },
    ]


def test_anthropic_speaks_its_events_in_order() -> None:
    """Anthropic's Messages: start, blocks with typed deltas, message_delta, message_stop with Bedrock's metrics."""
    bodies = [event.body for event in anthropic(REPLY, PACE, CLAUDE)]
    assert bodies[0]["message"]["model"] == "claude-sonnet-4-5-20250929-v1:0"
    assert bodies[0]["message"]["usage"]["input_tokens"] == 3
    assert [body["type"] for body in bodies] == [
        "message_start",
        *(
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
        ),
        *(
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
        ),
        *("content_block_start", *["content_block_delta"] * 3, "content_block_stop"),
        "message_delta",
        "message_stop",
    ]
    assert [body["delta"] for body in bodies if body["type"] == "content_block_delta"] == [
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "c2ln"},
        {"type": "text_delta", "text": "Grüße"},
        {"type": "text_delta", "text": ", world"},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"q":'},
        {"type": "input_json_delta", "partial_json": '"x"}'},
    ]
    assert bodies[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert bodies[-2]["usage"] == {"output_tokens": 5}
    assert bodies[-1]["amazon-bedrock-invocationMetrics"] == {
        "inputTokenCount": 3,
        "outputTokenCount": 5,
        "invocationLatency": 900,
        "firstByteLatency": 500,
    }


def test_nova_speaks_converse_as_json() -> None:
    """Amazon Nova's chunks are ConverseStream's events, with its own names for what is counted (fact 12)."""
    bodies = [event.body for event in nova(REPLY, PACE, "amazon.nova-lite-v1:0")]
    assert bodies[:-1] == [{e.type: e.body} for e in converse(REPLY, PACE, "")][:-1]
    assert bodies[-1]["metadata"]["usage"]["outputTokens"] == 5
    assert bodies[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == 5


@pytest.mark.parametrize("dialect", [converse, nova, anthropic])
def test_every_token_is_an_event_of_its_own(dialect: Any) -> None:
    """Each dialect counts every piece of the reply once."""
    events = list(dialect(REPLY, PACE, CLAUDE))
    assert sum(event.tokens for event in events) == REPLY.output_tokens
    assert {event.tokens for event in events} == {0, 1}
    json.dumps([event.body for event in events])


@pytest.mark.parametrize(
    ("model_id", "dialect"),
    [
        (CLAUDE, anthropic),
        ("anthropic.claude-3-haiku-20240307-v1:0", anthropic),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            anthropic,
        ),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.amazon.nova-2-lite-v1:0",
            nova,
        ),
        ("amazon.nova-lite-v1:0", nova),
    ],
)
def test_the_model_id_names_the_schema(model_id: str, dialect: Any) -> None:
    """A model's own schema is known by its id, plain, behind a geography, or in an ARN."""
    check_model_id(model_id)
    assert of_model(model_id)[1] is dialect


@pytest.mark.parametrize("model_id", ["", "claude", "anthropic claude", "arn:aws:s3:::bucket"])
def test_what_cannot_name_a_model_is_refused(model_id: str) -> None:
    """An id that no model can have is Bedrock's own ValidationException."""
    with pytest.raises(BedrockError, match="model identifier is invalid"):
        check_model_id(model_id)


def test_a_schema_that_the_stand_in_does_not_speak_is_said_plainly() -> None:
    """InvokeModel with another family's model says which are spoken."""
    with pytest.raises(BedrockError, match=r"anthropic.*nova.*meta\.llama3"):
        of_model("meta.llama3-8b-instruct-v1:0")


OTHER_BLOCKS = replace(REPLY, blocks=(Unknown(("?",)), Redacted(("c2VjcmV0",))))


def test_converse_speaks_of_other_blocks() -> None:
    """ConverseStream: an unknown block has an unknown start and deltas, redacted reasoning is base64 (fact 6)."""
    bodies = [event.body for event in converse(OTHER_BLOCKS, PACE, CLAUDE)]
    assert bodies[1:6] == [
        {"contentBlockIndex": 0, "start": {"futureBlock": {}}},
        {"contentBlockIndex": 0, "delta": {"futureDelta": {"piece": "?"}}},
        {"contentBlockIndex": 0},
        {"contentBlockIndex": 1, "delta": {"reasoningContent": {"redactedContent": "c2VjcmV0"}}},
        {"contentBlockIndex": 1},
    ]


def test_anthropic_speaks_of_other_blocks() -> None:
    """Anthropic's Messages: the same, redacted reasoning being whole in its start."""
    bodies = [event.body for event in anthropic(OTHER_BLOCKS, PACE, CLAUDE)]
    start = {"type": "content_block_start"}
    assert bodies[1:6] == [
        {**start, "index": 0, "content_block": {"type": "future_block"}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "future_delta", "piece": "?"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            **start,
            "index": 1,
            "content_block": {"type": "redacted_thinking", "data": "c2VjcmV0"},
        },
        {"type": "content_block_stop", "index": 1},
    ]


def test_tokens_of_a_cache_are_told() -> None:
    """Each schema tells what a cache has read and written under its own names (facts 5 and 12), only if it did."""
    cached = replace(REPLY, cache_read=40, cache_write=5)
    assert list(converse(cached, PACE, CLAUDE))[-1].body["usage"] == {
        "inputTokens": 3,
        "outputTokens": 5,
        "totalTokens": 53,
        "cacheReadInputTokens": 40,
        "cacheWriteInputTokens": 5,
    }
    usage = next(anthropic(cached, PACE, CLAUDE)).body["message"]["usage"]
    assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (40, 5)
    last = list(nova(cached, PACE, CLAUDE))[-1].body
    for counted in (last["metadata"]["usage"], last[INVOCATION_METRICS]):
        assert counted["cacheReadInputTokenCount"] == 40
        assert counted["cacheWriteInputTokenCount"] == 5
    honest = list(nova(REPLY, PACE, CLAUDE))[-1].body[INVOCATION_METRICS]
    assert "cacheReadInputTokenCount" not in honest


@pytest.mark.parametrize(
    ("dialect", "name", "last"),
    [
        (converse, "contentBlockDelta", "metadata"),
        (nova, "contentBlockDelta", "metadata"),
        (anthropic, "content_block_delta", "message_stop"),
    ],
)
def test_events_know_their_name_and_delta(dialect: Dialect, name: str, last: str) -> None:
    """In every dialect an event tells its name and the piece of a block that it brings, and can bring another."""
    events = list(dialect(REPLY, PACE, CLAUDE))
    assert events[-1].name == last
    assert {event.name for event in events if event.delta} == {name}
    event = next(event for event in events if event.delta.get("text") == "Grüße")
    other = event.with_delta({"text": "x"})
    assert (other.name, other.delta) == (name, {"text": "x"})
    assert other.with_delta(event.delta).body == event.body
    assert Event("chunk", {}).name == ""

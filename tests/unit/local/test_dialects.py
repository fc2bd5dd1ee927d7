from __future__ import annotations

import json
from typing import Any

import pytest

from local.answers import Reasoning, Reply, Text, ToolUse
from local.dialects import anthropic, check_model_id, converse, nova, of_model
from local.pace import Pace
from local.prompts import BedrockError

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

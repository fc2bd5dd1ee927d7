from __future__ import annotations

from typing import Any

import pytest

from local.prompts import BedrockError, Prompt, Tool, from_anthropic, from_converse

SCHEMA = {"type": "object", "properties": {}}
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]


def test_a_converse_request_is_read_whole() -> None:
    """Everything that the stand-in heeds is found in Converse's schema."""
    body = {
        "system": [{"text": "Be brief."}],
        "messages": [*HELLO, {"role": "assistant", "content": [{"text": "Hi"}]}, *HELLO],
        "inferenceConfig": {"maxTokens": 9, "stopSequences": ["."]},
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "t", "inputSchema": {"json": SCHEMA}}},
                {"cachePoint": {}},
            ],
            "toolChoice": {"tool": {"name": "t"}},
        },
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    }
    assert from_converse(body) == Prompt(
        text="Hello",
        everything="Be brief.\nHello\nHi\nHello",
        tools=(Tool("t", SCHEMA),),
        tool_choice="t",
        reasoning=True,
        max_tokens=9,
        stop_sequences=(".",),
    )


def test_an_anthropic_request_is_read_whole() -> None:
    """The same is found in Anthropic's schema, strings for blocks included."""
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": [{"name": "t", "input_schema": SCHEMA}, {"type": "bash_20250124", "name": "bash"}],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["."],
    }
    assert from_anthropic(body) == Prompt(
        text="Hello",
        everything="Be brief.\nHello",
        tools=(Tool("t", SCHEMA),),
        tool_choice="any",
        reasoning=True,
        max_tokens=9,
        stop_sequences=(".",),
    )


@pytest.mark.parametrize("field", ["thinking", "reasoning_config", "reasoningConfig"])
def test_reasoning_has_several_names(field: str) -> None:
    """Each of the names that models use for reasoning asks for it."""
    more = {"additionalModelRequestFields": {field: {"type": "enabled"}}}
    assert from_converse({"messages": HELLO, **more}).reasoning
    assert from_converse(
        {"messages": HELLO, field: {"type": "enabled"}}
    ).reasoning  # Nova's own schema
    assert not from_converse({"messages": HELLO, field: {"type": "disabled"}}).reasoning


@pytest.mark.parametrize(
    ("read", "block"),
    [
        (from_converse, {"toolResult": {"toolUseId": "1", "content": [{"text": "18 °C"}]}}),
        (from_anthropic, {"type": "tool_result", "tool_use_id": "1", "content": "18 °C"}),
    ],
)
def test_a_tools_result_is_found(read: Any, block: dict[str, Any]) -> None:
    """The last message's tool result is what is to be answered."""
    body = {
        "anthropic_version": "x",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": [block]}],
    }
    assert read(body).tool_result == "18 °C"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "at least one message"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0 is empty"),
        (
            {"messages": [*HELLO, {"role": "user", "content": [{"text": " "}]}]},
            "messages.1.content.0 is blank",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]},
            "must start with a user message",
        ),
        ({"messages": HELLO, "inferenceConfig": {"maxTokens": 0}}, "'0' at 'maxTokens'"),
        ({"messages": HELLO, "inferenceConfig": []}, None),
        ({"messages": HELLO, "inferenceConfig": [1]}, "inferenceConfig: expected an object"),
    ],
)
def test_what_is_wrong_is_told_in_bedrocks_words(body: dict[str, Any], message: str | None) -> None:
    """A bad request is a 400 ValidationException that says what is wrong."""
    if message is None:
        from_converse(body)
        return
    with pytest.raises(BedrockError, match=message) as raised:
        from_converse(body)
    assert (raised.value.status, raised.value.code) == (400, "ValidationException")


@pytest.mark.parametrize("missing", ["anthropic_version", "max_tokens", "messages"])
def test_anthropics_required_fields_are_required(missing: str) -> None:
    """Anthropic's schema refuses a request without its required fields, by name."""
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": HELLO}
    del body[missing]
    with pytest.raises(BedrockError, match=missing):
        from_anthropic(body)

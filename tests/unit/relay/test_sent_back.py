"""Whole answers of each API, as their callers send them back to go on: Bedrock is told again what it had said."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import formats
from relay.events import (
    BlockEnd,
    Done,
    Event,
    Reasoning,
    ReasoningSignature,
    RedactedReasoning,
    Start,
    Text,
    ToolInput,
    ToolStart,
)
from tests.strategies.values import OBJECTS, paired, split_texts
from tests.unit.relay.url_events import CLAUDE, NOVA, call_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn

HI = {"role": "user", "content": "hi"}
TRANSCRIPTS = Path(__file__).parents[2] / "transcripts"
few = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_BASE64 = st.binary(min_size=1, max_size=6).map(lambda data: b64encode(data).decode())


@st.composite
def _blocks(draw: DrawFn, index: int) -> tuple[list[Event], dict[str, Any] | None]:
    """Draw the events of a content block, and the block of Converse's that says the same."""
    said: dict[str, Any] | None
    match draw(st.sampled_from(["text", "text", "blank", "reasoning", "redacted", "tool"])):
        case "text":
            texts = draw(split_texts())
            text = paired("".join(texts))
            said = {"text": text} if text.strip() else None
            return [Text(index, piece) for piece in texts], said
        case "blank":
            return [Text(index, "\n"), Text(index, "")], None
        case "reasoning":
            texts, signature = draw(split_texts()), draw(_BASE64)
            whole = {"text": paired("".join(texts)), "signature": signature}
            events: list[Event] = [Reasoning(index, text) for text in texts]
            events += [ReasoningSignature(index, piece) for piece in (signature[:2], signature[2:])]
            return events, {"reasoningContent": {"reasoningText": whole}}
        case "redacted":
            data = draw(_BASE64)
            said = {"reasoningContent": {"redactedContent": b64decode(data)}}
            return [RedactedReasoning(index, data)], said
        case _:
            call = {"toolUseId": f"tooluse_{index}", "name": "f"}
            value = draw(OBJECTS)
            text = json.dumps(value) if value else ""
            pieces = [ToolInput(index, piece) for piece in ("", text[:3], text[3:])]
            return [ToolStart(index, call), *pieces], {"toolUse": {**call, "input": value}}


@st.composite
def _answers(draw: DrawFn) -> tuple[list[Event], list[dict[str, Any]]]:
    """Draw a complete answer, and the content of the message that says the same to Converse."""
    events: list[Event] = [Start("m", "r", created=1)]
    content = []
    for index in range(draw(st.integers(1, 4))):
        more, said = draw(_blocks(index))
        events += [*more, BlockEnd(index)]
        content += [said] if said else []
    return [*events, Done("end_turn", {"inputTokens": 1, "outputTokens": 2})], content


def _whole(path: str, body: Any, model: str, events: Sequence[Event]) -> Any:
    (document,) = formats.APIS[path].read(body, model, {}).format.encode(events)
    return json.loads(document)


def _content(call: Any) -> tuple[list[Any], list[Any]]:
    """Return what the assistant has said, and what the user says then."""
    messages = call.parameters["messages"]
    said = [block for m in messages if m["role"] == "assistant" for block in m["content"]]
    # Where the assistant has said nothing, the user's turns are one.
    assert [m["role"] for m in messages] == (["user", "assistant", "user"] if said else ["user"])
    hi, *then = [block for m in messages if m["role"] == "user" for block in m["content"]]
    assert hi == {"text": "hi"}
    return said, then


def _calls(content: list[Any]) -> list[str]:
    return [block["toolUse"]["toolUseId"] for block in content if "toolUse" in block]


def _results(calls: list[str]) -> list[Any]:
    return [{"toolResult": {"toolUseId": id_, "content": [{"text": "so"}]}} for id_ in calls]


TOOL = {"name": "f", "parameters": {"type": "object"}}


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@few
@given(answer=_answers())
def test_a_responses_output_is_input(
    model: str, answer: tuple[list[Event], list[dict[str, Any]]]
) -> None:
    """Each item is the block that it was, in its place, with what proves reasoning."""
    events, content = answer
    output = _whole("/v1/responses", {"input": "hi"}, model, events)["output"]
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "so"}
        for item in output
        if item["type"] == "function_call"
    ]
    tools = {"tools": [{"type": "function", **TOOL}]} if outputs else {}
    sent = {"model": model, "input": [HI, *output, *outputs, HI], **tools}
    said, then = _content(call_of("/v1/responses", sent))
    assert said == content
    assert then == [*_results(_calls(content)), {"text": "hi"}]


@few
@given(answer=_answers())
def test_an_anthropic_message_is_one_again(
    answer: tuple[list[Event], list[dict[str, Any]]],
) -> None:
    """Each block is the one that it was, in its place, with what proves thinking."""
    events, content = answer
    asked = {"max_tokens": 9, "messages": [HI]}
    message = _whole("/v1/messages", asked, NOVA, events)
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "so"}
        for block in message["content"]
        if block["type"] == "tool_use"
    ]
    turns = [
        HI,
        {"role": message["role"], "content": message["content"]},
        {"role": "user", "content": [*results, {"type": "text", "text": "hi"}]},
    ]
    tools = {"tools": [{"name": "f", "input_schema": {}}]} if results else {}
    sent = {**asked, "model": NOVA, "messages": turns, **tools}
    said, then = _content(call_of("/v1/messages", sent))
    assert said == content
    assert then == [*_results(_calls(content)), {"text": "hi"}]


def _in_the_order_of_chat(content: list[Any]) -> list[Any]:
    """Return blocks as a message of OpenAI's has them: reasoning, all of the text as one, calls."""
    thoughts = [block for block in content if "reasoningContent" in block]
    return [*thoughts, *[block for block in content if "toolUse" in block]]


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
@few
@given(answer=_answers())
def test_a_chat_message_is_one_again(
    model: str, answer: tuple[list[Event], list[dict[str, Any]]]
) -> None:
    """Reasoning with its proof, then all of the text, then the calls."""
    events, content = answer
    path = "/v1/chat/completions"
    message = _whole(path, {"messages": [HI]}, model, events)["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "so"}
        for call in message.get("tool_calls", [])
    ]
    tools = {"tools": [{"type": "function", "function": TOOL}]} if results else {}
    sent = {"model": model, "messages": [HI, message, *results, HI], **tools}
    said, then = _content(call_of(path, sent))
    assert [block for block in said if "text" not in block] == _in_the_order_of_chat(content)
    texts = paired("".join(event.text for event in events if isinstance(event, Text)))
    assert [block["text"] for block in said if "text" in block] == [texts] * bool(texts.strip())
    assert then == [*_results(_calls(content)), {"text": "hi"}]


def _transcript(name: str) -> Any:
    path = TRANSCRIPTS / "everything" / f"answer.{name}.json"
    return json.loads(path.read_bytes())


def test_all_that_a_message_can_be_is_taken_back() -> None:
    """What Rivulet has told a client of Anthropic's, which sends it back as it is, does not end the conversation."""
    content = _transcript("anthropic-messages")["content"]
    turns = [HI, {"role": "assistant", "content": content}, HI]
    call_of("/v1/messages", {"model": NOVA, "max_tokens": 9, "messages": turns})


def test_all_that_an_output_can_be_is_taken_back() -> None:
    """What Rivulet has told a client of OpenAI's, which sends it back as it is, does not end the conversation."""
    output = _transcript("openai-responses")["output"]
    call_of("/v1/responses", {"model": NOVA, "input": [HI, *output, HI]})


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_all_that_a_chat_message_can_be_is_taken_back(model: str) -> None:
    """Its annotations included."""
    message = _transcript("openai-chat")["choices"][0]["message"]
    call_of("/v1/chat/completions", {"model": model, "messages": [HI, message, HI]})

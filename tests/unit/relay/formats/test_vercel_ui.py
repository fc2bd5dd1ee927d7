# ruff: noqa: TID251  # the shapes are botocore's

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings

from relay.errors import RequestError, bedrock_error, limit_error
from relay.events import Citation, Start
from relay.formats.vercel_ui import API
from relay.shapes import convert
from tests.strategies.mutants import mutants

if TYPE_CHECKING:
    from relay.formats import Asked

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
SENT = {"id": "chat", "messages": [HELLO], "trigger": "submit-message", "messageId": None}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = {"get_weather": {"description": "The weather.", "inputSchema": SCHEMA}}
SPEC = {"name": "get_weather", "description": "The weather.", "inputSchema": {"json": SCHEMA}}
CALLED = {
    "role": "assistant",
    "parts": [
        {
            "type": "tool-get_weather",
            "toolCallId": "t1",
            "state": "output-available",
            "input": {},
            "output": "fine",
        }
    ],
}
_SHAPE = (
    botocore.session.get_session()
    .get_service_model("bedrock-runtime")
    .operation_model("ConverseStream")
    .input_shape
)


def _ask(model: str = CLAUDE, **body: Any) -> Asked:
    """Read a request, and let botocore's own model of Bedrock have a look at what it becomes."""
    asked = API.read({**SENT, **body}, model, {})
    convert({**asked.request, "modelId": model}, _SHAPE, "")
    return asked


def _refusal(**body: Any) -> str:
    with pytest.raises(RequestError) as caught:
        API.read({**SENT, **body}, CLAUDE, {})
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    return caught.value.message


def test_what_the_transport_sends_is_a_conversation() -> None:
    """``DefaultChatTransport``'s own members mean nothing here, and neither does the model, which is chosen already."""
    asked = _ask(model=CLAUDE)
    assert asked.operation == "ConverseStream"
    assert asked.request == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    assert API.read({**SENT, "model": "m"}, CLAUDE, {}).request == asked.request


def test_the_answer_is_announced_as_a_ui_message_stream() -> None:
    """By this header its readers know the protocol; a comment breaks silences (facts 63 and 64)."""
    chosen = _ask().format
    assert chosen.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "x-vercel-ai-ui-message-stream": "v1",
    }
    assert chosen.heartbeat == b": ping\n\n"


@pytest.mark.parametrize(
    ("messages", "named"),
    [([HELLO], True), ([HELLO, CALLED], False), ([HELLO, CALLED, HELLO], True)],
    ids=["new", "goes on", "new again"],
)
def test_only_a_new_message_gets_an_id(messages: list[Any], *, named: bool) -> None:
    """After tool results ``useChat`` goes on with the assistant's last message, whose id it has."""
    chosen = _ask(messages=messages, tools=TOOLS).format
    told = b"".join(chosen.encode([Start("m", "r1")]))
    assert (b'"messageId":"msg-r1"' in told) == named


def test_a_citation_finds_its_document_in_the_request() -> None:
    """The answer's sources are the files that were sent."""
    file = {
        "type": "file",
        "mediaType": "application/pdf",
        "filename": "a.pdf",
        "url": "data:application/pdf;base64,AAEC",
    }
    chosen = _ask(messages=[{"role": "user", "parts": [*HELLO["parts"], file]}]).format
    citation = Citation(0, {"location": {"documentPage": {"documentIndex": 0}}})
    assert b'"filename":"a.pdf"' in b"".join(chosen.encode([citation]))


def test_the_settings_have_the_ai_sdks_names() -> None:
    """All that a transport's ``body`` may hold becomes Converse's own."""
    asked = _ask(
        system="Be brief.",
        maxOutputTokens=4000,
        temperature=0,
        topP=1.0,
        stopSequences=["\n"],
        reasoning="minimal",
    )
    assert asked.request == {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {
            "maxTokens": 4000,
            "temperature": 0,
            "topP": 1.0,
            "stopSequences": ["\n"],
        },
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    }


def test_the_system_text_comes_before_the_systems_messages() -> None:
    """Both are told; a blank one is none."""
    said = {"role": "system", "parts": [{"type": "text", "text": "b"}]}
    asked = _ask(messages=[said, HELLO], system="a")
    assert asked.request["system"] == [{"text": "a"}, {"text": "b"}]
    assert "system" not in _ask(system=" ").request


@pytest.mark.parametrize(
    ("effort", "fields"),
    [
        (None, None),
        ("provider-default", None),
        ("none", None),
        ("max", {"thinking": {"type": "enabled", "budget_tokens": 32000}}),
        ("xhigh", {"thinking": {"type": "enabled", "budget_tokens": 32000}}),
    ],
)
def test_the_model_thinks_as_hard_as_it_is_asked_to(effort: Any, fields: Any) -> None:
    """The AI SDK has more words for it than models have."""
    assert _ask(reasoning=effort).request.get("additionalModelRequestFields") == fields


@pytest.mark.parametrize("schema", [SCHEMA, {"jsonSchema": SCHEMA}], ids=["bare", "jsonSchema()"])
def test_tools_are_known_by_their_names(schema: Any) -> None:
    """An object as the AI SDK's own, with the schema as it is, or as ``jsonSchema()`` holds it."""
    tool = {"description": "The weather.", "inputSchema": schema, "title": "W", "type": "function"}
    asked = _ask(tools={"get_weather": tool, "now": {"strict": True}})
    assert asked.request["toolConfig"] == {
        "tools": [
            {"toolSpec": SPEC},
            {
                "toolSpec": {
                    "name": "now",
                    "inputSchema": {"json": {"type": "object", "properties": {}}},
                    "strict": True,
                }
            },
        ]
    }


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (None, {}),
        ("auto", {}),
        ("required", {"toolChoice": {"any": {}}}),
        (
            {"type": "tool", "toolName": "get_weather"},
            {"toolChoice": {"tool": {"name": "get_weather"}}},
        ),
    ],
)
def test_a_choice_of_tools_is_converses(choice: Any, chosen: Any) -> None:
    """Not every model takes a choice, so the default is left out."""
    asked = _ask(tools=TOOLS, toolChoice=choice)
    assert asked.request["toolConfig"] == {"tools": [{"toolSpec": SPEC}], **chosen}


def test_no_tools_are_told_where_none_may_be_called() -> None:
    """Converse has no word for it, but a model that knows of no tool calls none."""
    assert "toolConfig" not in _ask(tools=TOOLS, toolChoice="none").request


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": None}, "messages: expected a list, got nothing"),
        ({"messages": "hi"}, "messages: expected a list, got text of 2 characters"),
        ({"messages": []}, "messages: expected something for the model, got nothing that is"),
        ({"messages": ["hi"]}, "messages[0]: expected an object, got text of 2 characters"),
        ({"system": 5}, "system: expected text, got the number 5"),
        ({"temperature": 1.5}, "temperature: expected a number from 0 to 1, got the number 1.5"),
        ({"topP": -1}, "topP: expected a number from 0 to 1, got the number -1"),
        ({"maxOutputTokens": 0}, "maxOutputTokens: expected a whole number of at least 1, got"),
        ({"stopSequences": [""]}, "stopSequences[0]: expected text, got empty text"),
        ({"stopSequences": "a"}, "stopSequences: expected a list, got text of 1 characters"),
        ({"stopSequences": ["a"] * 2501}, "stopSequences: expected at most 2500, got a list of"),
        ({"reasoning": "much"}, "reasoning: expected one of provider-default, none, minimal, "),
        ({"tools": [1]}, "tools: expected an object, got a list of 1"),
        ({"tools": {"a b": {}}}, "tools.a b: expected a name that fits"),
        ({"tools": {"a": None}}, "tools.a: expected an object, got null"),
        ({"tools": {"a": {"parameters": {}}}}, "tools.a.parameters: expected one of inputSchema, "),
        ({"tools": {"a": {"type": "provider"}}}, 'tools.a.type: expected "function" or '),
        (
            {"tools": {"a": {"inputSchema": {"jsonSchema": 5}}}},
            "tools.a.inputSchema.jsonSchema: expected an object, got the number 5",
        ),
        ({"toolChoice": "any"}, "toolChoice: expected one of auto, required, none, or an object "),
        ({"toolChoice": []}, "toolChoice: expected one of auto, required, none, or an object "),
        ({"toolChoice": {"type": "tool"}}, "toolChoice.toolName: expected text, got nothing"),
        ({"toolChoice": "required"}, "tools: expected the tools that are called, or are to be, "),
        ({"messages": [HELLO, CALLED]}, "tools: expected the tools that are called, or are to be"),
        (
            {"messages": [HELLO, CALLED], "tools": TOOLS, "toolChoice": "none"},
            "toolChoice: expected auto, required or a tool, got none, which Bedrock has no way",
        ),
        ({"frequencyPenalty": 1}, "frequencyPenalty: expected one of model, id, trigger, "),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(body: Any, message: str) -> None:
    """Nothing that a page asks for is passed over: the error names its own field."""
    assert _refusal(**body).startswith(message)


def test_a_refusal_is_rivulets_own() -> None:
    """``useChat`` gives the body as its error's message: code, message and the id to ask about."""
    headers, body = API.refuse(bedrock_error("ThrottlingException"), "r1", {})
    assert headers == {"x-should-retry": "true"}
    assert body == {
        "error": {
            "code": "throttling",
            "message": "Bedrock is throttling this deployment.",
            "retryable": True,
            "request_id": "r1",
        }
    }
    headers, _ = API.refuse(limit_error("response_too_large"), "r1", {})
    assert headers == {"x-should-retry": "false"}


EVERYTHING: dict[str, Any] = {
    **SENT,
    "messages": [
        {"role": "system", "parts": [{"type": "text", "text": "a"}]},
        {
            "role": "user",
            "parts": [
                {
                    "type": "text",
                    "text": "a",
                    "providerMetadata": {
                        "bedrock": {"cachePoint": {"type": "default", "ttl": "1h"}}
                    },
                },
                {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AAEC"},
                {
                    "type": "file",
                    "mediaType": "text/plain",
                    "filename": "a.txt",
                    "url": "data:text/plain;base64,AAEC",
                    "providerMetadata": {"bedrock": {"citations": {"enabled": True}}},
                },
                {"type": "data-a", "data": 1},
            ],
        },
        {
            "role": "assistant",
            "parts": [
                {"type": "step-start"},
                {
                    "type": "reasoning",
                    "text": "a",
                    "providerMetadata": {"bedrock": {"signature": "a", "redactedContent": "AAEC"}},
                },
                *CALLED["parts"],
                {
                    "type": "dynamic-tool",
                    "toolName": "a",
                    "toolCallId": "t2",
                    "state": "output-denied",
                    "approval": {"id": "a", "approved": False, "reason": "a"},
                },
                {
                    "type": "tool-search",
                    "toolCallId": "t3",
                    "state": "output-available",
                    "output": [{"text": "a"}, {"json": {}}],
                    "providerExecuted": True,
                    "resultProviderMetadata": {"bedrock": {"type": "a"}},
                },
                {"type": "steering-message", "parts": [{"type": "text", "text": "a"}]},
            ],
        },
    ],
    "system": "a",
    "tools": {**TOOLS, "a": {"inputSchema": {"jsonSchema": SCHEMA}, "strict": True}},
    "toolChoice": {"type": "tool", "toolName": "a"},
    "maxOutputTokens": 2000,
    "temperature": 0.5,
    "topP": 0.5,
    "stopSequences": ["a"],
    "reasoning": "low",
}


def test_everything_at_once_is_a_request() -> None:
    """What the mutants below are made of."""
    assert _ask(**EVERYTHING).request.keys() == {
        *("messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields")
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mutants(EVERYTHING).filter(lambda body: isinstance(body, dict)))
def test_what_is_almost_a_request_is_one_or_is_refused(body: Any) -> None:
    """Whatever a page sends, it becomes what botocore takes, or a 400, and never anything else."""
    status = None
    try:
        asked = API.read(body, CLAUDE, {})
        convert({**asked.request, "modelId": CLAUDE}, _SHAPE, "")
    except RequestError as error:
        status = error.status
    assert status in {None, 400}

"""Requests to OpenAI's Responses API, judged by botocore's shapes: what is made of them is what boto3 takes."""

# ruff: noqa: TID251  # the shapes are botocore's

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Any, get_args, get_type_hints

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseInputItemParam
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from relay.errors import RequestError
from relay.events import Done, Start
from relay.formats.openai_responses import API
from relay.formats.openai_responses_input import seal
from relay.shapes import convert
from tests.strategies.mutants import mutants
from tests.strategies.values import TEXT

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
SHAPE = (
    botocore.session.get_session()
    .get_service_model("bedrock-runtime")
    .operation_model("ConverseStream")
    .input_shape
)
PNG = "data:image/png;base64,iVBORw0KGgo="
HI = {"role": "user", "content": "hi"}
SAID_HI = {"role": "user", "content": [{"text": "hi"}]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "get_weather", "parameters": SCHEMA}
SPEC = {"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}
CALL = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "18 °C"}
USE = {"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "c1", "content": [{"text": "18 °C"}]}}


def _read(body: Any, model: str = CLAUDE) -> Any:
    """Return the request for Converse, after botocore's shapes have found nothing wrong with it."""
    asked = API.read(body, model, {})
    assert asked.operation == "ConverseStream"
    convert({**asked.request, "modelId": "m"}, SHAPE, "")
    return asked.request


def _messages(*items: Any, model: str = CLAUDE, **more: Any) -> Any:
    return _read({"input": [*items], **more}, model)["messages"]


def _content(*parts: Any) -> Any:
    """Return the blocks that the parts of a user's message become."""
    (message,) = _messages({"role": "user", "content": [*parts]})
    return message["content"]


def _refusal(body: Any, model: str = CLAUDE) -> RequestError:
    with pytest.raises(RequestError) as caught:
        API.read(body, model, {})
    assert caught.value.status == 400
    assert caught.value.message.startswith(str(caught.value.field))
    return caught.value


def _tried(body: Any) -> RequestError | None:
    """Return why a body is refused, if it is."""
    try:
        API.read(body, CLAUDE, {})
    except RequestError as error:
        return error
    return None


# The conversation


@pytest.mark.parametrize(
    ("said", "messages"),
    [
        ("hi", [SAID_HI]),
        ([HI], [SAID_HI]),
        ([{"type": "message", **HI}], [SAID_HI]),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
            [SAID_HI],
        ),
        (
            [HI, {"role": "user", "content": "there"}],
            [{"role": "user", "content": [{"text": "hi"}, {"text": "there"}]}],
        ),
        ([HI, {"role": "user", "content": " \n"}], [SAID_HI]),
        (
            [
                HI,
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "phase": None,
                    "content": [
                        {"type": "output_text", "text": "a", "annotations": [], "logprobs": None},
                        {"type": "refusal", "refusal": "no"},
                    ],
                },
            ],
            [SAID_HI, {"role": "assistant", "content": [{"text": "a"}, {"text": "no"}]}],
        ),
        (
            [HI, {"role": "assistant", "content": "a"}, HI],
            [SAID_HI, {"role": "assistant", "content": [{"text": "a"}]}, SAID_HI],
        ),
    ],
)
def test_messages(said: Any, messages: Any) -> None:
    """Text in any of its forms; messages of one role that follow one another are one, and what is blank is none."""
    assert _read({"input": said}) == {"messages": messages}


def test_instructions_come_first() -> None:
    """What is said by nobody in the conversation is Converse's ``system``, the instructions before all."""
    request = _read(
        {
            "input": [
                {"role": "system", "content": "b"},
                HI,
                {"role": "developer", "content": [{"type": "input_text", "text": "c"}]},
            ],
            "instructions": "a",
        }
    )
    assert request == {
        "messages": [SAID_HI],
        "system": [{"text": "a"}, {"text": "b"}, {"text": "c"}],
    }


def test_media() -> None:
    """Images, files and sound come in data URLs or in base64, and never from anywhere else."""
    pdf = {
        "type": "input_file",
        "filename": "a b.pdf",
        "file_data": "data:application/pdf;base64,AAEC",
    }
    bare = {"type": "input_file", "filename": "a.csv", "file_data": "AAEC"}
    sound = {"type": "input_audio", "input_audio": {"data": "AAEC", "format": "mp3"}}
    image = {"type": "input_image", "image_url": PNG, "detail": "low", "file_id": None}
    text = {"type": "input_text", "text": "What is this?"}
    assert _content(text, image, pdf, bare, sound) == [
        {"text": "What is this?"},
        {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
        {"document": {"format": "pdf", "name": "a b", "source": {"bytes": "AAEC"}}},
        {"document": {"format": "csv", "name": "a", "source": {"bytes": "AAEC"}}},
        {"audio": {"format": "mp3", "source": {"bytes": "AAEC"}}},
    ]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "input_image", "image_url": "https://a.b/c.png"}, "image_url"),
        ({"type": "input_image", "image_url": "file:///etc/passwd"}, "image_url"),
        ({"type": "input_image", "image_url": PNG, "detail": "huge"}, "detail"),
        ({"type": "input_image", "file_id": "file-1"}, "file_id"),
        ({"type": "input_image"}, "image_url"),
        ({"type": "input_image", "image_url": "data:image/png;base64,?"}, "image_url"),
        ({"type": "input_file", "file_id": "file-1"}, "file_id"),
        ({"type": "input_file", "file_url": "https://a.b/c.pdf"}, "file_url"),
        ({"type": "input_file", "filename": "a.exe", "file_data": "AAEC"}, "file_data"),
        ({"type": "input_file", "file_data": "AAEC"}, "file_data"),
        ({"type": "input_audio", "input_audio": {"data": "AAEC"}}, "input_audio.format"),
        ({"type": "input_audio", "input_audio": {"format": "wav"}}, "input_audio.data"),
        (
            {"type": "input_audio", "input_audio": {"format": "wav", "data": "?"}},
            "input_audio.data",
        ),
        ({"type": "input_video"}, "type"),
        ({"text": "a"}, "type"),
        ({"type": "input_text"}, "text"),
        ({"type": "input_text", "text": "a", "new": 1}, "new"),
        ("a", ""),
    ],
)
def test_media_that_is_refused(part: Any, field: str) -> None:
    """What would have to be fetched, was never uploaded here, or is unknown, is refused by its own name."""
    path = f"input[1].content[0].{field}".rstrip(".")
    assert _refusal({"input": [HI, {"role": "user", "content": [part]}]}).field == path


def test_only_users_show_pictures() -> None:
    """Converse's system has no images, nor has what an assistant said."""
    for role in ("system", "developer", "assistant"):
        image = {"type": "input_image", "image_url": PNG}
        refusal = _refusal({"input": [HI, {"role": role, "content": [image]}]})
        assert refusal.field == "input[1].content[0].type"


def test_files_of_one_name_are_told_apart() -> None:
    """Bedrock refuses two documents of one name in one conversation; what a tool brings counts as well."""
    file = {
        "type": "input_file",
        "filename": "a.pdf",
        "file_data": "data:application/pdf;base64,AAEC",
    }
    user, _, results = _messages(
        {"role": "user", "content": [file, file]}, CALL, {**OUTPUT, "output": [file]}, tools=[TOOL]
    )
    names = [block["document"]["name"] for block in user["content"]]
    names.append(results["content"][0]["toolResult"]["content"][0]["document"]["name"])
    assert names == ["a", "a (2)", "a (3)"]


def test_what_is_worth_caching() -> None:
    """A breakpoint becomes a cache point of Bedrock's that lasts long enough; a tool's stands behind its result."""
    end = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}
    text = {"type": "input_text", "text": "a", **end}
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    request = _read(
        {
            "input": [
                {"role": "system", "content": [text]},
                {"role": "user", "content": [text]},
                CALL,
                {**OUTPUT, "output": [text]},
            ],
            "tools": [TOOL],
            "prompt_cache_key": "k",
            "prompt_cache_retention": "24h",
            "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
        }
    )
    assert request["system"] == [{"text": "a"}, point]
    user, _, result = request["messages"]
    assert user["content"] == [{"text": "a"}, point]
    assert result["content"] == [
        {"toolResult": {"toolUseId": "c1", "content": [{"text": "a"}]}},
        point,
    ]


def test_calls_and_their_results() -> None:
    """Calls are the assistant's, results the user's, in the turn after them and before what the user says."""
    other = {
        **CALL,
        "id": "fc_1",
        "call_id": "c2",
        "arguments": '{"city":"Paris"}',
        "status": "completed",
    }
    image = {"type": "input_image", "image_url": PNG}
    words = {"type": "input_text", "text": "a map"}
    more = {**OUTPUT, "call_id": "c2", "output": [words, image], "id": "fco_1"}
    text = {"role": "assistant", "content": "Let me look."}
    messages = _messages(HI, text, CALL, other, OUTPUT, more, HI, tools=[TOOL])
    use = {"toolUseId": "c2", "name": "get_weather", "input": {"city": "Paris"}}
    content = [
        {"text": "a map"},
        {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
    ]
    assert messages == [
        SAID_HI,
        {"role": "assistant", "content": [{"text": "Let me look."}, USE, {"toolUse": use}]},
        {
            "role": "user",
            "content": [
                RESULT,
                {"toolResult": {"toolUseId": "c2", "content": content}},
                {"text": "hi"},
            ],
        },
    ]


def test_a_tool_may_have_nothing_to_say() -> None:
    """An empty result is one without content: Bedrock refuses text that is blank."""
    *_, result = _messages(HI, CALL, {**OUTPUT, "output": ""}, tools=[TOOL])
    assert result["content"] == [{"toolResult": {"toolUseId": "c1", "content": []}}]


# Images that a model has made


MADE = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0="}


@pytest.mark.parametrize(
    ("more", "format_"),
    [({}, "png"), ({"output_format": "jpeg", "size": "auto", "revised_prompt": "a"}, "jpeg")],
)
def test_an_image_comes_back_as_the_assistants(more: Any, format_: str) -> None:
    """With its own bytes; how another model was asked for it changes nothing."""
    _, assistant = _messages(HI, {**MADE, **more})
    image = {"image": {"format": format_, "source": {"bytes": "iVBORw0="}}}
    assert assistant == {"role": "assistant", "content": [image]}


def test_an_image_that_was_not_finished_is_none() -> None:
    """There is nothing of it to be told."""
    assert _messages(HI, {**MADE, "status": "failed", "result": None}) == _messages(HI)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"result": "no base64!"}, "input[0].result"),
        ({"output_format": "bmp"}, "input[0].output_format"),
    ],
)
def test_an_image_that_is_none_is_refused(more: Any, field: str) -> None:
    """By the member that says so."""
    assert _refusal({"input": [{**MADE, **more}]}).field == field


# Reasoning


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _reasoning(sealed: Any, **more: Any) -> Any:
    summary = [{"type": "summary_text", "text": "cut short by somebody"}]
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": sealed}
    return {**item, "status": None, **more}


@pytest.mark.parametrize(
    ("sealed", "blocks"),
    [
        (seal("a", "s", []), [{"reasoningText": {"text": "a", "signature": "s"}}]),
        (seal("", "s", []), [{"reasoningText": {"text": "", "signature": "s"}}]),
        (seal("", "", ["AAEC"]), [{"redactedContent": "AAEC"}]),
        (seal("", "", ["AA==", "AQI="]), [{"redactedContent": "AAEC"}]),
        (
            seal("a", "s", ["AAEC"]),
            [{"reasoningText": {"text": "a", "signature": "s"}}, {"redactedContent": "AAEC"}],
        ),
        (
            seal("Grüße 🦦\n", "s", []),
            [{"reasoningText": {"text": "Grüße 🦦\n", "signature": "s"}}],
        ),
    ],
)
def test_reasoning_comes_back_before_what_it_led_to(sealed: str, blocks: Any) -> None:
    """The signature and the text that it signs are Bedrock's own again, whatever became of the summary."""
    thoughts = [{"reasoningContent": block} for block in blocks]
    text = {"role": "assistant", "content": "a"}
    _, assistant, _ = _messages(HI, _reasoning(sealed), text, CALL, OUTPUT, tools=[TOOL])
    assert assistant["content"] == [*thoughts, {"text": "a"}, USE]


@given(TEXT, TEXT.filter(bool), st.lists(st.binary(min_size=1).map(_base64)))
def test_nothing_of_reasoning_is_lost(text: str, signature: str, redacted: list[str]) -> None:
    """Any text, any signature, any bytes: what is sealed comes out again, letter for letter."""
    _, assistant = _messages(HI, _reasoning(seal(text, signature, redacted)))
    thought, *hidden = [block["reasoningContent"] for block in assistant["content"]]
    assert thought == {"reasoningText": {"text": text, "signature": signature}}
    whole = b"".join(map(b64decode, redacted))
    assert hidden == ([{"redactedContent": _base64(whole)}] if redacted else [])


@pytest.mark.parametrize(
    ("model", "is_taken"),
    [
        (CLAUDE, False),
        ("us.deepseek.r1-v1:0", False),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", False),
        ("openai.gpt-oss-120b-1:0", True),
        (NOVA, True),
    ],
)
def test_reasoning_without_a_signature(model: str, *, is_taken: bool) -> None:
    """It goes back to models that sign nothing, not to those which refuse all that they have not signed."""
    messages = _messages(HI, _reasoning(seal("a", "", [])), model=model)
    said = {
        "role": "assistant",
        "content": [{"reasoningContent": {"reasoningText": {"text": "a"}}}],
    }
    assert messages == [SAID_HI, *([said] if is_taken else [])]


@pytest.mark.parametrize(
    "sealed",
    [
        None,
        5,
        "",
        "gAAAAABo",  # how OpenAI's own begin
        b64encode(b"[]").decode(),
        b64encode(b'{"new":1}').decode(),
        b64encode(b'{"text":1}').decode(),
        b64encode(b'{"redacted":[1]}').decode(),
        b64encode(b'{"redacted":["?"]}').decode(),
        b64encode(b'{"text":NaN}').decode(),
    ],
)
def test_reasoning_that_did_not_come_from_here(sealed: Any) -> None:
    """What is not of our making, or missing, is refused: the model would miss it."""
    refusal = _refusal({"input": [HI, _reasoning(sealed)]})
    assert refusal.field == "input[1].encrypted_content"
    assert "expected what came with" in refusal.message


# Tools


@pytest.mark.parametrize(
    ("asked", "config"),
    [
        ({"tools": []}, None),
        ({"tools": [], "tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, None),
        ({"tools": [TOOL], "tool_choice": "none"}, None),
        ({"tools": [TOOL]}, {"tools": [SPEC]}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [SPEC]}),
        ({"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [SPEC]}),
        (
            {"tools": [TOOL], "tool_choice": "required"},
            {"tools": [SPEC], "toolChoice": {"any": {}}},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "get_weather"}},
            {"tools": [SPEC], "toolChoice": {"tool": {"name": "get_weather"}}},
        ),
        (
            {"tools": [{**TOOL, "strict": True, "description": "What it is like."}]},
            {
                "tools": [
                    {
                        "toolSpec": {
                            **SPEC["toolSpec"],
                            "description": "What it is like.",
                            "strict": True,
                        }
                    }
                ]
            },
        ),
        (
            {"tools": [{**TOOL, "strict": False, "description": None, "defer_loading": False}]},
            {"tools": [SPEC]},
        ),
        (
            {"tools": [{"type": "function", "name": "now", "parameters": None, "strict": None}]},
            {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "now",
                            "inputSchema": {"json": {"type": "object", "properties": {}}},
                        }
                    }
                ]
            },
        ),
    ],
)
def test_tools(asked: Any, config: Any) -> None:
    """Functions are Converse's tools; the default choice is left out, for not every model takes one."""
    assert _read({"input": "hi", **asked}).get("toolConfig") == config


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ({"type": "function", "name": "get_weather"}, {"type": "tool", "name": "get_weather"}),
    ],
)
def test_one_tool_at_a_time(choice: Any, told: Any) -> None:
    """Only Claude can be told so, in its own words, beside which Converse may not have a choice."""
    asked = {"input": "hi", "tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": False}
    request = _read({**asked, "reasoning": {"effort": "low"}})
    assert request["toolConfig"] == {"tools": [SPEC]}
    assert request["additionalModelRequestFields"] == {
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "tool_choice": {**told, "disable_parallel_tool_use": True},
    }
    assert _refusal(asked, NOVA).field == "parallel_tool_calls"
    assert "toolConfig" not in _read({"input": "hi", "parallel_tool_calls": False}, NOVA)


# The rest


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"max_output_tokens": 100, "temperature": 0.5, "top_p": 1},
            {"inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 1}},
        ),
        ({"temperature": 0}, {"inferenceConfig": {"temperature": 0}}),
        (
            {"reasoning": {"effort": "low", "summary": "auto"}},
            {
                "additionalModelRequestFields": {
                    "thinking": {"type": "enabled", "budget_tokens": 2048}
                }
            },
        ),
        ({"reasoning": {"summary": "detailed", "context": "auto", "mode": "standard"}}, {}),
        ({"reasoning": {"effort": "none", "generate_summary": "concise"}}, {}),
        ({"reasoning": {}}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {}),
        ({"text": {}}, {}),
        (
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "weather",
                        "description": "What it is like.",
                        "schema": SCHEMA,
                        "strict": True,
                    }
                }
            },
            {
                "outputConfig": {
                    "textFormat": {
                        "type": "json_schema",
                        "structure": {
                            "jsonSchema": {
                                "schema": json.dumps(SCHEMA),
                                "name": "weather",
                                "description": "What it is like.",
                            }
                        },
                    }
                }
            },
        ),
        (
            {"metadata": {"a": "b"}, "user": "u", "safety_identifier": "s"},
            {"requestMetadata": {"a": "b", "user": "u", "safety_identifier": "s"}},
        ),
        ({"metadata": {"user": "u"}, "user": "u"}, {"requestMetadata": {"user": "u"}}),
        ({"metadata": {}}, {}),
        ({"service_tier": "auto"}, {}),
        ({"service_tier": "default"}, {"serviceTier": {"type": "default"}}),
        ({"service_tier": "flex"}, {"serviceTier": {"type": "flex"}}),
        ({"service_tier": "priority"}, {"serviceTier": {"type": "priority"}}),
        ({"service_tier": "fast"}, {"serviceTier": {"type": "priority"}}),
        ({"store": False}, {}),
        ({"background": False, "truncation": "disabled", "top_logprobs": 0}, {}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, {}),
        ({"model": "anything"}, {}),
    ],
)
def test_what_bedrock_can_do(asked: Any, told: Any) -> None:
    """Each choice that Bedrock has, too, in its own words; and OpenAI's defaults, which ask for nothing."""
    assert _read({"input": "hi", **asked}) == {"messages": [SAID_HI], **told}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"role": "system", "content": "a"}]}, "input"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
        ({"input": [{"type": "message", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{**HI, "new": 1}]}, "input[0].new"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "new"}]}, "input[0].type"),
        ({"input": [HI, CALL, OUTPUT]}, "tools"),
        ({"input": [HI, CALL, OUTPUT], "tools": [TOOL], "tool_choice": "none"}, "tool_choice"),
        ({"input": [HI, {**CALL, "arguments": "{"}]}, "input[1].arguments"),
        ({"input": [HI, {**CALL, "arguments": "[]"}]}, "input[1].arguments"),
        ({"input": [HI, {**CALL, "call_id": "a b"}]}, "input[1].call_id"),
        ({"input": [HI, {**CALL, "call_id": "a" * 65}]}, "input[1].call_id"),
        ({"input": [HI, {**CALL, "call_id": None}]}, "input[1].call_id"),
        ({"input": [HI, {**CALL, "name": ""}]}, "input[1].name"),
        ({"input": [HI, {**CALL, "namespace": "a"}]}, "input[1].namespace"),
        ({"input": [HI, {**CALL, "async": True}]}, "input[1].async"),
        ({"input": [HI, {**OUTPUT, "output": None}]}, "input[1].output"),
        ({"input": [HI, {**OUTPUT, "call_id": ""}]}, "input[1].call_id"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "a"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{**TOOL, "parameters": []}]}, "tools[0].parameters"),
        ({"tools": [{**TOOL, "output_schema": {}}]}, "tools[0].output_schema"),
        ({"tools": [{**TOOL, "new": 1}]}, "tools[0].new"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes", "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": 5, "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "b"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools"}, "tools": [TOOL]}, "tool_choice.type"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"reasoning": {"effort": "most"}}, "reasoning.effort"),
        ({"reasoning": {"effort": "low"}, "max_output_tokens": 100}, "reasoning.effort"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"metadata": {"a": 5}}, "metadata.a"),
        ({"metadata": {"a": "ü"}}, "metadata.a"),
        ({"metadata": {"": "a"}}, "metadata."),
        ({"metadata": {"a": "b" * 257}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {str(n): "" for n in range(16)}, "user": "u"}, "metadata"),
        ({"metadata": {"user": "a"}, "user": "b"}, "user"),
        ({"user": 5}, "user"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["message.output_text.logprobs"]}, "include[0]"),
        ({"include": [5]}, "include[0]"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"stream_options": {"include_usage": True}}, "stream_options.include_usage"),
        ({"stream": "yes"}, "stream"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
        ({"stop": ["a"]}, "stop"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_bedrock_cannot_do(asked: Any, field: str) -> None:
    """Nothing is passed over in silence: what cannot be honoured is refused, and the message names it."""
    assert _refusal({"input": "hi", **asked}).field == field


def test_what_is_stored_is_refused_in_plain_words() -> None:
    """Whoever relies on OpenAI's memory learns that there is none here, and what to do instead."""
    assert "no answer is kept here" in _refusal({"input": "hi", "store": True}).message
    reference = {"type": "item_reference", "id": "msg_1"}
    assert "store: false" in _refusal({"input": [reference]}).message


SOME = ["a", 1, True, {"a": 1}, ["a"]]


@pytest.mark.parametrize("member", get_type_hints(ResponseCreateParamsBase))
def test_every_member_of_the_api_is_known(member: str) -> None:
    """All that the client's types can say is taken, or refused as what it is: nothing is an unknown field."""
    for value in SOME:
        error = _tried({"input": "hi", member: value})
        assert error is None or str(error.field).startswith(member)
        assert error is None or error.field != member or "an unknown field" not in error.message


ITEM_TYPES = {
    kind
    for item in get_args(ResponseInputItemParam)
    for said in get_type_hints(item)["type"].__args__
    for kind in (get_args(said) or (said,))
    if isinstance(kind, str)
}
TAKEN = {"image_generation_call", "message", "reasoning", "function_call", "function_call_output"}


@pytest.mark.parametrize("kind", sorted(ITEM_TYPES))
def test_every_item_of_the_api_is_known(kind: str) -> None:
    """An item of a type that the client knows is read as one, or refused by the name of its type."""
    assert ITEM_TYPES > TAKEN
    refusal = _refusal({"input": [{"type": kind, "id": "a"}]})
    if kind == "item_reference":
        assert refusal.field == "input[0]"
    else:
        assert (refusal.field == "input[0].type") == (kind not in TAKEN)
        assert kind in TAKEN or refusal.message.endswith(f"got {kind}")


EVERYTHING: Any = {
    "model": "m",
    "input": [
        {"role": "developer", "content": "a"},
        {
            "role": "user",
            "content": [
                {
                    "type": "input_text",
                    "text": "a",
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                },
                {"type": "input_image", "image_url": PNG, "detail": "auto"},
                {"type": "input_file", "filename": "a.csv", "file_data": "AAEC"},
                {"type": "input_audio", "input_audio": {"data": "AAEC", "format": "wav"}},
            ],
        },
        _reasoning(seal("a", "s", ["AAEC"])),
        CALL,
        {**OUTPUT, "output": [{"type": "input_text", "text": "a"}]},
    ],
    "instructions": "a",
    "tools": [TOOL],
    "tool_choice": {"type": "function", "name": "get_weather"},
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
    "metadata": {"a": "b"},
    "max_output_tokens": 5000,
    "temperature": 1,
    "service_tier": "flex",
    "include": ["reasoning.encrypted_content"],
    "stream": True,
    "stream_options": {"include_obfuscation": False},
}


@given(mutants(EVERYTHING).filter(lambda body: isinstance(body, dict)))
def test_what_is_almost_right_is_read_or_refused(body: Any) -> None:
    """Never a bug of ours: what is taken is what boto3 takes, and an answer can repeat it; all else is a 400."""
    with suppress(RequestError):
        _read(body)
        asked = API.read(body, CLAUDE, {})
        assert list(asked.format.encode([Start("m", "r"), Done("end_turn", {})]))

# ruff: noqa: TID251  # the shapes are botocore's

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings

from relay.errors import RequestError
from relay.formats.openai_chat import API
from relay.shapes import convert
from tests.strategies.mutants import mutants

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
DEEPSEEK = "us.deepseek.r1-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
SHAPE = (
    botocore.session.get_session()
    .get_service_model("bedrock-runtime")
    .operation_model("ConverseStream")
    .input_shape
)
DATA = b64encode(b"some bytes").decode()
HI = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA},
}
CALL = {
    "id": "t1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
CALLED = [
    HI,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "t1", "content": "rain"},
]
TOOL_USE = {"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": {"city": "Paris"}}}


def _read(body: dict[str, Any], model: str = CLAUDE) -> dict[str, Any]:
    """Return Converse's request, after boto3's service model has found nothing wrong with it."""
    asked = API.read(body, model, {"authorization": "Bearer x"})
    assert asked.operation == "ConverseStream"
    convert({**asked.request, "modelId": model}, SHAPE, "")
    return dict(asked.request)


def _messages(*messages: Any, model: str = CLAUDE, **more: Any) -> list[Any]:
    """Return what Converse is told of messages; where they speak of tools, the request has one."""
    told: list[Any] = _read({"messages": list(messages), **more}, model)["messages"]
    return told


def _asked(model: str = CLAUDE, **members: Any) -> dict[str, Any]:
    """Return what a request asks for beyond its messages."""
    request = _read({"model": "any", "messages": [HI], **members}, model)
    assert request.pop("messages") == [{"role": "user", "content": [{"text": "hi"}]}]
    return request


def _refusal(model: str = CLAUDE, **members: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        _read({"messages": [HI], **members}, model)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("members", "asked"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"inferenceConfig": {"maxTokens": 5}}),
        ({"max_completion_tokens": 5}, {"inferenceConfig": {"maxTokens": 5}}),
        ({"max_tokens": 5, "max_completion_tokens": 5}, {"inferenceConfig": {"maxTokens": 5}}),
        ({"temperature": 0}, {"inferenceConfig": {"temperature": 0}}),
        ({"temperature": 1, "top_p": 0.5}, {"inferenceConfig": {"temperature": 1, "topP": 0.5}}),
        ({"stop": "END"}, {"inferenceConfig": {"stopSequences": ["END"]}}),
        ({"stop": ["a", "b", "c", "d"]}, {"inferenceConfig": {"stopSequences": list("abcd")}}),
        ({"stop": []}, {}),
        (
            {"user": "u", "safety_identifier": "s", "metadata": {"app": "a b:c", "empty": ""}},
            {
                "requestMetadata": {
                    "app": "a b:c",
                    "empty": "",
                    "user": "u",
                    "safety_identifier": "s",
                }
            },
        ),
        ({"user": "u", "metadata": {"user": "u"}}, {"requestMetadata": {"user": "u"}}),
        ({"user": "auth0|zoë@x.de"}, {"requestMetadata": {"user": "auth0_zo_@x.de"}}),
        ({"safety_identifier": "x" * 257}, {"requestMetadata": {"safety_identifier": "x" * 256}}),
        ({"metadata": {"a": None}}, {}),
        ({"service_tier": "auto"}, {}),
        ({"service_tier": "default"}, {"serviceTier": {"type": "default"}}),
        ({"service_tier": "flex"}, {"serviceTier": {"type": "flex"}}),
        ({"service_tier": "priority"}, {"serviceTier": {"type": "priority"}}),
        ({"service_tier": "fast"}, {"serviceTier": {"type": "priority"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "place",
                        "description": "Where.",
                        "schema": {"type": "object"},
                        "strict": True,
                    },
                }
            },
            {
                "outputConfig": {
                    "textFormat": {
                        "type": "json_schema",
                        "structure": {
                            "jsonSchema": {
                                "schema": '{"type": "object"}',
                                "name": "place",
                                "description": "Where.",
                            }
                        },
                    }
                }
            },
        ),
        ({"reasoning_effort": "none"}, {}),
        (
            {"reasoning_effort": "low", "max_completion_tokens": 2000},
            {
                "inferenceConfig": {"maxTokens": 2000},
                "additionalModelRequestFields": {
                    "thinking": {"type": "enabled", "budget_tokens": 1999}
                },
            },
        ),
    ],
)
def test_what_is_asked_in_converses_terms(members: dict[str, Any], asked: dict[str, Any]) -> None:
    """Each member of OpenAI's that Bedrock can honour."""
    assert _asked(**members) == asked


@pytest.mark.parametrize(
    "members",
    [
        {"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "store": False},
        {"presence_penalty": 0, "frequency_penalty": 0.0, "modalities": ["text"]},
        {"verbosity": "medium", "parallel_tool_calls": True},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tool_choice": "none"},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
        {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"stream": False, "stream_options": {}},
        dict.fromkeys(["seed", "functions", "stop", "temperature", "tools", "anything", "stream"]),
    ],
)
def test_what_asks_for_nothing_is_taken(members: dict[str, Any]) -> None:
    """OpenAI's defaults, written out, and hints that change nothing about the answer; ``null`` is nothing."""
    assert _asked(**members) == {}


@pytest.mark.parametrize(
    ("members", "field", "message"),
    [
        ({"n": 2}, "n", "n: expected 1 or nothing, got the number 2, which Bedrock"),
        ({"n": True}, "n", "n: expected 1 or nothing, got true"),
        ({"logprobs": True}, "logprobs", "logprobs: expected false or nothing, got true"),
        ({"top_logprobs": 3}, "top_logprobs", "top_logprobs: expected 0 or nothing"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "logit_bias: expected {} or nothing"),
        ({"seed": 5}, "seed", "seed: expected nothing, got the number 5, which Bedrock has no way"),
        ({"store": True}, "store", "store: expected false or nothing"),
        ({"presence_penalty": 0.5}, "presence_penalty", "presence_penalty: expected 0"),
        ({"frequency_penalty": 1}, "frequency_penalty", "frequency_penalty: expected 0"),
        ({"modalities": ["text", "audio"]}, "modalities", 'modalities: expected only "text"'),
        ({"audio": {}}, "audio", "audio: expected nothing, got an object"),
        ({"prediction": {}}, "prediction", "prediction: expected nothing"),
        ({"moderation": {}}, "moderation", "moderation: expected nothing"),
        ({"functions": [{}]}, "functions", "functions: expected [] or nothing"),
        ({"function_call": "auto"}, "function_call", "function_call: expected nothing"),
        ({"web_search_options": {}}, "web_search_options", "web_search_options: expected nothing"),
        ({"verbosity": "low"}, "verbosity", "verbosity: expected one of medium"),
        ({"temperature": 1.5}, "temperature", "temperature: expected a number from 0 to 1, got"),
        ({"temperature": -1}, "temperature", "temperature: expected a number from 0 to 1"),
        ({"top_p": 2}, "top_p", "top_p: expected a number from 0 to 1"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens: expected a whole number of at least 1"),
        (
            {"max_tokens": 5, "max_completion_tokens": 6},
            "max_tokens",
            "max_tokens: expected the same as max_completion_tokens, or nothing, got the number 5",
        ),
        ({"stop": ""}, "stop", "stop: expected text that is not empty, or a list of up to 4"),
        ({"stop": list("abcde")}, "stop", "stop: expected text that is not empty"),
        ({"stop": ["a", 5]}, "stop", "stop: expected"),
        ({"stop": {"a": 1}}, "stop", "stop: expected"),
        (
            {"reasoning_effort": "most"},
            "reasoning_effort",
            "reasoning_effort: expected one of none",
        ),
        (
            {"reasoning_effort": "low", "max_tokens": 1000},
            "reasoning_effort",
            "reasoning_effort: expected none, or room for at least 1025 tokens, got room for 1000",
        ),
        ({"service_tier": "scale"}, "service_tier", "service_tier: expected one of auto, default"),
        (
            {"response_format": {"type": "json_object"}},
            "response_format.type",
            "response_format.type: expected one of text, json_schema, got json_object",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format.json_schema.schema",
            "response_format.json_schema.schema: expected an object, got nothing",
        ),
        ({"response_format": {}}, "response_format.type", "response_format.type: expected one of"),
        (
            {"stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
            "stream_options.include_obfuscation: expected false or nothing, got true",
        ),
        (
            {"stream_options": {"x": 1}},
            "stream_options.x",
            "stream_options.x: expected one of incl",
        ),
        ({"stream": "yes"}, "stream", "stream: expected true or false"),
        ({"prompt_cache_options": {"ttl": "1h"}}, "prompt_cache_options.ttl", "prompt_cache_opti"),
        ({"metadata": {"a": 5}}, "metadata.a", "metadata.a: expected text that fits"),
        ({"metadata": {"a": "ü"}}, "metadata.a", "metadata.a: expected text that fits"),
        ({"metadata": {"ü": "a"}}, "metadata.ü", "metadata.ü: expected a name that fits"),
        ({"metadata": {"": "a"}}, "metadata.", "metadata.: expected a name that fits"),
        ({"metadata": {"n": "x" * 257}}, "metadata.n", "metadata.n: expected text that fits"),
        ({"user": "a", "metadata": {"user": "b"}}, "user", "user: expected the same as metadata."),
        (
            {"user": "a", "metadata": {f"n{n}": "x" for n in range(16)}},
            "metadata",
            "metadata: expected at most 16, with user and safety_identifier, got 17",
        ),
        ({"thinking": {"type": "enabled"}}, "thinking", "thinking: expected one of model, stream"),
        ({"top_k": 5}, "top_k", "top_k: expected one of model"),
    ],
)
def test_what_bedrock_cannot_honour_is_refused(
    members: dict[str, Any], field: str, message: str
) -> None:
    """With OpenAI's name of the field, as ``param`` too: nothing is passed over in silence."""
    error = _refusal(**members)
    assert error.field == field
    assert error.message.startswith(message)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (CLAUDE, {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        (NOVA, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}),
        ("openai.gpt-oss-120b-1:0", {"reasoning_effort": "medium"}),
    ],
)
def test_models_are_asked_to_think_in_their_own_words(model: str, fields: dict[str, Any]) -> None:
    """``reasoning_effort`` goes where each family of models looks for it, and to no other."""
    assert _asked(model, reasoning_effort="medium") == {"additionalModelRequestFields": fields}
    assert _refusal(PROFILE, reasoning_effort="medium").field == "reasoning_effort"


def test_novas_highest_effort_takes_no_limit() -> None:
    """Bedrock would refuse both together, in words about other fields."""
    fields = {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}
    assert _asked(NOVA, reasoning_effort="max") == {"additionalModelRequestFields": fields}
    error = _refusal(NOVA, reasoning_effort="high", max_tokens=100)
    assert error.message == (
        "reasoning_effort: expected low or medium, as this model takes no limit on tokens beside it, got high"
    )


# Messages


def test_a_conversation_in_converses_terms() -> None:
    """Instructions apart, roles in turns, calls and their results together; what is blank is left out."""
    request = _read(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Two"}, {"type": "text", "text": " "}],
                },
                {"role": "user", "content": "questions."},
                {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [CALL, {**CALL, "id": "t2", "index": 1}],
                },
                {"role": "tool", "tool_call_id": "t1", "content": "rain"},
                {
                    "role": "tool",
                    "tool_call_id": "t2",
                    "name": "get_weather",
                    "content": [{"type": "text", "text": "snow"}],
                },
                {"role": "user", "content": "And?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "So"},
                        {"type": "refusal", "refusal": "Never."},
                    ],
                    "refusal": "No.",
                },
                {"role": "system", "content": " "},
            ],
            "tools": [TOOL],
        }
    )
    assert request == {
        "system": [{"text": "Be brief."}, {"text": "Be kind."}],
        "messages": [
            {"role": "user", "content": [{"text": "Two"}, {"text": "questions."}]},
            {
                "role": "assistant",
                "content": [TOOL_USE, {"toolUse": {**TOOL_USE["toolUse"], "toolUseId": "t2"}}],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "t1", "content": [{"text": "rain"}]}},
                    {"toolResult": {"toolUseId": "t2", "content": [{"text": "snow"}]}},
                    {"text": "And?"},
                ],
            },
            {"role": "assistant", "content": [{"text": "So"}, {"text": "Never."}, {"text": "No."}]},
        ],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "get_weather",
                        "description": "The weather.",
                        "inputSchema": {"json": SCHEMA},
                    }
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "text", "text": "hi"}, {"text": "hi"}),
        (
            {
                "type": "image_url",
                "image_url": {"url": f"data:image/png;base64,{DATA}", "detail": "high"},
            },
            {"image": {"format": "png", "source": {"bytes": DATA}}},
        ),
        (
            {
                "type": "file",
                "file": {"filename": "a b.pdf", "file_data": f"data:application/pdf;base64,{DATA}"},
            },
            {"document": {"format": "pdf", "name": "a b", "source": {"bytes": DATA}}},
        ),
        (
            {"type": "file", "file": {"file_data": f"data:text/csv;base64,{DATA}"}},
            {"document": {"format": "csv", "name": "document", "source": {"bytes": DATA}}},
        ),
        (
            {"type": "file", "file": {"file_data": DATA, "filename": "a_b.md"}},
            {"document": {"format": "md", "name": "a b", "source": {"bytes": DATA}}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": DATA, "format": "mp3"}},
            {"audio": {"format": "mp3", "source": {"bytes": DATA}}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}},
            {"audio": {"format": "wav", "source": {"bytes": DATA}}},
        ),
    ],
)
def test_parts_are_blocks(part: dict[str, Any], block: dict[str, Any]) -> None:
    """What the user shows, in Converse's terms; the hint at an image's detail changes nothing."""
    assert _messages({"role": "user", "content": [part]}) == [{"role": "user", "content": [block]}]


def test_files_of_the_same_name_are_told_apart() -> None:
    """Bedrock refuses two documents of one name, and a conversation brings all of them each time."""
    part = {"type": "file", "file": {"file_data": f"data:text/csv;base64,{DATA}"}}
    (message,) = _messages({"role": "user", "content": [part, part]})
    names = {block["document"]["name"] for block in message["content"]}
    assert len(names) == 2


def test_a_result_may_be_an_image() -> None:
    """Results have what OpenAI gives them, and images and files besides; one without anything is an empty one."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}
    *_, results = _messages(
        *CALLED[:2],
        {"role": "tool", "tool_call_id": "t1", "content": [image]},
        {"role": "tool", "tool_call_id": "t1", "content": ""},
        tools=[TOOL],
    )
    assert [block["toolResult"]["content"] for block in results["content"]] == [
        [{"image": {"format": "png", "source": {"bytes": DATA}}}],
        [],
    ]


@pytest.mark.parametrize(
    ("mark", "point"),
    [
        ({"cache_control": {"type": "ephemeral"}}, {"type": "default"}),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, {"type": "default", "ttl": "1h"}),
        ({"prompt_cache_breakpoint": {"mode": "explicit"}}, {"type": "default", "ttl": "1h"}),
        (
            {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
            {"type": "default", "ttl": "1h"},
        ),
    ],
)
def test_cache_marks_are_cache_points(mark: dict[str, Any], point: dict[str, Any]) -> None:
    """Behind the part that bears the mark; behind a result, for there are none within; behind a tool."""
    text = {"type": "text", "text": "long", **mark}
    request = _read(
        {
            "messages": [
                {"role": "system", "content": [text]},
                {"role": "user", "content": [text, {"type": "text", "text": "short"}]},
                {"role": "assistant", "content": [text], "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "t1", "content": [text]},
            ],
            "tools": [{**TOOL, **mark}],
        }
    )
    cached = {"cachePoint": point}
    assert request["system"] == [{"text": "long"}, cached]
    assert [message["content"] for message in request["messages"]] == [
        [{"text": "long"}, cached, {"text": "short"}],
        [{"text": "long"}, cached, TOOL_USE],
        [{"toolResult": {"toolUseId": "t1", "content": [{"text": "long"}]}}, cached],
    ]
    assert request["toolConfig"]["tools"][1:] == [cached]


def _thought(text: str, signature: str | None = None) -> dict[str, Any]:
    signed = {"signature": signature} if signature else {}
    return {"reasoningContent": {"reasoningText": {"text": text, **signed}}}


@pytest.mark.parametrize(
    ("members", "blocks"),
    [
        (
            {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]},
            [_thought("hm", "c2ln")],
        ),
        (
            {
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln", "index": 0},
                    {"type": "redacted_thinking", "data": "AAEC", "index": 1},
                ],
            },
            [_thought("hm", "c2ln"), {"reasoningContent": {"redactedContent": "AAEC"}}],
        ),
        (
            {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln"}]},
            [_thought("", "c2ln")],
        ),
        (
            {"thinking_blocks": [{"type": "redacted_thinking", "data": "AA==AAE=AAEC"}]},
            [{"reasoningContent": {"redactedContent": b64encode(b"\0\0\1\0\1\2").decode()}}],
        ),
        ({"thinking_blocks": [{"type": "thinking", "thinking": "hm"}]}, []),
        ({"reasoning_content": "hm"}, []),
        ({"reasoning_content": None, "thinking_blocks": None}, []),
    ],
)
def test_reasoning_that_comes_back_stands_first(
    members: dict[str, Any], blocks: list[dict[str, Any]]
) -> None:
    """As it came, with its signatures; Claude takes none without, and what is only text is left out for it."""
    message = {"role": "assistant", "content": "So.", "tool_calls": [CALL], **members}
    _user, assistant, _results = _messages(HI, message, CALLED[2], tools=[TOOL])
    assert assistant["content"] == [*blocks, {"text": "So."}, TOOL_USE]


@pytest.mark.parametrize(
    ("model", "blocks"),
    [
        (NOVA, [_thought("hm")]),
        ("minimax.minimax-m2", [_thought("hm")]),
        (CLAUDE, []),
        (DEEPSEEK, []),
        (PROFILE, []),
    ],
)
def test_reasoning_without_a_signature_goes_to_models_that_take_it(
    model: str, blocks: list[dict[str, Any]]
) -> None:
    """And never with an empty signature, which those refuse."""
    for members in (
        {"reasoning_content": "hm"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": ""}]},
    ):
        message = {"role": "assistant", "content": "So.", **members}
        assert _messages(HI, message, HI, model=model)[1]["content"] == [*blocks, {"text": "So."}]


@pytest.mark.parametrize(
    ("message", "field", "said"),
    [
        ({}, "role", "expected one of system, developer, user, assistant, tool, got nothing"),
        ({"role": "function", "content": "x"}, "role", "tool, got function"),
        ({"role": 5}, "role", "got the number 5"),
        ({"role": "user"}, "content", "expected text or a list of parts, got nothing"),
        ({"role": "user", "content": 5}, "content", "got the number 5"),
        ({"role": "user", "content": ["x"]}, "content[0]", "expected an object, got text of 1"),
        ({"role": "user", "content": [{}]}, "content[0].type", "expected one of text, image_url"),
        ({"role": "user", "content": "x", "name": "Ann"}, "name", "got an unknown field"),
        (
            {"role": "user", "content": [{"type": "refusal", "refusal": "x"}]},
            "content[0].type",
            "expected one of text, image_url, file, input_audio, got refusal",
        ),
        (
            {"role": "system", "content": [{"type": "image_url"}]},
            "content[0].type",
            "expected one of text, got image_url",
        ),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}],
            },
            "content[0].image_url.url",
            "expected a data URL in base64, got a URL with https:, which is never fetched",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "data:"}]},
            "content[0].image_url",
            "expected an object",
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=A"}}
                ],
            },
            "content[0].image_url.url",
            "expected bytes in base64, got text of 4 characters",
        ),
        (
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
            },
            "content[0].input_audio.data",
            "expected bytes in base64, got empty text",
        ),
        (
            {
                "role": "assistant",
                "thinking_blocks": [{"type": "redacted_thinking", "data": "AA==A"}],
            },
            "thinking_blocks[0].data",
            "expected bytes in base64",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
            "content[0].file.file_id",
            "expected nothing",
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": DATA, "format": "ogg"}}
                ],
            },
            "content[0].input_audio.format",
            "expected one of wav, mp3, got ogg",
        ),
        (
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": "x",
                        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
                    }
                ],
            },
            "content[0].prompt_cache_breakpoint.ttl",
            "expected one of 30m",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "new": 1}]},
            "content[0].new",
            "got an unknown field",
        ),
        ({"role": "assistant", "audio": {"id": "a"}}, "audio", "expected nothing"),
        ({"role": "assistant", "function_call": {}}, "function_call", "expected nothing"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]},
            "tool_calls[0].type",
            "expected one of function",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "id": "x" * 65}]},
            "tool_calls[0].id",
            "expected text that fits [a-zA-Z0-9_.:-]{1,64}, got text of 65 characters",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a":'}}],
            },
            "tool_calls[0].function.arguments",
            "expected the text of a JSON object, got text of 5 characters",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[]"}}],
            },
            "tool_calls[0].function.arguments",
            "expected the text of a JSON object, got that of a list of 0",
        ),
        (
            {"role": "assistant", "thinking_blocks": [{"type": "other"}]},
            "thinking_blocks[0].type",
            "expected one of thinking, redacted_thinking, got other",
        ),
        ({"role": "tool", "content": "x"}, "tool_call_id", "expected text, got nothing"),
        ({"role": "tool", "tool_call_id": "t"}, "content", "expected text or a list of parts"),
    ],
)
def test_a_message_is_refused_by_its_path(message: dict[str, Any], field: str, said: str) -> None:
    """Down to the part that is wrong."""
    error = _refusal(messages=[HI, message])
    assert error.field == f"messages[1].{field}"
    assert said in error.message


@pytest.mark.parametrize(
    "messages", [None, [], [{"role": "user", "content": " "}], [{"role": "system", "content": "x"}]]
)
def test_a_conversation_has_something_to_answer(messages: Any) -> None:
    """Bedrock would say so less clearly."""
    error = _refusal(messages=messages)
    assert error.message == (
        "messages: expected at least one of the user's that is not blank, got none"
    )


# Tools


def _tools(model: str = CLAUDE, **members: Any) -> dict[str, Any]:
    asked = _asked(model, tools=[TOOL], **members)
    assert asked["toolConfig"].pop("tools")[0]["toolSpec"]["name"] == "get_weather"
    return asked


NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (None, {}),
        ("auto", {}),
        ("required", {"toolChoice": {"any": {}}}),
        (NAMED, {"toolChoice": {"tool": {"name": "get_weather"}}}),
    ],
)
def test_a_choice_of_tools(choice: Any, told: dict[str, Any]) -> None:
    """The default is left out, for not every model knows of choices."""
    assert _tools(tool_choice=choice) == {"toolConfig": told}
    assert _tools(NOVA, tool_choice=choice, parallel_tool_calls=True) == {"toolConfig": told}


def test_tools_are_left_out_where_none_may_be_called() -> None:
    """Converse has no ``none``; once tools have been called it insists on them, and so they cannot be forbidden."""
    assert _asked(tools=[TOOL], tool_choice="none", parallel_tool_calls=False) == {}
    error = _refusal(messages=CALLED, tools=[TOOL], tool_choice="none")
    assert error.field == "tool_choice"
    assert "Bedrock cannot forbid tools that the messages speak of" in error.message


@pytest.mark.parametrize("messages", [CALLED, CALLED[:2], [HI, CALLED[2]]])
def test_tools_that_were_called_have_to_be_known(messages: list[Any]) -> None:
    """Bedrock refuses a conversation with calls or results of tools that the request does not name."""
    error = _refusal(messages=messages)
    assert error.message == "tools: expected the tools that the messages speak of, got none"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (None, {"type": "auto"}),
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        (NAMED, {"type": "tool", "name": "get_weather"}),
    ],
)
def test_claude_can_be_told_to_call_one_tool_at_a_time(choice: Any, told: dict[str, Any]) -> None:
    """In its own words, which have to be whole, and not beside Converse's: Bedrock refuses both other ways."""
    asked = _tools(tool_choice=choice, parallel_tool_calls=False, reasoning_effort="low")
    assert asked == {
        "toolConfig": {},
        "additionalModelRequestFields": {
            "thinking": {"type": "enabled", "budget_tokens": 2048},
            "tool_choice": {**told, "disable_parallel_tool_use": True},
        },
    }


def test_a_tool_with_all_and_with_nothing() -> None:
    """``strict`` is Converse's too; a tool without parameters takes an empty object."""
    strict = {"name": "f", "description": "", "parameters": SCHEMA, "strict": True}
    bare = {"name": "g", "strict": False}
    tools = [{"type": "function", "function": function} for function in (strict, bare)]
    assert _asked(tools=tools)["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "f", "inputSchema": {"json": SCHEMA}, "strict": True}},
        {"toolSpec": {"name": "g", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
    ]


@pytest.mark.parametrize(
    ("members", "field", "said"),
    [
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "of function, got custom"),
        ({"tools": [{}]}, "tools[0].type", "got nothing"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "expected text that fits [a-zA-Z0-9_-]{1,64}",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
            "tools[0].function.parameters",
            "expected an object",
        ),
        ({"tool_choice": "any"}, "tool_choice", "expected none, auto, required or a function"),
        ({"tool_choice": 5}, "tool_choice", "expected an object, got the number 5"),
        ({"tool_choice": "required"}, "tool_choice", "auto or none, for there are no tools"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}, "tools": [TOOL]},
            "tool_choice.type",
            "expected one of function, got allowed_tools",
        ),
        (
            {"tool_choice": {**NAMED, "function": {"name": "other"}}, "tools": [TOOL]},
            "tool_choice.function.name",
            "expected the name of one of the tools",
        ),
        ({"tool_choice": NAMED}, "tool_choice.function.name", "the name of one of the tools"),
    ],
)
def test_tools_that_bedrock_cannot_offer_are_refused(
    members: dict[str, Any], field: str, said: str
) -> None:
    """By their path, as everything."""
    error = _refusal(**members)
    assert error.field == field
    assert said in error.message


@pytest.mark.parametrize("model", [NOVA, PROFILE])
def test_other_models_cannot_be_told_to_call_one_tool_at_a_time(model: str) -> None:
    """So a request that counts on it is refused, rather than answered with two calls."""
    error = _refusal(model, tools=[TOOL], parallel_tool_calls=False)
    assert error.field == "parallel_tool_calls"


EVERYTHING = {
    "model": "any",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
                {"type": "file", "file": {"file_data": f"data:text/csv;base64,{DATA}"}},
                {"type": "input_audio", "input_audio": {"data": DATA, "format": "mp3"}},
            ],
        },
        {
            "role": "assistant",
            "content": "So.",
            "tool_calls": [CALL],
            "thinking_blocks": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "AAEC"},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": [{"type": "text", "text": "rain"}]},
    ],
    "tools": [TOOL],
    "tool_choice": NAMED,
    "parallel_tool_calls": False,
    "max_completion_tokens": 5000,
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ["a"],
    "reasoning_effort": "low",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    "metadata": {"a": "b"},
    "user": "u",
    "service_tier": "flex",
    "stream": True,
    "stream_options": {"include_usage": True},
}


def test_everything_at_once() -> None:
    """All of it in one request, which boto3's service model finds nothing wrong with."""
    assert set(_read(EVERYTHING)) == {
        "additionalModelRequestFields",
        "inferenceConfig",
        "messages",
        "outputConfig",
        "requestMetadata",
        "serviceTier",
        "system",
        "toolConfig",
    }


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(mutants(EVERYTHING))
def test_what_is_almost_right_is_read_or_refused(body: Any) -> None:
    """Never a bug of ours: what is taken is what boto3 takes, all else a 400."""
    if isinstance(body, dict):
        with suppress(RequestError):
            _read(body)

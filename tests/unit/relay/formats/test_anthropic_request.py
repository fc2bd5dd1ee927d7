# ruff: noqa: TID251  # the shapes are botocore's

from __future__ import annotations

from base64 import b64encode
from typing import Any

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import RequestError
from relay.formats.anthropic_request import to_converse
from relay.formats.fields import Fields
from relay.shapes import convert
from tests.strategies.values import JSON

NOVA = "us.amazon.nova-2-lite-v1:0"
LLAMA = "meta.llama3-1-8b-instruct-v1:0"
SHAPE = (
    botocore.session.get_session()
    .get_service_model("bedrock-runtime")
    .operation_model("ConverseStream")
    .input_shape
)
PNG = b64encode(b"\x89PNG").decode()
ASKED: dict[str, Any] = {
    "model": "whatever",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi"}],
}
HI = {"role": "user", "content": [{"text": "hi"}]}
POINT = {"cachePoint": {"type": "default"}}
EPHEMERAL = {"type": "ephemeral"}
TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}
SPEC = {"toolSpec": {"name": "get_weather", "inputSchema": {"json": {"type": "object"}}}}
CALL = {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Lima"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}


def _converse(model: str = NOVA, /, **asked: Any) -> dict[str, Any]:
    """Return the Converse request for what is asked; boto3 has to take it."""
    request = to_converse(Fields({**ASKED, **asked}), model)
    convert({**request, "modelId": model}, SHAPE, "")
    return request


def _beside_hi(model: str = NOVA, /, **asked: Any) -> dict[str, Any]:
    """Return what a request has beside the least there is in any."""
    request = _converse(model, **asked)
    inference = {k: v for k, v in request.pop("inferenceConfig").items() if k != "maxTokens"}
    assert request.pop("messages") == [HI]
    return {**({"inferenceConfig": inference} if inference else {}), **request}


def _content(*blocks: Any, role: str = "user") -> Any:
    """Return what becomes of the blocks of one message."""
    (message,) = _converse(messages=[{"role": role, "content": list(blocks)}])["messages"]
    assert message["role"] == role
    return message["content"]


def _refusal(model: str = NOVA, /, **asked: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        _converse(model, **asked)
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    return caught.value


def test_the_least_there_is() -> None:
    """A message and a limit, and not a word more to Bedrock."""
    assert _converse() == {"messages": [HI], "inferenceConfig": {"maxTokens": 100}}


@pytest.mark.parametrize(
    ("asked", "beside"),
    [
        ({"system": "Be brief."}, {"system": [{"text": "Be brief."}]}),
        (
            {
                "system": [
                    {"type": "text", "text": "a", "cache_control": EPHEMERAL},
                    {"type": "text", "text": "b", "cache_control": {**EPHEMERAL, "ttl": "1h"}},
                ]
            },
            {
                "system": [
                    {"text": "a"},
                    POINT,
                    {"text": "b"},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                ]
            },
        ),
        ({"system": ""}, {}),
        ({"system": []}, {}),
        (
            {"temperature": 0, "top_p": 0.5, "stop_sequences": ["a", "b"]},
            {"inferenceConfig": {"temperature": 0, "topP": 0.5, "stopSequences": ["a", "b"]}},
        ),
        ({"temperature": 1.0, "stop_sequences": []}, {"inferenceConfig": {"temperature": 1.0}}),
        ({"top_k": 5}, {"additionalModelRequestFields": {"inferenceConfig": {"topK": 5}}}),
        ({"tools": [TOOL]}, {"toolConfig": {"tools": [SPEC]}}),
        (
            {
                "tools": [
                    {
                        **TOOL,
                        "type": "custom",
                        "description": "Tells.",
                        "strict": True,
                        "cache_control": EPHEMERAL,
                        "eager_input_streaming": True,
                        "defer_loading": False,
                        "allowed_callers": ["direct"],
                        "input_examples": [],
                    }
                ]
            },
            {
                "toolConfig": {
                    "tools": [
                        {
                            "toolSpec": {
                                **SPEC["toolSpec"],
                                "description": "Tells.",
                                "strict": True,
                            }
                        },
                        POINT,
                    ]
                }
            },
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": False}},
            {"toolConfig": {"tools": [SPEC], "toolChoice": {"auto": {}}}},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "any"}},
            {"toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "get_weather"}},
            {"toolConfig": {"tools": [SPEC], "toolChoice": {"tool": {"name": "get_weather"}}}},
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "none"}}, {}),
        ({"tool_choice": {"type": "auto"}}, {}),
        ({"tools": []}, {}),
        ({"metadata": {"user_id": "u-1"}}, {"requestMetadata": {"user_id": "u-1"}}),
        (
            {"metadata": {"user_id": '{"device":"x"}'}},
            {"requestMetadata": {"user_id": "__device_:_x__"}},
        ),
        ({"metadata": {"user_id": None}}, {}),
        ({"metadata": {}}, {}),
        (
            {"output_config": {"effort": "low"}},
            {"outputConfig": {"effort": "low"}},
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "outputConfig": {
                    "textFormat": {
                        "type": "json_schema",
                        "structure": {
                            "jsonSchema": {"schema": '{"type": "object"}', "name": "answer"}
                        },
                    }
                }
            },
        ),
        (
            {"output_format": {"type": "json_schema", "schema": {}}},
            {
                "outputConfig": {
                    "textFormat": {
                        "type": "json_schema",
                        "structure": {"jsonSchema": {"schema": "{}", "name": "answer"}},
                    }
                }
            },
        ),
        ({"service_tier": "auto", "speed": "standard", "mcp_servers": [], "container": None}, {}),
        ({"betas": ["a"], "anthropic_beta": ["b"], "anthropic_version": "c"}, {}),
        ({"thinking": {"type": "disabled"}}, {}),
    ],
)
def test_each_member_in_converses_terms(asked: dict[str, Any], beside: dict[str, Any]) -> None:
    """What Anthropic's API has and Converse has, too, under Converse's name."""
    assert _beside_hi(**asked) == beside


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 4096, "display": "summarized"}, "medium"),
        ({"type": "enabled", "budget_tokens": 60_000}, "medium"),
        ({"type": "adaptive"}, "medium"),
    ],
)
def test_nova_thinks_by_effort(thinking: dict[str, Any], effort: str) -> None:
    """A budget becomes an effort; never the highest, beside which Nova takes no limit on tokens."""
    request = _converse(thinking=thinking, max_tokens=64_000, top_k=1)
    assert request["additionalModelRequestFields"] == {
        "inferenceConfig": {"topK": 1},
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort},
    }
    assert request["inferenceConfig"] == {"maxTokens": 64_000}


def test_a_model_of_openais_thinks_by_effort() -> None:
    """It has a field of its own for that, and no trouble with the highest."""
    asked = {"thinking": {"type": "enabled", "budget_tokens": 30_000}, "max_tokens": 64_000}
    request = _converse("openai.gpt-oss-120b-1:0", **asked)
    assert request["additionalModelRequestFields"] == {"reasoning_effort": "high"}


@pytest.mark.parametrize(
    ("blocks", "content"),
    [
        ([{"type": "text", "text": "a"}], [{"text": "a"}]),
        ([{"type": "text", "text": "a", "citations": None}], [{"text": "a"}]),
        (
            [{"type": "text", "text": "a", "cache_control": {**EPHEMERAL, "ttl": "5m"}}],
            [{"text": "a"}, {"cachePoint": {"type": "default", "ttl": "5m"}}],
        ),
        (
            [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    "cache_control": EPHEMERAL,
                }
            ],
            [{"image": {"format": "png", "source": {"bytes": PNG}}}, POINT],
        ),
        (
            [
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": PNG},
                }
            ],
            [{"document": {"format": "pdf", "name": "document", "source": {"bytes": PNG}}}],
        ),
        (
            [
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "ü\ud83e"},
                    "title": "Report v1.2: final_copy",
                    "context": "from the archive",
                    "citations": {"enabled": True},
                }
            ],
            [
                {
                    "document": {
                        "format": "txt",
                        "name": "Report v1 2 final copy",
                        "source": {"bytes": b64encode("ü?".encode()).decode()},
                        "context": "from the archive",
                        "citations": {"enabled": True},
                    }
                }
            ],
        ),
        (
            [
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "a"}]},
                    "citations": {},
                }
            ],
            [{"document": {"name": "document", "source": {"content": [{"text": "a"}]}}}],
        ),
        (
            [
                {
                    "type": "search_result",
                    "source": "https://a.example",
                    "title": "T",
                    "content": [{"type": "text", "text": "a"}],
                    "citations": {"enabled": True},
                }
            ],
            [
                {
                    "searchResult": {
                        "source": "https://a.example",
                        "title": "T",
                        "content": [{"text": "a"}],
                        "citations": {"enabled": True},
                    }
                }
            ],
        ),
    ],
)
def test_each_block_of_the_users(blocks: list[Any], content: list[Any]) -> None:
    """A block becomes Converse's, and a cache point follows the block that asked for it."""
    assert _content(*blocks) == content


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        ),
        (
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        ),
        (
            {"type": "redacted_thinking", "data": "AAEC"},
            {"reasoningContent": {"redactedContent": "AAEC"}},
        ),
    ],
)
def test_thoughts_go_back_as_they_came(block: dict[str, Any], content: dict[str, Any]) -> None:
    """A thought with its signature, or redacted, is what the model gets back."""
    assert _content(block, role="assistant") == [content]


def test_a_call_and_its_result() -> None:
    """The second turn of a conversation with tools: calls in parallel, results of every kind, an error."""
    pieces = [
        {"type": "text", "text": "sunny", "cache_control": EPHEMERAL},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG},
        },
    ]
    request = _converse(
        tools=[TOOL],
        messages=[
            *ASKED["messages"],
            {"role": "assistant", "content": [{**CALL, "caller": {"type": "direct"}}]},
            {"role": "assistant", "content": [{**CALL, "id": "t2"}]},
            {
                "role": "user",
                "content": [
                    {**RESULT, "content": pieces},
                    {**RESULT, "tool_use_id": "t2", "is_error": True, "cache_control": EPHEMERAL},
                ],
            },
        ],
    )
    use = {"toolUseId": "t1", "name": "get_weather", "input": {"city": "Lima"}}
    image = {"image": {"format": "jpeg", "source": {"bytes": PNG}}}
    assert request["messages"][1:] == [
        {
            "role": "assistant",
            "content": [{"toolUse": use}, {"toolUse": {**use, "toolUseId": "t2"}}],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"text": "sunny"}, image]}},
                POINT,
                {
                    "toolResult": {
                        "toolUseId": "t2",
                        "content": [{"text": "sunny"}],
                        "status": "error",
                    }
                },
                POINT,
            ],
        },
    ]


def test_a_result_may_be_empty() -> None:
    """A tool that has nothing to say has been called all the same."""
    messages = [
        *ASKED["messages"],
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]},
    ]
    result = _converse(tools=[TOOL], messages=messages)["messages"][-1]["content"]
    assert result == [{"toolResult": {"toolUseId": "t1", "content": []}}]


@pytest.mark.parametrize(
    ("citation", "told"),
    [
        (
            {
                "type": "char_location",
                "cited_text": "so",
                "document_index": 0,
                "document_title": "T",
                "start_char_index": 1,
                "end_char_index": 3,
                "file_id": None,
            },
            {
                "title": "T",
                "sourceContent": [{"text": "so"}],
                "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 3}},
            },
        ),
        (
            {
                "type": "search_result_location",
                "cited_text": "",
                "search_result_index": 2,
                "title": None,
                "source": "s",
                "start_block_index": 0,
                "end_block_index": 1,
            },
            {
                "source": "s",
                "location": {
                    "searchResultLocation": {"searchResultIndex": 2, "start": 0, "end": 1}
                },
            },
        ),
        (
            {
                "type": "web_search_result_location",
                "cited_text": "so",
                "url": "https://a.example",
                "title": "T",
                "encrypted_index": "",
            },
            {
                "title": "T",
                "sourceContent": [{"text": "so"}],
                "location": {"web": {"url": "https://a.example"}},
            },
        ),
    ],
)
def test_citations_go_back_as_they_came(citation: dict[str, Any], told: dict[str, Any]) -> None:
    """An answer with citations, sent back in the next turn, has them in Converse's terms again."""
    block = {"type": "text", "text": "a", "citations": [citation]}
    content = {"content": [{"text": "a"}], "citations": [told]}
    assert _content(block, role="assistant") == [{"citationsContent": content}]


def test_the_whole_request_may_be_cached() -> None:
    """Cache control of the request itself is about its last block."""
    request = _converse(cache_control=EPHEMERAL)
    assert request["messages"] == [{"role": "user", "content": [{"text": "hi"}, POINT]}]


def test_turns_of_one_role_are_one() -> None:
    """As with Anthropic, messages of the same role are one turn; those that say nothing are none."""
    messages = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": " \n"},
        {"role": "assistant", "content": []},
        {"role": "user", "content": "c"},
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "d"},
    ]
    assert _converse(messages=messages)["messages"] == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}, {"text": "c"}]},
        {"role": "system", "content": [{"text": "Be brief."}]},
        {"role": "assistant", "content": [{"text": "d"}]},
    ]


def test_documents_are_told_apart() -> None:
    """Bedrock refuses a conversation with two documents of one name; here many have none at all."""
    source = {"type": "text", "data": "a"}
    untitled = {"type": "document", "source": source}
    result = {**RESULT, "content": [{**untitled, "title": "DOCUMENT (2)"}]}
    messages = [
        {"role": "user", "content": [untitled, untitled]},
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [result, untitled]},
    ]
    request = _converse(messages=messages, tools=[TOOL])
    names = [
        inner["document"]["name"]
        for message in request["messages"]
        for block in message["content"]
        for inner in (block, *block.get("toolResult", {}).get("content", []))
        if "document" in inner
    ]
    assert names == ["document", "document (2)", "DOCUMENT (2) (2)", "document (3)"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_tokens": None}, "max_tokens: expected a whole number of at least 1, got nothing"),
        (
            {"max_tokens": 0},
            "max_tokens: expected a whole number of at least 1, got the number 0",
        ),
        (
            {"messages": []},
            "messages: expected a list of at least one message, got none that says anything",
        ),
        ({"messages": None}, "messages: expected a list of at least one message, got none"),
        ({"messages": "hi"}, "messages: expected a list, got text of 2 characters"),
        ({"messages": ["hi"]}, "messages[0]: expected an object, got text of 2 characters"),
        (
            {"messages": [{"content": "a"}]},
            "messages[0].role: expected one of user, assistant, system, got nothing",
        ),
        (
            {"messages": [{"role": "tool", "content": "a"}]},
            "messages[0].role: expected one of user, assistant, system, got tool",
        ),
        (
            {"messages": [{"role": "user"}]},
            "messages[0].content: expected text or a list of blocks, got nothing",
        ),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "messages[0].content: expected text or a list of blocks, got the number 5",
        ),
        (
            {"messages": [{"role": "user", "content": "a", "name": "b"}]},
            "messages[0].name: expected one of role, content, got an unknown field",
        ),
        ({"temperature": 1.5}, "temperature: expected a number from 0 to 1, got the number 1.5"),
        ({"top_p": -1}, "top_p: expected a number from 0 to 1, got the number -1"),
        ({"top_k": 129}, "top_k: expected a whole number from 0 to 128, got the number 129"),
        ({"stop_sequences": ["a", ""]}, "stop_sequences[1]: expected text, got empty text"),
        ({"stop_sequences": ["a"] * 2501}, "stop_sequences: expected at most 2500, got 2501"),
        ({"system": 5}, "system: expected text or a list of blocks, got the number 5"),
        (
            {"system": [{"type": "image"}]},
            "system[0].type: expected one of text, got image",
        ),
        (
            {"system": [{"type": "text", "text": "a", "cache_control": {"type": "persistent"}}]},
            "system[0].cache_control.type: expected one of ephemeral, got persistent",
        ),
        (
            {"cache_control": {"type": "ephemeral", "ttl": "2h"}},
            "cache_control.ttl: expected one of 5m, 1h, got text of 2 characters",
        ),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            (
                "tools[0].type: expected custom, for Anthropic's own tools come with its own models alone, "
                "got web_search_20250305"
            ),
        ),
        (
            {"tools": [{"name": "a"}]},
            "tools[0].input_schema: expected a JSON Schema, got nothing",
        ),
        (
            {"tools": [{"name": "a", "input_schema": "b"}]},
            "tools[0].input_schema: expected a JSON Schema, got text of 1 characters",
        ),
        (
            {"tools": [{**TOOL, "name": "a" * 65}]},
            "tools[0].name: expected text of 1 to 64 characters, got text of 65 characters",
        ),
        (
            {"tools": [{**TOOL, "defer_loading": True}]},
            "tools[0].defer_loading: expected false or nothing, got true, which Bedrock has no way to honour",
        ),
        (
            {"tool_choice": {"type": "any"}},
            "tools: expected tools to choose from, got none",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            (
                "tool_choice.disable_parallel_tool_use: expected false or nothing, got true, "
                "which Bedrock has no way to honour"
            ),
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool"}},
            "tool_choice.name: expected text, got nothing",
        ),
        (
            {"messages": [{"role": "assistant", "content": [CALL]}]},
            "tools: expected the tools that the messages tell of, got none",
        ),
        (
            {
                "messages": [{"role": "assistant", "content": [CALL]}],
                "tools": [TOOL],
                "tool_choice": {"type": "none"},
            },
            (
                "tool_choice.type: expected one of auto, any, tool, for Bedrock has to know the tools that the "
                "messages tell of, got none"
            ),
        ),
        (
            {"thinking": {"type": "between_tools"}},
            "thinking.type: expected one of enabled, adaptive, disabled, got between_tools",
        ),
        (
            {"thinking": {"type": "enabled"}},
            "thinking.budget_tokens: expected at least 1024, fewer than max_tokens, got nothing",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            "thinking.budget_tokens: expected at least 1024, fewer than max_tokens, got the number 1024",
        ),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            "thinking.display: expected one of summarized, got text of 7 characters",
        ),
        (
            {"metadata": {"user_id": "a" * 257}},
            "metadata.user_id: expected text of at most 256 characters, got text of 257 characters",
        ),
        (
            {"metadata": {"team": "a"}},
            "metadata.team: expected one of user_id, got an unknown field",
        ),
        (
            {"service_tier": "priority"},
            "service_tier: expected one of auto, standard_only, got text of 8 characters",
        ),
        (
            {"container": "c"},
            "container: expected nothing, got text of 1 characters, which Bedrock has no way to honour",
        ),
        (
            {"mcp_servers": [{}]},
            "mcp_servers: expected [] or nothing, got a list of 1, which Bedrock has no way to honour",
        ),
        (
            {"output_config": {"effort": "utmost"}},
            "output_config.effort: expected one of low, medium, high, xhigh, max, got text of 6 characters",
        ),
        (
            {"output_config": {"format": {"type": "grammar"}}},
            "output_config.format.type: expected one of json_schema, got grammar",
        ),
        (
            {
                "output_config": {"format": {"type": "json_schema", "schema": {}}},
                "output_format": {"type": "json_schema", "schema": {}},
            },
            "output_format: expected nothing beside output_config.format, got an object",
        ),
    ],
)
def test_what_bedrock_cannot_do_is_refused(asked: dict[str, Any], message: str) -> None:
    """Nothing is passed over in silence: the message names Anthropic's own field."""
    assert _refusal(**asked).message.startswith(message)


def test_an_unknown_member_is_refused() -> None:
    """A member that nobody has met may ask for anything."""
    error = _refusal(quite_new=1)
    assert error.message.endswith("got an unknown field")
    assert error.field == "quite_new"
    assert _converse(quite_new=None) == _converse()


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


@pytest.mark.parametrize(
    ("block", "field", "said"),
    [
        ({}, "type", "expected one of text, image, "),
        ({"type": "web_search_tool_result"}, "type", "got web_search_tool_result"),
        ({"type": "text"}, "text", "expected text, got nothing"),
        (
            {**IMAGE, "source": {"type": "url", "url": "https://a.example"}},
            "source.type",
            "expected one of base64, got url, which is never fetched",
        ),
        ({**IMAGE, "source": {"type": "file", "file_id": "f"}}, "source.type", "got file"),
        (
            {**IMAGE, "source": {**IMAGE["source"], "media_type": "application/pdf"}},  # type: ignore[dict-item]
            "source.media_type",
            "expected one of image/jpeg, image/png, image/gif, image/webp, got application/pdf",
        ),
        ({**IMAGE, "transformations": {}}, "transformations", "an unknown field"),
        (
            {**IMAGE, "source": {**IMAGE["source"], "data": "no base64!"}},  # type: ignore[dict-item]
            "source.data",
            "expected bytes in base64, got text of 9 characters",
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://a.example"}},
            "source.type",
            "expected one of base64, text, content, got url, which is never fetched",
        ),
        ({**IMAGE, "type": "document"}, "source.media_type", "got image/png"),
        (
            {"type": "document", "source": {"type": "text", "data": ""}},
            "source.data",
            "expected text, got empty text",
        ),
        (
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "video/mp4", "data": PNG},
            },
            "source.media_type",
            "got video/mp4",
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [IMAGE]}},
            "source.content[0].type",
            "expected one of text, got image",
        ),
        ({**CALL, "input": "{}"}, "input", "expected an object, got text of 2 characters"),
        ({**CALL, "caller": {"type": "code"}}, "caller.type", "expected one of direct, got code"),
        ({**CALL, "id": ""}, "id", "expected text of 1 to 64 characters, got empty text"),
        ({**RESULT, "content": [CALL]}, "content[0].type", "got tool_use"),
        ({**RESULT, "is_error": "yes"}, "is_error", "expected true or false"),
        (
            {"type": "text", "text": "a", "citations": [{"type": "new"}]},
            "citations[0].type",
            "got new",
        ),
        (
            {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
            "citations[0].document_index",
            "expected a whole number of at least 0, got nothing",
        ),
    ],
)
def test_a_block_that_converse_has_not_is_refused(block: Any, field: str, said: str) -> None:
    """By its place and its name, so that its sender finds it."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}, block]}]
    error = _refusal(messages=messages, tools=[TOOL])
    assert error.field == f"messages[0].content[1].{field}"
    assert said in error.message


def test_what_a_model_has_not_is_refused() -> None:
    """Other models' choices are not known, so they are not silently dropped."""
    assert _refusal(LLAMA, top_k=5).field == "top_k"
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert _refusal(LLAMA, thinking=thinking, max_tokens=2000).field == "thinking.type"
    assert _beside_hi(LLAMA, thinking={"type": "disabled"}) == {}


def test_to_count_needs_no_limit() -> None:
    """Where tokens are only counted, nobody limits an answer; a budget to think with has no limit to keep to."""
    asked = {**ASKED, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    del asked["max_tokens"]
    request = to_converse(Fields(asked), NOVA, to_count=True)
    assert request["messages"] == [HI]
    assert "inferenceConfig" not in request


@given(st.dictionaries(st.sampled_from([*ASKED, "system", "tools", "thinking", "metadata"]), JSON))
def test_any_nonsense_is_refused_by_name(nonsense: dict[str, Any]) -> None:
    """Whatever JSON comes is a request or a 400: never an exception of another kind."""
    try:
        to_converse(Fields({**ASKED, **nonsense}), NOVA)
    except RequestError as error:
        assert error.status == 400  # noqa: PT017  # nonsense may also be a request

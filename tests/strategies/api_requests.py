"""Requests to every route, drawn at random: whole ones as clients write them, and some that are almost right."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hypothesis import strategies as st

from tests.strategies.mutants import mutants, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hypothesis.strategies import DrawFn

_PNG = "iVBORw0KGgo="
_PDF = "JVBERi0xLjQ="
_IMAGE_URL = f"data:image/png;base64,{_PNG}"
_PDF_URL = f"data:application/pdf;name=a.pdf;base64,{_PDF}"
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_SEALED = b64encode(b'{"text":"hm","signature":"c2ln","redacted":["AAEC"]}').decode()

_CHAT_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": _SCHEMA, "strict": True},
}
_CHAT_CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"city": "Bern"}'},
}
_CHAT: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "hi"}]},
    {
        "model": "a-model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Really."}]},
            {
                "role": "user",
                "name": None,
                "content": [
                    {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": _IMAGE_URL, "detail": "low"}},
                    {"type": "file", "file": {"file_data": _PDF_URL, "filename": "a.pdf"}},
                    {"type": "file", "file": {"file_data": _PDF, "filename": "a.pdf"}},
                    {"type": "input_audio", "input_audio": {"data": "AAEC", "format": "wav"}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "so"}, {"type": "refusal", "refusal": "no"}],
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"index": 0, "type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "AAE=AgM="},
                ],
                "tool_calls": [_CHAT_CALL],
                "annotations": [],
            },
            {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": "sunny"},
        ],
        "tools": [_CHAT_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a", "b"],
        "n": 1,
        "metadata": {"team": "blue"},
        "user": "u1",
        "service_tier": "flex",
        "seed": None,
    },
    {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5000,
        "reasoning_effort": "medium",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": _SCHEMA, "strict": True},
        },
        "tools": [{**_CHAT_TOOL, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "stop": "x",
        "modalities": ["text"],
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
    },
]

_RESPONSES_TOOL = {"type": "function", "name": "f", "parameters": _SCHEMA, "strict": None}
_RESPONSES: list[dict[str, Any]] = [
    {"input": "hi"},
    {
        "model": "a-model",
        "instructions": "Be brief.",
        "input": [
            {"role": "developer", "content": "Really."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "hi"},
                    {"type": "input_image", "image_url": _IMAGE_URL, "detail": "auto"},
                    {"type": "input_file", "file_data": _PDF_URL, "filename": "a.pdf"},
                    {"type": "input_audio", "input_audio": {"data": "AAEC", "format": "mp3"}},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": _SEALED,
                "status": "completed",
            },
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "so", "annotations": []}],
            },
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "call_1",
                "name": "f",
                "arguments": '{"city": "Bern"}',
                "status": "completed",
            },
            {
                "type": "function_call_output",
                "call_id": "call_1",
                "output": [{"type": "input_text", "text": "sunny"}],
            },
        ],
        "tools": [_RESPONSES_TOOL],
        "tool_choice": {"type": "function", "name": "f"},
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "metadata": {"team": "blue"},
        "safety_identifier": "u1",
        "truncation": "disabled",
    },
    {
        "input": [{"role": "user", "content": "hi"}],
        "max_output_tokens": 5000,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": _SCHEMA, "strict": True},
            "verbosity": "medium",
        },
        "tools": [_RESPONSES_TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "service_tier": "priority",
    },
]

_ANTHROPIC_TOOL = {"name": "f", "description": "d", "input_schema": _SCHEMA}
_ANTHROPIC: list[dict[str, Any]] = [
    {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
    {
        "model": "a-model",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hi"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": _PNG},
                    },
                    {
                        "type": "document",
                        "title": "A",
                        "context": "of",
                        "citations": {"enabled": True},
                        "source": {"type": "base64", "media_type": "application/pdf", "data": _PDF},
                    },
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
                    },
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [{"type": "text", "text": "x"}]},
                    },
                    {
                        "type": "search_result",
                        "source": "s",
                        "title": "t",
                        "content": [{"type": "text", "text": "x"}],
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "AAEC"},
                    {
                        "type": "text",
                        "text": "so",
                        "citations": [
                            {
                                "type": "page_location",
                                "cited_text": "x",
                                "document_index": 0,
                                "document_title": "A",
                                "start_page_number": 1,
                                "end_page_number": 2,
                            },
                            {
                                "type": "web_search_result_location",
                                "cited_text": "",
                                "url": "https://a.example/",
                                "title": None,
                                "encrypted_index": "",
                            },
                        ],
                    },
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Bern"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "is_error": False,
                        "content": [{"type": "text", "text": "sunny"}],
                    }
                ],
            },
        ],
        "tools": [_ANTHROPIC_TOOL],
        "tool_choice": {"type": "tool", "name": "f"},
        "stream": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["a"],
        "metadata": {"user_id": "u1"},
        "service_tier": "auto",
    },
    {
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": "hi"}],
        "system": "Be brief.",
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": _SCHEMA}},
        "tools": [{**_ANTHROPIC_TOOL, "type": "custom", "strict": True}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": False},
        "anthropic_beta": ["a-preview-2025-01-01"],
        "mcp_servers": [],
    },
]

_UI: list[dict[str, Any]] = [
    {"messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
    {
        "id": "chat-1",
        "trigger": "submit-message",
        "messageId": "1",
        "system": "Be brief.",
        "messages": [
            {"id": "0", "role": "system", "parts": [{"type": "text", "text": "Really."}]},
            {
                "id": "1",
                "role": "user",
                "metadata": {"a": 1},
                "parts": [
                    {
                        "type": "text",
                        "text": "hi",
                        "providerMetadata": {"bedrock": {"cachePoint": {"type": "default"}}},
                    },
                    {"type": "file", "mediaType": "image/png", "url": _IMAGE_URL},
                    {
                        "type": "file",
                        "mediaType": "application/pdf",
                        "filename": "a.pdf",
                        "url": _PDF_URL,
                        "providerMetadata": {"bedrock": {"citations": {"enabled": True}}},
                    },
                ],
            },
            {
                "id": "2",
                "role": "assistant",
                "parts": [
                    {"type": "step-start"},
                    {
                        "type": "reasoning",
                        "text": "hm",
                        "providerMetadata": {
                            "bedrock": {"signature": "c2ln", "redactedContent": "AAEC"}
                        },
                    },
                    {"type": "text", "text": "so", "state": "done"},
                    {
                        "type": "tool-f",
                        "toolCallId": "t1",
                        "state": "output-available",
                        "input": {"city": "Bern"},
                        "output": {"weather": "sunny"},
                    },
                    {
                        "type": "dynamic-tool",
                        "toolName": "f",
                        "toolCallId": "t2",
                        "state": "output-error",
                        "input": None,
                        "errorText": "no",
                    },
                    {
                        "type": "tool-g",
                        "toolCallId": "t3",
                        "state": "output-available",
                        "providerExecuted": True,
                        "resultProviderMetadata": {"bedrock": {"type": "g_result"}},
                        "input": {},
                        "output": [{"text": "found"}, {"json": {"hits": 1}}],
                    },
                    {
                        "type": "tool-f",
                        "toolCallId": "t4",
                        "state": "approval-responded",
                        "input": {},
                        "approval": {"id": "a", "approved": False, "reason": "no"},
                    },
                    {"type": "source-url", "sourceId": "s", "url": "https://a.example/"},
                    {"type": "data-x", "data": {}},
                    {"type": "step-start"},
                    {"type": "text", "text": "then"},
                ],
            },
            {"id": "3", "role": "user", "parts": [{"type": "text", "text": "go on"}]},
        ],
        "tools": {
            "f": {"description": "d", "inputSchema": {"jsonSchema": _SCHEMA}},
            "g": {"inputSchema": _SCHEMA, "type": "function", "strict": True},
        },
        "toolChoice": {"type": "tool", "toolName": "f"},
        "maxOutputTokens": 50,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["a"],
    },
    {
        "messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}],
        "maxOutputTokens": 5000,
        "reasoning": "low",
        "tools": {"f": {}},
        "toolChoice": "required",
    },
]

_CONVERSE: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": "hi"},
                    {"image": {"format": "png", "source": {"bytes": _PNG}}},
                    {"hologram": {"depth": 3}},
                ],
            }
        ],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 50, "temperature": 0.5},
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": _SCHEMA}}}]},
        "additionalModelRequestFields": {"top_k": 5},
        "ofTomorrow": [1, 2.5, None],
    },
]
_COUNT_TOKENS: list[dict[str, Any]] = [
    {"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}}},
    {"input": {"invokeModel": {"body": "e30="}}},
]
_INVOKE: list[dict[str, Any]] = [
    {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, **_ANTHROPIC[0]},
    {"inferenceConfig": {"maxTokens": 50}, **_CONVERSE[0]},
]
BODIES: Mapping[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/responses": _RESPONSES,
    "/v1/messages": _ANTHROPIC,
    "/v1/messages/count_tokens": _ANTHROPIC,
    "/ui/chat": _UI,
    "/model/{}/converse-stream": _CONVERSE,
    "/model/{}/converse": _CONVERSE,
    "/model/{}/count-tokens": _COUNT_TOKENS,
    "/model/{}/invoke-with-response-stream": _INVOKE,
    "/model/{}/invoke": _INVOKE,
}


def _parts(value: Any) -> Iterator[Any]:
    """Yield a value and all that is in it."""
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        yield from _parts(part)


def _names(value: Any) -> set[str]:
    return {name for part in _parts(value) if isinstance(part, dict) for name in part}


_HEADERS: list[dict[str, str]] = [
    {"content-type": "application/json"},
    {"content-type": "application/json", "anthropic-version": "2023-06-01"},
    {
        "content-type": "application/json",
        "anthropic-beta": "a-preview-2025-01-01, token-counting-2024-11-01,,a-preview-2025-01-01",
        "x-amzn-bedrock-trace": "ENABLED",
    },
]
_ALL = [body for bodies in BODIES.values() for body in bodies]
# What stands anywhere in a request: of the right kind in another place.
_ELSEWHERE = st.sampled_from([part for body in _ALL for part in _parts(body)])
_NOTHING: list[Any] = [None, "", " ", [], {}, [{}], [None], [""], [[]], 0, False, "\ud83e", "ü"]
_EMPTY = st.sampled_from(_NOTHING)
_MEMBERS = st.sampled_from(sorted(_names(_ALL)))


@st.composite
def confused(draw: DrawFn, value: Any) -> Any:
    """Draw a value in which something stands that belongs elsewhere, is empty, or stands there twice."""
    if not isinstance(value, dict | list) or not value or not draw(st.integers(0, 6)):
        return draw(_ELSEWHERE | _EMPTY)
    mutant: Any = value.copy()
    at = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    match draw(st.sampled_from(["within"] * 6 + ["lost", "more"])):
        case "within":
            mutant[at] = draw(confused(value[at]))
        case "lost":
            del mutant[at]
        case _ if isinstance(value, dict):
            mutant[draw(_MEMBERS)] = draw(_ELSEWHERE | _EMPTY)
        case _:
            mutant.insert(at, draw(_ELSEWHERE | st.just(value[at])))
    return mutant


@st.composite
def bodies(draw: DrawFn, path: str) -> Any:
    """Draw the body of a request: a whole one, or one that has gone wrong somewhere, once or a few times."""
    if not draw(st.integers(0, 29)):
        return draw(_ELSEWHERE | _EMPTY)
    body = dict(draw(st.sampled_from(BODIES[path])))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        name = draw(st.sampled_from([*body, *body, *body, ""])) or draw(_MEMBERS)
        within = body.get(name)
        body[name] = draw(confused(within) if draw(st.integers(0, 3)) else mutants(within))
        if not draw(st.integers(0, 9)):
            del body[name]
    return body


@st.composite
def api_events(draw: DrawFn, models: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Draw a body, and the event of a function URL that asks one of these models with it."""
    path = draw(st.sampled_from(list(BODIES)))
    body = draw(bodies(path))
    model = draw(st.sampled_from(models))
    if isinstance(body, dict) and "{}" not in path:
        body = {**body, "model": model} if draw(st.integers(0, 5)) else body
    text = draw(spelled(body))
    in_base64 = draw(st.booleans())
    event = {
        "rawPath": path.format(quote(model, safe=draw(st.sampled_from(["", ":/"])))),
        "headers": draw(st.sampled_from(_HEADERS)),
        "requestContext": {"http": {"method": "POST"}},
        "body": b64encode(text.encode()).decode() if in_base64 else text,
        "isBase64Encoded": in_base64,
    }
    return body, event

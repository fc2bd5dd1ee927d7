"""Anthropic's Messages, as they are asked of a model that is not Anthropic's: the request in Converse's terms.

What Converse has no way to say is refused under Anthropic's own name for it. The values of ``cache_control`` become
cache points, which stand after what they are about.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from relay.formats import anthropic_citations
from relay.formats.conversation import (
    Conversation,
    base64_block,
    document_name,
    json_schema_output,
    reasoning,
    text_blocks,
    tool_spec,
)
from relay.formats.fields import Fields
from relay.models import family
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Block: TypeAlias = "dict[str, Any]"
    Reader: TypeAlias = "Callable[[Fields], list[Block]]"

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
# How hard a model is to think that may do so with fewer tokens than these.
_EFFORTS = {4096: "low", 16384: "medium"}
_MOST_STOP_SEQUENCES = 2500
_LONGEST_NAME = 64  # of a tool, and of a call's id
_LONGEST_METADATA = 256
_NOT_IN_METADATA = re.compile(r"[^a-zA-Z0-9\s:_@$#=/+,.-]")


def to_converse(fields: Fields, model: str, *, to_count: bool = False) -> dict[str, Any]:
    """Return a Converse request.

    Args:
        fields: the body.
        model: the id of the model that is to answer.
        to_count: whether only the tokens of the request are counted, so that it need not limit those of an answer.

    Raises:
        RequestError: it is none of Anthropic's, or asks for what Bedrock cannot do.
    """
    conversation = _conversation(fields)
    max_tokens = fields.integer("max_tokens", 1)
    if max_tokens is None and not to_count:
        raise invalid("max_tokens", "a whole number of at least 1", "nothing")
    request = {
        **conversation.request(),
        "inferenceConfig": _inference(fields, max_tokens),
        "toolConfig": _tool_config(fields, needed=conversation.speaks_of_tools),
        "outputConfig": _output_config(fields),
        "requestMetadata": _metadata(fields),
        "additionalModelRequestFields": {
            **_top_k(fields, model),
            **_thinking(fields, model, max_tokens),
        },
    }
    # Names of previews switch on what is asked for by other members, or what only Anthropic's own models can do.
    fields.ignore("model", "anthropic_version", "anthropic_beta", "betas")
    # What only Anthropic itself can do.
    for member in ("container", "context_management", "inference_geo"):
        fields.only(member)
    fields.only("mcp_servers", [])
    fields.choice("service_tier", "auto", "standard_only")
    fields.choice("speed", "standard")
    fields.end()
    return {name: value for name, value in request.items() if value}


def _conversation(fields: Fields) -> Conversation:
    conversation = Conversation()
    conversation.system += _content(fields.take("system"), "system", _TEXT)
    for message in fields.objects("messages"):
        role = _word(message, "role", "user", "assistant", "system")
        kinds = _TEXT if role == "system" else _BLOCKS
        content = message.need("content", "text or a list of blocks")
        conversation.add(role, _content(content, message.name("content"), kinds))
        message.end()
    if not conversation.messages:
        raise invalid("messages", "a list of at least one message", "none that says anything")
    conversation.messages[-1]["content"] += _cache_point(fields)
    return conversation


def _content(value: Any, path: str, kinds: Mapping[str, Reader]) -> list[Block]:
    """Return Converse's blocks for what is text, a list of blocks of some kinds, or nothing."""
    if isinstance(value, str):
        return text_blocks(value)
    if not isinstance(value, list | None):
        raise invalid(path, "text or a list of blocks", describe(value))
    return [
        block
        for number, item in enumerate(value or [])
        for block in _block(Fields(item, f"{path}[{number}]"), kinds)
    ]


def _block(block: Fields, kinds: Mapping[str, Reader]) -> list[Block]:
    content = kinds[_word(block, "type", *kinds)](block)
    point = _cache_point(block)
    block.end()
    return [*content, *point] if content else []


def _cache_point(fields: Fields) -> list[Block]:
    asked = fields.object("cache_control")
    if asked is None:
        return []
    _word(asked, "type", "ephemeral")
    ttl = asked.choice("ttl", "5m", "1h")
    asked.end()
    return [{"cachePoint": {"type": "default", **({"ttl": ttl} if ttl else {})}}]


def _text(block: Fields) -> list[Block]:
    text = block.need_text("text")
    citations = [anthropic_citations.to_converse(c) for c in block.objects("citations")]
    content = text_blocks(text)
    if citations and content:
        return [{"citationsContent": {"content": content, "citations": citations}}]
    return content


def _image(block: Fields) -> list[Block]:
    source, _ = _source(block, "base64")
    media_type = _word(source, "media_type", *_IMAGES)
    image = base64_block(media_type, source.need_text("data"), source.name("data"))
    source.end()
    return [image]


def _document(block: Fields) -> list[Block]:
    source, kind = _source(block, "base64", "text", "content")
    document = _SOURCES[kind](source)
    source.end()
    document["name"] = document_name(block.text("title") or "")
    context = block.text("context")
    if context:
        document["context"] = context
    return [{"document": {**document, **_cited(block)}}]


def _base64_source(source: Fields) -> Block:
    media_type = source.need_text("media_type").lower()
    block = base64_block(media_type, source.need_text("data"), source.path)
    if "document" not in block:
        raise invalid(source.name("media_type"), "a document's", media_type[:100])
    document: Block = block["document"]
    return document


def _text_source(source: Fields) -> Block:
    source.choice("media_type", "text/plain")
    text = source.need_text("data")
    if not text:
        raise invalid(source.name("data"), "text", describe(text))
    return {
        "format": "txt",
        "source": {"bytes": b64encode(text.encode(errors="replace")).decode()},
    }


def _content_source(source: Fields) -> Block:
    content = source.need("content", "text or a list of blocks")
    return {"source": {"content": _content(content, source.name("content"), _TEXT)}}


_SOURCES: Mapping[str, Callable[[Fields], Block]] = {
    "base64": _base64_source,
    "text": _text_source,
    "content": _content_source,
}


def _source(block: Fields, *kinds: str) -> tuple[Fields, str]:
    source = block.need_object("source")
    kind = source.need_text("type")
    if kind not in kinds:
        never = ", which is never fetched" if kind == "url" else ""
        got = f"{kind[:100]}{never}"
        raise invalid(source.name("type"), f"one of {', '.join(kinds)}", got)
    return source, kind


def _cited(block: Fields) -> dict[str, Any]:
    citations = block.object("citations")
    if citations is None:
        return {}
    enabled = citations.flag("enabled")
    citations.end()
    return {} if enabled is None else {"citations": {"enabled": enabled}}


def _search_result(block: Fields) -> list[Block]:
    content = block.need("content", "a list of blocks")
    result = {
        "source": block.need_text("source"),
        "title": block.need_text("title"),
        "content": _content(content, block.name("content"), _TEXT),
        **_cited(block),
    }
    return [{"searchResult": result}]


def _tool_use(block: Fields) -> list[Block]:
    value = block.need("input", "an object")
    if not isinstance(value, dict):
        raise invalid(block.name("input"), "an object", describe(value))
    caller = block.object("caller")
    if caller is not None:
        _word(caller, "type", "direct")
        caller.end()
    call = {"toolUseId": _name(block, "id"), "name": _name(block, "name"), "input": value}
    return [{"toolUse": call}]


def _tool_result(block: Fields) -> list[Block]:
    inner = _content(block.take("content"), block.name("content"), _RESULTS)
    result = {
        "toolUseId": _name(block, "tool_use_id"),
        "content": [piece for piece in inner if "cachePoint" not in piece],
        **({"status": "error"} if block.flag("is_error") else {}),
    }
    # Within a result Converse has no place for a cache point; the next one is after it.
    return [{"toolResult": result}, *[piece for piece in inner if "cachePoint" in piece][-1:]]


def _thought(block: Fields) -> list[Block]:
    thought = {"text": block.need_text("thinking")}
    signature = block.text("signature")
    if signature:
        thought["signature"] = signature
    return [{"reasoningContent": {"reasoningText": thought}}]


def _redacted(block: Fields) -> list[Block]:
    return [{"reasoningContent": {"redactedContent": block.need_text("data")}}]


_TEXT: Mapping[str, Reader] = {"text": _text}
_RESULTS: Mapping[str, Reader] = {
    **_TEXT,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}
_BLOCKS: Mapping[str, Reader] = {
    **_RESULTS,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thought,
    "redacted_thinking": _redacted,
}


def _inference(fields: Fields, max_tokens: int | None) -> dict[str, Any]:
    stops = fields.items("stop_sequences")
    if len(stops) > _MOST_STOP_SEQUENCES:
        expected = f"at most {_MOST_STOP_SEQUENCES}"
        raise invalid("stop_sequences", expected, str(len(stops)))
    for number, stop in enumerate(stops):
        if not isinstance(stop, str) or not stop:
            raise invalid(f"stop_sequences[{number}]", "text", describe(stop))
    asked = {
        "maxTokens": max_tokens,
        "temperature": fields.number("temperature", 0, 1),
        "topP": fields.number("top_p", 0, 1),
        "stopSequences": stops or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _top_k(fields: Fields, model: str) -> dict[str, Any]:
    if family(model) != "amazon.nova":
        fields.only("top_k")
        return {}
    top_k = fields.integer("top_k", 0, 128)
    return {} if top_k is None else {"inferenceConfig": {"topK": top_k}}


def _thinking(fields: Fields, model: str, max_tokens: int | None) -> dict[str, Any]:
    thinking = fields.object("thinking")
    if thinking is None:
        return {}
    kind = _word(thinking, "type", "enabled", "adaptive", "disabled")
    effort = {"adaptive": "medium", "disabled": "none"}.get(kind)
    if effort is None:
        thinking_tokens = thinking.integer("budget_tokens", 1024) or 0
        if not 0 < thinking_tokens < (max_tokens or thinking_tokens + 1):
            got = describe(thinking_tokens) if thinking_tokens else "nothing"
            raise invalid(
                thinking.name("budget_tokens"), "at least 1024, fewer than max_tokens", got
            )
        effort = next((e for most, e in _EFFORTS.items() if thinking_tokens < most), "high")
    thinking.choice("display", "summarized")
    thinking.end()
    if effort == "none":
        return {}
    if family(model) == "amazon.nova" and effort == "high":
        effort = (
            "medium"  # at its highest Nova takes no limit on tokens, and these requests have one
        )
    return reasoning(model, effort, max_tokens, thinking.name("type"), kind)


def _tool_config(fields: Fields, *, needed: bool) -> dict[str, Any]:
    tools = [piece for tool in fields.objects("tools") for piece in _tool(tool)]
    if needed and not tools:
        raise invalid("tools", "the tools that the messages tell of", "none")
    choice = fields.object("tool_choice")
    if choice is None:
        return {"tools": tools} if tools else {}
    kind = _word(choice, "type", "auto", "any", "tool", "none")
    chosen = {"name": _name(choice, "name")} if kind == "tool" else {}
    choice.only("disable_parallel_tool_use", False)
    choice.end()
    if kind == "none" and needed:
        expected = (
            "one of auto, any, tool, for Bedrock has to know the tools that the messages tell of"
        )
        raise invalid(choice.name("type"), expected, kind)
    if not tools and kind in {"any", "tool"}:
        raise invalid("tools", "tools to choose from", "none")
    return {"tools": tools, "toolChoice": {kind: chosen}} if tools and kind != "none" else {}


def _tool(tool: Fields) -> list[Block]:
    kind = tool.text("type")
    if kind not in {None, "custom"}:
        expected = "custom, for Anthropic's own tools come with its own models alone"
        raise invalid(tool.name("type"), expected, str(kind)[:100])
    schema = tool.need("input_schema", "a JSON Schema")
    if not isinstance(schema, dict):
        raise invalid(tool.name("input_schema"), "a JSON Schema", describe(schema))
    spec = tool_spec(
        _name(tool, "name"), tool.text("description"), schema, strict=tool.flag("strict")
    )
    tool.ignore("eager_input_streaming")  # about the pace of the pieces
    tool.only("defer_loading", False)
    tool.only("allowed_callers", ["direct"])
    tool.only("input_examples", [])
    point = _cache_point(tool)
    tool.end()
    return [spec, *point]


def _output_config(fields: Fields) -> dict[str, Any]:
    config, wanted = fields.object("output_config"), fields.object("output_format")
    output: dict[str, Any] = {}
    if config is not None:
        effort = config.choice("effort", "low", "medium", "high", "xhigh", "max")
        output |= {} if effort is None else {"effort": effort}
        in_config = config.object("format")
        config.end()
        if in_config is not None and wanted is not None:
            raise invalid("output_format", "nothing beside output_config.format", "an object")
        wanted = in_config or wanted
    if wanted is not None:
        _word(wanted, "type", "json_schema")
        output |= json_schema_output("answer", None, wanted.need("schema", "a JSON Schema"))
        wanted.end()
    return output


def _metadata(fields: Fields) -> dict[str, str]:
    metadata = fields.object("metadata")
    if metadata is None:
        return {}
    user = metadata.text("user_id")
    metadata.end()
    if user is None:
        return {}
    if len(user) > _LONGEST_METADATA:
        expected = f"text of at most {_LONGEST_METADATA} characters"
        raise invalid(metadata.name("user_id"), expected, describe(user))
    # Some clients put JSON into it, whose braces Bedrock does not take. It tells users apart all the same.
    return {"user_id": _NOT_IN_METADATA.sub("_", user)}


def _word(fields: Fields, member: str, *words: str) -> str:
    """Return a member that has to be one of a few words; say which it was, if it is another."""
    word = fields.need_text(member)
    if word not in words:
        raise invalid(fields.name(member), f"one of {', '.join(words)}", word[:100])
    return word


def _name(fields: Fields, member: str) -> str:
    name = fields.need_text(member)
    if not 0 < len(name) <= _LONGEST_NAME:
        expected = f"text of 1 to {_LONGEST_NAME} characters"
        raise invalid(fields.name(member), expected, describe(name))
    return name

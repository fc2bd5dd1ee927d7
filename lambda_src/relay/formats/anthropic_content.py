"""The content of Anthropic's messages, in Converse's terms: every kind of block that Converse can be told.

The values of ``cache_control`` become cache points, which stand after what they are about.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from relay.formats import anthropic_citations
from relay.formats.conversation import (
    DOCUMENTS,
    base64_block,
    base64_data,
    document_name,
    text_blocks,
)
from relay.formats.fields import Fields
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Block: TypeAlias = "dict[str, Any]"
    Reader: TypeAlias = "Callable[[Fields], list[Block]]"

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_LONGEST_NAME = 64  # of a tool, and of a call's id


def content_blocks(value: Any, path: str, kinds: Mapping[str, Reader]) -> list[Block]:
    """Return Converse's blocks for what is text, a list of blocks of some kinds, or nothing.

    Args:
        value: the content.
        path: what the caller knows it by, for messages.
        kinds: those of blocks that may be in it, ``TEXTS`` or ``BLOCKS``.

    Raises:
        RequestError: it is something else.
    """
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
    content = kinds[block.one_of("type", *kinds)](block)
    point = cache_point(block)
    block.end()
    return [*content, *point] if content else []


def cache_point(fields: Fields) -> list[Block]:
    """Return the end of what is worth caching, if it is here."""
    asked = fields.object("cache_control")
    if asked is None:
        return []
    asked.one_of("type", "ephemeral")
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
    media_type = source.one_of("media_type", *_IMAGES)
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
    media_type = source.one_of("media_type", *DOCUMENTS)
    block = base64_block(media_type, source.need_text("data"), source.name("data"))
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
    return {"source": {"content": content_blocks(content, source.name("content"), TEXTS)}}


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
        "content": content_blocks(content, block.name("content"), TEXTS),
        **_cited(block),
    }
    return [{"searchResult": result}]


def _tool_use(block: Fields) -> list[Block]:
    value = block.need("input", "an object")
    if not isinstance(value, dict):
        raise invalid(block.name("input"), "an object", describe(value))
    caller = block.object("caller")
    if caller is not None:
        caller.one_of("type", "direct")
        caller.end()
    call = {"toolUseId": identifier(block, "id"), "name": identifier(block, "name"), "input": value}
    return [{"toolUse": call}]


def _bedrocks_tool_use(block: Fields) -> list[Block]:
    """Take what a tool of Bedrock's own was asked.

    It is not told again: Bedrock takes no call without its result, for which these messages have no place.
    """
    block.need("input", "an object")
    identifier(block, "id")
    identifier(block, "name")
    return []


def _tool_result(block: Fields) -> list[Block]:
    inner = content_blocks(block.take("content"), block.name("content"), _RESULTS)
    result = {
        "toolUseId": identifier(block, "tool_use_id"),
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
    redacted = base64_data(block.need_text("data"), block.name("data"))
    return [{"reasoningContent": {"redactedContent": redacted}}]


TEXTS: Mapping[str, Reader] = {"text": _text}
_RESULTS: Mapping[str, Reader] = {
    **TEXTS,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}
BLOCKS: Mapping[str, Reader] = {
    **_RESULTS,
    "tool_use": _tool_use,
    "server_tool_use": _bedrocks_tool_use,
    "tool_result": _tool_result,
    "thinking": _thought,
    "redacted_thinking": _redacted,
}


def identifier(fields: Fields, member: str) -> str:
    """Return a member that is the name of a tool, or a call's id, and has to be there."""
    name = fields.need_text(member)
    if not 0 < len(name) <= _LONGEST_NAME:
        expected = f"text of 1 to {_LONGEST_NAME} characters"
        raise invalid(fields.name(member), expected, describe(name))
    return name

"""The ``input`` of OpenAI's Responses API, in Converse's terms: what was said, and the items of earlier answers.

Reasoning comes back in ``encrypted_content``, which is nothing secret here: base64 of a JSON object with the ``text``,
the ``signature``, and what is ``redacted`` (a list of base64), each only if the model has given it. It has the text
although the item's ``summary`` has it, too, for the signature proves that very text, and clients may change a summary.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from relay import strict_json
from relay.errors import RequestError
from relay.formats.conversation import (
    Conversation,
    base64_block,
    base64_data,
    file_block,
    media_block,
    text_blocks,
    tool_use,
)
from relay.formats.fields import Fields
from relay.formats.openai_request import (
    TOOL_ID,
    TOOL_NAME,
    WANT_SIGNATURES,
    Block,
    cache_point,
)
from relay.models import family
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DETAILS = ("auto", "low", "high", "original")
_TEXTS = ("input_text", "output_text", "refusal")
_PARTS = {
    "system": _TEXTS,
    "developer": _TEXTS,
    "user": (*_TEXTS, "input_image", "input_file", "input_audio"),
    "assistant": _TEXTS,
}
_RESULT_PARTS = (*_TEXTS, "input_image", "input_file")
_ITEMS = (
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "image_generation_call",
)


def read_input(fields: Fields, conversation: Conversation, model: str) -> None:
    """Add what ``input`` says to a conversation.

    Raises:
        RequestError: it is none, or Bedrock cannot be told of something in it.
    """
    said = fields.need("input", "text or a list of items")
    if isinstance(said, str):
        conversation.add("user", text_blocks(said))
    elif isinstance(said, list):
        for number, value in enumerate(said):
            _read_item(Fields(value, f"input[{number}]"), value, conversation, model)
    else:
        raise invalid("input", "text or a list of items", describe(said))
    if not conversation.messages:
        raise invalid("input", "something of the user's that is not blank", "nothing")


def _read_item(
    item: Fields, value: Mapping[str, Any], conversation: Conversation, model: str
) -> None:
    item.ignore("id", "status")
    # Messages may leave their type out, and so may references.
    kind = item.text("type")
    if kind is None:
        kind = "message" if "role" in value else "item_reference"
    match kind:
        case "message":
            _read_message(item, conversation)
        case "reasoning":
            conversation.add("assistant", _thoughts(item, model))
        case "function_call":
            conversation.add("assistant", [_call(item)])
        case "function_call_output":
            conversation.add("user", _result(item))
        case "image_generation_call":
            conversation.add("assistant", _image(item))
        case "item_reference":
            expected = "the item itself, for none is kept here (clients send it with store: false)"
            raise invalid(item.path, expected, "a reference")
        case _:
            expected = f"one of {', '.join(_ITEMS)}"
            raise invalid(item.name("type"), expected, kind[:100])
    item.end()


def _read_message(item: Fields, conversation: Conversation) -> None:
    item.ignore("phase")
    role = item.one_of("role", *_PARTS)
    blocks = _content(item, "content", _PARTS[role])
    if role in {"user", "assistant"}:
        conversation.add(role, blocks)
    else:
        conversation.system += blocks


def _thoughts(item: Fields, model: str) -> list[Block]:
    item.ignore("summary", "content")  # the rest has it, too
    sealed = item.need("encrypted_content", "what came with the reasoning")
    thoughts = _unseal(sealed, model) if isinstance(sealed, str) else None
    if thoughts is None:
        expected = "what came with the reasoning"
        raise invalid(item.name("encrypted_content"), expected, describe(sealed))
    return thoughts


def seal(text: str, signature: str, redacted: Sequence[str]) -> str:
    """Return the ``encrypted_content`` of reasoning."""
    said = {"text": text, "signature": signature, "redacted": redacted}
    given = {name: value for name, value in said.items() if value}
    return b64encode(json.dumps(given, separators=(",", ":")).encode()).decode()


def _unseal(sealed: str, model: str) -> list[Block] | None:
    """Return the blocks of reasoning whose ``encrypted_content`` this is; none, if it is none."""
    try:
        said = Fields(strict_json.parse(b64decode(sealed, validate=True)))
        text, signature = said.text("text") or "", said.text("signature")
        redacted = b"".join(b64decode(piece, validate=True) for piece in said.items("redacted"))
        said.end()
    except (RequestError, TypeError, ValueError):
        return None
    blocks: list[Block] = []
    if signature:
        blocks.append({"reasoningText": {"text": text, "signature": signature}})
    elif text.strip() and family(model) not in WANT_SIGNATURES:
        blocks.append({"reasoningText": {"text": text}})
    if redacted:
        blocks.append({"redactedContent": b64encode(redacted).decode()})
    return [{"reasoningContent": block} for block in blocks]


def _call(item: Fields) -> Block:
    item.only("async", False)
    item.only("caller", {"type": "direct"})
    item.only("namespace")
    return tool_use(
        item.fitting("call_id", TOOL_ID),
        item.fitting("name", TOOL_NAME),
        item.text("arguments") or "",
        item.name("arguments"),
    )


def _image(item: Fields) -> list[Block]:
    """Return an image that the model has made; none of one that it has not finished."""
    # How OpenAI's own models were asked for it.
    item.ignore("action", "background", "quality", "revised_prompt", "size")
    kind, data = item.choice("output_format", "png", "jpeg", "webp", "gif"), item.text("result")
    return [base64_block(f"image/{kind or 'png'}", data, item.name("result"))] if data else []


def _result(item: Fields) -> list[Block]:
    item.only("caller", {"type": "direct"})
    item.only("namespace")
    item.ignore("name")
    content = _content(item, "output", _RESULT_PARTS)
    result = {
        "toolUseId": item.fitting("call_id", TOOL_ID),
        "content": [block for block in content if "cachePoint" not in block],
    }
    # Within a result there are no cache points, but behind it.
    return [{"toolResult": result}, *[block for block in content if "cachePoint" in block][-1:]]


def _content(item: Fields, member: str, kinds: Sequence[str]) -> list[Block]:
    """Return the blocks of text, or of a list of parts of these kinds."""
    content = item.take(member)
    if isinstance(content, str):
        return text_blocks(content)
    if not isinstance(content, list):
        raise invalid(item.name(member), "text or a list of parts", describe(content))
    blocks: list[Block] = []
    for number, value in enumerate(content):
        part = Fields(value, f"{item.name(member)}[{number}]")
        blocks += _part(part, part.one_of("type", *kinds))
        blocks += cache_point(part)
        part.end()
    return blocks


def _part(part: Fields, kind: str) -> list[Block]:
    match kind:
        case "input_image":
            part.choice("detail", *_DETAILS)
            part.only("file_id")
            return [media_block(part.need_text("image_url"), part.name("image_url"))]
        case "input_file":
            part.choice("detail", *_DETAILS)
            part.only("file_id")
            part.only("file_url")
            name = part.text("filename") or "document"
            return [file_block(part.need_text("file_data"), part.name("file_data"), name)]
        case "input_audio":
            audio = part.need_object("input_audio")
            source = {"bytes": base64_data(audio.need_text("data"), audio.name("data"))}
            block = {"audio": {"format": audio.one_of("format", "mp3", "wav"), "source": source}}
            audio.end()
            return [block]
        case "refusal":
            return text_blocks(part.need_text("refusal"))
        case _:
            part.ignore("annotations", "logprobs", "parsed")
            return text_blocks(part.need_text("text"))

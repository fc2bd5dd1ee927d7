"""The messages of OpenAI's Chat Completions, in Converse's terms."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from relay.formats.conversation import (
    Conversation,
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
    from collections.abc import Callable, Mapping


def read_messages(fields: Fields, model: str) -> Conversation:
    """Return the conversation that ``messages`` are."""
    conversation = Conversation()
    for message in fields.objects("messages"):
        _read_message(message, conversation, model)
    if not conversation.messages:
        raise invalid("messages", "at least one of the user's that is not blank", "none")
    return conversation


def _read_message(message: Fields, conversation: Conversation, model: str) -> None:
    match message.one_of("role", "system", "developer", "user", "assistant", "tool"):
        case "user":
            conversation.add("user", _content(message, _USERS))
        case "assistant":
            conversation.add("assistant", _said_before(message, model))
        case "tool":
            conversation.add("user", _tool_result(message))
        case _:
            conversation.system.extend(_content(message, _SYSTEMS))
    message.end()


def _said_before(message: Fields, model: str) -> list[Block]:
    """Return an answer that comes back, in the order that models want."""
    message.only("audio")
    message.only("function_call")
    message.only("images", [])
    # What says again what stands elsewhere in it, in other clients' words.
    message.ignore("annotations", "parsed", "provider_specific_fields", "reasoning")
    message.ignore("reasoning_details")
    return [
        *_thoughts(message, model),
        *_content(message, _ASSISTANTS, optional=True),
        *text_blocks(message.text("refusal") or ""),
        *(_call(call) for call in message.objects("tool_calls")),
    ]


def _thoughts(message: Fields, model: str) -> list[Block]:
    """Return the reasoning: the blocks, or else the text, which would say the same again."""
    text = message.text("reasoning_content")
    said = list(message.objects("thinking_blocks"))
    if not said:
        return _thought(text or "", None, model)
    return [block for fields in said for block in _thinking_block(fields, model)]


def _thinking_block(fields: Fields, model: str) -> list[Block]:
    fields.ignore("index")
    if fields.one_of("type", "thinking", "redacted_thinking") == "thinking":
        blocks = _thought(fields.text("thinking") or "", fields.text("signature"), model)
    else:
        data = _one_base64(fields.need_text("data"), fields.name("data"))
        blocks = [{"reasoningContent": {"redactedContent": data}}]
    fields.end()
    return blocks


def _thought(text: str, signature: str | None, model: str) -> list[Block]:
    if signature:
        return [{"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}]
    if not text.strip() or family(model) in WANT_SIGNATURES:
        return []
    return [{"reasoningContent": {"reasoningText": {"text": text}}}]


def _one_base64(data: str, field: str) -> str:
    """Return base64 that was added up from pieces, each with an end of its own, as one."""
    ends = re.findall("[^=]+=*", data)
    if len(ends) < 2:
        return base64_data(data, field)
    return b64encode(b"".join(b64decode(base64_data(end, field)) for end in ends)).decode()


def _call(call: Fields) -> Block:
    call.ignore("index")
    call.choice("type", "function")
    function = call.need_object("function")
    function.ignore("parsed_arguments")
    block = tool_use(
        call.fitting("id", TOOL_ID),
        function.fitting("name", TOOL_NAME),
        function.text("arguments") or "",
        function.name("arguments"),
    )
    function.end()
    call.end()
    return block


def _tool_result(message: Fields) -> list[Block]:
    message.ignore("name")
    content = _content(message, _TOOLS)
    result = {
        "toolUseId": message.fitting("tool_call_id", TOOL_ID),
        "content": [block for block in content if "cachePoint" not in block],
    }
    # Within a result there are no cache points, but behind it.
    return [{"toolResult": result}, *[block for block in content if "cachePoint" in block][-1:]]


def _content(
    message: Fields, kinds: Mapping[str, Callable[[Fields], list[Block]]], *, optional: bool = False
) -> list[Block]:
    """Return the blocks of a message's content: text, or a list of parts of these kinds."""
    expected = "text or a list of parts"
    content = message.take("content") if optional else message.need("content", expected)
    if content is None:
        return []
    if isinstance(content, str):
        return text_blocks(content)
    if not isinstance(content, list):
        raise invalid(message.name("content"), expected, describe(content))
    blocks: list[Block] = []
    for number, item in enumerate(content):
        part = Fields(item, f"{message.name('content')}[{number}]")
        blocks += kinds[part.one_of("type", *kinds)](part)
        blocks += cache_point(part)
        part.end()
    return blocks


def _text(part: Fields) -> list[Block]:
    return text_blocks(part.need_text("text"))


def _refusal(part: Fields) -> list[Block]:
    return text_blocks(part.need_text("refusal"))


def _image(part: Fields) -> list[Block]:
    image = part.need_object("image_url")
    image.choice("detail", "auto", "low", "high", "original")
    block = media_block(image.need_text("url"), image.name("url"))
    image.end()
    return [block]


def _file(part: Fields) -> list[Block]:
    file = part.need_object("file")
    file.only("file_id")
    name = file.text("filename") or "document"
    block = file_block(file.need_text("file_data"), file.name("file_data"), name)
    file.end()
    return [block]


def _audio(part: Fields) -> list[Block]:
    audio = part.need_object("input_audio")
    source = {"bytes": base64_data(audio.need_text("data"), audio.name("data"))}
    block = {"audio": {"format": audio.one_of("format", "wav", "mp3"), "source": source}}
    audio.end()
    return [block]


_SYSTEMS = {"text": _text}
_USERS = {"text": _text, "image_url": _image, "file": _file, "input_audio": _audio}
_ASSISTANTS = {"text": _text, "refusal": _refusal}
_TOOLS = {"text": _text, "image_url": _image, "file": _file}

"""What OpenAI's Responses API asks of a model, in Converse's terms.

Nothing is kept between requests: what would need it, from ``previous_response_id`` to ``store: true``, is refused, and
callers send the whole conversation as ``input``, the items of earlier answers among it. Taken, though they change
nothing about the answer, are hints on cost and load (an image's ``detail``, ``prompt_cache_key`` and its kin) and what
only says again what stands elsewhere in an item that comes back (its ``id``, ``status``, ``annotations``, …).

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
    base64_data,
    file_block,
    json_schema_output,
    media_block,
    reasoning,
    text_blocks,
    tool_spec,
    tool_use,
)
from relay.formats.fields import Fields
from relay.formats.openai_request import (
    EFFORTS,
    TOOL_ID,
    TOOL_NAME,
    WANT_SIGNATURES,
    Block,
    Calling,
    cache_point,
    fitting,
    metadata,
    one_of,
    service_tier,
    take_hints,
)
from relay.models import family
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What needs a memory, or what Bedrock has no word for, with the values that ask for nothing.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "access_programs": (),
    "background": (False,),
    "background_options": (),
    "context_management": ([],),
    "conversation": (),
    "image": (),
    "max_tool_calls": (),
    "moderation": (),
    "previous_response_id": (),
    "prompt": (),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
_SUMMARIES = ("auto", "concise", "detailed")
_DETAILS = ("auto", "low", "high", "original")
_TEXTS = ("input_text", "output_text", "refusal")
_PARTS = {
    "system": _TEXTS,
    "developer": _TEXTS,
    "user": (*_TEXTS, "input_image", "input_file", "input_audio"),
    "assistant": _TEXTS,
}
_RESULT_PARTS = (*_TEXTS, "input_image", "input_file")
# What an answer repeats of its request, with what it says where the request says nothing.
_REPEATED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": None,
    "store": False,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


def converse_request(body: Mapping[str, Any], model: str) -> tuple[Block, bool]:
    """Return Converse's request, and whether the answer is to be streamed.

    Raises:
        RequestError: Bedrock has no way to honour a part of it.
    """
    fields = Fields(body)
    conversation = Conversation()
    conversation.system += text_blocks(fields.text("instructions") or "")
    _read_input(fields, conversation, model)
    tokens = fields.integer("max_output_tokens", 1)
    inference = {
        "maxTokens": tokens,
        "temperature": fields.number("temperature", 0, 1),
        "topP": fields.number("top_p", 0, 1),
    }
    thinking = _reasoning(fields, model, tokens)
    config, calling = _tools(fields, model, spoken_of=conversation.speaks_of_tools)
    asked = {
        "inferenceConfig": {name: value for name, value in inference.items() if value is not None},
        "toolConfig": config,
        "outputConfig": _output(fields),
        "requestMetadata": metadata(fields),
        "serviceTier": service_tier(fields),
        "additionalModelRequestFields": {**thinking, **calling},
    }
    streams = bool(fields.flag("stream"))
    _take_the_rest(fields)
    request = conversation.request() | {name: value for name, value in asked.items() if value}
    return request, streams


def repeated(body: Mapping[str, Any], model: str) -> Block:
    """Return what an answer says of its request, which has been read."""
    said = _without_null(body)
    return {
        "model": said.get("model", model),
        **{name: said.get(name, value) for name, value in _REPEATED.items()},
        "reasoning": {"effort": None, "summary": None, **said.get("reasoning", {})},
        "text": {
            "format": {"type": "text"},
            "verbosity": "medium",
            **_without_null(said.get("text", {})),
        },
    }


def _without_null(value: Mapping[str, Any]) -> Block:
    return {name: member for name, member in value.items() if member is not None}


def _take_the_rest(fields: Fields) -> None:
    """Take what changes nothing, and refuse it where it would."""
    fields.ignore("model")
    take_hints(fields)
    store = fields.flag("store")
    if store:
        raise invalid("store", "false or nothing, for no answer is kept here", "true")
    for member, values in _ONLY.items():
        fields.only(member, *values)
    options = fields.object("stream_options")
    if options is not None:
        options.only("include_obfuscation", False)
        options.end()
    for number, wanted in enumerate(fields.items("include")):
        if wanted != "reasoning.encrypted_content":  # it is always there
            got = wanted[:100] if isinstance(wanted, str) else describe(wanted)
            raise invalid(f"include[{number}]", "reasoning.encrypted_content", got)
    fields.end()


# The conversation


def _read_input(fields: Fields, conversation: Conversation, model: str) -> None:
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
        case "item_reference":
            expected = "the item itself, for none is kept here (clients send it with store: false)"
            raise invalid(item.path, expected, "a reference")
        case _:
            expected = "one of message, reasoning, function_call, function_call_output"
            raise invalid(item.name("type"), expected, kind[:100])
    item.end()


def _read_message(item: Fields, conversation: Conversation) -> None:
    item.ignore("phase")
    role = one_of(item, "role", *_PARTS)
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
        fitting(item, "call_id", TOOL_ID),
        fitting(item, "name", TOOL_NAME),
        item.text("arguments") or "",
        item.name("arguments"),
    )


def _result(item: Fields) -> list[Block]:
    item.only("caller", {"type": "direct"})
    item.only("namespace")
    item.ignore("name")
    content = _content(item, "output", _RESULT_PARTS)
    result = {
        "toolUseId": fitting(item, "call_id", TOOL_ID),
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
        blocks += _part(part, one_of(part, "type", *kinds))
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
            block = {"audio": {"format": one_of(audio, "format", "mp3", "wav"), "source": source}}
            audio.end()
            return [block]
        case "refusal":
            return text_blocks(part.need_text("refusal"))
        case _:
            part.ignore("annotations", "logprobs", "parsed")
            return text_blocks(part.need_text("text"))


# Tools


def _tools(fields: Fields, model: str, *, spoken_of: bool) -> tuple[Block, Block]:
    specs = [_tool(tool) for tool in fields.objects("tools")]
    choice = _tool_choice(fields, [spec["toolSpec"]["name"] for spec in specs])
    calling = Calling(specs, choice, one_at_a_time=fields.flag("parallel_tool_calls") is False)
    return calling.in_converses_terms(model, "the input speaks of" if spoken_of else None)


def _tool(tool: Fields) -> Block:
    one_of(tool, "type", "function")
    tool.only("allowed_callers", ["direct"])
    tool.only("async", False)
    tool.only("defer_loading", False)
    tool.only("output_schema")
    parameters = tool.object("parameters")
    spec = tool_spec(
        fitting(tool, "name", TOOL_NAME),
        tool.text("description"),
        None if parameters is None else parameters.rest(),
        strict=tool.flag("strict"),
    )
    tool.end()
    return spec


def _tool_choice(fields: Fields, names: Sequence[str]) -> Block:
    """Return the choice as Anthropic's models have it: Converse has the same three, but no ``none``."""
    said = fields.take("tool_choice")
    words = {None: "auto", "auto": "auto", "none": "none", "required": "any"}
    if said is None or isinstance(said, str):
        if said not in words:
            raise invalid("tool_choice", "none, auto, required or a function", describe(said))
        return {"type": words[said]}
    choice = Fields(said, "tool_choice")
    one_of(choice, "type", "function")
    name = choice.need_text("name")
    if name not in names:
        raise invalid("tool_choice.name", "the name of one of the tools", "another")
    choice.end()
    return {"type": "tool", "name": name}


# The rest


def _reasoning(fields: Fields, model: str, tokens: int | None) -> Block:
    wanted = fields.object("reasoning")
    if wanted is None:
        return {}
    effort = wanted.choice("effort", *EFFORTS)
    # What Bedrock tells of the reasoning is told, however long it is.
    wanted.choice("summary", *_SUMMARIES)
    wanted.choice("generate_summary", *_SUMMARIES)
    wanted.only("context", "auto")
    wanted.only("mode", "standard")
    wanted.end()
    return reasoning(model, effort, tokens, "reasoning.effort") if effort else {}


def _output(fields: Fields) -> Block | None:
    """Return how the answer is to be formed."""
    text = fields.object("text")
    if text is None:
        return None
    text.choice("verbosity", "medium")
    form = text.object("format")
    text.end()
    if form is None:
        return None
    output = None
    if one_of(form, "type", "text", "json_schema") == "json_schema":
        form.flag("strict")  # the answer fits in any case
        output = json_schema_output(
            form.need_text("name"), form.text("description"), form.need_object("schema").rest()
        )
    form.end()
    return output

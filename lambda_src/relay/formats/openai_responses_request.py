"""What OpenAI's Responses API asks of a model, in Converse's terms.

Nothing is kept between requests: what would need it, from ``previous_response_id`` to ``store: true``, is refused, and
callers send the whole conversation as ``input``, the items of earlier answers among it. Taken, though they change
nothing about the answer, are hints on cost and load (an image's ``detail``, ``prompt_cache_key`` and its kin) and what
only says again what stands elsewhere in an item that comes back (its ``id``, ``status``, ``annotations``, …).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.formats.conversation import (
    Conversation,
    json_schema_output,
    reasoning,
    text_blocks,
    tool_spec,
)
from relay.formats.fields import Fields
from relay.formats.openai_request import (
    EFFORTS,
    TOOL_NAME,
    Block,
    Calling,
    metadata,
    service_tier,
    take_hints,
)
from relay.formats.openai_responses_input import read_input
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
    read_input(fields, conversation, model)
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


# Tools


def _tools(fields: Fields, model: str, *, spoken_of: bool) -> tuple[Block, Block]:
    specs = [_tool(tool) for tool in fields.objects("tools")]
    choice = _tool_choice(fields, [spec["toolSpec"]["name"] for spec in specs])
    calling = Calling(specs, choice, one_at_a_time=fields.flag("parallel_tool_calls") is False)
    return calling.in_converses_terms(model, "the input speaks of" if spoken_of else None)


def _tool(tool: Fields) -> Block:
    tool.one_of("type", "function")
    tool.only("allowed_callers", ["direct"])
    tool.only("async", False)
    tool.only("defer_loading", False)
    tool.only("output_schema")
    parameters = tool.object("parameters")
    spec = tool_spec(
        tool.fitting("name", TOOL_NAME),
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
    choice.one_of("type", "function")
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
    if form.one_of("type", "text", "json_schema") == "json_schema":
        form.flag("strict")  # the answer fits in any case
        output = json_schema_output(
            form.need_text("name"), form.text("description"), form.need_object("schema").rest()
        )
    form.end()
    return output

"""What OpenAI's Chat Completions asks of a model, in Converse's terms: all of the body but the form of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.formats.conversation import json_schema_output, reasoning, tool_spec
from relay.formats.fields import Fields
from relay.formats.openai_chat_messages import read_messages
from relay.formats.openai_request import (
    EFFORTS,
    TOOL_NAME,
    Block,
    Calling,
    cache_point,
    metadata,
    service_tier,
    take_hints,
)
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

# What else asks for nothing: OpenAI's defaults. Anything but these is beyond Bedrock.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0, 0.0),
    "function_call": (),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "moderation": (),
    "n": (1,),
    "prediction": (),
    "presence_penalty": (0, 0.0),
    "seed": (),
    "store": (False,),
    "top_logprobs": (0,),
    "web_search_options": (),
}
_MOST_STOPS = 4


def converse_request(fields: Fields, model: str) -> dict[str, Any]:
    """Return Converse's request; every member that asks something of the model is taken.

    Raises:
        RequestError: Bedrock has no way to honour one of them.
    """
    conversation = read_messages(fields, model)
    tokens = _max_tokens(fields)
    effort = fields.choice("reasoning_effort", *EFFORTS)
    thinking = reasoning(model, effort, tokens, "reasoning_effort") if effort else {}
    inference = {
        "maxTokens": tokens,
        "temperature": fields.number("temperature", 0, 1),
        "topP": fields.number("top_p", 0, 1),
        "stopSequences": _stop(fields),
    }
    config, calling = _tools(fields, model, spoken_of=conversation.speaks_of_tools)
    asked = {
        "inferenceConfig": {name: value for name, value in inference.items() if value is not None},
        "toolConfig": config,
        "outputConfig": _output(fields),
        "requestMetadata": metadata(fields),
        "serviceTier": service_tier(fields),
        "additionalModelRequestFields": {**thinking, **calling},
    }
    _take_the_rest(fields)
    return conversation.request() | {name: value for name, value in asked.items() if value}


def _take_the_rest(fields: Fields) -> None:
    """Take what changes nothing, and refuse it where it would."""
    take_hints(fields)
    for member, values in _ONLY.items():
        fields.only(member, *values)
    fields.choice("verbosity", "medium")
    modalities = fields.take("modalities")
    if modalities not in (None, ["text"]):
        raise invalid("modalities", 'only "text", or nothing', describe(modalities))


def _max_tokens(fields: Fields) -> int | None:
    old = fields.integer("max_tokens", 1)
    new = fields.integer("max_completion_tokens", 1)
    if old is not None and new is not None and old != new:
        raise invalid("max_tokens", "the same as max_completion_tokens, or nothing", describe(old))
    return old if new is None else new


def _stop(fields: Fields) -> list[str] | None:
    said = fields.take("stop")
    if said is None:
        return None
    sequences = [said] if isinstance(said, str) else said
    if (
        not isinstance(sequences, list)
        or len(sequences) > _MOST_STOPS
        or not all(isinstance(sequence, str) and sequence for sequence in sequences)
    ):
        expected = f"text that is not empty, or a list of up to {_MOST_STOPS}"
        raise invalid("stop", expected, describe(said))
    return sequences or None


def _output(fields: Fields) -> Block | None:
    """Return how the answer is to be formed."""
    form = fields.object("response_format")
    if form is None:
        return None
    kind = form.one_of("type", "text", "json_schema")
    output = None
    if kind == "json_schema":
        schema = form.need_object("json_schema")
        schema.flag("strict")  # the answer fits in any case
        output = json_schema_output(
            schema.need_text("name"),
            schema.text("description"),
            schema.need_object("schema").rest(),
        )
        schema.end()
    form.end()
    return output


def _tools(fields: Fields, model: str, *, spoken_of: bool) -> tuple[Block, Block]:
    blocks = [block for tool in fields.objects("tools") for block in _tool(tool)]
    choice = _tool_choice(fields, blocks)
    calling = Calling(blocks, choice, one_at_a_time=fields.flag("parallel_tool_calls") is False)
    return calling.in_converses_terms(model, "the messages speak of" if spoken_of else None)


def _tool(tool: Fields) -> list[Block]:
    tool.one_of("type", "function")
    function = tool.need_object("function")
    parameters = function.object("parameters")
    spec = tool_spec(
        function.fitting("name", TOOL_NAME),
        function.text("description"),
        None if parameters is None else parameters.rest(),
        strict=function.flag("strict"),
    )
    function.end()
    blocks = [spec, *cache_point(tool)]
    tool.end()
    return blocks


def _tool_choice(fields: Fields, tools: list[Block]) -> Block:
    """Return the choice as Anthropic's models have it: Converse has the same three, but no ``none``."""
    said = fields.take("tool_choice")
    words = {None: "auto", "auto": "auto", "none": "none", "required": "any"}
    if said is None or isinstance(said, str):
        if said not in words:
            raise invalid("tool_choice", "none, auto, required or a function", describe(said))
        return {"type": words[said]}
    choice = Fields(said, "tool_choice")
    choice.one_of("type", "function")
    function = choice.need_object("function")
    name = function.need_text("name")
    if name not in {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}:
        raise invalid(function.name("name"), "the name of one of the tools", describe(name))
    function.end()
    choice.end()
    return {"type": "tool", "name": name}

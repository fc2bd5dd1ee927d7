"""What OpenAI's Chat Completions asks of a model, in Converse's terms: all of the body but the form of the answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from relay.formats.conversation import json_schema_output, reasoning, tool_spec
from relay.formats.fields import Fields
from relay.formats.openai_chat_messages import (
    TOOL_NAME,
    Block,
    cache_point,
    fitting,
    one_of,
    read_messages,
)
from relay.models import family
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What else asks for nothing: OpenAI's defaults. Anything but these is beyond Bedrock.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0, 0.0),
    "function_call": (),
    "functions": (),
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
_HINTS = ("prompt_cache_key", "prompt_cache_retention")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TIERS = {
    "auto": None,
    "default": "default",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",  # OpenAI's other name for it
}
_MOST_STOPS = 4
_MOST_METADATA = 16
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}", re.ASCII)


def converse_request(fields: Fields, model: str) -> dict[str, Any]:
    """Return Converse's request; every member that asks something of the model is taken.

    Raises:
        RequestError: Bedrock has no way to honour one of them.
    """
    conversation = read_messages(fields, model)
    tokens = _max_tokens(fields)
    effort = fields.choice("reasoning_effort", *_EFFORTS)
    thinking = reasoning(model, effort, tokens, "reasoning_effort") if effort else {}
    inference = {
        "maxTokens": tokens,
        "temperature": fields.number("temperature", 0, 1),
        "topP": fields.number("top_p", 0, 1),
        "stopSequences": _stop(fields),
    }
    config, calling = _tools(fields, model, spoken_of=conversation.speaks_of_tools)
    tier = _TIERS[fields.choice("service_tier", *_TIERS) or "auto"]
    asked = {
        "inferenceConfig": {name: value for name, value in inference.items() if value is not None},
        "toolConfig": config,
        "outputConfig": _output(fields),
        "requestMetadata": _metadata(fields),
        "serviceTier": tier and {"type": tier},
        "additionalModelRequestFields": {**thinking, **calling},
    }
    _take_the_rest(fields)
    return conversation.request() | {name: value for name, value in asked.items() if value}


def _take_the_rest(fields: Fields) -> None:
    """Take what changes nothing, and refuse it where it would."""
    fields.ignore(*_HINTS)
    for member, values in _ONLY.items():
        fields.only(member, *values)
    fields.choice("verbosity", "medium")
    modalities = fields.take("modalities")
    if modalities not in (None, ["text"]):
        raise invalid("modalities", 'only "text", or nothing', describe(modalities))
    caching = fields.object("prompt_cache_options")
    if caching is not None:
        caching.choice("mode", "implicit", "explicit")
        caching.choice("ttl", "30m")
        caching.end()


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
    kind = one_of(form, "type", "text", "json_schema")
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


def _metadata(fields: Fields) -> dict[str, str]:
    """Return what the caller wants to find the request by."""
    said = fields.object("metadata")
    found = {} if said is None else {said.name(n): (n, v) for n, v in said.rest().items()}
    found |= {name: (name, fields.text(name)) for name in ("user", "safety_identifier")}
    metadata: dict[str, str] = {}
    for path, (name, value) in found.items():
        if value is None:
            continue
        if not isinstance(value, str) or not _METADATA.fullmatch(value):
            raise invalid(path, f"text that fits {_METADATA.pattern}", describe(value))
        if not name or not _METADATA.fullmatch(name):
            raise invalid(path, f"a name that fits {_METADATA.pattern}", "another")
        if metadata.setdefault(name, value) != value:
            raise invalid(path, f"the same as metadata.{name}, or nothing", describe(value))
    if len(metadata) > _MOST_METADATA:
        expected = f"at most {_MOST_METADATA}, with user and safety_identifier"
        raise invalid("metadata", expected, f"{len(metadata)}")
    return metadata


def _tools(fields: Fields, model: str, *, spoken_of: bool) -> tuple[Block, Block]:
    """Return Converse's ``toolConfig``, and what only the model itself takes.

    Args:
        fields: the request.
        model: the model's id.
        spoken_of: whether a tool has been called in the conversation. Then Bedrock insists on knowing the tools.
    """
    blocks = [block for tool in fields.objects("tools") for block in _tool(tool)]
    choice = _tool_choice(fields, blocks)
    one_at_a_time = fields.flag("parallel_tool_calls") is False
    if not blocks:
        if spoken_of:
            raise invalid("tools", "the tools that the messages speak of", "none")
        if choice["type"] not in {"auto", "none"}:
            raise invalid("tool_choice", "auto or none, for there are no tools", "another")
        return {}, {}
    if choice["type"] == "none":
        if spoken_of:
            expected = "another, for Bedrock cannot forbid tools that the messages speak of"
            raise invalid("tool_choice", expected, "none")
        return {}, {}
    if one_at_a_time:
        return {"tools": blocks}, {"tool_choice": _one_at_a_time(choice, model)}
    chosen = _CHOICES[choice["type"]](choice)
    return {"tools": blocks, **({"toolChoice": chosen} if chosen else {})}, {}


# Not every model takes a choice: the default is left out.
_CHOICES: Mapping[str, Callable[[Block], Block]] = {
    "auto": lambda _: {},
    "any": lambda _: {"any": {}},
    "tool": lambda choice: {"tool": {"name": choice["name"]}},
}


def _one_at_a_time(choice: Block, model: str) -> Block:
    """Return the choice for a model that is to call one tool at most.

    Bedrock hands it on to the model. Beside a ``toolChoice`` of Converse's own it takes it for a contradiction.
    """
    if family(model) != "anthropic":
        expected = "true or nothing, for this model cannot be told to call one tool at a time"
        raise invalid("parallel_tool_calls", expected, "false")
    return {**choice, "disable_parallel_tool_use": True}


def _tool(tool: Fields) -> list[Block]:
    one_of(tool, "type", "function")
    function = tool.need_object("function")
    parameters = function.object("parameters")
    spec = tool_spec(
        fitting(function, "name", TOOL_NAME),
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
    one_of(choice, "type", "function")
    function = choice.need_object("function")
    name = function.need_text("name")
    if name not in {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}:
        raise invalid(function.name("name"), "the name of one of the tools", describe(name))
    function.end()
    choice.end()
    return {"type": "tool", "name": name}

"""Anthropic's Messages, as they are asked of a model that is not Anthropic's: the request in Converse's terms.

What Converse has no way to say is refused under Anthropic's own name for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from relay.formats.anthropic_content import (
    BLOCKS,
    TEXTS,
    cache_point,
    content_blocks,
    identifier,
)
from relay.formats.conversation import Conversation, json_schema_output, reasoning, tool_spec
from relay.models import family
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from relay.formats.anthropic_content import Block
    from relay.formats.fields import Fields

# How hard a model is to think that may do so with fewer tokens than these.
_EFFORTS = {4096: "low", 16384: "medium"}
_MOST_STOP_SEQUENCES = 2500
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
    conversation.system += content_blocks(fields.take("system"), "system", TEXTS)
    for message in fields.objects("messages"):
        role = message.one_of("role", "user", "assistant", "system")
        kinds = TEXTS if role == "system" else BLOCKS
        content = message.need("content", "text or a list of blocks")
        conversation.add(role, content_blocks(content, message.name("content"), kinds))
        message.end()
    if not conversation.messages:
        raise invalid("messages", "a list of at least one message", "none that says anything")
    conversation.messages[-1]["content"] += cache_point(fields)
    return conversation


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
    kind = thinking.one_of("type", "enabled", "adaptive", "disabled")
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
    kind = choice.one_of("type", "auto", "any", "tool", "none")
    chosen = {"name": identifier(choice, "name")} if kind == "tool" else {}
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
        identifier(tool, "name"), tool.text("description"), schema, strict=tool.flag("strict")
    )
    tool.ignore("eager_input_streaming")  # about the pace of the pieces
    tool.only("defer_loading", False)
    tool.only("allowed_callers", ["direct"])
    tool.only("input_examples", [])
    point = cache_point(tool)
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
        wanted.one_of("type", "json_schema")
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

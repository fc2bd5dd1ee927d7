"""The AI SDK's ``useChat`` without a server in between: ``POST /ui/chat`` (fact 64).

It takes what ``DefaultChatTransport`` sends: ``messages``, which ``relay.formats.vercel_ui_messages`` reads, and its
own ``id``, ``trigger`` and ``messageId``, which change nothing here. What a server would add, the transport's ``body``
does, under the names that the AI SDK has for it::

    system            text
    tools             {name: {description, inputSchema}}, the schema in JSON Schema, bare or as jsonSchema() holds it
    toolChoice        "auto", "required", "none" or {"type": "tool", "toolName": name}
    maxOutputTokens, temperature, topP, stopSequences
    reasoning         "provider-default", "none", "minimal", "low", "medium", "high", "xhigh" or "max"

The answer is made by ``relay.formats.vercel_ui_stream``. An error before the first byte is Rivulet's own JSON, which
``useChat`` gives as its error's message, with the status.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from relay.formats import plain_errors
from relay.formats.conversation import reasoning, text_blocks, tool_spec
from relay.formats.fields import Fields
from relay.formats.format import Api, Asked, Format, Refusal
from relay.formats.vercel_ui_messages import TOOL_NAME, Messages, listed
from relay.formats.vercel_ui_stream import encode
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.errors import RelayError
    from relay.formats.conversation import Conversation

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "x-vercel-ai-ui-message-stream": "v1",
}
_HEARTBEAT = b": ping\n\n"
_MOST_SEQUENCES = 2500  # that Bedrock stops at
# Not every model takes a choice: the default is left out.
_TOOL_CHOICES: Mapping[str, dict[str, Any] | None] = {
    "auto": {},
    "required": {"any": {}},
    "none": None,
}
# How hard the AI SDK can ask a model to think, and the nearest that there is here.
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _read(body: Mapping[str, Any], model: str, _headers: Mapping[str, str]) -> Asked:
    fields = Fields(body)
    fields.ignore("model", "id", "trigger", "messageId")
    messages = Messages(listed(fields, "messages"))
    conversation = messages.conversation
    if not conversation.messages:
        raise invalid("messages", "something for the model", "nothing that is")
    conversation.system[:0] = text_blocks(fields.text("system") or "")
    max_tokens = fields.integer("maxOutputTokens", 1)
    asked = {
        **conversation.request(),
        "inferenceConfig": _inference(fields, max_tokens),
        "toolConfig": _tools(fields, conversation),
        "additionalModelRequestFields": _effort(fields, model, max_tokens),
    }
    fields.end()
    answer = partial(encode, documents=messages.documents, is_new=messages.last_role == "user")
    return Asked(
        "ConverseStream",
        {name: value for name, value in asked.items() if value},
        Format(_HEADERS, answer, _HEARTBEAT),
    )


def _inference(fields: Fields, max_tokens: int | None) -> dict[str, Any]:
    sequences = fields.items("stopSequences")
    if len(sequences) > _MOST_SEQUENCES:
        raise invalid("stopSequences", f"at most {_MOST_SEQUENCES}", describe(sequences))
    for number, sequence in enumerate(sequences):
        if not isinstance(sequence, str) or not sequence:
            raise invalid(f"stopSequences[{number}]", "text", describe(sequence))
    asked = {
        "maxTokens": max_tokens,
        "temperature": fields.number("temperature", 0, 1),
        "topP": fields.number("topP", 0, 1),
        "stopSequences": sequences or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _effort(fields: Fields, model: str, max_tokens: int | None) -> dict[str, Any]:
    effort = fields.choice("reasoning", "provider-default", *_EFFORTS)
    if effort is None or effort == "provider-default":
        return {}
    return reasoning(model, effort, max_tokens, "reasoning")


def _tools(fields: Fields, conversation: Conversation) -> dict[str, Any]:
    tools = fields.object("tools")
    specs = [
        _tool(name, Fields(tool, f"tools.{name}"))
        for name, tool in (tools.rest() if tools else {}).items()
    ]
    choice = _tool_choice(fields.take("toolChoice"))
    called = conversation.speaks_of_tools
    if choice is None:
        if called:
            got = "none, which Bedrock has no way to honour once a tool has been called"
            raise invalid("toolChoice", "auto, required or a tool", got)
        return {}
    if not specs:
        if called or choice:
            raise invalid("tools", "the tools that are called, or are to be", "none")
        return {}
    return {"tools": specs} | ({"toolChoice": choice} if choice else {})


def _tool(name: str, tool: Fields) -> dict[str, Any]:
    if not TOOL_NAME.fullmatch(name):
        raise invalid(tool.path, f"a name that fits {TOOL_NAME.pattern}", describe(name))
    schema = tool.object("inputSchema")
    in_json = dict(schema.rest()) if schema else {}
    if in_json.keys() == {"jsonSchema"}:
        in_json = dict(Fields(in_json["jsonSchema"], tool.name("inputSchema.jsonSchema")).rest())
    description, strict = tool.text("description"), tool.flag("strict")
    tool.only("type", "function", "dynamic")
    tool.ignore("title", "outputSchema", "metadata")  # these are the screen's
    tool.end()
    return tool_spec(name, description, in_json, strict=strict)


def _tool_choice(choice: Any) -> dict[str, Any] | None:
    """Return Converse's choice; an empty one where the model is to choose, ``None`` where it may call nothing."""
    if isinstance(choice, dict):
        tool = Fields(choice, "toolChoice")
        tool.only("type", "tool")
        name = tool.fitting("toolName", TOOL_NAME)
        tool.end()
        return {"tool": {"name": name}}
    if choice is not None and (not isinstance(choice, str) or choice not in _TOOL_CHOICES):
        expected = "one of auto, required, none, or an object with a toolName"
        raise invalid("toolChoice", expected, describe(choice))
    return _TOOL_CHOICES[choice or "auto"]


def _refuse(error: RelayError, request_id: str, counted: Mapping[str, Any]) -> Refusal:
    headers = {"x-should-retry": "true" if error.retryable else "false"}
    return Refusal(headers, plain_errors.refuse(error, request_id, counted).body)


API = Api(read=_read, refuse=_refuse, max_tokens="maxOutputTokens")

"""What a request asks of the stand-in: one `Prompt`, whichever of Bedrock's schemas it came in.

Converse and Amazon Nova share a schema; Anthropic's Messages has its own. What is wrong with a request is a
`BedrockError` in Bedrock's own words, as far as they are known; fields that the stand-in does not use are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REASONING_FIELDS = ("thinking", "reasoning_config", "reasoningConfig")


class BedrockError(Exception):
    """An error that Bedrock answers before the stream.

    Attributes:
        status: the HTTP status.
        code: such as ``ValidationException``.
        message: what is wrong.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that may be called.

    Attributes:
        name: its name.
        schema: the JSON Schema of its input.
    """

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked.

    Attributes:
        text: of the last message.
        everything: all text of the request, for counting its tokens.
        tool_result: the text of the tool's result that the last message brings, or ``None``.
        tools: those that may be called.
        tool_choice: a tool's name, ``any`` for whichever, or ``auto``.
        reasoning: whether reasoning is to come before the answer.
        redacted: whether reasoning that nobody may read is to come before it.
        unknown_block: whether a kind of block that nobody has listed is to come before it.
        max_tokens: how many there may be, or ``None``.
        stop_sequences: texts before which the answer ends.
        stop_reason: the one to give whatever the true one is, or ``None``.
        cache_read: how many more tokens of the prompt are read from a cache.
        cache_write: how many more of them are written to it.
    """

    text: str
    everything: str
    tool_result: str | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    reasoning: bool = False
    redacted: bool = False
    unknown_block: bool = False
    max_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    stop_reason: str | None = None
    cache_read: int = 0
    cache_write: int = 0


def from_converse(body: Mapping[str, Any]) -> Prompt:
    """Read the schema of ConverseStream, which is also Amazon Nova's own."""
    messages = _messages(body)
    inference = _mapping(body, "inferenceConfig")
    tool_config = _mapping(body, "toolConfig")
    specifications = [
        tool["toolSpec"] for tool in tool_config.get("tools", ()) if "toolSpec" in tool
    ]
    choice = _mapping(tool_config, "toolChoice")
    extra = {**body, **_mapping(body, "additionalModelRequestFields")}
    last = _blocks(messages[-1]["content"])
    results = [block["toolResult"] for block in last if "toolResult" in block]
    return Prompt(
        text=_join(last),
        everything=_join(
            [
                *_blocks(body.get("system", ())),
                *(b for m in messages for b in _blocks(m["content"])),
            ]
        ),
        tool_result=_join(_blocks(results[0].get("content", ()))) if results else None,
        tools=tuple(Tool(spec["name"], spec["inputSchema"]["json"]) for spec in specifications),
        tool_choice=choice.get("tool", {}).get("name", "any" if "any" in choice else "auto"),
        reasoning=any(_enabled(extra.get(field)) for field in _REASONING_FIELDS),
        max_tokens=_max_tokens(inference, "maxTokens"),
        stop_sequences=tuple(inference.get("stopSequences", ())),
    )


def from_anthropic(body: Mapping[str, Any]) -> Prompt:
    """Read the schema of Anthropic's Messages on Bedrock."""
    for field in ("anthropic_version", "max_tokens"):
        if field not in body:
            raise _invalid(f"{field}: Field required")
    messages = _messages(body)
    choice = _mapping(body, "tool_choice")
    last = _blocks(messages[-1]["content"])
    results = [block for block in last if block.get("type") == "tool_result"]
    return Prompt(
        text=_join(last),
        everything=_join(
            [
                *_blocks(body.get("system", ())),
                *(b for m in messages for b in _blocks(m["content"])),
            ]
        ),
        tool_result=_join(_blocks(results[0].get("content", ()))) if results else None,
        tools=tuple(
            Tool(t["name"], t["input_schema"]) for t in body.get("tools", ()) if "input_schema" in t
        ),
        tool_choice=choice.get("name", choice.get("type", "auto")),
        reasoning=_enabled(body.get("thinking")),
        max_tokens=_max_tokens(body, "max_tokens"),
        stop_sequences=tuple(body.get("stop_sequences", ())),
    )


def _messages(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not message.get("content"):
            raise _invalid(
                f"The content field in the Message object at messages.{index} is empty. Add a ContentBlock "
                "object to the content field and try again."
            )
        for number, block in enumerate(_blocks(message["content"])):
            if isinstance(block.get("text"), str) and not block["text"].strip():
                raise _invalid(
                    f"The text field in the ContentBlock object at messages.{index}.content.{number} is "
                    "blank. Add text to the text field, and try again."
                )
    if messages[0].get("role") != "user":
        raise _invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with "
            "a user message."
        )
    return messages


def _blocks(content: Any) -> Sequence[Mapping[str, Any]]:
    """Return content blocks; Anthropic's schema allows a plain string for one."""
    if isinstance(content, str):
        return [{"text": content}]
    return [block for block in content if isinstance(block, dict)]


def _join(blocks: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(block["text"] for block in blocks if isinstance(block.get("text"), str))


def _mapping(body: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = body.get(field) or {}
    if not isinstance(value, dict):
        raise _invalid(f"{field}: expected an object; got {type(value).__name__}")
    return value


def _enabled(thinking: Any) -> bool:
    return isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"}


def _max_tokens(body: Mapping[str, Any], field: str) -> int | None:
    value = body.get(field)
    if value is not None and (not isinstance(value, int) or value < 1):
        raise _invalid(
            f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: Member "
            "must have value greater than or equal to 1"
        )
    return value


def _invalid(message: str) -> BedrockError:
    return BedrockError(400, "ValidationException", message)

"""What the stand-in answers: a `Prompt` becomes a `Reply`, in blocks of token-sized pieces.

The text is one of the short essays in `essays/`, chosen by the question's words, or an honest echo of the question.
They are worth reading once, and they hold letters of one to four bytes each, so that a stream that splits one shows it.
A tool is called when it is asked for or cannot be avoided, with an input that fits its schema.
"""

from __future__ import annotations

import json
import re
import secrets
from base64 import b64encode
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from local.prompts import Prompt, Tool

_ESSAYS = Path(__file__).parent / "essays"
_REASONING = """\
The question was: “{question}”. A model would now weigh what is asked, what it knows and what it should leave out. A \
stand-in cannot, so it thinks for a line or two, and then it answers."""
_TOOL_CALL = "I'll ask `{name}` for that."
_TOOL_RESULT = """\
The tool has answered: “{result}” — a model would now put that into words of its own. The stand-in only shows that the \
way there and back is open. ✅"""

# Much like a model's own tokens: a word or a part of one, with the space before it; together they are the text.
_TOKEN = re.compile(r"\s*\w{1,8}|\s*[^\w\s]|\s+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Text:
    """A block of text."""

    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A block of reasoning, and the signature that proves it."""

    pieces: tuple[str, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool; its pieces are JSON when put together."""

    id: str
    name: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Redacted:
    """A block of reasoning that nobody may read; its pieces are base64."""

    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A block of a kind that nobody has listed."""

    pieces: tuple[str, ...]


Block: TypeAlias = Text | Reasoning | ToolUse | Redacted | Unknown


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer.

    Attributes:
        blocks: what it consists of.
        stop_reason: why it ends.
        stop_sequence: the one that ended it, or ``None``.
        input_tokens: those of the prompt, without those of the cache.
        cache_read: those that were read from the cache.
        cache_write: those that were written to it.
    """

    blocks: tuple[Block, ...]
    stop_reason: str
    stop_sequence: str | None
    input_tokens: int
    cache_read: int = 0
    cache_write: int = 0

    @property
    def output_tokens(self) -> int:
        """The tokens of the answer: one a piece."""
        return sum(len(block.pieces) for block in self.blocks)

    @property
    def total_tokens(self) -> int:
        """All tokens that are paid for."""
        return self.input_tokens + self.cache_read + self.cache_write + self.output_tokens


def tokens(text: str) -> tuple[str, ...]:
    """Cut a text into token-sized pieces."""
    return tuple(_TOKEN.findall(text))


def reply_to(prompt: Prompt) -> Reply:
    """Answer a prompt."""
    blocks = _before(prompt)
    tools = _tools_to_call(prompt)
    stop_sequence = None
    if tools:
        if prompt.tool_choice == "auto":
            names = "` and `".join(tool.name for tool in tools)
            blocks.append(Text(tokens(_TOOL_CALL.format(name=names))))
        for tool in tools:
            value = json.dumps(_example(tool.schema, tool.name, prompt.text), ensure_ascii=False)
            called = f"tooluse_{secrets.token_urlsafe(16)}"
            blocks.append(ToolUse(called, tool.name, tokens(value)))
    else:
        text, stop_sequence = _stopped(_text(prompt), prompt.stop_sequences)
        blocks.append(Text(tokens(text)))
    stop_reason = "tool_use" if tools else "stop_sequence" if stop_sequence else "end_turn"
    whole = Reply(
        tuple(blocks),
        stop_reason,
        stop_sequence,
        len(tokens(prompt.everything)),
        prompt.cache_read,
        prompt.cache_write,
    )
    reply = _limited(whole, prompt.max_tokens)
    return replace(reply, stop_reason=prompt.stop_reason or reply.stop_reason)


def _before(prompt: Prompt) -> list[Block]:
    """Return the blocks that come before the answer proper."""
    blocks: list[Block] = []
    if prompt.unknown_block:
        blocks.append(Unknown(("nobody", " knows")))
    if prompt.redacted:
        blocks.append(Redacted((_random(),)))
    if prompt.reasoning:
        thought = _REASONING.format(question=_shortened(prompt.text))
        blocks.append(Reasoning(tokens(thought), _random()))
    return blocks


def _random() -> str:
    """Return what means nothing to anybody but the model, in base64."""
    return b64encode(secrets.token_bytes(96)).decode()


def _text(prompt: Prompt) -> str:
    if prompt.tool_result is not None:
        return _TOOL_RESULT.format(result=_shortened(prompt.tool_result))
    asked = set(_WORD.findall(prompt.text.lower()))
    words, text = max(_essays(), key=lambda essay: len(asked & essay[0]))
    return text if asked & words else _read("echo").format(question=_shortened(prompt.text))


def _essays() -> Iterable[tuple[set[str], str]]:
    """Yield each essay with the words of the questions that it fits, the most general one last."""
    for name in ("journey", "failure", "cost", "feeling"):
        words, _, text = _read(name).partition("\n\n")
        yield set(words.removeprefix("for: ").split()), text


def _read(name: str) -> str:
    """Return an essay, its paragraphs no longer broken into lines."""
    paragraphs = (_ESSAYS / f"{name}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.splitlines()) for paragraph in paragraphs)


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:299]}…"


def _stopped(text: str, sequences: Iterable[str]) -> tuple[str, str | None]:
    """Return the text up to the first stop sequence, and that sequence."""
    found = [(text.index(sequence), sequence) for sequence in sequences if sequence in text]
    if not found:
        return text, None
    at, sequence = min(found)
    return text[:at], sequence


def _limited(reply: Reply, max_tokens: int | None) -> Reply:
    """Return the reply with no more tokens than allowed.

    A call of a tool may be the last thing in it, with nothing of its input, as with a model (facts 7 and 8).
    """
    if max_tokens is None or reply.output_tokens <= max_tokens:
        return reply
    blocks: list[Block] = []
    left = max_tokens
    for block in reply.blocks:
        if left > 0 or (left == 0 and isinstance(block, ToolUse)):
            blocks.append(replace(block, pieces=tuple(islice(block.pieces, left))))
            left -= len(block.pieces)
    return replace(reply, blocks=tuple(blocks), stop_reason="max_tokens", stop_sequence=None)


def _tools_to_call(prompt: Prompt) -> Sequence[Tool]:
    """Return the tool that must be called, or those that the question speaks of: each, where it says "tools"."""
    if prompt.tool_result is not None or not prompt.tools:
        return ()
    asked = set(_WORD.findall(prompt.text.lower()))
    if prompt.tool_choice not in {"auto", "any"}:
        return [tool for tool in prompt.tools if tool.name == prompt.tool_choice] or [
            prompt.tools[0]
        ]
    if "tools" in asked:
        return prompt.tools
    for tool in prompt.tools:
        if asked & set(re.findall(r"[a-z]{4,}", tool.name.lower())):
            return [tool]
    return [prompt.tools[0]] if "tool" in asked or prompt.tool_choice == "any" else ()


def _example(schema: Mapping[str, Any], name: str, text: str) -> Any:
    """Return a value that fits a JSON Schema, with names and numbers out of the text."""
    given = [schema[key] for key in ("const", "default") if key in schema] + schema.get("enum", [])
    if given:
        return given[0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        members = schema.get("properties", {})
        return {member: _example(of, member, text) for member, of in members.items()}
    if kind == "array":
        return [_example(schema.get("items", {}), name, text)]
    if kind in {"integer", "number"}:
        return int(next(iter(re.findall(r"\d+", text)), schema.get("minimum", 1)))
    proper_names = re.findall(r"(?<=\s)[^\W\d_a-z][^\W\d_]+", text)
    return {"boolean": True, "null": None}.get(kind, next(iter(proper_names), name))

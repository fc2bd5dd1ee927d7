"""The messages of the AI SDK's ``useChat``, in Converse's terms.

A UI message is what a screen shows: parts of many kinds, of which some are the model's business and others are not. The
model is told ``text``, ``file``, the ``reasoning`` that it has signed, and the tool calls that have a result, step by
step: the results of a step come before what the model said next. Sources, ``data-*`` parts, other providers' ``custom``
parts and ``reasoning-file`` stay on the screen, and so does whatever else a part has: its state, its title, other
providers' metadata. A part of a kind that is not named here is refused.

Under ``bedrock`` in a part's ``providerMetadata`` stands what the AI SDK's own provider for Bedrock has there, too: the
``signature`` or the ``redactedContent`` of reasoning, the ``cachePoint`` after a text or a file, and the ``citations``
that a document is to be good for.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.formats.conversation import Conversation, base64_data, media_block, text_blocks
from relay.formats.fields import Fields
from relay.shapes import describe, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_ON_THE_SCREEN = frozenset({"source-url", "source-document", "custom", "reasoning-file"})
_SAID = ("text", "file")  # by whomever
_TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Document(NamedTuple):
    """A document that the model may cite."""

    media_type: str
    filename: str | None


class Messages:
    """A conversation, read from UI messages.

    Args:
        messages: those of ``useChat``.

    Attributes:
        conversation: the same in Converse's terms.
        documents: those in it, in the order in which Bedrock counts them.
        last_role: who has the last message; an answer to the assistant's own goes on in it.

    Raises:
        RequestError: there is something in them that Bedrock cannot be told.
    """

    def __init__(self, messages: Iterable[Fields]) -> None:
        self.conversation = Conversation()
        self.documents: list[Document] = []
        self.last_role = ""
        for message in messages:
            self.last_role = role = message.need_text("role")
            if role == "system":
                self.conversation.system += self._said(message, ("text",))
            elif role == "user":
                self.conversation.add("user", self._said(message, _SAID))
            elif role == "assistant":
                self._assistant(message)
            else:
                raise invalid(message.name("role"), "one of system, user, assistant", role[:100])

    def _assistant(self, message: Fields) -> None:
        step = _Step(self.conversation)
        for kind, part in _parts(message):
            if kind == "step-start":
                step.end()
            elif kind == "steering-message":  # the user's, in the midst of the assistant's
                step.end()
                self.conversation.add("user", self._said(part, _SAID))
            elif kind == "reasoning":
                step.said += _reasoning(part)
            elif kind == "dynamic-tool":
                step.call(part.fitting("toolName", TOOL_NAME), part)
            elif kind.startswith("tool-"):
                step.call(_tool_name(kind, part), part)
            else:
                known = (*_SAID, "reasoning", "tool-*", "dynamic-tool", "step-start")
                step.said += self._text_or_file(kind, part, known)
        step.end()

    def _said(self, message: Fields, known: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return the blocks of a message in which nothing but texts and files can be."""
        return [
            block
            for kind, part in _parts(message)
            for block in self._text_or_file(kind, part, known)
        ]

    def _text_or_file(
        self, kind: str, part: Fields, known: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        if kind not in known:
            expected = f"one of {', '.join(known)}, or what is for the screen alone"
            raise invalid(part.name("type"), expected, kind[:100])
        options = _bedrocks(part, "providerMetadata")
        is_text = kind == "text"
        blocks = text_blocks(part.need_text("text")) if is_text else [self._file(part, options)]
        cache_point = options.object("cachePoint")
        if cache_point and blocks:
            blocks.append({"cachePoint": _cache_point(cache_point)})
        options.end()
        return blocks

    def _file(self, part: Fields, options: Fields) -> dict[str, Any]:
        filename = part.text("filename")
        block = media_block(part.need_text("url"), part.name("url"), filename or "document")
        if "document" in block:
            citations = options.object("citations")
            if citations and citations.flag("enabled"):
                block["document"]["citations"] = {"enabled": True}
            self.documents.append(Document(part.need_text("mediaType"), filename))
        return block


class _Step:
    """What the model said until it was asked again, and what came of the tool calls in it."""

    def __init__(self, conversation: Conversation) -> None:
        self.said: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []
        self._conversation = conversation

    def call(self, name: str, part: Fields) -> None:
        """Take a tool call with its result.

        One without is left out, whether it waits for its input, its output or somebody's consent: Bedrock takes no call
        that has no result.
        """
        by_bedrock = part.flag("providerExecuted") is True
        result = _result(part, by_bedrock=by_bedrock)
        if result is None:
            return
        tool_id = part.fitting("toolCallId", _TOOL_ID)
        use = {"toolUseId": tool_id, "name": name, "input": _input(part)}
        if by_bedrock:  # in an answer of Bedrock's both are the assistant's
            kind = _bedrocks(part, "resultProviderMetadata").text("type")
            self.said += [
                {"toolUse": {**use, "type": "server_tool_use"}},
                {
                    "toolResult": {
                        "toolUseId": tool_id,
                        **result,
                        **({"type": kind} if kind else {}),
                    }
                },
            ]
        else:
            self.said.append({"toolUse": use})
            self._results.append({"toolResult": {"toolUseId": tool_id, **result}})

    def end(self) -> None:
        """Add the step to the conversation."""
        # Reasoning that led to nothing, since its stream failed or its calls have no results, may not come last.
        while self.said and "reasoningContent" in self.said[-1]:
            self.said.pop()
        self._conversation.add("assistant", self.said)
        self._conversation.add("user", self._results)
        self.said, self._results = [], []


def listed(fields: Fields, member: str) -> Iterator[Fields]:
    """Yield the items of a member that has to be a list of objects."""
    items = fields.need(member, "a list")
    if not isinstance(items, list):
        raise invalid(fields.name(member), "a list", describe(items))
    for number, item in enumerate(items):
        yield Fields(item, f"{fields.name(member)}[{number}]")


def _parts(message: Fields) -> Iterator[tuple[str, Fields]]:
    """Yield the parts of a message and what kind each is of, but for those that are on the screen alone."""
    for part in listed(message, "parts"):
        kind = part.need_text("type")
        if kind not in _ON_THE_SCREEN and not kind.startswith("data-"):
            yield kind, part


def _tool_name(kind: str, part: Fields) -> str:
    name = kind.removeprefix("tool-")
    if not TOOL_NAME.fullmatch(name):
        raise invalid(part.name("type"), f"tool- and what fits {TOOL_NAME.pattern}", kind[:100])
    return name


def _bedrocks(part: Fields, member: str) -> Fields:
    """Return what Bedrock's providers have put into a part's metadata, or are to find there."""
    metadata = part.object(member) or Fields({}, part.name(member))
    return (
        metadata.object("bedrock")
        or metadata.object("amazonBedrock")
        or Fields({}, metadata.name("bedrock"))
    )


def _cache_point(options: Fields) -> dict[str, Any]:
    kind, ttl = options.need_text("type"), options.text("ttl")
    options.end()
    return {"type": kind, "ttl": ttl} if ttl else {"type": kind}


def _reasoning(part: Fields) -> Iterator[dict[str, Any]]:
    """Yield reasoning that is the model's own for sure: without a signature many models refuse it."""
    proof = _bedrocks(part, "providerMetadata")
    signature, redacted = proof.text("signature"), proof.text("redactedContent")
    if signature:
        signed = {"text": part.need_text("text"), "signature": signature}
        yield {"reasoningContent": {"reasoningText": signed}}
    if redacted:
        data = base64_data(redacted, proof.name("redactedContent"))
        yield {"reasoningContent": {"redactedContent": data}}


def _input(part: Fields) -> Mapping[str, Any]:
    value = part.take("input")
    if value is None:
        return {}
    # Bedrock takes objects alone; what was cut short is text. The name is the one that the AI SDK has for it.
    return value if isinstance(value, dict) else {"rawInvalidInput": value}


def _result(part: Fields, *, by_bedrock: bool) -> dict[str, Any] | None:
    """Return what came of a tool call; ``None`` where nothing has."""
    state = part.need_text("state")
    if state == "output-available":
        output = part.take("output")
        if by_bedrock and _is_content(output):
            return {"content": _checked(output, part.name("output"))}
        return {"content": _content(output)}
    if state == "output-error":
        return {"content": text_blocks(part.need_text("errorText")), "status": "error"}
    approval = part.object("approval")
    if state == "output-denied" or (approval and approval.flag("approved") is False):
        reason = (approval and approval.text("reason")) or "The user does not allow this call."
        return {"content": text_blocks(reason), "status": "error"}
    return None


def _is_content(output: Any) -> bool:
    """Tell whether this is what a tool of Bedrock's own answered."""
    return isinstance(output, list) and all(
        isinstance(piece, dict) and piece.keys() in ({"text"}, {"json"}) for piece in output
    )


def _checked(output: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    for number, piece in enumerate(output):
        if "text" in piece and not isinstance(piece["text"], str):
            raise invalid(f"{path}[{number}].text", "text", describe(piece["text"]))
    return output


def _content(output: Any) -> list[dict[str, Any]]:
    if isinstance(output, dict):
        return [{"json": output}]
    return text_blocks(
        output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    )

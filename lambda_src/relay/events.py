"""The vocabulary of a stream: every wire format is made from these events, and nothing else.

The grammar of a stream::

    stream = Start piece* (Done | Failure)  |  Failure

A converse stream's pieces are those of the model's message: text, reasoning, tool calls, citations, images, tool
results, each with the index of the content block it belongs to, and ``BlockEnd`` after a block's last one, which comes
before the end of the stream, whatever that is. An invoke
stream's are ``Chunk``s: documents in the model's own schema. ``Unknown`` carries what Bedrock sends and nobody has
listed here. Where the format is Bedrock's own, all pieces are ``Forwarded``.

What Bedrock says keeps Bedrock's names and values, down to the keys of ``usage``.
"""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.errors import RelayError


@dataclass(frozen=True, slots=True)
class Start:
    """Bedrock has begun to answer.

    Attributes:
        model: the model that answers.
        request_id: the caller's handle on this stream.
        fallback_from: the model that was asked for, where another one stands in for it.
        created: when, in seconds since 1970.
    """

    model: str
    request_id: str
    fallback_from: str | None = None
    created: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's reasoning."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningSignature:
    """What proves that reasoning came from the model; it must be sent back unchanged."""

    index: int
    signature: str


@dataclass(frozen=True, slots=True)
class RedactedReasoning:
    """Reasoning that the provider has encrypted, in base64 (fact 6)."""

    index: int
    data: str


@dataclass(frozen=True, slots=True)
class ToolStart:
    """The model begins to call a tool. ``tool`` is Bedrock's: ``toolUseId``, ``name``, perhaps ``type``."""

    index: int
    tool: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolInput:
    """A piece of a tool call's input: the pieces concatenate to JSON, if nothing cuts them short (fact 7)."""

    index: int
    input: str


@dataclass(frozen=True, slots=True)
class ToolResultStart:
    """A tool that Bedrock runs itself begins to answer. ``result`` is Bedrock's: ``toolUseId``, ``status``."""

    index: int
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A piece of such an answer: a list of ``{"text": …}`` or ``{"json": …}``."""

    index: int
    content: Any


@dataclass(frozen=True, slots=True)
class ImageStart:
    """An image begins."""

    index: int
    format: str


@dataclass(frozen=True, slots=True)
class Image:
    """A piece of an image: Bedrock's ``source`` (its bytes in base64) or ``error``."""

    index: int
    image: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Citation:
    """What a piece of the answer rests on."""

    index: int
    citation: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BlockEnd:
    """A content block is over.

    It is complete unless the stream failed within it, or the model was stopped before a tool call had any input.
    """

    index: int
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Chunk:
    """A document of an invoke stream, or the whole answer of an API that does not stream.

    Attributes:
        document: one JSON document in the model's own schema, as the model wrote it.
        frame: the event stream frame it came in, as it came; empty outside of a stream.
    """

    document: bytes
    frame: bytes = b""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event that Bedrock's service model did not list when this was written: passed on whole.

    Attributes:
        name: its ``:event-type``.
        payload: what it carries, mostly JSON.
        frame: the event stream frame it came in.
    """

    name: str
    payload: bytes
    frame: bytes


@dataclass(slots=True)  # not frozen: that would double what one costs
class Forwarded:
    """An event of any type, for a format that takes Bedrock's frames as they are.

    Attributes:
        name: its ``:event-type``.
        payload: what it carries.
        frame: the event stream frame it came in.
        more: whether the next frame has arrived with it.
    """

    name: str
    payload: bytes
    frame: bytes
    more: bool = False

    @property
    def document(self) -> bytes:
        """What a ``chunk`` brings, in the model's own schema; of any other event, its payload."""
        try:
            return b64decode(json.loads(self.payload)["bytes"])
        except (KeyError, TypeError, ValueError):
            return self.payload


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete.

    Attributes:
        stop_reason: why the model stopped; ``None`` where only the model's own documents say so.
        usage: tokens counted by Bedrock: ``inputTokens``, ``outputTokens``, … (fact 5).
        details: what else Bedrock said at the end: ``metrics``, ``trace``, ``serviceTier``, ….
    """

    stop_reason: str | None
    usage: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer is not complete, and here is why.

    Attributes:
        error: what the caller is told.
        usage: what was counted so far, if anything was. Bedrock counts at the end, so this is a part at best.
        frame: the event stream frame in which Bedrock said so, if it did.
    """

    error: RelayError
    usage: Mapping[str, Any] = field(default_factory=dict)
    frame: bytes | None = None


Event: TypeAlias = (
    Start
    | Text
    | Reasoning
    | ReasoningSignature
    | RedactedReasoning
    | ToolStart
    | ToolInput
    | ToolResultStart
    | ToolResult
    | ImageStart
    | Image
    | Citation
    | BlockEnd
    | Chunk
    | Unknown
    | Forwarded
    | Done
    | Failure
)

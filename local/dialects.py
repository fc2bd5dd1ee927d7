"""One `Reply` in the schemas that Bedrock streams: ConverseStream's events, and the chunks of two model families.

Every dialect is a function from a reply to events, each of which is one frame. An event says how many tokens it brings,
which is 0 or 1, so that the pace knows where to pause. Usage is what was sent, times are what the pace makes of it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from local.answers import Block, Reasoning, Redacted, Reply, Text, ToolUse, Unknown
from local.prompts import BedrockError, Prompt, from_anthropic, from_converse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from local.pace import Pace

    Dialect: TypeAlias = "Callable[[Reply, Pace, str], Iterator[Event]]"
    Reader: TypeAlias = "Callable[[Mapping[str, Any]], Prompt]"

# What Bedrock adds to the last chunk, whatever the model's own schema (fact 12).
INVOCATION_METRICS = "amazon-bedrock-invocationMetrics"

# `us.anthropic.claude-…`, or the same behind an inference profile's or a foundation model's ARN.
_FAMILY = re.compile(r"(?:^|/)(?:[a-z-]+\.)?(amazon\.nova|anthropic)[.-]")
_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:")
_ID = re.compile(r"(?:[a-z-]+\.)?[a-z0-9-]+\.[a-z0-9][a-z0-9.:-]*")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        type: the ConverseStream event, or ``chunk``.
        body: its JSON; of a chunk, the document inside.
        tokens: how many it brings.
    """

    type: str
    body: dict[str, Any]
    tokens: int = 0

    @property
    def name(self) -> str:
        """What its dialect calls it: Anthropic in a member, Amazon Nova by the member that holds it."""
        if self.type != "chunk":
            return self.type
        return str(self.body.get("type") or next(iter(self.body), ""))

    @property
    def delta(self) -> Mapping[str, Any]:
        """The piece of a block that it brings; empty if it brings none."""
        if self.name not in {"contentBlockDelta", "content_block_delta"}:
            return {}
        delta: Mapping[str, Any] = self.body.get(self.name, self.body).get("delta", {})
        return delta

    def with_delta(self, delta: Mapping[str, Any]) -> Event:
        """Return the same with another piece."""
        holder = {**self.body.get(self.name, self.body), "delta": delta}
        return Event(self.type, {self.name: holder} if self.name in self.body else holder)


def check_model_id(model_id: str) -> None:
    """Refuse what cannot name a model."""
    if not _ID.fullmatch(model_id) and not _ARN.match(model_id):
        raise BedrockError(400, "ValidationException", "The provided model identifier is invalid.")


def of_model(model_id: str) -> tuple[Reader, Dialect]:
    """Return how a model's own schema is read and written, for InvokeModelWithResponseStream."""
    return FAMILIES[family_of(model_id)]


def family_of(model_id: str) -> str:
    """Return whose schema a model speaks."""
    match = _FAMILY.search(model_id)
    if match is None:
        raise BedrockError(
            400,
            "ValidationException",
            "the stand-in speaks the schemas of anthropic.* and amazon.nova-* models here, and of every model on "
            f"/converse-stream; got {model_id}",
        )
    return match[1]


def converse(reply: Reply, pace: Pace, model_id: str) -> Iterator[Event]:  # noqa: ARG001  # as every dialect
    """Yield the events of ConverseStream (facts 2 and 3)."""
    yield Event("messageStart", {"role": "assistant"})
    for index, block in enumerate(reply.blocks):
        start = _converse_start(block)
        if start:
            yield Event("contentBlockStart", {"contentBlockIndex": index, "start": start})
        for delta, tokens in _converse_deltas(block):
            yield Event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}, tokens)
        yield Event("contentBlockStop", {"contentBlockIndex": index})
    yield Event("messageStop", {"stopReason": reply.stop_reason})
    usage = {
        "inputTokens": reply.input_tokens,
        "outputTokens": reply.output_tokens,
        "totalTokens": reply.total_tokens,
    }
    if reply.cache_read or reply.cache_write:
        usage |= {
            "cacheReadInputTokens": reply.cache_read,
            "cacheWriteInputTokens": reply.cache_write,
        }
    latency = {"latencyMs": round(pace.seconds(reply.output_tokens) * 1000)}
    yield Event("metadata", {"usage": usage, "metrics": latency})


def nova(reply: Reply, pace: Pace, model_id: str) -> Iterator[Event]:
    """Yield the chunks of Amazon Nova: ConverseStream's events as JSON, with other names for what is counted."""
    for event in converse(reply, pace, model_id):
        body: dict[str, Any] = {event.type: event.body}
        if event.type == "metadata":
            usage = {
                "inputTokens": reply.input_tokens,
                "outputTokens": reply.output_tokens,
                "cacheReadInputTokenCount": reply.cache_read,
                "cacheWriteInputTokenCount": reply.cache_write,
            }
            body = {
                "metadata": {"usage": usage, "metrics": {}, "trace": {}},
                **_metrics(reply, pace),
            }
        yield Event("chunk", body, event.tokens)


def anthropic(reply: Reply, pace: Pace, model_id: str) -> Iterator[Event]:
    """Yield the chunks of Anthropic's Messages (fact 61)."""
    message: dict[str, Any] = {
        "model": model_id.rpartition("anthropic.")[2],
        "id": f"msg_bdrk_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": reply.input_tokens,
            "cache_creation_input_tokens": reply.cache_write,
            "cache_read_input_tokens": reply.cache_read,
            "output_tokens": 1,
        },
    }
    yield Event("chunk", {"type": "message_start", "message": message})
    for index, block in enumerate(reply.blocks):
        start = {
            "type": "content_block_start",
            "index": index,
            "content_block": _anthropic_start(block),
        }
        yield Event("chunk", start)
        for delta, tokens in _anthropic_deltas(block):
            yield Event(
                "chunk", {"type": "content_block_delta", "index": index, "delta": delta}, tokens
            )
        yield Event("chunk", {"type": "content_block_stop", "index": index})
    stop = {"stop_reason": reply.stop_reason, "stop_sequence": reply.stop_sequence}
    usage = {"output_tokens": reply.output_tokens}
    yield Event("chunk", {"type": "message_delta", "delta": stop, "usage": usage})
    yield Event("chunk", {"type": "message_stop", **_metrics(reply, pace)})


FAMILIES: dict[str, tuple[Reader, Dialect]] = {
    "amazon.nova": (from_converse, nova),
    "anthropic": (from_anthropic, anthropic),
}


def _converse_start(block: Block) -> dict[str, Any]:
    match block:
        case ToolUse(id, name, _):
            return {"toolUse": {"toolUseId": id, "name": name}}
        case Unknown():
            return {"futureBlock": {}}
        case Text() | Reasoning() | Redacted():
            return {}


def _converse_deltas(block: Block) -> Iterator[tuple[dict[str, Any], int]]:
    if isinstance(block, ToolUse):
        yield {"toolUse": {"input": ""}}, 0  # as Bedrock begins it (fact 7)
    for piece in block.pieces:
        yield _converse_delta(block, piece), 1
    if isinstance(block, Reasoning):
        yield {"reasoningContent": {"signature": block.signature}}, 0


def _converse_delta(block: Block, piece: str) -> dict[str, Any]:
    match block:
        case Text():
            return {"text": piece}
        case Reasoning():
            return {"reasoningContent": {"text": piece}}
        case ToolUse():
            return {"toolUse": {"input": piece}}
        case Redacted():
            return {"reasoningContent": {"redactedContent": piece}}
        case Unknown():
            return {"futureDelta": {"piece": piece}}


def _anthropic_start(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            return {"type": "text", "text": ""}
        case Reasoning():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case ToolUse(id, name, _):
            return {"type": "tool_use", "id": id, "name": name, "input": {}}
        case Redacted(pieces):
            return {"type": "redacted_thinking", "data": "".join(pieces)}
        case Unknown():
            return {"type": "future_block"}


def _anthropic_deltas(block: Block) -> Iterator[tuple[dict[str, Any], int]]:
    match block:
        case Text(pieces):
            for piece in pieces:
                yield {"type": "text_delta", "text": piece}, 1
        case Reasoning(pieces, signature):
            for piece in pieces:
                yield {"type": "thinking_delta", "thinking": piece}, 1
            yield {"type": "signature_delta", "signature": signature}, 0
        case ToolUse(pieces=pieces):
            yield {"type": "input_json_delta", "partial_json": ""}, 0
            for piece in pieces:
                yield {"type": "input_json_delta", "partial_json": piece}, 1
        case Redacted():
            return  # all of it comes with the start
        case Unknown(pieces):
            for piece in pieces:
                yield {"type": "future_delta", "piece": piece}, 1


def _metrics(reply: Reply, pace: Pace) -> dict[str, Any]:
    """Return what Bedrock adds to the last chunk of any model (fact 12)."""
    metrics = {
        "inputTokenCount": reply.input_tokens,
        "outputTokenCount": reply.output_tokens,
        "invocationLatency": round(pace.seconds(reply.output_tokens) * 1000),
        "firstByteLatency": round(pace.time_to_first_token * 1000),
    }
    if reply.cache_read or reply.cache_write:
        metrics |= {
            "cacheReadInputTokenCount": reply.cache_read,
            "cacheWriteInputTokenCount": reply.cache_write,
        }
    return {INVOCATION_METRICS: metrics}

"""One `Reply` as one document: Converse's, and what two families of models answer InvokeModel."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from local.answers import Block, Reasoning, Redacted, Reply, Text, ToolUse, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.pace import Pace


def converse(reply: Reply, pace: Pace, model_id: str) -> dict[str, Any]:  # noqa: ARG001  # as every document
    """Return Converse's answer."""
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
    content = [_converse_block(block) for block in reply.blocks]
    return {
        "metrics": {"latencyMs": round(pace.seconds(reply.output_tokens) * 1000)},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": reply.stop_reason,
        "usage": usage,
    }


def nova(reply: Reply, pace: Pace, model_id: str) -> dict[str, Any]:
    """Return what Amazon Nova answers InvokeModel: Converse's, with other names for what is counted."""
    answer = converse(reply, pace, model_id)
    usage = {
        "inputTokens": reply.input_tokens,
        "outputTokens": reply.output_tokens,
        "totalTokens": reply.total_tokens,
        "cacheReadInputTokenCount": reply.cache_read,
        "cacheWriteInputTokenCount": reply.cache_write,
    }
    return {"output": answer["output"], "stopReason": answer["stopReason"], "usage": usage}


def anthropic(reply: Reply, pace: Pace, model_id: str) -> dict[str, Any]:  # noqa: ARG001  # as every document
    """Return what an Anthropic model answers InvokeModel: a message."""
    return {
        "model": model_id.rpartition("anthropic.")[2],
        "id": f"msg_bdrk_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "content": [_anthropic_block(block) for block in reply.blocks],
        "stop_reason": reply.stop_reason,
        "stop_sequence": reply.stop_sequence,
        "usage": {
            "input_tokens": reply.input_tokens,
            "cache_creation_input_tokens": reply.cache_write,
            "cache_read_input_tokens": reply.cache_read,
            "output_tokens": reply.output_tokens,
        },
    }


FAMILIES: dict[str, Callable[[Reply, Pace, str], dict[str, Any]]] = {
    "amazon.nova": nova,
    "anthropic": anthropic,
}


def _converse_block(block: Block) -> dict[str, Any]:
    match block:
        case Text(pieces):
            return {"text": "".join(pieces)}
        case Reasoning(pieces, signature):
            told = {"text": "".join(pieces), "signature": signature}
            return {"reasoningContent": {"reasoningText": told}}
        case ToolUse(id, name, _):
            return {"toolUse": {"input": _input(block), "name": name, "toolUseId": id}}
        case Redacted(pieces):
            return {"reasoningContent": {"redactedContent": "".join(pieces)}}
        case Unknown(pieces):
            return {"futureBlock": {"piece": "".join(pieces)}}


def _anthropic_block(block: Block) -> dict[str, Any]:
    match block:
        case Text(pieces):
            return {"type": "text", "text": "".join(pieces)}
        case Reasoning(pieces, signature):
            return {"type": "thinking", "thinking": "".join(pieces), "signature": signature}
        case ToolUse(id, name, _):
            return {"type": "tool_use", "id": id, "name": name, "input": _input(block)}
        case Redacted(pieces):
            return {"type": "redacted_thinking", "data": "".join(pieces)}
        case Unknown(pieces):
            return {"type": "future_block", "piece": "".join(pieces)}


def _input(block: ToolUse) -> Any:
    """Return a call's input; nothing of one that was cut short."""
    try:
        return json.loads("".join(block.pieces))
    except ValueError:
        return {}

"""What Bedrock has counted, in Anthropic's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES: Mapping[str, str] = {
    "input_tokens": "inputTokens",
    "cache_creation_input_tokens": "cacheWriteInputTokens",
    "cache_read_input_tokens": "cacheReadInputTokens",
    "output_tokens": "outputTokens",
}


def usage(counted: Mapping[str, Any]) -> dict[str, Any]:
    """Return Anthropic's ``usage``; what was not counted is 0."""
    return {theirs: counted.get(ours, 0) for theirs, ours in _NAMES.items()}

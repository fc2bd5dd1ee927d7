"""What a stream has counted: tokens, under Converse's names, whoever counts them and wherever they say so."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from relay.errors import model_error
from relay.frame_json import an_object, parse_or_empty

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_METRICS = "amazon-bedrock-invocationMetrics"
# What is in a document that counts something, or reports a failure; others are not parsed.
_TELLING = (b'"usage"', _METRICS.encode(), b'"error"')


def _in_base64(data: bytes) -> Iterator[bytes]:
    """Yield what of base64 is the same wherever these bytes stand in it: there are three ways for them to."""
    for before in range(3):
        encoded = b64encode(bytes(before) + data)
        yield encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


_TELLING_IN_BASE64 = re.compile(
    b"|".join(re.escape(letters) for telling in _TELLING for letters in _in_base64(telling))
)
# InvokeModel without a stream counts in headers.
_USAGE_HEADERS = {
    "x-amzn-bedrock-input-token-count": "inputTokens",
    "x-amzn-bedrock-output-token-count": "outputTokens",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokens",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokens",
}
# InvokeModel counts under other names than Converse (fact 12), and models under their own; callers are told one.
_USAGE_NAMES = {
    "inputTokenCount": "inputTokens",
    "outputTokenCount": "outputTokens",
    "cacheReadInputTokenCount": "cacheReadInputTokens",
    "cacheWriteInputTokenCount": "cacheWriteInputTokens",
}
_MODELS_USAGE_NAMES = {
    **_USAGE_NAMES,
    "inputTokens": "inputTokens",
    "outputTokens": "outputTokens",
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_input_tokens": "cacheReadInputTokens",
    "cache_creation_input_tokens": "cacheWriteInputTokens",
}


def is_telling(document: bytes) -> bool:
    """Tell whether a chunk's document is worth parsing: for what it counts, or for the failure that it reports."""
    return _TELLING[0] in document or _TELLING[1] in document or _TELLING[2] in document


def is_telling_in_base64(payload: bytes) -> bool:
    """Tell the same of a chunk whose document is still in base64."""
    return _TELLING_IN_BASE64.search(payload) is not None


def count_headers(headers: Mapping[str, str], usage: dict[str, Any]) -> None:
    """Take what an answer's headers have counted into the usage."""
    for header, name in _USAGE_HEADERS.items():
        if headers.get(header, "").isdecimal():
            usage[name] = int(headers[header])


def count(document: bytes, usage: dict[str, Any]) -> dict[str, Any] | None:
    """Take what a chunk has counted into the usage; return the rest of Bedrock's own metrics, if they are in it.

    They are in the last chunk. Until then some models say in their own words what they have counted so far.

    Raises:
        UpstreamError: the chunk reports a failure of the model's own.
    """
    body = parse_or_empty(document)
    for said in (body, *(value for value in body.values() if isinstance(value, dict))):
        _take(an_object(said.get("usage")), _MODELS_USAGE_NAMES, usage)
    metrics = body.get(_METRICS)
    if isinstance(metrics, dict):
        usage.clear()  # now it is Bedrock that counts
        _take(metrics, _USAGE_NAMES, usage)
    if body.get("type") == "error":
        raise model_error(an_object(body.get("error")).get("type"))
    if not isinstance(metrics, dict):
        return None
    return {name: value for name, value in metrics.items() if name not in _USAGE_NAMES}


def _take(counts: Mapping[str, Any], names: Mapping[str, str], usage: dict[str, Any]) -> None:
    for theirs, ours in names.items():
        if isinstance(counts.get(theirs), int):
            usage[ours] = counts[theirs]

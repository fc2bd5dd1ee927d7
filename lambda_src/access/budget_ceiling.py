"""The most tokens that a call can cost, told from its request alone.

Text is tokens of at least one byte each, whoever the model's maker, so it is never more tokens than its JSON has bytes.
What is no text has a ceiling of its own: an image costs what its pixels do, and a PDF, a video or a file in S3 may hold
anything, but never more than the model reads at all. Of the output a request names the limit.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.limits import token_limits
from relay.models import behind, family

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.request import ModelCall
    from relay.settings import Settings

# Tokens that a model's maker adds to a prompt, and to one with tools, some of which models know by name alone.
_TEMPLATE = 1_000
_TEMPLATE_FOR_TOOLS = 5_000
# Of one image. Models shrink what is larger than they read: most to some thousands of tokens, Qwen's to this many.
_IMAGE = 16_384
# What models read at most; Llama 4, and what an ARN does not name, may read more.
_CONTEXT = 1_000_000
_LONGEST_CONTEXT = 4_000_000

# What Converse and the models' own schemas call what is no text. Anthropic's calls the member `source`, and tells its
# kind beside it.
_IMAGES = frozenset({"image", "images", "image_url", "inputImage"})
_FILES = frozenset(
    {"audio", "document", "file", "input_audio", "mediaSource", "s3Location", "systemTool", "video"}
)
_TEXT_FORMATS = ("md", "txt")
# What names things of the caller's own, and is text to a model whatever they are called.
_CALLERS_OWN = frozenset({"arguments", "inputSchema", "input_schema", "json", "parameters"})
_TOOLS = frozenset({"tools", "toolConfig"})
_BUDGET = "budget_tokens"  # for thinking: with some betas it comes on top of the limit


class Tokens(NamedTuple):
    """A number of tokens, of a prompt and of its answer."""

    input: int
    output: int


def ceiling(calls: Iterable[ModelCall], settings: Settings) -> Tokens:
    """Return the most tokens that one of these calls can cost.

    Args:
        calls: one request, to each of the models that may answer it.
        settings: the limit on tokens where the request names none, and what the models are.
    """
    first, *others = calls
    limit = settings.max_tokens or 0
    request = _request(first)
    reading = _Reading()
    text = json.dumps(
        reading.text_of(request), ensure_ascii=False, default=_base64, separators=(",", ":")
    )
    has_tools = isinstance(request, dict) and not _TOOLS.isdisjoint(request)
    tokens = len(text.encode(errors="surrogatepass")) + reading.images * _IMAGE
    tokens += _TEMPLATE_FOR_TOOLS if has_tools else _TEMPLATE
    if reading.files:  # however many, they share what the model reads
        tokens += max(_context(behind(call.model, settings)) for call in (first, *others))
    return Tokens(tokens, _most_output(request, limit))


@dataclass(slots=True)
class _Reading:
    """What has been found in a request besides text."""

    images: int = 0
    files: int = 0

    def text_of(self, value: Any) -> Any:
        """Return a value without what is no text, which is counted."""
        if isinstance(value, list):
            return [self.text_of(item) for item in value]
        if isinstance(value, dict):
            return {name: self._member(name, member, value) for name, member in value.items()}
        return value

    def _member(self, name: str, member: Any, block: Mapping[str, Any]) -> Any:
        if name in _CALLERS_OWN or (name == "input" and "name" in block):  # of a tool
            return member
        kind = block.get("type") if name == "source" else None
        if name in _IMAGES or kind == "image":
            self.images += len(member) if isinstance(member, list) else 1
            return None
        if (name in _FILES and not _is_text(member)) or (
            kind == "document" and not _is_anthropics_text(member)
        ):
            self.files += 1
            return None
        return self.text_of(member)


def _is_text(document: Any) -> bool:
    """Tell whether a document of Converse's is nothing but text, or blocks that are looked into."""
    if not isinstance(document, dict):
        return isinstance(document, str)
    source = document.get("source")
    if not isinstance(source, dict):
        return False
    is_plain = document.get("format") in _TEXT_FORMATS and source.keys() == {"bytes"}
    return is_plain or source.keys() in ({"text"}, {"content"})


def _is_anthropics_text(source: Any) -> bool:
    return isinstance(source, dict) and source.get("type") in ("text", "content")


def _request(call: ModelCall) -> Any:
    """Return what a call sends to its model."""
    data = call.parameters.get("body") if call.body is None else call.body
    return call.parameters if data is None else json.loads(data)


def _most_output(request: Any, limit: int) -> int:
    """Return the most tokens that a request lets its model write; what it names was checked against the limit."""
    named = token_limits(request)
    found = [(path, min(n, limit)) for path, n in named if isinstance(n, int) and n > 0]
    answer = max((n for path, n in found if not path.endswith(_BUDGET)), default=limit)
    thinking = max((n for path, n in found if path.endswith(_BUDGET)), default=0)
    return answer + thinking


def _context(model: str) -> int:
    return _CONTEXT if family(model) and "llama4" not in model else _LONGEST_CONTEXT


def _base64(data: bytes) -> str:
    return b64encode(data).decode()

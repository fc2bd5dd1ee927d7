"""The most tokens that a call can cost, told from its request alone.

Text is tokens of at least one byte each, whoever the model's maker, so it is never more tokens than its JSON has bytes,
in whichever of Unicode's forms a model reads it.
What is no text has a ceiling of its own: an image costs what its pixels do, and a PDF, a video or a file in S3 may hold
anything, but never more than the model reads at all. Of the output a request names the limit.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import normalize

from relay.limits import THINKING, is_callers_own, token_limits
from relay.models import behind, family
from relay.shapes import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.model_call import ModelCall
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
    {
        *("audio", "audio_url", "container_upload", "document", "file", "input_audio"),
        *("mediaSource", "s3Location", "systemTool", "video", "video_url"),
    }
)
_TEXT_FORMATS = ("md", "txt")
_TOOLS = frozenset({"tools", "toolConfig"})
# What Anthropic's models then write and read besides is in no limit, and not in what Bedrock counts for the answer.
_CONTEXT_MANAGEMENT = "context_management"


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
    models = [behind(call.model, settings) for call in (first, *others)]
    reading = _Reading()
    tokens = reading.bytes_of(request) + reading.images * _IMAGE
    tokens += _TEMPLATE_FOR_TOOLS if reading.has_tools else _TEMPLATE
    if reading.files:  # however many, they share what the model reads
        tokens += max(map(_context, models))
    # Where an ARN does not tell whose the model is, nobody knows by which name it reads its limit.
    least = 0 if all(map(family, models)) else limit
    return Tokens(tokens, max(_most_output(request, limit), least))


class _Text:
    """A request, or a part of one, that is text whatever is in it."""

    def bytes_of(self, value: Any) -> int:
        """Return how long a value's JSON is, without what is no text."""
        match value:
            case str():
                return _length(value)
            case list():
                return 1 + sum(1 + self.bytes_of(item) for item in value)
            case dict():
                return 1 + sum(
                    2 + _length(name) + self._member(name, member, value)
                    for name, member in value.items()
                )
            case bytes():
                return 2 + -(-len(value) // 3) * 4  # in base64
            case _:
                return len(json.dumps(value))

    def _member(self, _name: str, member: Any, _block: Mapping[str, Any]) -> int:
        return self.bytes_of(member)


class _Reading(_Text):
    """A request.

    Attributes:
        images: how many have been found in it.
        files: how many have.
        has_tools: whether tools have.
    """

    def __init__(self) -> None:
        self.images = 0
        self.files = 0
        self.has_tools = False

    def _member(self, name: str, member: Any, block: Mapping[str, Any]) -> int:
        if is_callers_own(name, block):
            return _Text().bytes_of(member)
        self.has_tools |= name in _TOOLS
        if name == _CONTEXT_MANAGEMENT and "compact" in json.dumps(member, default=str):
            raise invalid(name, "nothing that makes the model write more than it says", "compact")
        kind = block.get("type") if name == "source" else None
        if name in _IMAGES or kind == "image":
            self.images += len(member) if isinstance(member, list) else 1
            return 0
        if (name in _FILES and not _is_text(member)) or (
            kind == "document" and not _is_anthropics_text(member)
        ):
            self.files += 1
            return 0
        return self.bytes_of(member)


def _length(text: str) -> int:
    """Return how many bytes a text has in JSON, in the longest form that a model may make of it."""
    forms = (text,) if text.isascii() else (text, normalize("NFC", text), normalize("NFKC", text))
    return max(len(encode_basestring(form).encode(errors="surrogatepass")) for form in forms)


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
    answer = max((n for path, n in found if not path.endswith(THINKING)), default=limit)
    thinking = max((n for path, n in found if path.endswith(THINKING)), default=0)
    return answer + thinking


def _context(model: str) -> int:
    return _CONTEXT if family(model) and "llama4" not in model else _LONGEST_CONTEXT

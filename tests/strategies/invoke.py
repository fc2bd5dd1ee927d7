"""InvokeModelWithResponseStream's answers, drawn at random: documents of two families of models, and nonsense."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.frames import chunk
from tests.strategies.sent import Sent, damaged, disturbed, unknown
from tests.strategies.values import COUNTS, JSON, NO_JSON, NO_OBJECT, OBJECTS, TEXT, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis.strategies import DrawFn, SearchStrategy

_METRICS = "amazon-bedrock-invocationMetrics"
# What is counted, by the name that callers are told, and its names in: Bedrock's metrics, Anthropic's models, Nova.
_NAMES = {
    "inputTokens": ("inputTokenCount", "input_tokens", "inputTokens"),
    "outputTokens": ("outputTokenCount", "output_tokens", "outputTokens"),
    "cacheReadInputTokens": (
        "cacheReadInputTokenCount",
        "cache_read_input_tokens",
        "cacheReadInputTokenCount",
    ),
    "cacheWriteInputTokens": (
        "cacheWriteInputTokenCount",
        "cache_creation_input_tokens",
        "cacheWriteInputTokenCount",
    ),
}
_USAGE = st.dictionaries(st.sampled_from(list(_NAMES)), COUNTS)


@st.composite
def _chunks(draw: DrawFn, /, document: Any, **means: Any) -> Sent:
    """Draw a chunk with a document of JSON."""
    data = chunk(draw(written(document)), **draw(st.sampled_from([{}, {"p": "abcdef"}])))
    return Sent(data=data, told={"type": "chunk", "chunk": document}, **means)


@st.composite
def _anthropic(draw: DrawFn) -> list[Sent]:
    usage = draw(_USAGE)
    counted = {_NAMES[name][1]: count for name, count in usage.items()}
    documents: list[tuple[dict[str, Any], Mapping[str, int]]] = [
        ({"type": "message_start", "message": {"role": "assistant", "usage": counted}}, usage)
    ]
    documents += [
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}, {})
        for text in draw(st.lists(TEXT, max_size=3))
    ]
    output = draw(COUNTS)
    last = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": output}}
    documents.append((last, {"outputTokens": output}))
    return [draw(_chunks(document, counts=counts)) for document, counts in documents]


@st.composite
def _nova(draw: DrawFn) -> list[Sent]:
    usage = draw(_USAGE)
    counted = {_NAMES[name][2]: count for name, count in usage.items()}
    documents: list[tuple[dict[str, Any], Mapping[str, int]]] = [
        ({"messageStart": {"role": "assistant"}}, {}),
        *(
            ({"contentBlockDelta": {"delta": {"text": text}, "contentBlockIndex": 0}}, {})
            for text in draw(st.lists(TEXT, max_size=3))
        ),
        ({"metadata": {"usage": counted}}, usage),
    ]
    return [draw(_chunks(document, counts=counts)) for document, counts in documents]


@st.composite
def _no_json(draw: DrawFn) -> Sent:
    """Draw a chunk with a document that is anything but JSON."""
    document = draw(NO_JSON | st.just(f'{{"{_METRICS}":{{"inputTokenCount":1}}'.encode()))
    told = {"type": "chunk", "bytes": b64encode(document).decode()}
    return Sent(data=chunk(document), told=told)


def _nonsense() -> SearchStrategy[list[Sent]]:
    """Draw documents of nobody's schema, some with the words that others count under."""
    words = [_METRICS, {"usage": 5}, {"usage": {"input_tokens": "5"}}, {_METRICS: 5}, [_METRICS]]
    documents = JSON | st.sampled_from(words)
    return st.lists(documents.flatmap(_chunks) | _no_json(), max_size=4)


@st.composite
def _last(draw: DrawFn) -> Sent:
    """Draw the chunk that only Bedrock's own metrics make the last one."""
    usage, more = draw(_USAGE), draw(st.dictionaries(st.just("invocationLatency"), COUNTS))
    metrics = {**{_NAMES[name][0]: count for name, count in usage.items()}, **more}
    document = {**draw(OBJECTS), "usage": {"input_tokens": 1}, _METRICS: metrics}
    brings = {"stop": {}, "usage": {"metrics": more}}
    return draw(_chunks(document, counts=usage, recounts=True, brings=brings))


@st.composite
def answers(draw: DrawFn) -> list[Sent]:
    """Draw all that Bedrock sends."""
    pieces = draw(st.one_of(_anthropic(), _nova(), _nonsense()))
    last = [draw(_last())] if draw(st.integers(0, 3)) else []
    no_bytes = st.sampled_from([b"{}", b'{"bytes":5}', b'{"bytes":"no base64!"}'])
    return draw(disturbed([*pieces, *last], unknown(), damaged(["chunk"], NO_OBJECT | no_bytes)))

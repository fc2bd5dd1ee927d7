"""What Bedrock may be said to have sent, drawn at random: its streams with something wrong in them, or no streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from relay.eventstream import encode
from tests.frames import chunk, event, exception
from tests.strategies import converse, invoke
from tests.strategies.mutants import mutants, mutated_frames, repaired

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

# What there is to say, and in which events.
_BODIES: list[tuple[str, Any]] = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "a"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}}),
    ("contentBlockDelta", {"delta": {"reasoningContent": {"text": "a"}}}),
    ("contentBlockDelta", {"delta": {"toolUse": {"input": "{}"}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn", "additionalModelResponseFields": {"a": 1}}),
    ("metadata", {"usage": {"inputTokens": 3}, "metrics": {"latencyMs": 5}, "trace": {}}),
    ("chunk", {"bytes": "e30=", "p": "a"}),
    ("newEvent", {}),
]
_DOCUMENTS: list[Any] = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
    {"metadata": {"usage": {"inputTokens": 3}}, "usage": {"output_tokens": 1}},
    {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "invocationLatency": 9}},
]
_FAILURE: dict[str, Any] = {"message": "a", "originalStatusCode": 500}
_EXCEPTIONS = st.sampled_from(["throttlingException", "validationException"])
_NAMES = st.sampled_from([":message-type", ":event-type", ":exception-type", ":error-code"])
_VALUES = st.sampled_from(["event", "exception", "error", "chunk", "messageStop", "x" * 20_000])
_TEXT = st.text(max_size=60)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def _almost_frames(draw: DrawFn) -> bytes:
    """Draw a whole frame that says something else than it should."""
    match draw(st.sampled_from(["event", "event", "chunk", "exception", "headers"])):
        case "event":
            name, body = draw(st.sampled_from(_BODIES))
            return event(name, _json(draw(mutants(body))))
        case "chunk":
            return chunk(_json(draw(mutants(draw(st.sampled_from(_DOCUMENTS))))))
        case "exception":
            return exception(draw(_EXCEPTIONS | _TEXT), _json(draw(mutants(_FAILURE))))
        case _:
            headers = st.dictionaries(_NAMES | _TEXT, _VALUES | _TEXT, max_size=4)
            return encode(draw(headers), draw(st.binary(max_size=9)))


@st.composite
def _almost_streams(draw: DrawFn) -> bytes:
    """Draw a stream of Bedrock's with frames in it that are not, or no longer, as they should be."""
    real = [sent.data for sent in draw(converse.answers() | invoke.answers())]
    data = list(real)
    for _ in range(draw(st.integers(1, 3))):
        frame = draw(_almost_frames() | st.sampled_from(real or [encode({}, b"")]))
        more = draw(st.just(frame) | mutated_frames(frame) | st.binary(max_size=40))
        data.insert(draw(st.integers(0, len(data))), more)
    return b"".join(data)


@st.composite
def noise(draw: DrawFn) -> bytes:
    """Draw any bytes, most of which a reader of event streams takes for more than that."""
    match draw(st.integers(0, 5)):
        case 0:
            return draw(st.binary(max_size=200))
        case 1:
            return draw(st.binary(min_size=16, max_size=60).map(repaired))
        case _:
            return draw(_almost_streams())

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from relay.errors import UpstreamError, transport_error
from relay.events import Chunk, Done, Forwarded, Unknown
from relay.lanes import invoke_events, invoke_frames
from tests.frames import LAST_CHUNK, METRICS, chunk, event, exception
from tests.unit.relay.lane_reader import START, code_of, failure, invoke, stream

DONE = Done(None, {"inputTokens": 3, "outputTokens": 5}, {"metrics": {"invocationLatency": 9}})
ANTHROPIC = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüße"}},
]


def test_chunks_are_the_models_own_words() -> None:
    """Each chunk is the document as the model wrote it, in the frame as it came, whatever is beside it."""
    data = [chunk(ANTHROPIC[0], p="ab"), chunk(b'{ "a":\n1 }', newField=1)]
    expected = [
        Chunk(json.dumps(ANTHROPIC[0], ensure_ascii=False).encode(), data[0]),
        Chunk(b'{ "a":\n1 }', data[1]),
    ]
    last = json.dumps({"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS})
    assert invoke(*data, LAST_CHUNK) == [
        START,
        *expected,
        Chunk(last.encode(), LAST_CHUNK),
        DONE,
    ]


def test_invoke_counts_are_told_under_converses_names() -> None:
    """All counts of the last chunk, cached ones too, under the names that Converse has for them (fact 12)."""
    metrics = {**METRICS, "cacheReadInputTokenCount": 1, "cacheWriteInputTokenCount": 2, "new": 7}
    (*_, done) = invoke(chunk({"amazon-bedrock-invocationMetrics": metrics}))
    assert done == Done(
        None,
        {
            "inputTokens": 3,
            "outputTokens": 5,
            "cacheReadInputTokens": 1,
            "cacheWriteInputTokens": 2,
        },
        {"metrics": {"invocationLatency": 9, "new": 7}},
    )


READ_IN = {"inputTokens": 11, "cacheReadInputTokens": 7, "cacheWriteInputTokens": 0}


@pytest.mark.parametrize(
    ("documents", "usages"),
    [
        (  # Anthropic's: what goes in is counted at the beginning, what comes out at the end
            [
                {
                    "type": "message_start",
                    "message": {
                        "usage": {
                            "input_tokens": 11,
                            "cache_read_input_tokens": 7,
                            "cache_creation_input_tokens": 0,
                            "output_tokens": 1,
                            "service_tier": "standard",
                        }
                    },
                },
                {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "usage"}},
                {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 40}},
            ],
            [
                {**READ_IN, "outputTokens": 1},
                {**READ_IN, "outputTokens": 1},
                {**READ_IN, "outputTokens": 40},
            ],
        ),
        (  # Amazon Nova's
            [
                {"messageStart": {"role": "assistant"}},
                {
                    "metadata": {
                        "usage": {
                            "inputTokens": 4,
                            "outputTokens": 9,
                            "cacheReadInputTokenCount": 1,
                            "cacheWriteInputTokenCount": 2,
                        },
                        "metrics": {},
                    }
                },
            ],
            [
                {},
                {
                    "inputTokens": 4,
                    "outputTokens": 9,
                    "cacheReadInputTokens": 1,
                    "cacheWriteInputTokens": 2,
                },
            ],
        ),
        ([{"usage": "x"}, {"usage": None}, {"a": [{"usage": {"input_tokens": 1}}]}], [{}, {}, {}]),
        ([{"usage": {"input_tokens": "3", "output_tokens": 1.5, "else": 5}}], [{}]),
        ([b'"usage"', b'["usage"]', b'{"usage"', b'\xff"usage"'], [{}, {}, {}, {}]),
    ],
    ids=["Anthropic", "Nova", "elsewhere", "no counts", "no objects"],
)
def test_what_a_model_counts_itself_is_known_meanwhile(
    documents: list[Any], usages: list[dict[str, int]]
) -> None:
    """Until Bedrock counts, the usage is what the model's own documents said last, and so a failure tells it."""
    usage: dict[str, Any] = {}
    events = invoke_events(stream(tuple(chunk(d) for d in documents)), START, usage)
    assert (next(events), usage) == (START, usages[0])  # what the first frame says is known by then
    for counted in usages:
        assert (type(next(events)), usage) == (Chunk, counted)
    (end,) = events
    assert (code_of(end), failure(end).usage) == ("truncated", usages[-1])


def test_it_is_said_when_nothing_is_missing() -> None:
    """Bedrock's own count is the last of an answer."""
    said: list[str] = []
    list(invoke_events(stream((chunk({}),)), START, {}, lambda: said.append("too early")))
    assert said == []
    list(invoke_events(stream((chunk({}), LAST_CHUNK)), START, {}, lambda: said.append("now")))
    assert said == ["now"]


def test_bedrocks_count_replaces_the_models() -> None:
    """Once Bedrock has counted, nothing is left of what the model said, not even what Bedrock leaves out."""
    said = {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": 1}
    *_, done = invoke(chunk({"usage": said}), LAST_CHUNK)
    assert done == DONE
    beside = {"usage": said, "amazon-bedrock-invocationMetrics": METRICS}
    *_, done = invoke(chunk(beside))
    assert done == DONE


@pytest.mark.parametrize(
    "document",
    [
        b"plain text",
        b"\xff\x00",
        b"",
        b'"amazon-bedrock-invocationMetrics"',
        b'["amazon-bedrock-invocationMetrics"]',
        b'{"amazon-bedrock-invocationMetrics":5}',
        b'{"text":"amazon-bedrock-invocationMetrics"}',
        b'{"text":{"amazon-bedrock-invocationMetrics":{"inputTokenCount":1}}}',
        b'{"amazon-bedrock-invocationMetrics":{}',
        b"[" * 100_000 + b'"amazon-bedrock-invocationMetrics"',
    ],
)
def test_a_document_that_is_no_end_is_passed_on(document: bytes) -> None:
    """Any bytes are a document; only the metrics as the document's own member are the end."""
    data = chunk(document)
    assert invoke(data, LAST_CHUNK)[1] == Chunk(document, data)
    assert code_of(invoke(data)[-1]) == "truncated"


def test_metrics_without_counts_are_the_end_too() -> None:
    """It is the metrics' coming that says the stream is whole, not what they count."""
    (*_, done) = invoke(chunk({"amazon-bedrock-invocationMetrics": {}}))
    assert done == Done(None, {}, {"metrics": {}})


@pytest.mark.parametrize("body", [{}, {"bytes": 5}, {"bytes": "no base64!"}, [], b"x", b""])
def test_a_chunk_without_bytes_is_damage(body: Any) -> None:
    """A chunk that carries no base64 ends the stream as damaged; the first one before it has begun."""
    (end,) = invoke(event("chunk", body), LAST_CHUNK)
    assert code_of(end) == "corrupt"
    *_, end = invoke(chunk(b"{}"), event("chunk", body), LAST_CHUNK)
    assert code_of(end) == "corrupt"


def test_unknown_events_between_chunks_are_passed_on() -> None:
    """An event that the model does not list is not lost."""
    new = event("newEvent", b"\x00")
    assert invoke(new, LAST_CHUNK)[1] == Unknown("newEvent", b"\x00", new)


@pytest.mark.parametrize("error", [None, transport_error("read_timeout")])
def test_an_invoke_stream_without_metrics_is_a_failure(error: UpstreamError | None) -> None:
    """Without the metrics the last chunk has not been seen; after them nothing is missing."""
    assert code_of(invoke(chunk({}), then=error)[-1]) == (error.code if error else "truncated")
    assert code_of(invoke(then=error)[0]) == (error.code if error else "truncated")
    assert invoke(chunk({}), LAST_CHUNK, then=error)[-1] == DONE


def test_an_exception_after_the_metrics_is_told() -> None:
    """What Bedrock itself reports is not hidden, with the usage so far."""
    data = exception("internalServerException", {"message": "x"})
    end = invoke(LAST_CHUNK, data)[-1]
    assert (failure(end).frame, failure(end).usage) == (
        data,
        {"inputTokens": 3, "outputTokens": 5},
    )


def test_base64_is_that_of_the_standard() -> None:
    """Padding and both odd letters are read."""
    document = b"\xfb\xff\xfe"
    assert b64encode(document) == b"+//+"
    assert invoke(event("chunk", {"bytes": "+//+"}))[1] == Chunk(
        document, event("chunk", {"bytes": "+//+"})
    )


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "private"}}


@pytest.mark.parametrize(
    ("said", "code", "status"),
    [
        (OVERLOADED, "service_unavailable", 503),
        ({"type": "error", "error": {"type": "rate_limit_error"}}, "throttling", 429),
        ({"type": "error", "error": {"type": "timeout_error"}}, "model_timeout", 408),
        ({"type": "error", "error": {"type": "api_error"}}, "model_stream_error", 424),
        ({"type": "error", "error": {"type": ["new"]}}, "model_stream_error", 424),
        ({"type": "error", "error": "new"}, "model_stream_error", 424),
        ({"type": "error"}, "model_stream_error", 424),
        (b' { "type" : "error" } ', "model_stream_error", 424),
        (b'{"error":{"type":"overloaded_error"},"type":"error"}', "service_unavailable", 503),
        ({"type": "error", "amazon-bedrock-invocationMetrics": METRICS}, "model_stream_error", 424),
    ],
)
@pytest.mark.parametrize("lane", [invoke_events, invoke_frames])
def test_a_models_own_error_is_the_end(lane: Any, said: Any, code: str, status: int) -> None:
    """It is one failure, under one code, whatever comes after it, and has a status where it is the first."""
    begun = chunk({"type": "message_start"})
    (end,) = lane(stream((chunk(said), LAST_CHUNK)), START, {})
    assert (code_of(end), failure(end).error.status) == (code, status)
    assert "private" not in str(failure(end).error.told())
    _, first, end = lane(stream((begun, chunk(said), LAST_CHUNK)), START, {})
    assert type(first) in {Chunk, Forwarded}
    assert (code_of(end), failure(end).frame) == (code, None)


def test_what_a_models_error_counts_is_known() -> None:
    """By the caller and by the record."""
    said = {"type": "error", "amazon-bedrock-invocationMetrics": METRICS}
    (end,) = invoke(chunk(said))
    assert failure(end).usage == {"inputTokens": 3, "outputTokens": 5}


@pytest.mark.parametrize(
    "document",
    [
        {"type": "errors"},
        {"error": {"type": "error"}},
        [{"type": "error"}],
        b'{"type":"error"',
    ],
)
def test_what_only_speaks_of_errors_is_none(document: Any) -> None:
    """A model may say the word."""
    data = chunk(document)
    assert isinstance(invoke(data, LAST_CHUNK)[1], Chunk)

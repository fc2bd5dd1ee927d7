"""The lane of operations that do not stream: one document, and what it and its headers have counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from relay.errors import RelayError, transport_error
from relay.events import Chunk, Done, Event, Failure
from relay.eventstream import Frame
from relay.lanes import document_events
from tests.strategies.values import NO_JSON, NO_OBJECT, OBJECTS, written
from tests.unit.relay.lane_reader import START

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8, "cacheDetails": [{"ttl": "5m"}]}
CONVERSE = {"output": {"message": {}}, "stopReason": "tool_use", "usage": USAGE, "new": 1.0}
HEADERS = {
    "content-type": "application/json",
    "x-amzn-bedrock-input-token-count": "3",
    "x-amzn-bedrock-output-token-count": "5",
    "x-amzn-bedrock-cache-read-input-token-count": "1",
    "x-amzn-bedrock-cache-write-input-token-count": "2",
    "x-amzn-bedrock-invocation-latency": "9",
}
COUNTED = {
    "inputTokens": 3,
    "outputTokens": 5,
    "cacheReadInputTokens": 1,
    "cacheWriteInputTokens": 2,
}


def _read(
    document: bytes, headers: dict[str, str] | None = None
) -> tuple[list[Event], dict[str, Any]]:
    usage: dict[str, Any] = {}
    frame = Frame(b"", headers or {}, document)
    return list(document_events(iter([frame]), START, usage)), usage


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json; charset=utf-8"}])
@given(document=OBJECTS.flatmap(written))
def test_the_document_is_as_it_came(headers: dict[str, str], document: bytes) -> None:
    """Whatever is in it: start, document, done."""
    (start, chunk, done), usage = _read(document, headers)
    assert (start, chunk) == (START, Chunk(document))
    assert isinstance(done, Done)
    assert done.details == {}
    assert done.usage is usage


@given(NO_OBJECT)
def test_another_kind_of_document_is_as_it_came_too(document: bytes) -> None:
    """Where a model says that it is no JSON, it is what it is."""
    events, usage = _read(document, {"content-type": "image/png"})
    assert (events, usage) == ([START, Chunk(document), Done(None, {})], {})


@given(NO_JSON)
def test_what_was_cut_or_damaged_is_a_failure(document: bytes) -> None:
    """What should be JSON and is none: alone, so that there is a status to tell it with."""
    (end,), usage = _read(document, {"content-type": "application/json", **HEADERS})
    assert isinstance(end, Failure)
    assert (end.error.code, usage) == ("corrupt", {})


@pytest.mark.parametrize("document", [b"[0.5, 1]", b'"done"', b"null", b" [] "])
def test_a_models_json_need_not_be_an_object(document: bytes) -> None:
    """InvokeModel's answer is in the model's own schema, whatever that is."""
    events, _ = _read(document, HEADERS)
    assert events[1] == Chunk(document)


def test_converse_says_in_its_document_what_it_has_counted() -> None:
    """And why the model stopped."""
    events, usage = _read(json.dumps(CONVERSE).encode())
    assert events[-1] == Done("tool_use", USAGE)
    assert usage == USAGE


def test_invoke_model_says_in_its_headers_what_it_has_counted() -> None:
    """Under the names that callers are told; what a model's own document counts is its own business."""
    document = b'{"usage":{"input_tokens":999},"stop_reason":"end_turn"}'
    events, usage = _read(document, HEADERS)
    assert events == [START, Chunk(document), Done(None, COUNTED)]
    assert usage == COUNTED


@pytest.mark.parametrize(
    ("document", "headers", "reason", "usage"),
    [
        (b"{}", {}, None, {}),
        (b'{"inputTokens":7}', {}, None, {}),  # CountTokens: nothing was spent
        (b'{"stopReason":5,"usage":{"inputTokens":1}}', {}, None, {"inputTokens": 1}),
        (b'{"stopReason":"end_turn","usage":[1]}', {}, "end_turn", {}),
        (b'{"stopReason":"end_turn","usage":null}', {}, "end_turn", {}),
        (b"{}", {"x-amzn-bedrock-output-token-count": "0"}, None, {"outputTokens": 0}),
        (b"{}", {"x-amzn-bedrock-input-token-count": ""}, None, {}),
        (b"{}", {"x-amzn-bedrock-input-token-count": "-3"}, None, {}),
        (b"{}", {"x-amzn-bedrock-input-token-count": "3.5"}, None, {}),
        (b"{}", {"x-amzn-bedrock-input-token-count": "many"}, None, {}),
    ],
)
def test_what_counts_nothing_is_passed_over(
    document: bytes, headers: dict[str, str], reason: str | None, usage: dict[str, int]
) -> None:
    """The answer is told all the same."""
    events, counted = _read(document, headers)
    assert events == [START, Chunk(document), Done(reason, usage)]
    assert counted == usage


def test_nothing_is_waited_for_after_the_document() -> None:
    """Whoever waits is told so before anything is written."""
    told: list[str] = []
    frames = iter([Frame(b"", {}, b"{}")])
    events = document_events(frames, START, {}, lambda: told.append("complete"))
    assert told == []
    assert next(events) == START
    assert told == ["complete"]


def test_a_failure_has_no_document() -> None:
    """An error on the way gets out, before a start was told."""

    def breaks() -> Iterator[Frame]:
        yield from ()
        raise transport_error("connection_lost")

    events = document_events(breaks(), START, {})
    with pytest.raises(RelayError, match="connection_lost"):
        next(events)

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import UpstreamError, transport_error
from relay.events import (
    BlockEnd,
    Citation,
    Done,
    Event,
    Failure,
    Image,
    ImageStart,
    Reasoning,
    ReasoningSignature,
    RedactedReasoning,
    Start,
    Text,
    ToolInput,
    ToolResult,
    ToolResultStart,
    ToolStart,
    Unknown,
)
from relay.lanes import converse_events
from tests.frames import (
    MESSAGE_START,
    MESSAGE_STOP,
    METADATA,
    USAGE,
    delta,
    end_block,
    event,
    exception,
    frames,
    start_block,
)
from tests.unit.relay.lane_reader import START, code_of, converse, failure, members_of, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.eventstream import Frame

DONE = Done("end_turn", USAGE, {"metrics": {"latencyMs": 900}})
TOOL = {"toolUseId": "t1", "name": "look", "type": "server_tool_use"}
TOOL_RESULT = {"toolUseId": "t1", "type": "x", "status": "success"}
CITATION = {"title": "T", "location": {"web": {"url": "https://example.com"}}}
PIECES: dict[bytes, Event] = {
    delta(0, text="Grüße 🦦"): Text(0, "Grüße 🦦"),
    delta(0, text=""): Text(0, ""),
    delta(7, text="x"): Text(7, "x"),
    event("contentBlockDelta", {"delta": {"text": "x"}}): Text(0, "x"),
    event("contentBlockDelta", rb'{"delta":{"text":"\ud83e"},"contentBlockIndex":1}'): Text(
        1, "\ud83e"
    ),
    delta(0, reasoningContent={"text": "hm"}): Reasoning(0, "hm"),
    delta(0, reasoningContent={"signature": "c2ln"}): ReasoningSignature(0, "c2ln"),
    delta(0, reasoningContent={"redactedContent": "AAEC"}): RedactedReasoning(0, "AAEC"),
    start_block(1, toolUse=TOOL): ToolStart(1, TOOL),
    delta(1, toolUse={"input": '{"q":'}): ToolInput(1, '{"q":'),
    delta(1, toolUse={"input": ""}): ToolInput(1, ""),
    start_block(2, toolResult=TOOL_RESULT): ToolResultStart(2, TOOL_RESULT),
    delta(2, toolResult=[{"text": "x"}, {"json": {"a": 1}}]): ToolResult(
        2, [{"text": "x"}, {"json": {"a": 1}}]
    ),
    start_block(3, image={"format": "png"}): ImageStart(3, "png"),
    delta(3, image={"source": {"bytes": "AAEC"}}): Image(3, {"source": {"bytes": "AAEC"}}),
    delta(3, image={"error": {"message": "no"}}): Image(3, {"error": {"message": "no"}}),
    delta(4, citation=CITATION): Citation(4, CITATION),
    end_block(4): BlockEnd(4),
    event("contentBlockStop", {}): BlockEnd(0),
}
# What nobody listed, and what is not as it is listed: passed on whole.
UNKNOWN = (
    event("newEvent", {"a": 1}),
    event("newEvent", b"\x00 no JSON"),
    event("chunk", {"bytes": "e30="}),
    delta(0, newDelta={"a": 1}),
    delta(0),
    delta(0, text="a", citation=CITATION),
    delta(0, reasoningContent={"text": "a"}, text="b"),
    delta(0, reasoningContent={"newReasoning": "a"}),
    delta(0, reasoningContent={"text": "a", "signature": "b"}),
    delta(0, reasoningContent={}),
    delta(0, reasoningContent="a"),
    start_block(0, newStart={}),
    start_block(0),
    event("contentBlockDelta", {"delta": None}),
    event("contentBlockDelta", {}),
    event("contentBlockStart", {"start": [1]}),
    delta(0, text=5),
    delta(0, text=None),
    delta(0, toolUse={}),
    delta(0, toolUse=None),
    delta(0, toolUse={"input": {"a": 1}}),
    delta(0, toolUse={"input": "a", "newField": 1}),
    delta(0, toolUse={"newField": "a"}),
    delta(0, toolUse="x"),
    delta(0, citation="x"),
    delta(0, image=None),
    delta(0, toolResult={}),
    delta(0, reasoningContent={"redactedContent": 1}),
    start_block(0, toolUse=None),
    start_block(0, toolResult="x"),
    start_block(0, image={}),
    start_block(0, image={"format": 1}),
    event("contentBlockDelta", {"contentBlockIndex": "0", "delta": {"text": "x"}}),
    event("contentBlockStop", {"contentBlockIndex": None}),
)


@pytest.mark.parametrize("data", PIECES)
def test_each_event_has_its_meaning(data: bytes) -> None:
    """Every event that Bedrock's model lists becomes the event of that name, with what it carries."""
    assert converse(MESSAGE_START, data, MESSAGE_STOP, METADATA) == [START, PIECES[data], DONE]


@pytest.mark.parametrize("data", UNKNOWN)
def test_what_is_not_listed_is_passed_on_whole(data: bytes) -> None:
    """An event, a member or a value that nobody listed loses nothing, and does not end the stream."""
    (frame,) = frames(data)
    unknown = Unknown(frame.headers[":event-type"], frame.payload, data)
    assert converse(MESSAGE_START, data, MESSAGE_STOP, METADATA) == [START, unknown, DONE]


def test_every_event_of_bedrocks_model_is_handled() -> None:
    """A member that a new botocore lists and the relay does not know is noticed here."""
    members = members_of("ConverseStream")
    events = {name for name, shape in members.items() if not shape.metadata.get("exception")}
    assert events == {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
    handled: dict[str, set[str]] = {"start": set(), "delta": set(), "reasoningContent": set()}
    for data in PIECES:
        body = json.loads(frames(data)[0].payload)
        for union in handled.keys() & body.keys():
            handled[union] |= body[union].keys()
        handled["reasoningContent"] |= body.get("delta", {}).get("reasoningContent", {}).keys()
    deltas = members["contentBlockDelta"].members["delta"].members
    assert handled["start"] == set(members["contentBlockStart"].members["start"].members)
    assert handled["delta"] == set(deltas)
    assert handled["reasoningContent"] == set(deltas["reasoningContent"].members)
    # Of these two only the one member is told.
    assert set(deltas["toolUse"].members) == {"input"}
    assert set(members["contentBlockStart"].members["start"].members["image"].members) == {"format"}
    assert set(members["messageStart"].members) == {"role"}


@pytest.mark.parametrize("error", [None, transport_error("connection_lost")])
def test_a_stream_without_its_end_is_a_failure(error: UpstreamError | None) -> None:
    """However politely the connection ended: without stop reason and usage the answer is not whole (fact 15)."""
    code = error.code if error else "truncated"
    whole = [MESSAGE_START, delta(text="x"), end_block(), MESSAGE_STOP, METADATA]
    for cut in range(len(whole)):
        *before, end = converse(*whole[:cut], then=error)
        assert code_of(end) == code
        assert not any(isinstance(e, Done | Failure) for e in before)
        assert (START in before) == (cut > 0)
    assert converse(*whole, then=error)[-1] == DONE


def test_usage_that_came_is_told_with_a_failure() -> None:
    """Metadata without a stop reason: the answer was cut, but its cost is known."""
    (*_, end) = converse(MESSAGE_START, METADATA)
    assert failure(end).usage == USAGE


def test_usage_is_known_once_it_has_come() -> None:
    """Whoever follows the stream finds nothing counted before Bedrock has, and everything from then on."""
    usage: dict[str, Any] = {}
    late = event("late", {})
    events = converse_events(stream((MESSAGE_START, MESSAGE_STOP, METADATA, late)), START, usage)
    assert (next(events), usage) == (START, {})
    assert (type(next(events)), usage) == (Unknown, USAGE)
    (end,) = events
    assert isinstance(end, Done)
    assert end.usage is usage


def test_metadata_may_come_before_the_stop() -> None:
    """The order of the last two does not matter."""
    assert converse(METADATA, MESSAGE_STOP) == [START, DONE]


@pytest.mark.parametrize("ends", [(MESSAGE_STOP, METADATA), (METADATA, MESSAGE_STOP)])
def test_it_is_said_when_nothing_is_missing(ends: tuple[bytes, bytes]) -> None:
    """At the second of the two that make an answer complete, and not before."""
    said: list[int] = []
    sent: list[bytes] = []

    def frames() -> Iterator[Frame]:
        for data in (MESSAGE_START, *ends):
            sent.append(data)
            yield from stream((data,))

    list(converse_events(frames(), START, {}, lambda: said.append(len(sent))))
    assert said == [3]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_exception_is_told_wherever_it_comes(at: int) -> None:
    """Even after stop reason and usage: what Bedrock itself reports is not hidden, and is the only end."""
    stream = [MESSAGE_START, delta(text="x"), MESSAGE_STOP, METADATA]
    stream.insert(at, exception("internalServerException", {"message": "x"}))
    *before, end = converse(*stream)
    assert failure(end).usage == (USAGE if at == 4 else {})
    assert not any(isinstance(e, Done | Failure) for e in before)


def test_events_after_the_end_are_passed_on_before_it() -> None:
    """What still comes after the metadata has its place before the end, which is the last."""
    late = event("late", {})
    (frame,) = frames(late)
    assert converse(MESSAGE_STOP, METADATA, late) == [
        START,
        Unknown("late", frame.payload, late),
        DONE,
    ]


@pytest.mark.parametrize("name", ["contentBlockStart", "contentBlockDelta", "contentBlockStop"])
@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"1", b"\xff", b"NaN", b"[" * 100_000])
def test_an_event_that_is_no_object_is_damage(name: str, payload: bytes) -> None:
    """A frame whose checksum holds but whose payload is no JSON object ends the stream; it begins none."""
    damaged = event(name, payload)
    (end,) = converse(damaged, MESSAGE_STOP, METADATA)
    assert code_of(end) == "corrupt"
    start, end = converse(MESSAGE_START, damaged, MESSAGE_STOP, METADATA)
    assert (start, code_of(end)) == (START, "corrupt")


@pytest.mark.parametrize(("name", "other"), [("messageStop", METADATA), ("metadata", MESSAGE_STOP)])
def test_an_end_that_is_no_object_is_damage(name: str, other: bytes) -> None:
    """The end is not made up from what cannot be read."""
    assert code_of(converse(other, event(name, b"{"))[-1]) == "corrupt"


@pytest.mark.parametrize(
    ("stop", "metadata", "done"),
    [
        ({"stopReason": "quite_new"}, {"usage": USAGE}, Done("quite_new", USAGE)),
        ({}, {}, Done(None, {})),
        ({"stopReason": 5}, {"usage": "x"}, Done(None, {})),
        ({"stopReason": None}, {"usage": None}, Done(None, {})),
        (
            {"stopReason": "x", "additionalModelResponseFields": {"a": [1]}},
            {
                "usage": {**USAGE, "cacheDetails": [{"ttl": "1h", "inputTokens": 1}]},
                "trace": {"guardrail": {}},
                "serviceTier": {"type": "flex"},
                "quiteNew": 1,
                "p": "abc",
            },
            Done(
                "x",
                {**USAGE, "cacheDetails": [{"ttl": "1h", "inputTokens": 1}]},
                {
                    "additionalModelResponseFields": {"a": [1]},
                    "trace": {"guardrail": {}},
                    "serviceTier": {"type": "flex"},
                    "quiteNew": 1,
                },
            ),
        ),
    ],
)
def test_the_end_says_what_bedrock_said(stop: Any, metadata: Any, done: Done) -> None:
    """Stop reason, usage and all the rest pass through, unseen values included (facts 4 and 5), padding aside."""
    assert converse(event("messageStop", stop), event("metadata", metadata)) == [START, done]


def test_events_are_yielded_as_they_come() -> None:
    """An event is there before the next frame is asked for."""
    stream = [MESSAGE_START, delta(text="x"), MESSAGE_STOP, METADATA]
    asked = 0

    def one_by_one() -> Iterator[Frame]:
        nonlocal asked
        for frame in frames(*stream):
            asked += 1
            yield frame

    events = converse_events(one_by_one(), Start("m", "r"), {})
    assert (next(events), asked) == (Start("m", "r"), 1)
    assert (next(events), asked) == (Text(0, "x"), 2)

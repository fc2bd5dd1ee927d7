from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import grammar
from relay.errors import RelayError, bedrock_error, limit_error, transport_error
from relay.events import (
    BlockEnd,
    Chunk,
    Citation,
    Done,
    Event,
    Failure,
    Forwarded,
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
from relay.grammar import well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

START = Start("a.model", "r1")
DONE = Done("end_turn", {"outputTokens": 5})
FAILURE = Failure(bedrock_error("throttlingException"), {}, b"frame")
USAGE = {"inputTokens": 3}
# A piece of a block, of every kind.
PIECES: list[Event] = [
    Text(1, "a"),
    Reasoning(1, "hm"),
    ReasoningSignature(1, "c2ln"),
    RedactedReasoning(1, "AAEC"),
    ToolStart(1, {}),
    ToolInput(1, "{"),
    ToolResultStart(1, {}),
    ToolResult(1, []),
    ImageStart(1, "png"),
    Image(1, {}),
    Citation(1, {}),
]
OUTSIDE: list[Event] = [START, Chunk(b"{}", b"frame"), Unknown("new", b"", b"frame")]


class CallerGone(Exception):
    """Nobody reads any more."""


class OurBug(Exception):
    """An exception that nobody expected."""


def _stream(*events: Event | Exception) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Exception):
            raise event
        yield event


def _told(
    events: Iterable[Event],
    has_room: Callable[[], bool] = lambda: True,
    usage: dict[str, Any] | None = None,
) -> list[Event]:
    usage = USAGE if usage is None else usage
    return list(well_formed(events, usage, has_room=has_room, passing=CallerGone))


@pytest.fixture
def bugs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged as a bug."""
    logged: list[str] = []

    class Logger:
        exception = staticmethod(logged.append)

    monkeypatch.setattr(grammar, "logger", Logger())
    return logged


@pytest.mark.parametrize(
    "events",
    [
        [START, DONE],
        [START, Text(0, "a"), BlockEnd(0), Text(1, "b"), BlockEnd(1), DONE],
        [START, Text(0, "a"), Text(1, "b"), Text(0, "c"), BlockEnd(1), BlockEnd(0), DONE],
        [START, Text(0, "a"), BlockEnd(0), Text(0, "b"), BlockEnd(0), DONE],
        [START, BlockEnd(0), BlockEnd(0), FAILURE],
        [START, *OUTSIDE, DONE],
        [FAILURE],
    ],
)
def test_a_stream_that_keeps_to_its_grammar_is_not_changed(events: list[Event]) -> None:
    """Event for event, the very objects."""
    told = _told(events)
    assert list(map(id, told)) == list(map(id, events))


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: type(piece).__name__)
@pytest.mark.parametrize("end", [DONE, FAILURE])
def test_an_open_block_is_closed_before_the_end(piece: Event, end: Event) -> None:
    """Whatever a block is made of, it is over before the stream is, and complete only if the answer is."""
    closed = BlockEnd(1, complete=end is DONE)
    assert _told([START, piece, end]) == [START, piece, closed, end]


@pytest.mark.parametrize("event", OUTSIDE, ids=lambda event: type(event).__name__)
def test_what_belongs_to_no_block_opens_none(event: Event) -> None:
    """There is nothing to close after it."""
    assert _told([event, FAILURE]) == [event, FAILURE]


CALL: list[Event] = [ToolStart(0, {}), ToolInput(0, "")]


@pytest.mark.parametrize("reason", ["end_turn", "tool_use", "stop_sequence", None])
def test_a_call_without_input_is_complete_where_the_model_stops_of_itself(reason: Any) -> None:
    """There are tools that take nothing."""
    end = Done(reason, {})
    assert _told([START, *CALL, BlockEnd(0), end]) == [START, *CALL, BlockEnd(0), end]


@pytest.mark.parametrize(
    "reason",
    ["max_tokens", "content_filtered", "guardrail_intervened", "malformed_tool_use", "quite_new"],
)
def test_a_call_without_input_is_cut_where_the_model_was_stopped(reason: str) -> None:
    """Nobody is to run a tool on an input that the model had not come to (facts 7 and 8)."""
    end = Done(reason, {})
    cut = BlockEnd(0, complete=False)
    assert _told([START, *CALL, BlockEnd(0), end]) == [START, *CALL, cut, end]
    new = Unknown("new", b"", b"")
    assert _told([START, *CALL, BlockEnd(0), new, end]) == [START, *CALL, new, cut, end]
    other: list[Event] = [ToolStart(1, {}), BlockEnd(1)]
    told: list[Event] = [START, *CALL, BlockEnd(0), other[0], BlockEnd(1, complete=False), end]
    assert _told([START, *CALL, BlockEnd(0), *other, end]) == told
    begun: list[Event] = [
        *CALL,
        ToolInput(0, "{"),
        BlockEnd(0),
    ]  # which is no JSON: everyone can tell
    assert _told([START, *begun, end]) == [START, *begun, end]


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: type(piece).__name__)
def test_a_call_without_input_is_over_when_the_model_goes_on(piece: Event) -> None:
    """With whatever it goes on, in the order in which it was said."""
    told = _told(iter([START, *CALL, BlockEnd(0), piece, BlockEnd(1), Done("max_tokens", {})]))
    assert told[: len(CALL) + 3] == [START, *CALL, BlockEnd(0), piece]


@pytest.mark.parametrize("name", ["contentBlockStart", "contentBlockDelta"])
def test_what_nobody_has_listed_is_going_on_as_well(name: str) -> None:
    """A block of a kind that is new comes after the call all the same."""
    new = Unknown(name, b"{}", b"")
    cut = Done("max_tokens", {})
    assert _told([START, *CALL, BlockEnd(0), new, cut]) == [START, *CALL, BlockEnd(0), new, cut]


@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_a_call_that_bedrock_does_not_end_is_cut_as_well(blank: str) -> None:
    """Blanks are no input either."""
    begun: list[Event] = [START, ToolStart(0, {}), ToolInput(0, blank)]
    for end, complete in ((Done("max_tokens", {}), False), (DONE, True), (FAILURE, False)):
        assert _told([*begun, end]) == [*begun, BlockEnd(0, complete=complete), end]


def test_calls_that_are_open_at_once_are_told_apart_together() -> None:
    """That one has ended says nothing about the other; an end that comes twice is one."""
    both: list[Event] = [START, ToolStart(0, {}), ToolStart(1, {})]
    ends: list[Event] = [BlockEnd(1), BlockEnd(0), BlockEnd(0)]
    cut = [BlockEnd(0, complete=False), BlockEnd(1, complete=False)]
    stopped = Done("max_tokens", {})
    assert _told([*both, *ends, stopped]) == [*both, *cut, stopped]
    assert _told([*both, *ends, Text(2, "a"), BlockEnd(2), DONE]) == [
        *both,
        BlockEnd(1),
        BlockEnd(0),
        Text(2, "a"),
        BlockEnd(2),
        DONE,
    ]


@pytest.mark.parametrize("raises", [True, False])
def test_a_call_without_input_is_cut_where_the_stream_fails(*, raises: bool) -> None:
    """Whether it was complete nobody will know."""
    error = transport_error("truncated")
    failed: list[Any] = [error] if raises else [Failure(error, USAGE)]
    told = _told(_stream(START, *CALL, BlockEnd(0), *failed))
    assert told == [START, *CALL, BlockEnd(0, complete=False), Failure(error, USAGE)]


def test_blocks_are_closed_in_the_order_in_which_they_began() -> None:
    """Those that are over already are not closed again; one that goes on after its end is."""
    pieces: list[Event] = [Text(2, "a"), Text(0, "b"), Text(2, "c"), Text(1, "d")]
    events = [*pieces, BlockEnd(0), BlockEnd(1), Text(1, "e")]
    assert _told([*events, FAILURE])[len(events) :] == [
        BlockEnd(2, complete=False),
        BlockEnd(1, complete=False),
        FAILURE,
    ]


@pytest.mark.parametrize("events", [[], [START], [START, Chunk(b"{}", b"frame")]])
def test_events_that_just_cease_are_a_failure(events: list[Event]) -> None:
    """A stream without an end gets one that says so, with the usage so far."""
    *before, end = _told(events)
    assert before == events
    assert isinstance(end, Failure)
    assert (end.error.code, end.usage, end.frame) == ("truncated", USAGE, None)


@pytest.mark.parametrize(
    "error", [transport_error("read_timeout"), limit_error("timeout"), RelayError(418, "x", "y")]
)
def test_an_error_becomes_the_end(error: RelayError, bugs: list[str]) -> None:
    """What is raised on the way is told as it is, with the usage so far; the open block comes before it."""
    assert _told(_stream(START, Text(0, "a"), error)) == [
        START,
        Text(0, "a"),
        BlockEnd(0, complete=False),
        Failure(error, USAGE),
    ]
    assert bugs == []


def test_a_bug_becomes_the_end(bugs: list[str]) -> None:
    """A bug is logged whole, told in one word, and kept as that word's cause; the next stream knows nothing of it."""
    bug = OurBug("private words")
    *_, closed, end = _told(_stream(START, Text(0, "a"), bug))
    assert closed == BlockEnd(0, complete=False)
    assert isinstance(end, Failure)
    assert (end.error.code, end.error.__cause__, end.usage) == ("internal", bug, USAGE)
    assert "private" not in str(end.error.told())
    assert bugs == ["bug"]
    (other,) = _told(_stream(OurBug()))
    assert isinstance(other, Failure)
    assert other.error is not end.error


def test_what_says_that_nobody_reads_gets_through() -> None:
    """There is nobody to close a block for, nor to tell of an end."""
    told = well_formed(
        _stream(START, Text(0, "a"), CallerGone()), {}, has_room=lambda: True, passing=CallerGone
    )
    assert [next(told), next(told)] == [START, Text(0, "a")]
    with pytest.raises(CallerGone):
        next(told)
    assert list(told) == []


@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_a_full_response_is_ended(room: int) -> None:
    """Once there is no more room nothing else is passed on, nor asked of Bedrock: the end says why."""
    asked: list[Event] = []
    pieces: list[Event] = [START, Text(0, "a"), Text(0, "b"), Text(0, "c"), DONE]

    def events() -> Iterator[Event]:
        for event in pieces:
            asked.append(event)
            yield event

    rooms = iter([True] * room + [False])
    *before, end = _told(events(), has_room=lambda: next(rooms))
    closed = [BlockEnd(0, complete=False)] if room > 1 else []
    assert before == [*pieces[:room], *closed]
    assert isinstance(end, Failure)
    assert (end.error.code, end.usage) == ("response_too_large", USAGE)
    assert asked == pieces[: room + 1]


@pytest.mark.parametrize("end", [DONE, FAILURE])
def test_an_end_needs_no_room(end: Event) -> None:
    """A stream that is over is not said to be too long."""
    assert _told([end], has_room=lambda: False) == [end]


def test_nothing_comes_after_the_end() -> None:
    """What makes the events is not asked for more."""

    def events() -> Iterator[Event]:
        yield DONE
        pytest.fail("asked for more after the end")

    assert _told(events()) == [DONE]


def test_events_are_passed_on_as_they_come() -> None:
    """An event is there before the next one is asked for."""

    def events() -> Iterator[Event]:
        yield START
        yield Text(0, "a")
        pytest.fail("asked for more before the piece was out")

    told = well_formed(events(), {}, has_room=lambda: True, passing=CallerGone)
    assert (next(told), next(told)) == (START, Text(0, "a"))


def test_the_usage_is_what_has_been_counted_by_then() -> None:
    """What is counted while the stream goes on is in its end."""
    usage: dict[str, Any] = {}

    def events() -> Iterator[Event]:
        yield START
        usage["outputTokens"] = 7
        raise transport_error("connection_lost")

    _, end = _told(events(), usage=usage)
    assert isinstance(end, Failure)
    assert end.usage == {"outputTokens": 7}


BLOCKS = st.integers(0, 3)
ANY_EVENT = (
    st.builds(Text, BLOCKS, st.text(max_size=2))
    | st.builds(ToolInput, BLOCKS, st.just("{"))
    | st.builds(BlockEnd, BLOCKS)
    | st.sampled_from(OUTSIDE)
)
ANY_END = st.sampled_from([DONE, FAILURE, transport_error("corrupt"), OurBug()])


@given(st.lists(ANY_EVENT, max_size=12), st.lists(ANY_END, max_size=2), st.integers(0, 14))
def test_every_stream_keeps_to_its_grammar(
    events: list[Event], ends: list[Event | Exception], room: int
) -> None:
    """Whatever happens to it: its events as they came, each of its blocks closed, and one end, which is the last."""
    rooms = iter(range(room, -20, -1))
    *told, end = _told(_stream(*events, *ends), has_room=lambda: next(rooms) > 0)
    assert not any(isinstance(event, Done | Failure) for event in told)
    assert isinstance(end, Done | Failure)
    passed_on = min(len(events), room)
    assert told[:passed_on] == events[:passed_on]
    closed = told[passed_on:]
    latest = {
        e.index: e
        for e in told
        if not isinstance(e, Start | Chunk | Unknown | Forwarded | Done | Failure)
    }
    assert all(isinstance(event, BlockEnd) for event in latest.values()), "a block is open"
    assert closed == [
        BlockEnd(index, complete=isinstance(end, Done))
        for index in dict.fromkeys(event.index for event in closed if isinstance(event, BlockEnd))
    ]

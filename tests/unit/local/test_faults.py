from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.answers import Reply, Text, ToolUse
from local.bedrock import exception_frame, frame
from local.dialects import INVOCATION_METRICS, Event, anthropic, converse, nova
from local.faults import (
    after_bytes,
    after_frames,
    corrupt,
    cut_up,
    delay,
    drop,
    event_of,
    gap,
    insert,
    join,
    refuse,
    say,
    split,
    trickle,
    unknown_delta,
    unmeasured,
)
from local.pace import IMMEDIATE
from local.prompts import BedrockError
from local.script import Cut, Head, Hold, Pause, Reset, Send, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.dialects import Dialect
    from local.faults import Place

HEAD = Head(200, (("x-amzn-RequestId", "id"),))
HONEST: list[Step] = [Pause(1), HEAD, Send(b"one"), Send(b"three"), Pause(2), Send(b"two")]
REPLY = Reply(
    blocks=(
        Text(("Grüße", ", world")),
        ToolUse("tooluse_1", "look", ('{"a":', '"b",', '"c":', '"d"}')),
    ),
    stop_reason="tool_use",
    stop_sequence=None,
    input_tokens=3,
)
DIALECTS = pytest.mark.parametrize("dialect", [converse, nova, anthropic])


def spoken(dialect: Dialect) -> list[Step]:
    """Return the script of one reply in a dialect."""
    events = dialect(REPLY, IMMEDIATE, "anthropic.claude")
    return [HEAD, *(Send(frame(event)) for event in events)]


def body(script: Iterable[Step]) -> bytes:
    return b"".join(step.data for step in script if isinstance(step, Send))


def events(script: Iterable[Step]) -> list[Event]:
    return [event for step in script if (event := event_of(step))]


def names(script: Iterable[Step]) -> list[str]:
    return [event.name for event in events(script)]


def test_an_answer_is_delayed() -> None:
    """A delay comes before everything else, the head included."""
    assert list(delay(HONEST, 3)) == [Pause(3), *HONEST]


def test_an_answer_is_refused() -> None:
    """An error takes the place of the head and of all that follows, under the request id that it would have had."""
    error = BedrockError(429, "ThrottlingException", "slow down")
    pause, head, sent = refuse(HONEST, error, ("Retry-After", "7"))
    assert pause == HONEST[0]
    assert isinstance(head, Head)
    assert isinstance(sent, Send)
    assert head.status == 429
    headers = dict(head.headers)
    assert headers["x-amzn-ErrorType"].startswith("ThrottlingException:")
    assert (headers["x-amzn-RequestId"], headers["Retry-After"]) == ("id", "7")
    assert json.loads(sent.data) == {"message": "slow down"}


@given(st.binary(min_size=1, max_size=40), st.integers(1, 12))
def test_a_document_is_cut_up(data: bytes, count: int) -> None:
    """Into so many pieces, or as many as it has bytes; they are about the same size, and none is lost."""
    head, *pieces = cut_up([HEAD, Send(data)], count)
    assert (head, body(pieces)) == (HEAD, data)
    sizes = [len(piece.data) for piece in pieces if isinstance(piece, Send)]
    assert len(sizes) == min(count, len(data))
    assert max(sizes) - min(sizes) <= 1


def test_a_length_is_left_out() -> None:
    """However it is spelt, and nothing else."""
    head = Head(200, (("content-LENGTH", "11"), *HEAD.headers))
    assert list(unmeasured([Pause(1), head, Send(b"one")])) == [Pause(1), HEAD, Send(b"one")]


@given(st.integers(0, 12))
def test_an_answer_ends_after_any_byte(count: int) -> None:
    """Exactly so many bytes are sent, then the other steps are done."""
    script = list(after_bytes(HONEST, count, Cut()))
    assert body(script) == b"onethreetwo"[:count]
    assert script[-1] == Cut()
    assert script[:2] == HONEST[:2]
    assert all(step.data for step in script if isinstance(step, Send))


@pytest.mark.parametrize(
    ("count", "sent"), [(0, b""), (1, b"one"), (3, b"onethreetwo"), (9, b"onethreetwo")]
)
def test_an_answer_ends_after_any_frame(count: int, sent: bytes) -> None:
    """Exactly so many frames are sent, then the other steps are done."""
    script = list(after_frames(HONEST, count, Pause(9)))
    assert (body(script), script[-1]) == (sent, Pause(9))


@pytest.mark.parametrize(
    ("dialect", "place", "last"),
    [
        (converse, "contentBlockDelta", "contentBlockDelta"),
        (converse, "messageStop", "messageStop"),
        (nova, "messageStop", "messageStop"),
        (anthropic, "message_delta", "message_delta"),
        (converse, "message_delta", "metadata"),
    ],
)
def test_a_place_may_be_an_event(dialect: Dialect, place: Place, last: str) -> None:
    """After the first event of a name; after everything where there is no such event."""
    script = list(after_frames(spoken(dialect), place, Cut()))
    assert script[-1] == Cut()
    assert names(script)[-1] == last
    assert names(script).count(last) == 1


@pytest.mark.parametrize(("place", "at"), [(0, 2), (1, 3), (2, 5), (3, 6), (9, 6)])
def test_steps_are_inserted_between_frames(place: Place, at: int) -> None:
    """The other steps come once, before the frame after the place or in the end, and nothing is lost."""
    script = list(insert(HONEST, place, Pause(9), Pause(8)))
    assert script == [*HONEST[:at], Pause(9), Pause(8), *HONEST[at:]]


@pytest.mark.parametrize("end", [Cut(), Reset()])
def test_a_bad_end_is_the_end(end: Step) -> None:
    """A place after the last frame is before a bad end; a place that was not reached is nowhere."""
    script = [*HONEST, end]
    assert list(insert(script, 3, Pause(9))) == [*HONEST, Pause(9), end]
    assert list(after_frames(script, 3, Pause(9))) == [*HONEST, Pause(9)]
    assert list(insert(script, 4, Pause(9)))[:7] == script


@pytest.mark.parametrize(("byte", "at"), [(0, 0), (-1, 4), (4, 4), (5, 0), (-7, 3)])
def test_one_byte_is_corrupted(byte: int, at: int) -> None:
    """One byte of one frame differs, no other; a byte that it has not is counted round and round."""
    expected = bytearray(b"three")
    expected[at] ^= 0xFF
    assert body(corrupt(HONEST, 1, byte)) == b"one" + bytes(expected) + b"two"


def test_a_frame_trickles() -> None:
    """One frame comes byte by byte, the others as ever."""
    expected = [*HONEST[:3], Send(b"three", piece=1, pause=0.5), *HONEST[4:]]
    assert list(trickle(HONEST, 1, 0.5)) == expected


def test_frames_are_split() -> None:
    """Every frame comes in pieces of that size."""
    expected = [Send(s.data, piece=2) if isinstance(s, Send) else s for s in HONEST]
    assert list(split(HONEST, 2)) == expected


def test_frames_are_joined() -> None:
    """Everything is held back."""
    assert list(join(HONEST)) == [Hold(), *HONEST]


def test_faults_count_frames_whatever_the_transport_does() -> None:
    """Faults of the transport change nothing about places: a frame stays one, in however many pieces it comes."""
    for script in (split(HONEST, 1), trickle(HONEST, 0, 1), join(HONEST), insert(HONEST, 1, HEAD)):
        assert body(after_frames(corrupt(script, 0, 0), 2, Cut())) == b"\x90nethree"


@DIALECTS
def test_more_text_is_said(dialect: Dialect) -> None:
    """More texts come before the next delta of text, each one in that block; halves of a letter are JSON escapes."""
    honest = spoken(dialect)
    said = list(say(honest, 0, "", "\ud83d", "\ude00"))
    before = len(said) - len(honest)
    deltas = [dict(event.delta) for event in events(said) if "text" in event.delta]
    assert before == 3
    assert [delta["text"] for delta in deltas] == ["", "\ud83d", "\ude00", "Grüße", ", world"]
    assert {json.dumps({**delta, "text": ""}) for delta in deltas} == {
        json.dumps({**deltas[-1], "text": ""})
    }
    assert [step for step in said if step in honest] == honest
    if dialect is converse:
        assert rb"\ud83d" in body(said)


@DIALECTS
def test_no_more_text_is_said_where_none_is(dialect: Dialect) -> None:
    """After the last delta of text there is no block to say more in: the answer stays as it is."""
    honest = spoken(dialect)
    assert list(say(honest, 9, "x")) == honest


@pytest.mark.parametrize(
    ("dialect", "unknown"),
    [
        (converse, {"futureDelta": "?"}),
        (nova, {"futureDelta": "?"}),
        (anthropic, {"type": "future_delta"}),
    ],
)
def test_a_delta_is_unknown(dialect: Dialect, unknown: dict[str, Any]) -> None:
    """One more delta of a block has a member, or a type, that nobody has listed."""
    honest = spoken(dialect)
    script = list(unknown_delta(honest, 2))
    added = [event for step in script if step not in honest and (event := event_of(step))]
    assert [event.delta for event in added] == [unknown]
    assert [step for step in script if step in honest] == honest


@pytest.mark.parametrize(
    ("dialect", "name"),
    [(converse, "metadata"), (nova, "contentBlockDelta"), (anthropic, "message_stop")],
)
def test_events_are_dropped(dialect: Dialect, name: str) -> None:
    """All events of a name are left out, and no other."""
    honest = spoken(dialect)
    assert names(drop(honest, name)) == [other for other in names(honest) if other != name]
    assert body(drop(honest, "nothing")) == body(honest)


@DIALECTS
def test_metrics_are_dropped(dialect: Dialect) -> None:
    """What Bedrock adds to a model's last chunk is left out, and the chunk stays; Converse has nothing of it."""
    honest = spoken(dialect)
    script = list(drop(honest, "metrics"))
    assert names(script) == names(honest)
    assert not any(INVOCATION_METRICS in event.body for event in events(script))
    assert script[:-1] == honest[:-1]
    assert (script == honest) == (dialect is converse)


@DIALECTS
def test_a_tools_input_has_gaps(dialect: Dialect) -> None:
    """Silence comes between the pieces of a tool's input, after so many of them, and nowhere else."""
    script = list(gap(spoken(dialect), 7, 3))
    at = script.index(Pause(7))
    assert script.count(Pause(7)) == 1
    (before,) = events(script[at - 1 : at])
    (after,) = events(script[at + 1 : at + 2])
    assert '"c":' in json.dumps(before.body, ensure_ascii=False).replace("\\", "")
    assert '"d"}' in json.dumps(after.body, ensure_ascii=False).replace("\\", "")


@DIALECTS
def test_what_is_sent_can_be_read_back(dialect: Dialect) -> None:
    """The event of a frame is the one that it was made of."""
    said = list(dialect(REPLY, IMMEDIATE, "anthropic.claude"))
    read = [event_of(Send(frame(event))) for event in said]
    for one, event in zip(read, said, strict=True):
        assert one is not None
        assert one.type == event.type
        assert one.body.items() >= event.body.items()


@pytest.mark.parametrize(
    "step",
    [
        *(Pause(1), HEAD, Send(b""), Send(b"{}"), Send(b"no frame at all, but long enough")),
        Send(exception_frame("throttlingException", {})),
        Send(frame(Event("metadata", {})) * 2),
        Send(frame(Event("chunk", {}))[:-1]),
    ],
)
def test_what_is_no_event_is_none(step: Step) -> None:
    """Steps that send no frame, half a frame, two of them or an exception are no event."""
    assert event_of(step) is None

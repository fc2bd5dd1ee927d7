from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from relay import bedrock, formats
from relay.events import Done, Failure, Start
from relay.eventstream import encode
from relay.formats import CONVERSE_FRAMES, INVOKE_FRAMES, NDJSON, SSE, TEXT
from relay.grammar import well_formed
from relay.lanes import lane_of
from relay.telemetry import Record
from relay.watchdog import Interrupt, Watchdog
from streaming_runtime import ResponseClosed
from tests.frames import exception
from tests.readers import read_as_boto3, read_frames, read_ndjson, read_sse, read_text
from tests.strategies.sent import SECRET, Sent
from tests.strategies.streams import START, Fault, Raw, Stream, known, streams
from tests.strategies.values import SIZES, cut, in_unicode

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from relay.formats import Format

CONVERSE, INVOKE = "ConverseStream", "InvokeModelWithResponseStream"
OFFERED = {CONVERSE: formats.CONVERSE, INVOKE: formats.INVOKE}
ENDS = {"done", "error"}

fast = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# An error that Bedrock words in lines, and a failure that no SDK would take for one.
IN_LINES = Sent(data=exception("validationException", {"message": "a\nb"}), code="validation")
NO_EXCEPTION = Sent(data=encode({":message-type": "quite-new"}, b"{}"), code="unknown")
in_json = pytest.mark.parametrize(
    ("chosen", "read"), [(SSE, read_sse), (NDJSON, read_ndjson)], ids=["SSE", "NDJSON"]
)


class Relay:
    """The way of a stream through the relay, as ``handler`` has it.

    Attributes:
        written: what goes out, piece by piece.
        read_by_then: how many bytes of Bedrock's had been read when each piece did.
        record: what is known in the end.
    """

    def __init__(
        self, stream: Stream, chosen: Format, *, room: float = math.inf, takes: float = math.inf
    ) -> None:
        self.written: list[bytes] = []
        self.read_by_then: list[int] = []
        self.record = Record(log_content=False)
        self._stream, self._format = stream, chosen
        self._room, self._takes = room, takes
        self._raw = Raw(stream)

    def relay(self) -> list[bytes]:
        """Relay the stream to its end, and return what was written."""
        usage = self.record.usage
        watchdog = Watchdog(deadline=math.inf, read_timeout=math.inf)
        frames = bedrock._frames(self._raw, watchdog)
        start = Start(START["model"], START["request_id"])
        lane = lane_of(self._stream.operation, is_bedrocks=self._format.is_bedrocks)
        events = lane(frames, start, usage)
        told = well_formed(events, usage, has_room=self._has_room, passing=ResponseClosed)
        for piece in self._format.encode(self.record.observe(told)):
            if piece:  # Response.write does not send others
                self._write(piece)
        return self.written

    def _has_room(self) -> bool:
        return sum(map(len, self.written)) < self._room

    def _write(self, piece: bytes) -> None:
        if len(self.written) >= self._takes:
            raise ResponseClosed(400)
        self.written.append(piece)
        self.read_by_then.append(self._raw.read)


@st.composite
def answers(draw: DrawFn) -> tuple[Stream, Format]:
    """Draw a stream, and a format that its callers may ask for."""
    stream = draw(streams())
    return stream, draw(st.sampled_from(list(OFFERED[stream.operation].values())))


def only(sent: Sent, operation: str) -> Stream:
    """Return the stream of one frame."""
    return Stream(operation=operation, data=sent.data, sizes=[1], fault=Fault(), arrived=[sent])


def objects(stream: Stream) -> list[Any]:
    """Return all that callers are told."""
    return read_ndjson(Relay(stream, NDJSON).relay())


@in_json
@fast
@given(stream=streams(), sizes=SIZES)
def test_json_tells_all_that_came_in_its_order(
    chosen: Format, read: Any, stream: Stream, sizes: list[int]
) -> None:
    """Each piece before the fault is told, whole and as it was, then the end with what was counted."""
    told = read(cut(b"".join(Relay(stream, chosen).relay()), sizes))
    assert [known(event) for event in told] == stream.told
    assert read(Relay(stream, chosen).relay()) == told


@fast
@given(stream=streams())
def test_there_is_one_end_and_it_is_the_last(stream: Stream) -> None:
    """A start, where Bedrock has begun to answer; pieces; one ``done`` or ``error``, whatever happens."""
    *types, end = [told["type"] for told in objects(stream)]
    assert end in ENDS
    assert ENDS.isdisjoint(types)
    assert types[:1] == ["start"] * stream.is_started
    assert "start" not in types[1:]


@fast
@given(stream=streams())
def test_done_is_never_made_up(stream: Stream) -> None:
    """``done`` says that both stop reason and usage have come and nobody reported a failure; else there is an error."""
    end = objects(stream)[-1]
    brought = {half for sent in stream.arrived for half in sent.brings}
    reported = any(sent.code and not sent.damaged for sent in stream.arrived)
    if end["type"] == "done":
        assert brought == {"stop", "usage"}
        assert not reported
    else:
        assert brought != {"stop", "usage"} or stream.ending or stream.fault.is_bug
        assert (end["code"], type(end["retryable"])) == (stream.code, bool)
        assert end["message"]


@fast
@given(stream=streams())
def test_what_was_counted_is_told_and_recorded(stream: Stream) -> None:
    """Whichever end it is, it has the usage so far, and the record has both."""
    relay = Relay(stream, NDJSON)
    end = read_ndjson(relay.relay())[-1]
    assert end.get("usage", {}) == relay.record.usage == stream.usage
    assert ("usage_partial" in end) == (end["type"] == "error" and bool(stream.usage))
    assert isinstance(relay.record.end, Done if end["type"] == "done" else Failure)
    assert relay.record.ended


@fast
@given(stream=streams(CONVERSE))
def test_blocks_that_are_open_are_closed(stream: Stream) -> None:
    """What Bedrock left open is closed once, right before the end, and is incomplete where that is an error."""
    *told, end = objects(stream)
    assume(not stream.holds_an_end)  # or not all is told where Bedrock said it
    sent = sum(sent.told is not None for sent in stream.heard) + stream.is_started
    is_open = set()
    for n, event in enumerate(told):
        if event["type"] != "block_end":
            is_open |= {event["index"]} if "index" in event else set()
        elif n < sent:
            assert "complete" not in event
            is_open.discard(event["index"])
        else:
            assert event.get("complete", True) == (end["type"] == "done")
            is_open.remove(event["index"])
    assert not is_open
    assert all(event["type"] == "block_end" for event in told[sent:])


@in_json
@fast
@given(stream=streams(CONVERSE))
def test_the_texts_pieces_make_the_text(chosen: Format, read: Any, stream: Stream) -> None:
    """Halves of characters and all, the text is what Bedrock sent, up to the fault."""
    told = read(Relay(stream, chosen).relay())
    assert "".join(event["text"] for event in told if event["type"] == "text") == stream.text


@fast
@given(stream=streams(CONVERSE), sizes=SIZES)
@example(stream=only(IN_LINES, CONVERSE), sizes=[1])
def test_plain_text_is_the_text_alone(stream: Stream, sizes: list[int]) -> None:
    """Nothing but the text, in characters that are whole, and after a failure one last line that says so."""
    read = read_text(cut(b"".join(Relay(stream, TEXT).relay()), sizes))
    text = in_unicode(stream.text)
    assert read.startswith(text)
    if stream.is_complete:
        assert read == text
    else:
        (line,) = read[len(text) + 1 :].splitlines()
        assert re.fullmatch(rf"\[{stream.code}: .+\]", line)
        assert (read[len(text)], read[-1]) == ("\n", "\n")


FRAMES = {INVOKE: INVOKE_FRAMES, CONVERSE: CONVERSE_FRAMES}


@fast
@given(stream=streams(), sizes=SIZES)
def test_the_event_stream_is_bedrocks_own(stream: Stream, sizes: list[int]) -> None:
    """Bedrock's frames byte for byte, none held once it is there; what is not complete ends with an exception's."""
    # Damage that only JSON's readers see: of a block's frames this format looks at no more than the ends.
    assume(b'{"a":NaN}' not in stream.data)
    relay = Relay(stream, FRAMES[stream.operation])
    written = relay.relay()
    spoken = Relay(stream, NDJSON)
    spoken.relay()
    assert relay.record.usage == spoken.record.usage
    sent = [sent.data for sent in stream.heard]
    assert b"".join(written).startswith(b"".join(sent))
    frames = read_frames(cut(b"".join(written), sizes))
    assert len(frames) == len(sent) + (not stream.is_complete)
    # Whatever had come when a piece went out, went out with it.
    for read, out in zip(relay.read_by_then, accumulate(map(len, written)), strict=True):
        whole = [end for end in accumulate(map(len, sent)) if end <= read]
        assert out >= (whole[-1] if whole else 0)
    if not stream.is_complete:
        headers, payload = frames[-1]
        assert headers[":message-type"] in {"exception", "error"}
        if stream.ending is None or stream.ending.damaged:
            assert json.loads(payload)["originalMessage"] == stream.code


@fast
@given(stream=streams(INVOKE), sizes=SIZES)
@example(stream=only(NO_EXCEPTION, INVOKE), sizes=[1])
def test_boto3_reads_the_event_stream(stream: Stream, sizes: list[int]) -> None:
    """It gives its callers each document, and raises an error where the answer is not complete."""
    written = Relay(stream, INVOKE_FRAMES).relay()
    received = read_as_boto3(cut(b"".join(written), sizes), INVOKE)
    told = [sent.told for sent in stream.heard if sent.told and sent.told["type"] == "chunk"]
    assert len(received.events) == len(told)
    for event, chunk in zip(received.events, told, strict=True):
        document = event["chunk"]["bytes"]
        if "bytes" in chunk:
            assert document == b64decode(chunk["bytes"])
        else:
            assert json.loads(document) == chunk["chunk"]
    assert (received.error is None) == stream.is_complete


@fast
@given(stream=streams())
def test_pieces_go_out_when_they_come(stream: Stream) -> None:
    """Each is written before anything is read beyond what brought it, and on its own."""
    assume(not stream.holds_an_end)  # which waits for what comes next
    relay = Relay(stream, NDJSON)
    relay.relay()
    arrivals = list(accumulate(map(len, stream.pieces)))
    ends = list(accumulate(len(sent.data) for sent in stream.heard))
    came = [next(n for n in arrivals if n >= end) for end in ends]
    pieces = [n for sent, n in zip(stream.heard, came, strict=True) if sent.told is not None]
    assert relay.read_by_then[: len(came[:1]) + len(pieces)] == came[:1] + pieces
    assert len(relay.written) == len(stream.told)


@fast
@given(answer=answers())
def test_names_of_resources_stay_inside(answer: tuple[Stream, Format]) -> None:
    """Whatever Bedrock or an exception says, and in whatever format, no account is told."""
    assert SECRET.encode() not in b"".join(Relay(*answer).relay())


@fast
@given(stream=streams(), sizes=SIZES, at=st.lists(st.integers(0, 30), min_size=1, max_size=5))
@pytest.mark.parametrize("chosen", [SSE, NDJSON, INVOKE_FRAMES], ids=["SSE", "NDJSON", "AWS"])
def test_heartbeats_mean_nothing(
    chosen: Format, stream: Stream, sizes: list[int], at: list[int]
) -> None:
    """Between any two pieces, before the first and after the last, they change nothing that a reader gives."""
    written = Relay(stream, chosen).relay()
    beating = list(written)
    for n in at:
        beating.insert(n % (len(beating) + 1), chosen.heartbeat)
    data, beaten = b"".join(written), b"".join(beating)
    if chosen is SSE:
        assert read_sse(cut(beaten, sizes)) == read_sse([data])
    elif chosen is NDJSON:
        told = read_ndjson(cut(beaten, sizes))
        assert [event for event in told if event != {"type": "ping"}] == read_ndjson([data])
        assert sum(event["type"] == "ping" for event in told) == len(at)
    else:
        frames = read_frames(cut(beaten, sizes))
        assert [f for f in frames if f[0].get(":event-type") != "ping"] == read_frames([data])
        assert read_as_boto3(cut(beaten, sizes), INVOKE) == read_as_boto3([data], INVOKE)


@fast
@given(answer=answers(), takes=st.integers(0, 12))
def test_a_reader_who_leaves_is_told_no_more(answer: tuple[Stream, Format], takes: int) -> None:
    """What was written is how the whole begins, and that nobody reads gets through to whoever must know."""
    whole = Relay(*answer).relay()
    relay = Relay(*answer, takes=takes)
    if takes < len(whole):
        with pytest.raises(ResponseClosed):
            relay.relay()
        assert not relay.record.ended
    else:
        relay.relay()
    assert relay.written == whole[:takes]


@fast
@given(answer=answers())
def test_a_reader_who_left_in_a_silence_is_told_no_more(answer: tuple[Stream, Format]) -> None:
    """A heartbeat that finds nobody ends the stream without a typed end, for there is nobody to tell."""
    stream, chosen = answer
    gone = Fault(raises=lambda: Interrupt(ResponseClosed(400)))
    if stream.fault.code == "corrupt" or stream.ending:
        gone = stream.fault  # it ends before
    relay = Relay(replace(stream, fault=gone), chosen)
    if gone is stream.fault:
        relay.relay()
        assert relay.record.ended
    else:
        with pytest.raises(ResponseClosed):
            relay.relay()
        assert relay.record.end is None


@fast
@given(answer=answers(), room=st.integers(0, 1500))
def test_an_answer_without_room_ends_typed(answer: tuple[Stream, Format], room: int) -> None:
    """What begins within the limit is as it would be without; beyond it blocks are closed, and there is the one end."""
    whole = Relay(*answer).relay()
    relay = Relay(*answer, room=room)
    relay.relay()
    begins = accumulate(map(len, relay.written), initial=0)
    within = sum(at < room for at, _ in zip(begins, relay.written, strict=False))
    assert relay.written[:within] == whole[:within]
    if relay.written != whole:
        assert isinstance(relay.record.end, Failure)
        assert relay.record.end.error.code == "response_too_large"
        assert len(relay.written) - within <= 5, "the ends of four blocks at most, and the one end"
    assert relay.record.ended

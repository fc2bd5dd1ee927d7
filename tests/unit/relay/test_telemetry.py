from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from relay import formats, telemetry, tempo
from relay.errors import limit_error, transport_error
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
from relay.measures import MEASURES
from relay.model_call import ModelCall
from relay.telemetry import Record
from tests.frames import chunk, frames

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL = ModelCall(
    route="/stream",
    operation="ConverseStream",
    model="a.model",
    parameters={"modelId": "a.model", "body": b"\xc3\xbc\xff", "system": [{"text": "brief"}]},
    format=formats.SSE,
)
START = Start("a.model", "r")
DONE = Done("end_turn", {})
USAGE = {
    "inputTokens": 3,
    "outputTokens": 5,
    "totalTokens": 8,
    "cacheReadInputTokens": 1,
    "cacheWriteInputTokens": 2,
    "cacheDetails": [{"ttl": "5m"}],
}


class Seen:
    """What was logged, counted and traced."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.metrics: dict[str, float] = {}
        self.dimensions: dict[str, str] = {}
        self.annotations: dict[str, Any] = {}
        self.flags: list[str] = []
        self.passed_through: BaseException | None = None
        self.log_takes_no_content = False

    def info(self, message: str, *, extra: dict[str, Any]) -> None:
        if self.log_takes_no_content and "request" in extra:
            raise RecursionError
        self.records.append((message, extra))

    def add_metric(self, name: str, unit: object, value: float) -> None:
        assert name not in self.metrics
        assert unit is MEASURES[name].unit
        self.metrics[name] = value

    def add_dimension(self, name: str, value: str) -> None:
        self.dimensions[name] = value

    @contextmanager
    def in_subsegment(self, name: str) -> Iterator[Any]:
        assert name == "## ConverseStream"
        try:
            yield self
        except BaseException as error:
            self.passed_through = error
            raise

    def put_annotation(self, key: str, value: Any) -> None:
        self.annotations[key] = value

    def add_error_flag(self) -> None:
        self.flags.append("error")

    def add_fault_flag(self) -> None:
        self.flags.append("fault")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen = Seen()
    monkeypatch.setattr(telemetry, "logger", seen)
    monkeypatch.setattr(telemetry, "metrics", seen)
    monkeypatch.setattr(telemetry, "tracer", SimpleNamespace(provider=seen))
    return seen


class Clock:
    """The time, which passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 64.0

    def perf_counter(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (telemetry, tempo):
        monkeypatch.setattr(module, "time", clock)
    return clock


def _told(seen: Seen, record: Record) -> dict[str, Any]:
    record.answered()
    record.tell(200, 99)
    ((message, fields),) = seen.records
    assert message == "stream"
    return fields


def _observe(record: Record, *events: Event | float, clock: Clock | None = None) -> None:
    """Let a record see a stream; a number is the seconds until its next event."""

    def stream() -> Iterator[Event]:
        for event in events:
            if isinstance(event, float):
                assert clock is not None
                clock.seconds += event
            else:
                yield event

    with record.calling(CALL):
        for _ in record.observe(stream()):
            pass


def test_a_stream_is_counted(seen: Seen, clock: Clock) -> None:
    """Pieces, tokens, times and the end: the same numbers in the record, the metrics and the trace."""
    record = Record(log_content=False)
    record.usage.update(USAGE)
    _observe(
        record, 0.5, START, 0.25, Reasoning(0, "hm"), 0.125, BlockEnd(0), 0.125, Text(1, "a"),
        2.0, Unknown("new", b"", b""), 0.5, Text(1, "b"), BlockEnd(1), 1.0, DONE, clock=clock,
    )  # fmt: skip
    clock.seconds += 0.0625
    known = {
        "route": "/stream",
        "model": "a.model",
        "pieces": 4,
        "time_to_first_token_ms": 750.0,
        "time_between_pieces_p50_ms": 500.0,
        "time_between_pieces_p95_ms": 2000.0,
        "time_between_pieces_max_ms": 2000.0,
        "stalls": 1,
        "input_tokens": 3,
        "output_tokens": 5,
        "cache_read_input_tokens": 1,
        "cache_write_input_tokens": 2,
        "stop_reason": "end_turn",
    }
    fields = _told(seen, record)
    assert fields == {**known, "status": 200, "bytes": 99, "duration_ms": 4562.5}
    assert (seen.annotations, seen.flags) == (known, [])
    assert seen.dimensions == {"model": "a.model"}
    assert seen.metrics == {
        "Requests": 1,
        "Failures": 0,
        "Refusals": 0,
        "Duration": 4562.5,
        "TimeToFirstToken": 750.0,
        "TimeBetweenPiecesP50": 500.0,
        "TimeBetweenPiecesP95": 2000.0,
        "TimeBetweenPiecesMax": 2000.0,
        "Stalls": 1,
        "InputTokens": 3,
        "OutputTokens": 5,
        "CacheReadInputTokens": 1,
        "CacheWriteInputTokens": 2,
    }


@pytest.mark.parametrize("pieces", [[], [Text(0, "a")]])
def test_there_is_no_time_between_fewer_than_two_pieces(seen: Seen, pieces: list[Event]) -> None:
    """What was not measured is not told."""
    record = Record(log_content=False)
    _observe(record, START, *pieces, DONE)
    told = _told(seen, record).keys() | seen.metrics.keys() | seen.annotations.keys()
    assert not {name for name in told if "etween" in name or name in {"stalls", "Stalls"}}
    assert ("time_to_first_token_ms" in told) == ("TimeToFirstToken" in told) == bool(pieces)


def _forwarded(data: bytes) -> Forwarded:
    """Return the event of a frame that is forwarded."""
    (frame,) = frames(data)
    return Forwarded(frame.headers[":event-type"], frame.payload, frame.data)


NO_TOKENS: list[Event] = [
    _forwarded(chunk({"type": "message_start", "message": {"content": []}})),
    _forwarded(chunk({"messageStart": {"role": "assistant"}}, p="abc")),
    _forwarded(chunk({"type": "ping"})),
    Forwarded("messageStart", b'{"role":"assistant"}', b""),
    Forwarded("contentBlockStart", b'{"start":{"toolUse":{}}}', b""),
    Forwarded("contentBlockStop", b"{}", b""),
    Forwarded("messageStop", b'{"stopReason":"end_turn"}', b""),
    Forwarded("aNewEvent", b'{"delta":{"text":"a"}}', b""),
    Forwarded("", b"", b""),
    Chunk(b'{"type":"message_start","message":{"id":"msg_1","content":[]}}', b""),
    Chunk(b'{"type": "content_block_start", "index": 0, "content_block": {}}', b""),
    Chunk(b'{"messageStart": {"role": "assistant"}}', b""),
    Chunk(b'{"contentBlockStart": {"start": {"toolUse": {}}}}', b""),
    ToolStart(0, {"name": "look"}),
    ToolResultStart(0, {}),
    ImageStart(0, "png"),
    Text(0, ""),
    Reasoning(0, ""),
    Unknown("new", b"{}", b""),
    Chunk(b'{"type":"ping"}', b""),
]
TOKENS: list[Event] = [
    _forwarded(chunk({"type": "content_block_delta", "delta": {"text": "a"}})),
    _forwarded(chunk(b"no JSON")),
    Forwarded("chunk", b"no base64", b""),
    Forwarded("contentBlockDelta", b'{"delta":{"text":"a"}}', b""),
    Forwarded("contentBlockDelta", b'{"delta":{"toolUse":{"input":""}}}', b"", more=True),
    Text(0, "a"),
    Reasoning(0, "a"),
    ReasoningSignature(0, "c2ln"),
    RedactedReasoning(0, "AAEC"),
    ToolInput(0, "{"),
    ToolResult(0, []),
    Image(0, {}),
    Citation(0, {}),
    Chunk(b'{"type":"content_block_delta","delta":{"text":"a"}}', b""),
    Chunk(rb'{"delta":{"text":"\"message_start\""}}', b""),
    Chunk(b'{"delta":{"text":"%b"},"of":"message_start"}' % (b"a" * 200), b""),
    Chunk(b"\xff", b""),
]


@pytest.mark.parametrize("token", TOKENS, ids=repr)
def test_what_only_opens_is_no_token(seen: Seen, clock: Clock, token: Event) -> None:
    """The time to the first token is that to the first piece of the answer itself, in either lane."""
    record = Record(log_content=False)
    waits = [event for opening in NO_TOKENS for event in (0.25, opening)]
    _observe(record, START, *waits, 0.25, token, 1.0, token, DONE, clock=clock)
    fields = _told(seen, record)
    assert fields["time_to_first_token_ms"] == 250.0 * (len(NO_TOKENS) + 1)
    assert fields["pieces"] == len(NO_TOKENS) + 2


@pytest.mark.parametrize(("usage", "partial"), [({}, False), ({"outputTokens": 1}, True)])
def test_a_failed_stream_says_why(seen: Seen, usage: dict[str, int], *, partial: bool) -> None:
    """The code, the cause by its type alone, and the usage so far, marked as a part."""
    error = transport_error("connection_lost")
    error.__cause__ = ConnectionResetError("its private words")
    record = Record(log_content=False)
    record.usage.update(usage)
    _observe(record, START, Text(0, "a"), Failure(error, record.usage))
    fields = _told(seen, record)
    told: dict[str, Any] = {"error": "connection_lost", "cause": "ConnectionResetError"}
    told |= {"at_fault": "service"}
    told |= {"output_tokens": 1, "usage_partial": True} if partial else {}
    assert told.items() <= fields.items()
    assert told.items() <= seen.annotations.items()
    assert ("usage_partial" in fields) == partial
    assert seen.flags == ["fault"]
    assert (seen.metrics["Failures"], seen.metrics["Refusals"], seen.metrics["Errors"]) == (1, 0, 1)
    assert seen.dimensions == {"model": "a.model", "code": "connection_lost"}
    assert "private" not in str(vars(seen))


def test_the_model_that_answered_is_told(seen: Seen) -> None:
    """Where another model stands in, it is the one that is counted, and the record says for which."""
    record = Record(log_content=False)
    _observe(record, Start("b.model", "r", fallback_from="a.model"), DONE)
    told = {"model": "b.model", "fallback_from": "a.model"}.items()
    assert told <= _told(seen, record).items()
    assert told <= seen.annotations.items()
    assert seen.dimensions == {"model": "b.model"}
    assert seen.metrics["Fallbacks"] == 1


def test_what_others_know_is_noted(seen: Seen) -> None:
    """The latest values from elsewhere, unless they say nothing, and how often a thing happened."""
    record = Record(log_content=False)
    with record.calling(CALL):
        record.note(bedrock_request_id="a1", retries=1, fallback_from="a.model")
        record.note(bedrock_request_id="b1", retries=2, fallback_from=None)
        record.count("heartbeats")
        record.count("heartbeats")
    told = {"bedrock_request_id": "b1", "retries": 2, "heartbeats": 2}.items()
    assert told <= seen.annotations.items()
    fields = _told(seen, record)
    assert told <= fields.items()
    assert "fallback_from" not in fields


def test_a_model_is_told_by_the_name_that_callers_know(seen: Seen) -> None:
    """A call that fails before its stream begins is told by its model's name, as one that begins is."""
    record = Record(log_content=False)
    with pytest.raises(OSError, match="gone"), record.calling(CALL, "an.alias"):
        raise OSError("gone")
    assert _told(seen, record)["model"] == "an.alias"
    assert seen.dimensions["model"] == seen.annotations["model"] == "an.alias"


@pytest.mark.parametrize(
    ("error", "code", "cause"),
    [
        (transport_error("connect_failed"), "connect_failed", None),
        (limit_error("timeout"), "timeout", None),
        (KeyError("private"), "internal", "KeyError"),
    ],
)
def test_an_exception_leaves_no_words_in_the_trace(
    seen: Seen, error: BaseException, code: str, cause: str | None
) -> None:
    """What ends a call is noted by its code, and does not pass through the tracer, which would keep its words."""
    record = Record(log_content=False)
    with pytest.raises(type(error)), record.calling(CALL):
        raise error
    assert seen.annotations["error"] == code
    assert seen.annotations.get("cause") == cause
    assert seen.flags == ["fault"]
    assert seen.passed_through is None
    assert _told(seen, record)["error"] == code


def test_what_is_known_better_is_kept(seen: Seen) -> None:
    """Whoever has noted why a call ends is not contradicted by the exception that then passes."""
    record = Record(log_content=False)
    with pytest.raises(OSError, match="gone"), record.calling(CALL):  # noqa: PT012  # noted, then raised
        record.failed("caller_gone")
        raise OSError("gone")
    assert (seen.annotations["error"], seen.annotations["at_fault"]) == ("caller_gone", "caller")
    assert seen.flags == ["error"]
    assert "cause" not in seen.annotations
    assert _told(seen, record)["error"] == "caller_gone"


def test_pieces_are_counted_up_to_where_it_broke(seen: Seen) -> None:
    """A reader that stops, or fails, leaves the true count: nothing waits for a generator to be finalised."""
    record = Record(log_content=False)
    pieces: list[Event] = [Start("m", "r"), Text(0, "a"), Text(0, "b"), Text(0, "c")]

    def read() -> None:
        with record.calling(CALL):
            for event in record.observe(pieces):
                if event == Text(0, "b"):
                    raise KeyError

    with pytest.raises(KeyError):
        read()
    assert seen.annotations["pieces"] == 2
    assert _told(seen, record)["pieces"] == 2


@pytest.mark.parametrize("last", [Done("x", {}), Failure(transport_error("corrupt"))], ids=repr)
def test_the_end_counts_once_it_is_passed_on(last: Done | Failure) -> None:
    """``ended`` is true only when whoever took the end has asked for more: then it has been written."""
    record = Record(log_content=False)
    pieces: list[Event] = [Text(0, "a"), last]
    events = record.observe(pieces)
    assert (next(events), record.end, record.ended) == (Text(0, "a"), None, False)
    assert (next(events), record.end, record.ended) == (last, last, False)
    assert (next(events, None), record.end, record.ended) == (None, last, True)


@pytest.mark.parametrize(
    "count", [None, "5", [5], {}, 2**360, -(10**400), float("inf"), float("nan")], ids=repr
)
def test_counts_that_are_none_are_left_out(seen: Seen, count: Any) -> None:
    """What Bedrock counts in something else than numbers that a metric can take is no part of a usage."""
    record = Record(log_content=False)
    record.usage.update({"inputTokens": count, "elseTokens": 7})
    _observe(record, Failure(transport_error("truncated"), record.usage))
    fields = _told(seen, record)
    assert not {"input_tokens", "elseTokens", "usage_partial"} & fields.keys()
    assert not {"InputTokens", "OutputTokens"} & seen.metrics.keys()


def test_a_request_that_is_no_call_has_no_model(seen: Seen) -> None:
    """A health check or a refused request is counted by itself."""
    record = Record(log_content=True)
    record.note(caller="a.role", auth="iam")
    record.failed("not_found")
    record.answered()
    record.tell(404, 10)
    ((message, fields),) = seen.records
    assert message == "request"
    known = {"caller", "auth", "error", "at_fault", "status", "bytes", "duration_ms"}
    assert fields.keys() == known
    assert seen.dimensions == {"code": "not_found", "auth": "iam"}
    counts = {"Requests": 1, "Failures": 0, "Refusals": 1, "Errors": 1}
    assert seen.metrics == {**counts, "Duration": fields["duration_ms"]}


@pytest.mark.parametrize("log_content", [True, False])
def test_what_was_said_is_logged_only_if_wanted(seen: Seen, *, log_content: bool) -> None:
    """The request and the answer as text, in the log alone, and only where the deployment says so."""
    record = Record(log_content=log_content)
    _observe(
        record,
        Reasoning(0, "hm"),
        Text(0, "Grü"),
        Text(0, "ße"),
        Chunk('{"a":"ü"}'.encode(), b""),
        Done("x", {}),
    )
    fields = _told(seen, record)
    if log_content:
        assert fields["answer"] == 'Grüße{"a":"ü"}'
        said = {"modelId": "a.model", "body": "ü�", "system": [{"text": "brief"}]}
        assert fields["request"] == said
    else:
        assert not {"request", "answer"} & fields.keys()
    assert "Grü" not in str(seen.annotations) + str(seen.metrics)


@pytest.mark.parametrize("log_content", [True, False])
def test_what_was_forwarded_is_logged_only_if_wanted(seen: Seen, *, log_content: bool) -> None:
    """A model's documents are told out of their base64, Bedrock's own events as they are, and the request as sent."""
    record = Record(log_content=log_content)
    sent = '{ "messages":[], "of":"tomorrow ü" }'
    with record.calling(replace(CALL, body=sent.encode())):
        pieces = [
            _forwarded(chunk('{"a":"ü"}'.encode(), p="abc")),
            Forwarded("contentBlockDelta", '{"delta":{"text":"ö"}}'.encode(), b""),
            Forwarded("chunk", b'{"bytes":5}', b""),
            Forwarded("aNewEvent", b"\xff", b""),
        ]
        assert list(record.observe([START, *pieces, DONE])) == [START, *pieces, DONE]
    fields = _told(seen, record)
    assert (fields["pieces"], record.pieces) == (4, 4)
    if log_content:
        assert fields["answer"] == '{"a":"ü"}{"delta":{"text":"ö"}}{"bytes":5}\ufffd'
        assert fields["request"] == sent
    else:
        assert not {"request", "answer"} & fields.keys()
    assert "ü" not in str(seen.annotations) + str(seen.metrics)


def test_a_document_is_a_token_and_an_answer(seen: Seen, clock: Clock) -> None:
    """The one of an operation that does not stream: its time to the first token is that to all of them."""
    record = Record(log_content=True)
    document = b'{"output":{"message":{"content":[{"text":"hi"}]}},"stopReason":"end_turn"}'
    _observe(record, 0.5, START, 0.25, Chunk(document), DONE, clock=clock)
    fields = _told(seen, record)
    assert (fields["time_to_first_token_ms"], fields["pieces"]) == (750.0, 1)
    assert fields["answer"] == document.decode()


def test_what_cannot_be_logged_does_not_spoil_the_answer(seen: Seen) -> None:
    """Content that is nested too deeply for the log is left out of it, and all the rest is told."""
    seen.log_takes_no_content = True
    record = Record(log_content=True)
    _observe(record, START, Text(0, "a"), DONE)
    fields = _told(seen, record)
    assert fields["stop_reason"] == "end_turn"
    assert not {"request", "answer"} & fields.keys()

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from relay import formats, telemetry
from relay.errors import transport_error
from relay.events import BlockEnd, Chunk, Done, Event, Failure, Reasoning, Start, Text, Unknown
from relay.request import ModelCall
from relay.telemetry import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL = ModelCall(
    route="/stream",
    operation="ConverseStream",
    model="a.model",
    parameters={"modelId": "a.model", "body": b"\xc3\xbc\xff", "system": [{"text": "brief"}]},
    format=formats.SSE,
)
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
        self.fault = False
        self.passed_through: BaseException | None = None

    def info(self, message: str, *, extra: dict[str, Any]) -> None:
        self.records.append((message, extra))

    def add_metric(self, name: str, _unit: object, value: float) -> None:
        assert name not in self.metrics
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

    def add_fault_flag(self) -> None:
        self.fault = True


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen = Seen()
    monkeypatch.setattr(telemetry, "logger", seen)
    monkeypatch.setattr(telemetry, "metrics", seen)
    monkeypatch.setattr(telemetry, "tracer", SimpleNamespace(provider=seen))
    return seen


def _told(seen: Seen, record: Record) -> dict[str, Any]:
    record.tell(200, 99)
    ((message, fields),) = seen.records
    assert message == "stream"
    return fields


def _observe(record: Record, *events: Event) -> None:
    with record.calling(CALL):
        for _ in record.observe(events):
            pass


def test_a_stream_is_counted(seen: Seen) -> None:
    """Pieces, tokens, times and the end: the same numbers in the record, the metrics and the trace."""
    record = Record(log_content=False)
    pieces = (Reasoning(0, "hm"), Text(1, "a"), Unknown("new", b"", b""))
    end = Done("end_turn", USAGE)
    _observe(record, Start("m", "r"), *pieces, BlockEnd(1), end)
    fields = _told(seen, record)
    first, whole = fields["time_to_first_token_ms"], fields["duration_ms"]
    assert 0 <= first <= whole
    known = {
        "route": "/stream",
        "model": "a.model",
        "pieces": 3,
        "time_to_first_token_ms": first,
        "input_tokens": 3,
        "output_tokens": 5,
        "cache_read_input_tokens": 1,
        "cache_write_input_tokens": 2,
        "stop_reason": "end_turn",
    }
    assert fields == {**known, "status": 200, "bytes": 99, "duration_ms": whole}
    assert (seen.annotations, seen.fault) == (known, False)
    assert seen.dimensions == {"model": "a.model"}
    assert seen.metrics == {
        "Requests": 1,
        "Failures": 0,
        "Duration": whole,
        "TimeToFirstToken": first,
        "Pieces": 3,
        "Bytes": 99,
        "InputTokens": 3,
        "OutputTokens": 5,
        "CacheReadInputTokens": 1,
        "CacheWriteInputTokens": 2,
    }


def test_a_failed_stream_says_why(seen: Seen) -> None:
    """The code, the cause by its type alone, and the usage so far."""
    error = transport_error("connection_lost")
    error.__cause__ = ConnectionResetError("its private words")
    record = Record(log_content=False)
    _observe(record, Start("m", "r"), Text(0, "a"), Failure(error, {"outputTokens": 1}))
    fields = _told(seen, record)
    told = {"error": "connection_lost", "cause": "ConnectionResetError", "output_tokens": 1}
    assert told.items() <= fields.items()
    assert told.items() <= seen.annotations.items()
    assert seen.fault
    assert seen.metrics["Failures"] == 1
    assert "private" not in str(vars(seen))


@pytest.mark.parametrize(
    ("error", "code", "cause"),
    [
        (transport_error("connect_failed"), "connect_failed", None),
        (GeneratorExit(), "caller_gone", None),
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
    assert seen.fault
    assert seen.passed_through is None
    assert _told(seen, record)["error"] == code


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


def test_the_end_counts_once_it_is_passed_on() -> None:
    """``ended`` is true only when whoever took the end has asked for more: then it has been written."""
    record = Record(log_content=False)
    record._fields["pieces"] = 0
    pieces: list[Event] = [Text(0, "a"), Done("x", {})]
    events = record.observe(pieces)
    assert (next(events), record.ended) == (Text(0, "a"), False)
    assert (next(events), record.ended) == (Done("x", {}), False)
    assert (next(events, None), record.ended) == (None, True)


@pytest.mark.parametrize("count", [None, "5", [5], {}])
def test_counts_that_are_none_are_left_out(seen: Seen, count: Any) -> None:
    """What Bedrock counts in something else than numbers breaks no metric."""
    record = Record(log_content=False)
    _observe(record, Done("x", {"inputTokens": count, "outputTokens": 5}))
    fields = _told(seen, record)
    assert "input_tokens" not in fields
    assert seen.metrics["OutputTokens"] == 5


def test_a_request_that_is_no_call_has_no_model(seen: Seen) -> None:
    """A health check or a refused request is counted by itself."""
    record = Record(log_content=True)
    record.failed("not_found")
    record.tell(404, 10)
    ((message, fields),) = seen.records
    assert message == "request"
    assert fields.keys() == {"error", "status", "bytes", "duration_ms"}
    assert seen.dimensions == {}
    assert (seen.metrics["Requests"], seen.metrics["Failures"]) == (1, 1)


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

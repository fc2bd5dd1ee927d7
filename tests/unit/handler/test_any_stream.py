from __future__ import annotations

import json
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from relay.bedrock import Answer, _frames
from streaming_runtime.decorator import set_response_opener
from tests.readers import read_ndjson
from tests.strategies.streams import Raw, Stream, known, streams
from tests.strategies.values import NO_COUNT, paired
from tests.unit.handler import fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.model_call import ModelCall
    from relay.watchdog import Watchdog

CONVERSE, INVOKE = "ConverseStream", "InvokeModelWithResponseStream"
EVENTS = {
    "over HTTP": {CONVERSE: fakes.a_request(), INVOKE: fakes.a_request(fakes.INVOKE_PATH)},
    "directly": {CONVERSE: {"prompt": "hi"}},
}

few = settings(
    deadline=None,
    max_examples=settings().max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Bedrock(fakes.Bedrock):
    """A Bedrock that answers with a stream."""

    def __init__(self, answer: Stream) -> None:
        super().__init__()
        self._stream = answer

    @contextmanager
    def stream(self, call: ModelCall, watchdog: Watchdog) -> Iterator[Answer]:
        self.asked.append(call)
        self.open += 1
        try:
            yield Answer(_frames(Raw(self._stream), watchdog), "bedrock-request", 0)
        finally:
            self.open -= 1


class Handled(NamedTuple):
    """What comes of a stream: the body that its caller gets, and its one record."""

    body: fakes.Body
    record: dict[str, Any]

    @property
    def told(self) -> list[Any]:
        return [known(said) for said in read_ndjson(self.body.pieces)]


@pytest.fixture
def handle(
    handler: Any, choose: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Handled]:
    """Put a stream through the whole function, to a caller who takes some pieces of it."""

    def handle(stream: Stream, event: Any, takes: float = math.inf, **chosen: Any) -> Handled:
        bedrock, body = Bedrock(stream), fakes.Body()
        body.takes = takes
        monkeypatch.setattr(handler, "bedrock", bedrock)
        choose(**chosen)
        set_response_opener(body)
        try:
            handler.handle(event, fakes.Context())
        finally:
            set_response_opener(None)
        assert (bedrock.open, len(bedrock.asked)) == (0, 1), "asked once, and closed"
        lines = [json.loads(line) for line in capsys.readouterr().out.split("\n") if line]
        (record,) = [line for line in lines if line.get("message") == "stream"]
        return Handled(body, record)

    return handle


@few
@given(stream=streams(), way=st.sampled_from(sorted(EVENTS)))
def test_any_stream_is_told_or_refused(
    handle: Callable[..., Handled], stream: Stream, way: str
) -> None:
    """All that came in its order, and one end, which is the trailers', too; before the start an HTTP status instead."""
    assume(stream.operation in EVENTS[way])
    handled = handle(stream, EVENTS[way][stream.operation])
    body = handled.body
    if not stream.is_started and way == "over HTTP":
        (said,) = body.objects
        assert 400 <= body.status < 600
        assert (said["error"]["code"], body.failures) == (stream.code, [])
    else:
        assert (body.status, handled.told) == (200, stream.told)
        failed = [] if stream.is_complete else [f"Rivulet.{stream.code}"]
        assert [kind for kind, _ in body.failures] == failed


@few
@given(stream=streams(), logged=st.booleans())
def test_the_record_agrees_with_any_stream(
    handle: Callable[..., Handled], stream: Stream, *, logged: bool
) -> None:
    """Whatever Bedrock says there is one record, with what was counted and how it ended; with the answer if wanted."""
    event = EVENTS["over HTTP"][stream.operation]
    record = handle(stream, event, log_content=logged).record
    end = stream.told[-1]
    assert (record.get("error"), record.get("stop_reason")) == (
        end.get("code"),
        end.get("stop_reason"),
    )
    counted = stream.usage.get("outputTokens")
    assert record.get("output_tokens") == (None if counted == NO_COUNT else counted)
    beside = {"start", "block_end", "done", "error"}
    assert record["pieces"] == sum(said["type"] not in beside for said in stream.told)
    assert ("answer" in record) == logged
    if logged and stream.operation == CONVERSE:
        assert record["answer"] == paired(stream.text)


@few
@given(stream=streams(), takes=st.integers(0, 9))
def test_a_caller_who_leaves_any_stream_is_told_no_more(
    handle: Callable[..., Handled], stream: Stream, takes: int
) -> None:
    """What was taken is how the whole begins; nothing follows it, and the record says why."""
    assume(stream.is_started and takes < len(stream.told))
    handled = handle(stream, EVENTS["over HTTP"][stream.operation], takes)
    assert handled.told == stream.told[:takes]
    assert handled.record["error"] == "caller_gone"

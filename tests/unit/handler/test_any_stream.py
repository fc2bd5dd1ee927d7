from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.bedrock import Answer, _frames
from streaming_runtime.decorator import set_response_opener
from tests.readers import read_ndjson
from tests.strategies.streams import Raw, Stream, streams
from tests.strategies.values import NO_COUNT, paired
from tests.unit.handler import fakes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from relay.request import ModelCall
    from relay.watchdog import Watchdog

PATHS = {"ConverseStream": "/stream", "InvokeModelWithResponseStream": fakes.INVOKE_PATH}


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


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    stream=streams(),
    direct=st.booleans(),
    takes=st.sampled_from([1_000_000]) | st.integers(0, 9),
    logged=st.booleans(),
)
def test_any_stream_has_one_end_and_one_record(
    handler: Any,
    choose: Any,
    capsys: pytest.CaptureFixture[str],
    stream: Stream,
    takes: int,
    *,
    direct: bool,
    logged: bool,
) -> None:
    """Through the whole function: all that came in its order, one end, upstream closed, and a record that agrees."""
    direct = direct and stream.operation == "ConverseStream"
    event = {"prompt": "hi"} if direct else fakes.a_request(PATHS[stream.operation])
    choose(log_content=logged)
    handler.bedrock = bedrock = Bedrock(stream)
    body = fakes.Body()
    body.takes = takes
    set_response_opener(body)
    try:
        handler.handle(event, fakes.Context())
    finally:
        set_response_opener(None)
    assert (bedrock.open, len(bedrock.asked)) == (0, 1)
    lines = [json.loads(line) for line in capsys.readouterr().out.split("\n") if line]
    (record,) = [line for line in lines if line.get("message") == "stream"]
    refused = not (direct or stream.is_started)
    expected = [{"error": stream.code}] if refused else stream.told
    assert [_known(said) for said in read_ndjson(body.pieces)] == expected[:takes]
    if takes < len(expected):
        assert record["error"] == "caller_gone"
        return
    failed = not stream.is_complete
    assert (body.status >= 400) == refused
    assert [kind for kind, _ in body.failures] == [f"Rivulet.{stream.code}"] * (failed > refused)
    assert record.get("error") == (stream.code if failed else None)
    assert record.get("stop_reason") == expected[-1].get("stop_reason")
    counted = stream.usage.get("outputTokens")
    assert record.get("output_tokens") == (None if counted == NO_COUNT else counted)
    beside = {"start", "block_end", "done", "error"}
    assert record["pieces"] == sum(said.get("type", "error") not in beside for said in expected)
    if logged and stream.operation == "ConverseStream":
        assert record["answer"] == paired(stream.text)
    assert ("answer" in record) == logged


def _known(said: Any) -> dict[str, Any]:
    """Return what is told, but for what only an error itself knows; of a refusal its code."""
    if "error" in said:
        return {"error": said["error"]["code"]}
    hidden = {"message", "retryable", "original_status"} if said["type"] == "error" else set()
    return {name: value for name, value in said.items() if name not in hidden}

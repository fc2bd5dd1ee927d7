from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import bedrock_error
from relay.eventstream import read_frames
from tests.frames import LAST_CHUNK, USAGE, chunk, event, exception
from tests.unit.handler.fakes import INVOKE_PATH, MODEL, WHOLE, Bedrock, Context, a_request, record

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_stream_is_told_from_start_to_done(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Status, headers and each event as a piece of its own; one record with what was counted."""
    body = ask(Bedrock(*WHOLE))
    assert body.status == 200
    assert body.headers == {
        "x-request-id": "the-request",
        "content-type": "application/x-ndjson; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "x-content-type-options": "nosniff",
    }
    assert body.objects == [
        {"type": "start", "model": MODEL, "request_id": "the-request"},
        {"type": "text", "index": 0, "text": "Grüße"},
        {"type": "block_end", "index": 0},
        {
            "type": "done",
            "stop_reason": "end_turn",
            "usage": USAGE,
            "metrics": {"latencyMs": 900},
        },
    ]
    assert len(body.pieces) == 4
    assert body.failures == []
    told = record(capsys)
    assert {
        "message": "stream",
        "function_request_id": "the-request",
        "route": "/stream",
        "model": MODEL,
        "status": 200,
        "pieces": 1,
        "bytes": sum(map(len, body.pieces)),
        "input_tokens": 3,
        "output_tokens": 5,
        "stop_reason": "end_turn",
        "bedrock_request_id": "bedrock-request",
        "retries": 2,
    }.items() <= told.items()
    assert 0 < told["time_to_first_token_ms"] <= told["duration_ms"]
    assert not {"error", "heartbeats", "fallback_from", "usage_partial"} & told.keys()


def test_health_is_answered(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """200 and the version, without a call, however little time there is."""
    bedrock = Bedrock()
    event = {"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}}
    body = ask(bedrock, event, seconds_left=0.01)
    assert (body.status, body.headers["content-type"]) == (200, "application/json")
    assert body.objects[0]["status"] == "ok"
    assert bedrock.asked == []
    assert record(capsys)["message"] == "request"


def test_a_models_own_stream_goes_out_as_it_came(ask: Any) -> None:
    """The AWS event stream: frame for frame, and an exception frame for a stream that was cut."""
    first = chunk({"a": 1}, p="padding")
    body = ask(Bedrock(first, LAST_CHUNK), path=INVOKE_PATH, accept="*/*")
    assert body.pieces == [first, LAST_CHUNK]
    assert body.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert body.failures == []


def test_a_models_own_stream_that_is_cut_ends_with_an_exception(ask: Any) -> None:
    """Cut, it ends with a whole frame that says so."""
    body = ask(Bedrock(chunk({"a": 1})), path=INVOKE_PATH, accept="*/*")
    *_, last = read_frames(body.pieces)
    assert last.headers[":message-type"] == "exception"
    assert [kind for kind, _ in body.failures] == ["Rivulet.truncated"]


def test_without_streaming_the_answer_is_the_usual_one(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a runtime that cannot stream, the same handler returns the proxy response."""
    monkeypatch.setattr(handler, "bedrock", Bedrock(*WHOLE))
    answer = handler.handle(a_request(accept="text/plain"), Context())
    assert (answer["statusCode"], answer["body"], answer["isBase64Encoded"]) == (
        200,
        "Grüße",
        False,
    )


def test_content_is_logged_only_if_switched_on(
    ask: Any, choose: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompt and answer are in the record where the deployment wants them, in both lanes, and as text."""
    choose(log_content=True)
    ask(Bedrock(*WHOLE))
    ask(Bedrock(chunk({"a": "ü"}), LAST_CHUNK), path=INVOKE_PATH, accept="*/*")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    converse, invoke = (line for line in lines if line.get("message") == "stream")
    assert converse["request"]["messages"][0]["content"] == [{"text": "my private prompt"}]
    assert converse["answer"] == "Grüße"
    assert invoke["request"]["body"] == '{"prompt":"my private prompt"}'
    assert invoke["answer"].startswith('{"a": "ü"}')


def test_content_that_no_utf8_can_carry_is_logged(
    ask: Any, choose: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a surrogate pair, where the model's answer was cut, is in the record as JSON's escape."""
    choose(log_content=True)
    half = event("contentBlockDelta", rb'{"delta":{"text":"\u00fc\ud83e"}}')
    body = ask(Bedrock(half, *WHOLE[2:]))
    assert body.types[-1] == "done"
    (line,) = (line for line in capsys.readouterr().out.splitlines() if '"stream"' in line)
    assert json.loads(line)["answer"] == "ü\ud83e"


OTHER = "us.amazon.nova-lite-v1:0"
THROTTLED = bedrock_error("ThrottlingException", "private words")


@pytest.mark.parametrize(
    "busy",
    [
        lambda others: Bedrock(refuses=THROTTLED, others=others),
        lambda others: Bedrock(exception("throttlingException", {}), others=others),
    ],
    ids=["at the call", "in the first frame"],
)
def test_another_model_answers_where_one_is_busy(
    ask: Any,
    choose: Any,
    traced: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    busy: Callable[[Any], Bedrock],
) -> None:
    """The caller is told by the start event, the deployment by record and trace; one stream at a time is open."""
    choose(fallback_model_ids=(OTHER,))
    other = Bedrock(*WHOLE, before=lambda: opened.append(bedrock.open))
    opened: list[int] = []
    bedrock = busy({OTHER: other})
    body = ask(bedrock)
    assert body.status == 200
    assert body.objects[0] == {
        "type": "start",
        "model": OTHER,
        "request_id": "the-request",
        "fallback_from": MODEL,
    }
    assert body.types == ["start", "text", "block_end", "done"]
    assert [call.parameters["modelId"] for call in bedrock.asked] == [MODEL, OTHER]
    assert opened == [0]
    told = record(capsys)
    assert (told["model"], told["fallback_from"]) == (OTHER, MODEL)
    assert "error" not in told
    assert (traced["model"], traced["fallback_from"]) == (OTHER, MODEL)
    assert "fault" not in traced


def test_where_all_are_busy_the_last_one_is_heard(
    ask: Any, choose: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its error is the status, and the record is of its call, and says whose place it was to take."""
    choose(fallback_model_ids=(OTHER,))
    unavailable = Bedrock(refuses=bedrock_error("ServiceUnavailableException", "private words"))
    body = ask(Bedrock(refuses=THROTTLED, others={OTHER: unavailable}))
    assert (body.status, body.headers["retry-after"]) == (503, "5")
    assert body.objects[0]["error"]["code"] == "service_unavailable"
    told = record(capsys)
    assert (told["model"], told["fallback_from"]) == (OTHER, MODEL)
    assert told["error"] == "service_unavailable"


@pytest.mark.parametrize("first", ["refuses", "fails at its first event"])
def test_the_record_is_of_the_call_whose_error_is_told(
    ask: Any, choose: Any, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    """Where a stand-in fails otherwise, the first model's error is told, and the first model's call is recorded."""
    choose(fallback_model_ids=(OTHER,))
    denied = bedrock_error("AccessDeniedException", "private words")
    denied.request_id, denied.retries = "the other's", 1
    others = {OTHER: Bedrock(refuses=denied)}
    throttled = bedrock_error("ThrottlingException")
    throttled.request_id, throttled.retries = "bedrock-request", 2
    if first == "refuses":
        bedrock = Bedrock(refuses=throttled, others=others)
    else:
        bedrock = Bedrock(exception("throttlingException", {}), others=others)
    body = ask(bedrock)
    assert (body.status, body.objects[0]["error"]["code"]) == (429, "throttling")
    told = record(capsys)
    assert (told["error"], told["model"]) == ("throttling", MODEL)
    assert (told["bedrock_request_id"], told["retries"]) == ("bedrock-request", 2)
    assert "fallback_from" not in told


def test_a_model_that_fails_otherwise_is_the_only_one_asked(ask: Any, choose: Any) -> None:
    """What another model would not do better is not asked of it."""
    choose(fallback_model_ids=(OTHER,))
    other = Bedrock(*WHOLE)
    body = ask(Bedrock(refuses=bedrock_error("ValidationException"), others={OTHER: other}))
    assert (body.status, other.asked) == (400, [])


def test_a_models_own_request_goes_to_its_other_profiles_alone(ask: Any, choose: Any) -> None:
    """Its body is in the model's own schema, and is sent on byte for byte."""
    profile = f"us.{MODEL}"
    choose(fallback_model_ids=(OTHER, profile))
    bedrock = Bedrock(refuses=THROTTLED, others={profile: Bedrock(chunk({}), LAST_CHUNK)})
    body = ask(bedrock, path=INVOKE_PATH, accept="application/x-ndjson")
    assert body.objects[0]["fallback_from"] == MODEL
    assert body.types[-1] == "done"
    assert [call.parameters["modelId"] for call in bedrock.asked] == [MODEL, profile]
    assert {call.parameters["body"] for call in bedrock.asked} == {
        b'{"prompt":"my private prompt"}'
    }

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import UpstreamError, bedrock_error, transport_error
from relay.formats import NDJSON, Format
from streaming_runtime import ResponseClosed
from tests.frames import MESSAGE_START, delta, exception
from tests.unit.handler.fakes import SECRET, WHOLE, Bedrock, Body, OurBug, a_request, record

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        (a_request("/nothing"), 404, "not_found"),
        (a_request(method="GET"), 405, "method_not_allowed"),
        (a_request(accept="image/png"), 406, "not_acceptable"),
        ({"requestContext": {"httpMethod": "GET"}}, 400, "invalid_event"),
    ],
)
def test_a_bad_request_has_its_status(
    ask: Any, capsys: pytest.CaptureFixture[str], event: Any, status: int, code: str
) -> None:
    """A request that is none is refused in JSON, without a call, and is no failure of the function's."""
    bedrock = Bedrock()
    body = ask(bedrock, event)
    assert (body.status, body.headers["content-type"]) == (status, "application/json")
    (said,) = body.objects
    assert (said["error"]["code"], said["error"]["request_id"]) == (code, "the-request")
    assert said.keys() == {"error"}
    assert said["error"].keys() == {"code", "message", "retryable", "request_id"}
    assert bedrock.asked == []
    assert body.failures == []
    assert ("allow" in body.headers) == (status == 405)
    assert record(capsys)["error"] == code


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/plain", "text/event-stream"])
@pytest.mark.parametrize(
    "bedrock",
    [
        lambda error: Bedrock(refuses=error),
        Bedrock,
        lambda _: Bedrock(exception("throttlingException", {"message": SECRET})),
    ],
    ids=["at the call", "before the first frame", "in the first frame"],
)
def test_a_failure_before_the_first_event_has_its_status(
    ask: Any, capsys: pytest.CaptureFixture[str], bedrock: Any, accept: str
) -> None:
    """Throttled before anything was said: a real 429 in JSON, whatever format was asked for."""
    body = ask(bedrock(bedrock_error("ThrottlingException", SECRET)), accept=accept)
    assert body.status == 429
    assert body.headers == {
        "x-request-id": "the-request",
        "content-type": "application/json",
        "retry-after": "5",
        "x-amzn-errortype": body.headers["x-amzn-errortype"],
    }
    assert body.headers["x-amzn-errortype"].lower() == "throttlingexception"
    assert body.objects == [
        {
            "error": {
                "code": "throttling",
                "message": "Bedrock is throttling this deployment.",
                "retryable": True,
                "request_id": "the-request",
            }
        }
    ]
    told = record(capsys)
    assert (told["error"], told["status"], told["pieces"]) == ("throttling", 429, 0)


def test_a_refusal_says_what_bedrock_said_of_it(ask: Any) -> None:
    """When to try again, and what the model itself failed with."""
    throttled = bedrock_error("ThrottlingException", retry_after="17")
    assert ask(Bedrock(refuses=throttled)).headers["retry-after"] == "17"


def test_the_models_own_status_is_in_the_refusal(ask: Any) -> None:
    """What it failed with behind Bedrock is beside the code."""
    failed = bedrock_error("ModelErrorException", SECRET, 424, original_status=529)
    body = ask(Bedrock(refuses=failed))
    assert (body.status, body.objects[0]["error"]["original_status"]) == (424, 529)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (transport_error("read_timeout"), "read_timeout"),
        (exception("modelStreamErrorException", {"message": SECRET}), "model_stream_error"),
        (b"", "truncated"),
    ],
)
def test_a_failure_in_mid_stream_is_the_one_end(
    ask: Any, capsys: pytest.CaptureFixture[str], last: Any, code: str
) -> None:
    """After the first event it is a typed error after the block it cut, the error trailers, and the record's error."""
    body = ask(Bedrock(MESSAGE_START, delta(text="a"), *([last] if last else [])))
    assert body.status == 200
    assert body.types == ["start", "text", "block_end", "error"]
    assert body.objects[2] == {"type": "block_end", "index": 0, "complete": False}
    assert body.objects[-1]["code"] == code
    assert body.failures == [(f"Rivulet.{code}", body.objects[-1]["message"])]
    told = record(capsys)
    assert (told["error"], told["pieces"], told["status"]) == (code, 1, 200)


@pytest.mark.parametrize("event", [{"prompt": "hi"}, {"prompt": ""}])
@pytest.mark.parametrize(
    "bedrock",
    [
        Bedrock(refuses=UpstreamError(403, "access_denied", "no")),
        Bedrock(MESSAGE_START),
    ],
    ids=["at the call", "in mid-stream"],
)
def test_a_direct_invocation_is_told_by_events_alone(
    ask: Any, event: Any, bedrock: Bedrock
) -> None:
    """Not over HTTP there is no status: the error is an event and the trailers, whenever it comes."""
    body = ask(bedrock, event)
    assert body.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    assert [kind for kind in body.types if kind in {"error", "done"}] == ["error"]
    assert body.types[-1] == "error"
    assert [kind for kind, _ in body.failures] == [f"Rivulet.{body.objects[-1]['code']}"]


@pytest.mark.parametrize(
    "bedrock", [Bedrock(refuses=OurBug()), Bedrock(OurBug())], ids=["at the call", "reading"]
)
def test_a_bug_before_the_first_event_is_a_500(ask: Any, bedrock: Bedrock) -> None:
    """Whatever happens, the caller gets a status, and none of the exception's words."""
    body = ask(bedrock)
    assert body.status == 500
    assert body.objects[0]["error"]["code"] == "internal"
    assert SECRET not in str(body.objects)


def test_a_bug_in_mid_stream_is_the_one_end(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """After the first event it is an error event; the log has the whole of it, the record its type."""
    body = ask(Bedrock(MESSAGE_START, delta(text="a"), OurBug()))
    assert body.types == ["start", "text", "block_end", "error"]
    assert body.objects[-1]["code"] == "internal"
    assert SECRET not in str(body.objects) + str(body.failures)
    assert [kind for kind, _ in body.failures] == ["Rivulet.internal"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert SECRET in next(line for line in lines if line.get("message") == "bug")["exception"]
    told = next(line for line in lines if line.get("message") == "stream")
    assert (told["error"], told["cause"], told["pieces"]) == ("internal", "OurBug", 1)


@pytest.mark.parametrize("at", ["start", "text", "done"])
def test_a_bug_in_a_format_is_the_one_end(
    ask: Any, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """A format that fails on an event, the last one included: still one typed end."""

    def broken(events: Any) -> Iterator[bytes]:
        for piece in NDJSON.encode(events):
            if f'"type":"{at}"'.encode() in piece:
                raise OurBug
            yield piece

    broken_format = Format({"content-type": "application/x-ndjson"}, broken)
    monkeypatch.setattr("relay.formats.CONVERSE", {"application/x-ndjson": broken_format})
    body = ask(Bedrock(*WHOLE))
    if at == "start":
        assert (body.status, body.objects[0]["error"]["code"]) == (500, "internal")
    else:
        assert [kind for kind in body.types if kind in {"error", "done"}] == ["error"]
        assert body.types[-1] == "error"


def test_a_bug_after_the_end_adds_no_second_one(
    ask: Any, handler: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fails once the stream is told (a tracer, say) is logged, and the stream keeps its end."""

    @contextmanager
    def segment(name: str) -> Iterator[Any]:
        yield SimpleNamespace(put_annotation=lambda **_: None, add_fault_flag=lambda: None)
        if name == "## ConverseStream":
            raise OurBug

    monkeypatch.setattr(handler.tracer.provider, "in_subsegment", segment)
    body = ask(Bedrock(*WHOLE))
    assert body.types == ["start", "text", "block_end", "done"]
    assert '"cause":"OurBug"' in capsys.readouterr().out


@pytest.mark.parametrize("takes", [0, 1, 2])
@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (ResponseClosed(400), "caller_gone"),
        (ResponseClosed(None), "caller_gone"),
        (ResponseClosed(413), "response_too_large"),
    ],
)
def test_a_caller_that_left_is_not_spent_on(
    ask: Any,
    body: Body,
    traced: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    takes: int,
    refusal: Exception,
    code: str,
) -> None:
    """Where the platform tells, upstream is closed at once, nothing more is written, and record and trace say why."""
    body.takes, body.refusal = takes, refusal

    def more() -> None:
        pytest.fail("more was asked for than was taken")

    ask(Bedrock(MESSAGE_START, *[delta(text="x")] * takes, more, delta(text="x")))
    assert len(body.pieces) == takes
    told = record(capsys)
    assert (told["error"], told["pieces"]) == (code, takes)
    assert (traced["error"], traced["fault"]) == (code, code != "caller_gone")
    assert not {"cause"} & (told.keys() | traced.keys())


def test_a_refusal_that_nobody_hears_is_recorded(
    ask: Any, body: Body, capsys: pytest.CaptureFixture[str]
) -> None:
    """A caller that is gone before the refusal is written is gone all the same."""
    body.takes = 0
    ask(Bedrock(refuses=transport_error("connect_failed")))
    assert record(capsys)["error"] == "caller_gone"


def test_an_answer_that_grows_too_long_is_ended(
    ask: Any, choose: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before Lambda would cut it: after so many bytes, with the block closed and the reason told."""
    choose(max_response_bytes=400)
    body = ask(Bedrock(MESSAGE_START, *[delta(text="x" * 20)] * 50))
    *pieces, closed, error = body.objects
    assert closed == {"type": "block_end", "index": 0, "complete": False}
    assert (error["code"], error["retryable"]) == ("response_too_large", False)
    written = list(map(len, body.pieces[: len(pieces)]))
    assert sum(written[:-1]) < 400 <= sum(written)
    assert [kind for kind, _ in body.failures] == ["Rivulet.response_too_large"]
    assert record(capsys)["error"] == "response_too_large"


def test_plain_text_has_a_status_until_its_first_text(ask: Any) -> None:
    """Events that it writes nothing for commit nothing: a failure after them still is a real 429."""
    failed = exception("throttlingException", {"message": "private words"})
    thought = delta(reasoningContent={"text": "hm"})
    body = ask(Bedrock(MESSAGE_START, thought, failed), accept="text/plain")
    assert (body.status, body.headers["retry-after"]) == (429, "5")
    assert body.objects[0]["error"]["code"] == "throttling"


def test_more_streams_than_there_is_room_for_are_refused(
    ask: Any, handler: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request too many is a 429 that says when to come again, without a call; the others' places stay theirs."""
    bedrock = Bedrock(*WHOLE)
    with handler._vacancies:
        body = ask(bedrock)
    assert (body.status, body.headers["retry-after"]) == (429, "1")
    (said,) = body.objects
    assert (said["error"]["code"], said["error"]["retryable"]) == ("too_many_streams", True)
    assert bedrock.asked == []
    assert record(capsys)["error"] == "too_many_streams"
    body.pieces.clear()
    assert ask(bedrock).status == 200


@pytest.mark.parametrize(
    "bedrock",
    [
        Bedrock(*WHOLE),
        Bedrock(MESSAGE_START),
        Bedrock(refuses=transport_error("connect_failed")),
        Bedrock(refuses=OurBug()),
        Bedrock(MESSAGE_START, OurBug()),
        Bedrock(OurBug()),
    ],
    ids=["whole", "cut", "refused", "bug at the call", "bug in mid-stream", "bug at first"],
)
@pytest.mark.parametrize("takes", [0, 1, 100])
def test_a_place_is_given_back(
    ask: Any, choose: Any, handler: Any, body: Body, bedrock: Bedrock, takes: int
) -> None:
    """However a stream ends, the next one finds its place."""
    choose(max_concurrency=2)
    body.takes = takes
    ask(bedrock)
    taken = [handler._vacancies.acquire(blocking=False) for _ in range(3)]
    assert taken == [True, True, False]

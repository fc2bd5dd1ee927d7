from __future__ import annotations

import importlib
import json
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import botocore.session  # noqa: TID251  # the shapes are botocore's
import pytest

from relay.errors import UpstreamError, bedrock_error, transport_error
from relay.eventstream import read_frames
from relay.formats import NDJSON, Format
from streaming_runtime import ResponseClosed
from streaming_runtime.decorator import set_response_opener
from tests.frames import (
    LAST_CHUNK,
    MESSAGE_START,
    MESSAGE_STOP,
    METADATA,
    USAGE,
    chunk,
    delta,
    exception,
    frames,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from relay.eventstream import Frame
    from relay.request import ModelCall
    from relay.shapes import Shape

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
SECRET = "arn:aws:iam::123456789012:role/secret"
WHOLE = (MESSAGE_START, delta(text="Grüße"), MESSAGE_STOP, METADATA)
CONTEXT = SimpleNamespace(
    aws_request_id="the-request",
    function_name="f",
    function_version="1",
    memory_limit_in_mb=256,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
)


class Bedrock:
    """A Bedrock of frames; raises what it is given before or after them."""

    def __init__(self, *data: bytes | Exception, refuses: Exception | None = None) -> None:
        self.open = self.opened = 0
        self._data = data
        self._refuses = refuses

    def input_shape(self, operation: str) -> Shape:
        model = botocore.session.get_session().get_service_model("bedrock-runtime")
        shape: Shape = model.operation_model(operation).input_shape
        return shape

    @contextmanager
    def stream(self, _call: ModelCall) -> Iterator[Iterator[Frame]]:
        if self._refuses:
            raise self._refuses
        self.open += 1
        self.opened += 1
        try:
            yield self._frames()
        finally:
            self.open -= 1

    def _frames(self) -> Iterator[Frame]:
        for data in self._data:
            if isinstance(data, Exception):
                raise data
            yield from frames(data)


class Body:
    """A streamed body; nobody reads on after some pieces, if so told."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.failures: list[tuple[str, str]] = []
        self.takes = 1_000_000
        self.refusal: Exception = ResponseClosed(400)

    def start(self, status: int, headers: Mapping[str, str], _cookies: Sequence[str]) -> None:
        self.status, self.headers = status, dict(headers)

    def send(self, data: bytes) -> None:
        if len(self.pieces) == self.takes:
            raise self.refusal
        self.pieces.append(data)

    def fail(self, error_type: str, message: str) -> None:
        self.failures.append((error_type, message))

    def open_response(self, *, over_http: bool) -> Body:  # noqa: ARG002  # the same to it
        return self

    @property
    def objects(self) -> list[Any]:
        """The objects of an NDJSON answer, or the one of a JSON answer."""
        return [json.loads(line) for line in b"".join(self.pieces).splitlines()]


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function's own module, as its environment would set it up."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "RIVULET_MODEL_IDS": MODEL,
    }.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("handler")
    monkeypatch.setattr(module.metrics, "namespace", "Rivulet")  # it may be made already, without
    # The logger keeps the stdout that there was when it was made; a test's own is what counts.
    now = SimpleNamespace(write=lambda text: sys.stdout.write(text), flush=lambda: None)  # noqa: PLW0108  # late
    monkeypatch.setattr(module.logger.registered_handler, "stream", now)
    return module


@pytest.fixture
def body() -> Iterator[Body]:
    streamed = Body()
    set_response_opener(streamed)
    yield streamed
    set_response_opener(None)


@pytest.fixture
def ask(handler: Any, body: Body, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask the function, with a Bedrock of some frames behind it."""

    def ask(bedrock: Bedrock, event: Any = None, **headers: str) -> Body:
        monkeypatch.setattr(handler, "bedrock", bedrock)
        handler.handle(_event(**headers) if event is None else event, CONTEXT)
        assert bedrock.open == 0, "upstream is always closed"
        return body

    return ask


def _event(
    path: str = "/stream", accept: str = "application/x-ndjson", **http: str
) -> dict[str, Any]:
    return {
        "rawPath": path,
        "headers": {"accept": accept},
        "requestContext": {"http": {"method": "POST", **http}},
        "body": '{"prompt":"my private prompt"}',
    }


def _record(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one structured record that was written."""
    written = capsys.readouterr().out
    lines = [json.loads(line) for line in written.splitlines()]
    (record,) = (line for line in lines if line.get("message") in {"stream", "request"})
    assert "private" not in written
    assert "123456789012:role" not in written
    assert isinstance(record, dict)
    return record


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
        {
            "type": "done",
            "stop_reason": "end_turn",
            "usage": USAGE,
            "metrics": {"latencyMs": 900},
        },
    ]
    assert len(body.pieces) == 3
    assert body.failures == []
    record = _record(capsys)
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
    }.items() <= record.items()
    assert 0 < record["time_to_first_token_ms"] <= record["duration_ms"]
    assert "error" not in record


def test_health_is_answered(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """200 and the version, without a call."""
    bedrock = Bedrock()
    body = ask(bedrock, {"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}})
    assert (body.status, body.headers["content-type"]) == (200, "application/json")
    assert body.objects[0]["status"] == "ok"
    assert bedrock.opened == 0
    assert _record(capsys)["message"] == "request"


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        (_event("/nothing"), 404, "not_found"),
        (_event(method="GET"), 405, "method_not_allowed"),
        (_event(accept="image/png"), 406, "not_acceptable"),
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
    assert bedrock.opened == 0
    assert body.failures == []
    assert ("allow" in body.headers) == (status == 405)
    assert _record(capsys)["error"] == code


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
    assert (body.status, body.headers["content-type"]) == (429, "application/json")
    assert body.objects == [
        {
            "error": {
                "code": "throttling",
                "message": "Bedrock is throttling this deployment.",
                "retryable": True,
                "request_id": "the-request",
            },
            "message": "Bedrock is throttling this deployment.",  # where the AWS SDKs look
        }
    ]
    record = _record(capsys)
    assert (record["error"], record["status"], record["pieces"]) == ("throttling", 429, 0)


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
    """After the first event a failure is one typed error event, the error trailers, and the record's error."""
    body = ask(Bedrock(MESSAGE_START, delta(text="a"), *([last] if last else [])))
    assert body.status == 200
    assert [o["type"] for o in body.objects] == ["start", "text", "error"]
    assert body.objects[-1]["code"] == code
    assert body.failures == [(f"Rivulet.{code}", body.objects[-1]["message"])]
    record = _record(capsys)
    assert (record["error"], record["pieces"], record["status"]) == (code, 1, 200)


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
    assert [o["type"] for o in body.objects][-1] == "error"
    assert sum(o["type"] in {"error", "done"} for o in body.objects) == 1
    assert [kind for kind, _ in body.failures] == [f"Rivulet.{body.objects[-1]['code']}"]


class OurBug(Exception):
    """An exception that nobody expected, with words that nobody should read."""

    def __init__(self) -> None:
        super().__init__(SECRET)


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
    assert [o["type"] for o in body.objects] == ["start", "text", "error"]
    assert body.objects[-1]["code"] == "internal"
    assert SECRET not in str(body.objects) + str(body.failures)
    assert [kind for kind, _ in body.failures] == ["Rivulet.internal"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert SECRET in next(line for line in lines if line.get("message") == "bug")["exception"]
    record = next(line for line in lines if line.get("message") == "stream")
    assert (record["error"], record["cause"], record["pieces"]) == ("internal", "OurBug", 1)


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
        assert body.objects[-1]["type"] == "error"
        assert sum(o["type"] in {"error", "done"} for o in body.objects) == 1


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
    assert [o["type"] for o in body.objects] == ["start", "text", "done"]
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
    capsys: pytest.CaptureFixture[str],
    takes: int,
    refusal: Exception,
    code: str,
) -> None:
    """Where the platform tells, upstream is closed at once, nothing more is written, and the record says why."""
    body.takes, body.refusal = takes, refusal

    def endless() -> Iterator[bytes]:
        yield MESSAGE_START
        while True:
            yield delta(text="x")

    ask(Bedrock(*(data for data, _ in zip(endless(), range(50), strict=False))))
    assert len(body.pieces) == takes
    record = _record(capsys)
    assert (record["error"], record["pieces"]) == (code, takes)


def test_a_refusal_that_nobody_hears_is_recorded(
    ask: Any, body: Body, capsys: pytest.CaptureFixture[str]
) -> None:
    """A caller that is gone before the refusal is written is gone all the same."""
    body.takes = 0
    ask(Bedrock(refuses=transport_error("connect_failed")))
    assert _record(capsys)["error"] == "caller_gone"


def test_a_models_own_stream_goes_out_as_it_came(ask: Any) -> None:
    """The AWS event stream: frame for frame, and an exception frame for a stream that was cut."""
    path = f"/model/{MODEL}/invoke-with-response-stream"
    first = chunk({"a": 1}, p="padding")
    body = ask(Bedrock(first, LAST_CHUNK), _event(path, "*/*"))
    assert body.pieces == [first, LAST_CHUNK]
    assert body.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert body.failures == []


def test_a_models_own_stream_that_is_cut_ends_with_an_exception(ask: Any) -> None:
    """Cut, it ends with a whole frame that says so."""
    path = f"/model/{MODEL}/invoke-with-response-stream"
    body = ask(Bedrock(chunk({"a": 1})), _event(path, "*/*"))
    *_, last = read_frames(body.pieces)
    assert last.headers[":message-type"] == "exception"
    assert [kind for kind, _ in body.failures] == ["Rivulet.truncated"]


def test_without_streaming_the_answer_is_the_usual_one(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a runtime that cannot stream, the same handler returns the proxy response."""
    monkeypatch.setattr(handler, "bedrock", Bedrock(*WHOLE))
    answer = handler.handle(_event(accept="text/plain"), CONTEXT)
    assert (answer["statusCode"], answer["body"], answer["isBase64Encoded"]) == (
        200,
        "Grüße",
        False,
    )


def test_content_is_logged_only_if_switched_on(
    ask: Any, handler: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompt and answer are in the record where the deployment wants them, in both lanes, and as text."""
    chosen = handler.settings
    switched_on = {name: getattr(chosen, name) for name in chosen.__slots__} | {"log_content": True}
    monkeypatch.setattr(handler, "settings", type(chosen)(**switched_on))
    ask(Bedrock(*WHOLE))
    path = f"/model/{MODEL}/invoke-with-response-stream"
    ask(Bedrock(chunk({"a": "ü"}), LAST_CHUNK), _event(path, "*/*"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    converse, invoke = (line for line in lines if line.get("message") == "stream")
    assert converse["request"]["messages"][0]["content"] == [{"text": "my private prompt"}]
    assert converse["answer"] == "Grüße"
    assert invoke["request"]["body"] == '{"prompt":"my private prompt"}'
    assert invoke["answer"].startswith('{"a": "ü"}')

"""Answers that are not streamed: one document, or an error with its status, however long Bedrock takes."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from relay.bedrock import Answer
from relay.errors import bedrock_error, transport_error
from relay.eventstream import Frame
from tests.frames import MESSAGE_START, MESSAGE_STOP, METADATA, delta, exception
from tests.unit.handler import fakes
from tests.unit.handler.fakes import MODEL, SECRET, WHOLE, OurBug, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.model_call import ModelCall
    from relay.watchdog import Watchdog

NOVA = "us.amazon.nova-lite-v1:0"
THROTTLED = bedrock_error("ThrottlingException", "private words", retry_after="17")
MESSAGES = [{"role": "user", "content": "my private prompt"}]
WHOLES: dict[str, Any] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/responses": {"input": "my private prompt"},
    "/v1/messages": {"model": NOVA, "max_tokens": 9, "messages": MESSAGES},
}
DOCUMENT = b'{ "output":{}, "stopReason":"end_turn", "usage":{"inputTokens":3,"outputTokens":5} }'
DOCUMENTS: dict[str, Any] = {
    f"/model/{MODEL}/converse": {},
    f"/model/{MODEL}/invoke": {},
    f"/model/{MODEL}/count-tokens": {"input": {}},
    "/v1/messages": {"model": MODEL, "max_tokens": 9, "messages": MESSAGES},
}
HEADERS = {
    "content-type": "application/json",
    "x-amzn-bedrock-input-token-count": "3",
    "x-amzn-bedrock-output-token-count": "5",
}
in_every_api = pytest.mark.parametrize("path", WHOLES)


class Documents(fakes.Bedrock):
    """A Bedrock that answers with a document."""

    def __init__(self, document: bytes = DOCUMENT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._document = document

    @contextmanager
    def stream(self, call: ModelCall, watchdog: Watchdog) -> Iterator[Answer]:
        self.asked.append(call)
        self._answer(watchdog)
        frames = iter([Frame(b"", HEADERS, self._document)])
        yield Answer(frames, "bedrock-request", 0, HEADERS)


def a_request(path: str, body: Any, method: str = "POST", **headers: str) -> dict[str, Any]:
    return {
        "rawPath": path,
        "headers": headers,
        "requestContext": {"http": {"method": method}},
        "body": json.dumps(body),
    }


def error_of(path: str, body: fakes.Body) -> Any:
    """Return the error in an API's own shape; its headers say whether to try again."""
    (said,) = body.objects
    if path == "/v1/messages":
        assert (said["type"], said["request_id"]) == ("error", "the-request")
        assert body.headers["request-id"] == "the-request"
    else:
        assert said.keys() == {"error"}
        assert {"type", "param"} <= said["error"].keys()
    assert body.headers["x-should-retry"] == str(said["error"]["retryable"]).lower()
    assert body.headers["content-type"] == "application/json"
    assert body.failures == [], "there is a status: the invocation itself has not failed"
    return said["error"]


@pytest.fixture(autouse=True)
def _models(choose: Callable[..., None]) -> None:
    """A model of Anthropic's own, and another; heartbeats that a test need not wait long for."""
    choose(model_ids=(MODEL, NOVA), commit_after=0.02, heartbeat_interval=0.02)


@in_every_api
def test_a_whole_answer_is_one_document(
    ask: Any, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """With its status and its type, in one piece; nothing of it is kept by whoever passes it on."""
    body = ask(fakes.Bedrock(*WHOLE), a_request(path, WHOLES[path]))
    assert (body.status, len(body.pieces)) == (200, 1)
    assert body.headers["content-type"] == "application/json"
    assert body.headers["cache-control"] == "no-store"
    assert body.headers["request-id" if path == "/v1/messages" else "x-request-id"] == "the-request"
    (said,) = body.objects
    assert "Grüße" in json.dumps(said, ensure_ascii=False)
    told = record(capsys)
    assert {
        "route": path,
        "status": 200,
        "pieces": 1,
        "bytes": len(body.pieces[0]),
        "input_tokens": 3,
        "output_tokens": 5,
        "stop_reason": "end_turn",
    }.items() <= told.items()
    assert "heartbeats" not in told


BREAKS: dict[str, tuple[Any, int, str]] = {
    "refused": (lambda: fakes.Bedrock(refuses=THROTTLED), 429, "throttling"),
    "in the first frame": (
        lambda: fakes.Bedrock(exception("throttlingException", {"message": SECRET})),
        429,
        "throttling",
    ),
    "in mid-stream": (
        lambda: fakes.Bedrock(*WHOLE[:2], exception("throttlingException", {"message": SECRET})),
        429,
        "throttling",
    ),
    "cut": (lambda: fakes.Bedrock(*WHOLE[:2]), 502, "truncated"),
    "cut before its usage": (lambda: fakes.Bedrock(*WHOLE[:3]), 502, "truncated"),
    "nothing": (fakes.Bedrock, 502, "truncated"),
    "lost": (
        lambda: fakes.Bedrock(*WHOLE[:2], transport_error("connection_lost")),
        502,
        "connection_lost",
    ),
    "a bug": (lambda: fakes.Bedrock(*WHOLE[:2], OurBug()), 500, "internal"),
    "a bug at the call": (lambda: fakes.Bedrock(refuses=OurBug()), 500, "internal"),
}


@in_every_api
@pytest.mark.parametrize("broken", BREAKS)
def test_an_answer_that_breaks_is_an_error_with_its_status(
    ask: Any, capsys: pytest.CaptureFixture[str], path: str, broken: str
) -> None:
    """However much has come: no byte was sent, so the failure is a status, in the API's own shape."""
    bedrock, status, code = BREAKS[broken]
    body = ask(bedrock(), a_request(path, WHOLES[path]))
    error = error_of(path, body)
    assert (body.status, error["code"]) == (status, code)
    assert SECRET not in str(body.objects)
    assert len(body.pieces) == 1
    if code != "internal":  # the log has the whole of a bug
        told = record(capsys)
        assert (told["error"], told["status"]) == (code, status)


@in_every_api
def test_when_to_come_again_is_told(ask: Any, path: str) -> None:
    """Bedrock's own number of seconds."""
    body = ask(fakes.Bedrock(refuses=THROTTLED), a_request(path, WHOLES[path]))
    assert (body.status, body.headers["retry-after"]) == (429, "17")


def _slowly() -> None:
    time.sleep(0.15)


@in_every_api
@pytest.mark.parametrize("fails", [True, False])
def test_nothing_is_committed_however_long_it_takes(
    ask: Any, capsys: pytest.CaptureFixture[str], path: str, *, fails: bool
) -> None:
    """No heartbeat can be in a document: the status waits for the end, which may be an error still."""
    last = [exception("throttlingException", {})] if fails else WHOLE[2:]
    bedrock = fakes.Bedrock(MESSAGE_START, _slowly, delta(text="a"), _slowly, *last, before=_slowly)
    body = ask(bedrock, a_request(path, WHOLES[path]))
    assert (body.status, len(body.pieces)) == ((429 if fails else 200), 1)
    assert "heartbeats" not in record(capsys)


@in_every_api
@pytest.mark.parametrize("wait", ["before", "at the call", "in mid-stream"])
def test_the_deadline_is_a_status(
    ask: Any,
    choose: Any,
    handler: Any,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    wait: str,
) -> None:
    """Whether too little time is left to begin, or it is over at the call, or in the midst of the answer."""
    choose(deadline_margin=0.05)
    if wait == "before":
        bedrock = fakes.Bedrock(*WHOLE)
    else:
        monkeypatch.setattr(handler, "_SHORTEST", 0.0)
        forever = fakes.Bedrock(before=fakes.forever)
        bedrock = forever if wait == "at the call" else fakes.Bedrock(*WHOLE[:2], fakes.forever)
    body = ask(bedrock, a_request(path, WHOLES[path]), seconds_left=0.2)
    assert (body.status, error_of(path, body)["code"]) == (504, "timeout")


@in_every_api
def test_an_environment_that_is_busy_says_so(ask: Any, handler: Any, path: str) -> None:
    """In the API's own shape, with when to come again."""
    with handler._vacancies:
        body = ask(fakes.Bedrock(*WHOLE), a_request(path, WHOLES[path]))
    assert (body.status, error_of(path, body)["code"]) == (429, "too_many_streams")
    assert body.headers["retry-after"] == "1"


USAGES = {
    "/v1/chat/completions": ("prompt_tokens", "completion_tokens"),
    "/v1/responses": ("input_tokens", "output_tokens"),
    "/v1/messages": ("input_tokens", "output_tokens"),
}


@in_every_api
def test_what_was_counted_is_in_the_error(
    ask: Any, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """Where Bedrock takes back an answer that it has counted, caller and record have the same numbers."""
    body = ask(
        fakes.Bedrock(*WHOLE, exception("throttlingException", {})), a_request(path, WHOLES[path])
    )
    assert (body.status, error_of(path, body)["code"]) == (429, "throttling")
    usage = error_of(path, body)["usage"]
    told = record(capsys)
    assert [usage[name] for name in USAGES[path]] == [told["input_tokens"], told["output_tokens"]]
    assert (told["input_tokens"], told["usage_partial"]) == (3, True)


@in_every_api
def test_an_answer_that_is_too_long_is_a_status(ask: Any, choose: Any, path: str) -> None:
    """No half of a document is sent."""
    choose(max_response_bytes=60)
    body = ask(fakes.Bedrock(*WHOLE), a_request(path, WHOLES[path]))
    assert (body.status, error_of(path, body)["code"]) == (502, "response_too_large")


@in_every_api
def test_another_model_answers_where_one_is_busy(
    ask: Any, choose: Any, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """And the document says which."""
    choose(fallback_model_ids=("a.stand-in",))
    bedrock = fakes.Bedrock(refuses=THROTTLED, others={"a.stand-in": fakes.Bedrock(*WHOLE)})
    body = ask(bedrock, a_request(path, WHOLES[path]))
    (said,) = body.objects
    assert (body.status, said["model"]) == (200, "a.stand-in")
    lines = capsys.readouterr().out.splitlines()
    told = next(json.loads(line) for line in lines if '"message":"stream"' in line)
    assert (told["model"], told["fallback_from"]) == ("a.stand-in", bedrock.asked[0].model)


@in_every_api
def test_a_caller_that_left_is_gone(
    ask: Any, body: fakes.Body, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """What nobody reads is not told in another way."""
    body.takes = 0
    ask(fakes.Bedrock(*WHOLE), a_request(path, WHOLES[path]))
    assert body.pieces == []
    assert record(capsys)["error"] == "caller_gone"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_bedrocks_document_is_told_as_it_came(
    ask: Any, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """Byte for byte; its headers go along where the route is Bedrock's own; what it counts is recorded."""
    bedrock = Documents()
    body = ask(bedrock, a_request(path, DOCUMENTS[path]))
    assert (body.status, body.pieces) == (200, [DOCUMENT])
    assert body.headers["content-type"] == "application/json"
    bedrocks = {name for name in body.headers if name.startswith("x-amzn-bedrock-")}
    assert bedrocks == (set() if path == "/v1/messages" else HEADERS.keys() - {"content-type"})
    told = record(capsys)
    assert (told["input_tokens"], told["output_tokens"], told["pieces"]) == (3, 5, 1)
    assert told["route"] == path.replace(MODEL, "{modelId}")
    assert "heartbeats" not in told


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (THROTTLED, 429, "ThrottlingException"),
        (bedrock_error("AccessDeniedException"), 403, "AccessDeniedException"),
        (transport_error("connection_lost"), 502, "ServiceUnavailableException"),
        (OurBug(), 500, "InternalServerException"),
    ],
    ids=["throttled", "denied", "lost", "bug"],
)
def test_a_document_that_does_not_come_is_a_status(
    ask: Any, path: str, error: Exception, status: int, name: str
) -> None:
    """However long it took to find out, and so that an AWS SDK, or Anthropic's, raises it."""
    body = ask(Documents(before=_slowly, refuses=error), a_request(path, DOCUMENTS[path]))
    assert body.status == status
    if path == "/v1/messages":
        error_of(path, body)
    else:
        (said,) = body.objects
        assert body.headers["x-amzn-errortype"] == name
        assert said["message"] == said["error"]["message"]
        assert said["error"]["request_id"] == "the-request"
    assert SECRET not in str(body.objects)
    assert body.failures == []


@pytest.mark.parametrize("model", [MODEL, NOVA])
def test_tokens_are_counted(ask: Any, model: str) -> None:
    """Anthropic's clients are told their own name for what Bedrock has counted."""
    event = a_request("/v1/messages/count_tokens", {"model": model, "messages": MESSAGES})
    bedrock = Documents(b'{"inputTokens":7,"new":1}')
    body = ask(bedrock, event)
    assert (body.status, body.pieces) == (200, [b'{"input_tokens":7}'])
    (call,) = bedrock.asked
    assert (call.operation, call.model) == ("CountTokens", model.removeprefix("us."))


@pytest.mark.parametrize("document", [b"", b"no JSON", b"[]", b"{}", b'{"input_tokens":7}'])
def test_a_count_that_is_none_is_an_error(ask: Any, document: bytes) -> None:
    """A 502 in Anthropic's shape, and no half of an answer."""
    event = a_request("/v1/messages/count_tokens", {"model": NOVA, "messages": MESSAGES})
    body = ask(Documents(document), event)
    error = error_of("/v1/messages", body)
    assert (body.status, error["code"], len(body.pieces)) == (502, "corrupt", 1)


@pytest.mark.parametrize(
    "path", ["/stream", "/v1/models", f"/model/{MODEL}/converse", "/v1/messages", "/health"]
)
def test_options_are_answered(ask: Any, capsys: pytest.CaptureFixture[str], path: str) -> None:
    """Which methods there are, and not a byte; Bedrock is not asked, and it is no failure."""
    bedrock = fakes.Bedrock()
    body = ask(bedrock, a_request(path, None, "OPTIONS"))
    assert (body.status, body.pieces, bedrock.asked) == (204, [], [])
    assert body.headers["allow"].endswith(", OPTIONS")
    assert body.headers["x-request-id"] == "the-request"
    told = record(capsys)
    assert (told["message"], told["status"], told["bytes"]) == ("request", 204, 0)
    assert "error" not in told


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}], ids=str)
def test_models_are_listed(
    ask: Any, capsys: pytest.CaptureFixture[str], headers: dict[str, str]
) -> None:
    """Without a call, and in a moment."""
    bedrock = fakes.Bedrock()
    for path in ("/v1/models", f"/v1/models/{NOVA}"):
        body = ask(bedrock, a_request(path, None, "GET", **headers), seconds_left=0.01)
        assert (body.status, body.headers["content-type"]) == (200, "application/json")
        (said,) = body.objects
        assert NOVA in json.dumps(said)
        body.pieces.clear()
    assert bedrock.asked == []
    assert '"error"' not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        ("/v1/models/other", {}, "openai"),
        ("/v1/models/other", {"anthropic-version": "2023-06-01"}, "anthropic"),
        ("/v1/other", {}, "openai"),
    ],
)
def test_what_is_not_there_is_told_in_the_callers_words(
    ask: Any, path: str, headers: dict[str, str], shape: str
) -> None:
    """A 404 in the shape of the API whose client seems to ask."""
    body = ask(fakes.Bedrock(), a_request(path, None, "GET", **headers))
    assert body.status == 404
    error = error_of("/v1/messages" if shape == "anthropic" else path, body)
    assert error["code"] in {"model_not_found", "not_found"}


def test_a_document_is_buffered_where_nothing_streams(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a runtime that cannot stream it is the proxy response's body, and so is a refusal."""
    monkeypatch.setattr(handler, "bedrock", Documents())
    path = f"/model/{MODEL}/converse"
    answer = handler.handle(a_request(path, {}), fakes.Context())
    assert (answer["statusCode"], answer["body"]) == (200, DOCUMENT.decode())
    monkeypatch.setattr(handler, "bedrock", Documents(refuses=THROTTLED))
    answer = handler.handle(a_request(path, {}), fakes.Context())
    assert answer["statusCode"] == 429
    assert answer["headers"]["retry-after"] == "17"


@pytest.mark.parametrize("frames", [(MESSAGE_STOP, METADATA), (METADATA, MESSAGE_STOP)])
@in_every_api
def test_an_answer_without_words_is_one_all_the_same(
    ask: Any, path: str, frames: tuple[bytes, ...]
) -> None:
    """A model that has nothing to say is complete."""
    body = ask(fakes.Bedrock(MESSAGE_START, *frames), a_request(path, WHOLES[path]))
    assert (body.status, len(body.objects), body.failures) == (200, 1, [])

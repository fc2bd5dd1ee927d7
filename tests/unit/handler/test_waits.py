"""Bedrock keeps the function waiting: heartbeats, stalls and the deadline, with real signals and short times."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from relay import formats
from relay.errors import bedrock_error, limit_error
from relay.events import Failure
from streaming_runtime import ResponseClosed
from streaming_runtime.decorator import set_response_opener
from tests.frames import LAST_CHUNK, MESSAGE_START, MESSAGE_STOP, METADATA, chunk, delta, exception
from tests.unit.handler.fakes import (
    INVOKE_PATH,
    MODEL,
    WHOLE,
    Bedrock,
    Body,
    Context,
    a_request,
    forever,
    record,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.formats import Format

THROTTLED = bedrock_error("ThrottlingException")
PING = formats.NDJSON.heartbeat


@pytest.fixture(autouse=True)
def _soon(choose: Any) -> None:
    """Heartbeats that a test need not wait long for."""
    choose(commit_after=0.05, heartbeat_interval=0.05, deadline_margin=0.1)


@pytest.fixture
def beats(body: Body) -> Callable[[int], Callable[[], None]]:
    """What waits until so many heartbeats have been sent."""
    known = {chosen.heartbeat for chosen in formats.CONVERSE.values()} | {
        formats.INVOKE_FRAMES.heartbeat
    }
    return lambda count: until(lambda: sum(piece in known for piece in body.pieces) >= count)


IN_STREAM = [
    ("/stream", "text/event-stream", formats.SSE),
    ("/stream", "application/x-ndjson", formats.NDJSON),
    (INVOKE_PATH, "application/vnd.amazon.eventstream", formats.INVOKE_FRAMES),
    (INVOKE_PATH, "text/event-stream", formats.SSE),
]


@pytest.mark.parametrize("where", ["at the call", "in the first frame"])
@pytest.mark.parametrize(("path", "accept", "chosen"), IN_STREAM)
def test_after_a_heartbeat_a_failure_is_told_in_the_stream(
    ask: Any,
    beats: Any,
    capsys: pytest.CaptureFixture[str],
    where: str,
    path: str,
    accept: str,
    chosen: Format,
) -> None:
    """The 200 is out: heartbeats alone, then one typed end and the error trailers, in every format that has them."""
    if where == "at the call":
        bedrock = Bedrock(before=beats(2), refuses=THROTTLED)
    else:
        bedrock = Bedrock(beats(2), exception("throttlingException", {"message": "private"}))
    body = ask(bedrock, path=path, accept=accept)
    assert body.status == 200
    assert body.headers == {
        "x-request-id": "the-request",
        **chosen.headers,
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "x-content-type-options": "nosniff",
    }
    *heartbeats, end = body.pieces
    assert heartbeats == [chosen.heartbeat] * len(heartbeats)
    assert [end] == list(chosen.encode([Failure(THROTTLED)]))
    assert body.failures == [("Rivulet.throttling", THROTTLED.message)]
    told = record(capsys)
    assert (told["error"], told["status"], told["pieces"]) == ("throttling", 200, 0)
    assert told["heartbeats"] == len(heartbeats) >= 2


@pytest.mark.parametrize(
    ("accept", "commit_after"), [("text/plain", 0.02), ("text/event-stream", 60.0)]
)
def test_without_a_heartbeat_a_failure_keeps_its_status(
    ask: Any, choose: Any, capsys: pytest.CaptureFixture[str], accept: str, commit_after: float
) -> None:
    """Where a format has none, or their time has not come, nothing is committed however long Bedrock takes."""
    choose(commit_after=commit_after)
    body = ask(Bedrock(before=lambda: time.sleep(0.2), refuses=THROTTLED), accept=accept)
    assert (body.status, body.headers["retry-after"]) == (429, "5")
    assert body.objects[0]["error"]["code"] == "throttling"
    assert "heartbeats" not in record(capsys)


@pytest.mark.parametrize(
    ("refuses", "status", "start"),
    [(THROTTLED, 429, '{"error": {"code": "throttling"'), (None, 200, '{"type":"start",')],
)
def test_a_buffered_response_has_no_heartbeats(
    handler: Any,
    monkeypatch: pytest.MonkeyPatch,
    refuses: Exception | None,
    status: int,
    start: str,
) -> None:
    """What is collected breaks no silence: the status is the real one, the answer the answer alone."""
    set_response_opener(None)
    bedrock = Bedrock(
        *WHOLE[:2], lambda: time.sleep(0.2), *WHOLE[2:], before=lambda: time.sleep(0.2), refuses=refuses
    )  # fmt: skip
    monkeypatch.setattr(handler, "bedrock", bedrock)
    answer = handler.handle(a_request(), Context())
    assert answer["statusCode"] == status
    assert answer["body"].startswith(start)
    assert "ping" not in answer["body"]


def test_a_direct_invocation_hears_heartbeats_too(ask: Any, beats: Any) -> None:
    """NDJSON's, before the answer as in the middle of it."""
    bedrock = Bedrock(*WHOLE[:2], beats(4), *WHOLE[2:], before=beats(2))
    body = ask(bedrock, {"prompt": "hi"})
    assert body.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    types = body.types
    assert types[:2] == ["ping", "ping"]
    assert [kind for kind in types if kind != "ping"] == ["start", "text", "block_end", "done"]
    assert "ping" in types[types.index("text") : types.index("done")]


@pytest.mark.parametrize(("path", "accept", "chosen"), IN_STREAM)
def test_heartbeats_come_between_the_pieces(
    ask: Any, beats: Any, capsys: pytest.CaptureFixture[str], path: str, accept: str, chosen: Format
) -> None:
    """The answer is the same with them as without, piece for piece."""
    frames = [MESSAGE_START, delta(text="a"), delta(text="b"), MESSAGE_STOP, METADATA]
    if path == INVOKE_PATH:
        frames = [chunk({"a": 1}), chunk({"a": 2}), LAST_CHUNK]
    body = ask(Bedrock(*frames), path=path, accept=accept)
    without = list(body.pieces)
    capsys.readouterr()
    body.pieces.clear()
    ask(Bedrock(beats(1), *frames[:2], beats(3), *frames[2:]), path=path, accept=accept)
    pieces = body.pieces
    assert pieces[0] == chosen.heartbeat
    assert [piece for piece in pieces if piece != chosen.heartbeat] == without
    told = record(capsys)
    assert told["heartbeats"] == len(pieces) - len(without) >= 3
    assert told["bytes"] == sum(map(len, pieces))
    assert "error" not in told


def test_another_model_answers_after_heartbeats_as_well(ask: Any, choose: Any, beats: Any) -> None:
    """The 200 is no obstacle to it."""
    choose(fallback_model_ids=("other.model",))
    others = {"other.model": Bedrock(*WHOLE)}
    body = ask(Bedrock(before=beats(1), refuses=THROTTLED, others=others))
    assert body.types[0] == "ping"
    start = next(said for said in body.objects if said["type"] == "start")
    assert (start["model"], start["fallback_from"]) == ("other.model", MODEL)
    assert body.types[-1] == "done"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(ResponseClosed(400), "caller_gone"), (ResponseClosed(413), "response_too_large")],
    ids=str,
)
@pytest.mark.parametrize("where", ["at the call", "before the first frame", "in mid-stream"])
def test_a_heartbeat_finds_out_that_the_caller_has_left(
    ask: Any,
    body: Body,
    traced: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    where: str,
    refusal: Exception,
    code: str,
) -> None:
    """Then nothing is waited for any longer, and record and trace say why."""
    bedrock = {
        "at the call": Bedrock(before=forever),
        "before the first frame": Bedrock(forever),
        "in mid-stream": Bedrock(MESSAGE_START, forever),
    }[where]
    body.takes = 1 if where == "in mid-stream" else 0
    body.refusal = refusal
    ask(bedrock)
    assert len(body.pieces) == body.takes
    assert record(capsys)["error"] == traced["error"] == code


@pytest.mark.parametrize("path", ["/stream", INVOKE_PATH])
def test_a_stream_that_stalls_is_ended(
    ask: Any, choose: Any, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """What came is told, heartbeats for a while, then the block's end and the reason."""
    choose(read_timeout=0.3)
    first = chunk({"a": 1}) if path == INVOKE_PATH else delta(text="a")
    body = ask(Bedrock(first, forever), path=path)
    assert PING in body.pieces
    types = [kind for kind in body.types if kind != "ping"]
    closed = [] if path == INVOKE_PATH else ["block_end"]
    assert types == ["start", "chunk" if path == INVOKE_PATH else "text", *closed, "error"]
    assert body.objects[-1]["code"] == "read_timeout"
    assert [kind for kind, _ in body.failures] == ["Rivulet.read_timeout"]
    told = record(capsys)
    assert (told["error"], told["pieces"]) == ("read_timeout", 1)


def test_a_stall_before_the_first_event_has_a_status(ask: Any, choose: Any) -> None:
    """Bedrock has accepted the call and says nothing: while nothing is committed, that is a 504."""
    choose(read_timeout=0.1, commit_after=60.0)
    body = ask(Bedrock(forever))
    assert (body.status, body.objects[0]["error"]["code"]) == (504, "read_timeout")


@pytest.fixture
def _short_deadline(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that a test can wait for is not too soon."""
    monkeypatch.setattr(handler, "_SHORTEST", 0.05)


@pytest.mark.usefixtures("_short_deadline")
def test_a_stream_ends_before_its_deadline(
    ask: Any, capsys: pytest.CaptureFixture[str], handler: Any
) -> None:
    """With the margin that the deployment has chosen: the block closed, the reason, and the usage so far."""
    frames = (MESSAGE_START, delta(text="a"), METADATA)
    began = time.monotonic()
    body = ask(Bedrock(*frames, forever), seconds_left=1.0)
    assert time.monotonic() - began >= 1.0 - handler.settings.deadline_margin
    *_, closed, error = body.objects
    assert closed == {"type": "block_end", "index": 0, "complete": False}
    usage = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
    assert error == {
        "type": "error",
        **limit_error("timeout").told(),
        "usage": usage,
        "usage_partial": True,
    }
    assert body.failures == [("Rivulet.timeout", error["message"])]
    told = record(capsys)
    assert (told["error"], told["output_tokens"], told["usage_partial"]) == ("timeout", 5, True)


@pytest.mark.usefixtures("_short_deadline")
@pytest.mark.parametrize(
    "bedrock", [Bedrock(before=forever), Bedrock(forever)], ids=["call", "frame"]
)
@pytest.mark.parametrize(("commit_after", "status"), [(60.0, 504), (0.05, 200)])
def test_a_deadline_before_the_first_event(
    ask: Any, choose: Any, bedrock: Bedrock, commit_after: float, status: int
) -> None:
    """Nothing committed, it is a status; after heartbeats it is the stream's end."""
    choose(commit_after=commit_after)
    body = ask(bedrock, seconds_left=1.0)
    assert body.status == status
    last = body.objects[-1] if status == 200 else body.objects[-1]["error"]
    assert (last["code"], last["retryable"]) == ("timeout", True)
    assert (body.pieces[0] == PING) == (status == 200)


@pytest.mark.usefixtures("_short_deadline")
def test_pieces_that_keep_coming_do_not_outlast_the_deadline(ask: Any) -> None:
    """A stream that never falls silent is ended as well, between two of its pieces."""
    frames = [delta(text="x")] * 500
    slowly = (data for frame in frames for data in (frame, lambda: time.sleep(0.01)))
    body = ask(Bedrock(MESSAGE_START, *slowly), seconds_left=2.0)
    assert body.types[-2:] == ["block_end", "error"]
    assert body.objects[-1]["code"] == "timeout"
    assert 2 < len(body.pieces) < 500


@pytest.mark.parametrize(
    ("seconds_left", "asked"),
    [
        (0.01, False),
        (1.09, False),  # one second and the margin
        (5.0, True),
        (900.0, True),
        (0.0, True),  # an emulator's: there is no deadline
    ],
)
def test_with_too_little_time_bedrock_is_not_asked(
    ask: Any, capsys: pytest.CaptureFixture[str], seconds_left: float, *, asked: bool
) -> None:
    """What could not be answered costs no tokens, and is refused at once."""
    bedrock = Bedrock(*WHOLE)
    body = ask(bedrock, seconds_left=seconds_left)
    assert len(bedrock.asked) == asked
    told = record(capsys)
    if asked:
        assert (body.status, body.types[-1]) == (200, "done")
    else:
        assert (body.status, body.objects[0]["error"]["code"]) == (504, "timeout")
        assert (told["error"], told["model"], told["route"]) == ("timeout", MODEL, "/stream")


def test_in_another_thread_there_are_no_heartbeats(
    ask: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Signals belong to the main thread: elsewhere the function answers without them, with the real status."""
    bodies: list[Body] = []

    def work() -> None:
        bodies.append(ask(Bedrock(before=lambda: time.sleep(0.2), refuses=THROTTLED)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert bodies[0].status == 429
    assert json.loads(bodies[0].pieces[0])["error"]["code"] == "throttling"
    assert "heartbeats" not in record(capsys)


def test_no_alarm_outlives_an_answer(ask: Any, beats: Any) -> None:
    """Between two invocations the process is the environment's own."""
    ask(Bedrock(*WHOLE, before=beats(1)))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL

"""Silence, deadlines and late answers, in real time on real sockets, by the caller's clock."""

from __future__ import annotations

import json
import socket  # noqa: TID251  # a caller that does not read
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3  # noqa: TID251  # the judge
import httpx
import pytest
from botocore.config import Config  # noqa: TID251  # the judge
from botocore.exceptions import EventStreamError  # noqa: TID251  # the judge
from httpx_sse import EventSource

from local.bedrock import frame, honest_answer, refusal
from local.configuration import FunctionConfiguration
from local.dialects import Event
from local.faults import after_frames, insert
from local.function import LocalFunction
from local.pace import IMMEDIATE
from local.prompts import BedrockError
from local.script import Head, Pause, Send
from relay.eventstream import read_frames
from tests.caller import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.bedrock import Call
    from local.script import Script, Step

CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
INVOKE_PATH = f"/model/{CLAUDE}/invoke-with-response-stream"
INVOKE_BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "hi"}],
}
CONVERSE_BODY = {"prompt": "hi", "inferenceConfig": {"maxTokens": 5}}
SSE, NDJSON, TEXT = "text/event-stream", "application/x-ndjson", "text/plain"
EVENT_STREAM = "application/vnd.amazon.eventstream"
HEARTBEATS = {SSE: b": ping\n\n", NDJSON: b'{"type":"ping"}\n'}

COMMIT, INTERVAL, READ_TIMEOUT, TIMEOUT, MARGIN = 0.6, 0.3, 1.4, 4.0, 0.8
SETTINGS = {
    "RIVULET_COMMIT_AFTER": str(COMMIT),
    "RIVULET_HEARTBEAT_INTERVAL": str(INTERVAL),
    "RIVULET_READ_TIMEOUT": str(READ_TIMEOUT),
    "RIVULET_DEADLINE_MARGIN": str(MARGIN),
    "RIVULET_MAX_ATTEMPTS": "1",
}
# The machine has other things to do: nothing may come too early, but Bedrock's next piece, and so one heartbeat more.
EARLY, LATE = 0.1, 0.6


@dataclass(slots=True)
class Heard:
    """What a caller heard, and when, in seconds since it asked."""

    status: int = 0
    status_at: float = 0.0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    @property
    def objects(self) -> list[Any]:
        lines = self.body.decode().split("\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line[:1] in {"d", "{"}]

    def at(self, text: bytes) -> list[float]:
        return [at for at, piece in self.pieces if text in piece]


def _listen(url: str, path: str = "/stream", accept: str = SSE, body: Any = CONVERSE_BODY) -> Heard:
    heard = Heard()
    began = time.monotonic()
    with httpx.stream(
        "POST", url + path, json=body, headers={"accept": accept}, timeout=20
    ) as response:
        heard.status, heard.status_at = response.status_code, time.monotonic() - began
        with suppress(httpx.RemoteProtocolError):  # a stream that failed is cut after its end
            for piece in response.iter_raw():
                heard.pieces.append((time.monotonic() - began, piece))
    return heard


def _about(seconds: float, expected: float) -> bool:
    return expected - EARLY <= seconds <= expected + LATE


@contextmanager
def _a_function(**more: str) -> Iterator[LocalFunction]:
    configuration = FunctionConfiguration(concurrency=1, timeout=TIMEOUT)
    with LocalFunction(configuration, pace=IMMEDIATE, environment={**SETTINGS, **more}) as function:
        yield function


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    with _a_function() as function:
        ask(function.url)  # the first call makes a connection, and may wait for the machine
        yield function


def _late(seconds: float) -> Any:
    return lambda call: [Pause(seconds), *honest_answer(call)]


def _refused_late(seconds: float, code: str, status: int) -> Any:
    def answer(call: Call) -> list[Step]:
        said = refusal(BedrockError(status, code, "arn:aws:iam::123456789012:x"), call.request_id)
        return [Pause(seconds), *said]

    return answer


def _record(function: LocalFunction, code: str) -> dict[str, Any]:
    """Return the latest record, once it is there: it comes after the answer."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        records = [line for line in tuple(function.log) if '"message":"stream"' in line]
        if records and f'"error":"{code}"' in records[-1]:
            record = json.loads(records[-1])
            assert isinstance(record, dict)
            return record
        time.sleep(0.01)
    raise TimeoutError("\n".join(function.log))


@pytest.mark.xdist_group("relay time")
@pytest.mark.parametrize("accept", HEARTBEATS)
def test_a_long_wait_is_committed_and_then_broken(function: LocalFunction, accept: str) -> None:
    """Bedrock lets everyone wait: 200 after the setting, heartbeats after that, and then the whole answer."""
    function.bedrock.answer = _late(COMMIT + 2.5 * INTERVAL)
    heard = _listen(function.url, accept=accept)
    assert heard.status == 200
    assert _about(heard.status_at, COMMIT)
    beats = heard.at(HEARTBEATS[accept])
    assert len(beats) == 3
    assert all(_about(beat, COMMIT + number * INTERVAL) for number, beat in enumerate(beats))
    assert heard.body.startswith(HEARTBEATS[accept] * len(beats))
    types = [o["type"] for o in heard.objects if o["type"] != "ping"]
    assert types == ["start", *["text"] * 5, "block_end", "done"]


@pytest.mark.xdist_group("relay time")
def test_a_short_wait_is_not_committed(function: LocalFunction) -> None:
    """Refused within the setting: a real 429 that says when to try again, and no heartbeat before it."""
    function.bedrock.answer = _refused_late(COMMIT / 2, "ThrottlingException", 429)
    answer = ask(function.url)
    assert (answer.status, answer.headers["retry-after"]) == (429, "5")
    (said,) = answer.objects
    assert said["error"]["code"] == "throttling"
    assert said["error"]["request_id"] == answer.headers["x-request-id"]


@pytest.mark.xdist_group("relay time")
@pytest.mark.parametrize("accept", HEARTBEATS)
def test_a_late_refusal_is_the_one_end(function: LocalFunction, accept: str) -> None:
    """Refused after the setting: the 200 is out, and the error is the stream's only event but heartbeats."""
    function.bedrock.answer = _refused_late(COMMIT + INTERVAL / 2, "ThrottlingException", 429)
    heard = _listen(function.url, accept=accept)
    assert heard.status == 200
    assert [o["type"] for o in heard.objects if o["type"] != "ping"] == ["error"]
    said = heard.objects[-1]
    assert (said["code"], said["retryable"]) == ("throttling", True)
    assert "123456789012" not in heard.body.decode()
    assert _record(function, "throttling")["heartbeats"] in {1, 2}


@pytest.mark.xdist_group("relay time")
def test_plain_text_keeps_its_status(function: LocalFunction) -> None:
    """Plain text has no byte that means nothing, so nothing is committed, and a late refusal still is a status."""
    function.bedrock.answer = _refused_late(COMMIT + INTERVAL, "AccessDeniedException", 403)
    heard = _listen(function.url, accept=TEXT)
    assert heard.status == 403
    assert _about(heard.status_at, COMMIT + INTERVAL)


@pytest.mark.xdist_group("relay time")
@pytest.mark.parametrize("accept", HEARTBEATS)
def test_a_silence_in_the_middle_is_broken(function: LocalFunction, accept: str) -> None:
    """From the first silent interval on a heartbeat comes each interval, between pieces and never within one."""
    function.bedrock.answer = lambda call: insert(honest_answer(call), 3, Pause(3.5 * INTERVAL))
    heard = _listen(function.url, accept=accept)
    silent_since = heard.at(b'"text"')[1]
    beats = heard.at(HEARTBEATS[accept])
    assert len(beats) in {3, 4}
    assert all(
        _about(beat - silent_since, (number + 1) * INTERVAL) for number, beat in enumerate(beats)
    )
    assert heard.body.count(HEARTBEATS[accept] * len(beats)) == 1
    if accept == SSE:  # another's parser sees no heartbeat at all
        parsed = EventSource(httpx.Response(200, headers={"content-type": SSE}, content=heard.body))
        assert [json.loads(e.data)["type"] for e in parsed.iter_sse()] == [
            o["type"] for o in heard.objects
        ]
    assert heard.objects[-1]["type"] == "done"


@pytest.mark.xdist_group("relay time")
def test_heartbeats_are_events_that_boto3_passes_over(function: LocalFunction) -> None:
    """In the AWS event stream a heartbeat is a whole frame of an unknown type, of which boto3 shows nothing."""
    function.bedrock.answer = lambda call: insert(honest_answer(call), 3, Pause(2.5 * INTERVAL))
    heard = _listen(function.url, INVOKE_PATH, "*/*", INVOKE_BODY)
    kinds = [frame.headers[":event-type"] for frame in read_frames([heard.body])]
    assert kinds.count("ping") in {2, 3}
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=function.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    events = list(
        client.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(INVOKE_BODY))[
            "body"
        ]
    )
    client.close()
    assert len(events) == kinds.count("chunk")
    assert all(event.keys() == {"chunk"} for event in events)


@pytest.mark.xdist_group("relay time")
def test_a_late_refusal_is_an_exception_to_boto3(function: LocalFunction) -> None:
    """After a heartbeat a refusal is the exception that boto3 raises in mid-stream, by Bedrock's own name for it."""
    function.bedrock.answer = _refused_late(COMMIT + INTERVAL, "ThrottlingException", 429)
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=function.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    stream = client.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(INVOKE_BODY))[
        "body"
    ]
    with closing(stream), pytest.raises(EventStreamError) as caught:
        list(stream)
    client.close()
    assert caught.value.response["Error"]["Code"] == "throttlingException"


@pytest.mark.xdist_group("relay time")
@pytest.mark.parametrize("trickles", [False, True], ids=["silent", "trickling"])
def test_a_stall_is_ended(function: LocalFunction, *, trickles: bool) -> None:
    """Silent for longer than the setting, bytes that make no event or none at all: a typed end, and upstream closed."""

    def answer(call: Call) -> Script:
        script = list(honest_answer(call))
        next_frame = [step.data for step in script if isinstance(step, Send)][3]
        bytes_of_a_frame = [s for byte in next_frame for s in (Pause(0.2), Send(bytes([byte])))]
        return after_frames(script, 3, *(bytes_of_a_frame if trickles else [Pause(60)]))

    function.bedrock.answer = answer
    heard = _listen(function.url)
    silent_since = heard.at(b'"text"')[-1]
    assert [o["type"] for o in heard.objects[-2:]] == ["block_end", "error"]
    assert heard.objects[-2]["complete"] is False
    said = heard.objects[-1]
    assert (said["code"], said["retryable"]) == ("read_timeout", True)
    assert _about(heard.at(b'"error"')[0] - silent_since, READ_TIMEOUT)
    _wait_for_ending(function, "peer left")


@pytest.mark.xdist_group("relay time")
@pytest.mark.parametrize("lane", ["converse", "invoke"])
def test_a_complete_answer_does_not_wait_for_its_connection_to_close(lane: str) -> None:
    """All of it has come: the caller has the end soon, although Bedrock's connection stays open and silent."""

    def answer(call: Call) -> Script:
        return [*honest_answer(call), Pause(60)]

    with LocalFunction(pace=IMMEDIATE, answer=answer) as function:
        began = time.monotonic()
        if lane == "converse":
            got = ask(function.url, body=CONVERSE_BODY, accept=NDJSON)
        else:
            got = ask(function.url, INVOKE_PATH, body=INVOKE_BODY, accept=NDJSON)
        assert got.objects[-1]["type"] == "done"
        assert time.monotonic() - began < 20


def _wait_for_ending(function: LocalFunction, ending: str) -> None:
    until = time.monotonic() + 5
    while function.bedrock.calls[-1].performance.ending != ending:
        assert time.monotonic() < until, function.bedrock.calls[-1].performance.ending
        time.sleep(0.01)


SLOWLY: dict[str, Any] = {
    "between pieces": lambda call: _with_pauses(honest_answer(call), 0.5),
    "without a pause": lambda call: _with_pauses(_endless(call), 0.001),
}


def _with_pauses(script: Script, seconds: float) -> Iterator[Step]:
    for step in script:
        yield step
        if isinstance(step, Send):
            yield Pause(seconds)


def _endless(call: Call) -> Iterator[Step]:
    head, start, first, *_ = (s for s in honest_answer(call) if not isinstance(s, Pause))
    yield from (head, start)
    while True:
        yield first


@pytest.mark.xdist_group("relay time")
@pytest.mark.parametrize("answer", SLOWLY)
def test_the_deadline_is_seen_coming(function: LocalFunction, answer: str) -> None:
    """Some seconds before Lambda's end the stream ends itself: typed, upstream closed, all of it told and counted."""
    function.bedrock.answer = SLOWLY[answer]
    heard = _listen(function.url, body={"prompt": "hi"})
    assert [o["type"] for o in heard.objects[-2:]] == ["block_end", "error"]
    said = heard.objects[-1]
    assert (said["code"], said["retryable"]) == ("timeout", True)
    assert _about(heard.at(b'"error"')[0], TIMEOUT - MARGIN)
    record = _record(function, "timeout")
    assert record["pieces"] == sum(o["type"] == "text" for o in heard.objects)
    assert record["duration_ms"] < TIMEOUT * 1000
    assert function.wait_for_line('"Requests":[1.0]')
    _wait_for_ending(function, "peer left")
    assert not any("timed out" in line for line in function.log)


def test_the_deadline_comes_while_bedrock_has_said_nothing() -> None:
    """Waiting for the head of the answer, within boto3: a 504 in time, and the next call finds a sound client."""
    with _a_function(RIVULET_READ_TIMEOUT="60", RIVULET_COMMIT_AFTER="60") as function:
        pids = function.pids
        function.bedrock.answer = lambda _: [Pause(60)]
        heard = _listen(function.url)
        assert heard.status == 504
        assert json.loads(heard.body)["error"]["code"] == "timeout"
        assert _about(heard.status_at, TIMEOUT - MARGIN)
        _wait_for_ending(function, "peer left")
        function.bedrock.answer = honest_answer
        assert ask(function.url).types[-1] == "done"
        assert function.pids == pids


def test_too_little_time_is_not_begun_with() -> None:
    """With no second left before the margin, Bedrock is not called at all."""
    with _a_function(RIVULET_DEADLINE_MARGIN=str(TIMEOUT - 0.9)) as function:
        answer = ask(function.url)
        assert (answer.status, answer.objects[0]["error"]["code"]) == (504, "timeout")
        assert not function.bedrock.calls


def test_a_reader_who_takes_nothing_does_not_hold_the_deadline() -> None:
    """Blocked in a write, the function gives up a second before its end, tells its record, and serves the next."""
    configuration = FunctionConfiguration(concurrency=1, timeout=3)

    def flood(call: Call) -> Iterator[Step]:
        yield from (step for step in honest_answer(call) if isinstance(step, Head))
        delta = {"contentBlockIndex": 0, "delta": {"text": "x" * 100_000}}
        while True:
            yield Send(frame(Event("contentBlockDelta", delta)))

    environment = {**SETTINGS, "RIVULET_DEADLINE_MARGIN": "1.5"}
    with LocalFunction(
        configuration, pace=IMMEDIATE, answer=flood, environment=environment
    ) as function:
        address = urlsplit(function.url)
        with socket.create_connection((address.hostname, address.port)) as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.sendall(
                b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b'Content-Length: 15\r\n\r\n{"prompt":"hi"}'
            )
            record = _record(function, "caller_gone")
            assert 1900 < record["duration_ms"] < 3000
            assert record["pieces"] > 10
            _wait_for_ending(function, "peer left")
        function.bedrock.answer = honest_answer
        assert ask(function.url).types[-1] == "done"
        assert not any("timed out" in line for line in function.log)


def test_two_processes_do_not_disturb_each_other() -> None:
    """One stream stalls, the other flows: each has its own heartbeats, its own end, its own record."""

    def answer(call: Call) -> Script:
        script = list(honest_answer(call))
        if "stall" in json.dumps(call.body):
            return after_frames(script, 3, Pause(60))
        return _with_pauses(script, 0.15)

    configuration = FunctionConfiguration(concurrency=2, provisioned_concurrency=2, timeout=20)
    with LocalFunction(
        configuration, pace=IMMEDIATE, answer=answer, environment=SETTINGS
    ) as function:
        heard: dict[str, Heard] = {}

        def listen(prompt: str) -> None:
            heard[prompt] = _listen(
                function.url, body={"prompt": prompt, "inferenceConfig": {"maxTokens": 12}}
            )

        threads = [threading.Thread(target=listen, args=(prompt,)) for prompt in ("stall", "flow")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(function.pids) == 2
    assert heard["stall"].objects[-1]["code"] == "read_timeout"
    assert len(heard["stall"].at(b": ping")) == 4
    assert heard["flow"].objects[-1]["type"] == "done"
    assert heard["flow"].at(b": ping") == []
    gaps = [b - a for a, b in pairwise(heard["flow"].at(b'"text"'))]
    assert all(gap < 0.15 + LATE for gap in gaps)


def test_a_busy_models_place_is_taken_by_the_next() -> None:
    """Throttled, the next model answers, and the start event and the record say so; callers may not name it."""
    asked: list[str] = []

    def answer(call: Call) -> Script:
        asked.append(call.model_id)
        if call.model_id != "us.amazon.nova-lite-v1:0":
            raise BedrockError(429, "ThrottlingException", "slow down")
        return honest_answer(call)

    with LocalFunction(
        FunctionConfiguration(concurrency=1),
        pace=IMMEDIATE,
        answer=answer,
        model_ids=(CLAUDE,),
        environment={
            **SETTINGS,
            "RIVULET_COMMIT_AFTER": "20",
            "RIVULET_MAX_ATTEMPTS": "2",
            "RIVULET_FALLBACK_MODEL_IDS": "amazon.nova-lite-v1:0,us.amazon.nova-lite-v1:0",
        },
    ) as function:
        answered = ask(function.url)
        start, *_, end = answered.objects
        assert start["model"] == "us.amazon.nova-lite-v1:0"
        assert start["fallback_from"] == CLAUDE
        assert end["type"] == "done"
        assert asked == [CLAUDE] * 2 + ["amazon.nova-lite-v1:0"] * 2 + ["us.amazon.nova-lite-v1:0"]
        record = json.loads(function.wait_for_line('"message":"stream"'))
        assert (record["model"], record["fallback_from"]) == (start["model"], CLAUDE)
        named = ask(function.url, body={"prompt": "hi", "modelId": "amazon.nova-lite-v1:0"})
        assert (named.status, named.objects[0]["error"]["code"]) == (404, "model_not_found")
        # Another model would not read a body that is written for Claude.
        raw = ask(function.url, INVOKE_PATH, INVOKE_BODY, accept="*/*")
        assert raw.status == 429


def test_nothing_is_tried_again_once_a_piece_is_out() -> None:
    """Throttled in mid-stream, the stream ends: no second call, no second model."""
    with LocalFunction(
        FunctionConfiguration(concurrency=1),
        pace=IMMEDIATE,
        model_ids=(CLAUDE,),
        environment={**SETTINGS, "RIVULET_FALLBACK_MODEL_IDS": "amazon.nova-lite-v1:0"},
    ) as function:
        answered = ask(
            function.url,
            body={"prompt": "[fault: exception name=throttlingException after=3] hi"},
        )
        assert answered.types == ["start", "text", "text", "block_end", "error"]
        assert answered.objects[-1]["code"] == "throttling"
        assert len(function.bedrock.calls) == 1


def test_a_reader_who_takes_only_a_part_costs_no_environment() -> None:
    """Everything is on its way but not taken: the function goes on before Lambda would kill it."""
    configuration = FunctionConfiguration(concurrency=1, timeout=4)
    with LocalFunction(configuration, pace=IMMEDIATE, environment=SETTINGS) as function:
        pids = function.pids
        address = urlsplit(function.url)
        body = b'{"prompt":"hi [fault: text size=3000000]"}'
        with socket.socket() as caller:
            # Before it connects, or its window is large already.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.connect((address.hostname, address.port))
            caller.sendall(
                b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            function.wait_for_line('"message":"stream"', timeout=10)
            assert ask(function.url).types[-1] == "done"
        assert function.pids == pids
        assert not any("timed out" in line for line in function.log)

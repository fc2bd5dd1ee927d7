"""What the real process tells of a stream: the record in the log, the metrics in it, the trace to X-Ray's daemon."""

from __future__ import annotations

import json
import re
import socket  # noqa: TID251  # X-Ray's daemon is a UDP port
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from relay.measures import MEASURES
from tests.caller import ask
from tests.frames import (
    LAST_CHUNK,
    MESSAGE_START,
    MESSAGE_STOP,
    METADATA,
    USAGE,
    chunk,
    delta,
    event,
    exception,
)
from tests.upstream import CHUNKED_HEAD, END, Upstream, http_chunk, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
INVOKE_PATH = f"/model/{MODEL}/invoke-with-response-stream"
PRIVATE = "a private word"
ACCOUNT = "999988887777"
SAID = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:x says {PRIVATE}"

# Each case: the path, what Bedrock sends, and what is to be told of it.
HEALTHY = CHUNKED_HEAD + b"".join(
    map(http_chunk, (MESSAGE_START, delta(text=PRIVATE), MESSAGE_STOP, METADATA))
)
CACHED = event(
    "metadata",
    {
        "usage": {**USAGE, "cacheReadInputTokens": 11, "cacheWriteInputTokens": 7},
        "metrics": {"latencyMs": 900},
    },
)
ANTHROPIC_START = chunk(
    {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
)
CASES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "cached": (
        "/stream",
        CHUNKED_HEAD + b"".join(map(http_chunk, (MESSAGE_START, MESSAGE_STOP, CACHED))) + END,
        {
            "pieces": 0,
            "stop_reason": "end_turn",
            "input_tokens": 3,
            "output_tokens": 5,
            "cache_read_input_tokens": 11,
            "cache_write_input_tokens": 7,
        },
    ),
    "invoke, cut": (
        INVOKE_PATH,
        CHUNKED_HEAD + http_chunk(ANTHROPIC_START) + http_chunk(chunk({"a": PRIVATE})) + END,
        {
            "pieces": 2,
            "error": "truncated",
            "at_fault": "service",
            "input_tokens": 3,
            "output_tokens": 1,
            "usage_partial": True,
        },
    ),
    "done": (
        "/stream",
        HEALTHY + END,
        {"pieces": 1, "stop_reason": "end_turn", "input_tokens": 3, "output_tokens": 5},
    ),
    "invoke": (
        INVOKE_PATH,
        CHUNKED_HEAD + http_chunk(chunk({"a": PRIVATE})) + http_chunk(LAST_CHUNK) + END,
        {"pieces": 2, "input_tokens": 3, "output_tokens": 5},
    ),
    "refused": (
        "/stream",
        refusal(400, "ValidationException", SAID),
        {"pieces": 0, "error": "validation", "at_fault": "caller"},
    ),
    "throttled": (
        "/stream",
        refusal(429, "ThrottlingException", SAID),
        {"pieces": 0, "error": "throttling", "at_fault": "service"},
    ),
    "failed in mid-stream": (
        "/stream",
        CHUNKED_HEAD
        + http_chunk(MESSAGE_START)
        + http_chunk(delta(text=PRIVATE))
        + http_chunk(exception("validationException", {"message": SAID})),
        {"pieces": 1, "error": "validation", "at_fault": "caller"},
    ),
    "cut": (
        "/stream",
        CHUNKED_HEAD + http_chunk(MESSAGE_START) + http_chunk(delta(text=PRIVATE)) + END,
        {"pieces": 1, "error": "truncated", "at_fault": "service"},
    ),
}
BETWEEN = {
    "time_between_pieces_p50_ms": "TimeBetweenPiecesP50",
    "time_between_pieces_p95_ms": "TimeBetweenPiecesP95",
    "time_between_pieces_max_ms": "TimeBetweenPiecesMax",
    "stalls": "Stalls",
}
KNOWN = {
    "Duration": "duration_ms",
    "TimeToFirstToken": "time_to_first_token_ms",
    "InputTokens": "input_tokens",
    "OutputTokens": "output_tokens",
    "CacheReadInputTokens": "cache_read_input_tokens",
    "CacheWriteInputTokens": "cache_write_input_tokens",
    **{metric: field for field, metric in BETWEEN.items()},
}
ALWAYS = {
    "level",
    "location",
    "message",
    "timestamp",
    "service",
    "cold_start",
    "function_name",
    "function_memory_size",
    "function_arn",
    "function_request_id",
    "xray_trace_id",
}


class Daemon:
    """X-Ray's daemon, as far as the SDK sees it."""

    def __init__(self) -> None:
        self.segments: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._socket.getsockname())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()

    def wait_for(self, name: str, trace_id: str) -> dict[str, Any]:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            for segment in tuple(self.segments):
                if segment["trace_id"] == trace_id and (found := _find(segment, name)):
                    return found
            time.sleep(0.01)
        raise TimeoutError(f"no subsegment {name}: {self.segments}")

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                datagram = self._socket.recv(65536)
            except TimeoutError:
                continue
            header, _, document = datagram.partition(b"\n")
            assert json.loads(header) == {"format": "json", "version": 1}
            self.segments.append(json.loads(document))


def _find(segment: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return the subsegment of a name, anywhere in a document."""
    if segment["name"] == name:
        return segment
    return next((f for s in segment.get("subsegments", []) if (f := _find(s, name))), None)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def function(upstream: Upstream, daemon: Daemon) -> Iterator[LocalFunction]:
    environment = {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": upstream.url,
        "AWS_XRAY_DAEMON_ADDRESS": daemon.address,
        "POWERTOOLS_TRACE_DISABLED": "false",
        "RIVULET_MAX_ATTEMPTS": "1",
    }
    configuration = FunctionConfiguration(concurrency=1)
    with LocalFunction(configuration, environment=environment) as function:
        yield function


def _lines(function: LocalFunction, since: int, message: str) -> tuple[dict[str, Any], list[Any]]:
    """Return the record and the metrics that were logged since a line."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        lines = [json.loads(line) for line in list(function.log)[since:] if line.startswith("{")]
        records = [line for line in lines if line.get("message") == message]
        metrics = [line for line in lines if "_aws" in line and "Requests" in line]
        if records and metrics:
            assert len(records) == len(metrics) == 1
            return records[0], metrics
        time.sleep(0.01)
    raise TimeoutError("\n".join(function.log))


def _ask(
    upstream: Upstream, function: LocalFunction, case: str
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    path, wire, _ = CASES[case]

    def answer(connection: socket.socket) -> bool:
        connection.sendall(wire)
        return True

    upstream.answer = answer
    since = len(function.log)
    answered = ask(function.url, path, {"prompt": PRIVATE}, accept="*/*")
    record, (metrics,) = _lines(function, since, "stream")
    return record, metrics, answered


@pytest.mark.xdist_group("relay telemetry")
@pytest.mark.parametrize("case", CASES)
def test_each_stream_has_one_record(upstream: Upstream, function: LocalFunction, case: str) -> None:
    """One structured record a stream, with what was counted, and with nothing of what was said."""
    record, _, answered = _ask(upstream, function, case)
    path, _, told = CASES[case]
    route = path if path == "/stream" else "/model/{modelId}/invoke-with-response-stream"
    expected = {
        "route": route,
        "model": MODEL if path != "/stream" else record["model"],
        "status": answered.status,
        "bytes": len(answered.body),
        "auth": "iam",
        "caller": record["caller"],
        **told,
    }
    assert expected.items() <= record.items()
    measured = {"duration_ms"} | ({"time_to_first_token_ms"} if told["pieces"] else set())
    if told["pieces"] > 1:
        measured |= BETWEEN.keys()
        assert record["stalls"] == 0
        p50, p95, longest = (record[f"time_between_pieces_{n}_ms"] for n in ("p50", "p95", "max"))
        assert 0 < p50 <= p95 <= longest < record["duration_ms"]
    optional = {"cause"} if "error" in told else set()
    assert record.keys() - ALWAYS - expected.keys() - measured <= optional
    assert 0 < record.get("time_to_first_token_ms", 0.001) <= record["duration_ms"]
    assert record["function_request_id"] == answered.headers["x-request-id"]
    assert PRIVATE not in "".join(function.log)
    assert ACCOUNT not in "".join(function.log)


@pytest.mark.xdist_group("relay telemetry")
@pytest.mark.parametrize("case", CASES)
def test_each_stream_has_its_metrics(
    upstream: Upstream, function: LocalFunction, case: str
) -> None:
    """The embedded metric format as CloudWatch documents it, with the record's own numbers."""
    record, metrics, _ = _ask(upstream, function, case)
    dimensions = {"service": "rivulet", "model": record["model"], "auth": "iam"}
    error = record.get("error")
    if error:
        dimensions["code"] = error
    assert dimensions.items() <= metrics.items()
    assert abs(metrics["_aws"]["Timestamp"] / 1000 - time.time()) < 60
    told: dict[str, list[tuple[str, ...]]] = {}
    for directive in metrics["_aws"]["CloudWatchMetrics"]:
        assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
        assert directive["Namespace"] == "Rivulet"
        (names,) = directive["Dimensions"]
        assert names[0] == "service"
        for metric in directive["Metrics"]:
            assert metric == {"Name": metric["Name"], "Unit": MEASURES[metric["Name"]].unit.value}
            told.setdefault(metric["Name"], []).append(tuple(names[1:]))
    assert told == {name: [(by,) if by else () for by in MEASURES[name].by] for name in told}
    values = {name: metrics[name] for name in told}
    expected = {name: [float(record[field])] for name, field in KNOWN.items() if field in record}
    expected |= {"Requests": [1.0]}
    expected |= {"Failures": [float(record.get("at_fault") == "service")]}
    expected |= {"Refusals": [float(record.get("at_fault") == "caller")]}
    expected |= {"Errors": [1.0]} if error else {}
    expected |= {"Throttles": [1.0]} if error == "throttling" else {}
    assert values == expected
    assert metrics.keys() == {"_aws", *dimensions, *expected}


@pytest.mark.xdist_group("relay telemetry")
@pytest.mark.parametrize("case", CASES)
def test_each_stream_has_a_trace(
    upstream: Upstream, daemon: Daemon, function: LocalFunction, case: str
) -> None:
    """A subsegment spans the call and its stream; its annotations are the record's, and it has nobody's words."""
    record, _, _ = _ask(upstream, function, case)
    invoke = record["route"].startswith("/model/")
    operation = "InvokeModelWithResponseStream" if invoke else "ConverseStream"
    handler = daemon.wait_for("## handle", record["xray_trace_id"])
    segment = daemon.wait_for(f"## {operation}", record["xray_trace_id"])
    for document in (handler, segment):
        assert re.fullmatch(r"[0-9a-f]{16}", document["id"])
        assert document["end_time"] > document["start_time"] > 1.6e9
        assert re.fullmatch(r"[\w .:/%&#=+\\\-@]{1,200}", document["name"])
    assert handler["type"] == "subsegment"
    assert re.fullmatch(r"1-[0-9a-f]{8}-[0-9a-f]{24}", handler["trace_id"])
    assert re.fullmatch(r"[0-9a-f]{16}", handler["parent_id"])
    annotations = segment["annotations"]
    assert all(re.fullmatch(r"\w{1,500}", name) for name in annotations)
    assert annotations == {
        name: value
        for name, value in record.items()
        if name not in ALWAYS | {"status", "bytes", "duration_ms"}
    }
    assert segment.get("fault", False) is (record.get("at_fault") == "service")
    assert segment.get("error", False) is (record.get("at_fault") == "caller")
    assert "cause" not in segment, "an exception's words"
    assert PRIVATE not in json.dumps(daemon.segments)
    assert ACCOUNT not in json.dumps(daemon.segments)


@pytest.mark.xdist_group("relay telemetry")
@pytest.mark.parametrize("case", ["cached", "invoke", "invoke, cut"])
def test_usage_is_the_same_everywhere(
    upstream: Upstream, daemon: Daemon, function: LocalFunction, case: str
) -> None:
    """What Bedrock counted is one set of numbers: the caller's, the record's, the metrics' and the trace's."""
    path, wire, told = CASES[case]

    def answer(connection: socket.socket) -> bool:
        connection.sendall(wire)
        return True

    upstream.answer = answer
    since = len(function.log)
    answered = ask(function.url, path, {"prompt": PRIVATE}, accept="application/x-ndjson")
    record, (metrics,) = _lines(function, since, "stream")
    operation = "ConverseStream" if path == "/stream" else "InvokeModelWithResponseStream"
    segment = daemon.wait_for(f"## {operation}", record["xray_trace_id"])
    end = answered.objects[-1]
    counted = {name: value for name, value in end["usage"].items() if name != "totalTokens"}
    by_record = {_camel_case(n): v for n, v in told.items() if n.endswith("_tokens")}
    assert counted == by_record
    for name, value in counted.items():
        assert metrics[name[:1].upper() + name[1:]] == [float(value)]
        assert segment["annotations"][_snake_case(name)] == value
        assert record[_snake_case(name)] == value
    assert end.get("usage_partial", False) is ("error" in told)


def _snake_case(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)


@pytest.mark.xdist_group("relay telemetry")
def test_a_refused_request_is_counted(upstream: Upstream, function: LocalFunction) -> None:
    """What never became a call has a record and metrics, too."""
    since = len(function.log)
    answered = ask(function.url, "/stream", {"prompt": PRIVATE, "x": PRIVATE})
    record, (metrics,) = _lines(function, since, "request")
    assert (record["error"], record["status"]) == ("invalid_request", 400)
    assert record["bytes"] == len(answered.body)
    directives = metrics["_aws"]["CloudWatchMetrics"]
    dimensions = [d["Dimensions"] for d in directives]
    assert dimensions == [[["service"]], [["service", "code"]], [["service", "auth"]]]
    assert (metrics["code"], metrics["auth"]) == ("invalid_request", "iam")
    assert (metrics["Requests"], metrics["Failures"], metrics["Refusals"]) == ([1.0], [0.0], [1.0])
    assert PRIVATE not in "".join(function.log)
    assert upstream.url

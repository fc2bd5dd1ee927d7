"""The function over thousands of invocations, and over the longest body there is: nothing mixed up, nothing kept."""

from __future__ import annotations

import base64
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, islice, product
from typing import TYPE_CHECKING, Any

import pytest

from local.bedrock import Call, exception_frame, honest_answer, refusal
from local.configuration import FunctionConfiguration
from local.faults import after_bytes, after_frames, corrupt
from local.function import LocalFunction
from local.pace import IMMEDIATE
from local.prompts import BedrockError
from local.script import Cut, Pause, Reset, Script, Send
from tests.caller import ask
from tests.integration.footprint import KIB, Footprint
from tests.integration.judges.function_process import BOOTSTRAP, function_process
from tests.integration.runtime_api_in_turn import RuntimeApiInTurn, TakenCall
from tests.unit.streaming_runtime.scripted_api import URL_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMAND = (BOOTSTRAP, sys.executable, "/var/runtime/bootstrap.py")
LONGEST_BODY = 200 * KIB * KIB  # fact 30

SOURCE = """
from streaming_runtime import ResponseClosed, stream_response

@stream_response
def handle(event, context, *, response):
    mine = f"{context.aws_request_id} {event['id']}"
    response.headers["x-mine"] = mine
    kind = event["kind"]
    if kind == "empty":
        return
    if kind == "fails first":
        raise LookupError(mine)
    response.write(mine)
    if kind in {"caller gone", "too large"}:
        try:
            while True:
                response.write(mine)
        except ResponseClosed:
            if event["raises"]:
                raise
            return
    response.write(bytes(event["size"]))
    response.write(mine)
    if kind == "fails later":
        raise LookupError(mine)
"""
HTTP_API_EVENT = {
    "version": "2.0",
    "requestContext": {
        "apiId": "id",
        "domainName": "id.execute-api.eu-west-1.amazonaws.com",
        "http": {"method": "POST", "path": "/"},
    },
}


def _take_streamed(call: TakenCall, mine: bytes, size: int, status: int = 202) -> None:
    chunks = _after_prelude(call, mine)
    assert list(chunks) == [mine, bytes(size), mine]
    assert call.trailers == {}
    _accept(call, status)


def _take_and_refuse(call: TakenCall, mine: bytes, size: int) -> None:
    _take_streamed(call, mine, size, 400)


def _take_empty(call: TakenCall, mine: bytes, _size: int) -> None:
    assert list(_after_prelude(call, mine)) == []
    assert call.trailers == {}
    _accept(call)


def _take_buffered(call: TakenCall, mine: bytes, size: int) -> None:
    result = json.loads(b"".join(call.chunks()))
    assert result["headers"] == {"x-mine": mine.decode()}
    assert base64.b64decode(result["body"]) == mine + bytes(size) + mine
    _accept(call)


def _take_direct(call: TakenCall, mine: bytes, size: int) -> None:
    assert list(call.chunks()) == [mine, bytes(size), mine]
    assert call.trailers == {}
    _accept(call)


def _take_error(call: TakenCall, mine: bytes, _size: int) -> None:
    assert json.loads(b"".join(call.chunks()))["errorMessage"] == mine.decode()
    _accept(call)


def _take_failure(call: TakenCall, mine: bytes, size: int) -> None:
    chunks = _after_prelude(call, mine)
    assert list(chunks) == [mine, bytes(size), mine]
    error = json.loads(base64.b64decode(call.trailers["lambda-runtime-function-error-body"]))
    assert error["errorMessage"] == mine.decode()
    _accept(call)


def _take_a_part(call: TakenCall, mine: bytes, _size: int) -> None:
    chunks = _after_prelude(call, mine)
    assert [next(chunks), next(chunks)] == [mine, mine]


def _take_too_much(call: TakenCall, mine: bytes, size: int) -> None:
    _take_a_part(call, mine, size)
    call.answer(413)
    call.rest()  # what was on its way; the runtime must close


def _after_prelude(call: TakenCall, mine: bytes) -> Iterator[bytes]:
    chunks = call.chunks()
    assert json.loads(next(chunks))["headers"] == {"x-mine": mine.decode()}
    assert next(chunks) == bytes(8)
    return chunks


def _accept(call: TakenCall, status: int = 202) -> None:
    call.answer(status)
    assert call.rest() == b""


# What comes in, the call that answers it, and how that is taken. With the last three Lambda has its own mind.
KINDS: dict[str, tuple[dict[str, Any], str, Callable[[TakenCall, bytes, int], None]]] = {
    "streamed": (URL_EVENT, "response", _take_streamed),
    "empty": (URL_EVENT, "response", _take_empty),
    "buffered": (HTTP_API_EVENT, "response", _take_buffered),
    "direct": ({}, "response", _take_direct),
    "fails first": (URL_EVENT, "error", _take_error),
    "fails later": (URL_EVENT, "response", _take_failure),
    "caller gone": (URL_EVENT, "response", _take_a_part),
    "too large": (URL_EVENT, "response", _take_too_much),
    "refused": (URL_EVENT, "response", _take_and_refuse),
}
SIZES = (1, 1000, 100_000)  # the last is too large to be sent together with its size line


def _invoke(idle: TakenCall, request_id: str, number: int, kind: str) -> None:
    event, _, _ = KINDS[kind]
    size = SIZES[number % len(SIZES)]
    more = {"id": request_id, "kind": kind, "size": size, "raises": number % 2}
    idle.hand_out(request_id, {**event, **more})


def _take(call: TakenCall, request_id: str, number: int, kind: str) -> None:
    _, answered_by, take = KINDS[kind]
    size = SIZES[number % len(SIZES)]
    assert call.path == f"/2018-06-01/runtime/invocation/{request_id}/{answered_by}"
    assert call.headers["lambda-runtime-invocation-id"] == f"invocation-{request_id}"
    take(call, f"{request_id} {request_id}".encode(), size)


PROCESSES = 4


def test_ten_thousand_invocations(tmp_path: Path) -> None:
    """Whatever comes after whatever, each is answered exactly once, as its own; the processes do not grow.

    Two thirds of the kinds are in order, a third goes wrong, in several processes at once.
    """
    with ThreadPoolExecutor(PROCESSES) as pool:
        folders = [tmp_path / str(number) for number in range(PROCESSES)]
        footprints = list(pool.map(_invoke_in_turn, folders))
    for warm, last in footprints:
        # A few hundred bytes kept of each invocation would be too much.
        last.assert_within(warm, memory=900)


def _invoke_in_turn(folder: Path) -> tuple[Footprint, Footprint]:
    """Hand a process its share of the invocations; return what it held once it was warm, and in the end."""
    folder.mkdir()
    kinds = chain.from_iterable(cycle(product(KINDS, repeat=2)))  # each kind after each
    with (
        RuntimeApiInTurn() as api,
        function_process(folder, SOURCE, api.address, command=COMMAND) as function,
    ):
        warm = Footprint()
        for number, kind in enumerate(islice(kinds, 10_000 // PROCESSES)):
            request_id = f"{folder.name}-{number}"
            with api.waiting() as idle:
                if number == 300:
                    warm = Footprint.of(function.process.pid)
                _invoke(idle, request_id, number, kind)
            with api.call() as call:
                _take(call, request_id, number, kind)
        with api.waiting():
            return warm, Footprint.of(function.process.pid)


LONG_SOURCE = """
from streaming_runtime import stream_response

@stream_response
def handle(event, context, *, response):
    filler = bytes(event["size"] - 8)
    for number in range(event["count"]):
        response.write(number.to_bytes(8, "big") + filler)
"""


def _stream(api: RuntimeApiInTurn, pid: int, size: int, count: int) -> Footprint:
    """Stream so many numbered pieces of a size; return what the process held before."""
    with api.waiting() as idle:
        before = Footprint.of(pid)
        idle.hand_out("long", {"size": size, "count": count})
    filler = bytes(size - 8)
    with api.call() as call:
        length = 0
        for number, piece in enumerate(call.chunks()):
            assert piece[:8] == number.to_bytes(8, "big")
            assert piece[8:] == filler
            length += len(piece)
        assert (length, call.trailers) == (size * count, {})
        _accept(call)
    return before


@pytest.mark.parametrize("size", [64 * KIB, 1024 * KIB])
def test_the_longest_body(size: int, tmp_path: Path) -> None:
    """200 MB go through piece by piece, and no more of them is held than of a small body."""
    with (
        RuntimeApiInTurn() as api,
        function_process(tmp_path, LONG_SOURCE, api.address, command=COMMAND) as function,
    ):
        pid = function.process.pid
        _stream(api, pid, size, 1)
        small = _stream(api, pid, size, LONGEST_BODY // size)
        whole = _stream(api, pid, size, 1)
        whole.assert_within(small, memory=4 * KIB)


# How Bedrock goes wrong, and what the caller is told: a status, or the code of the stream's end.
FAULTS: tuple[tuple[Callable[[Script], Script], int | str], ...] = (
    (
        lambda script: after_frames(script, 4, Send(exception_frame("throttlingException", {}))),
        "throttling",
    ),
    (lambda script: after_frames(script, 4, Cut()), "connection_lost"),
    (lambda script: after_frames(script, 4), "truncated"),
    (lambda script: after_bytes(script, 500, Cut()), "connection_lost"),
    (lambda script: corrupt(script, 4), "corrupt"),
    (lambda script: after_frames(script, 4, Pause(60)), "read_timeout"),
    (lambda _: refusal(BedrockError(403, "AccessDeniedException", "no"), "x"), 403),
    (lambda _: [Reset()], 502),
    (
        lambda script: after_frames(
            script, 0, Send(exception_frame("internalServerException", {}))
        ),
        500,
    ),
    (lambda script: [Pause(0.15), *script], "done"),  # late, so that heartbeats come first
)


def test_a_thousand_streams() -> None:
    """A third of the models goes wrong: each caller has exactly one end of its own stream, and nothing is kept."""

    def answer(call: Call) -> Script:
        number = int(json.dumps(call.body).partition("number ")[2].partition(".")[0])
        script = honest_answer(call)
        return FAULTS[number // 3 % len(FAULTS)][0](script) if number % 3 == 0 else script

    configuration = FunctionConfiguration(
        concurrency=PROCESSES, provisioned_concurrency=PROCESSES, timeout=30
    )
    environment = {
        "RIVULET_MAX_ATTEMPTS": "1",
        "RIVULET_READ_TIMEOUT": "2",
        "RIVULET_COMMIT_AFTER": "0.1",
        "RIVULET_HEARTBEAT_INTERVAL": "0.1",
    }
    with (
        LocalFunction(
            configuration, pace=IMMEDIATE, answer=answer, environment=environment
        ) as function,
        ThreadPoolExecutor(PROCESSES) as pool,
    ):

        def call(numbers: range) -> None:
            for number in numbers:
                _ask_for(function, number)

        pids = sorted(function.pids)
        list(pool.map(call, [range(n, 400, PROCESSES) for n in range(PROCESSES)]))
        warm = {pid: Footprint.of(pid) for pid in pids}
        list(pool.map(call, [range(400 + n, 1000, PROCESSES) for n in range(PROCESSES)]))
        assert sorted(function.pids) == pids
        for pid in pids:
            # Two may be there now that were not then: the call for the next invocation on its way, and a
            # connection to Bedrock that the latest answer has left open for the next one.
            Footprint.of(pid).assert_within(warm[pid], memory=2 * KIB, descriptors=2)


def _ask_for(function: LocalFunction, number: int) -> None:
    told = FAULTS[number // 3 % len(FAULTS)][1] if number % 3 == 0 else "done"
    prompt = f"This is number {number}. Say it again."
    got = ask(function.url, body={"prompt": prompt, "inferenceConfig": {"maxTokens": 12}})
    assert got.headers["x-request-id"] == got.headers["x-amzn-requestid"]
    if isinstance(told, int):
        assert got.status == told
        assert got.objects[0]["error"]["request_id"] == got.headers["x-request-id"]
        return
    start, *pieces, end = got.objects
    assert start["request_id"] == got.headers["x-request-id"]
    assert {piece["type"] for piece in pieces} == {"text", "block_end"}
    text = "".join(piece.get("text", "") for piece in pieces)
    if told == "done":
        assert end["type"] == "done", end
        assert (end["stop_reason"], got.whole) == ("max_tokens", True)
        assert f"number {number}." in text, "somebody else's answer"
    else:
        assert (end["type"], end["code"], got.whole) == ("error", told, False)

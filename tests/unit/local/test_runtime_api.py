from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11
import pytest

from local.invocation import Failure, Invocation
from local.runtime_api import Limits, RuntimeApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = "/2018-06-01/runtime"
STREAMING = {"Lambda-Runtime-Function-Response-Mode": "streaming", "Transfer-Encoding": "chunked"}


@dataclass
class Collected:
    """A sink that keeps what it gets."""

    pieces: list[bytes] = field(default_factory=list)
    content_type: str | None = None
    caller_left: bool = False

    async def begin(self, content_type: str | None) -> None:
        self.content_type = content_type

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    json: Any


class Runtime:
    """The function's side, on h11."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.CLIENT)

    def send(self, event: h11.Event) -> None:
        self._writer.write(self._h11.send(event) or b"")

    def ask(self, method: str, path: str, **headers: str) -> None:
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.send(h11.Request(method=method, target=ROOT + path, headers=[("Host", "x"), *named]))

    async def answer(self) -> Answer:
        head: h11.Response | None = None
        body = b""
        while True:
            event = self._h11.next_event()
            match event:
                case h11.Response():
                    head = event
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    assert head is not None
                    headers = {k.decode(): v.decode() for k, v in head.headers}
                    return Answer(head.status_code, headers, json.loads(body) if body else None)
                case _:
                    self._h11.receive_data(await asyncio.wait_for(self._reader.read(1000), 5))

    async def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        self.ask(method, path, **{"Content-Length": str(len(body)), **headers})
        self.send(h11.Data(data=body))
        self.send(h11.EndOfMessage())
        answer = await self.answer()
        self._h11.start_next_cycle()
        return answer

    async def stream(self, invocation: Invocation, *pieces: bytes) -> None:
        self.ask("POST", f"/invocation/{invocation.id}/response", Content_Type="a/b", **STREAMING)
        for piece in pieces:
            self.send(h11.Data(data=piece))
            await asyncio.sleep(0.02)

    async def end(self, **trailers: str) -> Answer:
        named = [(name.replace("_", "-"), value) for name, value in trailers.items()]
        self.send(h11.EndOfMessage(headers=named))
        return await self.answer()

    def leave(self) -> None:
        self._writer.close()


@asynccontextmanager
async def api_and_runtime(
    limits: Limits | None = None,
) -> AsyncIterator[tuple[RuntimeApi, Runtime]]:
    api = RuntimeApi(limits or Limits())
    await api.start()
    host, _, port = api.address.partition(":")
    runtime = Runtime(*await asyncio.open_connection(host, int(port)))
    try:
        yield api, runtime
    finally:
        runtime.leave()
        await api.close()


async def taken(api: RuntimeApi, runtime: Runtime, sink: Collected | None = None) -> Invocation:
    """Return an invocation that the runtime has in hand."""
    invocation = Invocation(b"{}", sink or Collected(), function_arn="arn:x", deadline_ms=1)
    api.offer(invocation)
    await runtime.call("GET", "/invocation/next")
    return invocation


def test_next_waits_for_an_invocation_and_tells_all_of_it() -> None:
    """`next` answers when there is something to do, with the event and every header."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            asking = asyncio.create_task(runtime.call("GET", "/invocation/next"))
            await asyncio.sleep(0.05)
            assert api.ready.result() is None
            assert not asking.done()
            invocation = Invocation(
                '{"é": 1}'.encode(),
                Collected(),
                client_context='{"a":1}',
                tenant_id="t",
                function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
                deadline_ms=1_700_000_000_000,
            )
            asked_again = api.offer(invocation)
            answer = await asking
            assert (answer.status, answer.json) == (200, {"é": 1})
            assert answer.headers == {
                "lambda-runtime-aws-request-id": invocation.id,
                "lambda-runtime-deadline-ms": "1700000000000",
                "lambda-runtime-invoked-function-arn": invocation.function_arn,
                "lambda-runtime-trace-id": invocation.trace_id,
                "lambda-runtime-client-context": '{"a":1}',
                "lambda-runtime-aws-tenant-id": "t",
                "content-type": "application/json",
                "content-length": "9",
            }
            assert not asked_again.done()
            runtime.ask("GET", "/invocation/next")
            await asyncio.wait_for(asked_again, 5)

    asyncio.run(main())


def test_a_whole_response_is_passed_on() -> None:
    """A response that is no stream reaches the sink in one piece and is accepted."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            sink = Collected()
            invocation = await taken(api, runtime, sink)
            path = f"/invocation/{invocation.id}/response"
            answer = await runtime.call("POST", path, b'{"a": 1}', Content_Type="application/json")
            assert (answer.status, answer.json) == (202, {"status": "OK"})
            assert (sink.content_type, sink.pieces) == ("application/json", [b'{"a": 1}'])
            assert invocation.outcome.result() is None

    asyncio.run(main())


def test_a_streamed_response_is_passed_on_piece_by_piece() -> None:
    """Each piece reaches the sink while the response goes on; the answer comes at its end."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            sink = Collected()
            invocation = await taken(api, runtime, sink)
            await runtime.stream(invocation, b"one", b"two")
            assert sink.pieces == [b"one", b"two"]
            assert not invocation.outcome.done()
            assert (await runtime.end()).status == 202
            assert invocation.outcome.result() is None

    asyncio.run(main())


def test_error_trailers_are_noticed() -> None:
    """The trailers of a stream say why it failed (fact 31)."""
    error = {"errorType": "Oops", "errorMessage": "it was Größe", "stackTrace": ["x" * 100_000]}
    body = b64encode(json.dumps(error).encode()).decode()

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            invocation = await taken(api, runtime)
            await runtime.stream(invocation, b"half")
            answer = await runtime.end(
                Lambda_Runtime_Function_Error_Type="Oops", Lambda_Runtime_Function_Error_Body=body
            )
            assert answer.status == 202
            assert invocation.outcome.result() == Failure("Oops", "it was Größe", error)

    asyncio.run(main())


@pytest.mark.parametrize("body", ["%%%", b64encode(b"no json").decode(), b64encode(b"[]").decode()])
def test_error_trailers_count_even_when_they_cannot_be_read(body: str) -> None:
    """A stream with an error type failed, whatever its error body is."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            invocation = await taken(api, runtime)
            await runtime.stream(invocation, b"half")
            await runtime.end(
                Lambda_Runtime_Function_Error_Type="Oops", Lambda_Runtime_Function_Error_Body=body
            )
            assert invocation.outcome.result() == Failure("Oops", "", {})

    asyncio.run(main())


@pytest.mark.parametrize("streaming", [True, False])
def test_a_response_cut_short_is_truncated(*, streaming: bool) -> None:
    """A response whose connection ends before it does fails as Runtime.TruncatedResponse."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            invocation = await taken(api, runtime)
            headers = STREAMING if streaming else {"Content-Length": "10"}
            runtime.ask("POST", f"/invocation/{invocation.id}/response", **headers)
            runtime.send(h11.Data(data=b"half"))
            await asyncio.sleep(0.02)
            runtime.leave()
            failure = await asyncio.wait_for(invocation.outcome, 5)
            assert failure is not None
            assert failure.type == "Runtime.TruncatedResponse"

    asyncio.run(main())


def test_an_error_is_passed_on() -> None:
    """`error` fails the invocation with what its body tells."""
    error = {"errorType": "ValueError", "errorMessage": "no", "stackTrace": []}

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            invocation = await taken(api, runtime)
            path = f"/invocation/{invocation.id}/error"
            assert (await runtime.call("POST", path, json.dumps(error).encode())).status == 202
            assert invocation.outcome.result() == Failure("ValueError", "no", error)

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/init/error", "/restore/error"])
def test_a_start_that_fails_is_told(path: str) -> None:
    """An error of the start is why the environment never gets ready."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            answer = await runtime.call(
                "POST",
                path,
                b'{"errorMessage": "no module"}',
                Lambda_Runtime_Function_Error_Type="Runtime.ImportModuleError",
            )
            assert answer.status == 202
            failure = api.ready.result()
            assert failure is not None
            assert (failure.type, failure.message) == ("Runtime.ImportModuleError", "no module")

    asyncio.run(main())


def test_each_invocation_is_answered_once() -> None:
    """A wrong request id, or one that was answered, is a 400."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            wrong = await runtime.call("POST", "/invocation/nonsense/response", b"{}")
            assert (wrong.status, wrong.json["errorType"]) == (400, "InvalidRequestID")
            invocation = await taken(api, runtime)
            statuses = [
                (await runtime.call("POST", f"/invocation/{invocation.id}/{what}", b"{}")).status
                for what in ("response", "response", "error")
            ]
            assert statuses == [202, 400, 400]

    asyncio.run(main())


def test_a_whole_response_may_be_six_megabytes() -> None:
    """A response that is no stream and too large is a 413, and the invocation's failure."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            invocation = await taken(api, runtime)
            limit = 6 * 1024 * 1024 + 100
            path = f"/invocation/{invocation.id}/response"
            assert (await runtime.call("POST", path, bytes(limit + 1))).status == 413
            failure = invocation.outcome.result()
            assert failure is not None
            assert failure.type == "Function.ResponseSizeTooLarge"
            invocation = await taken(api, runtime)
            path = f"/invocation/{invocation.id}/response"
            assert (await runtime.call("POST", path, bytes(limit))).status == 202

    asyncio.run(main())


def test_a_stream_too_large_is_answered_early() -> None:
    """A stream over the limit gets its 413 while the function still sends."""

    async def main() -> None:
        async with api_and_runtime(Limits(streamed=100)) as (api, runtime):
            sink = Collected()
            invocation = await taken(api, runtime, sink)
            await runtime.stream(invocation, bytes(60), bytes(40), bytes(1))
            assert (await runtime.answer()).status == 413
            assert sum(map(len, sink.pieces)) == 100

    asyncio.run(main())


def test_a_function_is_not_told_that_its_caller_left() -> None:
    """As in Lambda, all writes succeed after the caller left, and the last answer is a 400."""

    async def main() -> None:
        async with api_and_runtime() as (api, runtime):
            invocation = await taken(api, runtime, Collected(caller_left=True))
            await runtime.stream(invocation, b"one", b"two")
            answer = await runtime.end()
            assert (answer.status, answer.json["errorType"]) == (400, "TruncatedHTTPRequest")

    asyncio.run(main())


def test_a_function_can_be_told_that_its_caller_left() -> None:
    """Where it is chosen, the function's connection breaks when the caller has gone."""

    async def main() -> None:
        async with api_and_runtime(Limits(tell_when_caller_leaves=True)) as (api, runtime):
            invocation = await taken(api, runtime, Collected(caller_left=True))
            await runtime.stream(invocation, b"one")
            with pytest.raises(ConnectionResetError):
                await runtime.answer()

    asyncio.run(main())


def test_bandwidth_is_limited_after_the_burst() -> None:
    """Where it is chosen, what comes after the burst passes at the given rate."""

    async def main() -> None:
        async with api_and_runtime(Limits(burst=1000, bandwidth=10_000)) as (api, runtime):
            invocation = await taken(api, runtime)
            await runtime.stream(invocation, bytes(1000))
            loop = asyncio.get_running_loop()
            began = loop.time()
            runtime.send(h11.Data(data=bytes(2000)))
            await runtime.end()
            assert 0.15 < loop.time() - began < 1

    asyncio.run(main())


def test_a_runtime_that_leaves_while_it_waits_takes_nothing_with_it() -> None:
    """An invocation that comes after a waiting runtime left is there for the next one that asks."""

    async def main() -> None:
        async with api_and_runtime() as (api, gone):
            gone.ask("GET", "/invocation/next")
            gone.send(h11.EndOfMessage())
            await asyncio.sleep(0.05)
            gone.leave()
            await asyncio.sleep(0.05)
            invocation = Invocation(b"{}", Collected())
            api.offer(invocation)
            host, _, port = api.address.partition(":")
            runtime = Runtime(*await asyncio.open_connection(host, int(port)))
            answer = await runtime.call("GET", "/invocation/next")
            assert answer.headers["lambda-runtime-aws-request-id"] == invocation.id
            runtime.leave()

    asyncio.run(main())


def test_restore_goes_on_at_once() -> None:
    """SnapStart's restore needs no wait at home (fact 38); anything else is not found."""

    async def main() -> None:
        async with api_and_runtime() as (_, runtime):
            assert (await runtime.call("GET", "/restore/next")).status == 200
            assert (await runtime.call("GET", "/nonsense")).status == 404
            assert (await runtime.call("GET", "/invocation/x/response")).status == 404

    asyncio.run(main())

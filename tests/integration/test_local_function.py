"""The function at home as Lambda would treat it: a plain runtime behind the Runtime API, URL and environments."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3  # noqa: TID251  # the judge
import httpx
import pytest
from botocore.config import Config  # noqa: TID251  # the judge
from botocore.exceptions import ClientError  # noqa: TID251  # the judge

from local.configuration import FunctionConfiguration
from local.function import LocalFunction, StartError
from local.runtime_api import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNTIME = Path(__file__).parent / "local_runtime.py"


def configured(**more: Any) -> FunctionConfiguration:
    return FunctionConfiguration(
        task_root=RUNTIME.parent, command=(sys.executable, str(RUNTIME)), **more
    )


@pytest.fixture
def function() -> Iterator[LocalFunction]:
    with LocalFunction(configured(timeout=1.0)) as function:
        yield function


def dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def broken_body(url: str) -> bytes:
    """Return what came before the connection broke."""
    got = b""
    try:
        with httpx.stream("GET", url) as response:
            for piece in response.iter_raw():
                got += piece
    except httpx.RemoteProtocolError:
        return got
    raise AssertionError("the connection ended properly")


def test_a_stream_comes_out_as_it_goes_in(function: LocalFunction) -> None:
    """Status, headers, cookies and pieces are the function's, each piece on its own and at once."""
    with httpx.stream("GET", f"{function.url}/stream") as response:
        arrivals = [(time.monotonic(), piece) for piece in response.iter_raw()]
    assert response.status_code == 201
    assert response.headers["x-a"] == "1"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert len(response.headers["x-amzn-requestid"]) == 36
    assert [piece for _, piece in arrivals] == [b"one", b"two"]
    assert arrivals[1][0] - arrivals[0][0] == pytest.approx(0.05, abs=0.03)
    assert function.wait_for_line("answered") == "answered 202"


def test_an_empty_stream_has_its_head(function: LocalFunction) -> None:
    """A prelude without a payload is a whole answer (fact 33)."""
    response = httpx.get(f"{function.url}/empty")
    assert (response.status_code, response.content) == (201, b"")


def test_a_stream_without_a_prelude_goes_out_as_it_is(function: LocalFunction) -> None:
    """Without the integration's content type the body goes out under status 200 (fact 32)."""
    response = httpx.get(f"{function.url}/bare")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/x-bare")
    assert response.content == b"as it is"


def test_the_function_gets_the_request(function: LocalFunction) -> None:
    """Method, path, query, headers, cookies and body arrive in the event."""
    response = httpx.put(
        f"{function.url}/echo?a=1&a=2",
        content="é",
        headers={"content-type": "text/plain", "cookie": "x=1; y=2"},
    )
    event = response.json()
    assert event["requestContext"]["http"]["method"] == "PUT"
    assert event["requestContext"]["requestId"] == response.headers["x-amzn-requestid"]
    assert (event["body"], event["isBase64Encoded"]) == ("é", False)
    assert (event["queryStringParameters"], event["cookies"]) == ({"a": "1,2"}, ["x=1", "y=2"])


@pytest.mark.parametrize(
    "path", ["/error", "/exit", "/hang", "/noprelude", "/bad-header", "/endless-prelude", "/none"]
)
def test_a_failure_before_the_first_byte_is_a_502(function: LocalFunction, path: str) -> None:
    """Errors, crashes, timeouts, bad preludes and no answer at all are a 502, and the next invocation works."""
    response = httpx.get(f"{function.url}{path}", timeout=5)
    assert (response.status_code, response.content) == (502, b"Internal Server Error")
    assert httpx.get(f"{function.url}/stream").content == b"onetwo"


@pytest.mark.parametrize("path", ["/middle", "/exit-in-stream", "/hang-in-stream"])
def test_a_failure_in_mid_stream_breaks_the_connection(function: LocalFunction, path: str) -> None:
    """Error trailers, crashes and timeouts after the first byte end the answer without its end."""
    assert broken_body(f"{function.url}{path}") == b"half"
    assert httpx.get(f"{function.url}/stream").content == b"onetwo"


def test_the_deadline_is_real(function: LocalFunction) -> None:
    """A function that overruns its timeout is killed by its process id, and replaced."""
    (pid,) = function.pids
    began = time.monotonic()
    httpx.get(f"{function.url}/hang", timeout=5)
    assert time.monotonic() - began == pytest.approx(1.0, abs=0.3)
    assert "has 1.0 s" in function.wait_for_line("has ")
    assert "Task timed out after 1.00 seconds" in function.wait_for_line("timed out")
    httpx.get(f"{function.url}/stream")
    assert dead(pid)
    assert function.pids != [pid]


def test_what_a_crashed_function_said_is_kept(function: LocalFunction) -> None:
    """A crash is told with its exit status, after the function's own last words."""
    httpx.get(f"{function.url}/exit")
    assert "Runtime.ExitError: Runtime exited with error: exit status 3" in function.wait_for_line(
        "Error:"
    )
    assert "I leave" in function.log


def test_one_caller_in_a_row_needs_one_environment(function: LocalFunction) -> None:
    """Invocations one after the other are served by the same process."""
    pids = {httpx.get(f"{function.url}/slow").json()["pid"] for _ in range(3)}
    assert pids == set(function.pids)
    assert len(pids) == 1


def test_callers_at_once_get_environments_of_their_own() -> None:
    """Each environment serves one invocation at a time; over the limit there is a 429."""

    with (
        LocalFunction(configured(concurrency=2)) as both,
        httpx.Client(timeout=10) as client,
        ThreadPoolExecutor(3) as callers,
    ):
        answers = list(callers.map(client.get, [f"{both.url}/slow"] * 3))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
    assert len({answer.json()["pid"] for answer in answers if answer.status_code == 200}) == 2


def test_a_caller_that_leaves_does_not_stop_the_function(function: LocalFunction) -> None:
    """As in Lambda the function writes to its end without an error, and is answered 400 there (fact 36)."""
    with httpx.stream("GET", f"{function.url}/long") as response:
        next(response.iter_raw())
    assert function.wait_for_line("answered") == "answered 400"
    assert httpx.get(f"{function.url}/stream").content == b"onetwo"


def test_a_function_can_be_told_that_its_caller_left() -> None:
    """Where it is chosen, a write fails after the caller left, as with emulators."""
    with LocalFunction(configured(limits=Limits(tell_when_caller_leaves=True))) as function:
        with httpx.stream("GET", f"{function.url}/long") as response:
            next(response.iter_raw())
        assert function.wait_for_line("Error")


def test_the_first_invocation_may_be_a_cold_start() -> None:
    """Without provisioned concurrency the process starts with the first invocation."""
    with LocalFunction(configured(provisioned_concurrency=0)) as function:
        assert function.pids == []
        assert httpx.get(f"{function.url}/stream").content == b"onetwo"
        assert len(function.pids) == 1


def test_a_command_that_cannot_be_started_says_so() -> None:
    """A runtime that is not there, or may not be executed, is told by name, at the start and to each caller."""
    nowhere = FunctionConfiguration(task_root=RUNTIME.parent, command=("./no-such-bootstrap",))
    with (
        pytest.raises(StartError, match=r"Runtime.InvalidEntrypoint: .*no-such-bootstrap"),
        LocalFunction(nowhere),
    ):
        pass
    with LocalFunction(replace(nowhere, provisioned_concurrency=0)) as function:
        assert httpx.get(function.url).status_code == 502


def test_an_idle_function_that_dies_is_replaced(function: LocalFunction) -> None:
    """A process that ends between invocations costs the next caller a cold start, not an error."""
    (pid,) = function.pids
    os.kill(pid, signal.SIGKILL)
    while function.pids:
        time.sleep(0.01)
    assert httpx.get(f"{function.url}/stream").content == b"onetwo"
    assert function.pids != [pid]


@pytest.mark.parametrize(
    ("environment", "more", "message"),
    [
        ({"FAIL": "1"}, {}, "Runtime.ImportModuleError: no such module"),
        ({"DAWDLE": "1"}, {"init_timeout": 0.3}, "Init timed out after 0.30 seconds"),
    ],
)
def test_a_function_that_cannot_start_says_why(
    environment: dict[str, str], more: dict[str, Any], message: str
) -> None:
    """A start that fails is an error of the start, or of each invocation that needs one."""
    with (
        pytest.raises(StartError, match=message),
        LocalFunction(configured(**more), environment=environment),
    ):
        pass
    cold = configured(provisioned_concurrency=0, **more)
    with LocalFunction(cold, environment=environment) as function:
        assert httpx.get(function.url, timeout=5).status_code == 502
        assert message.partition(": ")[2] in function.wait_for_line("Error")


def test_the_environment_is_lambdas(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function sees Lambda's variables and its own, and nothing of the machine's that would not be there."""
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("SECRET_OF_THE_MACHINE", "x")
    with LocalFunction(configured(), environment={"MINE": "1"}) as mine:
        names = mine.wait_for_line("started")
    assert all(
        f"'{name}'" in names
        for name in ("MINE", "AWS_LAMBDA_FUNCTION_NAME", "_HANDLER", "RIVULET_MODEL_IDS")
    )
    assert "AWS_PROFILE" not in names
    assert "SECRET_OF_THE_MACHINE" not in names


def test_too_large_requests_are_refused(function: LocalFunction) -> None:
    """An event above 6 MB is a 413, base64 counted."""
    text = {"content-type": "text/plain"}
    assert (
        httpx.post(f"{function.url}/stream", content=b"x" * 6_000_000, headers=text).status_code
        == 201
    )
    assert httpx.post(f"{function.url}/stream", content=b"x" * 5_000_000).status_code == 413
    assert (
        httpx.post(f"{function.url}/stream", content=b"x" * 7_000_000, headers=text).status_code
        == 413
    )


def test_a_buffered_url_reads_proxy_responses() -> None:
    """In invoke mode BUFFERED the payload is read as a proxy response, a stream's prelude as its head."""
    with LocalFunction(configured(invoke_mode="BUFFERED")) as function:
        proxy = httpx.get(f"{function.url}/proxy")
        assert (proxy.status_code, proxy.text, proxy.headers["set-cookie"]) == (202, "é", "c=3")
        stream = httpx.get(f"{function.url}/stream")
        assert (stream.status_code, stream.content, stream.headers["content-length"]) == (
            201,
            b"onetwo",
            "6",
        )
        for path in ("/error", "/noprelude", "/bad-header", "/endless-prelude", "/large"):
            assert httpx.get(f"{function.url}{path}").status_code == 502, path
        assert "got 7000" in function.wait_for_line("payload; expected")
    with LocalFunction(configured()) as function:
        assert httpx.get(f"{function.url}/proxy").json() == {
            "statusCode": 202,
            "body": "é",
            "cookies": ["c=3"],
        }


@pytest.fixture
def invoker(function: LocalFunction) -> Iterator[Any]:
    """boto3's client for Lambda."""
    client = boto3.client(
        "lambda",
        endpoint_url=function.invoke_url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


@pytest.mark.judge
def test_boto3_invokes_with_a_response_stream(invoker: Any) -> None:
    """InvokeWithResponseStream: the event as it is, payload chunks as they come, then one completion (fact 39)."""
    answer = invoker.invoke_with_response_stream(FunctionName="rivulet", Payload=b'{"a": 1}')
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    with closing(answer["EventStream"]) as stream:
        events = list(stream)
    assert [event["PayloadChunk"]["Payload"] for event in events[:-1]] == [
        "grüß".encode(),
        b'{"a": 1}',
    ]
    assert events[-1] == {"InvokeComplete": {}}


@pytest.mark.judge
def test_boto3_is_told_of_errors_in_the_stream(invoker: Any) -> None:
    """Error trailers become the completion's code and details (fact 35); a function error before the stream too."""
    for event, code, details in (
        (b'{"fail": 1}', "Oops", '"errorMessage": "in the middle"'),
        (b'{"rawPath": "/error"}', "ValueError", '"errorMessage": "at once"'),
    ):
        answer = invoker.invoke_with_response_stream(FunctionName="rivulet", Payload=event)
        with closing(answer["EventStream"]) as stream:
            *_, last = stream
        assert last["InvokeComplete"]["ErrorCode"] == code
        assert details in last["InvokeComplete"]["ErrorDetails"]


@pytest.mark.judge
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"FunctionName": "another"}, "ResourceNotFoundException"),
        ({"Payload": b"{"}, "InvalidRequestContentException"),
        ({"Payload": b'"' + b"x" * 6_291_456 + b'"'}, "RequestTooLargeException"),
        ({"ClientContext": "%"}, "InvalidRequestContentException"),
    ],
)
def test_boto3_reads_what_cannot_be_invoked(
    invoker: Any, arguments: dict[str, Any], code: str
) -> None:
    """What Lambda would not invoke is raised at the call."""
    with pytest.raises(ClientError, match=code):
        invoker.invoke_with_response_stream(**{"FunctionName": "rivulet", **arguments})


@pytest.mark.judge
def test_boto3_is_throttled(function: LocalFunction, invoker: Any) -> None:
    """Over the limit the call is refused as Lambda does."""
    assert function._environments is not None
    function._environments.function = configured(concurrency=0)
    function._environments._idle.clear()
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        invoker.invoke_with_response_stream(FunctionName="rivulet")


@pytest.mark.judge
def test_boto3_names_the_function_in_every_way(function: LocalFunction, invoker: Any) -> None:
    """A function may be named by name, partial ARN, ARN, or with a qualifier; a dry run invokes nothing."""
    for name in ("rivulet:$LATEST", "123456789012:function:rivulet", configured().arn):
        answer = invoker.invoke_with_response_stream(FunctionName=name, InvocationType="DryRun")
        answer["EventStream"].close()
        assert answer["StatusCode"] == 204
    assert not any("has" in line for line in function.log)


def test_it_is_an_asynchronous_context_manager_too() -> None:
    """In an event loop of the caller's own it works the same."""

    async def main() -> bytes:
        async with LocalFunction(configured()) as function, httpx.AsyncClient() as caller:
            return (await caller.get(f"{function.url}/stream")).content

    assert asyncio.run(main()) == b"onetwo"


def test_leaving_ends_every_process() -> None:
    """Nothing runs on after the block, whatever the function was doing."""
    with (
        LocalFunction(configured()) as function,
        httpx.stream("GET", f"{function.url}/hang-in-stream") as response,
    ):
        next(response.iter_raw())
        pids = function.pids
    assert len(pids) == 1
    assert all(map(dead, pids))


def test_killing_the_starter_ends_every_process() -> None:
    """A starter that is killed outright leaves no function behind, not even one that hangs."""
    program = (
        "import sys, time, threading, httpx\n"
        "sys.path.insert(0, 'tests/integration')\n"
        "from test_local_function import configured, LocalFunction\n"
        "with LocalFunction(configured()) as function:\n"
        "    threading.Thread(target=httpx.get, args=(function.url + '/hang',), daemon=True).start()\n"
        "    function.wait_for_line('has ')\n"
        "    print(*function.pids, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=RUNTIME.parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    ) as starter:
        assert starter.stdout is not None
        (pid,) = map(int, starter.stdout.readline().split())
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    until = time.monotonic() + 5
    while not dead(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert dead(pid)

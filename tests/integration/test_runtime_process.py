"""The streaming runtime as Lambda starts it: a process, a function, invocations one after the other."""

# ruff: noqa: TID251  # the other end of a socket is a socket

from __future__ import annotations

import base64
import json
import shutil
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awslambdaric
import pytest

from tests.integration.judges.function_process import (
    BOOTSTRAP,
    LAMBDA_SRC,
    PATIENCE,
    function_process,
)
from tests.unit.streaming_runtime.scripted_api import URL_EVENT, Call, ScriptedRuntimeApi

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = """
import os, threading, time
from streaming_runtime import Response, ResponseClosed, stream_response

kept = []

@stream_response
def handle(event, context, *, response):
    kind = event.get("kind")
    if kind == "fail first":
        raise LookupError("before the first byte")
    response.headers["content-type"] = "text/plain"
    for piece in event.get("pieces", []):
        response.write(piece)
    if kind == "fail":
        raise LookupError("in mid-stream")
    if kind == "count as failed":
        response.fail("Model.Error", "told")
    if kind == "exit":
        raise SystemExit(5)
    if kind == "keep":
        kept.append(response)
    if kind == "use kept":
        try:
            kept[0].write("late")
        except ResponseClosed as closed:
            response.write(str(closed))
    if kind == "threads":
        def write():
            for _ in range(50):
                response.write(name)
        threads = []
        for name in ("a" * 100_000, "b" * 100_000, "c", "d"):
            threads.append(threading.Thread(target=write))
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    if kind == "thread that stays":
        def write_on():
            try:
                while True:
                    response.write("x")
                    time.sleep(0.001)
            except ResponseClosed as closed:
                print("stopped:", closed, flush=True)
        threading.Thread(target=write_on).start()
        time.sleep(0.05)
    if kind == "until closed":
        try:
            while True:
                response.write("x")
                time.sleep(0.002)
        except ResponseClosed as closed:
            print("closed:", closed.status, flush=True)
            if event.get("raise"):
                raise
"""


def _event(kind: str = "", *pieces: str, **more: Any) -> dict[str, Any]:
    return {**URL_EVENT, "kind": kind, "pieces": pieces, **more}


@pytest.fixture
def api() -> Iterator[ScriptedRuntimeApi]:
    with ScriptedRuntimeApi() as api:
        yield api


def _works(api: ScriptedRuntimeApi) -> None:
    """Prove that the loop is alive with an invocation that streams."""
    api.invoke(_event("", "alive"), "next-one")
    call = api.call()
    assert "next-one" in call.path
    assert (call.payload, call.trailers, call.complete) == ((b"alive",), {}, True)


def _error(call: Call) -> Any:
    return json.loads(base64.b64decode(call.trailers["lambda-runtime-function-error-body"]))


def test_streams(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """Each write is a chunk of its own, on its way while the handler goes on."""
    with function_process(tmp_path, SOURCE, api.address):
        api.invoke(_event("", "one", "two", "three"))
        call = api.call()
        assert call.prelude["headers"] == {"content-type": "text/plain"}
        assert call.payload == (b"one", b"two", b"three")
        api.invoke({"pieces": ["direct"]})
        assert api.call().chunks == (b"direct",)
        _works(api)


def test_errors(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """An error is posted before the first byte, and told in the trailers after it; both are logged."""
    with function_process(tmp_path, SOURCE, api.address) as function:
        api.invoke(_event("fail first"))
        call = api.call()
        assert call.path.endswith("/error")
        assert json.loads(call.body)["errorMessage"] == "before the first byte"
        api.invoke(_event("fail", "part"), "id-9")
        call = api.call()
        assert call.path.endswith("/id-9/response")
        assert call.payload == (b"part",)
        error = _error(call)
        assert (error["errorType"], error["errorMessage"]) == ("LookupError", "in mid-stream")
        assert error["requestId"] == "id-9"
        assert any("app.py" in line for line in error["stackTrace"])
        api.invoke(_event("count as failed", "part"))
        assert _error(api.call()) == {"errorType": "Model.Error", "errorMessage": "told"}
        _works(api)
    assert function.output.count("[ERROR] LookupError") == 2
    assert "ResourceWarning" not in function.output, "a socket was left open"


def test_an_exit_in_mid_stream(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """A handler that exits in mid-stream leaves a body cut short, never one that looks whole."""
    with function_process(tmp_path, SOURCE, api.address) as function:
        api.invoke(_event("exit", "part"))
        assert function.exit_code() == 5
        call = api.call()
    assert (call.payload, call.complete) == ((b"part",), False)


def test_a_response_that_is_kept(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """A response kept from one invocation writes nothing into another."""
    with function_process(tmp_path, SOURCE, api.address):
        api.invoke(_event("keep", "first"))
        assert api.call().payload == (b"first",)
        api.invoke(_event("use kept"))
        assert api.call().payload == (b"the response stream is closed: its invocation is over",)
        _works(api)


def test_threads(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """Several threads may write: every piece arrives whole."""
    with function_process(tmp_path, SOURCE, api.address):
        api.invoke(_event("threads"))
        payload = api.call().payload
        assert len(payload) == 200
        assert all(len(set(piece)) == 1 for piece in payload)


def test_a_thread_that_stays(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """A thread that outlives its handler is told that the response is closed; the body ends properly."""
    with function_process(tmp_path, SOURCE, api.address) as function:
        for _ in range(5):
            api.invoke(_event("thread that stays"))
            call = api.call()
            assert call.complete
            assert set(call.payload) == {b"x"}
        _works(api)
        _wait_for("stopped: the response stream is closed", function, 5)


@pytest.mark.parametrize("handler_raises", [False, True])
@pytest.mark.parametrize("status", [400, 413, None])
def test_a_caller_that_leaves(
    status: int | None, *, handler_raises: bool, api: ScriptedRuntimeApi, tmp_path: Path
) -> None:
    """An early answer or a broken connection ends the stream with an error the handler sees; the loop goes on."""
    with function_process(tmp_path, SOURCE, api.address) as function:
        for _ in range(3):
            api.refuse_early("response", status, then_close=True)
            api.invoke(_event("until closed", **({"raise": True} if handler_raises else {})))
            _works(api)
        assert function.output.count(f"closed: {status}") == 3
        assert "ResourceWarning" not in function.output, "a socket was left open"
        assert api.calls.empty()


def test_lambda_at_fault(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """An error of Lambda's own ends the process."""
    with function_process(tmp_path, SOURCE, api.address) as function:
        api.refuse("response", 500)
        api.invoke(_event("", "piece"))
        assert function.exit_code() == 1


TRACED = """
import http.client

def refuse(*arguments, **options):
    raise AssertionError("the runtime's own calls are not the function's to trace")

for name in ("request", "putrequest", "_send_request", "getresponse", "connect", "send"):
    setattr(http.client.HTTPConnection, name, refuse)
"""


def test_a_tracer_in_http_client(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """A tracer that patches http.client, as X-Ray's does, sees the function's calls and none of the runtime's."""
    with function_process(tmp_path, TRACED + SOURCE, api.address):
        api.invoke(_event("fail first"))
        assert api.call().path.endswith("/error")
        _works(api)


def test_a_default_timeout(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """A function that sets socket's default timeout waits for its next invocation all the same."""
    source = "import socket; socket.setdefaulttimeout(0.1)\n" + SOURCE
    with function_process(tmp_path, source, api.address) as function:
        assert api.asked.acquire(timeout=PATIENCE)
        time.sleep(0.3)
        assert function.process.poll() is None
        _works(api)


def test_without_the_native_client(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """awslambdaric without its native module, as on macOS, is all that it takes."""
    site = tmp_path / "site"
    installed = Path(awslambdaric.__path__[0]).parent
    for package in ("awslambdaric", "simplejson"):
        shutil.copytree(installed / package, site / package)
    shutil.copy(installed / "snapshot_restore_py.py", site)
    command = (sys.executable, "-S", "-m", "streaming_runtime", "app.handle")
    path = {"PYTHONPATH": f"{LAMBDA_SRC}:{site}", "COVERAGE_PROCESS_CONFIG": ""}
    with function_process(tmp_path, SOURCE, api.address, command=command, environment=path):
        _works(api)


def test_a_module_of_the_same_name(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """A function may have a module named runtime_client of its own."""
    (tmp_path / "runtime_client.py").write_text("NAME = 'mine'")
    source = (
        "import runtime_client\n"
        "from streaming_runtime import stream_response\n"
        "@stream_response\n"
        "def handle(event, context, *, response): response.write(runtime_client.NAME)\n"
    )
    with function_process(tmp_path, source, api.address):
        api.invoke(_event())
        assert api.call().payload == (b"mine",)


def test_the_bootstrap(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """Started as a managed runtime starts it, with the wrapper in the task root and another folder current."""
    task = tmp_path / "task"
    task.mkdir()
    shutil.copy(BOOTSTRAP, task)
    shutil.copytree(LAMBDA_SRC / "streaming_runtime", task / "streaming_runtime")
    (task / "app.py").write_text(SOURCE)
    command = (task / "bootstrap", sys.executable, "-X", "utf8", "/var/runtime/bootstrap.py")
    for root in ({"LAMBDA_TASK_ROOT": str(task)}, {"LAMBDA_TASK_ROOT": ""}):
        environment = {"PYTHONPATH": "", **root}
        with function_process(tmp_path, "", api.address, command=command, environment=environment):
            (tmp_path / "app.py").unlink()
            _works(api)


MANAGED = """
import os, pathlib, time
from streaming_runtime import stream_response

@stream_response
def handle(event, context, *, response):
    response.write(str(os.getpid()))
    print("printed by", event["mine"], flush=True)
    pathlib.Path(event["mine"]).touch()
    while not pathlib.Path(event["other"]).exists():
        time.sleep(0.01)
    response.write(context.aws_request_id)
    if event.get("fail"):
        raise LookupError("in one worker")
"""


def test_managed_instances(api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """With a concurrency of two, two processes stream at the same time, each its own invocation."""
    with function_process(
        tmp_path, MANAGED, api.address, environment={"AWS_LAMBDA_MAX_CONCURRENCY": "2"}
    ):
        for _ in range(2):
            assert api.asked.acquire(timeout=PATIENCE)
        pids = set()
        for turn in range(2):
            for number in range(2):
                mine, other = (str(tmp_path / f"{turn}-{n}") for n in (number, 1 - number))
                event = {**URL_EVENT, "mine": mine, "other": other, "fail": number}
                api.invoke(event, f"id-{number}", Invocation_Id=f"inv-{number}")
            calls = sorted((api.call(), api.call()), key=lambda call: call.path)
            for number, call in enumerate(calls):
                pid, request_id = call.payload
                pids.add(pid)
                assert request_id.decode() == f"id-{number}"
                assert call.headers["lambda-runtime-invocation-id"] == f"inv-{number}"
                assert bool(call.trailers) == bool(number)
    assert len(pids) == 2


@pytest.mark.parametrize("runtime", ["streaming_runtime", "awslambdaric"])
def test_managed_instances_logs(runtime: str, api: ScriptedRuntimeApi, tmp_path: Path) -> None:
    """Each worker takes the sockets for its output from the provider that Lambda names."""
    source = "def handle(event, context): print('printed', flush=True)"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())  # a socket's path is short
        provider = stack.enter_context(socket.socket(socket.AF_UNIX))
        provider.bind(f"{folder}/provider")
        provider.listen(8)
        provider.settimeout(PATIENCE)
        stack.enter_context(
            function_process(
                tmp_path,
                source,
                api.address,
                command=(sys.executable, "-m", runtime, "app.handle"),
                environment={
                    "AWS_LAMBDA_MAX_CONCURRENCY": "2",
                    "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET": f"{folder}/provider",
                },
            )
        )
        outputs = [stack.enter_context(provider.accept()[0]) for _ in range(4)]
        api.invoke()
        api.call()
        deadline = time.monotonic() + PATIENCE
        printed = b""
        while not printed and time.monotonic() < deadline:
            for output in outputs:
                output.settimeout(0.05)
                try:
                    printed += output.recv(1000)
                except TimeoutError:
                    continue
    assert printed == b"printed\n"


def _wait_for(text: str, function: Any, times: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while function.output.count(text) < times:
        assert time.monotonic() < deadline, function.output
        time.sleep(0.01)

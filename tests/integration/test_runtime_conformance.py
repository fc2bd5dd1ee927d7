"""The same functions under ``streaming_runtime`` and plain ``awslambdaric``: what Lambda sees must be the same.

Only response streaming differs, so nothing here streams but the last tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket  # noqa: TID251  # finds a port where nobody listens
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.judges.function_process import PATIENCE, FunctionProcess, function_process
from tests.unit.streaming_runtime.scripted_api import (
    TRACE_ID,
    Call,
    ScriptedRuntimeApi,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RUNTIMES = ("awslambdaric", "streaming_runtime")
# What one says and the other does not: how the connection is used, and by whom.
TRANSPORT = {"host", "user-agent", "connection", "accept", "accept-encoding", "content-length"}


def _command(runtime: str, handler: str = "app.handle") -> tuple[str, ...]:
    return (sys.executable, "-m", runtime, handler)


def _told(call: Call) -> dict[str, Any]:
    """Return what a call tells Lambda, with what changes from run to run left out."""
    headers = {name: value for name, value in call.headers.items() if name not in TRANSPORT}
    cause = headers.pop("lambda-runtime-function-xray-error-cause", None)
    error = json.loads(call.body) if call.path.endswith("/error") else None
    if "/invocation/" in call.path:
        # The error's type, a documented header of this call, is what awslambdaric leaves out.
        error_type = headers.pop("lambda-runtime-function-error-type", None)
        assert error_type in {None, error and error["errorType"]}
    return {
        "path": call.path,
        "headers": headers,
        "body": error or call.body,
        "cause": cause and json.loads(cause),
    }


def _printed(output: str) -> list[str]:
    """Return the lines printed, without times."""
    output = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", output)
    return output.splitlines()


Observed = dict[str, Any]
Play = "Callable[[ScriptedRuntimeApi, FunctionProcess], Any]"


def _observe(
    runtime: str,
    folder: Path,
    source: str,
    play: Callable[[ScriptedRuntimeApi, FunctionProcess], Any],
    *,
    handler: str = "app.handle",
    environment: dict[str, str] | None = None,
) -> Observed:
    """Run a function under one of the runtimes; return what was seen from outside."""
    with (
        ScriptedRuntimeApi() as api,
        function_process(
            folder,
            source,
            api.address,
            command=_command(runtime, handler),
            # awslambdaric leaves sockets open, of which Python would warn.
            environment={
                **({"PYTHONWARNINGS": "ignore"} if runtime == "awslambdaric" else {}),
                **(environment or {}),
            },
        ) as function,
    ):
        seen = play(api, function)
        exit_code = function.process.poll()
        while not api.calls.empty():
            seen = [*seen, api.call()]
    return {
        "seen": [_told(call) if isinstance(call, Call) else call for call in seen],
        "exit code": exit_code,
        "printed": _printed(function.output),
    }


def _observe_both(folder: Path, *arguments: Any, **options: Any) -> Observed:
    """Run a function under both runtimes; return what was seen, which is the same."""
    plain, streaming = (_observe(runtime, folder, *arguments, **options) for runtime in RUNTIMES)
    assert streaming == plain
    return streaming


def _until_exit(api: ScriptedRuntimeApi, function: FunctionProcess) -> list[Any]:
    del api
    function.exit_code()
    return []


def _invoked(*events: Any, **headers: Any) -> Callable[[ScriptedRuntimeApi, FunctionProcess], Any]:
    """Return a play of so many invocations, one after the other."""

    def play(api: ScriptedRuntimeApi, function: FunctionProcess) -> list[Call]:
        del function
        calls = []
        for number, event in enumerate(events):
            api.invoke(event, f"id-{number}", **headers)
            calls.append(api.call())
        assert api.asked.acquire(timeout=PATIENCE)
        return calls

    return play


@pytest.mark.parametrize(
    ("source", "handler", "error_type"),
    [
        ("def handle(:", "app.handle", "Runtime.UserCodeSyntaxError"),
        ("import no_such_module", "app.handle", "Runtime.ImportModuleError"),
        ("", "app.handle", "Runtime.HandlerNotFound"),
        ("raise LookupError('é\\n')", "app.handle", "LookupError"),
        ("", "no_such_module.handle", "Runtime.ImportModuleError"),
        ("", "handle", "Runtime.MalformedHandlerName"),
        ("", "sys.exit", "Runtime.BuiltInModuleConflict"),
    ],
)
def test_init_errors(source: str, handler: str, error_type: str, tmp_path: Path) -> None:
    """An error at import is logged, posted to /init/error with its type and trace, and ends the process with 1."""
    observed = _observe_both(tmp_path, source, _until_exit, handler=handler)
    [call] = observed["seen"]
    assert call["path"] == "/2018-06-01/runtime/init/error"
    assert call["headers"] == {"lambda-runtime-function-error-type": error_type}
    assert call["body"]["errorType"] == error_type
    assert observed["exit code"] == 1
    assert any(error_type in line for line in observed["printed"])


def test_exit_at_import(tmp_path: Path) -> None:
    """A function that exits while it is imported exits with its own code, and posts nothing."""
    observed = _observe_both(tmp_path, "import sys; sys.exit(7)", _until_exit)
    assert (observed["seen"], observed["exit code"]) == ([], 7)


RESULTS = """
import decimal

class Ошибка(Exception):
    pass

def handle(event, context):
    kind = event["kind"]
    if kind == "raise": raise LookupError("é\\nline 2")
    if kind == "raise oddly": raise Ошибка("€")
    if kind == "fail at length": raise ValueError("x" * 300_000)
    return {
        "dict": {"a": "é", "b": [1, 2.5, None]}, "text": "é€", "bytes": b"\\0\\xff", "none": None,
        "decimal": decimal.Decimal("1.10"), "set": {1}, "large": "x" * 1_000_000,
    }[kind]
"""


@pytest.mark.parametrize("environment", ["", "AWS_Lambda_python3.13"])
def test_results_and_errors(environment: str, tmp_path: Path) -> None:
    """Results, results that cannot be sent, errors and their X-Ray causes are posted alike, one after the other."""
    kinds = ("dict", "text", "bytes", "none", "decimal", "set", "large", "raise", "fail at length")
    observed = _observe_both(
        tmp_path,
        RESULTS,
        _invoked(*({"kind": kind} for kind in kinds), b"no json"),
        environment={"AWS_EXECUTION_ENV": environment},
    )
    seen = observed["seen"]
    ends = [call["path"].rpartition("/")[2] for call in seen]
    assert ends == ["response"] * 5 + ["error", "response"] + ["error"] * 3
    assert seen[2]["headers"]["content-type"] == "application/unknown"
    assert seen[7]["body"]["errorType"] == "LookupError"
    assert seen[7]["cause"]["exceptions"][0]["message"] == "é\nline 2"
    assert seen[9]["body"]["errorType"] == "Runtime.UnmarshalError"
    assert observed["exit code"] is None


def test_an_error_with_an_odd_name(tmp_path: Path) -> None:
    """Python's names need not be ASCII: such an error is posted too."""
    observed = _observe_both(tmp_path, RESULTS, _invoked({"kind": "raise oddly"}))
    [call] = observed["seen"]
    assert call["body"]["errorType"] == "Ошибка"
    assert call["cause"]["exceptions"][0]["message"] == "€"


CONTEXT = """
import os

def handle(event, context):
    milliseconds = context.get_remaining_time_in_millis()
    return [
        str(context), context.w3c(), os.environ.get("_X_AMZN_TRACE_ID"),
        type(milliseconds).__name__, milliseconds // 1_000_000,
    ]
"""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {
            "Trace_Id": TRACE_ID,
            "Aws_Tenant_Id": "blue",
            "Invocation_Id": "inv",
            "Deadline_Ms": "4000000000000",
            "Client_Context": '{"custom": {"a": "é"}, "env": {}, "w3c": {"baggage": "x"}}'.encode(),
            "Cognito_Identity": '{"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}',
        },
        {"Client_Context": "no json"},
        {"Cognito_Identity": "no json"},
    ],
    ids=["few", "all", "bad client context", "bad identity"],
)
def test_context(headers: dict[str, Any], tmp_path: Path) -> None:
    """The context, the deadline, the tenant and the trace id are the same, and so is what is told of a bad one."""
    observed = _observe_both(tmp_path, CONTEXT, _invoked({}, {}, **headers))
    bad = "no json" in headers.values()
    assert [call["path"].rpartition("/")[2] for call in observed["seen"]] == [
        "error" if bad else "response"
    ] * 2
    if "Trace_Id" in headers:
        body = observed["seen"][0]["body"].decode()
        for value in ("blue", TRACE_ID, "é", "baggage"):
            assert value in body or json.dumps(value)[1:-1] in body


def test_the_trace_id_does_not_stay(tmp_path: Path) -> None:
    """An invocation without a trace id has none, whatever the one before had."""

    def play(api: ScriptedRuntimeApi, function: FunctionProcess) -> list[Call]:
        return [
            *_invoked({}, Trace_Id=TRACE_ID)(api, function),
            *_invoked({})(api, function),
        ]

    first, second = _observe_both(tmp_path, CONTEXT, play)["seen"]
    assert TRACE_ID in first["body"].decode()
    assert json.loads(second["body"])[2] is None


LOGS = """
import logging
logging.getLogger().setLevel("INFO")

def handle(event, context):
    print("printed")
    logging.getLogger("named").info("logged %s", "é", extra={"more": 1})
    logging.debug("not logged")
    context.log("told")
    if event: raise LookupError("é")
"""


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"AWS_LAMBDA_LOG_FORMAT": "JSON"},
        {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "WARN"},
        {"AWS_LAMBDA_LOG_LEVEL": "DEBUG"},
    ],
    ids=["text", "JSON", "JSON from WARN", "text from DEBUG"],
)
def test_logs(environment: dict[str, str], tmp_path: Path) -> None:
    """Logs are in the format and from the level that Lambda asks for, with the request id."""
    observed = _observe_both(
        tmp_path, LOGS, _invoked({}, {"fail": 1}, Aws_Tenant_Id="blue"), environment=environment
    )
    text = "\n".join(observed["printed"])
    assert "id-1" in text
    assert ('"errorType": "LookupError"' in text) == ("AWS_LAMBDA_LOG_FORMAT" in environment)


@pytest.mark.parametrize("log_format", ["TEXT", "JSON"])
def test_framed_logs(log_format: str, tmp_path: Path) -> None:
    """With a telemetry descriptor, each log is one frame in it, and nothing else is printed."""
    frames = []
    for runtime in RUNTIMES:
        reader, writer = os.pipe()
        with (
            ScriptedRuntimeApi() as api,
            os.fdopen(reader, "rb") as pipe,
            function_process(
                tmp_path,
                LOGS,
                api.address,
                command=_command(runtime),
                environment={
                    "_LAMBDA_TELEMETRY_LOG_FD": str(writer),
                    "AWS_LAMBDA_LOG_FORMAT": log_format,
                },
                pass_fds=(writer,),
            ) as function,
        ):
            os.close(writer)
            _invoked({}, {"fail": 1})(api, function)
            function.process.kill()
            frames.append(list(_frames(pipe.read())))
            assert function.output == "printed\n" * 2
    plain, streaming = frames
    assert streaming == plain
    assert len(plain) == 5
    assert "LookupError" in plain[-1][1]


def _frames(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield each frame's type and message: type, length, time, message."""
    while data:
        kind, length = data[:4].hex(), int.from_bytes(data[4:8], "big")
        yield kind, "\n".join(_printed(data[16 : 16 + length].decode()))
        data = data[16 + length :]


HOOKS = """
from snapshot_restore_py import register_after_restore, register_before_snapshot

@register_before_snapshot
def before():
    print("before")
    {before}

@register_after_restore
def after():
    print("after")
    {after}

def handle(event, context):
    return "handled"
"""


@pytest.mark.parametrize(
    ("before", "after", "ends", "exit_code"),
    [
        ("", "", ["restore/next", "invocation/id-0/response"], None),
        ("raise LookupError('b')", "", ["init/error"], 64),
        ("", "raise LookupError('a')", ["restore/next", "restore/error"], 65),
    ],
    ids=["restored", "failing before the snapshot", "failing after the restore"],
)
def test_snapstart(
    before: str, after: str, ends: list[str], exit_code: int | None, tmp_path: Path
) -> None:
    """SnapStart: hooks run before the snapshot and after the restore; a failing one is reported, and ends it."""

    def play(api: ScriptedRuntimeApi, function: FunctionProcess) -> list[Call]:
        if exit_code is not None:
            return _until_exit(api, function)
        restored = api.call()
        return [restored, *_invoked({})(api, function)]

    observed = _observe_both(
        tmp_path,
        HOOKS.format(before=before, after=after),
        play,
        environment={"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"},
    )
    assert [call["path"].partition("runtime/")[2] for call in observed["seen"]] == ends
    assert observed["exit code"] == exit_code


def test_no_snapstart(tmp_path: Path) -> None:
    """Without SnapStart the hooks do not run."""
    source = HOOKS.format(before="raise LookupError", after="raise LookupError")
    observed = _observe_both(tmp_path, source, _invoked({}))
    assert observed["printed"] == []


@pytest.mark.parametrize("environment", ["", "AWS_Lambda_python3.13"])
@pytest.mark.parametrize(
    ("source", "exit_code"),
    [
        ("", -signal.SIGTERM),
        ("import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))", 9),
    ],
    ids=["no handler", "a handler"],
)
def test_sigterm_while_idle(source: str, exit_code: int, environment: str, tmp_path: Path) -> None:
    """SIGTERM, sent while the next invocation is waited for, is heeded at once."""

    def play(api: ScriptedRuntimeApi, function: FunctionProcess) -> list[Call]:
        assert api.asked.acquire(timeout=PATIENCE)
        function.process.terminate()
        return _until_exit(api, function)

    source += "\ndef handle(event, context): pass\n"
    # awslambdaric's own HTTP leaves no room for a signal handler of Python's, or its thread waits on after an exit.
    for runtime in RUNTIMES if exit_code < 0 else ("streaming_runtime",):
        observed = _observe(
            runtime, tmp_path, source, play, environment={"AWS_EXECUTION_ENV": environment}
        )
        assert observed["exit code"] == exit_code


@pytest.mark.parametrize(
    ("statement", "exit_code"),
    [("raise SystemExit(3)", 3), ("raise KeyboardInterrupt", -signal.SIGINT)],
)
def test_a_handler_that_exits(statement: str, exit_code: int, tmp_path: Path) -> None:
    """A handler that exits ends the process, as it is; nothing is posted: Lambda reports the exit."""

    def play(api: ScriptedRuntimeApi, function: FunctionProcess) -> list[Call]:
        api.invoke()
        return _until_exit(api, function)

    for runtime in RUNTIMES:
        observed = _observe(runtime, tmp_path, f"def handle(event, context): {statement}", play)
        assert observed["seen"] == []
        assert observed["exit code"] == exit_code


def test_a_dead_api(tmp_path: Path) -> None:
    """Where nobody answers, the process ends, so that Lambda can start another."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    for runtime in RUNTIMES:
        with function_process(
            tmp_path, "def handle(event, context): pass", address, command=_command(runtime)
        ) as function:
            assert function.exit_code() == 1

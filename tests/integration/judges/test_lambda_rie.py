"""Judged by aws-lambda-rie: AWS's own server for the Runtime API, which keeps a response until it is whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.judges.function_process import BOOTSTRAP, LAMBDA_SRC, PATIENCE
from tests.integration.judges.judge import LAMBDA_RIE, Reply, call, free_port, judge_process, needs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.judge, needs(LAMBDA_RIE)]

INVOKE = "/2015-03-31/functions/function/invocations"
PYTHONS = Path(sys.executable).parent  # where the bootstrap finds python3
CONCURRENCY = 2
SOURCE = """
import os
from streaming_runtime import stream_response

@stream_response
def handle(event, context, *, response):
    kind = event["kind"]
    if kind == "fail-first":
        raise LookupError("before the first byte")
    response.status = 418
    response.headers["content-type"] = "text/x-tea"
    response.cookies.append("a=b")
    response.write("short ")
    if kind == "large":
        for _ in range(7):
            response.write(b"x" * 1_000_000)
    if kind == "fail":
        raise LookupError("in mid-stream" + "!" * event.get("more", 0))
    if kind == "cut":
        os._exit(1)
    response.write("and stout")
"""
HTTP = {"requestContext": {"http": {"method": "GET"}}}


@pytest.fixture
def classic(tmp_path: Path) -> Iterator[int]:
    """Start the emulator as for an ordinary function: one invocation at a time."""
    (tmp_path / "app.py").write_text(SOURCE)
    port = free_port()
    command = (*rie(port), BOOTSTRAP, "app.handle")
    with judge_process(command, port, tmp_path, environment(tmp_path)):
        yield port


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[int]:
    """Start the emulator as for managed instances, which look for the function at /var/task."""
    namespace = ("unshare", "--mount")
    probe = (*namespace, "sh", "-c", "mount -t tmpfs none /var")
    if not shutil.which("unshare") or subprocess.run(probe, check=False).returncode:
        pytest.skip("a private mount namespace, which gives /var/task, is not permitted here")
    task = tmp_path / "task"
    shutil.copytree(LAMBDA_SRC / "streaming_runtime", task / "streaming_runtime")
    shutil.copy(BOOTSTRAP, task)
    # The function runs as a user without rights here: whichever python3 it may run finds its needs in the task.
    for name in ("awslambdaric", "simplejson", "snapshot-restore-py"):
        for file in metadata.files(name) or ():
            if file.suffix == ".py":
                (task / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), task / file)
    (task / "app.py").write_text(SOURCE)
    port = free_port()
    mount = (
        'mount -t tmpfs none /var && mkdir /var/task && mount --bind "$0" /var/task && exec "$@"'
    )
    command = (
        *namespace, "sh", "-c", mount, task,
        *rie(port), "/var/task/bootstrap", "app.handle",
    )  # fmt: skip
    more = {"AWS_LAMBDA_MAX_CONCURRENCY": str(CONCURRENCY)}
    with judge_process(command, port, tmp_path, environment(Path("/var/task")) | more):
        yield port


def rie(port: int) -> tuple[str | Path, ...]:
    return (
        LAMBDA_RIE,
        "--runtime-interface-emulator-address", f"127.0.0.1:{port}",
        "--runtime-api-address", f"127.0.0.1:{free_port()}",
    )  # fmt: skip


def environment(task: Path) -> dict[str, str]:
    return {
        "PATH": f"{PYTHONS}:{os.environ['PATH']}",
        "PYTHONPATH": str(LAMBDA_SRC),
        "LAMBDA_TASK_ROOT": str(task),
        "AWS_LAMBDA_FUNCTION_HANDLER": "app.handle",
        "_HANDLER": "app.handle",
    }


def invoke(port: int, kind: str, event: dict[str, Any] | None = None) -> Reply:
    """Invoke the function, on managed instances once one of its workers asks for an invocation."""
    deadline = time.monotonic() + PATIENCE
    while True:
        reply = call(port, INVOKE, {"kind": kind, **(event or {})})
        if not any(error.endswith("Unavailable") for error in reply.header("error-type")):
            return reply
        assert time.monotonic() < deadline, reply
        time.sleep(0.02)


def test_an_http_response(classic: int) -> None:
    """A streamed HTTP response is the prelude, eight NULs, and the payload."""
    prelude, payload = invoke(classic, "tea", HTTP).body.split(bytes(8))
    assert json.loads(prelude) == {
        "statusCode": 418,
        "headers": {"content-type": "text/x-tea"},
        "cookies": ["a=b"],
    }
    assert payload == b"short and stout"


def test_a_direct_invocation(classic: int) -> None:
    """A direct invocation has the payload alone."""
    assert invoke(classic, "tea").body == b"short and stout"


def test_an_error_before_the_first_byte(classic: int) -> None:
    """An exception before the first byte is the invocation's error; the next one works."""
    error = json.loads(invoke(classic, "fail-first", HTTP).body)
    assert (error["errorType"], error["errorMessage"]) == ("LookupError", "before the first byte")
    assert invoke(classic, "tea").body == b"short and stout"


def test_too_large_a_response(classic: int) -> None:
    """A response that is refused with 413 for its size does not end the loop."""
    assert b"x" * 1000 not in invoke(classic, "large").body
    assert invoke(classic, "tea").body == b"short and stout"


def test_managed_content_type(managed: int) -> None:
    """On managed instances a direct response keeps the content type that the handler gave it."""
    reply = invoke(managed, "tea")
    assert reply.body == b"short and stout"
    assert reply.header("content-type") == ["text/x-tea"]


def test_managed_error_trailers(managed: int) -> None:
    """On managed instances the error trailers become the invocation's error."""
    error = json.loads(invoke(managed, "fail").body)
    assert (error["errorType"], error["errorMessage"]) == ("LookupError", "in mid-stream")
    assert invoke(managed, "tea").body == b"short and stout"


@pytest.mark.parametrize("more", [2_000, 20_000])
def test_managed_long_error(managed: int, more: int) -> None:
    """However long an error is, its trailers are short enough for AWS's server, on every worker."""
    for _ in range(2 * CONCURRENCY):
        error = json.loads(invoke(managed, "fail", {"more": more}).body)
        assert error["errorType"] == "LookupError"
        assert error["errorMessage"].startswith("in mid-stream!!!")
    assert invoke(managed, "tea").body == b"short and stout"


def test_managed_truncation(managed: int) -> None:
    """On managed instances a body that is cut short is reported as truncated; the next invocation works."""
    assert b"Runtime.TruncatedResponse" in invoke(managed, "cut").body
    assert invoke(managed, "tea").body == b"short and stout"

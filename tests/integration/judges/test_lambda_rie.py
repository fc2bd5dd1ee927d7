"""Judged by aws-lambda-rie: AWS's own Runtime API, in its classic mode and as managed instances have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awslambdaric
import pytest

from tests.integration.judges.function_process import BOOTSTRAP, LAMBDA_SRC, PATIENCE
from tests.integration.judges.judge import LAMBDA_RIE, Reply, call, free_port, judge_process, needs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.judge, needs(LAMBDA_RIE)]

PATH = "/2015-03-31/functions/function/invocations"
OVER_HTTP = {"requestContext": {"http": {"method": "POST"}}}
PRELUDE = b'{"statusCode":201,"headers":{"content-type":"text/plain"},"cookies":["a=b"]}' + bytes(8)
SOURCE = """
import os
from streaming_runtime import ResponseClosed, stream_response

@stream_response
def handle(event, context, *, response):
    kind = event.get("kind")
    if kind == "fail first":
        raise LookupError("before the first byte")
    response.status = 201
    response.headers["content-type"] = "text/plain"
    response.cookies.append("a=b")
    response.write("one ")
    response.write("two")
    if kind == "fail":
        raise LookupError("in mid-stream" + "!" * event.get("more", 0))
    if kind == "cut short":
        os._exit(1)
    if kind == "large":
        for _ in range(8):
            response.write(b"x" * 1_000_000)
"""
# AWS's server runs managed instances' /var/task/bootstrap as another user: this gives it one in a private /var, with
# the interpreter and its packages where that user may read them.
NAMESPACE = ("unshare", "--mount", "--")
ROOM = """
set -e
mount -t tmpfs none /var
mkdir /var/task /var/lang /var/packages /var/bin
mount --bind "$1" /var/lang
mount --bind "$2" /var/packages
ln -s "/var/lang/bin/$3" /var/bin/python3
cp -r "$4/bootstrap" "$4/streaming_runtime" "$5" /var/task
shift 5
exec "$@"
"""


def _ports() -> tuple[int, tuple[str, ...]]:
    port = free_port()
    return port, (
        "--runtime-interface-emulator-address",
        f"127.0.0.1:{port}",
        "--runtime-api-address",
        f"127.0.0.1:{free_port()}",
    )


@pytest.fixture
def classic(tmp_path: Path) -> Iterator[int]:
    """Start the function in classic mode, as a container's command starts it."""
    (tmp_path / "app.py").write_text(SOURCE)
    port, addresses = _ports()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(LAMBDA_SRC),
        "LAMBDA_TASK_ROOT": str(tmp_path),
    }
    command = (LAMBDA_RIE, *addresses, BOOTSTRAP, "app.handle")
    with judge_process(command, port, tmp_path, environment):
        yield port


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[int]:
    """Start the function in managed-instances mode, with two workers."""
    done = subprocess.run((*NAMESPACE, "true"), check=False, capture_output=True)
    if done.returncode:
        pytest.skip(
            "aws-lambda-rie needs a /var/task/bootstrap: a mount namespace is not permitted here"
        )
    (tmp_path / "app.py").write_text(SOURCE)
    port, addresses = _ports()
    environment = {
        "PATH": "/var/bin:/usr/bin:/bin",
        "PYTHONPATH": "/var/packages",
        "AWS_LAMBDA_MAX_CONCURRENCY": "2",
    }
    command = (
        *NAMESPACE, "sh", "-c", ROOM, "room",
        sys.base_prefix,
        Path(awslambdaric.__path__[0]).parent,
        f"python{sys.version_info.major}.{sys.version_info.minor}",
        LAMBDA_SRC,
        tmp_path / "app.py",
        LAMBDA_RIE, *addresses, "/var/task/bootstrap", "app.handle",
    )  # fmt: skip
    with judge_process(command, port, tmp_path, environment):
        yield port


def _invoke(port: int, event: dict[str, Any]) -> Reply:
    return call(port, PATH, event)


def _error(reply: Reply) -> tuple[str, str]:
    error = json.loads(reply.body)
    return error["errorType"], error.get("errorMessage", "")


def test_classic(classic: int) -> None:
    """Over HTTP the body is the prelude, eight NULs and the payload; invoked directly it is the payload alone."""
    for _ in range(2):
        assert _invoke(classic, OVER_HTTP).body == PRELUDE + b"one two"
        assert _invoke(classic, {}).body == b"one two"


def test_classic_errors(classic: int) -> None:
    """An error before the first byte is reported; one in mid-stream and a body over 6 MB are survived."""
    assert _error(_invoke(classic, {"kind": "fail first"})) == (
        "LookupError",
        "before the first byte",
    )
    assert _invoke(classic, {"kind": "fail"}).body == b"one two"
    assert _error(_invoke(classic, {"kind": "large"}))[0] == "Function.ResponseSizeTooLarge"
    assert _invoke(classic, OVER_HTTP).body == PRELUDE + b"one two"


def test_managed(managed: int) -> None:
    """Content types are kept: the prelude's own over HTTP, the handler's in a direct invocation."""
    for event, content_type, body in (
        (OVER_HTTP, "application/vnd.awslambda.http-integration-response", PRELUDE + b"one two"),
        ({}, "text/plain", b"one two"),
    ):
        reply = _invoke_when_ready(managed, event)
        assert reply.header("content-type") == [content_type]
        assert reply.header("lambda-runtime-function-response-mode") == ["streaming"]
        assert reply.body == body


@pytest.mark.parametrize("more", [0, 100_000])
def test_managed_errors(managed: int, more: int) -> None:
    """The trailers are read as the error they tell, however long that is, and the next invocation works."""
    assert _invoke_when_ready(managed, {}).body == b"one two"
    assert _error(_invoke(managed, {"kind": "fail first"})) == (
        "LookupError",
        "before the first byte",
    )
    for _ in range(4):  # on every worker
        error_type, message = _error(_invoke(managed, {"kind": "fail", "more": more}))
        assert error_type == "LookupError"
        assert message.startswith("in mid-stream")
    assert _invoke(managed, {}).body == b"one two"


def test_managed_cut_short(managed: int) -> None:
    """A body cut short is reported as such, never as whole, and the other worker goes on."""
    assert _invoke_when_ready(managed, {}).body == b"one two"
    reply = _invoke(managed, {"kind": "cut short"})
    assert _error(reply)[0] == "Runtime.TruncatedResponse"
    assert _invoke(managed, {}).body == b"one two"


def _invoke_when_ready(port: int, event: dict[str, Any]) -> Reply:
    """Invoke when the first worker is there: the server listens before, and refuses."""
    for _ in range(PATIENCE * 20):
        reply = _invoke(port, event)
        if b"Runtime.Unavailable" not in reply.body:
            break
    return reply

"""Judged by cargo-lambda: a function URL on this machine, whose server has nothing to do with ours."""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.judges.function_process import (
    BOOTSTRAP,
    PATIENCE,
    FunctionProcess,
    function_process,
)
from tests.integration.judges.judge import (
    CARGO_LAMBDA,
    Caller,
    call,
    free_port,
    judge_process,
    needs,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.judge, needs(CARGO_LAMBDA)]

URL = "/lambda-url/app/"
PIECES = 40
SOURCE = """
import json, time
from streaming_runtime import ResponseClosed, stream_response

@stream_response
def handle(event, context, *, response):
    kind = event["rawPath"]
    if kind == "/fail-first":
        raise LookupError("before the first byte")
    response.headers["content-type"] = "application/x-ndjson"
    if kind == "/pieces":
        for number in range(40):
            response.write(json.dumps({"number": number, "sent": time.monotonic()}) + "\\n")
            time.sleep(0.02)
    elif kind == "/head":
        response.status = 418
        response.headers["x-note"] = "caf\\xe9"
        response.cookies += ["a=b; Secure", "c=d"]
        response.write("short and stout")
    elif kind == "/empty":
        response.status = 202
        response.headers["x-note"] = "empty"
    elif kind == "/fail":
        response.write("part")
        raise LookupError("in mid-stream")
    elif kind == "/endless":
        try:
            while True:
                response.write("x" * 1000 + "\\n")
                time.sleep(0.005)
        except ResponseClosed as closed:
            print("closed:", closed, flush=True)
            raise
    elif kind == "/large":
        for _ in range(20):
            response.write(b"x" * 1_000_000)
"""
# All that cargo-lambda asks of cargo: which binaries a project has. So no compiler is needed here.
CARGO = """#!/bin/sh
cat <<'END'
{metadata}
END
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Start cargo-lambda before a project whose only binary bears the function's name."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Cargo.toml").write_text('[package]\nname = "app"\nversion = "0.1.0"\n')
    package = {
        "name": "app",
        "version": "0.1.0",
        "id": "app",
        "edition": "2021",
        "dependencies": [],
        "features": {},
        "manifest_path": str(folder / "Cargo.toml"),
        "targets": [
            {
                "name": "app",
                "kind": ["bin"],
                "crate_types": ["bin"],
                "src_path": str(folder / "main.rs"),
            }
        ],
    }
    metadata = {
        "version": 1,
        "workspace_root": str(folder),
        "target_directory": str(folder / "target"),
        "workspace_members": ["app"],
        "packages": [package],
        "resolve": None,
    }
    cargo = folder / "cargo"
    cargo.write_text(CARGO.format(metadata=json.dumps(metadata)))
    cargo.chmod(0o755)
    port = free_port()
    command = (
        CARGO_LAMBDA, "lambda", "watch", "--only-lambda-apis", "--ignore-changes",
        "-A", "127.0.0.1", "-P", str(port),
    )  # fmt: skip
    with judge_process(command, port, folder, {"PATH": f"{folder}:/usr/bin:/bin"}):
        yield port


@pytest.fixture
def function(port: int, tmp_path: Path) -> Iterator[FunctionProcess]:
    api = f"127.0.0.1:{port}/.rt/app"
    with function_process(tmp_path, SOURCE, api, command=(BOOTSTRAP,)) as function:
        yield function


@pytest.mark.usefixtures("function")
def test_every_piece_on_its_own(port: int) -> None:
    """Each piece reaches the caller by itself, within milliseconds of being sent."""
    reply = call(port, URL + "pieces")
    assert reply.complete
    pieces = [json.loads(part) for _, part in reply.parts]
    assert [piece["number"] for piece in pieces] == list(range(PIECES))
    delays = [came - piece["sent"] for (came, _), piece in zip(reply.parts, pieces, strict=True)]
    print(
        f"delay: median {statistics.median(delays) * 1000:.2f} ms, most {max(delays) * 1000:.2f} ms"
    )
    assert statistics.median(delays) < 0.01
    # Each was there before the next was sent, but for what a busy machine delays.
    assert sum(delay > 0.02 for delay in delays) <= PIECES // 10


@pytest.mark.usefixtures("function")
def test_status_headers_and_cookies(port: int) -> None:
    """The prelude becomes the head of the response."""
    reply = call(port, URL + "head")
    assert (reply.status, reply.body) == (418, b"short and stout")
    assert reply.header("content-type") == ["application/x-ndjson"]
    assert reply.header("set-cookie") == ["a=b; Secure", "c=d"]


@pytest.mark.usefixtures("function")
def test_an_empty_body(port: int) -> None:
    """An empty answer has its status and headers, and does not keep the caller waiting."""
    reply = call(port, URL + "empty")
    assert (reply.status, reply.body, reply.complete) == (202, b"", True)
    assert reply.header("x-note") == ["empty"]


@pytest.mark.usefixtures("function")
def test_a_large_body(port: int) -> None:
    """Twenty megabytes arrive whole."""
    assert len(call(port, URL + "large").body) == 20_000_000


def test_errors(port: int, function: FunctionProcess) -> None:
    """An error before the first byte is an error's status; one in mid-stream ends the body; the loop goes on."""
    reply = call(port, URL + "fail-first")
    assert reply.status >= 500
    assert json.loads(reply.body)["errorMessage"] == "before the first byte"
    assert call(port, URL + "fail").body == b"part"
    assert call(port, URL + "head").status == 418
    assert "in mid-stream" in function.output


def test_a_caller_that_leaves(port: int, function: FunctionProcess) -> None:
    """The handler learns that its caller left, and the next invocation works."""
    for turn in range(1, 4):
        with Caller(port, URL + "endless") as caller:
            caller.read(parts=3)
        deadline = time.monotonic() + PATIENCE
        while function.output.count("closed: the response stream is closed") < turn:
            assert time.monotonic() < deadline, function.output
            time.sleep(0.01)
        assert call(port, URL + "head").status == 418

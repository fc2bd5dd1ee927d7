"""SnapStart: the function in the real runtime's loop, which asks for the restore and runs what is due after it."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from local import LAMBDA_SRC
from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import IMMEDIATE
from tests.caller import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
KEY = re.compile(r"Credential=([^/]+)/")


class Surroundings:
    """What is around a function in Lambda under SnapStart: who gives it credentials, and DynamoDB.

    Attributes:
        url: of both.
        tokens: who has asked for credentials. Each time there are others: ``key-0``, ``key-1``, …
        counted_by: whose credentials each of DynamoDB's requests was signed with.
    """

    def __init__(self) -> None:
        self.url = ""
        self.tokens: list[str] = []
        self.counted_by: list[str] = []

    def credentials(self, token: str) -> Any:
        self.tokens.append(token)
        return {
            "AccessKeyId": f"key-{len(self.tokens) - 1}",
            "SecretAccessKey": "secret",
            "Token": "session",
            "Expiration": "2099-01-01T00:00:00Z",  # so that nobody asks for others because of their age
        }

    def count(self, authorization: str) -> Any:
        match = KEY.search(authorization)
        self.counted_by.append(match[1] if match else "")
        return {"Attributes": {"used": {"N": "1"}}}


@pytest.fixture
def around() -> Iterator[Surroundings]:
    surroundings = Surroundings()
    with _serving(surroundings):
        yield surroundings


@contextmanager
def _serving(surroundings: Surroundings) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(surroundings.credentials(self.headers["authorization"]))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._answer(surroundings.count(self.headers["authorization"]))

        def _answer(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        surroundings.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _environment(around: Surroundings, **more: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "",  # under SnapStart Lambda sets none: credentials are fetched
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{around.url}/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the-token",
        "AWS_ENDPOINT_URL_DYNAMODB": around.url,
        **more,
    }


BUDGET = {
    "RIVULET_DAILY_TOKENS": "1000",
    "RIVULET_MAX_TOKENS": "100",
    "RIVULET_BUDGET_TABLE": "budgets",
}


@pytest.mark.parametrize(
    ("chosen", "asked", "bedrocks", "dynamodbs"),
    [
        ({}, 1, "key-0", []),
        (SNAP_START, 2, "key-1", []),
        ({**BUDGET, **SNAP_START}, 4, "key-2", ["key-3", "key-3"]),
    ],
    ids=["without", "SnapStart", "SnapStart and budgets"],
)
def test_a_restored_environment_signs_with_its_own_credentials(
    around: Surroundings,
    chosen: dict[str, str],
    asked: int,
    bedrocks: str,
    dynamodbs: list[str],
) -> None:
    """Those of the snapshot are not used, though they have not expired; without SnapStart they are asked for once."""
    environment = _environment(around, **chosen)
    with LocalFunction(pace=IMMEDIATE, environment=environment) as function:
        assert around.tokens == ["the-token"] * asked  # it is ready, and restored
        assert ask(function.url).types[-1] == "done"
        (call,) = function.bedrock.calls
        function.wait_for_line('"message":"stream"')
    assert KEY.findall(call.headers["authorization"]) == [bedrocks]
    assert around.counted_by == dynamodbs
    assert len(around.tokens) == asked


APP = """
import random
import uuid

import handler
from snapshot_restore_py import register_after_restore

random.seed(7)  # the state that all have from their snapshot
handle = handler.handle

@register_after_restore
def tell():
    print("drew", random.random(), uuid.uuid4())
"""


def test_environments_of_one_snapshot_draw_other_numbers(
    around: Surroundings, tmp_path: Path
) -> None:
    """Two that have the same state draw other random numbers and ids after their restore, and both work."""
    (tmp_path / "app.py").write_text(APP)
    configuration = FunctionConfiguration(
        task_root=tmp_path,
        handler="app.handle",
        command=(sys.executable, "-m", "streaming_runtime", "app.handle"),
        concurrency=2,
        provisioned_concurrency=2,
    )
    path = {"PYTHONPATH": f"{LAMBDA_SRC}:{tmp_path}"}
    environment = _environment(around, **path, **SNAP_START)
    with LocalFunction(configuration, pace=IMMEDIATE, environment=environment) as function:
        drawn = [line.split()[1:] for line in function.log if line.startswith("drew")]
        assert ask(function.url).types[-1] == "done"
        cold = function.wait_for_line('"ColdStart":')
    numbers, ids = zip(*drawn, strict=True)
    assert len({str(random.Random(7).random()), *numbers}) == 3
    assert len(set(ids)) == 2
    assert json.loads(cold)["ColdStart"] == [1.0]  # a restore is a cold start, and counted as one


def test_nothing_is_imported_for_snapshots_without_snapstart() -> None:
    """An environment that is no copy of another starts as it did."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(LAMBDA_SRC),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "POWERTOOLS_METRICS_NAMESPACE": "Rivulet",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "RIVULET_MODEL_IDS": "m",
    }
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import handler, sys; print(sys.modules.keys() & {'snapshot_restore_py', 'access.budget'})",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert said.stdout == "set()\n"

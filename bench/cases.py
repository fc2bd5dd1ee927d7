"""What is measured: each case is a function in a process of its own, between a Bedrock and whoever calls it."""

from __future__ import annotations

import os
import platform
import re
import signal
import socket  # noqa: TID251  # the caller of the peer that is a web server
import statistics
import subprocess
import sys
import time
import zipfile
from base64 import b64decode
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.servers import Bedrock, RuntimeApi, read_head, receive
from infra.bytecode import find_interpreter
from infra.dependencies import PYTHON_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
_MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
_BODY = '{"prompt":"Why?"}'


@dataclass(frozen=True, slots=True)
class Case:
    """A function to measure.

    Attributes:
        name: what it is called in the table.
        command: what starts it, after the program. ``{port}`` is where a web server is to listen.
        folder: where, below the project's root or absolute.
        path: of the request.
        accept: what it asks for.
        program: by default the Python that measures.
    """

    name: str
    command: Sequence[str]
    folder: str
    path: str = "/stream"
    accept: str = "text/event-stream"
    program: str = sys.executable

    @property
    def is_web_server(self) -> bool:
        """Whether it is called by HTTP rather than by the Runtime API."""
        return "{port}" in self.command


RIVULET = ("-m", "streaming_runtime", "handler.handle")
CASES = (
    Case("Rivulet, POST /stream", RIVULET, "lambda_src"),
    Case(
        "Rivulet, ConverseStream as it is",
        RIVULET,
        "lambda_src",
        f"/model/{_MODEL}/converse-stream",
        "*/*",
    ),
    Case(
        "Rivulet, InvokeModelWithResponseStream as it is",
        RIVULET,
        "lambda_src",
        f"/model/{_MODEL}/invoke-with-response-stream",
        "*/*",
    ),
    Case(
        "FastAPI, uvicorn",
        ("-m", "uvicorn", "--log-level=warning", "--port", "{port}", "bench.peers.fastapi_app:app"),
        ".",
    ),
    Case("awslambdaric, buffered", ("-m", "awslambdaric", "bench.peers.buffered.handle"), "."),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a case: seconds, bytes and microseconds.

    Attributes:
        first_byte: seconds from the start of the process to the first byte of the answer.
        cpu: seconds of CPU that the process took, from start to end.
        memory: its largest resident size in bytes.
        delays: seconds from the sending of each timed piece to its arrival.
    """

    first_byte: float
    cpu: float
    memory: int
    delays: list[float]


def cases_of(revision: str, folder: Path) -> tuple[Case, ...]:
    """Return the function's own cases as of a git revision, whose sources are put into a folder."""
    _export(revision, folder, "lambda_src")
    return tuple(
        replace(case, name=f"{case.name} ({revision})", folder=str(folder / "lambda_src"))
        for case in CASES
        if case.command == RIVULET
    )


def package_of(revision: str | None, folder: Path) -> tuple[Case, ...]:
    """Return the case of the package as it ships, unpacked into a folder and started by its own ``bootstrap``.

    Args:
        revision: of git; ``None`` for what is in the working tree.
        folder: an empty one.

    Returns:
        Nothing where there is no Python of the function's version to run it on.
    """
    interpreter = find_interpreter(PYTHON_VERSION)
    if interpreter is None:
        return ()
    tree = ROOT
    if revision is not None:
        tree = folder / "tree"
        tree.mkdir()
        _export(revision, tree)
        (tree / "build").mkdir()
        # What pip has fetched already serves both: its folders' names say what is in them.
        (tree / "build" / "dependencies").symlink_to(ROOT / "build" / "dependencies")
    target = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    build = f"from infra import package as p; print(p.build(p.Target({target!r})).path)"
    built = subprocess.run(
        [sys.executable, "-c", build], cwd=tree, stdout=subprocess.PIPE, text=True, check=True
    )
    task = folder / "task"
    with zipfile.ZipFile(built.stdout.split()[-1]) as archive:
        archive.extractall(task)
    (task / "bootstrap").chmod(0o755)
    return (
        Case(
            f"the package{f' ({revision})' if revision else ''}, POST /stream",
            (interpreter, "-S", "/var/runtime/bootstrap.py"),
            str(task),
            program=str(task / "bootstrap"),
        ),
    )


def _export(revision: str, folder: Path, *paths: str) -> None:
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision, *paths],  # noqa: S607  # whichever git there is
        stdout=subprocess.PIPE,
        check=True,
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)  # noqa: S607  # as git


def run(case: Case, *, pieces: int = 1, interval: float = 0) -> Sample:
    """Start the case's function, send it one request and end it."""
    bedrock = Bedrock(pieces, interval)
    api = RuntimeApi(_event(case))
    port = _free_port()
    environment = _environment(bedrock.port, api.port, ROOT / case.folder)
    began = time.perf_counter_ns()
    process = subprocess.Popen(
        [case.program, *(part.format(port=port) for part in case.command)],
        cwd=ROOT / case.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        if case.is_web_server:
            received: list[tuple[int, bytes]] = []
            _post(case, port, received)
        else:
            if not api.done.wait(60):
                raise TimeoutError(f"{case.name}: expected an answer within 60 s, got none")
            received = api.received
    finally:
        os.kill(process.pid, signal.SIGKILL)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        bedrock.close()
        api.close()
    return Sample(
        first_byte=(next(at for at, data in received if data) - began) / 1e9,
        cpu=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        delays=[delay for at, data in received for delay in _delays(at, data)],
    )


def cpu_per_piece(case: Case, pieces: int) -> float:
    """Return the microseconds of CPU that one more piece costs."""
    return (run(case, pieces=pieces + 1).cpu - run(case).cpu) / pieces * 1e6


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def _event(case: Case) -> dict[str, Any]:
    return {
        "version": "2.0",
        "rawPath": case.path,
        "headers": {"accept": case.accept, "content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": case.path}},
        "body": _BODY,
        "isBase64Encoded": False,
    }


def _post(case: Case, port: int, received: list[tuple[int, bytes]]) -> None:
    """Send the request over HTTP, as soon as the server listens."""
    for _ in range(10_000):
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.001)
    else:
        raise TimeoutError(f"{case.name}: expected it to listen within 10 s, got nothing")
    with connection:
        connection.sendall(
            f"POST {case.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}".encode()
        )
        receive(connection, *read_head(connection), received)


def _delays(at: int, data: bytes) -> list[float]:
    """Return how long the timed pieces in what was received took."""
    documents = [data, *(b64decode(chunk) for chunk in re.findall(rb'"bytes": ?"([^"]+)"', data))]
    return [(at - int(sent)) / 1e9 for text in documents for sent in re.findall(rb"@(\d+)@", text)]


def _environment(bedrock: int, api: int, task_root: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api}",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"http://127.0.0.1:{bedrock}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "LAMBDA_TASK_ROOT": str(task_root),
        "_HANDLER": "handler.handle",
        "PYTHONPATH": str(ROOT),
        "RIVULET_MODEL_IDS": _MODEL,
        "POWERTOOLS_SERVICE_NAME": "rivulet",
        "POWERTOOLS_METRICS_NAMESPACE": "Rivulet",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])

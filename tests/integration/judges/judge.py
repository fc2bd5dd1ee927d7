"""What the judges have in common: where they are installed, a port, a process, and a caller that keeps time."""

# ruff: noqa: TID251  # a caller needs a socket

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h11
import pytest

from tests.integration.judges.function_process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

JUDGES = Path(__file__).parents[3] / ".judges"
CARGO_LAMBDA = JUDGES / "cargo-lambda" / "bin" / "cargo-lambda"
MINISTACK = JUDGES / "ministack"
CFN_LINT = JUDGES / "cfn-lint"
_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
LAMBDA_RIE = (
    JUDGES
    / "aws-sam-cli/samcli/local/rapid"
    / f"aws-lambda-rie-{_ARCHITECTURES.get(platform.machine(), platform.machine())}"
)


def needs(judge: Path) -> pytest.MarkDecorator:
    """Skip a test where its judge is absent."""
    return pytest.mark.skipif(
        not judge.exists(), reason=f"the judge {judge.name} is absent: make judges installs it"
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def judge_process(
    command: Sequence[str | Path], port: int, folder: Path, environment: dict[str, str]
) -> Iterator[Path]:
    """Run a judge until the end of the test, once it listens; give the file of what it prints."""
    output = folder / "judge-output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and not _listens(port):
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.02)
        assert process.poll() is None, output.read_text()
        yield output
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass(slots=True)
class Reply:
    """An HTTP response, with the moment at which each part of its body came."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: list[tuple[float, bytes]] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(part for _, part in self.parts)

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class Caller:
    """One HTTP request, whose reply is read as it comes; h11 tells its parts."""

    def __init__(
        self, port: int, path: str, body: bytes = b"{}", headers: dict[str, str] | None = None
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._connection = h11.Connection(h11.CLIENT)
        self.reply = Reply()
        fields = {
            "Host": "localhost",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }
        for event in (
            h11.Request(method="POST", target=path, headers=list(fields.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self._socket.sendall(self._connection.send(event) or b"")

    def read(self, parts: int | None = None) -> Reply:
        """Read the reply: all of it, or until so many parts of its body have come."""
        now = time.monotonic()
        while not self.reply.complete and (parts is None or len(self.reply.parts) < parts):
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                data = self._socket.recv(1024 * 1024)
                now = time.monotonic()
                self._connection.receive_data(data)
            elif isinstance(event, h11.Response):
                self.reply.status = event.status_code
                self.reply.headers = [(k.decode(), v.decode()) for k, v in event.headers]
            elif isinstance(event, h11.Data):
                self.reply.parts.append((now, bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                self.reply.complete = True
        return self.reply

    def leave(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def call(port: int, path: str, event: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """Make one call and read the whole reply."""
    with Caller(port, path, json.dumps(event or {}).encode(), headers) as caller:
        return caller.read()

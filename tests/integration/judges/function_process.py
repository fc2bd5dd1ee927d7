"""A function in a process of its own, as Lambda would start it, before whatever Runtime API a test has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LAMBDA_SRC = Path(__file__).parents[3] / "lambda_src"
BOOTSTRAP = LAMBDA_SRC / "bootstrap"
PATIENCE = 20  # seconds, on a machine that has other things to do


class FunctionProcess:
    """A running function: its process, and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE)


@contextmanager
def function_process(
    folder: Path,
    source: str,
    runtime_api: str,
    *,
    command: Sequence[str | Path] = (sys.executable, "-m", "streaming_runtime", "app.handle"),
    environment: dict[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> Iterator[FunctionProcess]:
    """Write ``app.py`` into the folder and start it there; end it at the end."""
    (folder / "app.py").write_text(source)
    output = folder / f"output-{len(list(folder.iterdir()))}"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={
                # bootstrap without arguments takes python3 from here: the one that has what is needed
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(LAMBDA_SRC),
                "PYTHONWARNINGS": "error",
                "AWS_LAMBDA_RUNTIME_API": runtime_api,
                "AWS_LAMBDA_FUNCTION_NAME": "f",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
                "_HANDLER": "app.handle",
                "LAMBDA_TASK_ROOT": str(folder),
                **{
                    name: os.environ[name]
                    for name in os.environ
                    if name.startswith("COVERAGE_PROCESS")
                },
                **(environment or {}),
            },
            stdin=stdin,
            stdout=log,
            stderr=log,
            pass_fds=pass_fds,
            start_new_session=True,  # so that its workers can be ended with it
        )
    try:
        yield FunctionProcess(process, output)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

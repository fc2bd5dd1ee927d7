from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BOOTSTRAP = Path(__file__).parents[3] / "lambda_src" / "bootstrap"
ROOT = BOOTSTRAP.parent
# Stands where the interpreter would, and tells how it was called.
INTERPRETER = f"""#!{sys.executable}
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ["PYTHONPATH"], os.getcwd()]))
"""
# A root of one's own in which /opt can be filled: needs the right to make a mount namespace.
NAMESPACE = ("unshare", "--mount", "--")


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    folder = tmp_path / "folder of python3"
    folder.mkdir()
    interpreter = folder / "python3"
    interpreter.write_text(INTERPRETER)
    interpreter.chmod(0o755)
    return interpreter


def _start(
    *command: str | Path, cwd: str | Path = "/", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environment},
    )


def _told(*command: str | Path, cwd: str | Path = "/", **environment: str) -> Any:
    done = _start(*command, cwd=cwd, **{"_HANDLER": "app.handle", **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "options",
    [[], ["-X", "utf8"], ["-W", "ignore:a message with spaces", "-O"], ["", "*", "$HOME", "a\nb"]],
    ids=["none", "two", "with spaces", "odd"],
)
def test_lambdas_command(options: list[str], interpreter: Path) -> None:
    """Lambda's interpreter and options are kept, each as it is; only the script at the end is replaced."""
    arguments, _, _ = _told(BOOTSTRAP, interpreter, *options, "/var/runtime/bootstrap.py")
    assert arguments == [*options, "-m", "streaming_runtime", "app.handle"]


@pytest.mark.parametrize("arguments", [[], ["app.handle"]], ids=["provided", "container"])
def test_no_command(arguments: list[str], interpreter: Path) -> None:
    """Without a command python3 is taken from the PATH; a container's command names the handler, as _HANDLER does."""
    path = f"{interpreter.parent}:{os.environ['PATH']}"
    assert _told(BOOTSTRAP, *arguments, PATH=path)[0] == ["-m", "streaming_runtime", "app.handle"]


@pytest.mark.parametrize(
    ("environment", "root"),
    [({}, str(ROOT)), ({"LAMBDA_TASK_ROOT": "/var/task"}, "/var/task")],
    ids=["not set", "set"],
)
def test_root(environment: dict[str, str], root: str, interpreter: Path) -> None:
    """Modules come from Lambda's task root, or else from beside the script, wherever it is called from."""
    for cwd in ("/", interpreter.parent):
        _, path, cwd_there = _told(BOOTSTRAP, interpreter, "x.py", cwd=cwd, **environment)
        assert (path.split(":")[0], cwd_there) == (root, str(cwd))
    _, path, _ = _told("./bootstrap", interpreter, "x.py", cwd=ROOT, CDPATH="/:/tmp", **environment)
    assert path.split(":")[0] == root


def test_python_path(interpreter: Path) -> None:
    """A path that is set stays, behind the function's own; no other variable finds its way in."""
    environment = {"PYTHONPATH": "/a:/b", "path": "/evil", "layers": "/evil", "root": "/evil"}
    assert _told(BOOTSTRAP, interpreter, "x.py", **environment)[1] == f"{ROOT}:/a:/b"


@pytest.mark.parametrize("handler", [{}, {"_HANDLER": ""}], ids=["unset", "empty"])
def test_no_handler(handler: dict[str, str], interpreter: Path) -> None:
    """Without a handler's name it ends at once, and says so."""
    done = _start(BOOTSTRAP, interpreter, "x.py", **handler)
    assert done.returncode != 0
    assert "_HANDLER: is not set: the runtime names the handler in it" in done.stderr


@pytest.mark.parametrize(
    ("environment", "layers"),
    [
        ("AWS_Lambda_python3.13", ["/opt/python/lib/python3.13/site-packages", "/opt/python"]),
        ("AWS_Lambda_python3.14", ["/opt/python"]),
        ("", [f"/opt/python/lib/python3.{n}/site-packages" for n in (12, 13)] + ["/opt/python"]),
    ],
)
def test_layers(environment: str, layers: list[str], interpreter: Path) -> None:
    """Layers come after the function: for the runtime's own version, then for all."""
    if _start(*NAMESPACE, "true").returncode:
        pytest.skip("making a mount namespace is not permitted here")
    script = (
        "mount -t tmpfs none /opt && mkdir -p /opt/python/lib/python3.12/site-packages"
        ' /opt/python/lib/python3.13/site-packages && exec "$@"'
    )
    command = (*NAMESPACE, "sh", "-c", script, "-", BOOTSTRAP, interpreter, "x.py")
    _, path, _ = _told(*command, AWS_EXECUTION_ENV=environment, PYTHONPATH="/var/runtime")
    assert path.split(":") == [str(ROOT), *layers, "/var/runtime"]


def test_executable() -> None:
    """Lambda starts it as it is: it has a shebang that every runtime has, and may be executed."""
    assert os.access(BOOTSTRAP, os.X_OK)
    assert BOOTSTRAP.read_bytes().startswith(b"#!/bin/sh\n")

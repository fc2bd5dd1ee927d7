"""Bytecode for the package, compiled here because Lambda cannot keep its own.

`/var/task` is read-only, so a package of sources alone is compiled again at every cold start: that
is more than two thirds of the time its imports take. Bytecode fits one minor version of Python only,
so an interpreter of that version has to be at hand; without one the package works all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CODE_ROOT = "/var/task"  # where Lambda unpacks the zip: the path that tracebacks will show


def find_interpreter(version: str) -> str | None:
    """Find a CPython of this version: the one that runs this, or one on the PATH."""
    for name in (sys.executable, f"python{version}"):
        path = shutil.which(name)
        tag, _, executable = _ask(path, version).partition(" ") if path else ("", "", "")
        if tag == f"cpython-{version.replace('.', '')}":
            return executable
    return None


def compile_tree(directory: Path, interpreter: str) -> None:
    """Compile every source file below `directory`.

    Unchecked hashes rather than times of modification: nothing changes in a deployed package, so
    nothing needs to be compared with its source, and the outcome does not depend on the clock.
    """
    options = ("-q", "--invalidation-mode=unchecked-hash", "-s", str(directory), "-p", CODE_ROOT)
    subprocess.run([interpreter, "-I", "-m", "compileall", *options, str(directory)], check=True)


def _ask(path: str, version: str) -> str:
    # Asked, not believed: what is called pythonX.Y may be a version manager's shim without there
    # being an X.Y behind it. pyenv's gives the one there is only to whoever names it.
    program = "import sys; print(sys.implementation.cache_tag, sys.executable)"
    environment = {**os.environ, "PYENV_VERSION": version}
    asked = subprocess.run(
        [path, "-I", "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    return asked.stdout.strip()

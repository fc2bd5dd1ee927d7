from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from typing import TYPE_CHECKING

from infra import bytecode

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HERE = ".".join(platform.python_version_tuple()[:2])


def test_finds_the_interpreter_that_runs_this() -> None:
    """The interpreter at hand is taken if it is of the version asked for."""
    assert bytecode.find_interpreter(HERE) == sys.executable


def test_does_not_believe_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is called like an interpreter and is none, as a version manager's shim, is not taken."""
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\necho 'not installed' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("python3.99")
    assert bytecode.find_interpreter("3.99") is None


def test_compiles_for_where_it_will_run(tmp_path: Path) -> None:
    """Bytecode loads without its source being compared, and its tracebacks show Lambda's path."""
    source = tmp_path / "relay" / "answer.py"
    source.parent.mkdir()
    source.write_text("def answer():\n    return 42\n")
    bytecode.compile_tree(tmp_path, sys.executable)
    source.write_text("raise SystemExit")  # unchecked: this is not looked at again

    spec = importlib.util.spec_from_file_location("answer", source)
    assert spec is not None
    assert spec.loader is not None
    code = spec.loader.get_code("answer")  # type: ignore[attr-defined]  # a SourceFileLoader has it
    names: dict[str, object] = {}
    exec(code, names)
    assert names["answer"]() == 42  # type: ignore[operator]  # the function compiled above

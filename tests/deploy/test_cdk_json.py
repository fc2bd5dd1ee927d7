"""cdk.json: the CDK CLI finds the Python that has the app's requirements, whoever types `cdk deploy`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

APP = json.loads((Path(__file__).parents[2] / "cdk.json").read_text())["app"]


@pytest.mark.parametrize(
    ("there", "active", "expected"),
    [
        pytest.param([".venv", "mine", "system"], "mine", "mine", id="an activated environment"),
        pytest.param([".venv", "system"], None, ".venv", id="the one that make install made"),
        pytest.param(["system"], None, "system", id="neither: whatever is on the PATH"),
    ],
)
def test_finds_python(there: list[str], active: str | None, expected: str, tmp_path: Path) -> None:
    """An activated virtual environment comes first, then the checkout's own, then the PATH."""
    for environment in there:
        python = tmp_path / environment / "bin" / "python3"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho {environment} $@\n")
        python.chmod(0o755)
    variables = {"PATH": f"{tmp_path}/system/bin:/usr/bin:/bin"}
    if active:
        variables["VIRTUAL_ENV"] = str(tmp_path / active)
    said = subprocess.check_output(["sh", "-c", APP], cwd=tmp_path, env=variables, text=True)
    assert said == f"{expected} app.py\n"

"""The Makefile: what it hands on to the programs that it starts, each of which is another one here that only tells."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
PROMPTS = [
    """It's "so": `exit 1`, $(exit 1), $HOME and $$""",
    "$(error no) $( ${ # \\ ; | & > /dev/null",
    "--port -x",
    "Größe 流れ",
    "two\nlines",
]
# Tells what it was called with, one line a call.
TELLS = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["TOLD"], "a") as told:
    print(json.dumps([*sys.argv, os.environ.get("VIRTUAL_ENV")]), file=told)
"""
# The same, and npm comes with what is installed for Node.js.
BRINGS_NPM = f"""{TELLS}
if "requirements/node.txt" in sys.argv:
    os.symlink("/bin/true", os.path.join(os.path.dirname(sys.argv[0]), "npm"))
"""


class Machine:
    """A machine with a shell, make, and an environment in which everything is installed.

    Attributes:
        environment: that one, which is not the checkout's own.
    """

    def __init__(self, home: Path) -> None:
        self.environment = home / "environment"
        self._told = home / "told"
        self._tools = home / "tools"
        self._tools.mkdir()
        for name in ("make", "grep", "touch"):
            found = shutil.which(name)
            if found is None:
                pytest.skip(f"{name} is not installed")
            (self._tools / name).symlink_to(found)
        (self.environment / "bin").mkdir(parents=True)
        self.has("python")
        for stamp in (".local", ".deploy", ".dev"):
            (self.environment / stamp).touch()

    def has(self, name: str, program: str = TELLS) -> Path:
        """Install a program into the environment."""
        path = self.environment / "bin" / name
        path.write_text(program)
        path.chmod(0o755)
        return path

    def has_node(self, **versions: str) -> None:
        """Install Node.js's programs, each of which is of a version."""
        for name, version in versions.items():
            self.has(name, f"#!/bin/sh\necho {version}\n")

    def make(self, *arguments: str, **variables: str) -> list[list[str]]:
        """Return what make calls: each program with its arguments and the environment that is the active one."""
        subprocess.run(
            ["make", f"VENV={self.environment}", *arguments],
            cwd=ROOT,
            env={"PATH": str(self._tools), "TOLD": str(self._told), **variables},
            capture_output=True,
            check=True,
            timeout=60,
        )
        lines = self._told.read_text().splitlines()
        return [[Path(program).name, *rest] for program, *rest in map(json.loads, lines)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_is_sent_as_it_is(machine: Machine, prompt: str) -> None:
    """Neither make nor the shell reads anything in it, wherever it is set."""
    venv = str(machine.environment)
    asked = ["python", "-m", "local", "run", f"--prompt={prompt}", venv]
    assert machine.make("run", f"PROMPT={prompt}") == [asked]
    assert machine.make("run", PROMPT=prompt) == [asked] * 2


@pytest.mark.parametrize("target", ["run", "serve"])
def test_options_are_handed_on(machine: Machine, target: str) -> None:
    """What the function at home can be told, make can."""
    (call,) = machine.make(target, "LOCAL=--real --model 'a model'")
    assert call[:4] == ["python", "-m", "local", target]
    assert call[5 if target == "run" else 6 : -1] == ["--real", "--model", "a model"]


@pytest.mark.parametrize("target", ["synth", "diff", "deploy", "destroy"])
def test_the_cdk_runs_in_the_environment_that_make_installs_into(
    machine: Machine, target: str
) -> None:
    """The app has its requirements there, whichever environment the shell has activated."""
    machine.has_node(npm="", node="v22.0.0")
    cdk = machine.has("cdk")
    chosen = (target, f"CDK={cdk}", "CHOICES=-c auth=jwt")
    expected = ["cdk", target, "-c", "auth=jwt", str(machine.environment)]
    assert machine.make(*chosen, VIRTUAL_ENV="/elsewhere") == [expected]


NODES = pytest.mark.parametrize(
    ("installed", "brought"),
    [
        ({}, True),
        ({"npm": ""}, True),
        ({"node": "v24.1.0"}, True),
        ({"npm": "", "node": "v20.20.2"}, True),
        ({"npm": "", "node": "v9.11.2"}, True),
        ({"npm": "", "node": "v22.0.0"}, False),
        ({"npm": "", "node": "v26.3.1"}, False),
    ],
)


@NODES
def test_node_is_brought_where_there_is_none_that_serves(
    machine: Machine, installed: Mapping[str, str], *, brought: bool
) -> None:
    """The CDK's own requirement: an older one runs it, but under warnings that take up a screen."""
    (machine.environment / ".deploy").unlink()
    machine.has_node(**installed)
    if "npm" not in installed:
        machine.has("python", BRINGS_NPM)
    *calls, package = machine.make(str(machine.environment / ".deploy"))
    requirements = [call[call.index("-r") + 1] for call in calls if "-r" in call]
    node = ["requirements/node.txt"] if brought else []
    assert requirements == ["requirements/deploy.txt", *node]
    assert package[:3] == ["python", "-m", "infra.package"]


@NODES
def test_node_is_brought_where_all_else_is_installed(
    machine: Machine, installed: Mapping[str, str], *, brought: bool
) -> None:
    """The machine's may be gone since then, or not serve any more: what deploys asks each time."""
    machine.has_node(**installed)
    cdk = machine.has("cdk")
    calls = machine.make("synth", f"CDK={cdk}")
    assert [call[0] for call in calls] == [*(["python"] if brought else []), "cdk"]
    assert calls[0][-2] == ("requirements/node.txt" if brought else "synth")


def test_what_does_without_node_asks_for_none(machine: Machine) -> None:
    """Nor is anything installed for it: the same machine may be without a network."""
    machine.has("ruff")
    assert [call[:2] for call in machine.make("lint")] == [["ruff", "check"]]


def test_a_shell_looks_for_what_the_environment_brings() -> None:
    """make 3.81, which macOS has, looks for a command that it starts by itself on its own PATH, not on the exported."""
    lines = (ROOT / "Makefile").read_text().replace("\\\n", "").splitlines()
    commands = {line.split()[0].lstrip("@") for line in lines if line.startswith("\t")}
    assert "exec" in commands
    assert not commands & {"cdk", "node", "npm", "npx", "pip", "python", "uv"}

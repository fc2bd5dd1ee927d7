from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from infra import dependencies
from infra.dependencies import PackageError, Target, fetch
from infra.package import EXTRAS, REQUIREMENTS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """Stand in for pip: note for whom, install one module."""
    seen: list[Target] = []

    def install(_: object, target: Target, directory: Path) -> None:
        seen.append(target)
        directory.mkdir()
        (directory / "six.py").touch()

    monkeypatch.setattr(dependencies, "_pip_install", install)
    return seen


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "function.txt"
    path.write_text("six==1.17.0 --hash=sha256:00\n")
    return path


def test_asks_pip_once(installs: list[Target], requirements: Path, tmp_path: Path) -> None:
    """What was fetched is there the next time, without pip and its network."""
    first = fetch([requirements], Target(), tmp_path / "cache")
    assert fetch([requirements], Target(), tmp_path / "cache") == first
    assert installs == [Target()]
    assert [path.name for path in first.iterdir()] == ["six.py"]
    assert list((tmp_path / "cache").iterdir()) == [first]


def test_asks_again_for_another_target_or_pin(
    installs: list[Target], requirements: Path, tmp_path: Path
) -> None:
    """Another architecture, another pin and another file of pins are other dependencies."""
    cache = tmp_path / "cache"
    fetched = {
        fetch([requirements], Target(), cache),
        fetch([requirements], Target("x86_64"), cache),
    }
    requirements.write_text("six==1.16.0 --hash=sha256:00\n")
    fetched.add(fetch([requirements], Target(), cache))
    more = tmp_path / "jwt.txt"
    more.write_text("pyjwt==2.0.0 --hash=sha256:00\n")
    fetched.add(fetch([requirements, more], Target(), cache))
    assert len(fetched) == len(installs) == 4


def test_gives_way_to_another_process(
    monkeypatch: pytest.MonkeyPatch, requirements: Path, tmp_path: Path
) -> None:
    """Of two processes that fetch the same at once, both go on with what one of them fetched."""
    cache = tmp_path / "cache"

    def install(_: object, __: Target, directory: Path) -> None:
        for path in (directory, cache / expected.name):  # the other process was faster
            path.mkdir()
            (path / "six.py").touch()

    monkeypatch.setattr(dependencies, "_pip_install", lambda *args: args[2].mkdir())
    expected = fetch([requirements], Target(), tmp_path / "elsewhere")
    monkeypatch.setattr(dependencies, "_pip_install", install)
    assert fetch([requirements], Target(), cache) == cache / expected.name
    assert [path.name for path in cache.iterdir()] == [expected.name]


def test_asks_for_the_machine_that_lambda_is() -> None:
    """pip is told the target's platform and Python, to check hashes, and to build nothing."""
    options = Target("arm64").pip_options
    assert "--platform=manylinux_2_34_aarch64" in options
    assert "--platform=manylinux2014_aarch64" in options
    assert "--python-version=3.13" in options
    assert "--only-binary=:all:" in options
    assert "--require-hashes" in options
    assert not [option for option in options if "x86_64" in option]


def test_says_what_pip_could_not(requirements: Path, tmp_path: Path) -> None:
    """A requirement without a wheel or a hash fails with what was expected and pip's own words."""
    requirements.write_text("six==1.17.0\n")
    with pytest.raises(PackageError) as caught:
        fetch([requirements], Target(), tmp_path / "cache")
    message = str(caught.value)
    assert "could not install function.txt for arm64" in message
    assert "a wheel for manylinux2014_aarch64 or newer" in message
    assert "--require-hashes" in message
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    "file", [REQUIREMENTS, *(file for extra in EXTRAS.values() for file in extra.requirements)]
)
def test_the_pins_hold_for_every_machine(file: Path) -> None:
    """No pin depends on the machine, but on CPython: pip would ask the one it runs on, not the one it installs for."""
    pins = [line for line in file.read_text().splitlines() if not line.startswith(" ")]
    assert pins
    markers = {mark for line in pins for mark in re.findall(r"(\w+) [!=]= '(\w+)'", line)}
    assert markers <= {("platform_python_implementation", "PyPy"), ("implementation_name", "PyPy")}
    assert sys.implementation.name == "cpython"

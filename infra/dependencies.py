"""The function's pinned dependencies, fetched once for the machine that Lambda runs them on.

pip can install for another platform than its own as long as every package has a wheel for it, which
all of ours have: no Docker, no cross compiler. What was fetched stays in `build/`, under a name made
of everything that decided it, so that synthesis needs the network only the first time.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PYTHON_VERSION = "3.13"
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
# The managed runtime is Amazon Linux 2023, whose glibc is 2.34: a wheel built for that or for
# anything older runs on it. pip takes each tag literally, the best one first.
GLIBC_MINORS = range(34, 16, -1)


class PackageError(Exception):
    """The package cannot be built: what was tried, what it needs, what came."""


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that the package is for."""

    architecture: str = "arm64"

    @property
    def platforms(self) -> tuple[str, ...]:
        """Name the machine as wheels do."""
        machine = MACHINES[self.architecture]
        modern = tuple(f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS)
        return (*modern, f"manylinux2014_{machine}")

    @property
    def pip_options(self) -> tuple[str, ...]:
        """Tell pip whom it installs for, and to take nothing that is not pinned or not built."""
        return (
            *(f"--platform={platform}" for platform in self.platforms),
            f"--python-version={PYTHON_VERSION}",
            "--implementation=cp",
            "--only-binary=:all:",
            "--require-hashes",
            "--no-compile",
        )


def fetch(requirements: Sequence[Path], target: Target, cache: Path) -> Path:
    """Return the directory that holds the installed requirements, asking pip if it is not there.

    Args:
        requirements: files of pins with hashes.
        target: the machine.
        cache: where such directories are kept, each under a name made of all that decided it.

    Raises:
        PackageError: pip could not install them.
    """
    decided_by = "\n".join((*target.pip_options, *(file.read_text() for file in requirements)))
    key = hashlib.sha256(decided_by.encode()).hexdigest()[:16]
    directory = cache / f"python{PYTHON_VERSION}-{target.architecture}-{key}"
    if directory.is_dir():
        return directory
    sys.stderr.write(
        f"Fetching the function's dependencies for python{PYTHON_VERSION} {target.architecture}, "
        "once: pip needs the network now.\n"
    )
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache) as staging:
        _pip_install(requirements, target, Path(staging, "tree"))
        try:
            Path(staging, "tree").rename(directory)
        except OSError:
            if not directory.is_dir():  # unless another process was faster, with the same outcome
                raise
    return directory


def _pip_install(requirements: Sequence[Path], target: Target, directory: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *(f"--target={directory}", *target.pip_options),
        *(f"--requirement={file}" for file in requirements),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        names = " and ".join(file.name for file in requirements)
        raise PackageError(
            f"pip could not install {names} for {target.architecture}; expected the "
            f"network, and a wheel for {target.platforms[-1]} or newer of every package; got:\n"
            f"{done.stderr.strip()}"
        )

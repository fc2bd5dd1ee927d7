"""The function's zip: `lambda_src/` and its pinned dependencies, less what never runs in Lambda.

Assembling is a plain function from two directories to a mapping of names to files; the zip is
written from that. Names are sorted, times constant and modes set here: the same inputs, a Python to
compile them with among these, make the same package. `python -m infra.package` builds it by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from infra.bytecode import compile_tree, find_interpreter
from infra.dependencies import MACHINES, PYTHON_VERSION, PackageError, Target, fetch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from infra.config import Config

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "lambda_src"
REQUIREMENTS = ROOT / "requirements" / "function.txt"
BUILD = ROOT / "build"

# What Lambda starts by itself rather than imports. Modes come from this, never from a file system.
EXECUTABLE = ("bootstrap",)

# In patterns `*` crosses directories. What KEPT names stays although PRUNED would drop it.
PRUNED = (
    "*/__pycache__/*",
    "bin/*",  # console scripts, with the path of the interpreter that pip ran on
    "*-stubs/*",
    "*.c",  # the sources of extension modules that are there compiled
    "simplejson/tests/*",
    "runtime_client.*.so",  # awslambdaric's own client; ours speaks HTTP in its place
    "aws_lambda_powertools/event_handler/openapi/swagger_ui/*",
    "boto3/data/*",  # the resource interfaces of other services
    "boto3/examples/*",
    "botocore/data/*",
    "*.dist-info/*",
    # Of what cryptography's wheel names as its requirements only cffi's compiled module runs.
    "cffi/*",
    "pycparser/*",
)
# Dropped although KEPT would have them: nothing of theirs is left to be known by name.
ABSENT = ("pycparser-*.dist-info/*",)
KEPT = (
    # All that is ever opened: for the relay's client, and for one that the X-Ray SDK makes when it is
    # imported anywhere without LAMBDA_TASK_ROOT, as under an emulator. Credentials come from the
    # environment, or over HTTP with SnapStart: that takes no service's model.
    "botocore/data/bedrock-runtime/*",
    "botocore/data/xray/*",
    "botocore/data/_retry.json",
    "botocore/data/endpoints.json",
    "botocore/data/partitions.json",
    "botocore/data/sdk-default-configuration.json",
    # Names and versions, by which scanners find what is vulnerable; and the licences' own demand.
    "*.dist-info/METADATA",
    "*.dist-info/LICEN[CS]E*",
    "*.dist-info/NOTICE*",
    "*.dist-info/licenses/*",
)

ENDPOINTS = "botocore/data/endpoints.json"


@dataclass(frozen=True, slots=True)
class Extra:
    """What only some deployments use, and only they carry: requirements of its own, and files that stay."""

    requirements: tuple[Path, ...] = ()
    kept: tuple[str, ...] = ()


EXTRAS = {
    "api-keys": Extra(kept=("botocore/data/secretsmanager/*",)),
    "budgets": Extra(kept=("botocore/data/dynamodb/*",)),
    "jwt": Extra(requirements=(ROOT / "requirements" / "jwt.txt",)),
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of the package."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Package:
    """The zip, and the digest of all that decided what is in it."""

    path: Path
    digest: str


def extras(config: Config) -> frozenset[str]:
    """Return what a deployment needs beside what all need."""
    needed = {
        "api-keys": config.auth == "api-key",
        "budgets": config.daily_tokens > 0,
        "jwt": config.auth == "jwt",
    }
    return frozenset(name for name, is_needed in needed.items() if is_needed)


def build(target: Target | None = None, extras: Collection[str] = ()) -> Package:
    """Build the package for `target` with some of `EXTRAS`, or find it built.

    Raises:
        PackageError: a dependency cannot be had, or is shadowed by a source file.
    """
    target = target or Target()
    chosen = [EXTRAS[name] for name in sorted(extras)]
    requirements = (REQUIREMENTS, *(file for extra in chosen for file in extra.requirements))
    dependencies = fetch(requirements, target, BUILD / "dependencies")
    kept = (*KEPT, *(pattern for extra in chosen for pattern in extra.kept))
    files = assemble(SOURCE, dependencies, kept)
    interpreter = find_interpreter(PYTHON_VERSION)
    digest = digest_of(files, compiled=interpreter is not None)
    path = BUILD / "package" / f"{digest}.zip"
    if not path.exists():
        if interpreter:
            files |= bytecode(files, interpreter)
        else:
            sys.stderr.write(
                f"No python{PYTHON_VERSION} here to compile the package with: it will work, but "
                "each cold start compiles it again. Put one on the PATH for faster cold starts.\n"
            )
        write_zip(files, path)
    return Package(path, digest)


def assemble(source: Path, dependencies: Path, kept: Collection[str] = KEPT) -> dict[str, File]:
    """Put the function's sources and what it needs of its dependencies into one tree.

    Args:
        source: the function's own directory.
        dependencies: the directory of what it imports.
        kept: patterns of what stays although `PRUNED` would drop it.

    Raises:
        PackageError: a name is in both.
    """
    needed = {name: file for name, file in _files(dependencies) if _is_needed(name, kept)}
    needed[ENDPOINTS] = File(_without_services(needed[ENDPOINTS].data))
    ours = {name: file for name, file in _files(source) if "__pycache__" not in name}
    shadowed = {_top(name) for name in ours} & {_top(name) for name in needed}
    if shadowed:
        raise PackageError(
            f"{source.name}/ would hide dependencies; expected other names; got {sorted(shadowed)}"
        )
    return dict(sorted({**needed, **ours}.items()))


def bytecode(files: Mapping[str, File], interpreter: str) -> dict[str, File]:
    """Compile the package's sources into the files that Python looks for beside them."""
    with TemporaryDirectory() as staging:
        for name, file in files.items():
            if name.endswith(".py"):
                path = Path(staging, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.data)
        compile_tree(Path(staging), interpreter)
        return {name: file for name, file in _files(Path(staging)) if name.endswith(".pyc")}


def digest_of(files: Mapping[str, File], *, compiled: bool) -> str:
    """Name a package by its inputs; bytecode, which follows from them, counts as made or not."""
    digest = hashlib.sha256(f"compiled for {PYTHON_VERSION}: {compiled}\n".encode())
    for name, file in sorted(files.items()):
        digest.update(f"{name} {file.mode:o} {hashlib.sha256(file.data).hexdigest()}\n".encode())
    return digest.hexdigest()


def write_zip(files: Mapping[str, File], path: Path) -> None:
    """Write the zip as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as staging:
        written = Path(staging, path.name)
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, file in sorted(files.items()):
                entry = zipfile.ZipInfo(name)  # its time is 1980, the oldest that a zip can tell
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3  # Unix, or the modes would be ignored
                entry.external_attr = (0o100000 | file.mode) << 16
                archive.writestr(entry, file.data)
        written.replace(path)


def _files(directory: Path) -> Iterator[tuple[str, File]]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and not fnmatchcase(
            f"/{name}", "*/.*"
        ):  # nothing hidden, as editors leave
            yield name, File(path.read_bytes(), 0o755 if name in EXECUTABLE else 0o644)


def _is_needed(name: str, kept: Collection[str]) -> bool:
    def is_in(patterns: Collection[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return not is_in(ABSENT) and (is_in(kept) or not is_in(PRUNED))


def _top(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


def _without_services(endpoints: bytes) -> bytes:
    """Leave the partitions and their regions, without the endpoints of 400 services.

    bedrock-runtime is resolved by its own rules; this file is read, all of it, for the regions only,
    and reading a megabyte takes a third of the time that the first client takes.
    """
    document = json.loads(endpoints)
    for partition in document["partitions"]:
        partition["services"] = {}
    return json.dumps(document).encode()


def main() -> None:
    """Build the package and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m infra.package", description=main.__doc__)
    parser.add_argument("--architecture", choices=sorted(MACHINES), default=Target().architecture)
    parser.add_argument("--extra", action="append", choices=sorted(EXTRAS), default=[])
    arguments = parser.parse_args()
    try:
        package = build(Target(arguments.architecture), arguments.extra)
    except PackageError as error:
        parser.exit(1, f"{error}\n")
    size = package.path.stat().st_size / 1e6
    sys.stdout.write(f"{package.path.relative_to(ROOT)}: {size:.1f} MB\n")


if __name__ == "__main__":
    main()

"""The package that ships, as it ships: what is in it, and that it works."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from infra import bytecode, package
from infra.dependencies import MACHINES, PYTHON_VERSION, Target, fetch
from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import Pace

pytestmark = pytest.mark.xdist_group("package")

TARGET_PYTHON = bytecode.find_interpreter(PYTHON_VERSION)

OURS = {"bootstrap", "handler.py", "relay", "streaming_runtime"}
DEPENDENCIES = {
    "aws_lambda_powertools",
    "aws_xray_sdk",
    "awslambdaric",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "s3transfer",
    "simplejson",
    "six.py",
    "snapshot_restore_py.py",
    "typing_extensions.py",
    "urllib3",
    "wrapt",
}
DISTRIBUTIONS = {
    "aws_lambda_powertools",
    "aws_xray_sdk",
    "awslambdaric",
    "boto3",
    "botocore",
    "jmespath",
    "python_dateutil",
    "s3transfer",
    "simplejson",
    "six",
    "snapshot_restore_py",
    "typing_extensions",
    "urllib3",
    "wrapt",
}


@pytest.fixture(scope="module", params=sorted(MACHINES))
def built(request: pytest.FixtureRequest) -> package.Package:
    return package.build(Target(request.param))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unzip the package of this machine's kind. Its compiled modules have a twin in Python elsewhere."""
    architecture = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    directory = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(package.build(Target(architecture)).path) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, directory))
            path.chmod(entry.external_attr >> 16 & 0o777)  # which zipfile leaves out
    return directory


def test_top_level_names(built: package.Package) -> None:
    """The function's own names and its dependencies' ship, and nothing else: no tests, no awscrt."""
    with zipfile.ZipFile(built.path) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    metadata = {name for name in names if name.endswith(".dist-info")}
    assert {name.partition("-")[0] for name in metadata} == DISTRIBUTIONS
    compiled = {"__pycache__"} if TARGET_PYTHON else set()
    assert names - metadata == OURS | DEPENDENCIES | compiled


def test_no_file_that_never_runs(built: package.Package) -> None:
    """Of botocore's data there are two services; no tests ship, and bytecode of one version at most."""
    with zipfile.ZipFile(built.path) as archive:
        names = archive.namelist()
    services = {name.split("/")[2] for name in names if name.startswith("botocore/data/")}
    assert {name for name in services if not name.endswith(".json")} == {"bedrock-runtime", "xray"}
    assert not [name for name in names if "/tests/" in name or name.startswith("boto3/data/")]
    assert not [name for name in names if "_crt" in name or "awscrt" in name]
    assert all(".cpython-313.pyc" in name for name in names if name.endswith(".pyc"))


def test_machine(built: package.Package) -> None:
    """Each compiled module is for the machine the package is for, and awslambdaric's own client is not there."""
    with zipfile.ZipFile(built.path) as archive:
        modules = {name for name in archive.namelist() if name.endswith(".so")}
        kinds = {archive.read(name)[18:20] for name in modules}  # an ELF header's e_machine
    assert {name.partition("/")[0] for name in modules} == {"simplejson", "wrapt"}
    assert len(kinds) == 1
    assert kinds <= {b"\xb7\x00", b"\x3e\x00"}


def test_machines_differ() -> None:
    """The two architectures are two packages."""
    digests = {package.build(Target(architecture)).digest for architecture in MACHINES}
    assert len(digests) == 2


def test_size(built: package.Package) -> None:
    """The zip stays under 6 MB and 16 MB unpacked: what a cold start has to fetch and keep."""
    with zipfile.ZipFile(built.path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    zipped = built.path.stat().st_size
    print(f"{zipped / 1e6:.1f} MB zipped, {unpacked / 1e6:.1f} MB unpacked")
    assert zipped < 6e6
    assert unpacked < 16e6


def test_bootstrap_can_be_started(built: package.Package) -> None:
    """`bootstrap` is executable in the zip, and a shell script."""
    with zipfile.ZipFile(built.path) as archive:
        entry = archive.getinfo("bootstrap")
        assert entry.external_attr >> 16 == 0o100755
        assert archive.read(entry).startswith(b"#!/bin/sh\n")


def test_licences(built: package.Package) -> None:
    """Every distribution that ships brings its licence, and its name and version for scanners."""
    with zipfile.ZipFile(built.path) as archive:
        names = archive.namelist()
    for distribution in DISTRIBUTIONS:
        own = [name for name in names if name.startswith(f"{distribution}-")]
        assert [name for name in own if name.endswith("/METADATA")]
        assert [name for name in own if "LICENSE" in name.upper()], distribution


def test_reproducible(tmp_path: Path) -> None:
    """Built twice from the same inputs, in two places, bytecode and all, it is the same to the byte."""
    dependencies = fetch(package.REQUIREMENTS, Target(), package.BUILD / "dependencies")
    places = (tmp_path / "one", tmp_path / "two" / "deeper")
    for place in places:
        shutil.copytree(package.SOURCE, place / "lambda_src")
    for place in places:
        files = package.assemble(place / "lambda_src", dependencies)
        if TARGET_PYTHON:
            files |= package.bytecode(files, TARGET_PYTHON)
        package.write_zip(files, place / "package.zip")
    one, two = (place / "package.zip" for place in places)
    assert one.read_bytes() == two.read_bytes()


interpreters = pytest.mark.parametrize(
    "interpreter",
    [
        pytest.param(sys.executable, id="this Python"),
        pytest.param(
            TARGET_PYTHON,
            id="the target's Python",
            marks=pytest.mark.skipif(
                not TARGET_PYTHON, reason=f"python{PYTHON_VERSION} is not installed"
            ),
        ),
    ],
)


@interpreters
def test_imports(interpreter: str, unpacked: Path) -> None:
    """Everything that ships can be imported from the package alone, even where nothing looks like Lambda."""
    modules = [name.removesuffix(".py") for name in sorted(DEPENDENCIES)]
    modules += ["awslambdaric.bootstrap", "aws_xray_sdk.core", "streaming_runtime", "relay.formats"]
    program = f"import sys; sys.path.insert(0, sys.argv[1]); import {', '.join(modules)}"
    subprocess.run(
        [interpreter, "-S", "-B", "-c", program, str(unpacked)],
        env={"AWS_EC2_METADATA_DISABLED": "true"},
        check=True,
        timeout=60,
    )


@interpreters
def test_streams(interpreter: str, unpacked: Path) -> None:
    """Unpacked and started by its own bootstrap, with nothing installed beside it, the package streams."""
    configuration = FunctionConfiguration(
        task_root=unpacked,
        # As Lambda calls the exec wrapper. -S: no packages but the package's own.
        command=(str(unpacked / "bootstrap"), interpreter, "-S", "-B", "/var/runtime/bootstrap.py"),
        # As on Lambda; its daemon is not here, and does not answer there either.
        environment={"POWERTOOLS_TRACE_DISABLED": "false"},
        region="eu-west-1",
    )
    with (
        LocalFunction(configuration, pace=Pace(0.0, 1000)) as function,
        httpx.stream("POST", f"{function.url}/stream", json={"prompt": "Why stream?"}) as response,
    ):
        events = [
            json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data:")
        ]
    assert response.status_code == 200
    assert [event["type"] for event in events[:2]] == ["start", "text"]
    assert events[-1]["type"] == "done"
    assert len(events) > 50
    (call,) = function.bedrock.calls
    assert "/eu-west-1/bedrock/aws4_request" in call.headers["authorization"]

"""The package that ships, as it ships: what is in it, and that it works."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from infra import bytecode, package
from infra.dependencies import MACHINES, PYTHON_VERSION, Target, fetch
from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import Pace

pytestmark = pytest.mark.xdist_group("package")

TARGET_PYTHON = bytecode.find_interpreter(PYTHON_VERSION)

OURS = {"access", "bootstrap", "handler.py", "relay", "snapshot.py", "streaming_runtime"}
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
# What tokens need besides, in the full package alone; of cffi only its compiled module.
WITH_TOKENS = {"_cffi_backend", "cryptography", "jwt"}
DISTRIBUTIONS_WITH_TOKENS = {"cffi", "cryptography", "pyjwt"}
SERVICES = {"bedrock-runtime", "xray"}
KINDS = {"arm64": b"\xb7\x00", "x86_64": b"\x3e\x00"}  # an ELF header's e_machine
HERE = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


class Build(NamedTuple):
    """A package, and what it was built for."""

    path: Path
    machine: str
    is_full: bool


def build(machine: str, *, is_full: bool) -> Build:
    extras = package.EXTRAS if is_full else ()
    return Build(package.build(Target(machine), extras).path, machine, is_full)


@pytest.fixture(
    scope="module",
    params=[*((machine, False) for machine in sorted(MACHINES)), (HERE, True)],
    ids=lambda wanted: f"{'full' if wanted[1] else 'default'} {wanted[0]}",
)
def built(request: pytest.FixtureRequest) -> Build:
    return build(request.param[0], is_full=request.param[1])


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unzip the default package of this machine's kind. Its compiled modules have a twin in Python elsewhere."""
    return unpack(build(HERE, is_full=False), tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def unpacked_full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unzip the full package. That of another kind of machine does not run here."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        pytest.skip("cryptography's module for Lambda runs on Linux with glibc alone")
    return unpack(build(HERE, is_full=True), tmp_path_factory.mktemp("task"))


def unpack(built: Build, directory: Path) -> Path:
    with zipfile.ZipFile(built.path) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, directory))
            path.chmod(entry.external_attr >> 16 & 0o777)  # which zipfile leaves out
    return directory


def test_top_level_names(built: Build) -> None:
    """The function's own names and its dependencies' ship, and nothing else: no tests, no awscrt."""
    with zipfile.ZipFile(built.path) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    metadata = {name for name in names if name.endswith(".dist-info")}
    assert {name.partition("-")[0] for name in metadata} == distributions(built)
    compiled = {"__pycache__"} if TARGET_PYTHON else set()
    modules = {"_cffi_backend" if "_cffi" in name else name for name in names - metadata}
    assert modules == OURS | DEPENDENCIES | compiled | (WITH_TOKENS if built.is_full else set())


def distributions(built: Build) -> set[str]:
    return DISTRIBUTIONS | (DISTRIBUTIONS_WITH_TOKENS if built.is_full else set())


def test_no_file_that_never_runs(built: Build) -> None:
    """Of botocore's data there are the services that are asked; no tests ship, and bytecode of one version at most."""
    with zipfile.ZipFile(built.path) as archive:
        names = archive.namelist()
    services = {name.split("/")[2] for name in names if name.startswith("botocore/data/")}
    asked = SERVICES | ({"dynamodb", "secretsmanager"} if built.is_full else set())
    assert {name for name in services if not name.endswith(".json")} == asked
    assert not [name for name in names if "/tests/" in name or name.startswith("boto3/data/")]
    assert not [name for name in names if "_crt" in name or "awscrt" in name]
    assert all(".cpython-313.pyc" in name for name in names if name.endswith(".pyc"))


def test_machine(built: Build) -> None:
    """Each compiled module is for the machine the package is for, and awslambdaric's own client is not there."""
    with zipfile.ZipFile(built.path) as archive:
        modules = {name for name in archive.namelist() if name.endswith(".so")}
        kinds = {archive.read(name)[18:20] for name in modules}
    compiled = {re.split(r"[/.]", name)[0] for name in modules}
    more = {"_cffi_backend", "cryptography"} if built.is_full else set()
    assert compiled == {"simplejson", "wrapt"} | more
    assert kinds == {KINDS[built.machine]}


def test_full_for_either_machine() -> None:
    """What tokens need is to be had for both machines, each compiled module for its own."""
    requirements = (package.REQUIREMENTS, *package.EXTRAS["jwt"].requirements)
    for machine, kind in KINDS.items():
        dependencies = fetch(requirements, Target(machine), package.BUILD / "dependencies")
        modules = [path for path in dependencies.rglob("*.so") if "runtime_client" not in path.name]
        assert len(modules) == 4
        assert {path.read_bytes()[18:20] for path in modules} == {kind}


def test_machines_differ() -> None:
    """The two architectures are two packages."""
    digests = {package.build(Target(architecture)).digest for architecture in MACHINES}
    assert len(digests) == 2


def test_size(built: Build) -> None:
    """The zip stays under 6 MB, 16 MB unpacked, and twice that with tokens: what a cold start has to fetch and keep."""
    with zipfile.ZipFile(built.path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    zipped = built.path.stat().st_size
    print(f"{zipped / 1e6:.1f} MB zipped, {unpacked / 1e6:.1f} MB unpacked")
    assert zipped < (12e6 if built.is_full else 6e6)
    assert unpacked < (32e6 if built.is_full else 16e6)


def test_bootstrap_can_be_started(built: Build) -> None:
    """`bootstrap` is executable in the zip, and a shell script."""
    with zipfile.ZipFile(built.path) as archive:
        entry = archive.getinfo("bootstrap")
        assert entry.external_attr >> 16 == 0o100755
        assert archive.read(entry).startswith(b"#!/bin/sh\n")


def test_licences(built: Build) -> None:
    """Every distribution that ships brings its licence, and its name and version for scanners."""
    with zipfile.ZipFile(built.path) as archive:
        names = archive.namelist()
    for distribution in distributions(built):
        own = [name for name in names if name.startswith(f"{distribution}-")]
        assert [name for name in own if name.endswith("/METADATA")]
        assert [name for name in own if "LICENSE" in name.upper()], distribution


@pytest.mark.parametrize("extras", [(), tuple(package.EXTRAS)], ids=["default", "full"])
def test_reproducible(extras: tuple[str, ...], tmp_path: Path) -> None:
    """Built twice from the same inputs, in two places, bytecode and all, it is the same to the byte."""
    chosen = [package.EXTRAS[name] for name in extras]
    requirements = [package.REQUIREMENTS, *(file for one in chosen for file in one.requirements)]
    kept = [*package.KEPT, *(pattern for one in chosen for pattern in one.kept)]
    dependencies = fetch(requirements, Target(), package.BUILD / "dependencies")
    places = (tmp_path / "one", tmp_path / "two" / "deeper")
    for place in places:
        shutil.copytree(package.SOURCE, place / "lambda_src")
    for place in places:
        files = package.assemble(place / "lambda_src", dependencies, kept)
        if TARGET_PYTHON and not extras:  # which takes long, and is the same for any source
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
    modules += ["access", "snapshot"]
    program = f"import sys; sys.path.insert(0, sys.argv[1]); import {', '.join(modules)}"
    subprocess.run(
        [interpreter, "-S", "-B", "-c", program, str(unpacked)],
        env={"AWS_EC2_METADATA_DISABLED": "true"},
        check=True,
        timeout=60,
    )


TOKENS = """
import sys
sys.path.insert(0, sys.argv[1])
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

keys = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
for algorithm, key in keys.items():
    published = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key())
    token = jwt.encode({"sub": "shop"}, key, algorithm)
    known = jwt.PyJWK.from_json(published, algorithm).key
    assert jwt.decode(token, known, [algorithm]) == {"sub": "shop"}
assert not {"cffi", "pycparser"} & set(sys.modules)
"""


@pytest.mark.skipif(not TARGET_PYTHON, reason=f"python{PYTHON_VERSION} is not installed")
def test_checks_tokens(unpacked_full: Path) -> None:
    """The full package checks tokens of every kind of key, from its own modules alone."""
    subprocess.run(
        [str(TARGET_PYTHON), "-S", "-B", "-c", TOKENS, str(unpacked_full)], check=True, timeout=60
    )


@interpreters
@pytest.mark.parametrize("service", ["secretsmanager", "dynamodb"])
def test_asks_more_services(interpreter: str, service: str, unpacked_full: Path) -> None:
    """The full package makes the clients that keys and budgets take."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import boto3; "
        "print(boto3.client(sys.argv[2], region_name='eu-west-1').meta.endpoint_url)"
    )
    said = subprocess.check_output(
        [interpreter, "-S", "-B", "-c", program, str(unpacked_full), service],
        env={"AWS_EC2_METADATA_DISABLED": "true"},
        text=True,
        timeout=60,
    )
    assert said.strip() == f"https://{service}.eu-west-1.amazonaws.com"


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

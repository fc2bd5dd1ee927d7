"""The package that ships, as it ships: what is in it, and that it works."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from struct import pack
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from infra import bytecode, package
from infra.dependencies import MACHINES, PYTHON_VERSION, Target, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    """Unzip the package of this machine's kind. Modules that are compiled have a Python twin."""
    directory = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(package.build(Target("x86_64")).path) as archive:
        archive.extractall(directory)
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
    """Built twice from the same inputs, bytecode and all, it is the same to the byte."""
    zips = []
    for name in ("one.zip", "two.zip"):
        dependencies = fetch(package.REQUIREMENTS, Target(), package.BUILD / "dependencies")
        files = package.assemble(package.SOURCE, dependencies)
        if TARGET_PYTHON:
            files |= package.bytecode(files, TARGET_PYTHON)
        package.write_zip(files, tmp_path / name)
        zips.append((tmp_path / name).read_bytes())
    assert zips[0] == zips[1]


# The handler's module is imported as in Lambda, tracing included; its client then calls.
CALL_BEDROCK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import awslambdaric.bootstrap, handler, boto3
assert handler.handle
stream = boto3.client("bedrock-runtime").converse_stream(
    modelId="amazon.nova-lite-v1:0", messages=[{"role": "user", "content": [{"text": "Hi"}]}]
)["stream"]
print(json.dumps(list(stream)))
files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
assert not [file for file in files if "site-packages" in file]
assert len([file for file in files if file.startswith(sys.argv[1])]) > 200
"""


@pytest.mark.parametrize(
    "interpreter",
    [
        pytest.param(sys.executable, id="this Python"),
        pytest.param(
            TARGET_PYTHON,
            id="the target's Python",
            marks=[
                pytest.mark.judge,
                pytest.mark.skipif(
                    not TARGET_PYTHON, reason=f"python{PYTHON_VERSION} is not installed"
                ),
            ],
        ),
    ],
)
def test_works(interpreter: str, unpacked: Path) -> None:
    """From the unpacked package alone boto3 calls Bedrock, signed with the role's credentials, and reads its stream."""
    with bedrock() as (endpoint, requests):
        environment = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "session",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": endpoint,
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "LAMBDA_TASK_ROOT": str(unpacked),
            "RIVULET_MODEL_IDS": "amazon.nova-lite-v1:0",
        }
        done = subprocess.run(
            [interpreter, "-B", "-S", "-c", CALL_BEDROCK, str(unpacked)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"messageStart": {"role": "assistant"}},
        {"messageStop": {"stopReason": "end_turn"}},
    ]
    ((path, authorization, token),) = requests
    assert path == "/model/amazon.nova-lite-v1%3A0/converse-stream"
    assert "Credential=AKIDEXAMPLE/" in authorization
    assert "/eu-west-1/bedrock/aws4_request" in authorization
    assert token == "session"


def frame(event: str, payload: dict[str, str]) -> bytes:
    """Encode one event of an AWS event stream (fact 62), by the letter of its format."""
    headers = b""
    for name, value in {":message-type": "event", ":event-type": event}.items():
        headers += bytes([len(name)]) + name.encode() + pack(">BH", 7, len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + pack(">I", crc32(prelude)) + headers + body
    return message + pack(">I", crc32(message))


@contextmanager
def bedrock() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Answer every call with the shortest stream there is; note how each was made."""
    requests: list[tuple[str, str, str]] = []
    stream = frame("messageStart", {"role": "assistant"})
    stream += frame("messageStop", {"stopReason": "end_turn"})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            signed = (self.headers["Authorization"], self.headers["X-Amz-Security-Token"])
            requests.append((self.path, *signed))
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.amazon.eventstream")
            self.send_header("Content-Length", str(len(stream)))
            self.end_headers()
            self.wfile.write(stream)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()

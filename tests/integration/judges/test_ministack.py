"""Judged by ministack: ``bootstrap`` in a zip, deployed as a ``provided.al2023`` function, called through its URL."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.judges.function_process import BOOTSTRAP, LAMBDA_SRC
from tests.integration.judges.judge import MINISTACK, call, free_port, judge_process, needs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.judge, needs(MINISTACK)]

REGION = "us-east-1"
SOURCE = """
from streaming_runtime import stream_response

@stream_response
def handle(event, context, *, response):
    response.status = 418
    response.headers["content-type"] = "text/x-tea"
    response.headers["x-path"] = event["rawPath"]
    response.write("short ")
    response.write("and stout")
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    environment = {
        # The virtual environment's interpreter is what the bootstrap finds as python3.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(MINISTACK),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    command = (sys.executable, "-m", "ministack")
    with judge_process(command, port, tmp_path, environment):
        yield port


def package() -> bytes:
    """Return a zip of the runtime, what it stands on, and a handler."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.write(BOOTSTRAP, "bootstrap")
        archive.writestr("app.py", SOURCE)
        for path in (LAMBDA_SRC / "streaming_runtime").glob("*.py"):
            archive.write(path, path.relative_to(LAMBDA_SRC))
        for name in ("awslambdaric", "simplejson", "snapshot-restore-py"):
            for file in metadata.files(name) or ():
                if file.parts[0] != ".." and "__pycache__" not in file.parts:
                    archive.write(str(file.locate()), str(file))
    return content.getvalue()


def test_a_provided_runtime(port: int) -> None:
    """As a provided.al2023 function's bootstrap, it answers its URL with status, headers and payload."""
    import boto3  # noqa: TID251  # deploys the function, from outside

    client = boto3.client(
        "lambda",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_function(
        FunctionName="tea",
        Runtime="provided.al2023",
        Handler="app.handle",
        Role="arn:aws:iam::000000000000:role/tea",
        Code={"ZipFile": package()},
        Timeout=20,
    )
    url = client.create_function_url_config(
        FunctionName="tea", AuthType="NONE", InvokeMode="RESPONSE_STREAM"
    )["FunctionUrl"]
    identifier = url.removeprefix("https://").partition(".")[0]
    reply = call(port, f"/_aws/lambda-url/{identifier}/some/path")
    assert (reply.status, reply.body) == (418, b"short and stout")
    assert reply.header("content-type") == ["text/x-tea"]
    assert reply.header("x-path") == ["/some/path"]

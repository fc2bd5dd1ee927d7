"""README.md, followed by a newcomer: its commands for deploying, calling and removing, as they stand there."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.deploy.ministack import (
    ACCOUNT,
    DEPLOYS,
    HERE,
    REGION,
    ROOT,
    bedrock_stand_in,
    ministack,
)
from tests.integration.tls_front import tls_front

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deploy.ministack import Cloud

pytestmark = [pytest.mark.xdist_group("readme"), *DEPLOYS]

README = (ROOT / "README.md").read_text(encoding="utf-8")
# What the README asks of the AWS CLI, version 2 of which no package index has. JMESPath is its own.
AWS_CLI = f"""#!{sys.executable}
import os, sys
import boto3, jmespath
match sys.argv[1:]:
    case ["configure", "export-credentials", "--format", "env"]:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            print(f"export {{name}}={{os.environ[name]}}")
    case ["cloudformation", "describe-stacks", "--stack-name", name, "--query", query, "--output", "text"]:
        stacks = boto3.client("cloudformation").describe_stacks(StackName=name)
        print(*jmespath.search(query, stacks), sep="\\t")
    case other:
        sys.exit(f"not known here: {{other}}")
"""


def commands(text: str) -> list[str]:
    """Return what a reader is to type."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [
        command
        for block in blocks
        for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE)
    ]


(DEPLOY,) = re.findall(r"^## Deploy\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with bedrock_stand_in() as bedrock, ministack(tmp_path, bedrock=bedrock) as cloud:
        yield cloud


def test_every_target_is_one_of_the_makefiles() -> None:
    """What the README tells to make can be made."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README))
    assert told
    assert told <= targets


def test_a_newcomer_deploys_calls_and_removes(cloud: Cloud, tmp_path: Path) -> None:
    """The commands work as they are written, in this order, and leave nothing behind."""
    install, bootstrap, deploy, *call = commands(DEPLOY)
    assert (install, deploy) == ("make install", "npx cdk deploy")
    assert re.search(r"`(npx cdk destroy)`", DEPLOY)
    with tls_front(cloud.endpoint, tmp_path, f"*.lambda-url.{REGION}.on.aws") as front:
        environment = newcomer(cloud, tmp_path, front)
        shell(bootstrap, environment)
        shell(deploy, environment)
        functions = cloud.client("lambda").list_functions()["Functions"]
        (name,) = [function["FunctionName"] for function in functions]
        cloud.run_bootstrap({"FunctionName": name, "FunctionArn": name})

        said = shell("\n".join(call), environment)
        events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: ")]
        assert [events[0]["type"], events[-1]["type"]] == ["start", "done"]

        terminal("npx cdk destroy", environment, answer=b"y\r")
    assert not cloud.client("lambda").list_functions()["Functions"]
    assert not cloud.client("logs").describe_log_groups()["logGroups"]


def newcomer(cloud: Cloud, home: Path, front: str) -> dict[str, str]:
    """Return the environment of somebody who has credentials, the AWS CLI, and an AWS on this machine."""
    tools = home / "bin"
    tools.mkdir()
    (tools / "aws").write_text(AWS_CLI)
    (tools / "aws").chmod(0o755)
    # A function URL's name is looked for here, where a certificate of ours is believed.
    port = urlsplit(front).port
    (home / ".curlrc").write_text(
        f'connect-to = "::127.0.0.1:{port}"\ncacert = "{home / "authority.pem"}"\n'
    )
    # ministack has no saved queries, and no alarms that calculate.
    unwatched = {"dashboard": False, "alarms": False, **HERE}
    chosen = {
        "requireApproval": "never",
        "output": str(home / "cdk.out"),
        "context": unwatched,
    }
    (home / ".cdk.json").write_text(json.dumps(chosen))
    environment = {**cloud.environment, "HOME": str(home), "CDK_DEFAULT_ACCOUNT": ACCOUNT}
    del environment["CI"]  # somebody sits there
    return {**environment, "PATH": f"{tools}:{environment['PATH']}"}


def shell(script: str, environment: dict[str, str]) -> str:
    """Run what somebody types, and return what it says."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def terminal(command: str, environment: dict[str, str], answer: bytes) -> None:
    """Run what asks back, in a terminal, and answer."""
    screen, end = pty.openpty()
    said = b""
    with subprocess.Popen(
        ["bash", "-c", command], cwd=ROOT, env=environment, stdin=end, stdout=end, stderr=end
    ) as process:
        os.close(end)
        with suppress(OSError):  # when nobody writes any more
            while piece := os.read(screen, 4096):
                if b"(y/n)" in piece:
                    os.write(screen, answer)
                said += piece
    os.close(screen)
    assert process.returncode == 0, said.decode(errors="replace")

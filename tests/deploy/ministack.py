"""ministack, an AWS on this machine: started, deployed to by the real CDK CLI, and looked at with boto3."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from local.bedrock import Bedrock
from local.fault_script import FaultMachine
from local.pace import Pace
from tests.integration.judges.judge import MINISTACK, free_port, judge_process, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from infra.stack import RivuletStack

ROOT = Path(__file__).parents[2]
CDK = ROOT / "node_modules" / ".bin" / "cdk"
ACCOUNT = "123456789012"
REGION = "eu-west-1"
# Where `cdk bootstrap` has packages put, by the CDK's own naming.
PACKAGES = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
# Of this machine's kind, so that what was deployed can be run.
HERE = {"architecture": "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"}

needs_cdk = pytest.mark.skipif(not CDK.exists(), reason="the CDK CLI is not installed: npm ci")
# What a test is marked with that deploys.
DEPLOYS = [pytest.mark.judge, pytest.mark.usefixtures("node"), needs_cdk, needs(MINISTACK)]


def bare_environment(**more: str) -> dict[str, str]:
    """Return this environment with nothing of AWS in it but what is given."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CDK_"))}
    # As in an activated virtual environment, which is the one that runs the tests.
    silent = {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1", "CI": "true"}
    return {**ours, **silent, "VIRTUAL_ENV": sys.prefix, **more}


def cdk(*arguments: str, environment: Mapping[str, str], cwd: Path = ROOT) -> str:
    """Run the CDK CLI as a user would, and return what it said."""
    done = subprocess.run(
        [str(CDK), *arguments, "--no-color"],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def assembly(
    out: Path,
    choices: Mapping[str, str],
    *,
    roles: bool = False,
    add: Callable[[RivuletStack], object] = lambda _stack: None,
) -> Path:
    """Synthesise the app with these choices, for a ministack.

    Args:
        out: where to.
        choices: as the CDK's context has them.
        roles: whether the CLI is to take on the roles that `cdk bootstrap` makes, as it does by default.
        add: adds to the stack.
    """
    from aws_cdk import App, CliCredentialsStackSynthesizer, DefaultStackSynthesizer

    from infra.config import Config
    from infra.stack import RivuletStack

    synthesizer = DefaultStackSynthesizer if roles else CliCredentialsStackSynthesizer
    app = App(outdir=str(out), default_stack_synthesizer=synthesizer())
    add(RivuletStack(app, config=Config.from_context(choices)))
    app.synth()
    for path in out.glob("*.template.json"):
        path.write_text(json.dumps(_as_ministack_knows_it(json.loads(path.read_text()))))
    return out


def _as_ministack_knows_it(template: dict[str, Any]) -> dict[str, Any]:
    """Leave out saved queries, and let alarms that calculate watch one metric: it has neither."""
    resources = {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"] != "AWS::Logs::QueryDefinition"
    }
    for resource in resources.values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            alarm = resource["Properties"]
            if alarm.pop("Metrics", None):
                alarm |= {"Namespace": "Any", "MetricName": "Any", "Statistic": "Sum", "Period": 60}
    return {**template, "Resources": resources}


@dataclass(frozen=True)
class Cloud:
    """A ministack.

    Attributes:
        endpoint: where it is.
        home: a directory for its files.
        environment: with everything of AWS in it that a user would have.
    """

    endpoint: str
    home: Path
    environment: Mapping[str, str]

    def client(self, service: str, access_key: str = "", secret_key: str = "") -> Any:
        """Return boto3's client, of the account's owner or of another caller."""
        import boto3  # noqa: TID251  looks at what was deployed, from outside

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=access_key or self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret_key or self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def cdk(self, *arguments: str, app: Path | None = None) -> str:
        """Run the CDK CLI, on an assembly or without an app."""
        of = ("--app", str(app)) if app else ()
        return cdk(*arguments, *of, environment=self.environment, cwd=self.home)

    def deploy(self, app: Path) -> dict[str, str]:
        """Deploy an assembly of one stack; return its outputs."""
        file = self.home / f"{app.name}.outputs.json"
        self.cdk("deploy", "--require-approval", "never", "--outputs-file", str(file), app=app)
        (outputs,) = json.loads(file.read_text()).values()
        return dict(outputs)

    def url(self, outputs: Mapping[str, str]) -> str:
        """Return where a deployment's function URL is to be called here."""
        url_id = (urlsplit(outputs["Url"]).hostname or "").partition(".")[0]
        return f"{self.endpoint}/_aws/lambda-url/{url_id}"

    def run_bootstrap(self, outputs: Mapping[str, str]) -> None:
        """Have the package started by its own bootstrap.

        Functions on a Python runtime are run by ministack itself, which has no Runtime API for them and cannot stream.
        On `provided` ones it starts the package's bootstrap, as Lambda's exec wrapper does.
        """
        client, name = self.client("lambda"), outputs["FunctionName"]
        client.update_function_configuration(
            FunctionName=name, Runtime="provided.al2023", SnapStart={"ApplyOn": "None"}
        )
        _, _, alias = outputs["FunctionArn"].partition(f"{name}:")
        if alias:
            version = client.publish_version(FunctionName=name)["Version"]
            waiter = client.get_waiter("published_version_active")
            waiter.wait(FunctionName=name, Qualifier=version, WaiterConfig={"Delay": 1})
            client.update_alias(FunctionName=name, Name=alias, FunctionVersion=version)


@contextmanager
def ministack(home: Path, *, bedrock: str, auth: bool = False) -> Iterator[Cloud]:
    """Start a ministack.

    Args:
        home: a directory for its files.
        bedrock: where functions find Bedrock.
        auth: whether it checks signatures and permissions, but for those of the account's owner.
    """
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    environment = bare_environment(
        AWS_ENDPOINT_URL=endpoint,
        AWS_REGION=REGION,
        AWS_DEFAULT_REGION=REGION,
        # The CLI remembers which account a key belongs to: each emulator has its own key.
        AWS_ACCESS_KEY_ID=f"test{port}",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_EC2_METADATA_DISABLED="true",
    )
    its_own = {
        **environment,
        "PYTHONPATH": str(MINISTACK),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "AUTH": str(auth).lower(),
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock,
    }
    with judge_process((sys.executable, "-m", "ministack"), port, home, its_own):
        yield Cloud(endpoint, home, environment)


@contextmanager
def bedrock_stand_in() -> Iterator[str]:
    """Start the stand-in for Bedrock, in a thread; return its URL."""
    stand_in = Bedrock(Pace(0.05, 400), FaultMachine().answer)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(stand_in.start(), loop).result(10)
    try:
        yield stand_in.url
    finally:
        asyncio.run_coroutine_threadsafe(stand_in.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

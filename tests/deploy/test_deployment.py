"""Whole deployments by the real CDK CLI, against ministack: they stand, answer, change nothing, and leave nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from botocore.credentials import Credentials  # noqa: TID251  # what the owner signs with

from infra.bytecode import find_interpreter
from infra.config import DEFAULT_MODEL_ID
from infra.dependencies import PYTHON_VERSION
from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import Pace
from smoke.__main__ import find, parser
from smoke.caller import Caller
from smoke.checks import CHECKS, make
from smoke.credentials import Signature
from tests.deploy.ministack import (
    ACCOUNT,
    DEPLOYS,
    HERE,
    REGION,
    assembly,
    bedrock_stand_in,
    ministack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smoke.checks import Seen
    from tests.deploy.ministack import Cloud

pytestmark = [pytest.mark.xdist_group("deployment"), *DEPLOYS]

OWNER = Credentials("test", "test")
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"
ORIGIN = "https://app.example.com"
EVERYTHING = {
    **HERE,
    "stack_name": "everything",
    "model_ids": (
        "amazon.nova-lite-v1:0,eu.anthropic.claude-sonnet-4-5-20250929-v1:0,"
        f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/abc123=eu.amazon.nova-pro-v1:0"
    ),
    "model_aliases": "gpt-4o=amazon.nova-lite-v1:0",
    "fallback_model_ids": "amazon.nova-micro-v1:0",
    "guardrail_ids": "gr4f0x1abc2d",
    "system_tools": "nova_grounding",
    "s3_uris": "s3://shop-documents/manuals/",
    "auth": "api-key",
    "cors_origins": ORIGIN,
    "reserved_concurrency": "5",
    "snap_start": "true",
    "daily_tokens": "100000",
    "settings": "max_tokens=1000",
    "alarm_topic_arn": TOPIC,
    "prices": "amazon.nova-lite-v1:0=0.06/0.24",
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A ministack that `cdk bootstrap` has been run on."""
    home = tmp_path_factory.mktemp("cloud")
    with bedrock_stand_in() as bedrock, ministack(home, bedrock=bedrock) as cloud:
        cloud.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}")
        yield cloud


def package(app: Path) -> Path:
    """Return the function's package in an assembly of one stack."""
    (listed,) = app.glob("*.assets.json")
    files = json.loads(listed.read_text())["files"].values()
    (name,) = {path for file in files if (path := file["source"]["path"]).endswith(".zip")}
    return app / str(name)


@contextmanager
def standing(cloud: Cloud, app: Path) -> Iterator[dict[str, str]]:
    """Deploy, and destroy in the end, whatever happens; what a destroyed stack leaves behind fails the test."""
    outputs: dict[str, str] = {}
    try:
        outputs = cloud.deploy(app)
        yield outputs
    finally:
        cloud.cdk("destroy", "--force", app=app)
    assert not cloud.client("lambda").list_functions()["Functions"]
    assert not cloud.client("logs").describe_log_groups()["logGroups"]
    # Callers' keys stay, until somebody deletes them who means it.
    secrets = cloud.client("secretsmanager")
    keys = re.findall(r" --secret-id (\S+) ", outputs.get("ApiKeysCommand", ""))
    kept = [secrets.describe_secret(SecretId=key)["ARN"] for key in keys]
    assert [secret["ARN"] for secret in secrets.list_secrets()["SecretList"]] == kept
    for arn in kept:
        secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert not cloud.client("dynamodb").list_tables()["TableNames"]
    assert not cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert not cloud.client("cloudwatch").list_dashboards()["DashboardEntries"]
    assert not cloud.client("apigateway").get_rest_apis()["items"]
    assert not cloud.client("cloudfront").list_distributions()["DistributionList"].get("Items")
    roles = {role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]}
    # What API Gateway may write logs with is a setting of the account's, which other APIs use: it stays.
    assert {name for name in roles if not re.match("cdk-|.*CloudWatchRole", name)} == set()


def changes_nothing(cloud: Cloud, again: Path) -> None:
    """Check that what is synthesised again is what was deployed."""
    assert "There were no differences" in cloud.cdk("diff", "--fail", app=again)
    assert "(no changes)" in cloud.cdk("deploy", "--require-approval", "never", app=again)


def use(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the cloud's owner, as boto3 finds it."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "RIVULET_"))]:
        monkeypatch.delenv(name)
    for name, value in cloud.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)


def smoke(monkeypatch: pytest.MonkeyPatch, cloud: Cloud, *arguments: str) -> dict[str, Seen]:
    """Make the live checks, but for those that ministack's functions cannot answer; return what was seen.

    What is binary does not get through its Runtime API, nor do error trailers, and answers come whole.
    """
    use(cloud, monkeypatch)
    deployment = find(parser().parse_args(["--settle", "0", "--log-wait", "10", *arguments]))
    cannot = {"ConverseStream", "InvokeModel stream", "error trailers", "two at once"}
    seen = [make(check, deployment) for check in CHECKS if check.name not in cannot]
    print("\n".join(map(str, seen)))
    return {row.check: row for row in seen}


def test_deploys_answers_and_goes_again(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default deployment stands and answers; a second one changes nothing; destroyed, it leaves nothing behind."""
    app = assembly(tmp_path / "default", HERE, roles=True)
    with standing(cloud, app) as outputs:
        name = outputs["FunctionName"]
        assert outputs["Url"].endswith(f".lambda-url.{REGION}.on.aws")
        assert outputs["FunctionArn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"

        deployed = cloud.client("lambda").get_function(FunctionName=name)["Configuration"]
        variables = deployed["Environment"]["Variables"]
        assert deployed["Runtime"] == "python3.13"
        assert deployed["Architectures"] == [HERE["architecture"]]
        assert variables["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/bootstrap"
        digest = hashlib.sha256(package(app).read_bytes()).digest()
        assert deployed["CodeSha256"] == base64.b64encode(digest).decode()
        url = cloud.client("lambda").get_function_url_config(FunctionName=name)
        assert (url["AuthType"], url["InvokeMode"]) == ("AWS_IAM", "RESPONSE_STREAM")

        iam, role = cloud.client("iam"), deployed["Role"].rpartition("/")[2]
        (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        profile = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:inference-profile/{DEFAULT_MODEL_ID}"
        (invoked,) = [one for one in document["Statement"] if one.get("Sid") == "InvokeModels"]
        assert invoked["Resource"] == profile
        assert not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]

        changes_nothing(cloud, assembly(tmp_path / "again", HERE, roles=True))

        cloud.run_bootstrap(outputs)
        where, signed = cloud.url(outputs), Signature(OWNER, "lambda", REGION)
        answer = Caller(where, signed, []).post("/stream", {"prompt": "Why?"})
        types = [event["type"] for _, event in answer.events()]
        assert (answer.status, types[0], types[-1]) == (200, "start", "done")
        assert httpx.get(f"{where}/health").status_code == 403

        # What the smoke checks find out by themselves: a stack that was not named tells of its own URL alone.
        use(cloud, monkeypatch)
        found = find(parser().parse_args([]))
        assert (found.url, found.auth) == (outputs["Url"], "iam")
        assert (found.function, found.aws.region) == (outputs["FunctionArn"], REGION)
        assert found.known_log_group == deployed["LoggingConfig"]["LogGroup"]
        assert find(parser().parse_args(["--url", "https://example.com"])).function == ""


def test_deploys_everything_and_goes_again(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every choice made the deployment stands, and its keys, budgets, logs and origins work."""
    with standing(cloud, assembly(tmp_path / "everything", EVERYTHING)) as outputs:
        changes_nothing(cloud, assembly(tmp_path / "again", EVERYTHING))

        name = outputs["FunctionName"]
        assert outputs["FunctionArn"].endswith(f":function:{name}:live")
        functions = cloud.client("lambda")
        live = functions.get_function_configuration(FunctionName=name, Qualifier="live")
        assert live["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
        url = functions.get_function_url_config(FunctionName=name, Qualifier="live")
        assert (url["AuthType"], url["Cors"]["AllowOrigins"]) == ("NONE", [ORIGIN])
        alarms = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
        assert len(alarms) >= 4
        (filtered,) = cloud.client("logs").describe_metric_filters()["metricFilters"]
        assert filtered["logGroupName"] == live["LoggingConfig"]["LogGroup"]
        assert filtered["metricTransformations"][0]["metricName"] == "Crashes-everything"
        assert {action for alarm in alarms for action in alarm["AlarmActions"]} == {TOPIC}
        assert len(cloud.client("cloudwatch").list_dashboards()["DashboardEntries"]) == 1

        secret = live["Environment"]["Variables"]["RIVULET_API_KEYS_SECRET"]
        rotated = json.dumps({"web": ["new-key-0123456789abcdef", "old-key-0123456789abcdef"]})
        cloud.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=rotated)
        cloud.run_bootstrap(outputs)
        where = ("--url", cloud.url(outputs), "--stack", "everything", "--origin", ORIGIN)
        seen = smoke(monkeypatch, cloud, *where, "--api-key", "old-key-0123456789abcdef")
        assert {row.check for row in seen.values() if row.verdict == "FAIL"} == {"piece by piece"}
        skipped = {row.check for row in seen.values() if row.verdict == "skipped"}
        assert skipped == {"both permissions", "heartbeats", "a caller leaves", "cold starts"}
        # Its record was found in the log by its request's id.
        assert "the record: stop_reason" in seen["a caller leaves"].seen

        (counted,) = cloud.client("dynamodb").scan(TableName=outputs["BudgetTable"])["Items"]
        assert "web" in counted["id"]["S"]
        assert "expires" in counted
        log_group = live["LoggingConfig"]["LogGroup"]
        events = cloud.client("logs").filter_log_events(logGroupName=log_group)["events"]
        logged = "".join(event["message"] for event in events)
        assert '"caller":"web"' in logged
        assert "key-0123456789abcdef" not in logged


@pytest.mark.parametrize(
    ("front_door", "auth", "host"),
    [
        ("cloudfront", "api-key", ".cloudfront.net"),
        ("api-gateway", "iam", f".execute-api.{REGION}.amazonaws.com"),
    ],
)
def test_deploys_a_front_door_and_goes_again(
    cloud: Cloud, tmp_path: Path, front_door: str, auth: str, host: str
) -> None:
    """CloudFront stands before a URL that nobody gets through without AWS's signature, API Gateway before none."""
    choices = {**HERE, "front_door": front_door, "auth": auth, "stack_name": front_door}
    app = assembly(tmp_path / front_door, choices)
    with standing(cloud, app) as outputs:
        assert host in outputs["Url"]
        functions, name = cloud.client("lambda"), outputs["FunctionName"]
        urls = functions.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
        ways = [(url["AuthType"], url["InvokeMode"]) for url in urls]
        assert ways == ([("AWS_IAM", "RESPONSE_STREAM")] if front_door == "cloudfront" else [])
        assert "(no changes)" in cloud.cdk("deploy", "--require-approval", "never", app=app)


def test_what_was_deployed_streams(tmp_path: Path) -> None:
    """The assembly's zip, unpacked and started by its own bootstrap, passes each piece on when it is made.

    On the function's own version of Python, where that is present.
    """
    interpreter = find_interpreter(PYTHON_VERSION) or sys.executable
    task = tmp_path / "task"
    with zipfile.ZipFile(package(assembly(tmp_path / "default", HERE))) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, task))
            path.chmod(entry.external_attr >> 16 & 0o777)  # which zipfile leaves out
    configuration = FunctionConfiguration(
        task_root=task,
        # -S: no packages but the package's own.
        command=(str(task / "bootstrap"), interpreter, "-S", "-B", "/var/runtime/bootstrap.py"),
    )
    with LocalFunction(configuration, pace=Pace(0.05, 200)) as function:
        health = httpx.get(f"{function.url}/health").json()
        arguments = ["--url", function.url, "--auth", "public", "--region", REGION]
        deployment = find(parser().parse_args(arguments))
        streams: Any = next(check for check in CHECKS if check.name == "piece by piece")
        seen = make(streams, deployment)
    assert health["status"] == "ok"
    assert seen.verdict == "ok", seen

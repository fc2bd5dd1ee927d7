"""Every pair of choices, synthesised: what holds for each deployment that can be chosen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from infra import package
from infra.config import Config, ConfigError
from infra.shipped import load
from tests.deploy.switches import IMPOSSIBLE, SWITCHES, all_pairs, choices, named, pairs, rows
from tests.integration.judges.judge import CFN_LINT, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.deploy.conftest import Synthesised

pytestmark = pytest.mark.xdist_group("switches")

ROWS = rows()
# Actions that know no resources, so that there is none to name.
RESOURCELESS = {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}


@pytest.fixture(params=ROWS, ids=named, scope="module")
def row(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(request.param)


@pytest.fixture(scope="module")
def config(row: dict[str, str]) -> Config:
    return Config(**choices(row))


@pytest.fixture(scope="module")
def made(row: dict[str, str], synthesise_checked: Callable[..., Synthesised]) -> Synthesised:
    return synthesise_checked(**choices(row))


def of_type(made: Synthesised, kind: str) -> dict[str, dict[str, Any]]:
    """Return the resources of a kind, by their logical ids."""
    resources = made.template["Resources"]
    return {name: found for name, found in resources.items() if found["Type"] == kind}


def properties(made: Synthesised, kind: str) -> dict[str, Any]:
    (found,) = of_type(made, kind).values()
    return dict(found["Properties"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(made: Synthesised) -> Iterator[dict[str, Any]]:
    for policy in of_type(made, "AWS::IAM::Policy").values():
        yield from policy["Properties"]["PolicyDocument"]["Statement"]


def has_access_logs(row: dict[str, str]) -> bool:
    return row["door"] == "api-gateway" and row["logs"] != "not-at-the-door"


def called(made: Synthesised) -> dict[str, Any]:
    """Return how the template names what is to be called: the alias, or else the function."""
    for name in of_type(made, "AWS::Lambda::Alias"):
        return {"Ref": name}
    (name,) = of_type(made, "AWS::Lambda::Function")
    return {"Fn::GetAtt": [name, "Arn"]}


def test_rows_have_every_pair() -> None:
    """The rows have every pair of positions but the impossible, and these are refused."""
    covered = {pair for row in ROWS for pair in pairs(row)}
    assert covered == all_pairs()
    defaults = ROWS[0]
    assert named(defaults) == "defaults"
    for pair in IMPOSSIBLE:
        with pytest.raises(
            ConfigError, match=r"^(access_logs|auth|domain_name|web_acl_arn): expected"
        ):
            Config(**choices(defaults | dict(pair)))


def test_every_choice_is_switched() -> None:
    """There is a position that changes each choice, but for the names, which change nothing else."""
    every = {choice for ways in SWITCHES.values() for chosen in ways.values() for choice in chosen}
    every |= {"certificate_arn", "web_acl_arn"}  # which depend on the front door
    others = {"stack_name", "service_name", "metrics_namespace", "log_level"}
    others |= {"alarm_error_percent", "alarm_first_token_seconds", "alarm_spend_per_hour"}
    assert every == set(Config.__slots__) - others


@pytest.mark.judge
@needs(CFN_LINT)
def test_cloudformation_takes_them_all(
    synthesise_checked: Callable[..., Synthesised], tmp_path: Path
) -> None:
    """By CloudFormation's own schemas and rules every template is one that it can deploy."""
    for number, row in enumerate(ROWS):
        made = synthesise_checked(**choices(dict(row)))
        (tmp_path / f"{number}.json").write_text(json.dumps(made.template))
    program = "import sys; from cfnlint.runner import main; sys.exit(main())"
    done = subprocess.run(
        # A dependency that is said twice is CDK's doing, and does no harm.
        [sys.executable, "-c", program, "--ignore-checks", "W3005", "--", f"{tmp_path}/*.json"],
        env={"PYTHONPATH": str(CFN_LINT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_permissions_are_no_wider_than_their_reason(made: Synthesised) -> None:
    """No resource is all of a kind, but for what knows no resources; no action is but one."""
    for statement in statements(made):
        actions, resources = set(listed(statement["Action"])), listed(statement["Resource"])
        assert not [action for action in actions if "*" in action]
        assert statement["Effect"] == "Allow"
        if "*" in resources:
            assert actions <= RESOURCELESS
            continue
        for resource in resources:
            text = resource.get("Fn::Sub", "") if isinstance(resource, dict) else resource
            if actions == {"s3:GetObject"}:  # the end of a key
                assert re.match(r"arn:\$\{AWS::Partition\}:s3:::[^*]+/[^*]*\*$", text)
            elif "*" in text:  # a region, of which AWS adds more to a profile
                assert re.match(r"arn:\$\{AWS::Partition\}:bedrock:\*:[^*]*$", text)
                assert "guardrail-profile/" in text or statement["Condition"]


def test_nobody_else_has_a_role(made: Synthesised, row: dict[str, str]) -> None:
    """There is one role, the function's; API Gateway needs one for its logs, with AWS's policy for it."""
    roles = [role["Properties"] for role in of_type(made, "AWS::IAM::Role").values()]
    trusted = {
        role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"]: role
        for role in roles
    }
    expected = {"lambda.amazonaws.com"}
    if has_access_logs(row):
        expected.add("apigateway.amazonaws.com")
    assert set(trusted) == expected
    assert "ManagedPolicyArns" not in trusted["lambda.amazonaws.com"]


def test_url_is_open_only_where_the_function_asks(made: Synthesised, config: Config) -> None:
    """The URL asks for signatures unless it is the front door and the function asks for something else.

    Behind API Gateway there is none.
    """
    is_open = config.auth != "iam" and config.front_door == "url"
    if config.front_door == "api-gateway":
        assert not of_type(made, "AWS::Lambda::Url")
    else:
        url = properties(made, "AWS::Lambda::Url")
        assert url["AuthType"] == ("NONE" if is_open else "AWS_IAM")
        assert url["InvokeMode"] == "RESPONSE_STREAM"
    permissions = [
        found["Properties"] for found in of_type(made, "AWS::Lambda::Permission").values()
    ]
    to_all = [found for found in permissions if found["Principal"] == "*"]
    assert {found["Action"] for found in to_all} == (
        {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"} if is_open else set()
    )
    for found in permissions:
        if found["Principal"] == "*":
            assert found.get("FunctionUrlAuthType") == "NONE" or found["InvokedViaFunctionUrl"]
        else:
            assert found["SourceArn"]
        assert found["FunctionName"] == called(made)


def test_nothing_is_open_but_what_is_public(made: Synthesised, config: Config) -> None:
    """Through whatever is open, the function asks for a credential, unless `public` was the very word."""
    urls = [found["Properties"] for found in of_type(made, "AWS::Lambda::Url").values()]
    methods = [found["Properties"] for found in of_type(made, "AWS::ApiGateway::Method").values()]
    open_methods = [found for found in methods if found["AuthorizationType"] == "NONE"]
    if config.auth == "iam":  # nothing but the question that browsers ask
        assert {found["HttpMethod"] for found in open_methods} <= {"OPTIONS"}
        assert not open_methods or config.cors_origins
    is_open = (
        any(url["AuthType"] == "NONE" for url in urls)
        or bool(of_type(made, "AWS::CloudFront::Distribution"))
        or any(found["HttpMethod"] == "ANY" for found in open_methods)
    )
    assert is_open == (config.auth != "iam")
    variables = properties(made, "AWS::Lambda::Function")["Environment"]["Variables"]
    assert variables.get("RIVULET_AUTH", "iam") == config.auth
    # So that `cdk deploy --strict` goes with everything else.
    assert ["rivulet:public" in text for text in made.warnings] == (
        [True] if config.auth == "public" else []
    )


def test_the_function_can_start(made: Synthesised, config: Config) -> None:
    """What the function is told is what it reads, as it was chosen."""
    variables = properties(made, "AWS::Lambda::Function")["Environment"]["Variables"]
    told = {
        name: value if isinstance(value, str) else f"made-{value['Ref']}"
        for name, value in variables.items()
    }
    settings = load("relay.settings").Settings.from_environment(told)
    assert settings.auth == config.auth
    assert settings.model_ids == config.called_model_ids
    assert settings.system_tools == config.system_tools
    assert settings.s3_uris == config.s3_uris
    assert settings.daily_tokens == (config.daily_tokens or None)
    assert bool(settings.budget_table) == bool(config.daily_tokens)
    assert bool(settings.api_keys_secret) == (config.auth == "api-key")
    assert (settings.jwt_issuer, settings.jwt_audience) == (config.jwt_issuer, config.jwt_audience)
    assert (settings.jwt_scopes, settings.jwt_jwks_url) == (config.jwt_scopes, config.jwt_jwks_url)
    assert settings.log_content == config.log_content
    read = {f"RIVULET_{name.upper()}" for name in settings.__slots__}
    assert {name for name in told if name.startswith("RIVULET_")} <= read


def test_browsers_are_told_once(made: Synthesised, config: Config) -> None:
    """Either the URL answers browsers on other origins or the function does, and never both."""
    by_url = [
        origin
        for url in of_type(made, "AWS::Lambda::Url").values()
        for origin in url["Properties"].get("Cors", {}).get("AllowOrigins", [])
    ]
    variables = properties(made, "AWS::Lambda::Function")["Environment"]["Variables"]
    by_function = [text for text in variables.get("RIVULET_CORS_ORIGINS", "").split(",") if text]
    assert by_url + by_function == list(config.cors_origins)
    assert not (by_url and by_function)
    assert not (by_function and config.front_door != "api-gateway")


def test_outputs(made: Synthesised, config: Config) -> None:
    """Whoever deployed is told what they need, and no secret."""
    outputs = made.template["Outputs"]
    expected = {"Url", "FunctionName", "FunctionArn"}
    if config.auth == "api-key":
        expected.add("ApiKeysCommand")
    if config.daily_tokens:
        expected.add("BudgetTable")
    if config.domain_name:
        expected.add("DomainTarget")
        assert outputs["Url"]["Value"] == f"https://{config.domain_name}"
    assert set(outputs) == expected
    assert outputs["FunctionArn"]["Value"] == called(made)
    assert "resolve:secretsmanager" not in json.dumps(made.template)


def test_belongs_nowhere(made: Synthesised, config: Config) -> None:
    """The template names no account, region or partition but in what somebody gave by ARN."""
    text = json.dumps(made.template["Resources"]) + json.dumps(made.template["Outputs"])
    given = [config.certificate_arn, config.web_acl_arn, config.alarm_topic_arn, config.domain_name]
    given += [model.partition("=")[0] for model in config.model_ids if model.startswith("arn:")]
    for known in filter(None, given):
        text = text.replace(known, "")
    assert not re.search(r"(?<![0-9a-f.-])\d{12}(?![0-9a-f])|\b[a-z]{2}-[a-z]+-\d\b|arn:aws", text)


def test_logs_and_traces(made: Synthesised, config: Config, row: dict[str, str]) -> None:
    """Every log group forgets after the chosen days and stays only if chosen; every request is traced."""
    groups = list(of_type(made, "AWS::Logs::LogGroup").values())
    assert len(groups) == (2 if has_access_logs(row) else 1)
    for group in groups:
        assert group["Properties"]["RetentionInDays"] == config.log_retention_days
        assert group["DeletionPolicy"] == ("Retain" if config.retain_logs else "Delete")
    assert properties(made, "AWS::Lambda::Function")["TracingConfig"] == {"Mode": "Active"}
    for stage in of_type(made, "AWS::ApiGateway::Stage").values():
        assert stage["Properties"]["TracingEnabled"] is True
        assert ("AccessLogSetting" in stage["Properties"]) == has_access_logs(row)


def test_saved_queries_have_names_that_cloudformation_takes(made: Synthesised) -> None:
    """The names are what the schema of `AWS::Logs::QueryDefinition` allows, and each is there once."""
    saved = of_type(made, "AWS::Logs::QueryDefinition").values()
    names = [found["Properties"]["Name"] for found in saved]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"([^:*/]+/?)*[^:*/]+", name)
        assert len(name) <= 255


def test_nothing_stays_behind(made: Synthesised, config: Config, row: dict[str, str]) -> None:
    """Destroying takes all away but callers' keys, logs, if chosen, and the role that API Gateway has in an account."""
    kept = {
        found["Type"]
        for found in made.template["Resources"].values()
        if found.get("DeletionPolicy") == "Retain"
    }
    expected = {"AWS::Logs::LogGroup"} if config.retain_logs else set()
    if row["auth"] == "api-key":
        expected.add("AWS::SecretsManager::Secret")
    if has_access_logs(row):
        expected |= {"AWS::ApiGateway::Account", "AWS::IAM::Role"}
    assert kept == expected


def test_the_package_fits(made: Synthesised, config: Config) -> None:
    """What ships is for the chosen machine, and has what the chosen ways need and no more."""
    extras = {
        "api-keys": config.auth == "api-key",
        "budgets": bool(config.daily_tokens),
        "jwt": config.auth == "jwt",
    }
    assert set(extras) == set(package.EXTRAS)
    needed = [name for name, is_needed in extras.items() if is_needed]
    function = properties(made, "AWS::Lambda::Function")
    with zipfile.ZipFile(made.assembly / f"asset.{function['Code']['S3Key']}") as shipped:
        built_for = json.loads(shipped.read("built-for.json"))
    assert built_for == [config.architecture, sorted(needed)]
    assert function["Architectures"] == [config.architecture]


def test_cdk_nag_is_silent(made: Synthesised) -> None:
    """Of AwsSolutions' rules none is broken without a reason, and each reason is a sentence."""
    assert made.violations == []
    assert all(re.fullmatch(r"[A-Z].{15,}\.", reason) for reason in made.reasons.values())

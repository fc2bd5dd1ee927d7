"""The template, by property: what CloudFormation will be asked for, and what it will not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from infra import bedrock_access
from infra.config import DEFAULT_MODEL_ID
from infra.dependencies import PYTHON_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_cdk.assertions import Template

    Synthesise = Callable[..., Template]

pytestmark = pytest.mark.xdist_group("synth")

MODELS = (
    "amazon.nova-lite-v1:0",
    "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "global.amazon.nova-2-lite-v1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123=meta.llama3-1",
    "arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/abc123def456",
)

REGION = "ap-northeast-1"  # none has a longer name in a partition with Bedrock


def only(template: Template, kind: str) -> dict[str, Any]:
    """Return the one resource of this kind."""
    (resource,) = template.find_resources(kind).values()
    return dict(resource)


def properties(template: Template, kind: str) -> dict[str, Any]:
    return dict(only(template, kind)["Properties"])


def allowed(template: Template) -> list[dict[str, Any]]:
    """Return the statements of the function's role."""
    document = properties(template, "AWS::IAM::Policy")["PolicyDocument"]
    return list(document["Statement"])


def listed(value: Any) -> list[Any]:
    """CloudFormation writes a list of one as the one."""
    return value if isinstance(value, list) else [value]


def test_function(synthesise: Synthesise) -> None:
    """The function runs our bootstrap on the managed runtime, on arm64, traced, with a log group of its own."""
    template = synthesise()
    function = properties(template, "AWS::Lambda::Function")
    assert function["Runtime"] == f"python{PYTHON_VERSION}" == "python3.13"
    assert function["Architectures"] == ["arm64"]
    assert function["Handler"] == "handler.handle"
    assert function["MemorySize"] == 256
    assert function["Timeout"] == 900
    assert function["TracingConfig"] == {"Mode": "Active"}
    (log_group,) = template.find_resources("AWS::Logs::LogGroup")
    assert function["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": {"Ref": log_group}}
    assert function["Environment"]["Variables"] == {
        "AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "POWERTOOLS_METRICS_NAMESPACE": "Rivulet",
        "POWERTOOLS_SERVICE_NAME": "Rivulet",
        "RIVULET_MODEL_IDS": DEFAULT_MODEL_ID,
    }
    assert not template.find_resources("AWS::Lambda::LayerVersion")
    assert "Layers" not in function


def test_url(synthesise: Synthesise) -> None:
    """The URL streams, asks for AWS signatures, and no resource policy lets anyone past that."""
    template = synthesise()
    url = properties(template, "AWS::Lambda::Url")
    assert (url["AuthType"], url["InvokeMode"]) == ("AWS_IAM", "RESPONSE_STREAM")
    assert not template.find_resources("AWS::Lambda::Permission")


def test_logs(synthesise: Synthesise) -> None:
    """Logs are kept as long as chosen, and go with the stack unless chosen otherwise."""
    default, kept = synthesise(), synthesise(retain_logs=True, log_retention_days=365)
    assert properties(default, "AWS::Logs::LogGroup")["RetentionInDays"] == 30
    assert properties(kept, "AWS::Logs::LogGroup")["RetentionInDays"] == 365
    assert only(default, "AWS::Logs::LogGroup")["DeletionPolicy"] == "Delete"
    assert only(kept, "AWS::Logs::LogGroup")["DeletionPolicy"] == "Retain"


def test_every_retention_has_a_name(synthesise: Synthesise) -> None:
    """The table of retentions gives each the name that CDK gives it."""
    from aws_cdk.aws_logs import RetentionDays

    from infra.config import RETENTION

    assert set(RETENTION.values()) == {day.name for day in RetentionDays} - {"INFINITE"}
    for days in (1, 400, 3653):
        template = synthesise(log_retention_days=days)
        assert properties(template, "AWS::Logs::LogGroup")["RetentionInDays"] == days


def test_role(synthesise: Synthesise) -> None:
    """The role can call the models, write its one log group and send traces: nothing else."""
    template = synthesise(model_ids=MODELS)
    role = properties(template, "AWS::IAM::Role")
    assert "ManagedPolicyArns" not in role
    assert "Policies" not in role
    actions = {action for statement in allowed(template) for action in listed(statement["Action"])}
    assert actions == {
        "bedrock:CountTokens",
        "bedrock:InvokeModel",
        "bedrock:InvokeModelWithResponseStream",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
    for statement in allowed(template):
        # Tracing has no resources to name; everything else names its own.
        tracing = all(action.startswith("xray:") for action in listed(statement["Action"]))
        assert (statement["Resource"] == "*") == tracing
        assert statement["Effect"] == "Allow"


def test_bedrock_statements(synthesise: Synthesise) -> None:
    """What was computed for the models is what the role is given, placeholders for CloudFormation to fill."""
    template = synthesise(model_ids=MODELS, guardrail_ids=("abc123",))
    given = {statement["Sid"]: statement for statement in allowed(template) if "Sid" in statement}
    expected = bedrock_access.statements(MODELS, ["abc123"])
    assert set(given) == {statement.sid for statement in expected}
    for statement in expected:
        written = given[statement.sid]
        assert listed(written["Action"]) == list(statement.actions)
        assert substituted(written["Resource"]) == list(statement.resources)
        condition = written.get("Condition", {"StringEquals": {}})["StringEquals"]
        wanted = statement.conditions.get("StringEquals", {})
        assert {key: substituted(value) for key, value in condition.items()} == {
            key: list(value) for key, value in wanted.items()
        }


def substituted(value: Any) -> list[str]:
    return [item["Fn::Sub"] if isinstance(item, dict) else item for item in listed(value)]


def test_many_models(synthesise: Synthesise) -> None:
    """With sixty profiles no policy is larger than IAM takes, and the role has every statement, once."""
    models = tuple(f"apac.anthropic.claude-sonnet-4-5-202509{number:02}-v1" for number in range(60))
    template = synthesise(model_ids=models)
    own = properties(template, "AWS::IAM::Policy")
    managed = [
        found["Properties"] for found in template.find_resources("AWS::IAM::ManagedPolicy").values()
    ]
    assert len(managed) < 10  # which a role takes without a raised quota
    (role,) = template.find_resources("AWS::IAM::Role")
    assert all(policy["Roles"] == [{"Ref": role}] for policy in (own, *managed))
    assert len(written(own["PolicyDocument"])) <= 10_240
    assert all(len(written(policy["PolicyDocument"])) <= 6_144 for policy in managed)
    sids = [
        statement["Sid"]
        for policy in (own, *managed)
        for statement in policy["PolicyDocument"]["Statement"]
        if "Sid" in statement
    ]
    assert sorted(sids) == sorted(part.sid for part in bedrock_access.statements(models))
    function = only(template, "AWS::Lambda::Function")
    assert set(template.find_resources("AWS::IAM::ManagedPolicy")) <= set(function["DependsOn"])


def written(document: Any) -> str:
    """Write a policy as IAM gets it, with the longest of what CloudFormation fills in, and counts it."""

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "Fn::Sub" in value:
            return value["Fn::Sub"]
        if "Fn::GetAtt" in value:  # the log group's
            return (
                "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:" + "a" * 99
            )
        return {key: filled(item) for key, item in value.items()}

    text = json.dumps(filled(document), separators=(",", ":"))
    text = text.replace("${AWS::AccountId}", "123456789012").replace("${AWS::Region}", REGION)
    return text.replace("${AWS::Partition}", "aws-us-gov")


def test_models_reach_the_function(synthesise: Synthesise) -> None:
    """The function is told the models, the first being the default, with what application profiles were copied from."""
    function = properties(synthesise(model_ids=MODELS), "AWS::Lambda::Function")
    told = function["Environment"]["Variables"]["RIVULET_MODEL_IDS"].split(",")
    assert told == list(MODELS)


def test_aliases_reach_the_function(synthesise: Synthesise) -> None:
    """The function knows the names, and the role needs nothing more for them."""
    profile = MODELS[-1].partition("=")[0]
    aliases = (f"gpt-4o={MODELS[0].partition('=')[0]}", f"claude-sonnet-4-5={profile}")
    named = synthesise(model_ids=MODELS, model_aliases=aliases)
    variables = properties(named, "AWS::Lambda::Function")["Environment"]["Variables"]
    assert variables["RIVULET_MODEL_ALIASES"] == ",".join(aliases)
    unnamed = synthesise(model_ids=MODELS)
    assert properties(named, "AWS::IAM::Policy") == properties(unnamed, "AWS::IAM::Policy")


def test_what_requests_may_name_is_allowed_and_told(synthesise: Synthesise) -> None:
    """Tools of Bedrock's own and files in S3: the role is allowed just what the function lets through."""
    template = synthesise(
        system_tools=("nova_grounding", "nova_code_interpreter"),
        s3_uris=("s3://shop-media", "s3://shop-documents/manuals/"),
    )
    given = {statement["Sid"]: statement for statement in allowed(template) if "Sid" in statement}
    tools, files = given["InvokeSystemTools"], given["ReadFiles"]
    assert tools["Action"] == "bedrock:InvokeTool"
    assert substituted(tools["Resource"]) == [
        "arn:${AWS::Partition}:bedrock::${AWS::AccountId}:system-tool/amazon.nova_grounding",
        "arn:${AWS::Partition}:bedrock::${AWS::AccountId}:system-tool/amazon.nova_code_interpreter",
    ]
    assert files["Action"] == "s3:GetObject"
    assert substituted(files["Resource"]) == [
        "arn:${AWS::Partition}:s3:::shop-media/*",
        "arn:${AWS::Partition}:s3:::shop-documents/manuals/*",
    ]
    variables = properties(template, "AWS::Lambda::Function")["Environment"]["Variables"]
    assert variables["RIVULET_SYSTEM_TOOLS"] == "nova_grounding,nova_code_interpreter"
    assert variables["RIVULET_S3_URIS"] == "s3://shop-media,s3://shop-documents/manuals/"
    defaults = synthesise()
    assert not {"InvokeSystemTools", "ReadFiles"} & {s.get("Sid") for s in allowed(defaults)}
    assert not {"RIVULET_SYSTEM_TOOLS", "RIVULET_S3_URIS"} & set(
        properties(defaults, "AWS::Lambda::Function")["Environment"]["Variables"]
    )


def test_cors_is_the_urls(synthesise: Synthesise) -> None:
    """Where origins are chosen, the URL answers for them; otherwise nothing is said of other origins (fact 44)."""
    assert "Cors" not in properties(synthesise(), "AWS::Lambda::Url")
    chosen = synthesise(cors_origins=("https://app.example.com", "http://localhost:3000"))
    cors = properties(chosen, "AWS::Lambda::Url")["Cors"]
    assert cors["AllowOrigins"] == ["https://app.example.com", "http://localhost:3000"]
    assert cors["AllowMethods"] == ["GET", "POST"]
    assert {"authorization", "content-type", "x-amz-date"} <= set(cors["AllowHeaders"])
    assert {"retry-after", "x-request-id"} <= set(cors["ExposeHeaders"])
    # Lambda's own bounds.
    assert all(len(cors[name]) <= 100 for name in ("AllowOrigins", "AllowHeaders", "ExposeHeaders"))
    assert cors["MaxAge"] <= 86_400
    assert "AllowCredentials" not in cors


def test_fallback_models_can_be_called(synthesise: Synthesise) -> None:
    """The function knows them, and what they were copied from, apart from those that callers may name.

    It may call both alike.
    """
    both = synthesise(model_ids=MODELS)
    apart = synthesise(model_ids=MODELS[:1], fallback_model_ids=MODELS)
    variables = properties(apart, "AWS::Lambda::Function")["Environment"]["Variables"]
    assert variables["RIVULET_MODEL_IDS"] == MODELS[0]
    assert variables["RIVULET_FALLBACK_MODEL_IDS"] == ",".join(MODELS)
    assert properties(apart, "AWS::IAM::Policy") == properties(both, "AWS::IAM::Policy")


@pytest.mark.parametrize(
    ("choice", "value", "place", "expected"),
    [
        ("architecture", "x86_64", "Architectures", ["x86_64"]),
        ("memory_mb", 1024, "MemorySize", 1024),
        ("timeout_seconds", 60, "Timeout", 60),
        ("log_level", "DEBUG", "POWERTOOLS_LOG_LEVEL", "DEBUG"),
        ("settings", "max_tokens=4096", "RIVULET_MAX_TOKENS", "4096"),
        ("log_content", True, "RIVULET_LOG_CONTENT", "true"),
        ("service_name", "chat", "POWERTOOLS_SERVICE_NAME", "chat"),
        ("metrics_namespace", "Chat", "POWERTOOLS_METRICS_NAMESPACE", "Chat"),
        ("reserved_concurrency", 10, "ReservedConcurrentExecutions", 10),
        ("snap_start", True, "SnapStart", {"ApplyOn": "PublishedVersions"}),
    ],
)
def test_choice(
    synthesise: Synthesise, choice: str, value: object, place: str, expected: object
) -> None:
    """Each choice arrives in its one place, and changes nothing else but the package it needs."""
    chosen, default = (
        properties(synthesise(**choices), "AWS::Lambda::Function") | {"Code": None}
        for choices in ({choice: value}, {})
    )
    for function in (chosen, default):
        function |= function.pop("Environment")["Variables"]  # noqa: PLW2901  flattened where it is
    assert chosen.pop(place) == expected
    default.pop(place, None)
    assert chosen == default


@pytest.mark.parametrize("choice", [{"snap_start": True}, {"provisioned_concurrency": 3}])
def test_a_version_that_is_kept_ready(synthesise: Synthesise, choice: dict[str, Any]) -> None:
    """What is made ready beforehand is a published version behind an alias, and that is what is called."""
    template = synthesise(**choice)
    (function,) = template.find_resources("AWS::Lambda::Function")
    (version,) = template.find_resources("AWS::Lambda::Version")
    (alias,) = template.find_resources("AWS::Lambda::Alias")
    pointing = properties(template, "AWS::Lambda::Alias")
    assert pointing["FunctionVersion"] == {"Fn::GetAtt": [version, "Version"]}
    ready = pointing.get("ProvisionedConcurrencyConfig", {}).get("ProvisionedConcurrentExecutions")
    assert ready == choice.get("provisioned_concurrency")
    url = properties(template, "AWS::Lambda::Url")
    assert url["TargetFunctionArn"] == {"Fn::GetAtt": [function, "Arn"]}
    assert url["Qualifier"] == pointing["Name"]
    assert only(template, "AWS::Lambda::Url")["DependsOn"] == [alias]
    outputs = template.find_outputs("*")
    assert outputs["FunctionArn"]["Value"] == {"Ref": alias}
    assert outputs["FunctionName"]["Value"] == {"Ref": function}


def test_another_configuration_is_another_version(synthesise: Synthesise) -> None:
    """A version is published for each change of the function, and for none that is no change of it."""
    versions = [
        next(iter(synthesise(snap_start=True, **choices).find_resources("AWS::Lambda::Version")))
        for choices in ({}, {"memory_mb": 512}, {"architecture": "x86_64"}, {"dashboard": False})
    ]
    assert len(set(versions)) == 3
    assert versions[0] == versions[3]


def test_no_version_is_kept_ready_unless_chosen(synthesise: Synthesise) -> None:
    """Without either choice the function is called as it is."""
    assert not synthesise().find_resources("AWS::Lambda::Version")
    assert not synthesise().find_resources("AWS::Lambda::Alias")


def test_outputs(synthesise: Synthesise) -> None:
    """A caller is told the URL, to which paths are added, and an operator the function's name and ARN."""
    outputs = synthesise().find_outputs("*")
    assert set(outputs) == {"Url", "FunctionName", "FunctionArn"}
    assert outputs["Url"]["Value"]["Fn::Join"][1][0] == "https://"


def test_names_nothing(synthesise: Synthesise) -> None:
    """Names are CloudFormation's to make, so that two stacks can live in one account and region."""
    names = re.compile(r"^(Function|Role|LogGroup|Policy)Name$")
    for resource in synthesise().to_json()["Resources"].values():
        if resource["Type"] != "AWS::IAM::Policy":  # whose name is inside its role
            chosen = {
                key: value for key, value in resource["Properties"].items() if names.match(key)
            }
            assert not [value for value in chosen.values() if "Ref" not in value]


def test_belongs_nowhere(synthesise: Synthesise) -> None:
    """The template names no account, region or partition: it deploys anywhere."""
    text = json.dumps(synthesise().to_json())
    assert not re.search(r"(?<![0-9a-f])\d{12}(?![0-9a-f])|[a-z]{2}-[a-z]+-\d|arn:aws", text)


@pytest.mark.usefixtures("node")
def test_in_a_stack_of_ones_own(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The construct stands twice in someone else's stack, and grants a role both permissions to call its URL."""
    monkeypatch.setattr("infra.package.build", stand_in)
    from aws_cdk import App, Stack
    from aws_cdk import aws_iam as iam
    from aws_cdk.assertions import Template

    from infra.config import Config
    from infra.function import BedrockStreamFunction

    stack = Stack(App(), "Shop")
    caller = iam.Role(stack, "Caller", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    BedrockStreamFunction(stack, "Small").grant_invoke_url(caller)
    BedrockStreamFunction(stack, "Large", config=Config(memory_mb=1024))

    template = Template.from_stack(stack)
    functions = template.find_resources("AWS::Lambda::Function").values()
    assert sorted(function["Properties"]["MemorySize"] for function in functions) == [256, 1024]
    (granted,) = template.find_resources(
        "AWS::IAM::Policy", {"Properties": {"Roles": [stack.resolve(caller.role_name)]}}
    ).values()
    statements = granted["Properties"]["PolicyDocument"]["Statement"]
    assert {statement["Action"] for statement in statements} == {
        "lambda:InvokeFunction",
        "lambda:InvokeFunctionUrl",
    }
    (direct,) = [found for found in statements if found["Action"] == "lambda:InvokeFunction"]
    assert direct["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": True}}


@pytest.mark.usefixtures("node")
def test_grants_what_is_called(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an alias is called, both permissions are for the alias and for nothing else of the function."""
    monkeypatch.setattr("infra.package.build", stand_in)
    from aws_cdk import App, Stack
    from aws_cdk import aws_iam as iam
    from aws_cdk.assertions import Template

    from infra.config import Config
    from infra.function import BedrockStreamFunction

    stack = Stack(App(), "Shop")
    caller = iam.Role(stack, "Caller", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    stream = BedrockStreamFunction(stack, "Small", config=Config(snap_start=True))
    stream.grant_invoke_url(caller)
    assert stream.alias is stream.called
    template = Template.from_stack(stack)
    (alias,) = template.find_resources("AWS::Lambda::Alias")
    (granted,) = template.find_resources(
        "AWS::IAM::Policy", {"Properties": {"Roles": [stack.resolve(caller.role_name)]}}
    ).values()
    statements = granted["Properties"]["PolicyDocument"]["Statement"]
    assert {found["Action"] for found in statements} == {
        "lambda:InvokeFunction",
        "lambda:InvokeFunctionUrl",
    }
    for found in statements:
        assert found["Resource"] == {"Ref": alias}

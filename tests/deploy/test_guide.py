"""docs/deploy.md: what it says of the choices is so, and its code runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra import bedrock_access
from infra.config import Config, ConfigError
from tests.deploy.switches import SWITCHES, choices

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deploy.conftest import Synthesised

GUIDE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


def test_choices() -> None:
    """The table lists every choice, in order, with its default."""
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (?:`(.*?)`)? ?\|", GUIDE, re.MULTILINE)
    defaults = [(choice.name, written(choice.default)) for choice in fields(Config)]
    assert rows == defaults


def written(value: object) -> str:
    """Write a default as someone would type it."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.xdist_group("switches")
def test_statements(synthesise_checked: Callable[..., Synthesised]) -> None:
    """The guide explains every statement of the function's role by its name, and names none that there is not."""
    (section,) = re.findall(r"## What the function may do\n(.*?)\n## ", GUIDE, re.DOTALL)
    explained = re.findall(r"^\| `([A-Z]\w+)` \|", section, re.MULTILINE)
    row = {switch: next(iter(ways)) for switch, ways in SWITCHES.items()}
    full = synthesise_checked(
        **choices(row | {"auth": "api-key", "budget": "daily", "models": "many"})
    )
    (policy,) = [
        found["Properties"]["PolicyDocument"]
        for found in full.template["Resources"].values()
        if found["Type"] == "AWS::IAM::Policy"
    ]
    made = [found["Sid"] for found in policy["Statement"] if "Sid" in found]
    assert made == explained


@pytest.mark.xdist_group("switches")
def test_outputs(synthesise_checked: Callable[..., Synthesised]) -> None:
    """The guide lists every output that a stack can have."""
    (table,) = re.findall(r"\| output \|.*?\n\n", GUIDE, re.DOTALL)
    listed = set(re.findall(r"`([A-Z]\w+)`(?=.* \|.* \|)", table))
    row = {switch: next(iter(ways)) for switch, ways in SWITCHES.items()}
    chosen = {"auth": "api-key", "budget": "daily", "door": "cloudfront", "domain": "own"}
    full = synthesise_checked(**choices(row | chosen))
    assert set(full.template["Outputs"]) == listed


def test_geographies() -> None:
    """The guide names every geography whose profiles are known by their id."""
    (listed,) = re.findall(r"geographic inference profile \((.*?)\)", GUIDE)
    named = {name.strip("`.") for name in listed.split(", ")}
    assert named | {"global"} == bedrock_access.GEOGRAPHIES


def test_models_in_commands() -> None:
    """Every model that the guide shows is one that a deployment accepts."""
    (models,) = re.findall(r"## Models\n(.*?)\n## ", GUIDE, re.DOTALL)
    shown = re.findall(r"^\| [^|]*(?:model|profile)\b[^|]* \| `([^`]*)` \|", models, re.MULTILINE)
    assert len(shown) == 4
    shown += re.findall(r"-c model_ids=(\S+)", GUIDE)
    for model_ids in shown:
        assert Config.from_context({"model_ids": model_ids}).model_ids


@pytest.mark.parametrize(
    ("form", "arn"),
    [
        ("default-prompt-router/", "bedrock:eu-west-1:123456789012:default-prompt-router/a.b:1"),
        ("prompt-router/", "bedrock:eu-west-1:123456789012:prompt-router/a1b2c3"),
        ("prompt/", "bedrock:eu-west-1:123456789012:prompt/A1B2C3:1"),
        ("arn:aws:sagemaker:…:endpoint/…", "sagemaker:eu-west-1:123456789012:endpoint/a"),
    ],
)
def test_models_that_are_refused(form: str, arn: str) -> None:
    """What the guide says to be refused is, with the forms that there are."""
    assert f"`{form}`" in GUIDE
    with pytest.raises(
        ConfigError, match=r"^model_ids: expected a model id .*, an inference profile id "
    ):
        Config(model_ids=(f"arn:aws:{arn}",))


@pytest.mark.xdist_group("synth")
@pytest.mark.usefixtures("node")
def test_code(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stacks of one's own synthesise as they stand in the guide."""
    monkeypatch.setattr("infra.package.build", stand_in)
    from aws_cdk.assertions import Template

    first, second = (
        Template.from_stack(_made(code))
        for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    )
    first.has_resource_properties("AWS::Lambda::Function", {"MemorySize": 512})
    first.has_resource_properties("AWS::Lambda::Url", {"AuthType": "AWS_IAM"})
    (pool,) = second.find_resources("AWS::Cognito::UserPool")
    variables = {"RIVULET_JWT_ISSUER": {"Fn::GetAtt": [pool, "ProviderURL"]}}
    second.has_resource_properties(
        "AWS::Lambda::Function", {"Environment": {"Variables": variables}}
    )
    (topic,) = second.find_resources("AWS::SNS::Topic")
    second.all_resources_properties("AWS::CloudWatch::Alarm", {"AlarmActions": [{"Ref": topic}]})


def _made(code: str) -> Any:
    """Return the stack that an example makes."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names["stack"]

"""docs/deploy.md: what it says of the choices is so, and its code runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra import bedrock_access
from infra.config import Config
from tests.deploy.switches import SWITCHES, choices

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deploy.conftest import Synthesised

GUIDE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


def test_choices() -> None:
    """The table lists every choice, in order, with its default."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (?:`(.*?)`)? ?\|", GUIDE, re.MULTILINE)
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


@pytest.mark.xdist_group("synth")
@pytest.mark.usefixtures("node")
def test_code(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack of one's own synthesises as it stands in the guide."""
    monkeypatch.setattr("infra.package.build", stand_in)
    from aws_cdk.assertions import Template

    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    template = Template.from_stack(names["stack"])
    template.has_resource_properties("AWS::Lambda::Function", {"MemorySize": 512})
    template.has_resource_properties("AWS::Lambda::Url", {"AuthType": "AWS_IAM"})

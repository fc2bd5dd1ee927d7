"""docs/deploy.md: what it says of the choices is so, and its code runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from infra import bedrock_access
from infra.config import Config

GUIDE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


def test_choices() -> None:
    """The table lists every choice, in order, with its default."""
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", GUIDE, re.MULTILINE)
    defaults = [(choice.name, written(choice.default)) for choice in fields(Config)]
    assert rows == defaults


def written(value: object) -> str:
    """Write a default as someone would type it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


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
def test_code() -> None:
    """The stack of one's own synthesises as it stands in the guide."""
    from aws_cdk.assertions import Template

    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    template = Template.from_stack(names["stack"])
    template.has_resource_properties("AWS::Lambda::Function", {"MemorySize": 512})
    template.has_resource_properties("AWS::Lambda::Url", {"AuthType": "AWS_IAM"})

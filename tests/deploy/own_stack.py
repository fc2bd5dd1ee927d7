"""A function with all that stands beside it, in a stack of somebody's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.config import Config

if TYPE_CHECKING:
    from aws_cdk import Stack
    from aws_cdk.assertions import Template
    from constructs import Construct


def deploy(scope: Construct, name: str = "Assistant", **choices: Any) -> None:
    """Make a function with all that stands beside it."""
    from infra.cloudfront import CloudFrontDoor
    from infra.function import BedrockStreamFunction
    from infra.rest_api import RestApiDoor

    config = Config(**choices)
    stream = BedrockStreamFunction(scope, name, config=config)
    doors = {"cloudfront": CloudFrontDoor, "api-gateway": RestApiDoor}
    if door := doors.get(config.front_door):
        door(scope, f"{name}Door", config=config, stream=stream)
    watch(scope, f"{name}Watch", config, stream)


def watch(scope: Construct, name: str, config: Config, stream: Any) -> None:
    from infra.observability import Observability

    Observability(scope, name, config=config, function=stream.function, log_group=stream.log_group)


def template_of(stack: Stack) -> Template:
    from aws_cdk.assertions import Template

    return Template.from_stack(stack)


def resources(template: Template, kind: str) -> list[dict[str, Any]]:
    return [found["Properties"] for found in template.find_resources(kind).values()]


def variables(template: Template) -> dict[str, Any]:
    (function,) = [
        found
        for found in resources(template, "AWS::Lambda::Function")
        if "RIVULET_MODEL_IDS" in found.get("Environment", {}).get("Variables", {})
    ]
    return dict(function["Environment"]["Variables"])


def statements(template: Template) -> dict[str, dict[str, Any]]:
    """Return the statements of the function's role, by their names."""
    return {
        statement["Sid"]: statement
        for policy in resources(template, "AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        if "Sid" in statement
    }

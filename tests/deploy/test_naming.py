"""What a deployment is called: the service of its metrics, its log's filter and its queries, in any stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from infra.config import Config
from tests.deploy.own_stack import deploy, resources, template_of, variables, watch

if TYPE_CHECKING:
    from aws_cdk import App, Stack
    from aws_cdk.assertions import Template

pytestmark = [pytest.mark.xdist_group("synth"), pytest.mark.usefixtures("node")]


@pytest.fixture(autouse=True)
def _quickly(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.package.build", stand_in)


@pytest.fixture
def app() -> App:
    from aws_cdk import App

    return App()


@pytest.fixture
def stack(app: App) -> Stack:
    from aws_cdk import Stack

    return Stack(app, "Shop")


def services(template: Template) -> set[str]:
    """Return every service that a template tells of: the function's, its metrics', the crashes' and the queries'."""
    found = {variables(template)["POWERTOOLS_SERVICE_NAME"]}
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        for metric in (
            part["MetricStat"]["Metric"] for part in alarm["Metrics"] if "MetricStat" in part
        ):
            found |= {
                item["Value"] for item in metric.get("Dimensions", ()) if item["Name"] == "service"
            }
    for counted in resources(template, "AWS::Logs::MetricFilter"):
        (transformation,) = counted["MetricTransformations"]
        found.add(transformation["MetricName"].removeprefix("Crashes-"))
    for query in resources(template, "AWS::Logs::QueryDefinition"):
        found.add(query["Name"].partition("/")[0])
    return found


def test_a_service_is_called_as_its_stack(app: App) -> None:
    """Functions of two stacks are two services, in all that tells of them; a name that was chosen is kept."""
    from aws_cdk import Stack

    chosen: dict[str, dict[str, Any]] = {
        "Shop": {},
        "Support": {},
        "Sales": {"service_name": "chat"},
    }
    stacks = [Stack(app, name) for name in chosen]
    for stack, choices in zip(stacks, chosen.values(), strict=True):
        deploy(stack, **choices)
    told = [services(template_of(stack)) for stack in stacks]
    assert told == [{"Shop"}, {"Support"}, {"chat"}]


def test_a_service_in_a_nested_stack(stack: Stack) -> None:
    """A nested stack has no name yet: the service is called as the outermost one."""
    from aws_cdk import NestedStack

    inner = NestedStack(NestedStack(stack, "Inner"), "Innermost")
    deploy(inner)
    assert services(template_of(inner)) == {"Shop"}


def test_a_service_in_a_stage() -> None:
    """The stage is in the stack's name, so that of each stage is another."""
    from aws_cdk import App, Stack, Stage

    stack = Stack(Stage(App(), "Prod"), "Shop")
    deploy(stack)
    assert services(template_of(stack)) == {"Prod-Shop"}


def test_a_function_that_is_watched_from_elsewhere(app: App, stack: Stack) -> None:
    """The service is called as the function's stack, wherever what watches it is."""
    from aws_cdk import Stack

    from infra.function import BedrockStreamFunction

    config = Config()
    stream = BedrockStreamFunction(stack, "Assistant", config=config)
    elsewhere = Stack(app, "Watch")
    watch(elsewhere, "Watch", config, stream)
    assert variables(template_of(stack))["POWERTOOLS_SERVICE_NAME"] == "Shop"
    template = template_of(elsewhere)
    (counted,) = resources(template, "AWS::Logs::MetricFilter")
    assert counted["MetricTransformations"][0]["MetricName"] == "Crashes-Shop"
    text = json.dumps(resources(template, "AWS::CloudWatch::Alarm"))
    assert '{"Name": "service", "Value": "Shop"}' in text


def test_queries_of_two_functions(stack: Stack) -> None:
    """Two functions of a stack are two services, and so their saved queries are in two folders."""
    deploy(stack, "One", service_name="one", dashboard=False)
    deploy(stack, "Two", service_name="two")
    names = [query["Name"] for query in resources(template_of(stack), "AWS::Logs::QueryDefinition")]
    assert len(set(names)) == len(names)
    assert {name.partition("/")[0] for name in names} == {"one", "two"}

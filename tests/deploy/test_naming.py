"""What a deployment is called: the service of its metrics, its log's filter and its queries, in any stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from infra.config import Config, ConfigError
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


@pytest.mark.parametrize("own", [True, False])
def test_a_service_in_a_stage(app: App, own: bool) -> None:  # noqa: FBT001  whose stack it is
    """The stage is in the stack's name, so that of each stage is another."""
    from aws_cdk import Stack, Stage

    from infra.stack import RivuletStack

    stage = Stage(app, "Prod")
    if own:
        stack = Stack(stage, "Shop")
        deploy(stack)
    else:
        stack = RivuletStack(stage, config=Config(stack_name="Shop"))
    assert services(template_of(stack)) == {"Prod-Shop"}


def test_a_stack_that_is_called_differently(stack: Stack) -> None:
    """The name of another stack does nothing for a function in one's own, and so is refused."""
    from aws_cdk import NestedStack

    deploy(NestedStack(stack, "Inner"), stack_name="Shop")
    with pytest.raises(ConfigError) as caught:
        deploy(stack, "Other", stack_name="Chat")
    assert str(caught.value) == (
        "stack_name: expected 'Shop', the name of the function's stack, or none (service_name is "
        "what calls a service differently); got 'Chat'"
    )


def test_a_function_that_is_imported(app: App) -> None:
    """Nobody knows the stack of a function that is imported: its service has to be told."""
    from aws_cdk import Environment, Stack
    from aws_cdk import aws_lambda as lambda_
    from aws_cdk import aws_logs as logs

    from infra.observability import Observability

    stack = Stack(app, "Watcher", env=Environment(account="123456789012", region="eu-west-1"))
    function = lambda_.Function.from_function_arn(
        stack, "Function", "arn:aws:lambda:eu-west-1:123456789012:function:shop"
    )
    log_group = logs.LogGroup.from_log_group_name(stack, "Logs", "shop")
    given: dict[str, Any] = {"function": function, "log_group": log_group}
    with pytest.raises(ConfigError) as caught:
        Observability(stack, "Watch", config=Config(), **given)
    assert str(caught.value) == (
        "service_name: expected the function's own where it is imported, for its stack is not known; "
        "got ''"
    )
    Observability(stack, "Watched", config=Config(service_name="Shop"), **given)
    (counted,) = resources(template_of(stack), "AWS::Logs::MetricFilter")
    assert counted["MetricTransformations"][0]["MetricName"] == "Crashes-Shop"


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


def dashboards(stack: Stack) -> list[str]:
    """Return the names of a stack's dashboards, without the region."""
    made = resources(template_of(stack), "AWS::CloudWatch::Dashboard")
    names = [dashboard["DashboardName"]["Fn::Join"][1] for dashboard in made]
    assert all(region == {"Ref": "AWS::Region"} for _, region in names)
    return [name for name, _ in names]


def test_dashboards_of_two_functions(stack: Stack) -> None:
    """Each service has a dashboard of its own, whatever stack its function is in: one would replace another."""
    from aws_cdk import NestedStack

    deploy(stack, "One", service_name="chat.v2")
    deploy(stack, "Two", service_name="Shop")
    inner = NestedStack(stack, "Inner")
    deploy(inner, "Three", service_name="three")
    assert dashboards(stack) == ["Shop_chat-v2-", "Shop-"]
    assert dashboards(inner) == ["Shop_three-"]


def test_dashboards_of_functions_that_are_watched_from_elsewhere(app: App) -> None:
    """Those of two stacks are told apart where they are watched from a third."""
    from aws_cdk import Stack

    from infra.function import BedrockStreamFunction

    config = Config()
    elsewhere = Stack(app, "Watch")
    for name in ("Shop", "Support"):
        stream = BedrockStreamFunction(Stack(app, name), "Assistant", config=config)
        watch(elsewhere, f"Watch{name}", config, stream)
    assert dashboards(elsewhere) == ["Watch_Shop-", "Watch_Support-"]


@pytest.mark.parametrize("nested", [True, False])
def test_two_functions_of_one_service(stack: Stack, nested: bool) -> None:  # noqa: FBT001  where
    """Their metrics would be added up, and nobody could tell: synthesis fails."""
    from aws_cdk import NestedStack
    from aws_cdk.assertions import Annotations, Match

    inner = NestedStack(stack, "Inner") if nested else stack
    deploy(stack, "One")
    deploy(inner, "Two", service_name="Shop", dashboard=False)
    deploy(inner, "Three", service_name="three")
    (error,) = Annotations.from_stack(stack).find_error("*", Match.any_value())
    assert error.id == ("/Shop/Inner/Two" if nested else "/Shop/Two")
    expected = "service_name: expected another one for each function of a stack, got Shop for two"
    assert error.entry.data == expected


def test_two_services_of_one_dashboard(stack: Stack) -> None:
    """A dashboard's name has no dot: services that only that tells apart would have one for both."""
    from aws_cdk.assertions import Annotations, Match

    deploy(stack, "One", service_name="chat.v2")
    deploy(stack, "Two", service_name="chat-v2")
    (error,) = Annotations.from_stack(stack).find_error("*", Match.any_value())
    assert error.id == "/Shop/Two"

"""Dashboard, alarms and queries: templates by the real CDK, held against what the real function tells."""

from __future__ import annotations

import functools
import json
import re
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from infra.config import Config
from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from relay.measures import CALLERS, MEASURES, SERVICES, WAYS
from tests.caller import ask
from tests.frames import MESSAGE_START, MESSAGE_STOP, USAGE, chunk, delta, event
from tests.upstream import END, Upstream, http_chunk, refusal

if TYPE_CHECKING:
    import socket  # noqa: TID251  # the upstream's connections
    from collections.abc import Callable, Iterator

    from aws_cdk.assertions import Template

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "observability.md").read_text()

NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"
PRICED = {
    "model_ids": (CLAUDE, NOVA),
    "prices": (f"{CLAUDE}=0.25/1.25/0.03/0.3", f"{NOVA}=0.06/0.24"),
}

CRASHES = "Crashes-Rivulet"

pytestmark = pytest.mark.xdist_group("observability")


# What the real function tells of each kind of end.
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n"
    b"x-amzn-RequestId: bedrocks-own\r\nTransfer-Encoding: chunked\r\n\r\n"
)
CACHED = event(
    "metadata",
    {"usage": {**USAGE, "cacheReadInputTokens": 11, "cacheWriteInputTokens": 7}, "metrics": {}},
)
OPENING = chunk({"type": "message_start", "message": {"usage": {"input_tokens": 3}}})
WHOLE = (HEAD, MESSAGE_START, delta(text="a"), delta(text="b"), MESSAGE_STOP, CACHED, END)
SILENT = (HEAD, MESSAGE_START, 0.6, delta(text="a"), delta(text="b"), MESSAGE_STOP, CACHED, END)
CUT = (HEAD, OPENING, chunk({"type": "content_block_delta"}), END)
BUSY = (refusal(429, "ThrottlingException", "no"),)
INVOKE = f"/model/{CLAUDE}/invoke-with-response-stream"
# The path, the body, and Bedrock's answers, retries and stand-ins included.
ASKED: tuple[tuple[str, dict[str, Any], tuple[Any, ...]], ...] = (
    ("/stream", {"prompt": "hi"}, (WHOLE,)),
    ("/stream", {"prompt": "hi"}, (SILENT,)),
    ("/stream", {"prompt": "hi"}, (BUSY, BUSY, WHOLE)),
    ("/stream", {"prompt": "hi"}, (BUSY, BUSY, BUSY, BUSY)),
    (INVOKE, {"max_tokens": 9}, (CUT,)),
    ("/stream", {"prompt": "hi", "modelId": "nobody's"}, ()),
)


class Told(NamedTuple):
    """What the function has logged: the records of its requests, and the metrics."""

    records: list[dict[str, Any]]
    metrics: list[dict[str, Any]]

    @property
    def names(self) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        """Each metric that CloudWatch makes of it: its name, and its dimensions with their values."""
        return {
            (metric["Name"], frozenset((name, line[name]) for name in names))
            for line in self.metrics
            for directive in line["_aws"]["CloudWatchMetrics"]
            for names in directive["Dimensions"]
            for metric in directive["Metrics"]
        }


def _sends(wires: Iterator[tuple[Any, ...]]) -> Callable[[socket.socket], bool]:
    def answer(connection: socket.socket) -> bool:
        for piece in next(wires):
            if isinstance(piece, float):
                time.sleep(piece)
            else:
                whole = piece in (END, HEAD) or piece.startswith(b"HTTP/")
                connection.sendall(piece if whole else http_chunk(piece))
        return True

    return answer


def _told(function: LocalFunction, requests: int) -> Told:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        lines = [json.loads(line) for line in tuple(function.log) if line.startswith("{")]
        records = [line for line in lines if line.get("message") in ("stream", "request")]
        metrics = [line for line in lines if "_aws" in line]
        if len(records) == requests == sum("Requests" in line for line in metrics):
            return Told(records, metrics)
        time.sleep(0.01)
    raise TimeoutError("\n".join(function.log))


@pytest.fixture(scope="module")
def told() -> Told:
    """What is told of a cold start, an answer, a fallback, a silence, a refusal, and of every kind of failure."""
    quick = {
        "RIVULET_MODEL_IDS": f"{CLAUDE},{NOVA}",
        "RIVULET_FALLBACK_MODEL_IDS": NOVA,
        "RIVULET_MAX_ATTEMPTS": "2",
        "RIVULET_COMMIT_AFTER": "0.2",
        "RIVULET_HEARTBEAT_INTERVAL": "0.2",
        "POWERTOOLS_SERVICE_NAME": Config().service,
    }
    cold = FunctionConfiguration(concurrency=1, provisioned_concurrency=0)
    with Upstream() as upstream:
        endpoint = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": upstream.url}
        with LocalFunction(cold, environment={**quick, **endpoint}) as function:
            for path, body, wires in ASKED:
                upstream.answer = _sends(iter(wires))
                ask(function.url, path, body, accept="application/x-ndjson")
            told = _told(function, len(ASKED))
        no_time = {"RIVULET_DEADLINE_MARGIN": "2.5", "RIVULET_LOG_CONTENT": "true"}
        short = FunctionConfiguration(concurrency=1, timeout=3)
        with LocalFunction(short, environment={**quick, **no_time}) as function:
            ask(function.url)
            late = _told(function, 1)
    return Told(told.records + late.records, told.metrics + late.metrics)


# What is deployed.
@pytest.fixture(scope="module")
def watch(node: str) -> Callable[..., Template]:  # noqa: ARG001  only that it is there
    """Make the template of a function of one's own that is watched."""
    from aws_cdk import App, Stack
    from aws_cdk import aws_lambda as lambda_
    from aws_cdk import aws_logs as logs
    from aws_cdk.assertions import Template

    from infra.observability import Observability

    @functools.cache
    def watch(**choices: Any) -> Template:
        config = Config(**choices)
        stack = Stack(App(), config.stack_name)
        log_group = logs.LogGroup(stack, "Logs")
        function = lambda_.Function(
            stack,
            "Function",
            runtime=lambda_.Runtime.PYTHON_3_13,
            handler="handler.handle",
            code=lambda_.Code.from_inline("#"),
            log_group=log_group,
        )
        Observability(stack, "Watch", config=config, function=function, log_group=log_group)
        return Template.from_stack(stack)

    return watch


def _resources(template: Template, kind: str) -> list[dict[str, Any]]:
    return [found["Properties"] for found in template.find_resources(kind).values()]


def _widgets(template: Template) -> list[dict[str, Any]]:
    (dashboard,) = _resources(template, "AWS::CloudWatch::Dashboard")
    parts = dashboard["DashboardBody"]["Fn::Join"][1]
    # What CloudFormation fills in has no quotes in it: `{"Ref": "AWS::Region"}` is told by its name.
    text = "".join(
        part if isinstance(part, str) else "".join(part.get("Ref", "an attribute"))
        for part in parts
    )
    widgets: list[dict[str, Any]] = json.loads(text)["widgets"]
    return widgets


def _shown(template: Template) -> list[tuple[str, str, dict[str, str]]]:
    """Return each metric that the dashboard shows: its namespace, its name and its dimensions."""
    shown = []
    for widget in _widgets(template):
        for namespace, name, *rest in (
            metric for metric in widget["properties"].get("metrics", []) if len(metric) > 1
        ):
            pairs = [part for part in rest if isinstance(part, str)]
            shown.append((namespace, name, dict(zip(pairs[::2], pairs[1::2], strict=True))))
    return shown


def _alarms(template: Template) -> list[dict[str, Any]]:
    return _resources(template, "AWS::CloudWatch::Alarm")


def _looked_at(alarm: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    stats = [
        metric["MetricStat"]["Metric"] for metric in alarm["Metrics"] if "MetricStat" in metric
    ]
    return [
        (s["Namespace"], s["MetricName"], {d["Name"]: d["Value"] for d in s.get("Dimensions", [])})
        for s in stats
    ]


def test_what_is_looked_at_is_told(watch: Callable[..., Template], told: Told) -> None:
    """Every metric of the function's own on the dashboard or in an alarm is one that the function really emits."""
    template = watch(**PRICED)
    looked_at = _shown(template)
    for alarm in _alarms(template):
        looked_at += _looked_at(alarm)
    own = [
        (name, dimensions)
        for space, name, dimensions in looked_at
        if space == "Rivulet" and name != CRASHES  # which is told by Lambda
    ]
    assert len(own) > 40
    shapes = {(name, frozenset(dict(dimensions))) for name, dimensions in told.names}
    for name, dimensions in own:
        if "code" in dimensions:  # those cannot all be caused at home
            assert dimensions["code"] in CALLERS | SERVICES
            assert (name, frozenset(dimensions)) in shapes
        elif "function_name" in dimensions:  # it has another here
            assert (name, frozenset(dimensions)) in shapes
        else:
            assert _is_told(name, dimensions, told), (name, dimensions)
    assert {name for name, _ in own} == {*MEASURES, "ColdStart"}


def _is_told(name: str, dimensions: dict[str, str], told: Told) -> bool:
    """Tell whether a metric was emitted; of the two models at least by one, for not all happens to both."""
    models = [{"model": model} for model in (CLAUDE, NOVA)] if "model" in dimensions else [{}]
    return any((name, frozenset({**dimensions, **model}.items())) in told.names for model in models)


def test_searches_find_what_is_told(watch: Callable[..., Template], told: Told) -> None:
    """A search's schema has exactly the dimensions of the metric that it looks for."""
    expressions = [
        metric[0]["expression"]
        for widget in _widgets(watch(**PRICED))
        for metric in widget["properties"].get("metrics", [])
        if len(metric) == 1 and "SEARCH" in metric[0]["expression"]
    ]
    found = []
    for expression in expressions:
        match = re.fullmatch(
            r"""SEARCH\('\{"(.+)",(.+)\} service="(.+)" MetricName="(.+)"', 'Sum'\)""", expression
        )
        assert match, expression
        namespace, names, service, metric = match.groups()
        assert (namespace, service) == ("Rivulet", Config().service)
        shape = frozenset(names.split(","))
        assert any(n == metric and frozenset(dict(d)) == shape for n, d in told.names)
        found.append((metric, shape))
    assert found == [
        ("Errors", frozenset({"service", "code"})),
        ("Requests", frozenset({"service", "auth"})),
    ]


def test_expressions_use_what_there_is(watch: Callable[..., Template]) -> None:
    """Every name in a metric math expression is the id of a metric next to it."""
    checked = 0
    template = watch(**PRICED)
    groups = [[m[-1] for m in w["properties"].get("metrics", [])] for w in _widgets(template)] + [
        [{k.lower(): v for k, v in m.items()} for m in a["Metrics"]] for a in _alarms(template)
    ]
    for group in groups:
        ids = {metric["id"] for metric in group if "id" in metric}
        for expression in (m["expression"] for m in group if "expression" in m):
            if "SEARCH" not in expression:
                assert set(re.findall(r"\b[a-z]\w*", expression)) <= ids, expression
                checked += 1
    assert checked > 8


def test_aws_metrics(watch: Callable[..., Template]) -> None:
    """Lambda's and Bedrock's metrics are those that AWS documents, of this function and these models."""
    choices = {"model_ids": (NOVA, f"{PROFILE}={NOVA}"), "model_aliases": (f"gpt={PROFILE}",)}
    shown = _shown(watch(**choices))
    assert {name for space, name, _ in shown if space == "AWS/Lambda"} == {
        "ConcurrentExecutions",
        "Duration",
        "Errors",
        "Invocations",
        "Throttles",
    }
    bedrock = [(name, dimensions) for space, name, dimensions in shown if space == "AWS/Bedrock"]
    assert {name for name, _ in bedrock} == {
        "EstimatedTPMQuotaUsage",
        "InvocationClientErrors",
        "InvocationServerErrors",
        "InvocationThrottles",
        "Invocations",
        "TimeToFirstToken",
    }
    assert {dimensions["ModelId"] for _, dimensions in bedrock} == {NOVA, "abc123"}
    own = {d["model"] for space, _, d in shown if space == "Rivulet" and "model" in d}
    assert own == {NOVA, "gpt"}, "as relay.models.name_of calls them"


def test_layout(watch: Callable[..., Template]) -> None:
    """Widgets fill the 24 columns row by row, and no two are in the same place."""
    widgets = _widgets(watch(**PRICED))
    cells = [
        (x, y)
        for w in widgets
        for x in range(w["x"], w["x"] + w["width"])
        for y in range(w["y"], w["y"] + w["height"])
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))
    rows = {y for _, y in cells}
    assert len(cells) == 24 * len(rows)
    assert widgets[0]["type"] == "text"
    assert [w["type"] for w in widgets[-2:]] == ["log", "log"]


def test_works_anywhere(watch: Callable[..., Template]) -> None:
    """Nothing names an account, a region or a partition; the dashboard's name has the stack's and the region."""
    template = watch(stack_name="shop", **PRICED)
    text = json.dumps(template.to_json())
    assert not re.search(r"\b\d{12}\b|arn:aws|(us|eu|ap)-[a-z]+-\d", text)
    (dashboard,) = _resources(template, "AWS::CloudWatch::Dashboard")
    assert dashboard["DashboardName"] == {"Fn::Join": ["", ["shop-", {"Ref": "AWS::Region"}]]}
    for widget in _widgets(template):
        assert widget["properties"].get("region", "AWS::Region") == "AWS::Region"


def test_unpriced_models_are_named(watch: Callable[..., Template]) -> None:
    """The dashboard says which models the cost leaves out; without any price it says how to give one."""
    some = json.dumps(_widgets(watch(model_ids=(CLAUDE, NOVA), prices=(f"{NOVA}=0.06/0.24",))))
    assert f"Not counted, for want of a price: `{CLAUDE}`" in some
    assert "Estimated cost an hour" in some
    none = json.dumps(_widgets(watch()))
    assert "-c prices=MODEL_ID=INPUT/OUTPUT" in none
    assert "Estimated cost an hour" not in none
    assert "Not counted" not in json.dumps(_widgets(watch(**PRICED)))


def _evaluated(expression: str, tokens: dict[str, float]) -> float:
    """Evaluate a sum of products as CloudWatch would."""
    names = {"SUM": sum, "FILL": lambda value, _: value, **tokens}
    return float(eval(expression, {"__builtins__": {}}, names))  # ours


def test_cost(watch: Callable[..., Template]) -> None:
    """A million tokens of each kind cost the prices that were given: each model its own, and their sum in all."""
    (graph,) = (
        w
        for w in _widgets(watch(**PRICED))
        if w["properties"].get("title", "").startswith("Estimated")
    )
    metrics = graph["properties"]["metrics"]
    known = {m[-1]["id"]: 1e6 for m in metrics if len(m) > 1}
    costs = {}
    for expression in (m[0] for m in metrics if len(m) == 1):  # each before their sum
        cost = costs[expression["label"]] = _evaluated(expression["expression"], known)
        known[expression.get("id", "")] = cost
    claude, nova = 0.25 + 1.25 + 0.03 + 0.3, 0.06 + 0.24
    assert costs == pytest.approx({CLAUDE: claude, NOVA: nova, "In all": claude + nova})


def test_cost_of_many_models(watch: Callable[..., Template]) -> None:
    """However many models have a price, each is counted, and no expression is longer than CloudWatch takes."""
    models = tuple(f"a.model-with-a-name-of-usual-length-{number}-v1:0" for number in range(60))
    prices = tuple(f"{model}=0.25/1.25/0.03/0.3" for model in models)
    shown = watch(model_ids=models, prices=prices)
    expressions = [
        metric[-1]
        for widget in _widgets(shown)
        for metric in widget["properties"].get("metrics", [])
        if "expression" in metric[-1]
    ]
    assert max(len(found["expression"]) for found in expressions) <= 2048
    sums = [found for found in expressions if found["label"] in ("In all", "Cost in USD")]
    assert len(sums) == 2
    for found in sums:
        ids = re.findall(r"cost\d+", found["expression"])
        assert len(set(ids)) == len(ids) == 60


def test_alarms(watch: Callable[..., Template]) -> None:
    """Each has its threshold, says what to do, keeps within CloudWatch's limits, and is silent where nobody calls."""
    template = watch(
        **PRICED,
        alarm_error_percent=7,
        alarm_first_token_seconds=3,
        alarm_spend_per_hour=20,
        alarm_topic_arn=TOPIC,
    )
    alarms = template.find_resources("AWS::CloudWatch::Alarm")
    thresholds = {}
    for logical_id, resource in alarms.items():
        alarm = resource["Properties"]
        (name,) = re.findall(r"^WatchAlarms(\w+)[0-9A-F]{8}$", logical_id)
        thresholds[name] = alarm["Threshold"]
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert alarm["DatapointsToAlarm"] <= alarm["EvaluationPeriods"]
        assert 1 <= len(_looked_at(alarm)) <= 10
        assert 100 < len(alarm["AlarmDescription"]) <= 1024
        assert alarm["AlarmActions"] == alarm["OKActions"] == [TOPIC]
        assert "AlarmName" not in alarm, "two deployments do not get in each other's way"
        assert f"### {name}\n" in GUIDE
    assert thresholds == {
        "Failures": 7,
        "Crashes": 1,
        "FirstToken": 3000,
        "Throttles": 5,
        "Timeouts": 3,
        "Spend": 20,
    }


@pytest.mark.parametrize("dashboard", [True, False])
def test_alarms_name_queries_that_there_are(
    watch: Callable[..., Template], *, dashboard: bool
) -> None:
    """A query that an alarm's description sends one to is among the saved ones, with a dashboard and without."""
    template = watch(**PRICED, dashboard=dashboard)
    saved = " ".join(q["Name"] for q in _resources(template, "AWS::Logs::QueryDefinition"))
    named = {
        name
        for alarm in _alarms(template)
        for name in re.findall(r"'([A-Z][^']+)'", alarm["AlarmDescription"])
    }
    assert len(named) >= 4
    assert all(name in saved for name in named)
    assert not any("dashboard" in alarm["AlarmDescription"] for alarm in _alarms(template))


# As Lambda writes them, in its text format.
REPORT = (
    "REPORT RequestId: 8f5c\tDuration: 9000.00 ms\tBilled Duration: 9000 ms\t"
    "Memory Size: 256 MB\tMax Memory Used: 256 MB"
)
TRACE = "\nXRAY TraceId: 1-6ac7d556\tSegmentId: 90cb\tSampled: true"
INIT = "INIT_REPORT Init Duration: 137.69 ms\tPhase: {}\tStatus: error\tError Type: Runtime.{}"
COUNTED = {
    "ran out of time": [f"{REPORT}\tStatus: timeout{TRACE}"],
    "ran out of memory": [f"{REPORT}\tStatus: error\tError Type: Runtime.OutOfMemory{TRACE}"],
    "was killed": [f"{REPORT}\tStatus: error\tError Type: Runtime.ExitError"],
    "a module is not there": [
        INIT.format("init", "ImportModuleError"),
        INIT.format("invoke", "ImportModuleError"),
        f"{REPORT}\tStatus: error\tError Type: Runtime.ImportModuleError",
    ],
    "a setting is wrong": [
        INIT.format("init", "Unknown"),
        INIT.format("invoke", "Unknown"),
        f"{REPORT}\tStatus: error\tError Type: Runtime.Unknown",
    ],
    "cannot be restored": ["RESTORE_REPORT Restore Duration: 1236.04 ms\tStatus: timeout"],
    "fails after it was restored": [
        "RESTORE_REPORT Restore Duration: 1236.04 ms\tStatus: error\tError Type: Runtime.ExitError"
    ],
}
NOT_COUNTED = {
    "an answer": [REPORT, f"{REPORT}\tInit Duration: 300.00 ms\t{TRACE}"],
    "a restored start": [
        "RESTORE_REPORT Restore Duration: 204.27 ms",
        f"{REPORT}\tRestore Duration: 204.27 ms\tBilled Restore Duration: 205 ms\t{TRACE}",
    ],
    "an error of the function's own": [
        f"{REPORT}\tStatus: error\tError Type: Rivulet.throttling{TRACE}",
        f"{REPORT}\tStatus: error\tError Type: Runtime.Unknown{TRACE}",  # as which it may be told
    ],
    "a start that was slow, and then went well": [
        "INIT_REPORT Init Duration: 9999.00 ms\tPhase: init\tStatus: timeout"
    ],
    "what somebody said": [
        '{"message":"stream","request":"REPORT RequestId: 1 Status: timeout"}',
        '{"message":"stream","request":"\\nINIT_REPORT Phase: invoke Error Type: Runtime.Unknown"}',
    ],
}


def _crash_filter(template: Template) -> dict[str, Any]:
    (found,) = _resources(template, "AWS::Logs::MetricFilter")
    return found


def test_crashes_are_counted_once(watch: Callable[..., Template]) -> None:
    """Of the lines that Lambda writes about an invocation that it ended, one is counted; of all others, none."""
    pattern = _crash_filter(watch())["FilterPattern"]
    assert pattern[0] == pattern[-1] == "%"
    expression = re.compile(pattern[1:-1])
    for name, lines in COUNTED.items():
        assert sum(bool(expression.search(line)) for line in lines) == 1, name
    for name, lines in NOT_COUNTED.items():
        assert not any(expression.search(line) for line in lines), name


def test_crashes_in_the_words_of_cloudwatch(watch: Callable[..., Template]) -> None:
    """The pattern has only what CloudWatch Logs' regular expressions have, and is short enough."""
    pattern = _crash_filter(watch())["FilterPattern"]
    assert len(pattern) <= 1024
    assert re.fullmatch(r"[A-Za-z0-9:_#=@/;,^$?\[\]{}|\\*+.-]+", pattern[1:-1])
    assert set(re.findall(r"\\(.)", pattern)) <= set("sSdDwW.")


def test_crashes_are_one_services(watch: Callable[..., Template]) -> None:
    """They are counted in the function's log group, under a name that has the service's, and looked at under it."""
    template = watch(service_name="chat", metrics_namespace="Shop")
    found = _crash_filter(template)
    assert found["LogGroupName"]["Ref"].startswith("Logs")
    transformation = {
        "MetricNamespace": "Shop",
        "MetricName": "Crashes-chat",
        "MetricValue": "1",
    }
    assert found["MetricTransformations"] == [transformation]
    counted: tuple[str, str, dict[str, Any]] = ("Shop", "Crashes-chat", {})
    assert [counted] in [_looked_at(alarm) for alarm in _alarms(template)]
    assert counted in _shown(template)
    nobody_looks = watch(alarms=False, dashboard=False)
    assert not _resources(nobody_looks, "AWS::Logs::MetricFilter")
    for one in ({"alarms": False}, {"dashboard": False}):
        assert _resources(watch(**one), "AWS::Logs::MetricFilter")


def test_spend_of_many_models(watch: Callable[..., Template]) -> None:
    """Where the tokens of all priced models are more metrics than an alarm takes, several alarms share them."""
    models = tuple(f"a.model-{number}" for number in range(4))
    prices = tuple(f"{model}=1/2/3/4" for model in models)
    spend = [
        alarm
        for alarm in _alarms(watch(model_ids=models, prices=prices))
        if "USD" in alarm["AlarmDescription"]
    ]
    looked_at = [[d["model"] for _, _, d in _looked_at(alarm)] for alarm in spend]
    assert sorted(chain.from_iterable(looked_at)) == sorted(models * 4)
    assert all(len(metrics) <= 10 for metrics in looked_at)
    assert all(
        model in alarm["AlarmDescription"]
        for alarm, metrics in zip(spend, looked_at, strict=True)
        for model in metrics
    )


def test_choices(watch: Callable[..., Template]) -> None:
    """Dashboard and alarms can be left out, each by its own, queries with both; without a topic alarms tell nobody."""
    blind = watch(dashboard=False)
    assert not _resources(blind, "AWS::CloudWatch::Dashboard")
    assert _resources(blind, "AWS::Logs::QueryDefinition")
    assert len(_alarms(blind)) == 5
    assert not _resources(watch(dashboard=False, alarms=False), "AWS::Logs::QueryDefinition")
    quiet = watch(alarms=False)
    assert not [w for w in _widgets(quiet) if w["type"] == "alarm"]
    assert not _alarms(quiet)
    assert _resources(quiet, "AWS::Logs::QueryDefinition")
    default = watch()
    assert len(_alarms(default)) == 5, "no price, no alarm on spend"
    assert not any("AlarmActions" in alarm for alarm in _alarms(default))
    assert [w for w in _widgets(default) if w["type"] == "alarm"]


def test_a_strangers_price_is_a_warning(node: str) -> None:  # noqa: ARG001  only that it is there
    """A price of no model of the deployment's is most likely a slip, and said to be at synth."""
    from aws_cdk import App, Stack
    from aws_cdk import aws_lambda as lambda_
    from aws_cdk import aws_logs as logs
    from aws_cdk.assertions import Annotations, Match

    from infra.observability import Observability

    stack = Stack(App(), "Rivulet")
    Observability(
        stack,
        "Watch",
        config=Config(
            service_name="any", model_ids=(NOVA,), prices=(f"{NOVA}=1/2", f"{CLAUDE}=1/2")
        ),
        function=lambda_.Function.from_function_name(stack, "Function", "any"),
        log_group=logs.LogGroup.from_log_group_name(stack, "Logs", "any"),
    )
    warnings = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    assert [w.entry.data for w in warnings if NOVA in str(w.entry.data)] == []
    assert len([w for w in warnings if CLAUDE in str(w.entry.data)]) == 1


# Noted by the handler where a table counts budgets, which there is none of here.
ELSEWHERE = {"budget", "budget_used", "source_ip"}

# Logs Insights.
COMMANDS = {"fields", "filter", "stats", "sort", "limit", "by", "as", "and", "or", "desc", "asc"}
COMMANDS |= {"parse", "like"}
INSIGHTS_OWN = {
    *("@timestamp", "@message", "@requestId", "@type"),
    *("@initDuration", "@maxMemoryUsed", "@memorySize"),
}


def _queries(template: Template) -> dict[str, str]:
    saved = _resources(template, "AWS::Logs::QueryDefinition")
    return {query["Name"].removeprefix("Rivulet/"): query["QueryString"] for query in saved}


def test_queries_name_fields_that_there_are(watch: Callable[..., Template], told: Told) -> None:
    """Every field in a saved query or a log widget is in a record that the function has really written."""
    template = watch(**PRICED)
    known = (INSIGHTS_OWN | ELSEWHERE).union(*told.records)
    queries = _queries(template)
    shown = [w["properties"]["query"] for w in _widgets(template) if w["type"] == "log"]
    assert len(shown) == 2
    for query in [*queries.values(), *(text.partition(" | ")[2] for text in shown)]:
        aliases = {a or b for a, b in re.findall(r"\bas (\w+)|\(\?<(\w+)>", query)}
        bare = re.sub(r'"[^"]*"|/[^/]*/', "", query)
        names = set(re.findall(r"(?<![\w@])@?[A-Za-z_]\w*(?!\w|\()", bare))
        assert names - COMMANDS - aliases <= known, query
        for field, value in re.findall(r'(?<![@\w])(\w+) = "([^"]*)"', query):
            if value != "REQUEST_ID":
                assert value in {record.get(field) for record in told.records}, query
    costs = {f"Cost by caller of {model.replace(':', '-')}" for model in (CLAUDE, NOVA)}
    assert costs <= queries.keys()


def test_queries_of_models_that_look_alike(watch: Callable[..., Template]) -> None:
    """Models whose names are the same but for what a query's name cannot have, or but for their ends, have one each."""
    long = "a." + "very-" * 20
    models = (
        "eu.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0",
        "eu.amazon.nova-lite-v1-0",
        f"{long}one",
        f"{long}two",
    )
    stack = "s" * 128
    template = watch(
        stack_name=stack,
        model_ids=models,
        prices=tuple(f"{m}=1/2" for m in models),
    )
    saved = _resources(template, "AWS::Logs::QueryDefinition")
    costs = {q["Name"]: q["QueryString"] for q in saved if "/Cost by" in q["Name"]}
    assert len(costs) == len(models)
    for model in models:
        assert any(f'model = "{model}"\n' in query for query in costs.values())
    for name in costs:
        assert re.fullmatch(r"([^:*/]+/?)*[^:*/]+", name)
        assert len(name) <= 255


def test_cold_starts_from_snapshots(watch: Callable[..., Template]) -> None:
    """The query for cold starts finds out of a `REPORT` line how long a snapshot took to restore."""
    query = _queries(watch())["Cold starts"]
    (pattern,) = re.findall(r"parse @message /(.+)/", query)
    line = NOT_COUNTED["a restored start"][1]
    found = re.search(pattern.replace("(?<", "(?P<"), line)
    assert found is not None
    assert found["restored"] == "204.27"
    assert not re.search(pattern.replace("(?<", "(?P<"), REPORT)


def test_queries_ask_the_log_group(watch: Callable[..., Template]) -> None:
    """Each saved query belongs to the function's log group, in the service's folder, as the dashboard says."""
    for choices, service in ({}, "shop"), ({"service_name": "chat"}, "chat"):
        template = watch(stack_name="shop", **choices)
        saved = _resources(template, "AWS::Logs::QueryDefinition")
        assert len(saved) >= 10
        for query in saved:
            assert query["Name"].startswith(f"{service}/")
            (group,) = query["LogGroupNames"]
            assert group["Ref"].startswith("Logs")
        assert f"in the folder `{service}`" in _widgets(template)[0]["properties"]["markdown"]


# The guide.
def _table(heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading, their cells without code marks."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    (table,) = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", section, re.MULTILINE)[:1]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


def test_guide_fields(told: Told) -> None:
    """The guide's table of a record's fields has each that the function writes, and none that it does not."""
    listed = [name for row in _table("Records") for name in re.findall(r"`(\w+)`", row[0])]
    assert len(listed) == len(set(listed))
    assert set(listed) == ELSEWHERE.union(*told.records)
    handler = (ROOT / "lambda_src" / "handler.py").read_text()
    assert all(f"{name}=" in handler for name in ELSEWHERE)


def test_guide_metrics(told: Told) -> None:
    """The guide's table of metrics has each with its unit and its dimensions, as the function emits them."""
    rows = {
        row[0].strip("`"): (row[1], [re.findall(r"`(\w+)`", by) for by in row[2].split(";")])
        for row in _table("Metrics")
    }
    cold = rows.pop("ColdStart")
    assert cold == ("Count", [["service", "function_name"]])
    assert rows.pop("Crashes-SERVICE") == ("Count", [[]])
    expected = {
        name: (measure.unit.value, [["service", by] if by else ["service"] for by in measure.by])
        for name, measure in MEASURES.items()
    }
    assert rows == expected
    shapes = {(name, frozenset(dict(dimensions))) for name, dimensions in told.names}
    listed = {(name, frozenset(by)) for name, (_, sets) in expected.items() for by in sets}
    assert shapes == listed | {("ColdStart", frozenset({"service", "function_name"}))}


def test_guide_codes() -> None:
    """The guide lists every value of the dimension `code`, by whose doing it is, and every way in."""
    (callers, services) = _table("Codes")
    assert set(re.findall(r"`(\w+)`", callers[1])) == CALLERS
    assert set(re.findall(r"`(\w+)`", services[1])) == SERVICES | {"other"}
    (ways,) = re.findall(r"`auth`, one of (.*?)[.;]", GUIDE)
    assert set(re.findall(r"`([\w-]+)`", ways)) == WAYS


def test_guide_queries(watch: Callable[..., Template]) -> None:
    """The guide's table of saved queries is theirs."""
    listed = {row[0].strip("`") for row in _table("Queries")}
    saved = set(_queries(watch()))
    assert listed == saved | {"Cost by caller of …"}


def test_guide_costs(told: Told) -> None:
    """The guide's arithmetic counts the metrics that the function emits."""
    always = [m for m in MEASURES if m not in {"Errors", "Throttles", "Timeouts", "Fallbacks"}]
    whole = sum("" in MEASURES[name].by for name in always)
    by_model = sum("model" in MEASURES[name].by for name in always if not name.startswith("Cache"))
    fixed = whole + 2  # one way in, and cold starts
    assert f"{fixed} + {by_model} for each model" in GUIDE
    assert f"{fixed} + {by_model} = {fixed + by_model}" in GUIDE
    assert f"${(fixed + by_model) * 0.3:.2f}" in GUIDE
    assert told.names


def test_guide_costs_of_alarms(watch: Callable[..., Template]) -> None:
    """The guide's arithmetic counts the metrics that alarms look at."""
    looked_at = sum(len(_looked_at(alarm)) for alarm in _alarms(watch()))
    assert f"${looked_at * 0.1:.2f} for the first five" in GUIDE

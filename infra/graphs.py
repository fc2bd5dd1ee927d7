"""The dashboard's graphs, row by row. A red line across one is the limit at which an alarm, or Lambda, steps in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from infra.metrics import PERIOD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from infra.config import Config
    from infra.metrics import Metrics

WIDTH = 24  # columns of every dashboard
HEIGHT = 6
RED, ORANGE, GREEN = cloudwatch.Color.RED, cloudwatch.Color.ORANGE, cloudwatch.Color.GREEN
HOUR = Duration.hours(1)

# Refusals that somebody may want to see coming, although nothing is broken.
_AT_THE_DOOR = {
    "unauthenticated": "No valid credential",
    "forbidden": "Not allowed",
    "budget_exhausted": "Budget used up",
}
_TOKENS = {
    "InputTokens": "in",
    "OutputTokens": "out",
    "CacheReadInputTokens": "read from the cache",
    "CacheWriteInputTokens": "written to the cache",
}
_BETWEEN = {
    "TimeBetweenPiecesP50": "median",
    "TimeBetweenPiecesP95": "p95",
    "TimeBetweenPiecesMax": "longest",
}
_BEDROCK_CALLS = {
    "Invocations": "calls",
    "InvocationClientErrors": "client errors",
    "InvocationServerErrors": "server errors",
}
_NO_PRICE = """\
### Estimated cost
No model has a price. Deploy with what AWS asks of you for a million tokens, in and out:

```
-c prices=MODEL_ID=INPUT/OUTPUT
```"""


def rows(config: Config, metrics: Metrics) -> Iterator[list[cloudwatch.IWidget]]:
    """Return the rows, each as wide as the dashboard."""
    yield _ends(config, metrics)
    yield _speed(config, metrics)
    yield _tokens(config, metrics)
    yield _turned_away(metrics)
    yield _lambda(config, metrics)
    yield _bedrock(metrics)


def _ends(config: Config, metrics: Metrics) -> list[cloudwatch.IWidget]:
    requests = metrics.own("Requests")
    refusals = metrics.own("Refusals", color=ORANGE)
    failures = metrics.own("Failures", color=RED)
    answered = cloudwatch.MathExpression(
        expression="requests - failures - refusals",
        using_metrics={"requests": requests, "failures": failures, "refusals": refusals},
        label="Answered",
        color=GREEN,
        period=PERIOD,
    )
    ends: list[cloudwatch.IMetric] = [
        answered,
        refusals.with_(color=ORANGE),
        failures.with_(color=RED),
    ]
    limit = config.alarm_error_percent if config.alarms else None
    return [
        _graph("How requests end", ends, of=3, stacked=True),
        _graph("Failures in percent", [metrics.failure_percent()], of=3, unit="%", limit=limit),
        _graph(
            "Failures and refusals by code", [metrics.own_by("Errors", "code")], of=3, stacked=True
        ),
    ]


def _speed(config: Config, metrics: Metrics) -> list[cloudwatch.IWidget]:
    first = [
        metrics.own("TimeToFirstToken", percentile, label=percentile)
        for percentile in ("p50", "p95", "p99")
    ]
    by_model = [
        metrics.own("TimeToFirstToken", "p95", label=model.label, model=model.name)
        for model in metrics.models
    ]
    between = [
        metrics.own(name, "p50", label=f"{model.label}, {label}", model=model.name)
        for model in metrics.models
        for name, label in _BETWEEN.items()
    ]
    limit = config.alarm_first_token_seconds * 1000 if config.alarms else None
    return [
        _graph("Time to first token", first, of=4, unit="ms", limit=limit),
        _graph("Time to first token by model, p95", by_model, of=4, unit="ms"),
        _graph("Time between the pieces of the median stream", between, of=4, unit="ms"),
        _graph("Stalls within streams", [metrics.own("Stalls", color=ORANGE)], of=4),
    ]


def _tokens(config: Config, metrics: Metrics) -> list[cloudwatch.IWidget]:
    tokens = [
        metrics.own(name, label=f"{model.label}, {label}", model=model.name)
        for model in metrics.models
        for name, label in _TOKENS.items()
    ]
    counted = _graph("Tokens by model", tokens, of=2, stacked=True)
    if not metrics.priced:
        hint = cloudwatch.TextWidget(width=WIDTH // 2, height=HEIGHT, markdown=_NO_PRICE)
        return [counted, hint]
    costs = [*metrics.costs(HOUR), metrics.cost_in_all("In all", HOUR)]
    limit = config.alarm_spend_per_hour if config.alarms else None
    return [
        counted,
        _graph("Estimated cost an hour", costs, of=2, unit="USD", limit=limit),
    ]


def _turned_away(metrics: Metrics) -> list[cloudwatch.IWidget]:
    throttled = [
        metrics.own("Throttles", label=f"throttled: {model.label}", model=model.name)
        for model in metrics.models
    ]
    busy = [
        *throttled,
        metrics.function.metric_throttles(label="throttled by Lambda", period=PERIOD),
        metrics.own("Fallbacks", label="answered by another model"),
        metrics.own("Timeouts", label="cut by the deadline", color=RED),
    ]
    door = [metrics.own("Errors", label=label, code=code) for code, label in _AT_THE_DOOR.items()]
    return [
        _graph("Turned away, stood in for, cut short", busy, of=3),
        _graph("Turned away at the door", door, of=3),
        _graph("Callers by their way in", [metrics.own_by("Requests", "auth")], of=3, stacked=True),
    ]


def _lambda(config: Config, metrics: Metrics) -> list[cloudwatch.IWidget]:
    function = metrics.function
    invocations = [
        function.metric_invocations(label="Invocations", period=PERIOD),
        function.metric_errors(label="Errors", period=PERIOD, color=RED),
        function.metric_throttles(label="Throttles", period=PERIOD, color=ORANGE),
        metrics.crashes(),
    ]
    durations = [
        function.metric_duration(statistic=statistic, label=label, period=PERIOD)
        for statistic, label in {"p50": "p50", "p95": "p95", "Maximum": "longest"}.items()
    ]
    by_model = [
        metrics.own("Duration", "p95", label=f"{model.label}, p95", model=model.name)
        for model in metrics.models
    ]
    at_once = function.metric(
        "ConcurrentExecutions", statistic="Maximum", label="At most", period=PERIOD
    )
    timeout, reserved = config.timeout_seconds * 1000, config.reserved_concurrency or None
    return [
        _graph("Lambda: invocations", invocations, of=4),
        _graph(
            "Lambda: duration, to the last piece",
            durations + by_model,
            of=4,
            unit="ms",
            limit=timeout,
        ),
        _graph("Lambda: streams at once", [at_once], of=4, limit=reserved),
        _graph("Lambda: cold starts", [metrics.cold_starts()], of=4),
    ]


def _bedrock(metrics: Metrics) -> list[cloudwatch.IWidget]:
    calls = [
        metrics.bedrock(name, model, "Sum", f"{model.label}, {label}")
        for model in metrics.models
        for name, label in _BEDROCK_CALLS.items()
    ]

    def of_each(name: str, statistic: str) -> list[cloudwatch.Metric]:
        return [metrics.bedrock(name, model, statistic, model.label) for model in metrics.models]

    quota = [
        metric.with_(period=Duration.minutes(1))
        for metric in of_each("EstimatedTPMQuotaUsage", "Sum")
    ]
    return [
        _graph("Bedrock: calls", calls, of=4),
        _graph("Bedrock: throttles, before retries", of_each("InvocationThrottles", "Sum"), of=4),
        _graph(
            "Bedrock: time to first token, p95", of_each("TimeToFirstToken", "p95"), of=4, unit="ms"
        ),
        _graph("Bedrock: tokens a minute, as quotas count them", quota, of=4),
    ]


def _graph(
    title: str,
    metrics: Iterable[cloudwatch.IMetric],
    *,
    of: int,
    unit: str = "",
    stacked: bool = False,
    limit: float | None = None,
) -> cloudwatch.GraphWidget:
    """Return a graph that is one of so many in a row."""
    lines = []
    if limit is not None:
        lines = [cloudwatch.HorizontalAnnotation(value=limit, color=RED, label="limit")]
    return cloudwatch.GraphWidget(
        title=title,
        left=list(metrics),
        left_y_axis=cloudwatch.YAxisProps(label=unit, show_units=False, min=0),
        left_annotations=lines,
        stacked=stacked,
        width=WIDTH // of,
        height=HEIGHT,
    )

"""The dashboard: what callers get, what it costs, what it stands on, and the latest lines of the log.

Rows from the top are read in the order in which one asks: is something wrong, for whom, since when, why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from infra import graphs
from infra.graphs import HEIGHT, WIDTH
from infra.naming import outermost_stack, without_dots
from infra.queries import LATEST_FAILURES, LATEST_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aws_cdk import aws_logs as logs
    from constructs import Construct

    from infra.config import Config
    from infra.metrics import Metrics

# Two spaces end a line in Markdown.
_HEADER = """\
# {stack}: Bedrock's streams
**Failures** are Bedrock's or this deployment's, broken streams included. \
**Refusals** are callers' own doing: bad requests, no credential, a budget used up. Alarms look at failures.\x20\x20
**Time to first token** is what a caller waits for the first piece of an answer, **time between pieces** how evenly \
the rest comes; a **stall** is a silence of a second or more within it.\x20\x20
**Cost** is an estimate from the prices that this deployment was given.{not_counted}\x20\x20
**Rows**: how requests end; how fast; tokens and cost; who is turned away; Lambda; Bedrock, which counts all that \
this account asks of these models in this region; the log. \
Saved queries are in Logs Insights, in the folder `{service}`."""


def make(
    scope: Construct,
    *,
    config: Config,
    metrics: Metrics,
    log_group: logs.ILogGroup,
    alarms: Sequence[cloudwatch.IAlarm],
) -> cloudwatch.Dashboard:
    """Make the dashboard.

    Dashboards belong to an account and to none of its regions: the name tells the stack's, so that one
    stack in several regions has several, and the service's where that is another one, so that two
    functions of a stack have two.
    """
    stack = outermost_stack(scope).stack_name
    # A stack's name has no `_`, so that no other stack's is taken for both, and a dashboard's no dot.
    service = "" if config.service == stack else f"_{without_dots(config.service)}"
    dashboard = cloudwatch.Dashboard(
        scope,
        "Dashboard",
        dashboard_name=f"{stack}{service}-{Aws.REGION}",
        default_interval=Duration.hours(3),
    )
    dashboard.add_widgets(_header(stack, config.service, metrics))
    if alarms:
        dashboard.add_widgets(
            cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=WIDTH, height=3)
        )
    dashboard.add_widgets(_numbers(metrics))
    for row in graphs.rows(config, metrics):
        dashboard.add_widgets(*row)
    dashboard.add_widgets(_log("Latest failures", LATEST_FAILURES, log_group))
    dashboard.add_widgets(_log("Latest refusals", LATEST_REFUSALS, log_group))
    return dashboard


def _header(stack: str, service: str, metrics: Metrics) -> cloudwatch.TextWidget:
    unpriced = [f"`{model.label}`" for model in metrics.models if not model.price]
    not_counted = f" Not counted, for want of a price: {', '.join(unpriced)}." if unpriced else ""
    text = _HEADER.format(stack=stack, service=service, not_counted=not_counted)
    return cloudwatch.TextWidget(width=WIDTH, height=5, markdown=text)


def _numbers(metrics: Metrics) -> cloudwatch.SingleValueWidget:
    shown: list[cloudwatch.IMetric] = [
        metrics.own("Requests"),
        metrics.failure_percent(),
        metrics.own("Refusals"),
        metrics.own("TimeToFirstToken", "p50", label="First token, p50 in ms"),
        metrics.own("TimeToFirstToken", "p95", label="First token, p95 in ms"),
        metrics.own("Throttles"),
        metrics.own("Timeouts", label="Cut by the deadline"),
    ]
    if metrics.priced:
        shown.append(metrics.cost_in_all("Cost in USD"))
    return cloudwatch.SingleValueWidget(
        title="In all, over the time that is shown",
        metrics=shown,
        set_period_to_time_range=True,
        width=WIDTH,
        height=3,
    )


def _log(title: str, query: str, log_group: logs.ILogGroup) -> cloudwatch.LogQueryWidget:
    return cloudwatch.LogQueryWidget(
        title=title,
        log_group_names=[log_group.log_group_name],
        query_string=query,
        width=WIDTH,
        height=HEIGHT,
    )

"""The alarms: few, each on something that a person should do something about, and what that is.

Where nobody calls, nothing is wrong: missing data does not ring. docs/observability.md has a chapter for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.metrics import PERIOD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.config import Config
    from infra.metrics import Metrics, Model

LEAST_REQUESTS = 10  # in a period, or else one failure of a few is too many percent
THROTTLES = 5  # in a period
TIMEOUTS = 3  # in a quarter of an hour
MOST_METRICS = 10  # in one alarm: CloudWatch's own limit


class Alarms(Construct):
    """All alarms of a deployment.

    Attributes:
        alarms: them, in the order of the dashboard.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config, metrics: Metrics
    ) -> None:
        super().__init__(scope, construct_id)
        self._metrics = metrics
        self.alarms = (
            self._failures(config.alarm_error_percent),
            self._crashes(),
            self._first_token(config.alarm_first_token_seconds),
            self._throttles(),
            self._timeouts(),
            *self._spend(config.alarm_spend_per_hour),
        )
        if config.alarm_topic_arn:
            topic = sns.Topic.from_topic_arn(self, "Topic", config.alarm_topic_arn)
            for alarm in self.alarms:
                alarm.add_alarm_action(actions.SnsAction(topic))
                alarm.add_ok_action(actions.SnsAction(topic))

    def _failures(self, percent: float) -> cloudwatch.Alarm:
        return self._alarm(
            "Failures",
            f"At least {percent:g} % of requests fail by Bedrock's fault, this deployment's or a bug's; "
            "callers' own mistakes do not count. The saved query 'Failures by code' tells which, "
            "and 'Latest failures' names the requests.",
            self._metrics.failure_percent(least=LEAST_REQUESTS),
            threshold=percent,
            datapoints=2,
            of=3,
        )

    def _crashes(self) -> cloudwatch.Alarm:
        return self._alarm(
            "Crashes",
            "Invocations end of which the function tells nothing: it does not start, for want of a "
            "setting, a permission or a module, or Lambda kills it, for want of memory or time. Callers "
            "get 502, or half an answer. The saved query 'Latest crashes' has them, and the log their "
            "reasons; 'Memory' tells whether it was that. If it began with a deployment, undo that.",
            self._metrics.crashes(),
            threshold=1,
            datapoints=2,
            of=3,
        )

    def _first_token(self, seconds: float) -> cloudwatch.Alarm:
        slow = cloudwatch.MathExpression(
            expression=f"IF(streams >= {LEAST_REQUESTS}, first_token, 0)",
            using_metrics={
                "first_token": self._metrics.own("TimeToFirstToken", "p95"),
                "streams": self._metrics.own("TimeToFirstToken", "SampleCount"),
            },
            label="Time to first token, p95 in ms",
            period=PERIOD,
        )
        return self._alarm(
            "FirstToken",
            f"One caller in twenty waits {seconds:g} s or longer for the first word. Compare with "
            "Bedrock's own TimeToFirstToken, among its metrics: if that has grown, too, it is the "
            "model; if not, look at cold starts and retries by the saved query 'Slowest first tokens'.",
            slow,
            threshold=seconds * 1000,
            datapoints=3,
            of=3,
        )

    def _throttles(self) -> cloudwatch.Alarm:
        throttled = cloudwatch.MathExpression(
            expression="SUM([FILL(by_function, 0), FILL(by_lambda, 0)])",
            using_metrics={
                "by_function": self._metrics.own("Throttles"),
                "by_lambda": self._metrics.function.metric_throttles(),
            },
            label="Throttled",
            period=PERIOD,
        )
        return self._alarm(
            "Throttles",
            f"At least {THROTTLES} requests in five minutes were turned away with 429: a quota is used "
            "up, Bedrock's (ask for more, or choose fallback_model_ids) or Lambda's concurrency "
            "(reserved_concurrency, or the account's). Of the two metrics Throttles, the function's own "
            "and Lambda's, the one that has grown tells which.",
            throttled,
            threshold=THROTTLES,
            datapoints=2,
            of=3,
        )

    def _timeouts(self) -> cloudwatch.Alarm:
        return self._alarm(
            "Timeouts",
            f"At least {TIMEOUTS} answers in a quarter of an hour were ended because Lambda's timeout "
            "was near; they are paid for, and incomplete. Raise timeout_seconds, or let answers be "
            "shorter by max_tokens. The saved query 'Answers that the deadline cut' names the requests.",
            self._metrics.own("Timeouts").with_(period=Duration.minutes(15)),
            threshold=TIMEOUTS,
            datapoints=1,
            of=1,
        )

    def _spend(self, usd: float) -> Iterator[cloudwatch.Alarm]:
        groups = _groups(self._metrics.priced)
        for number, models in enumerate(groups, 1):
            names = ", ".join(model.label for model in models)
            yield self._alarm(
                "Spend" if len(groups) == 1 else f"Spend{number}",
                f"By the prices that this deployment was given, an hour's tokens of {names} cost "
                f"{usd:g} USD or more. The saved queries 'Tokens by caller and model' and 'Cost by "
                "caller' tell whose; daily_tokens and max_tokens bound it, and "
                "reserved_concurrency=1 nearly stops it.",
                self._metrics.cost(models, "USD an hour", Duration.hours(1)),
                threshold=usd,
                datapoints=1,
                of=1,
            )

    def _alarm(
        self,
        name: str,
        description: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        datapoints: int,
        of: int,
    ) -> cloudwatch.Alarm:
        """Make an alarm that rings at the threshold, or above, in so many of the latest periods."""
        return cloudwatch.Alarm(
            self,
            name,
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            datapoints_to_alarm=datapoints,
            evaluation_periods=of,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )


def _groups(models: list[Model]) -> list[list[Model]]:
    """Part models so that the metrics of each group's prices fit into one alarm."""
    groups: list[list[Model]] = []
    room = 0
    for model in models:
        needed = len(model.price.by_metric) if model.price else 0
        if needed > room:
            groups.append([])
            room = MOST_METRICS
        groups[-1].append(model)
        room -= needed
    return groups

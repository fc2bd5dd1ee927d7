"""What tells how a deployment fares: the dashboard, the alarms and the saved queries, wired to one function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import Annotations
from constructs import Construct

from infra import crashes, dashboard, prices, queries
from infra.alarms import Alarms
from infra.config import ConfigError
from infra.metrics import Metrics, called_model_ids
from infra.naming import settled

if TYPE_CHECKING:
    from aws_cdk import aws_cloudwatch as cloudwatch
    from aws_cdk import aws_lambda as lambda_
    from aws_cdk import aws_logs as logs

    from infra.config import Config


class Observability(Construct):
    """Watches a streaming function.

    Its service is called as the function itself calls it, after the stack that the function is in; of a
    function that is imported, the choices have to name it.

    Attributes:
        dashboard: `None` where the deployment wants none.
        alarms: empty where the deployment wants none.
    """

    dashboard: cloudwatch.Dashboard | None = None
    alarms: tuple[cloudwatch.Alarm, ...] = ()

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        function: lambda_.IFunction,
        log_group: logs.ILogGroup,
    ) -> None:
        super().__init__(scope, construct_id)
        if not (config.service_name or function.node.default_child):
            raise ConfigError(
                "service_name: expected the function's own where it is imported, for its stack is not "
                "known; got ''"
            )
        config = settled(config, function)
        metrics = Metrics(config, function)
        if config.alarms or config.dashboard:
            queries.save(self, log_group, metrics.models, service=config.service)
            crashes.count(
                self, log_group, namespace=metrics.namespace, metric_name=metrics.crashes_name
            )
        if config.alarms:
            self.alarms = Alarms(self, "Alarms", config=config, metrics=metrics).alarms
        if config.dashboard:
            self.dashboard = dashboard.make(
                self, config=config, metrics=metrics, log_group=log_group, alarms=self.alarms
            )
        self._warn_of_unknown_models(config)

    def _warn_of_unknown_models(self, config: Config) -> None:
        """Say which prices are of no model that could answer: most likely a slip of the pen."""
        known = called_model_ids(config)
        for price in map(prices.price, config.prices):
            if price.model not in known:
                Annotations.of(self).add_warning_v2(
                    f"rivulet:price:{price.model}",
                    f"prices: expected models out of model_ids and fallback_model_ids, got {price.model}",
                )

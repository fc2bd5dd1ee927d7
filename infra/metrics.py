"""The metrics that the dashboard and the alarms look at, by the names that CloudWatch knows them by.

The function's own are made in `lambda_src/relay/measures.py`; Lambda's and Bedrock's are AWS's. What is
counted by model is counted under the name that `relay.models.name_of` gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aws_cdk import Duration, Fn
from aws_cdk import aws_cloudwatch as cloudwatch

from infra import prices
from infra.cdk_tokens import has_token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aws_cdk import aws_lambda as lambda_

    from infra.config import Config

PERIOD = Duration.minutes(5)


class Model(NamedTuple):
    """A model that may answer.

    Attributes:
        name: the value of the function's own dimension `model`, and of its records' field.
        label: a shorter one, for graphs.
        bedrock_id: the value of Bedrock's own dimension `ModelId`.
        price: what its tokens cost, where the deployment says so and it is not nothing.
    """

    name: str
    label: str
    bedrock_id: str
    price: prices.Price | None


class Metrics:
    """The metrics of one deployment.

    Args:
        config: names the service, the namespace and the models.
        function: the function whose they are.

    Attributes:
        models: those that may answer.
        priced: those of them that have a price.
        function: as it was given.
        namespace: of the function's own metrics.
        crashes_name: the metric of its crashes. What is counted in a log has no dimensions by which
            deployments could be told apart: the name tells the service.
    """

    def __init__(self, config: Config, function: lambda_.IFunction) -> None:
        self.models = models(config)
        self.priced = [model for model in self.models if model.price]
        self.function = function
        self.namespace = config.metrics_namespace
        self.crashes_name = f"Crashes-{config.service}"
        self._service = config.service

    def own(
        self,
        name: str,
        statistic: str = "Sum",
        *,
        label: str | None = None,
        color: str | None = None,
        **dimensions: str,
    ) -> cloudwatch.Metric:
        """Return one of the function's own, of the whole service or by one dimension more."""
        return cloudwatch.Metric(
            namespace=self.namespace,
            metric_name=name,
            dimensions_map={"service": self._service, **dimensions},
            statistic=statistic,
            label=label or name,
            color=color,
            period=PERIOD,
        )

    def own_by(self, name: str, dimension: str) -> cloudwatch.SearchExpression:
        """Return one of the function's own, once for each value of a dimension that there has been."""
        schema = f'"{self.namespace}",service,{dimension}'
        terms = f'service="{self._service}" MetricName="{name}"'
        return cloudwatch.SearchExpression(
            expression=f"SEARCH('{{{schema}}} {terms}', 'Sum')",
            label=f"${{PROP('Dim.{dimension}')}}",
            period=PERIOD,
        )

    def cold_starts(self) -> cloudwatch.Metric:
        """Return Powertools' own, which has the function's name among its dimensions."""
        name = self.function.function_name
        return self.own("ColdStart", label="Cold starts", function_name=name)

    def bedrock(self, name: str, model: Model, statistic: str, label: str) -> cloudwatch.Metric:
        """Return one of Bedrock's: it counts all that the account asks of a model in this region."""
        return cloudwatch.Metric(
            namespace="AWS/Bedrock",
            metric_name=name,
            dimensions_map={"ModelId": model.bedrock_id},
            statistic=statistic,
            label=label,
            period=PERIOD,
        )

    def failure_percent(self, *, least: int = 1) -> cloudwatch.MathExpression:
        """Return how many of a hundred requests failed; none, where there were fewer than `least`.

        Lambda's own count of invocations would not do: it is told for the time when a stream began, not when it ended.
        """
        return cloudwatch.MathExpression(
            expression=f"IF(requests >= {least}, 100 * failures / requests, 0)",
            using_metrics={"requests": self.own("Requests"), "failures": self.own("Failures")},
            label="Failures in percent",
            period=PERIOD,
        )

    def crashes(self) -> cloudwatch.Metric:
        """Return how many invocations ended of which the function told nothing: it did not start, or was killed.

        Lambda's own errors are more than these, streams that broke among them, and are told for the time
        when a stream began.
        """
        return cloudwatch.Metric(
            namespace=self.namespace,
            metric_name=self.crashes_name,
            statistic="Sum",
            label="Crashes",
            color=cloudwatch.Color.PURPLE,
            period=PERIOD,
        )

    def cost(
        self, models: Iterable[Model], label: str, period: Duration = PERIOD
    ) -> cloudwatch.MathExpression:
        """Return what the tokens of a few models cost, in USD; there has to be a price for one of them."""
        terms: list[str] = []
        used: dict[str, cloudwatch.IMetric] = {}
        for model in models:
            prices_of = model.price.by_metric if model.price else {}
            for name, usd in prices_of.items():
                # The same wherever it is used: a graph takes an id for one metric only.
                key = f"model{self.models.index(model)}{name}"
                used[key] = self.own(name, model=model.name)
                # What is cached by nobody has no datapoint: it must not make the sum have none.
                terms.append(f"FILL({key}, 0) * {usd:f}")
        return cloudwatch.MathExpression(
            expression=f"SUM([{', '.join(terms)}]) / 1000000",
            using_metrics=used,
            label=label,
            period=period,
        )

    def costs(self, period: Duration = PERIOD) -> list[cloudwatch.MathExpression]:
        """Return what the tokens of each model with a price cost, in USD."""
        return [self.cost([model], model.label, period) for model in self.priced]

    def cost_in_all(self, label: str, period: Duration = PERIOD) -> cloudwatch.MathExpression:
        """Return the sum of them. It is short, however many there are: CloudWatch takes 2,048 characters."""
        each = {f"cost{number}": cost for number, cost in enumerate(self.costs(period))}
        return cloudwatch.MathExpression(
            expression=f"SUM([{', '.join(each)}])",
            using_metrics=dict(each),
            label=label,
            period=period,
        )


def models(config: Config) -> tuple[Model, ...]:
    """Return all models that may answer, those that only stand in for others last."""
    aliases = [alias.split("=", 1) for alias in config.model_aliases]
    read = map(prices.price, config.prices)
    priced = {found.model: found for found in read if found.by_metric}
    return tuple(
        _model(model_id, source, aliases, priced.get(model_id))
        for model_id, source in _called(config).items()
    )


def called_model_ids(config: Config) -> list[str]:
    """Return what Bedrock is called with, stand-ins included."""
    return list(_called(config))


def _called(config: Config) -> dict[str, str]:
    """Return what Bedrock is called with, each with what it was copied from, if it is an application profile."""
    called: dict[str, str] = {}
    for text in (*config.model_ids, *config.fallback_model_ids):
        model_id, _, source = text.partition("=")
        called.setdefault(model_id, source)
    return called


def _model(
    model_id: str, source: str, aliases: list[list[str]], price: prices.Price | None
) -> Model:
    is_token = has_token(model_id.rpartition("/")[2])
    if not (is_token or model_id.startswith("arn:")):
        return Model(model_id, model_id, model_id, price)
    resource = Fn.select(1, Fn.split("/", model_id)) if is_token else model_id.rpartition("/")[2]
    # Queries and widgets are called by what can be read now.
    label = f"profile of {source.rpartition('/')[2]}" if is_token else resource
    alias = next((name.strip() for name, of in aliases if of.strip() == model_id), None)
    return Model(alias or model_id, alias or label, resource, price)

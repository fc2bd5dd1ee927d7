"""The function's metrics: their names, units and dimensions, and how CloudWatch is told of them.

CloudWatch bills a metric once for each set of dimensions that it is told with. So each is told with those alone in
which somebody looks at it; the values of every dimension come out of a list that is known before anybody calls; and
what has not happened is not told at all, unless a rate is taken of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)

from relay.settings import AUTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.metrics.provider.cloudwatch_emf.types import CloudWatchEMFOutput


class Measure(NamedTuple):
    """A metric.

    Attributes:
        unit: CloudWatch's name of it.
        by: the dimensions besides ``service`` that it is told by, one at a time; ``""`` is none, for the whole.
    """

    unit: MetricUnit
    by: tuple[str, ...]


ALL, MODEL, CODE, WAY = "", "model", "code", "auth"
MEASURES = {
    "Requests": Measure(MetricUnit.Count, (ALL, MODEL, WAY)),
    "Failures": Measure(MetricUnit.Count, (ALL, MODEL)),
    "Refusals": Measure(MetricUnit.Count, (ALL,)),
    "Errors": Measure(MetricUnit.Count, (CODE,)),
    "Throttles": Measure(MetricUnit.Count, (ALL, MODEL)),
    "Timeouts": Measure(MetricUnit.Count, (ALL,)),
    "Fallbacks": Measure(MetricUnit.Count, (ALL,)),
    "Duration": Measure(MetricUnit.Milliseconds, (MODEL,)),
    "TimeToFirstToken": Measure(MetricUnit.Milliseconds, (ALL, MODEL)),
    "TimeBetweenPiecesP50": Measure(MetricUnit.Milliseconds, (MODEL,)),
    "TimeBetweenPiecesP95": Measure(MetricUnit.Milliseconds, (MODEL,)),
    "TimeBetweenPiecesMax": Measure(MetricUnit.Milliseconds, (MODEL,)),
    "Stalls": Measure(MetricUnit.Count, (ALL,)),
    "InputTokens": Measure(MetricUnit.Count, (MODEL,)),
    "OutputTokens": Measure(MetricUnit.Count, (MODEL,)),
    "CacheReadInputTokens": Measure(MetricUnit.Count, (MODEL,)),
    "CacheWriteInputTokens": Measure(MetricUnit.Count, (MODEL,)),
}

# What of a record is a metric as it is.
_FIELDS = {
    "Duration": "duration_ms",
    "TimeToFirstToken": "time_to_first_token_ms",
    "TimeBetweenPiecesP50": "time_between_pieces_p50_ms",
    "TimeBetweenPiecesP95": "time_between_pieces_p95_ms",
    "TimeBetweenPiecesMax": "time_between_pieces_max_ms",
    "Stalls": "stalls",
    "InputTokens": "input_tokens",
    "OutputTokens": "output_tokens",
    "CacheReadInputTokens": "cache_read_input_tokens",
    "CacheWriteInputTokens": "cache_write_input_tokens",
}

# Errors that are their caller's doing: who calls cannot be known or may not, asks for what is not there or what the
# model does not take, has used up a budget, or has gone away.
CALLERS = frozenset(
    {
        "budget_exhausted",
        "caller_gone",
        "forbidden",
        "invalid_event",
        "invalid_request",
        "method_not_allowed",
        "model_not_found",
        "not_acceptable",
        "not_found",
        "payload_too_large",
        "unauthenticated",
        "unsupported_media_type",
        "validation",
    }
)
# Bedrock's, the way's to it, this deployment's: nothing that a caller could mend.
SERVICES = frozenset(
    {
        "access_denied",
        "access_unavailable",
        "connect_failed",
        "connect_timeout",
        "connection_lost",
        "corrupt",
        "internal",
        "internal_server",
        "misconfigured",
        "model_error",
        "model_not_ready",
        "model_stream_error",
        "model_timeout",
        "read_timeout",
        "resource_not_found",
        "response_too_large",
        "service_quota_exceeded",
        "service_unavailable",
        "throttling",
        "timeout",
        "too_many_streams",
        "truncated",
        "unknown",
    }
)
OTHER = "other"  # the dimension's value for a code that Bedrock has made up since
THROTTLES = frozenset({"service_quota_exceeded", "throttling", "too_many_streams"})
WAYS = frozenset({*AUTH, "direct"})


def at_fault(code: str) -> str:
    """Return whose doing an error is: the ``caller``'s or the ``service``'s, which is this deployment's and Bedrock's.

    What has no known code is the service's: better one alarm too many.
    """
    return "caller" if code in CALLERS else "service"


def dimensions(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what a request is told by, besides its service. A model is always one of the deployment's own."""
    found: dict[str, str] = {}
    if "model" in record:
        found[MODEL] = record["model"]
    if "error" in record:
        code = record["error"]
        found[CODE] = code if code in CALLERS or code in SERVICES else OTHER
    if record.get("auth") in WAYS:
        found[WAY] = record["auth"]
    return found


def values(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of one request by their names."""
    error = record.get("error")
    found: dict[str, float] = {
        "Requests": 1,
        "Failures": int(record.get("at_fault") == "service"),
        "Refusals": int(record.get("at_fault") == "caller"),
    }
    happened = {
        "Errors": error is not None,
        "Throttles": error in THROTTLES,
        "Timeouts": error == "timeout",
        "Fallbacks": "fallback_from" in record,
    }
    found |= {name: 1 for name, has in happened.items() if has}
    return found | {name: record[field] for name, field in _FIELDS.items() if field in record}


class Measures(AmazonCloudWatchEMFProvider):
    """Powertools' metrics, each with its own dimensions.

    Powertools tells every metric with every set of dimensions. The embedded metric format has room for more: a list
    of directives, each with its metrics and its dimensions, over the same values. So all of a request is one line.
    """

    def serialize_metric_set(
        self,
        metrics: dict[str, Any] | None = None,
        dimensions: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> CloudWatchEMFOutput:
        """Return the line, as JSON to be."""
        line = super().serialize_metric_set(metrics, dimensions, metadata)
        (whole,) = line["_aws"]["CloudWatchMetrics"]
        service = ["service"] if "service" in line else []
        directives = []
        for by in (ALL, MODEL, CODE, WAY):
            told = [metric for metric in whole["Metrics"] if by in MEASURES[metric["Name"]].by]
            if told and (by == ALL or by in line):
                names = [*service, by] if by else service
                directives.append({**whole, "Dimensions": [names], "Metrics": told})
        line["_aws"]["CloudWatchMetrics"] = directives  # type: ignore[typeddict-item]  # as it was, but more of it
        return line

"""Saved queries for CloudWatch Logs Insights, over the records that the function writes.

Their fields are those of docs/observability.md, of which each is there only where it is known; those with
an `@` are Logs Insights' own, found in every line or in Lambda's `REPORT` lines.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aws_cdk import aws_logs as logs

from infra.crashes import PATTERNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from constructs import Construct

    from infra.metrics import Model
    from infra.prices import Price

LATEST_FAILURES = """\
fields @timestamp, error, cause, model, status, route, caller, function_request_id
| filter at_fault = "service"
| sort @timestamp desc
| limit 50"""

LATEST_REFUSALS = """\
fields @timestamp, error, status, route, auth, caller, source_ip, function_request_id
| filter at_fault = "caller"
| sort @timestamp desc
| limit 50"""

# A caller knows a request by the answer's `x-request-id`.
ONE_REQUEST = """\
fields @timestamp, @message
| filter function_request_id = "REQUEST_ID" or @requestId = "REQUEST_ID"
| sort @timestamp asc"""

# What the alarm counts.
LATEST_CRASHES = f"""\
fields @timestamp, @message, @requestId
| filter {" or ".join(f"@message like /{pattern}/" for pattern in PATTERNS)}
| sort @timestamp desc
| limit 50"""

QUERIES = {
    "Latest failures": LATEST_FAILURES,
    "Latest refusals": LATEST_REFUSALS,
    "Latest crashes": LATEST_CRASHES,
    "One request": ONE_REQUEST,
    "Failures by code": """\
filter at_fault = "service"
| stats count(*) as failures, max(@timestamp) as latest by error, cause, model
| sort failures desc""",
    "Refusals by caller": """\
filter at_fault = "caller"
| stats count(*) as refusals, max(@timestamp) as latest by error, auth, caller, source_ip
| sort refusals desc""",
    "Slowest first tokens": """\
fields @timestamp, time_to_first_token_ms, model, cold_start, retries, fallback_from, input_tokens,
    caller, function_request_id
| filter ispresent(time_to_first_token_ms)
| sort time_to_first_token_ms desc
| limit 50""",
    "Speed by model": """\
filter ispresent(time_to_first_token_ms)
| stats count(*) as streams,
    pct(time_to_first_token_ms, 50) as first_token_p50,
    pct(time_to_first_token_ms, 95) as first_token_p95,
    pct(time_between_pieces_p95_ms, 95) as between_pieces_p95,
    pct(duration_ms, 95) as duration_p95,
    sum(stalls) as stalled
    by model, bin(1h)""",
    "Longest silences": """\
fields @timestamp, time_between_pieces_max_ms, stalls, heartbeats, pieces, model, error,
    function_request_id
| filter ispresent(time_between_pieces_max_ms)
| sort time_between_pieces_max_ms desc
| limit 50""",
    "Tokens by caller and model": """\
filter ispresent(output_tokens)
| stats count(*) as streams,
    sum(input_tokens) as input,
    sum(output_tokens) as output,
    sum(cache_read_input_tokens) as cache_read,
    sum(cache_write_input_tokens) as cache_write
    by caller, model
| sort output desc""",
    "Budgets by caller": """\
filter ispresent(budget_used)
| stats max(budget_used) as used, max(budget) as daily_budget by caller, bin(1d)
| sort used desc""",
    "Answers that the deadline cut": """\
fields @timestamp, duration_ms, time_to_first_token_ms, pieces, output_tokens, model, caller,
    function_request_id
| filter error = "timeout"
| sort @timestamp desc
| limit 50""",
    "Models that stood in": """\
filter ispresent(fallback_from)
| stats count(*) as streams by fallback_from, model, bin(1h)""",
    "Cold starts": """\
filter @type = "REPORT"
| parse @message /Restore Duration: (?<restored>[0-9.]+) ms/
| fields coalesce(@initDuration, 0) + coalesce(restored, 0) as start_ms
| filter start_ms > 0
| stats count(*) as cold_starts, avg(start_ms) as average_ms, max(start_ms) as longest_ms
    by bin(1h)""",
    "Memory": """\
filter @type = "REPORT"
| stats max(@maxMemoryUsed) as used_bytes, max(@memorySize) as given_bytes by bin(1h)""",
}

_FIELDS = {
    "InputTokens": "input_tokens",
    "OutputTokens": "output_tokens",
    "CacheReadInputTokens": "cache_read_input_tokens",
    "CacheWriteInputTokens": "cache_write_input_tokens",
}
_NO_NAME = re.compile(r"[:*/\\]")
_LONGEST_LABEL = 90  # of 255 characters for all, of which a service's name takes up to 128


def save(
    scope: Construct, log_group: logs.ILogGroup, models: Iterable[Model], *, service: str
) -> None:
    """Save the queries, in a folder that is called as the service: two functions of a stack have two.

    What each caller has spent can be asked of every model that has a price.
    """
    for name, text in {**QUERIES, **_costs(models)}.items():
        logs.CfnQueryDefinition(
            scope,
            name,
            name=f"{service}/{name}",
            query_string=text,
            log_group_names=[log_group.log_group_name],
        )


def _costs(models: Iterable[Model]) -> dict[str, str]:
    """Return a query for each model with a price, by names that are not the same for any two."""
    costs: dict[str, str] = {}
    for model in models:
        if model.price:
            name, number = _name(model.label), 1
            while name in costs:
                number += 1
                name = f"{_name(model.label)} ({number})"
            costs[name] = _cost(model.name, model.price)
    return costs


def _name(label: str) -> str:
    # CloudFormation takes no `:` and no `*`, and a `/` would make a folder.
    return f"Cost by caller of {_NO_NAME.sub('-', label)[:_LONGEST_LABEL]}"


def _cost(model: str, price: Price) -> str:
    terms = (f"coalesce({_FIELDS[name]}, 0) * {usd:f}" for name, usd in price.by_metric.items())
    return f"""\
filter model = "{model}"
| stats count(*) as streams, sum(({" + ".join(terms)}) / 1000000) as usd by caller
| sort usd desc"""

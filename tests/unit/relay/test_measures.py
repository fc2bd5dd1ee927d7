from __future__ import annotations

import json
from typing import Any

import pytest

from relay import errors, measures
from relay.measures import CALLERS, MEASURES, SERVICES, THROTTLES, WAYS, Measures
from tests.unit.relay.error_codes import codes


def test_every_code_is_known() -> None:
    """Each code that the source can give is on one of the two lists, and on no more than one."""
    unknown = codes() - CALLERS - SERVICES
    assert not unknown, "whose doing is it? relay/measures.py says so, and the docs that list codes"
    assert CALLERS.isdisjoint(SERVICES)
    assert THROTTLES < SERVICES
    assert {"unauthenticated", "forbidden", "not_found", "invalid_request"} <= CALLERS


def test_retryable_errors_are_not_the_callers() -> None:
    """What a caller is told to try again later is not the caller's doing."""
    kinds = {**errors._TRANSPORT, **errors._LIMITS, **errors._ACCESS}
    kinds |= {errors.bedrock_error(name).code: kind for name, kind in errors._EXCEPTIONS.items()}
    told = {code for code, kind in kinds.items() if kind.retryable or kind.status >= 500}
    assert {measures.at_fault(code) for code in told - {"budget_exhausted"}} == {"service"}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, {}),
        ({"model": "a.model", "auth": "iam"}, {"model": "a.model", "auth": "iam"}),
        ({"error": "throttling"}, {"code": "throttling"}),
        ({"error": "something_new"}, {"code": "other"}),
        ({"auth": "x", "caller": "a.role"}, {}),
        *(({"auth": way}, {"auth": way}) for way in sorted(WAYS)),
    ],
)
def test_dimensions_are_bounded(record: dict[str, Any], expected: dict[str, str]) -> None:
    """A request is told by values that are known beforehand: not by its caller, nor by a code that is on no list."""
    assert measures.dimensions(record) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, {"Failures": 0, "Refusals": 0}),
        ("unauthenticated", {"Failures": 0, "Refusals": 1, "Errors": 1}),
        ("budget_exhausted", {"Failures": 0, "Refusals": 1, "Errors": 1}),
        ("validation", {"Failures": 0, "Refusals": 1, "Errors": 1}),
        ("access_denied", {"Failures": 1, "Refusals": 0, "Errors": 1}),
        ("internal", {"Failures": 1, "Refusals": 0, "Errors": 1}),
        ("something_new", {"Failures": 1, "Refusals": 0, "Errors": 1}),
        ("timeout", {"Failures": 1, "Refusals": 0, "Errors": 1, "Timeouts": 1}),
        ("read_timeout", {"Failures": 1, "Refusals": 0, "Errors": 1}),
        *(
            (code, {"Failures": 1, "Refusals": 0, "Errors": 1, "Throttles": 1})
            for code in sorted(THROTTLES)
        ),
    ],
)
def test_an_error_is_counted_by_whose_doing_it_is(
    error: str | None, expected: dict[str, int]
) -> None:
    """Failures and refusals are told of every request; throttles and timeouts only where there was one."""
    record = {} if error is None else {"error": error, "at_fault": measures.at_fault(error)}
    assert measures.values(record) == {"Requests": 1, **expected}


def _line(service: str | None, record: dict[str, Any]) -> dict[str, Any]:
    told = Measures(namespace="Shop", service=service)
    for name, value in measures.dimensions(record).items():
        told.add_dimension(name, value)
    for name, number in measures.values(record).items():
        told.add_metric(name, MEASURES[name].unit, number)
    line: dict[str, Any] = json.loads(json.dumps(told.serialize_metric_set()))
    return line


def _sets(line: dict[str, Any]) -> list[tuple[list[str], list[str]]]:
    return [
        (*directive["Dimensions"], [metric["Name"] for metric in directive["Metrics"]])
        for directive in line["_aws"]["CloudWatchMetrics"]
    ]


def test_each_metric_has_its_own_dimensions() -> None:
    """One line has a directive for each set of dimensions, with the metrics that are looked at by it, and no more."""
    record = {"model": "m", "auth": "jwt", "error": "throttling", "at_fault": "service"}
    line = _line("s", {**record, "duration_ms": 5.0})
    assert _sets(line) == [
        (["service"], ["Requests", "Failures", "Refusals", "Throttles"]),
        (["service", "model"], ["Requests", "Failures", "Throttles", "Duration"]),
        (["service", "code"], ["Errors"]),
        (["service", "auth"], ["Requests"]),
    ]
    values = {name: line[name] for name in ("service", "model", "code", "auth", "Duration")}
    assert values == {
        "service": "s", "model": "m", "code": "throttling", "auth": "jwt", "Duration": [5.0]
    }  # fmt: skip
    assert {d["Namespace"] for d in line["_aws"]["CloudWatchMetrics"]} == {"Shop"}


def test_a_request_without_a_model_is_not_told_by_one() -> None:
    """A dimension that a request has no value of is in no directive: CloudWatch would refuse the line."""
    line = _line("s", {"duration_ms": 5.0})
    assert _sets(line) == [(["service"], ["Requests", "Failures", "Refusals"])]


def test_without_a_service_there_are_metrics_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has named the service, the whole has no dimension, as Powertools tells it."""
    monkeypatch.delenv("POWERTOOLS_SERVICE_NAME", raising=False)
    line = _line(None, {"model": "m"})
    assert [names for names, _ in _sets(line)] == [[], ["model"]]
    assert "service" not in line


def test_nothing_is_left_for_the_next_request(capsys: pytest.CaptureFixture[str]) -> None:
    """A line that has been written leaves neither a value nor a dimension behind."""
    told = Measures(namespace="Shop", service="s")
    told.add_dimension("model", "m")
    told.add_metric("Requests", MEASURES["Requests"].unit, 1)
    told.flush_metrics()
    told.add_metric("Failures", MEASURES["Failures"].unit, 0)
    told.flush_metrics()
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [names for names, _ in _sets(first)] == [["service"], ["service", "model"]]
    assert second.keys() == {"_aws", "service", "Failures"}

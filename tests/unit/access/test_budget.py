from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from access.budget_ceiling import Tokens
from access.caller import Caller
from relay.errors import (
    LimitError,
    RequestError,
    bedrock_error,
    limit_error,
    transport_error,
)
from tests.unit.access.budget_fakes import COUNTED, NOON, WEB, Table, a_budget, answered, reserve

if TYPE_CHECKING:
    from access.budget import Spending


@pytest.fixture(autouse=True)
def _no_clients(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no client that a fake takes the place of: it takes a while."""
    if "real_clients" not in request.fixturenames:
        monkeypatch.setattr("access.budget._new_client", lambda: None)


@pytest.fixture
def real_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def _failed(spending: Spending, error: Exception) -> Spending:
    with pytest.raises(type(error)), spending.attempt():
        raise error
    return spending


def test_a_call_takes_its_most_and_gives_back_the_rest() -> None:
    """Input, output, and what the cache has read and written are counted, and nothing twice."""
    table = Table()
    spending = reserve(a_budget(table))
    assert table.used == sum(spending.reserved) == spending.used
    assert spending.reserved.output == 60
    answered(spending).settle(COUNTED, complete=True)
    assert table.used == spending.used == 10 + 5 + 300 + 40
    assert table.items["api-key#web#2025-11-30"]["unsettled"] == set()


def test_each_caller_has_a_budget_a_day() -> None:
    """An item for each way, name and day of UTC, which expires some days later."""
    table = Table()
    for caller, now in [
        (WEB, NOON),
        (WEB, NOON + 86_400),
        (Caller("web", "jwt"), NOON),
        (Caller("direct", "direct"), NOON),
        (Caller("public", "public"), NOON),
    ]:
        reserve(a_budget(table, now), caller)
    assert list(table.items) == [
        "api-key#web#2025-11-30",
        "api-key#web#2025-12-01",
        "jwt#web#2025-11-30",
        "direct#direct#2025-11-30",
        "public#public#2025-11-30",
    ]
    expires = table.updates[0]["ExpressionAttributeValues"][":expires"]
    assert expires == {"N": str(int(NOON) + 43_200 + 3 * 86_400)}


@pytest.mark.parametrize(
    ("seconds", "resets", "retry_after"),
    [
        (0.0, "2025-12-01T00:00:00Z", "43200"),
        (43_199.5, "2025-12-01T00:00:00Z", "1"),
        (43_200.0, "2025-12-02T00:00:00Z", "86400"),
    ],
)
def test_a_budget_that_is_used_up_says_when_it_resets(
    seconds: float, resets: str, retry_after: str
) -> None:
    """A 429 that no client tries again at once: the budget, the next midnight of UTC, the seconds until then."""
    table = Table()
    budget = a_budget(table, NOON + seconds, daily_tokens=500)
    reserve(budget)
    with pytest.raises(LimitError) as caught:
        reserve(budget)
    error = caught.value
    assert (error.status, error.code, error.retryable) == (429, "budget_exhausted", False)
    assert error.message == f"The budget of 500 tokens a day is used up; it resets at {resets}."
    assert error.headers["retry-after"] == retry_after


def test_the_last_call_finds_something_left() -> None:
    """One token below the budget a call is let in, however much it may cost; at the budget none is."""
    table = Table()
    budget = a_budget(table, daily_tokens=300)
    spending = answered(reserve(budget))
    spending.settle({"inputTokens": 299, "outputTokens": 0}, complete=True)
    second = answered(reserve(budget))
    second.settle({"inputTokens": 1, "outputTokens": 0}, complete=True)
    assert table.used == 300
    with pytest.raises(LimitError):
        reserve(budget)


RESERVED = Tokens(0, 60)  # the input's is filled in


@pytest.mark.parametrize(
    ("usage", "complete", "prompt", "answer"),
    [
        (COUNTED, True, 350, 5),
        ({"inputTokens": 10}, True, 10, 0),  # an embedding
        ({}, True, None, 60),  # a model that counts nothing
        ({}, False, None, 60),
        ({"inputTokens": 10, "outputTokens": 1}, False, 10, 60),
        ({"outputTokens": 70}, False, None, 70),
        ({"inputTokens": -5, "outputTokens": 5}, True, None, 60),
        ({"inputTokens": True, "outputTokens": 5}, True, None, 60),
        ({"inputTokens": 10**30, "outputTokens": 5}, True, None, 60),
    ],
)
def test_what_nobody_counted_stays_taken(
    usage: dict[str, Any], *, complete: bool, prompt: int | None, answer: int
) -> None:
    """What Bedrock has counted is known; of an answer that broke off, or that nobody counted, the most is taken."""
    table = Table()
    spending = answered(reserve(a_budget(table)))
    spending.settle(usage, complete=complete)
    assert table.used == (spending.reserved.input if prompt is None else prompt) + answer


@pytest.mark.parametrize(
    ("error", "is_free"),
    [
        (bedrock_error("ThrottlingException"), True),
        (bedrock_error("ValidationException"), True),
        (transport_error("connect_failed"), True),
        (transport_error("connect_timeout"), True),
        (RequestError(400, "invalid_request", "no"), True),
        (transport_error("read_timeout"), False),
        (transport_error("connection_lost"), False),
        (transport_error("truncated"), False),
        (transport_error("corrupt"), False),
        (limit_error("timeout"), False),
        (OSError(), False),
    ],
)
def test_a_refused_call_costs_nothing(error: Exception, *, is_free: bool) -> None:
    """What Bedrock refused, or never got, is given back whole; what it may have begun is not."""
    table = Table()
    spending = _failed(reserve(a_budget(table)), error)
    spending.settle({}, complete=False)
    assert table.used == (0 if is_free else sum(spending.reserved))


def test_a_call_that_was_never_made_costs_nothing() -> None:
    """Whatever came between."""
    table = Table()
    reserve(a_budget(table)).settle({}, complete=False)
    assert table.used == 0


def test_a_stand_in_may_cost_what_the_first_model_refused() -> None:
    """After a refusal it counts what becomes of the next call; a refusal after that takes nothing back."""
    table = Table()
    spending = _failed(reserve(a_budget(table)), bedrock_error("ThrottlingException"))
    _failed(spending, transport_error("connection_lost"))
    _failed(spending, bedrock_error("ThrottlingException"))
    spending.settle({}, complete=False)
    assert table.used == sum(spending.reserved)


def test_an_item_that_somebody_took_out_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever deletes an item begins the caller's day anew; what is settled later adds nothing to it."""
    table = Table()
    spending = answered(reserve(a_budget(table)))
    table.items.clear()
    spending.settle(COUNTED, complete=True)
    assert table.items == {}
    assert caplog.records == []


def test_a_ceiling_that_was_none_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """A call that cost more than it could is counted in full, and the log says so."""
    table = Table()
    spending = answered(reserve(a_budget(table)))
    spending.settle({"inputTokens": 90_000, "outputTokens": 1}, complete=True)
    assert table.used == 90_001
    assert [r.getMessage() for r in caplog.records] == ["a call has cost more than its ceiling"]


@pytest.mark.usefixtures("real_clients")
def test_a_renewed_budget_has_another_client() -> None:
    """After a restore no connection and no credentials of before are used."""
    budget = a_budget(Table())
    budget.renew()
    first = budget._client
    budget.renew()
    assert budget._client is not first
    assert first.meta.config.retries["total_max_attempts"] == 2
    assert (first.meta.config.connect_timeout, first.meta.config.read_timeout) == (1, 1)


def test_one_update_takes_and_one_gives_back() -> None:
    """No more than two requests a call, and nothing of it but numbers and names."""
    table = Table()
    answered(reserve(a_budget(table))).settle(COUNTED, complete=True)
    assert len(table.updates) == 2
    told = {name for update in table.updates for name in update["ExpressionAttributeValues"]}
    assert told == {":tokens", ":id", ":ids", ":budget", ":expires"}
    assert {u["TableName"] for u in table.updates} == {"budgets"}

"""How many tokens a caller may use in a day of UTC: counted in DynamoDB, one item for each caller and day.

Before Bedrock is asked, the most that the call can cost is added to ``used``, if that has not reached the budget; once
the answer is over, what it has not cost is taken off again. So ``used`` is never less than what was used, whatever
breaks in between, and the only call that can exceed the budget is the one that found something left of it.

``unsettled`` holds the ids of the calls that are still to be settled: an update that is made again counts once, and
what nobody knows to be taken can be given back. Only a reservation that comes again after its settling counts once
more: too much, never too little.
"""

# ruff: noqa: TID251  # it counts in DynamoDB, by its own client

from __future__ import annotations

import math
import secrets
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from access.aws_errors import cause_of
from access.budget_ceiling import Tokens, ceiling
from relay.bedrock import new_session
from relay.errors import RequestError, UpstreamError, access_error, budget_error
from relay.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from access.caller import Caller
    from relay.model_call import ModelCall
    from relay.settings import Settings

_KEPT = timedelta(days=3)  # after its day, for whoever asks how much was used
_SILENCE = (ConnectTimeoutError, ReadTimeoutError)
_LATE = 1.0  # seconds by which an update may come too late for who waited for its answer
_REFUSED = "Refused"  # in an answer's metadata: whether each attempt was
# What a connection fails with once Bedrock may have had the request; it may still be working on it, and count.
_UNCERTAIN = frozenset({"connection_lost", "corrupt", "read_timeout", "truncated"})
_PROMPT = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
_LARGEST = 10**12  # more than that nobody has counted

_RESERVE = {
    "UpdateExpression": "ADD used :tokens, unsettled :ids SET expires = :expires",
    "ConditionExpression": (
        "(attribute_not_exists(used) OR used < :budget) AND NOT contains(unsettled, :id)"
    ),
}
_SETTLE = {
    "UpdateExpression": "ADD used :tokens DELETE unsettled :ids",
    "ConditionExpression": "contains(unsettled, :id)",
}


class Budget:
    """The budgets of all callers.

    Args:
        settings: ``daily_tokens`` for each of them, and ``budget_table`` that counts.
        now: the time in seconds since 1970.
        wait: lets seconds go by.
    """

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], float] = time.time,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._tokens = settings.daily_tokens or 0
        self._now = now
        self._wait = wait
        self._client = _new_client()

    def renew(self) -> None:
        """Take a client with connections and credentials of its own, where this process was copied from another."""
        self._client = _new_client()

    def reserve(self, caller: Caller, calls: Iterable[ModelCall]) -> Spending:
        """Take the most that a call can cost from its caller's budget of today.

        Where nobody can tell whether it was taken, it is given back.

        Args:
            caller: who asks.
            calls: the same request to each of the models that may answer it.

        Raises:
            LimitError: nothing is left of it.
            AccessError: nobody can tell at the moment.
        """
        most = ceiling(calls, self._settings)
        now = datetime.fromtimestamp(self._now(), UTC)
        ends = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
        spending = Spending(self, f"{caller.way}#{caller.name}#{now:%Y-%m-%d}", most)
        values = {
            ":budget": {"N": str(self._tokens)},
            ":expires": {"N": str(int((ends + _KEPT).timestamp()))},
        }
        try:
            spending.used = self.update(spending, sum(most), _RESERVE, values)
        except Exception as error:
            item = _failed_condition(error)
            if item is None:
                logger.error("budget not known", extra={"cause": cause_of(error)})
                self._give_back(spending, error)
                message = "Budgets cannot be checked at the moment."
                raise access_error("access_unavailable", message) from error
            if spending.id not in item.get("unsettled", {}).get("SS", ()):
                left = math.ceil((ends - now).total_seconds())
                raise budget_error(self._tokens, f"{ends:%Y-%m-%dT%H:%M:%SZ}", left) from None
            spending.used = _used(item)  # reserved, by an attempt whose answer was lost
        return spending

    def update(
        self,
        spending: Spending,
        tokens: int,
        how: Mapping[str, str],
        values: Mapping[str, Any] | None = None,
    ) -> int:
        """Add tokens to what a caller has used; return the sum.

        Raises:
            Exception: it was not added, or nobody knows.
        """
        updated = self._client.update_item(
            TableName=self._settings.budget_table,
            Key={"id": {"S": spending.key}},
            ExpressionAttributeValues={
                ":tokens": {"N": str(tokens)},
                ":id": {"S": spending.id},
                ":ids": {"SS": [spending.id]},
                **(values or {}),
            },
            ReturnValues="UPDATED_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
            **how,
        )
        return _used(updated["Attributes"])

    def _give_back(self, spending: Spending, error: Exception) -> None:
        """Give back what a reservation that has failed may have taken nevertheless.

        Where that fails it is tried once more: it was not made, or the reservation may be made only now.
        """
        if _is_refusal(error):  # nothing was taken, and who throttles is not asked for more
            return
        failure = spending.give_back()
        if failure is not None:
            if isinstance(failure, ClientError):  # a silence took its time
                self._wait(_LATE)
            failure = spending.give_back()
        spending.tell(failure)


class Spending:
    """What one request takes from its caller's budget.

    Attributes:
        key: of the item that counts it.
        id: its own.
        reserved: the most that it can cost.
        used: what its caller has used by now, reservations included.
    """

    def __init__(self, budget: Budget, key: str, reserved: Tokens) -> None:
        self.key = key
        self.id = secrets.token_urlsafe(8)  # short: an item has one for each call that is under way
        self.reserved = reserved
        self.used = 0
        self._budget = budget
        self._may_cost = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Span a call up to its first event, to see whether it may cost: not if Bedrock refused it, or never got it."""
        try:
            yield
        except RequestError:
            raise
        except UpstreamError as error:
            self._may_cost = self._may_cost or error.code in _UNCERTAIN
            raise
        except BaseException:
            self._may_cost = True
            raise
        self._may_cost = True

    def settle(self, usage: Mapping[str, Any], *, complete: bool) -> None:
        """Give back what the request has not cost. Where that fails it is logged, and stays taken.

        Args:
            usage: what Bedrock has counted.
            complete: whether all of the answer is counted, so that nothing more can be.
        """
        cost = sum(self._cost(usage, complete=complete))
        if cost > sum(self.reserved):
            logger.warning("a call has cost more than its ceiling", extra=self._numbers(cost))
        self.tell(self.give_back(cost), cost)

    def give_back(self, cost: int = 0) -> Exception | None:
        """Take off what was reserved beyond the cost; return what has failed of it."""
        try:
            self.used = self._budget.update(self, cost - sum(self.reserved), _SETTLE)
        except Exception as error:  # noqa: BLE001  # whatever it is, what the caller is told stands
            return error
        return None

    def tell(self, failure: Exception | None, cost: int = 0) -> None:
        """Log that what could not be given back stays taken."""
        # Without its id in the item an attempt whose answer was lost has done it, it was never taken, or somebody took
        # the item out.
        if failure is not None and _failed_condition(failure) is None:
            extra = {**self._numbers(cost), "cause": cause_of(failure)}
            logger.error("budget not settled", extra=extra)

    def _numbers(self, cost: int) -> Mapping[str, int]:
        return {"reserved": sum(self.reserved), "cost": cost}

    def _cost(self, usage: Mapping[str, Any], *, complete: bool) -> Tokens:
        """Return what the request has cost; where nobody has counted, what it may have cost at most."""
        if not self._may_cost:
            return Tokens(0, 0)
        counted = {name: n for name, n in usage.items() if _is_count(n)}
        output = counted.get("outputTokens", 0)
        if "inputTokens" not in counted:
            return Tokens(self.reserved.input, max(self.reserved.output, output))
        prompt = sum(counted.get(name, 0) for name in _PROMPT)
        return Tokens(prompt, output if complete else max(self.reserved.output, output))


def _new_client() -> Any:
    client = new_session().client(
        "dynamodb",
        config=Config(
            connect_timeout=1,
            read_timeout=1,  # two tries and the wait between them fit before the deadline
            retries={"mode": "standard", "total_max_attempts": 2},
            user_agent_extra="rivulet",
        ),
    )
    client.meta.events.register_first("needs-retry.dynamodb", _retry_no_silence)
    client.meta.events.register("needs-retry.dynamodb", _note_refusal)
    return client


def _retry_no_silence(caught_exception: Exception | None, **_: Any) -> bool | None:
    """Answer botocore's question whether to try again: not what took its time already, for somebody waits."""
    return False if isinstance(caught_exception, _SILENCE) else None


def _note_refusal(
    response: tuple[Any, Any] | None, request_dict: Mapping[str, Any], **_: Any
) -> None:
    """Note in each answer of DynamoDB's whether it and all before it were refusals.

    Only a 4xx is one: behind a 5xx, as behind a lost answer, an update may have been made, or be made yet. botocore
    tells of the last attempt alone.
    """
    context = request_dict["context"]
    is_refusal = response is not None and 400 <= response[0].status_code < 500
    context[_REFUSED] = context.get(_REFUSED, True) and is_refusal
    if response is not None:
        response[1]["ResponseMetadata"][_REFUSED] = context[_REFUSED]


def _is_refusal(error: Exception) -> bool:
    """Tell whether DynamoDB has refused each attempt of an update."""
    if not isinstance(error, ClientError):
        return False
    return bool(error.response.get("ResponseMetadata", {}).get(_REFUSED))


def _failed_condition(error: Exception) -> Mapping[str, Any] | None:
    """Return the item that did not meet the condition; ``None`` where that is not what has failed."""
    if not isinstance(error, ClientError) or cause_of(error) != "ConditionalCheckFailedException":
        return None
    item: Mapping[str, Any] = error.response.get("Item", {})
    return item


def _used(item: Mapping[str, Any]) -> int:
    return int(item["used"]["N"])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST

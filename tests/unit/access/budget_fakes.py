"""DynamoDB's side of budgets, for their tests: one table, in memory, that knows the two updates that are made."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError  # noqa: TID251  # what the real client raises

from access.budget import Budget
from access.caller import Caller
from relay import formats
from relay.model_call import ModelCall
from relay.settings import Settings

if TYPE_CHECKING:
    from access.budget import Spending

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
SETTINGS = dataclasses.replace(
    Settings.from_environment({"RIVULET_MODEL_IDS": MODEL}),
    max_tokens=100,
    daily_tokens=10_000,
    budget_table="budgets",
)
NOON = 1_764_504_000.0  # 2025-11-30T12:00:00Z
WEB = Caller("web", "api-key")
CALL = ModelCall(
    route="/stream",
    operation="ConverseStream",
    model=MODEL,
    parameters={
        "modelId": MODEL,
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {"maxTokens": 60},
    },
    format=formats.SSE,
)
COUNTED = {
    "inputTokens": 10,
    "outputTokens": 5,
    "totalTokens": 15,
    "cacheReadInputTokens": 300,
    "cacheWriteInputTokens": 40,
}
SECRET = "arn:aws:dynamodb:us-east-1:123456789012:table/budgets"


def refusal(code: str, item: dict[str, Any] | None = None) -> ClientError:
    """Return what the real client raises for an error of DynamoDB's: a failure (5xx), or a refusal."""
    said: Any = {
        "Error": {"Code": code, "Message": SECRET},
        "ResponseMetadata": {"Refused": code not in {"InternalServerError", "ServiceUnavailable"}},
    }
    return ClientError({**said, **({"Item": item} if item else {})}, "UpdateItem")


class Table:
    """A table.

    Attributes:
        items: by their ids.
        updates: all parameters that came.
        fails: what the next updates raise, in turn, in place of an answer; whether they are made is said with it.
        late: updates that are made when somebody has waited.
        waited: the seconds for which somebody has.
    """

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.updates: list[dict[str, Any]] = []
        self.fails: list[tuple[Exception, bool]] = []
        self.late: list[dict[str, Any]] = []
        self.waited: list[float] = []

    @property
    def used(self) -> int:
        """What is used in the one item."""
        (item,) = self.items.values()
        return int(item["used"])

    def update_item(self, **parameters: Any) -> dict[str, Any]:
        self.updates.append(parameters)
        error, is_made = self.fails.pop(0) if self.fails else (None, True)
        answer = self._update(parameters) if is_made else {}
        if error is not None:
            raise error
        return answer

    def wait(self, seconds: float) -> None:
        """Let time go by, which takes none."""
        self.waited.append(seconds)
        while self.late:
            self._update(self.late.pop(0))

    def _update(self, parameters: dict[str, Any]) -> dict[str, Any]:
        key = parameters["Key"]["id"]["S"]
        values = parameters["ExpressionAttributeValues"]
        item = self.items.get(key, {"used": 0, "unsettled": set()})
        call = values[":id"]["S"]
        if ":budget" in values:
            meets = item["used"] < int(values[":budget"]["N"]) and call not in item["unsettled"]
        else:
            meets = call in item["unsettled"]
        if not meets:
            raise refusal("ConditionalCheckFailedException", _told(item))
        item["used"] += int(values[":tokens"]["N"])
        item["unsettled"] ^= set(values[":ids"]["SS"])
        self.items[key] = item
        return {"Attributes": _told(item)}


def _told(item: dict[str, Any]) -> dict[str, Any]:
    return {"used": {"N": str(item["used"])}, "unsettled": {"SS": sorted(item["unsettled"])}}


def a_budget(table: Table, now: float = NOON, **settings: Any) -> Budget:
    """Return budgets that a table counts."""
    budget = Budget(dataclasses.replace(SETTINGS, **settings), lambda: now, table.wait)
    budget._client = table
    return budget


def reserve(budget: Budget, caller: Caller = WEB) -> Spending:
    return budget.reserve(caller, [CALL])


def answered(spending: Spending) -> Spending:
    with spending.attempt():
        pass
    return spending

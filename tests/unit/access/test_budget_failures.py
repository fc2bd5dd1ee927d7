"""What becomes of a budget while DynamoDB fails."""

from __future__ import annotations

import json
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse  # noqa: TID251  # what the real client is answered with
from botocore.exceptions import (  # noqa: TID251  # what the real client raises
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from access.budget import _new_client, _retry_no_silence
from relay.errors import AccessError, LimitError
from tests.unit.access.budget_fakes import (
    COUNTED,
    SECRET,
    Table,
    a_budget,
    answered,
    refusal,
    reserve,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

URL = "https://dynamodb.internal"
LOST = ReadTimeoutError(endpoint_url=URL)


@pytest.fixture(autouse=True)
def _no_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no client that a fake takes the place of: it takes a while."""
    monkeypatch.setattr("access.budget._new_client", lambda: None)


@pytest.mark.parametrize(
    "error",
    [
        refusal("InternalServerError"),
        refusal("AccessDeniedException"),
        refusal("ResourceNotFoundException"),
        ReadTimeoutError(endpoint_url=URL),
        EndpointConnectionError(endpoint_url=URL),
        OSError(SECRET),
    ],
)
def test_nobody_is_let_in_while_nothing_can_be_counted(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """A 503 that may be tried again, and none of the failure's words."""
    table = Table()
    table.fails = [(error, False)]
    with pytest.raises(AccessError) as caught:
        reserve(a_budget(table))
    told = caught.value
    assert (told.status, told.code, told.retryable) == (503, "access_unavailable", True)
    assert told.message == "Budgets cannot be checked at the moment."
    assert told.headers == {"retry-after": "5"}
    assert SECRET not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "is_made", "waits"),
    [
        (LOST, True, []),
        (OSError(), True, []),
        (refusal("InternalServerError"), True, []),
        (LOST, False, [1.0]),
        (refusal("InternalServerError"), False, [1.0]),
    ],
)
def test_a_reservation_that_nobody_knows_of_is_given_back(
    error: Exception,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    *,
    is_made: bool,
) -> None:
    """Made or not, nothing of it stays taken for the day; the caller's next call finds all that was left."""
    table = Table()
    budget = a_budget(table, daily_tokens=500)
    table.fails = [(error, is_made)]
    with pytest.raises(AccessError):
        reserve(budget)
    assert all(item == {"used": 0, "unsettled": set()} for item in table.items.values())
    assert [r.getMessage() for r in caplog.records] == ["budget not known"]
    assert table.waited == waits
    assert reserve(budget).used == table.used > 500


@pytest.mark.parametrize("error", [LOST, refusal("InternalServerError")])
def test_a_reservation_that_comes_too_late_is_given_back(error: Exception) -> None:
    """DynamoDB makes it when it was given back in vain already: a second later it is given back again."""
    table = Table()
    other = reserve(a_budget(table))

    def come_late(**parameters: Any) -> Any:
        del table.update_item
        table.late = [parameters]
        table.updates.append(parameters)
        raise error

    table.update_item = come_late  # type: ignore[method-assign]
    with pytest.raises(AccessError):
        reserve(a_budget(table))
    assert (len(table.updates), table.waited, table.late) == (4, [1.0], [])
    assert table.used == other.used
    assert table.items["api-key#web#2025-11-30"]["unsettled"] == {other.id}


ANSWERED = refusal("InternalServerError")
REFUSED = refusal("ThrottlingException")


@pytest.mark.parametrize(
    ("errors", "waits"),
    [
        ((LOST, LOST, LOST), []),
        ((LOST, RuntimeError(SECRET), RuntimeError(SECRET)), []),
        ((LOST, ANSWERED, ANSWERED), [1.0]),
        ((LOST, REFUSED, REFUSED), [1.0]),
        ((ANSWERED, LOST, LOST), []),
        ((ANSWERED, ANSWERED, ANSWERED), [1.0]),
        ((ANSWERED, REFUSED, LOST), [1.0]),
    ],
)
def test_what_cannot_be_given_back_stays_taken_and_is_logged(
    errors: tuple[Exception, ...],
    waits: list[float],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """DynamoDB fails again: nobody waits for it any longer, and the log has the numbers, once."""
    table = Table()
    first, *others = errors
    table.fails = [(first, True), *((error, False) for error in others)]
    with pytest.raises(AccessError) as caught:
        reserve(a_budget(table))
    assert caught.value.__cause__ is first
    assert (len(table.updates), table.waited) == (len(errors), waits)
    known, settled = caplog.records
    assert (known.getMessage(), settled.getMessage()) == ("budget not known", "budget not settled")
    said: Any = settled
    assert (said.reserved, said.cost) == (table.used, 0)
    assert SECRET not in capsys.readouterr().out + str(vars(settled))


def test_a_giving_back_whose_answer_was_lost_is_one(caplog: pytest.LogCaptureFixture) -> None:
    """DynamoDB has made both updates, and told of neither: a third finds that, and nothing is left to be logged."""
    table = Table()
    table.fails = [(LOST, True), (LOST, True)]
    with pytest.raises(AccessError):
        reserve(a_budget(table))
    assert (len(table.updates), table.used, table.waited) == (3, 0, [])
    assert [r.getMessage() for r in caplog.records] == ["budget not known"]


@pytest.mark.parametrize("error", [LOST, refusal("InternalServerError")])
def test_a_giving_back_that_was_lost_is_made_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The silence that took the reservation's answer may take what follows it, too."""
    table = Table()
    table.fails = [(error, True), (LOST, False)]
    with pytest.raises(AccessError):
        reserve(a_budget(table))
    assert (len(table.updates), table.used, table.waited) == (3, 0, [])
    assert [r.getMessage() for r in caplog.records] == ["budget not known"]


def test_a_reservation_that_comes_again_after_its_settling_is_too_much() -> None:
    """Its id is no longer in the item: it counts once more, so that never too little is counted."""
    table = Table()
    spending = answered(reserve(a_budget(table)))
    spending.settle(COUNTED, complete=True)
    table.update_item(**table.updates[0])
    assert table.used == 355 + sum(spending.reserved)


THROTTLED = (400, "ThrottlingException")
BROKEN = (500, "InternalServerError")
DAMAGED = (200, "")  # what its checksum does not fit
BOTH = ["reserve", "reserve", "give back", "give back"]


class _Raw(BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield self.read()


@pytest.mark.parametrize(
    ("answers", "updates"),
    [
        ([(400, "AccessDeniedException")], ["reserve"]),
        ([THROTTLED, THROTTLED], ["reserve", "reserve"]),
        ([BROKEN, THROTTLED], BOTH),
        ([THROTTLED, BROKEN], BOTH),
        ([DAMAGED, THROTTLED], BOTH),
        ([None, THROTTLED], BOTH),
        ([THROTTLED, None], BOTH),
    ],
)
def test_what_dynamodb_refused_is_not_given_back(
    answers: Sequence[tuple[int, str] | None], updates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt was refused: nothing was taken, and a DynamoDB that throttles is asked for nothing more.

    One that failed, or whose answer was lost or damaged, may have taken it, whatever the other was told.
    """
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    coming = iter(answers)
    made: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        made.append("reserve" if b":budget" in request.body else "give back")
        said = next(coming, (400, "ConditionalCheckFailedException"))
        if said is None:
            raise ConnectionClosedError(endpoint_url=URL)
        status, code = said
        crc = {"x-amz-crc32": "1"} if said is DAMAGED else {}
        return AWSResponse(URL, status, crc, _Raw(json.dumps({"__type": code}).encode()))

    table = Table()
    budget = a_budget(table)
    budget._client = _new_client()
    budget._client.meta.events.register("before-send.dynamodb", answer)
    with pytest.raises(AccessError):
        reserve(budget)
    assert made == updates
    assert table.waited == [1.0] * (updates == BOTH)


def test_who_has_nothing_left_is_given_nothing_back() -> None:
    """The condition's own failure is an answer: there is no second update."""
    table = Table()
    budget = a_budget(table, daily_tokens=500)
    reserve(budget)
    with pytest.raises(LimitError):
        reserve(budget)
    assert (len(table.updates), table.waited) == (2, [])


def test_a_reservation_whose_answer_was_lost_is_one() -> None:
    """Made again by botocore, the update finds its own id in the item: the call is let in, and counted once."""
    table = Table()
    budget = a_budget(table, daily_tokens=500)
    update = table.update_item
    table.fails = [(OSError(), True)]

    def update_again(**parameters: Any) -> Any:
        try:
            return update(**parameters)
        except OSError:
            return update(**parameters)

    budget._client = type("Client", (), {"update_item": staticmethod(update_again)})
    spending = answered(reserve(budget))
    assert (len(table.updates), table.used) == (2, sum(spending.reserved))
    assert spending.used == table.used
    table.fails = [(OSError(), True)]
    spending.settle(COUNTED, complete=True)
    assert (len(table.updates), table.used) == (4, 355)


@pytest.mark.parametrize(
    "error", [refusal("InternalServerError"), ReadTimeoutError(endpoint_url=URL), RuntimeError()]
)
def test_what_cannot_be_settled_stays_taken_and_is_logged(
    error: Exception, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The answer has been told: nothing is raised, and the log has the numbers."""
    table = Table()
    spending = answered(reserve(a_budget(table)))
    table.fails = [(error, False)]
    spending.settle(COUNTED, complete=True)
    assert table.used == spending.used == sum(spending.reserved)
    (line,) = (r for r in caplog.records if r.getMessage() == "budget not settled")
    said: Any = line
    assert (said.reserved, said.cost) == (sum(spending.reserved), 355)
    assert SECRET not in capsys.readouterr().out + str(vars(line))


def test_the_condition_is_told_by_its_code() -> None:
    """Another error that happens to carry an item is a failure."""
    table = Table()
    table.fails = [(refusal("TransactionConflictException", {"used": {"N": "1"}}), False)]
    with pytest.raises(AccessError) as caught:
        reserve(a_budget(table))
    assert isinstance(caught.value.__cause__, ClientError)


def test_what_took_its_time_is_not_tried_again() -> None:
    """A silence ends the wait; of everything else botocore decides."""
    for silence in (ReadTimeoutError(endpoint_url=URL), ConnectTimeoutError(endpoint_url=URL)):
        assert _retry_no_silence(silence) is False
    assert _retry_no_silence(EndpointConnectionError(endpoint_url=URL)) is None
    assert _retry_no_silence(None) is None

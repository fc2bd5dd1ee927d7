"""Budgets in the function: what is taken before Bedrock is asked, and given back however the answer ends."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import bedrock_error, transport_error
from streaming_runtime import ResponseClosed
from tests.frames import MESSAGE_START, MESSAGE_STOP, METADATA, chunk, delta, event, exception
from tests.unit.access.budget_fakes import SETTINGS, Table, a_budget, refusal
from tests.unit.handler.conftest import ask, body, choose, handler
from tests.unit.handler.fakes import INVOKE_PATH, MODEL, WHOLE, Bedrock, OurBug, a_request, forever

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.handler.fakes import Body

__all__ = ["ask", "body", "choose", "handler"]  # fixtures

INPUT = 1_000  # at least
OUTPUT = 100
INVOKED = json.dumps({"max_tokens": 60, "messages": [{"role": "user", "content": "hi"}]})


@pytest.fixture
def table(handler: Any, choose: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Table:
    """The table that counts for the function."""
    monkeypatch.setattr("access.budget._new_client", lambda: None)
    table = Table()
    choose(
        daily_tokens=SETTINGS.daily_tokens, max_tokens=OUTPUT, budget_table=SETTINGS.budget_table
    )
    monkeypatch.setattr(handler, "budget", a_budget(table, max_tokens=OUTPUT))
    return table


def _stream(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = next(line for line in lines if line.get("message") == "stream")
    assert isinstance(found, dict)
    return found


def test_what_was_counted_is_used(
    ask: Any,
    table: Table,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The record has the budget and what is used of it by then."""
    usage = json.loads(METADATA[METADATA.index(b"{") : METADATA.rindex(b"}") + 1])["usage"]
    counted = usage["inputTokens"] + usage["outputTokens"]
    assert ask(Bedrock(*WHOLE)).types[-1] == "done"
    assert table.used == counted
    told = _stream(capsys)
    assert (told["budget"], told["budget_used"]) == (SETTINGS.daily_tokens, counted)
    assert next(iter(table.items)).startswith("iam#unknown#")


def test_it_is_settled_when_the_end_is_written(ask: Any, table: Table, body: Body) -> None:
    """Nobody waits for DynamoDB with an answer that is there: the last byte is out before the second update."""
    written: list[bytes] = []
    update = table.update_item

    def update_item(**parameters: Any) -> Any:
        written.append(b"".join(body.pieces))
        return update(**parameters)

    table.update_item = update_item  # type: ignore[method-assign]
    ask(Bedrock(*WHOLE))
    assert written == [b"", b"".join(body.pieces)]
    body.pieces.clear()
    written.clear()
    ask(Bedrock(refuses=bedrock_error("ThrottlingException")))
    assert written == [b"", b"".join(body.pieces)]
    assert b'"throttling"' in written[1]


def test_who_has_nothing_left_is_refused_before_bedrock_is_asked(ask: Any, table: Table) -> None:
    """A 429 with the time of the reset; one more update, and no call."""
    ask(Bedrock(MESSAGE_START, delta(text="a"), b""))
    (item,) = table.items.values()
    item["used"] = SETTINGS.daily_tokens
    updates = len(table.updates)
    bedrock = Bedrock(*WHOLE)
    answer = ask(bedrock)
    assert (answer.status, bedrock.asked) == (429, [])
    error = json.loads(answer.pieces[-1])["error"]
    assert (error["code"], error["retryable"]) == ("budget_exhausted", False)
    assert answer.headers["retry-after"] == "43200"
    assert len(table.updates) == updates + 1
    assert table.used == SETTINGS.daily_tokens


def test_a_direct_invocation_is_refused_by_an_event(ask: Any, table: Table, body: Body) -> None:
    """It has a budget of its own, under its own name."""
    ask(Bedrock(*WHOLE), {"prompt": "hi"})
    (key,) = table.items
    assert key.startswith("direct#direct#")
    table.items[key]["used"] = SETTINGS.daily_tokens
    body.pieces.clear()
    assert ask(Bedrock(), {"prompt": "hi"}).types == ["error"]
    assert [kind for kind, _ in body.failures] == ["Rivulet.budget_exhausted"]


def test_nobody_is_asked_while_nothing_can_be_counted(ask: Any, table: Table) -> None:
    """DynamoDB fails: a 503 that may be tried again, and no call."""
    table.fails = [(refusal("InternalServerError"), False)]
    bedrock = Bedrock(*WHOLE)
    assert (ask(bedrock).status, bedrock.asked) == (503, [])


def test_a_call_that_nobody_has_let_in_takes_nothing(
    ask: Any, table: Table, body: Body, capsys: pytest.CaptureFixture[str]
) -> None:
    """DynamoDB has counted and told of a failure: all is given back before the 503 is told, and once."""
    written: list[int] = []
    update = table.update_item

    def update_item(**parameters: Any) -> Any:
        written.append(len(body.pieces))
        return update(**parameters)

    table.update_item = update_item  # type: ignore[method-assign]
    table.fails = [(refusal("InternalServerError"), True)]
    assert ask(Bedrock(*WHOLE)).status == 503
    assert (written, table.used) == ([0, 0], 0)
    assert "budget_used" not in _stream(capsys)


def test_an_answer_outlives_what_cannot_be_settled(ask: Any, table: Table) -> None:
    """DynamoDB fails afterwards: the answer is whole, and what was reserved stays taken."""

    def break_down() -> None:
        table.fails = [(refusal("ThrottlingException"), False)]

    assert ask(Bedrock(*WHOLE, before=break_down)).types[-1] == "done"
    assert table.used > INPUT + OUTPUT


@pytest.mark.parametrize(
    ("bedrock", "takes"),
    [
        (Bedrock(MESSAGE_START, delta(text="a"), transport_error("connection_lost")), None),
        (Bedrock(MESSAGE_START, delta(text="a"), exception("throttlingException", {})), None),
        (Bedrock(MESSAGE_START, delta(text="a")), None),
        (Bedrock(MESSAGE_START, delta(text="a"), OurBug()), None),
        (Bedrock(transport_error("read_timeout")), None),
        (Bedrock(refuses=transport_error("connection_lost")), None),
        (Bedrock(refuses=OurBug()), None),
        (Bedrock(MESSAGE_START, delta(text="a"), delta(text="b"), MESSAGE_STOP, METADATA), 1),
        (Bedrock(MESSAGE_START, delta(text="a"), delta(text="b"), MESSAGE_STOP, METADATA), 0),
    ],
    ids=[
        "the connection breaks",
        "Bedrock fails",
        "it is cut",
        "a bug",
        "no first event",
        "no answer",
        "a bug at the call",
        "the caller leaves",
        "the caller leaves at once",
    ],
)
def test_an_answer_that_broke_off_costs_its_most(
    ask: Any,
    table: Table,
    body: Body,
    bedrock: Bedrock,
    takes: int | None,
) -> None:
    """What the model has read and written by then nobody knows: all that was reserved stays taken."""
    if takes is not None:
        body.takes = takes
        body.refusal = ResponseClosed(400)
    ask(bedrock)
    (reserved, settled) = (
        int(update["ExpressionAttributeValues"][":tokens"]["N"]) for update in table.updates
    )
    assert reserved == table.used > INPUT + OUTPUT
    assert settled == 0


@pytest.mark.parametrize(
    "bedrock",
    [
        Bedrock(refuses=bedrock_error("ThrottlingException")),
        Bedrock(refuses=bedrock_error("ValidationException", "no")),
        Bedrock(refuses=transport_error("connect_timeout")),
        Bedrock(exception("serviceUnavailableException", {})),
    ],
    ids=["throttled", "invalid", "not reached", "refused in the first frame"],
)
def test_a_refused_call_costs_nothing(ask: Any, table: Table, bedrock: Bedrock) -> None:
    """All that was taken is given back."""
    ask(bedrock)
    assert (len(table.updates), table.used) == (2, 0)


def test_a_call_that_there_is_no_time_for_costs_nothing(
    ask: Any,
    table: Table,
) -> None:
    """Too near to the deadline Bedrock is not asked, and all is given back."""
    assert ask(Bedrock(*WHOLE), seconds_left=3.5).status == 504
    assert table.used == 0


def test_a_call_that_runs_into_the_deadline_costs_its_most(
    ask: Any,
    table: Table,
    choose: Callable[..., None],
) -> None:
    """Bedrock may go on with it."""
    choose(deadline_margin=0.1, max_tokens=OUTPUT)
    ask(Bedrock(before=forever), seconds_left=1.3)
    assert table.used > INPUT + OUTPUT


def test_a_stand_in_pays_for_the_first(
    ask: Any,
    table: Table,
    choose: Callable[..., None],
) -> None:
    """One reservation for all models that are asked; what the one that answered has counted is used."""
    choose(fallback_model_ids=("amazon.nova-lite-v1:0",), max_tokens=OUTPUT)
    throttled = bedrock_error("ThrottlingException")
    bedrock = Bedrock(refuses=throttled, others={"amazon.nova-lite-v1:0": Bedrock(*WHOLE)})
    ask(bedrock)
    assert (len(bedrock.asked), len(table.updates)) == (2, 2)
    assert 0 < table.used < INPUT


def test_what_a_model_counts_of_its_prompt_is_known_when_it_breaks_off(
    ask: Any,
    table: Table,
) -> None:
    """Anthropic's models say at the start what they have read: of a broken answer the output alone is guessed."""
    start = {
        "type": "message_start",
        "message": {
            "usage": {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 20}
        },
    }
    request = {**a_request(INVOKE_PATH), "body": INVOKED}
    ask(Bedrock(chunk(start), chunk({"type": "content_block_delta"})), request)
    assert table.used == 7 + 20 + 60


def test_a_model_that_counts_nothing_costs_its_most(ask: Any, table: Table) -> None:
    """Its answer is whole, but nobody has said what it cost."""
    metrics = {"amazon-bedrock-invocationMetrics": {"invocationLatency": 1}}
    request = {**a_request(INVOKE_PATH), "body": INVOKED}
    assert ask(Bedrock(chunk(metrics)), request).types[-1] == "done"
    assert table.used > INPUT + 60


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("GET", "/v1/models"), ("GET", "/nothing")]
)
def test_what_asks_no_model_costs_nothing(
    ask: Any,
    table: Table,
    method: str,
    path: str,
) -> None:
    """Nothing is counted for it, not even with nothing left."""
    ask(Bedrock(), a_request(path, method=method))
    assert table.updates == []


def test_counting_tokens_costs_none(ask: Any, table: Table) -> None:
    """CountTokens is free, and may be asked with nothing left."""
    request = {**a_request(f"/model/{MODEL}/count-tokens"), "body": '{"input":{}}'}
    ask(Bedrock(event("x", {"inputTokens": 5})), request)
    assert table.updates == []


def test_there_is_no_client_without_a_budget(handler: Any) -> None:
    """Where no budget is set nothing is made, and nothing imported for it."""
    assert handler._budget(dataclasses.replace(handler.settings, daily_tokens=None)) is None

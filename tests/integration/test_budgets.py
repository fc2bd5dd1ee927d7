"""Budgets, judged by ministack's DynamoDB: what is refused, what is counted, and how clients are told."""

# ruff: noqa: TID251  # the judges are boto3 and what listens on sockets

from __future__ import annotations

import dataclasses
import json
import random
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import anthropic
import boto3
import openai
import pytest

from access.budget import Budget
from access.caller import Caller
from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import IMMEDIATE, Pace
from relay import formats
from relay.errors import AccessError, LimitError
from relay.model_call import ModelCall
from relay.settings import Settings
from tests.caller import ask
from tests.integration.clients.honest import MODEL, QUESTION, invoke_body, usage
from tests.integration.judges.judge import MINISTACK, free_port, judge_process, needs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TABLE = "budgets"
DAY = "2026-11-30"
NOON = 1_796_040_000.0  # of that day
WEB = Caller("web", "api-key")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}
SETTINGS = dataclasses.replace(
    Settings.from_environment({"RIVULET_MODEL_IDS": MODEL}), max_tokens=500, budget_table=TABLE
)
CALL = ModelCall(
    route="/stream",
    operation="ConverseStream",
    model=MODEL,
    parameters={"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    format=formats.SSE,
)

pytestmark = [
    pytest.mark.judge,
    pytest.mark.xdist_group("budgets"),
    needs(MINISTACK),
]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DynamoDB as ministack has it."""
    port = free_port()
    environment = {
        "PYTHONPATH": str(MINISTACK),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "dynamodb",
    }
    home = tmp_path_factory.mktemp("ministack")
    with judge_process((sys.executable, "-m", "ministack"), port, home, environment):
        yield f"http://127.0.0.1:{port}"


class Table:
    """The table, as an operator looks at it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client = boto3.client(
            "dynamodb",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self.client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def items(self) -> dict[str, dict[str, Any]]:
        found = self.client.scan(TableName=TABLE, ConsistentRead=True)["Items"]
        return {item["id"]["S"]: item for item in found}

    def used(self) -> int:
        (item,) = self.items().values()
        return int(item["used"]["N"])

    def clear(self) -> None:
        for key in self.items():
            self.client.delete_item(TableName=TABLE, Key={"id": {"S": key}})

    def add(self, key: str, tokens: int) -> None:
        """Do what docs/budgets.md tells operators to."""
        self.client.update_item(
            TableName=TABLE,
            Key={"id": {"S": key}},
            UpdateExpression="ADD used :n",
            ExpressionAttributeValues={":n": {"N": str(tokens)}},
        )


@pytest.fixture(scope="module")
def _table(endpoint: str) -> Iterator[Table]:
    table = Table(endpoint)
    yield table
    table.client.close()


@pytest.fixture
def table(_table: Table, monkeypatch: pytest.MonkeyPatch) -> Table:
    """The table, with nothing in it; a client of it that is made here finds it."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_DYNAMODB": _table.endpoint}.items():
        monkeypatch.setenv(name, value)
    _table.clear()
    return _table


def _budget(tokens: int, now: float = NOON) -> Budget:
    return Budget(dataclasses.replace(SETTINGS, daily_tokens=tokens), lambda: now)


def _costing(tokens: int) -> dict[str, int]:
    return {"inputTokens": tokens, "outputTokens": 0}


def test_fifty_callers_at_once_overspend_by_one_stream_at_most(table: Table) -> None:
    """Fifty at once go on until nothing is left: all that they were let have is less than the budget and one call."""
    tokens = 60_000
    budget = _budget(tokens)
    spent: list[int] = []
    costs = random.Random(7)  # the costs only, not the order
    ready = threading.Barrier(50)

    def spend(_: int) -> bool:
        ready.wait()
        for _ in range(20):
            try:
                spending = budget.reserve(WEB, [CALL])
            except LimitError:
                return True
            with spending.attempt():
                cost = costs.randint(1_000, sum(spending.reserved))
            spent.append(cost)
            spending.settle(_costing(cost), complete=True)
        return False

    with ThreadPoolExecutor(50) as callers:
        refused = list(callers.map(spend, range(50)))
    most = sum(budget.reserve(Caller("other", "api-key"), [CALL]).reserved)
    item = table.items()[f"api-key#web#{DAY}"]
    assert all(refused)
    assert len(spent) > 20
    assert sum(spent) < tokens + most
    assert int(item["used"]["N"]) == sum(spent)  # nothing lost, and nothing counted twice
    assert "unsettled" not in item


def test_calls_that_are_all_under_way_overspend_by_one(table: Table) -> None:
    """Before any of them is settled: let in are as many as their reservations leave room for, and one."""
    budget = _budget(10_000)
    ready = threading.Barrier(50)

    def reserve(_: int) -> int:
        ready.wait()
        try:
            return sum(budget.reserve(WEB, [CALL]).reserved)
        except LimitError:
            return 0

    with ThreadPoolExecutor(50) as callers:
        reserved = [most for most in callers.map(reserve, range(50)) if most]
    (most,) = set(reserved)
    assert len(reserved) == -(-10_000 // most)
    assert table.used() == sum(reserved) < 10_000 + most
    assert len(table.items()[f"api-key#web#{DAY}"]["unsettled"]["SS"]) == len(reserved)


def test_a_day_of_utc_ends_at_midnight(table: Table) -> None:
    """Used up a second before midnight, whole at midnight; what began before it counts for the day before."""
    late = NOON + 43_199
    spending = _budget(1_000, late).reserve(WEB, [CALL])
    with pytest.raises(LimitError) as caught:
        _budget(1_000, late).reserve(WEB, [CALL])
    assert caught.value.headers["retry-after"] == "1"
    assert "it resets at 2026-12-01T00:00:00Z" in caught.value.message
    _budget(1_000, NOON + 43_200).reserve(WEB, [CALL])
    with spending.attempt():
        pass
    spending.settle(_costing(7), complete=True)
    items = table.items()
    assert items[f"api-key#web#{DAY}"]["used"] == {"N": "7"}
    assert int(items["api-key#web#2026-12-01"]["used"]["N"]) > 1_000
    assert int(items[f"api-key#web#{DAY}"]["expires"]["N"]) == NOON + 43_200 + 3 * 86_400


def test_an_operator_can_give_and_take(table: Table) -> None:
    """A negative number added to the item lets the caller go on; a positive one takes; deleted, the day begins anew."""
    key = f"api-key#web#{DAY}"
    table.add(key, 1_000)
    with pytest.raises(LimitError):
        _budget(1_000).reserve(WEB, [CALL])
    table.add(key, -1)
    _budget(1_000).reserve(WEB, [CALL])
    table.clear()
    spending = _budget(1_000).reserve(WEB, [CALL])
    table.clear()
    spending.settle({}, complete=False)
    assert table.items() == {}


@contextmanager
def _a_way_that_loses_answers(
    endpoint: str, lost: int, *, silently: bool = False
) -> Iterator[tuple[str, list[bytes]]]:
    """Pass requests on to DynamoDB, and break the connection in place of the first answers to updates.

    Silently, it stays as it is until the end.
    """
    seen: list[bytes] = []
    over = threading.Event()

    class Way(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append(body)
            connection = HTTPConnection(endpoint.removeprefix("http://"))
            connection.request("POST", self.path, body, dict(self.headers))
            response = connection.getresponse()
            answer = response.read()
            connection.close()
            if len(seen) <= lost:
                if silently:
                    over.wait(30)
                self.close_connection = True
                return
            self.send_response(response.status)
            for name in ("content-type", "x-amzn-requestid", "x-amz-crc32"):
                if name in response.headers:
                    self.send_header(name, response.headers[name])
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Way) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            over.set()
            server.shutdown()
            thread.join()


def test_an_update_whose_answer_was_lost_counts_once(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after DynamoDB has counted, and botocore asks again: taken once, given back once."""
    with _a_way_that_loses_answers(table.endpoint, 1) as (way, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", way)
        budget = _budget(1_000)
        spending = budget.reserve(WEB, [CALL])
        assert len(seen) == 2
        assert table.used() == sum(spending.reserved) == spending.used
        seen.clear()  # the next answer is lost as well
        with spending.attempt():
            pass
        spending.settle(_costing(7), complete=True)
        assert len(seen) == 2
        assert table.used() == 7
        budget._client.close()


def test_a_reservation_whose_answer_does_not_come_is_given_back(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB has counted and is silent: a 503, nothing used, and the next call is let in."""
    with _a_way_that_loses_answers(table.endpoint, 1, silently=True) as (way, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", way)
        budget = _budget(1_000)
        with pytest.raises(AccessError) as caught:
            budget.reserve(WEB, [CALL])
        assert (caught.value.status, len(seen)) == (503, 2)
        (item,) = table.items().values()
        assert item["used"] == {"N": "0"}
        assert "unsettled" not in item
        spending = budget.reserve(WEB, [CALL])
        assert table.used() == sum(spending.reserved) > 1_000
        budget._client.close()


def test_a_silent_dynamodb_lets_nobody_in(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    """It is waited for once to take and twice to give back, and whoever waited is told to come back."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{port}")
        with pytest.raises(AccessError) as caught:
            _budget(1_000).reserve(WEB, [CALL])
        for _ in range(3):
            silent.accept()[0].close()
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert (caught.value.status, caught.value.retryable) == (503, True)
    assert table.items() == {}


PUBLIC = {
    "RIVULET_AUTH": "public",
    "RIVULET_DAILY_TOKENS": "3000",
    "RIVULET_MAX_TOKENS": "2000",
    "RIVULET_BUDGET_TABLE": TABLE,
    "RIVULET_MAX_ATTEMPTS": "1",
    **CREDENTIALS,
}


@pytest.fixture(scope="module")
def _function(_table: Table) -> Iterator[LocalFunction]:
    environment = {**PUBLIC, "AWS_ENDPOINT_URL_DYNAMODB": _table.endpoint}
    configuration = FunctionConfiguration(concurrency=3, provisioned_concurrency=3)
    with LocalFunction(configuration, pace=IMMEDIATE, environment=environment) as function:
        yield function


@pytest.fixture
def function(_function: LocalFunction, table: Table) -> LocalFunction:  # noqa: ARG001  # that it is empty
    """The function in three environments, and nothing used yet."""
    _function.bedrock.pace = IMMEDIATE
    _function.bedrock.calls.clear()
    _function.log.clear()
    return _function


def _settled(function: LocalFunction, request_id: str) -> Mapping[str, Any]:
    """Return the record of a request, which comes once it is settled."""
    for _ in range(500):
        for line in tuple(function.log):
            if request_id in line and '"message":"stream"' in line:
                told: Mapping[str, Any] = json.loads(line)
                return told
        time.sleep(0.01)
    raise AssertionError(tuple(function.log))


def _counted(question: str = QUESTION) -> int:
    return usage(question)["totalTokens"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/stream", {"prompt": QUESTION}),
        (f"/model/{MODEL}/converse", {"messages": [{"role": "user", "content": [{"text": QUESTION}]}]}),
        (f"/model/{MODEL}/invoke", invoke_body()),
        (f"/model/{MODEL}/invoke-with-response-stream", invoke_body()),
        ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}),
        ("/v1/responses", {"model": MODEL, "input": QUESTION, "stream": True}),
        (
            "/v1/messages",
            {"model": MODEL, "max_tokens": 2000, "messages": [{"role": "user", "content": QUESTION}]},
        ),
    ],
)  # fmt: skip
def test_what_bedrock_counts_is_used(
    function: LocalFunction, table: Table, path: str, body: Any
) -> None:
    """By every way to a model, streamed or whole: the item has what Bedrock counted, and so has the record."""
    answer = ask(function.url, path, body, accept="*/*")
    told = _settled(function, answer.headers["x-request-id"])
    assert (answer.status, table.used()) == (200, _counted())
    assert (told["budget"], told["budget_used"]) == (3000, _counted())
    ((key, item),) = table.items().items()
    assert key.startswith("public#public#20")
    assert "unsettled" not in item


def test_environments_share_a_budget(function: LocalFunction, table: Table) -> None:
    """Three processes are asked at once, with a budget for one stream: one answers, two refuse at once."""
    function.bedrock.pace = Pace(time_to_first_token=0.7, tokens_per_second=10_000)
    with ThreadPoolExecutor(3) as callers:
        answers = list(callers.map(lambda _: ask(function.url), range(3)))
    assert sorted(answer.status for answer in answers) == [200, 429, 429]
    assert len(function.bedrock.calls) == 1
    records = [_settled(function, answer.headers["x-request-id"]) for answer in answers]
    assert [told["budget_used"] for told in records if "budget_used" in told] == [table.used()]
    assert table.used() < 3000
    function.bedrock.pace = IMMEDIATE
    assert ask(function.url).status == 200


def test_a_refused_call_is_given_back(function: LocalFunction, table: Table) -> None:
    """Bedrock throttles: nothing is used, and the caller's next call is not refused."""
    prompt = {"prompt": "[fault: refuse name=ThrottlingException]"}
    answer = ask(function.url, "/stream", prompt)
    _settled(function, answer.headers["x-request-id"])
    assert (answer.status, table.used()) == (429, 0)


def test_a_broken_answer_costs_its_most(function: LocalFunction, table: Table) -> None:
    """The connection to Bedrock breaks in the middle: what was reserved stays taken."""
    answer = ask(function.url, "/stream", {"prompt": "[fault: cut after=2]"})
    _settled(function, answer.headers["x-request-id"])
    assert answer.types[-1] == "error"
    assert table.used() > 3000


@pytest.fixture
def broke(function: LocalFunction, table: Table) -> LocalFunction:
    """The function, whose callers have nothing left."""
    answer = ask(function.url)
    _settled(function, answer.headers["x-request-id"])
    (key,) = table.items()
    table.add(key, 3000)
    function.bedrock.calls.clear()
    function.log.clear()
    return function


def _refusals(function: LocalFunction) -> int:
    """Return how many requests were refused: each has one record, which comes after its answer."""
    function.wait_for_line('"error":"budget_exhausted"')
    assert not function.bedrock.calls
    return sum('"error":"budget_exhausted"' in line for line in function.log)


MESSAGE = "The budget of 3000 tokens a day is used up; it resets at "


def test_openais_client_is_told_once(broke: LocalFunction) -> None:
    """`RateLimitError`, with the code; left to itself it does not try again."""
    with (
        openai.OpenAI(base_url=f"{broke.url}/v1", api_key="x") as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    error = caught.value
    assert (error.status_code, error.code) == (429, "budget_exhausted")
    assert MESSAGE in error.message
    assert 0 < int(error.response.headers["retry-after"]) <= 86_400
    assert _refusals(broke) == 1


def test_anthropics_client_is_told_once(broke: LocalFunction) -> None:
    """`RateLimitError`, with the code; left to itself it does not try again."""
    with (
        anthropic.Anthropic(base_url=broke.url, api_key="x") as client,
        pytest.raises(anthropic.RateLimitError) as caught,
    ):
        client.messages.create(
            model=MODEL, max_tokens=10, messages=[{"role": "user", "content": "hi"}]
        )
    error: Any = caught.value.body
    assert (error["error"]["type"], error["error"]["code"]) == (
        "rate_limit_error",
        "budget_exhausted",
    )
    assert MESSAGE in error["error"]["message"]
    assert _refusals(broke) == 1


def test_boto3_is_told_by_the_name_of_a_quota(broke: LocalFunction) -> None:
    """`ServiceQuotaExceededException`; of InvokeModel, which lists it, boto3 itself does not try again."""
    with closing(
        boto3.client(
            "bedrock-runtime",
            endpoint_url=broke.url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
    ) as client:
        with pytest.raises(client.exceptions.ServiceQuotaExceededException) as caught:
            client.invoke_model(modelId=MODEL, body=json.dumps(invoke_body()))
        assert _refusals(broke) == 1
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert MESSAGE in caught.value.response["Error"]["Message"]
        client.meta.events.register_first("needs-retry", lambda **_: False)
        with pytest.raises(client.exceptions.ServiceQuotaExceededException, match=MESSAGE):
            client.converse_stream(
                modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}]
            )

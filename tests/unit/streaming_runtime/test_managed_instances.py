from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streaming_runtime.managed_instances import StreamingWorkerClient
from tests.unit.streaming_runtime.scripted_api import ScriptedRuntimeApi

from awslambdaric import lambda_runtime_client  # noqa: TID251  # isort: skip  # after client.py

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def scripted() -> Iterator[ScriptedRuntimeApi]:
    with ScriptedRuntimeApi() as scripted:
        yield scripted


@pytest.fixture
def client(scripted: ScriptedRuntimeApi) -> StreamingWorkerClient:
    return StreamingWorkerClient(scripted.address)


@pytest.mark.parametrize("status", [400, 413, 500])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_worker_outlives_a_refusal(
    status: int,
    *,
    streamed: bool,
    scripted: ScriptedRuntimeApi,
    client: StreamingWorkerClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever an answer is answered with, the worker logs it and goes on: others work beside it."""
    scripted.refuse("response", status)
    if streamed:
        client.open_response(over_http=True).start(200, {}, [])
    client.post_invocation_result("id", "null")
    assert str(status) in caplog.text
    scripted.invoke({}, "id-2")
    assert client.wait_next_invocation().invoke_id == "id-2"


def test_a_worker_asks_again(
    scripted: ScriptedRuntimeApi, client: StreamingWorkerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that got no invocation asks again, a few times."""
    monkeypatch.setattr(lambda_runtime_client, "DEFAULT_RETRY_INITIAL_DELAY", 0.001)
    scripted.refuse_next(500)
    scripted.hang_up_next()
    scripted.invoke({"a": 1}, "id-3")
    assert json.loads(client.wait_next_invocation().event_body) == {"a": 1}


def test_a_worker_gives_up(
    scripted: ScriptedRuntimeApi, client: StreamingWorkerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it ends."""
    monkeypatch.setattr(lambda_runtime_client, "DEFAULT_RETRY_INITIAL_DELAY", 0.001)
    for _ in range(5):
        scripted.refuse_next(500)
    with pytest.raises(lambda_runtime_client.LambdaRuntimeClientError):
        client.wait_next_invocation()


def test_a_worker_that_was_not_the_first_to_fail(
    scripted: ScriptedRuntimeApi, client: StreamingWorkerClient
) -> None:
    """403 to an init error means that another worker has posted it already."""
    scripted.refuse("error", 403)
    client.post_init_error({"errorType": "X"})
    scripted.refuse("error", 500)
    with pytest.raises(lambda_runtime_client.LambdaRuntimeClientError):
        client.post_init_error({"errorType": "X"})

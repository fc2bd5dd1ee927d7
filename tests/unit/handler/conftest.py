from __future__ import annotations

import dataclasses
import importlib
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from streaming_runtime.decorator import set_response_opener
from tests.unit.handler.fakes import MODEL, Body, Context, a_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.handler.fakes import Bedrock


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function's own module, as its environment would set it up."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "RIVULET_MODEL_IDS": MODEL,
    }.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("handler")
    monkeypatch.setattr(module.metrics, "namespace", "Rivulet")  # it may be made already, without
    # The logger keeps the stdout that there was when it was made; a test's own is what counts.
    now = SimpleNamespace(write=lambda text: sys.stdout.write(text), flush=lambda: None)  # noqa: PLW0108  # late
    monkeypatch.setattr(module.logger.registered_handler, "stream", now)
    return module


@pytest.fixture
def choose(handler: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Choose settings of the deployment."""

    def choose(**settings: Any) -> None:
        monkeypatch.setattr(handler, "settings", dataclasses.replace(handler.settings, **settings))
        vacancies = threading.BoundedSemaphore(handler.settings.max_concurrency)
        monkeypatch.setattr(handler, "_vacancies", vacancies)

    return choose


@pytest.fixture
def traced(handler: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the trace of the call is told."""
    told: dict[str, Any] = {}

    @contextmanager
    def segment(name: str) -> Iterator[Any]:
        yield SimpleNamespace(
            put_annotation=lambda key, value: (
                told.update({key: value}) if name == "## ConverseStream" else None
            ),
            add_error_flag=lambda: told.update(fault=False),
            add_fault_flag=lambda: told.update(fault=True),
        )

    monkeypatch.setattr(handler.tracer.provider, "in_subsegment", segment)
    return told


@pytest.fixture
def body() -> Iterator[Body]:
    streamed = Body()
    set_response_opener(streamed)
    yield streamed
    set_response_opener(None)


@pytest.fixture
def ask(handler: Any, body: Body, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask the function, with a Bedrock of some frames behind it."""

    def ask(bedrock: Bedrock, event: Any = None, seconds_left: float = 0.0, **headers: str) -> Body:
        monkeypatch.setattr(handler, "bedrock", bedrock)
        event = a_request(**headers) if event is None else event
        assert handler.handle(event, Context(seconds_left)) is None
        assert bedrock.open == 0, "upstream is always closed"
        return body

    return ask

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools.utilities.parameters import SecretsProvider

from access import api_keys, kept
from tests.unit.access.issuer import Issuer
from tests.unit.access.json_server import SecretsManager
from tests.unit.handler.conftest import ask, body, handler  # noqa: F401  # fixtures of the whole function

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """The clock that what is kept grows old by; it stands still."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(kept, "_now", clock)
    return clock


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture(scope="session")
def _secrets_manager() -> Iterator[tuple[SecretsManager, SecretsProvider]]:
    with SecretsManager() as server, pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": server.url,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        provider = SecretsProvider(boto_config=api_keys._config())
        yield server, provider
        provider.client.close()


@pytest.fixture
def secrets_manager(
    _secrets_manager: tuple[SecretsManager, SecretsProvider], monkeypatch: pytest.MonkeyPatch
) -> SecretsManager:
    """A Secrets Manager with nothing in it, and Powertools' way to it, which takes long to make and is shared."""
    server, provider = _secrets_manager
    server.secret = None
    server.paths.clear()
    server.asked.clear()
    monkeypatch.setattr(api_keys, "SecretsProvider", lambda **_: provider)
    return server


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What was warned of: messages and causes."""
    told: list[tuple[str, Any]] = []

    def tell(message: str, *, extra: dict[str, Any]) -> None:
        told.append((message, extra["cause"]))

    for module in (kept, api_keys):
        monkeypatch.setattr(module.logger, "warning", tell)
        monkeypatch.setattr(module.logger, "error", tell)
    return told

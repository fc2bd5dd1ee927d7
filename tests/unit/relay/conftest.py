from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from relay.bedrock import Bedrock
from tests.unit.relay.fake_boto import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session")
def _made_once() -> Iterator[Bedrock]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        bedrock = Bedrock(SETTINGS)
    yield bedrock
    bedrock._client.close()


@pytest.fixture
def bedrock(_made_once: Bedrock, monkeypatch: pytest.MonkeyPatch) -> Bedrock:
    """The relay's side, with a real client that takes long to make and is shared: replace it, but do not change it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return copy.copy(_made_once)

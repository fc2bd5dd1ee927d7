"""A function URL's events, for the tests of what becomes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.errors import RequestError
from relay.model_call import ModelCall, Reply, Request
from relay.request import read_request, refuse
from relay.settings import Settings
from tests.unit.relay.test_request import BotocoreShapes

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
_ENVIRONMENT = {
    "RIVULET_MODEL_IDS": f"{CLAUDE},{NOVA},{PROFILE}",
    "RIVULET_MODEL_ALIASES": f"gpt-4o={NOVA},ours={PROFILE}",
}
SETTINGS = Settings.from_environment(_ENVIRONMENT)
LIMITED = Settings.from_environment(
    {**_ENVIRONMENT, "RIVULET_MAX_TOKENS": "100", "RIVULET_MAX_MESSAGES": "2"}
)


def url_event(
    path: str, body: Any = None, method: str = "POST", headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return an event; a body that is bytes is sent as it is, any other as JSON."""
    text = body.decode() if isinstance(body, bytes) else json.dumps(body)
    return {
        "rawPath": path,
        "headers": {"content-type": "application/json", **(headers or {})},
        "requestContext": {"http": {"method": method, "path": path}},
        "body": text,
        "isBase64Encoded": False,
    }


def request_of(*args: Any, settings: Settings = SETTINGS, **kwargs: Any) -> Request:
    """Return what an event asks for."""
    return read_request(url_event(*args, **kwargs), settings, BotocoreShapes())


def call_of(*args: Any, settings: Settings = SETTINGS, **kwargs: Any) -> ModelCall:
    """Return the call that an event asks for."""
    call = request_of(*args, settings=settings, **kwargs)
    assert isinstance(call, ModelCall)
    return call


def reply_to(*args: Any, settings: Settings = SETTINGS, **kwargs: Any) -> Reply:
    """Return the answer to an event that needs no Bedrock."""
    reply = request_of(*args, settings=settings, **kwargs)
    assert isinstance(reply, Reply)
    return reply


def refusal_of(*args: Any, settings: Settings = SETTINGS, **kwargs: Any) -> RequestError:
    """Return the error that an event is refused with."""
    with pytest.raises(RequestError) as caught:
        request_of(*args, settings=settings, **kwargs)
    assert 400 <= caught.value.status < 500
    return caught.value


def told(*args: Any, settings: Settings = SETTINGS, **kwargs: Any) -> tuple[Any, Any]:
    """Return the headers and the body with which an event is refused."""
    error = refusal_of(*args, settings=settings, **kwargs)
    refusal = refuse(url_event(*args, **kwargs), error, "the-request", {})
    return refusal.headers, refusal.body

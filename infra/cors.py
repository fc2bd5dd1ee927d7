"""Browsers on other origins: a deployment chooses which; what they may do, the function's own `relay/cors.py` says."""

from __future__ import annotations

import re

from infra.cdk_tokens import ANY, some
from infra.shipped import load

_cors = load("relay.cors")
METHODS: tuple[str, ...] = _cors.METHODS
REQUEST_HEADERS: tuple[str, ...] = _cors.REQUEST_HEADERS
RESPONSE_HEADERS: tuple[str, ...] = _cors.RESPONSE_HEADERS
MAX_AGE_SECONDS: int = _cors.MAX_AGE_SECONDS

_HOST = some("A-Za-z0-9.-")
_ORIGIN = re.compile(rf"(https?://(\[[0-9a-f:.]+\]|{_HOST}+)|{ANY}{_HOST}*)(:(\d{{1,5}}|{ANY}))?")


def origin(text: str) -> str:
    """Check an origin, of which CDK may fill in some or all.

    Raises:
        ValueError: it is neither an origin nor `*`.
    """
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise ValueError("expected an origin ('https://app.example.com') or '*'")
    return text

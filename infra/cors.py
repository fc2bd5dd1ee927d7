"""Browsers on other origins: a deployment chooses which; what they may do, the function's own `relay/cors.py` says."""

from __future__ import annotations

import re

from infra.cdk_tokens import has_token
from infra.shipped import load

_cors = load("relay.cors")
METHODS: tuple[str, ...] = _cors.METHODS
REQUEST_HEADERS: tuple[str, ...] = _cors.REQUEST_HEADERS
RESPONSE_HEADERS: tuple[str, ...] = _cors.RESPONSE_HEADERS
MAX_AGE_SECONDS: int = _cors.MAX_AGE_SECONDS

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")


def origin(text: str) -> str:
    """Check an origin, of which CDK may fill in the host.

    Raises:
        ValueError: it is neither an origin nor `*`.
    """
    if text != "*" and not has_token(text) and not _ORIGIN.fullmatch(text):
        raise ValueError("expected an origin ('https://app.example.com') or '*'")
    return text

"""What browsers on other origins may do with the function URL.

The URL itself answers their preflights and adds the headers; the function adds none, for a doubled
`access-control-allow-origin` is one that browsers refuse (fact 44).
"""

from __future__ import annotations

import re

METHODS = ("GET", "POST")
# Named one by one: a wildcard does not cover `authorization`.
REQUEST_HEADERS = (
    "accept",
    "authorization",
    "content-type",
    # AWS's signature, and its SDKs.
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-user-agent",
    "x-amzn-bedrock-accept",
    # Anthropic's SDK.
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "x-api-key",
    # OpenAI's SDK, and those that are made as it is.
    "openai-organization",
    "openai-project",
    "x-stainless-arch",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
    # Vercel's.
    "user-agent",
)
RESPONSE_HEADERS = (
    "request-id",
    "retry-after",
    "x-amzn-errortype",
    "x-amzn-requestid",
    "x-request-id",
    "x-should-retry",
    "x-vercel-ai-ui-message-stream",
)
MAX_AGE_SECONDS = 3600

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")


def origin(text: str) -> str:
    """Check an origin.

    Raises:
        ValueError: it is neither an origin nor `*`.
    """
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise ValueError("expected an origin ('https://app.example.com') or '*'")
    return text

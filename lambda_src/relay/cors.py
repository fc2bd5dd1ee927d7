"""What browsers on other origins may do, and how they are told where the front door does not tell them itself.

A function URL does (fact 44): there the function adds nothing, for a doubled ``access-control-allow-origin`` is one
that browsers refuse. A REST API hands everything on to the function, preflights included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a request is a browser's question for what it may send; it comes without a credential."""
    return method == "OPTIONS" and "access-control-request-method" in headers


def preflight(headers: Mapping[str, str], origins: Sequence[str]) -> dict[str, str]:
    """Return the headers that answer a preflight; none allow what is not allowed."""
    allowed = _allowed(headers, origins)
    if not allowed or headers.get("access-control-request-method") not in METHODS:
        return {}
    return {
        **allowed,
        "access-control-allow-methods": ",".join(METHODS),
        "access-control-allow-headers": ",".join(REQUEST_HEADERS),
        "access-control-max-age": str(MAX_AGE_SECONDS),
    }


def answer(headers: Mapping[str, str], origins: Sequence[str]) -> dict[str, str]:
    """Return the headers that any other answer gets."""
    allowed = _allowed(headers, origins)
    exposed = {"access-control-expose-headers": ",".join(RESPONSE_HEADERS)}
    return {**allowed, **exposed} if allowed else {}


def _allowed(headers: Mapping[str, str], origins: Sequence[str]) -> dict[str, str]:
    origin = headers.get("origin")
    if origin is None or not origins:
        return {}
    if "*" in origins:
        return {"access-control-allow-origin": "*"}
    if origin not in origins:
        return {}
    return {"access-control-allow-origin": origin, "vary": "Origin"}

"""``@stream_response``: gives a handler its ``response`` and decides, a request at a time, where the bytes go.

They are streamed where the runtime client of this package runs the loop (it announces itself with
``set_response_opener``) and the way in can carry a stream; otherwise they are collected and returned.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Protocol

from streaming_runtime.response import Body, BufferedBody, Response

if TYPE_CHECKING:
    from collections.abc import Callable

INVOKE_MODE = "STREAMING_RUNTIME_INVOKE_MODE"
"""Environment variable: ``BUFFERED`` for a function URL in that mode, ``RESPONSE_STREAM`` (the default) otherwise."""


class ResponseOpener(Protocol):
    """A runtime that can stream the response to the invocation in hand."""

    def open_response(self, *, over_http: bool) -> Body:
        """Return the body to write to; ``over_http`` says whether status and headers go before it."""


class StreamingHandler(Protocol):
    """A handler that writes its answer to ``response`` and returns nothing."""

    def __call__(self, event: Any, context: Any, /, *, response: Response) -> None:
        """Handle one invocation."""


# What a request context holds: payload 2.0 (function URLs, HTTP APIs), payload 1.0 (REST APIs), load balancers.
_HTTP_KEYS = frozenset({"http", "httpMethod", "elb"})

_opener: ResponseOpener | None = None


def set_response_opener(opener: ResponseOpener | None) -> None:
    """Name the runtime that streams this process's responses, or ``None`` to collect them."""
    global _opener  # noqa: PLW0603  # one process runs one loop
    _opener = opener


def stream_response(handler: StreamingHandler) -> Callable[[Any, Any], Any]:
    """Turn a handler that writes into one that Lambda can call.

    Put it outermost: the decorators below it then span the whole stream (facts 50 and 51).
    """

    @functools.wraps(handler)
    def handle(event: Any, context: Any) -> dict[str, Any] | None:
        if _opener is None or _must_buffer(event):
            buffered = BufferedBody()
            _run(handler, event, context, buffered)
            return buffered.proxy_response()
        _run(handler, event, context, _opener.open_response(over_http=_is_http(event)))
        return None  # the runtime client ends the stream

    return handle


def _run(handler: StreamingHandler, event: Any, context: Any, body: Body) -> None:
    response = Response(body)
    try:
        returned: object = handler(event, context, response=response)  # type: ignore[func-returns-value]  # it may err
        if returned is not None:  # a generator or a coroutine would not even have run
            raise TypeError(
                f"{handler}: expected to write to its response and return None, got {type(returned).__name__}"
            )
        response.start()  # an empty answer has a status too, and callers hang without it (fact 33)
    finally:
        response.end()


def _is_http(event: Any) -> bool:
    """Tell a request of a function URL, API Gateway or a load balancer from a direct invocation."""
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and not _HTTP_KEYS.isdisjoint(context)


def _must_buffer(event: Any) -> bool:
    """Tell whether the way in can only carry a whole answer."""
    if os.environ.get(INVOKE_MODE) == "BUFFERED":
        return True
    if not _is_http(event):
        return False
    context = event["requestContext"]
    return "elb" in context or ("http" in context and _is_http_api(context))


def _is_http_api(context: dict[str, Any]) -> bool:
    """Tell an HTTP API, which cannot stream, from a URL.

    They share payload 2.0. (REST APIs, payload 1.0, can stream.) Both are named after their id, but an HTTP API may
    also have a domain of its owner's, and a URL may not (fact 45).
    """
    name, api_id = context.get("domainName"), context.get("apiId")
    if not isinstance(name, str):
        name = ""
    has_own_domain = api_id is not None and not name.startswith(f"{api_id}.")
    return ".execute-api." in name or (has_own_domain and ".lambda-url." not in name)

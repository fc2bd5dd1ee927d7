"""CORS as a function URL does it: preflights are answered without the function, other answers get headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.cors import MAX_AGE_SECONDS, METHODS, REQUEST_HEADERS, RESPONSE_HEADERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.http1 import Request

    Headers = tuple[tuple[str, str], ...]


class Cors:
    """What a function URL's configuration says of other origins.

    Args:
        origins: those that are allowed; none where nothing is configured, and then nothing is done.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = origins

    def is_preflight(self, request: Request) -> bool:
        """Tell whether a request is for the URL itself to answer."""
        asks = request.header("access-control-request-method") is not None
        return bool(self._origins) and request.method == "OPTIONS" and asks

    def preflight(self, request: Request) -> Headers:
        """Return the headers that answer a preflight; none allow what is not allowed."""
        allowed = self._allowed(request)
        if not allowed or request.header("access-control-request-method") not in METHODS:
            return ()
        return (
            *allowed,
            ("access-control-allow-methods", ",".join(METHODS)),
            ("access-control-allow-headers", ",".join(REQUEST_HEADERS)),
            ("access-control-max-age", str(MAX_AGE_SECONDS)),
        )

    def headers(self, request: Request) -> Headers:
        """Return the headers that any other answer gets."""
        allowed = self._allowed(request)
        exposed = ("access-control-expose-headers", ",".join(RESPONSE_HEADERS))
        return (*allowed, exposed) if allowed else ()

    def _allowed(self, request: Request) -> Headers:
        origin = request.header("origin")
        if origin is None or not self._origins:
            return ()
        if "*" in self._origins:
            return (("access-control-allow-origin", "*"),)
        if origin not in self._origins:
            return ()
        return (("access-control-allow-origin", origin), ("vary", "Origin"))

"""CORS as a function URL does it: preflights are answered without the function, other answers get headers.

What it says is the same that the function says behind a REST API: `relay/cors.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import cors

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
        return bool(self._origins) and cors.is_preflight(request.method, dict(request.headers))

    def preflight(self, request: Request) -> Headers:
        """Return the headers that answer a preflight; none allow what is not allowed."""
        return tuple(cors.preflight(dict(request.headers), self._origins).items())

    def headers(self, request: Request) -> Headers:
        """Return the headers that any other answer gets."""
        return tuple(cors.answer(dict(request.headers), self._origins).items())

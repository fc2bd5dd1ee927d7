"""Errors as Anthropic's API tells them, before the first byte and in the middle of a stream.

Its clients choose their exception by the status, ask ``x-should-retry`` whether to try again, and show ``type``. What
an error has beyond type and message is Rivulet's own, the same in every format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.formats.anthropic_usage import usage
from relay.formats.format import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.errors import RelayError

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    424: "api_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def told(error: RelayError, request_id: str, counted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object that is the data of an ``error`` event, and the body of a refusal.

    Args:
        error: what the caller is told.
        request_id: the request's, where it is known: a stream that fails before it starts has not said it.
        counted: what Bedrock has counted by then, if anything.
    """
    default = "invalid_request_error" if error.status < 500 else "api_error"
    said = {
        "type": _TYPES.get(error.status, default),
        "message": error.message,
        "details": {"error_code": error.code},  # where its clients look for it
        **error.told(),
        **({"usage": usage(counted)} if counted else {}),
    }
    known = {"request_id": request_id} if request_id else {}
    return {"type": "error", "error": said, **known}


def refuse(error: RelayError, request_id: str, counted: Mapping[str, Any]) -> Refusal:
    """Tell an error that still has its status."""
    headers = {
        "request-id": request_id,  # where its clients look for it
        "x-should-retry": "true" if error.retryable else "false",
    }
    return Refusal(headers, told(error, request_id, counted))

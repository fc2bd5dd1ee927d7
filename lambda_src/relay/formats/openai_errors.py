"""Errors as OpenAI's APIs tell them, before the first byte and in the middle of a stream.

Its clients choose their exception by the status and by the header ``x-should-retry``, and show ``type``, ``code`` and
``param`` to whoever catches it. ``code`` is Rivulet's own, the same in every format; ``type`` is one of OpenAI's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.formats.format import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.errors import RelayError

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    # The model's failures, though Bedrock gives them a status of the caller's: facts 10 and 11.
    408: "server_error",
    424: "server_error",
}


def told(error: RelayError, request_id: str) -> dict[str, Any]:
    """Return the error object that OpenAI's clients look into; the last members are Rivulet's own.

    Args:
        error: what the caller is told.
        request_id: the request's, where it is known: a stream that fails before it starts has not said it.
    """
    said = error.told()
    return {
        "message": said.pop("message"),
        "type": _type(error),
        "param": error.field,
        "code": said.pop("code"),
        **({"request_id": request_id} if request_id else {}),
        **said,
    }


def refuse(
    error: RelayError,
    request_id: str,
    counted: Mapping[str, Any],
    *,
    usage: Callable[[Mapping[str, Any]], Any],
) -> Refusal:
    """Tell an error that still has its status; ``usage`` puts what was counted in the API's own terms."""
    headers = {"x-should-retry": "true" if error.retryable else "false"}
    said = {"usage": usage(counted)} if counted else {}
    return Refusal(headers, {"error": {**told(error, request_id), **said}})


def _type(error: RelayError) -> str:
    if error.code in {"budget_exhausted", "service_quota_exceeded"}:  # no fault of the request's
        return "insufficient_quota"
    return _TYPES.get(
        error.status, "invalid_request_error" if error.status < 500 else "server_error"
    )

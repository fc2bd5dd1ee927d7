"""What can go wrong in the relay, and whose fault it is.

::

    RelayError            has all that a caller is told: status, code, message, whether to retry
    ├── RequestError      the caller's fault: 4xx; the message says what was expected and what came
    ├── UpstreamError     Bedrock's, or the way's to it; raised before the stream or in the middle of it
    ├── LimitError        what this deployment allows, or has time for, is used up
    └── AccessError       whoever calls has not shown who they are, or may not: 401, 403; or nobody can tell now: 503

Anything else is a bug of ours: logged whole, told in one word (``internal``). What another program says in an
exception reaches a caller only from Bedrock's validation, which speaks of the caller's own request, and without the
names of resources.

A new code belongs into ``measures.py`` as well, which says whose doing it is, and into docs/failures.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from relay.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(NamedTuple):
    """What a caller is told of one kind of failure; ``retry_after`` is in seconds."""

    status: int
    retryable: bool
    message: str
    retry_after: int | None = None


# Bedrock's exceptions (facts 10 and 11). The code told to callers is the name in snake case: `ThrottlingException` is
# `throttling`.
_EXCEPTIONS = {
    "AccessDeniedException": Kind(
        403, False, "Bedrock does not let this deployment use the model."
    ),
    "InternalServerException": Kind(500, True, "Bedrock failed."),
    "ModelErrorException": Kind(424, True, "The model failed on this request."),
    "ModelNotReadyException": Kind(429, True, "The model is not ready yet.", retry_after=30),
    "ModelStreamErrorException": Kind(424, True, "The model failed while streaming."),
    "ModelTimeoutException": Kind(408, True, "The model took too long."),
    "ResourceNotFoundException": Kind(404, False, "Bedrock does not know the model here."),
    "ServiceQuotaExceededException": Kind(
        400, False, "A Bedrock quota of this deployment is used up."
    ),
    "ServiceUnavailableException": Kind(503, True, "Bedrock is not available.", retry_after=5),
    "ThrottlingException": Kind(429, True, "Bedrock is throttling this deployment.", retry_after=5),
    "ValidationException": Kind(400, False, "Bedrock refused the request."),
}

# What the way to Bedrock and back can do to a stream: facts 15 and 16.
_TRANSPORT = {
    "connect_failed": Kind(502, True, "Bedrock could not be reached."),
    "connect_timeout": Kind(504, True, "Bedrock did not accept the connection in time."),
    "read_timeout": Kind(504, True, "Bedrock was silent for too long."),
    "connection_lost": Kind(502, True, "The connection to Bedrock broke."),
    "truncated": Kind(502, True, "Bedrock's stream ended before the answer was complete."),
    "corrupt": Kind(502, True, "Bedrock's stream was damaged on the way."),
}

# Those that are nearest to what Anthropic's models may report themselves.
_MODELS_EXCEPTIONS = {
    "overloaded_error": "ServiceUnavailableException",
    "rate_limit_error": "ThrottlingException",
    "timeout_error": "ModelTimeoutException",
}

# Of the exceptions that Bedrock's callers know, those that are nearest to a status.
_SDK_EXCEPTIONS = {
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    500: "InternalServerException",
    504: "ModelTimeoutException",
}

# What only this deployment can know.
_LIMITS = {
    "timeout": Kind(504, True, "The time that this deployment gives an answer is over."),
    "response_too_large": Kind(502, False, "The answer is longer than this deployment can send."),
    "too_many_streams": Kind(
        429, True, "This environment is busy with other answers.", retry_after=1
    ),
    # It is again, but not before midnight: clients would try in vain until then.
    "budget_exhausted": Kind(429, False, "The budget is used up."),
}

# Who may call: the package ``access``. No message says more of a credential than that it is none.
_ACCESS = {
    "unauthenticated": Kind(
        401, False, "Expected a valid credential for this deployment, got none."
    ),
    "forbidden": Kind(403, False, "The credential does not allow this."),
    "access_unavailable": Kind(
        503, True, "Credentials cannot be checked at the moment.", retry_after=5
    ),
}

_NAMELESS = "unknown"  # the code of what has no exception's name
_LONGEST_NAME = 100  # it becomes a header, too
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class RelayError(Exception):
    """A failure with all that the caller is told of it.

    Attributes:
        status: the HTTP status, where one can still be sent.
        code: a stable name in snake case, to program against.
        message: a sentence for people.
        retryable: whether the same request may succeed later.
        headers: response headers that belong to the status.
        original_status: the status that the model itself failed with behind Bedrock, where Bedrock says so.
        field: the path of what is wrong in the request, where it is one thing.
    """

    field: str | None = None

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        headers: Mapping[str, str] | None = None,
        original_status: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retryable = retryable
        self.headers = headers or {}
        self.original_status = original_status

    def told(self) -> dict[str, Any]:
        """Return what a caller is told, as the members of a JSON object."""
        told = {"code": self.code, "message": self.message, "retryable": self.retryable}
        if self.original_status is not None:
            told["original_status"] = self.original_status
        return told


class RequestError(RelayError):
    """The caller's fault."""


class UpstreamError(RelayError):
    """Bedrock's fault, or the way's to it.

    Attributes:
        request_id: Bedrock's own, for its support, where it has answered the call.
        retries: how often boto3 tried again.
        model: the one that was asked, by the name that callers know it by.
        fallback_from: the one that was asked before, where that one stood in for it.
    """

    request_id = ""
    retries = 0
    model = ""
    fallback_from: str | None = None


class LimitError(RelayError):
    """Nobody's fault: there is no more of something."""


class AccessError(RelayError):
    """Whoever calls may not, or cannot be known to."""


def access_error(code: str, message: str = "") -> AccessError:
    """Return the error for a caller that is not let in.

    Args:
        code: ``unauthenticated``, ``forbidden`` or ``access_unavailable``.
        message: a sentence that says more than the usual one.
    """
    kind = _ACCESS[code]
    headers = _retry_after(kind)
    if kind.status == 401:
        headers["www-authenticate"] = "Bearer"  # RFC 9110, section 11.6.1
    return AccessError(
        kind.status, code, message or kind.message, retryable=kind.retryable, headers=headers
    )


def transport_error(code: str) -> UpstreamError:
    """Return the error for one of the ways in which a connection fails."""
    kind = _TRANSPORT[code]
    return UpstreamError(kind.status, code, kind.message, retryable=kind.retryable)


def limit_error(code: str) -> LimitError:
    """Return the error for one of this deployment's limits."""
    kind = _LIMITS[code]
    return LimitError(
        kind.status, code, kind.message, retryable=kind.retryable, headers=_retry_after(kind)
    )


def budget_error(tokens: int, resets: str, retry_after: int) -> LimitError:
    """Return the error for a caller whose budget of tokens is used up.

    Args:
        tokens: how many it has in a day.
        resets: when the next day begins.
        retry_after: seconds until then.
    """
    error = limit_error("budget_exhausted")
    error.message = f"The budget of {tokens} tokens a day is used up; it resets at {resets}."
    # What the AWS SDKs are to raise: throttling would be over soon, and those that go by the name would try again.
    name = "ServiceQuotaExceededException"
    error.headers = {"retry-after": str(retry_after), "x-amzn-errortype": name}
    return error


def internal_error(bug: Exception) -> RelayError:
    """Return the error for a bug of ours, which it keeps for the records: the caller learns nothing more."""
    error = RelayError(500, "internal", "Something went wrong.")
    error.__cause__ = bug
    return error


def bedrock_error(
    exception: str,
    message: str = "",
    status: int | None = None,
    *,
    retry_after: str | None = None,
    original_status: object = None,
) -> UpstreamError:
    """Return the error for an exception of Bedrock's.

    Args:
        exception: its name, as the service or an event stream spells it: ``ThrottlingException`` is
            ``throttlingException`` there (fact 13).
        message: Bedrock's own words.
        status: the HTTP status it came with, for exceptions that nobody has listed.
        retry_after: Bedrock's own header, if it sent one.
        original_status: the exception's ``originalStatusCode``, if it has one (fact 10).
    """
    name = exception[:1].upper() + exception[1:]
    kind = _EXCEPTIONS.get(name)
    if kind is None:
        status = status if status is not None and 400 <= status <= 599 else 502
        kind = Kind(status, status == 429 or status >= 500, "Bedrock reported an error.")
    said = kind.message
    if name == "ValidationException" and message:
        said = f"{said} It says: {redact(message)}"
    code = _code(name)
    headers = _retry_after(kind, retry_after)
    if code != _NAMELESS:
        # By this header the AWS SDKs know an exception; theirs are the callers of the routes that Bedrock has, too.
        headers["x-amzn-errortype"] = name
    return UpstreamError(
        kind.status,
        code,
        said,
        retryable=kind.retryable,
        headers=headers,
        original_status=original_status if isinstance(original_status, int) else None,
    )


def model_error(type_: object) -> UpstreamError:
    """Return the error for one that a model's own document reports, by Anthropic's name for its type."""
    name = _MODELS_EXCEPTIONS.get(type_) if isinstance(type_, str) else None
    return bedrock_error(name or "ModelStreamErrorException")


def sdk_exception(status: int) -> str:
    """Return the exception that an AWS SDK is to raise for a failure with this status that has no name of Bedrock's."""
    return _SDK_EXCEPTIONS.get(
        status, "ValidationException" if status < 500 else "ServiceUnavailableException"
    )


def _retry_after(kind: Kind, said: str | None = None) -> dict[str, str]:
    """Return the header that says when to try again: Bedrock's own number of seconds, or else the kind's."""
    if said is not None and said.isascii() and said.isdecimal() and kind.retryable:
        return {"retry-after": said}
    return {} if kind.retry_after is None else {"retry-after": str(kind.retry_after)}


def _code(exception: str) -> str:
    words = exception.removesuffix("Exception")
    if not words.isidentifier() or not words.isascii() or len(words) > _LONGEST_NAME:
        return _NAMELESS
    return _WORD_START.sub("_", words).lower()

"""What can go wrong in the relay, and whose fault it is.

::

    RelayError            has all that a caller is told: status, code, message, whether to retry
    ├── RequestError      the caller's fault: 4xx; the message says what was expected and what came
    └── UpstreamError     Bedrock's, or the way's to it; raised before the stream or in the middle of it

Anything else is a bug of ours: logged whole, told in one word (``internal``). What another program says in an
exception reaches a caller only from Bedrock's validation, which speaks of the caller's own request, and without the
names of resources.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(NamedTuple):
    """What a caller is told of one kind of failure."""

    status: int
    retryable: bool
    message: str


# Bedrock's exceptions (facts 10 and 11). The code told to callers is the name in snake case: `ThrottlingException` is
# `throttling`.
_EXCEPTIONS = {
    "AccessDeniedException": Kind(
        403, False, "Bedrock does not let this deployment use the model."
    ),
    "InternalServerException": Kind(500, True, "Bedrock failed."),
    "ModelErrorException": Kind(424, True, "The model failed on this request."),
    "ModelNotReadyException": Kind(429, True, "The model is not ready yet."),
    "ModelStreamErrorException": Kind(424, True, "The model failed while streaming."),
    "ModelTimeoutException": Kind(408, True, "The model took too long."),
    "ResourceNotFoundException": Kind(404, False, "Bedrock does not know the model here."),
    "ServiceQuotaExceededException": Kind(
        400, False, "A Bedrock quota of this deployment is used up."
    ),
    "ServiceUnavailableException": Kind(503, True, "Bedrock is not available."),
    "ThrottlingException": Kind(429, True, "Bedrock is throttling this deployment."),
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

# ARNs, percent-encoded or not, and account ids.
_SECRETS = re.compile(r"arn(?::|%3A)[^\s,;'\")\]]+|(?<!\d)\d{12}(?!\d)", re.IGNORECASE)
_NAMELESS = "unknown"  # the code of what has no exception's name
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class RelayError(Exception):
    """A failure with all that the caller is told of it.

    Attributes:
        status: the HTTP status, where one can still be sent.
        code: a stable name in snake case, to program against.
        message: a sentence for people.
        retryable: whether the same request may succeed later.
        headers: response headers that belong to the status.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retryable = retryable
        self.headers = headers or {}


class RequestError(RelayError):
    """The caller's fault."""


class UpstreamError(RelayError):
    """Bedrock's fault, or the way's to it."""


# A bug: the caller learns nothing more.
INTERNAL = RelayError(500, "internal", "Something went wrong.")


def transport_error(code: str) -> UpstreamError:
    """Return the error for one of the ways in which a connection fails."""
    kind = _TRANSPORT[code]
    return UpstreamError(kind.status, code, kind.message, retryable=kind.retryable)


def bedrock_error(exception: str, message: str = "", status: int | None = None) -> UpstreamError:
    """Return the error for an exception of Bedrock's.

    Args:
        exception: its name, as the service or an event stream spells it: ``ThrottlingException`` is
            ``throttlingException`` there (fact 13).
        message: Bedrock's own words.
        status: the HTTP status it came with, for exceptions that nobody has listed.
    """
    name = exception[:1].upper() + exception[1:]
    kind = _EXCEPTIONS.get(name)
    if kind is None:
        status = status if status is not None and 400 <= status <= 599 else 502
        kind = Kind(status, status == 429 or status >= 500, "Bedrock reported an error.")
    said = kind.message
    if name == "ValidationException" and message:
        said = f"{said} It says: {_SECRETS.sub('…', message)}"
    code = _code(name)
    # By this header the AWS SDKs know an exception; theirs are the callers of the routes that Bedrock has, too.
    headers = {} if code == _NAMELESS else {"x-amzn-errortype": name}
    return UpstreamError(kind.status, code, said, retryable=kind.retryable, headers=headers)


def _code(exception: str) -> str:
    words = exception.removesuffix("Exception")
    if not words.isidentifier() or not words.isascii():
        return _NAMELESS
    return _WORD_START.sub("_", words).lower()

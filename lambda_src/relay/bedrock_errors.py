"""What a call of Bedrock's can fail with, as one of our errors: boto3's, botocore's, urllib3's, the system's."""

# ruff: noqa: TID251  # it knows the libraries' exceptions by name

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    IncompleteReadError,
    ParamValidationError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as StreamReadTimeoutError

from relay.errors import RequestError, UpstreamError, bedrock_error, transport_error

if TYPE_CHECKING:
    from collections.abc import Iterator


class LateClose(Exception):
    """A connection was closed when Bedrock might have been working on the answer."""


# What breaks while botocore reads a body.
_BODY_ERRORS = (IncompleteReadError, ResponseStreamingError)
# What else breaks a call, and the code for it: the first that fits.
_FAILURES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((ConnectTimeoutError,), "connect_timeout"),
    ((ReadTimeoutError, StreamReadTimeoutError), "read_timeout"),
    ((*_BODY_ERRORS, LateClose), "connection_lost"),
    ((BotoConnectionError, HTTPClientError), "connect_failed"),
    # botocore does not translate what breaks while it reads the body of an error.
    ((HTTPError, OSError, ResponseParserError), "connection_lost"),
    ((BotoCoreError,), "misconfigured"),
    # What botocore trips over in a body that is not as any of Bedrock's.
    ((AttributeError, TypeError, ValueError), "corrupt"),
)


@contextmanager
def told_apart() -> Iterator[None]:
    """Raise what a call can fail with as one of ours."""
    try:
        yield
    except ClientError as error:
        raise _refusal(error) from error
    except (ParamValidationError, RecursionError):
        # Not chained: its message repeats the request.
        raise RequestError(400, "invalid_request", "the body does not fit Bedrock's API") from None
    except Exception as error:
        code = next((code for kinds, code in _FAILURES if isinstance(error, kinds)), None)
        if code == "misconfigured":
            # No region, no credentials, …: the deployment's fault, and nothing that a caller could mend.
            raise UpstreamError(500, code, "This deployment cannot call Bedrock.") from error
        if code is None:
            raise
        raise transport_error(code) from error


def _refusal(error: ClientError) -> UpstreamError:
    """Return what Bedrock's own error becomes."""
    said = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    refusal = bedrock_error(
        said.get("Code", ""),
        said.get("Message", ""),
        metadata.get("HTTPStatusCode"),
        retry_after=metadata.get("HTTPHeaders", {}).get("retry-after"),
        original_status=error.response.get("originalStatusCode"),
    )
    refusal.request_id = metadata.get("RequestId", "")
    refusal.retries = metadata.get("RetryAttempts", 0)
    return refusal

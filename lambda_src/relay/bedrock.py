"""Amazon Bedrock through boto3: the only file that knows boto3, botocore and urllib3.

The call is made at once, so that its errors are exceptions while a status can still be sent; the stream is read lazily.
boto3 signs, retries and connects. The frames are then read off its connection rather than off its ``EventStream``,
because that one drops what it does not know and is silent about a stream that was cut (facts 15 and 17).
"""

# ruff: noqa: TID251  # this is the file for boto3

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as StreamReadTimeoutError

from relay.errors import RequestError, UpstreamError, bedrock_error, transport_error
from relay.eventstream import Frame, FrameCut, FrameError, read_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.request import ModelCall
    from relay.settings import Settings
    from relay.shapes import Shape

_CAMEL_CASE = re.compile(r"(?<!^)(?=[A-Z])")
# The member of the answer that is the event stream.
_STREAMS = {"ConverseStream": "stream", "InvokeModelWithResponseStream": "body"}
# More than a frame ever is: what has arrived is read at once, and nothing is waited for.
_READ_SIZE = 64 * 1024


class Bedrock:
    """A client of the Bedrock runtime. Its endpoint, region and credentials are boto3's own choices."""

    def __init__(self, settings: Settings) -> None:
        self._client = boto3.client(
            "bedrock-runtime",
            config=Config(
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.read_timeout,
                retries={"mode": "standard", "total_max_attempts": settings.max_attempts},
                user_agent_extra="rivulet",
            ),
        )
        # Standard retries would repeat a call that Bedrock has accepted and may still be working on, silence and
        # tokens included. Registered first, this has the first word.
        self._client.meta.events.register_first("needs-retry.bedrock-runtime", _retry_no_silence)

    def input_shape(self, operation: str) -> Shape:
        """Return botocore's shape of an operation's request."""
        shape: Shape = self._client.meta.service_model.operation_model(operation).input_shape
        return shape

    @contextmanager
    def stream(self, call: ModelCall) -> Iterator[Iterator[Frame]]:
        """Call a streaming API; give the frames of its answer as they arrive, and close the connection in the end.

        Raises:
            UpstreamError: Bedrock refused, or could not be reached. Reading the frames raises it too, when the stream
                breaks; that it is complete is for the reader to see.
            RequestError: boto3 found the request to be none.
        """
        response = self._call(call)
        event_stream = response[_STREAMS[call.operation]]
        try:
            yield _frames(event_stream._raw_stream)  # noqa: SLF001  # see above: its public side is lossy
        finally:
            # What cannot be closed is closed, and the answer's end is told already.
            with suppress(Exception):
                event_stream.close()

    def _call(self, call: ModelCall) -> Any:
        method = getattr(self._client, _CAMEL_CASE.sub("_", call.operation).lower())
        try:
            return method(**call.parameters)
        except ClientError as error:
            said = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            raise bedrock_error(said.get("Code", ""), said.get("Message", ""), status) from error
        except (ParamValidationError, RecursionError):
            # Not chained: its message repeats the request.
            raise RequestError(
                400, "invalid_request", "the body does not fit Bedrock's API"
            ) from None
        except ConnectTimeoutError as error:
            raise transport_error("connect_timeout") from error
        except ReadTimeoutError as error:
            raise transport_error("read_timeout") from error
        except (BotoConnectionError, HTTPClientError) as error:
            raise transport_error("connect_failed") from error
        except (HTTPError, OSError, ResponseParserError) as error:
            # botocore does not translate what breaks while it reads the body of an error.
            raise transport_error("connection_lost") from error
        except BotoCoreError as error:
            # No region, no credentials, …: the deployment's fault, and nothing that a caller could mend.
            raise UpstreamError(
                500, "misconfigured", "This deployment cannot call Bedrock."
            ) from error


def _retry_no_silence(caught_exception: Exception | None, **_: Any) -> bool | None:
    """Answer botocore's question whether to try again: not after a read timeout; of the rest it knows more."""
    return False if isinstance(caught_exception, ReadTimeoutError) else None


def _frames(raw: Any) -> Iterator[Frame]:
    """Yield the frames of a response; raise ``UpstreamError`` for all that can happen on the way."""
    try:
        yield from read_frames(_pieces(raw))
    except FrameCut as error:
        raise transport_error("truncated") from error
    except FrameError as error:
        raise transport_error("corrupt") from error


def _pieces(raw: Any) -> Iterator[bytes]:
    """Yield what has arrived, whenever something has. Read to its end, the connection can serve another call."""
    try:
        # stream() would be a little faster, but holds a chunk back until its own end has come, too.
        while piece := raw.read1(_READ_SIZE):
            yield piece
    except StreamReadTimeoutError as error:
        raise transport_error("read_timeout") from error
    except (HTTPError, OSError) as error:
        raise transport_error("connection_lost") from error

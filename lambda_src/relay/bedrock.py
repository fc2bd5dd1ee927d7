"""Amazon Bedrock through boto3: the only file that calls it.

The call is made at once, so that its errors are exceptions while a status can still be sent; the stream is read lazily.
boto3 signs, retries and connects. The frames are then read off its connection rather than off its ``EventStream``,
because that one drops what it does not know and is silent about a stream that was cut (facts 15 and 17).
"""

# ruff: noqa: TID251  # this is the file for boto3

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping  # noqa: TC003  # fields' types
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPResponse
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.loaders import Loader
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as StreamReadTimeoutError

from relay.bedrock_errors import LateClose, told_apart
from relay.chunked import ChunkError, dechunk
from relay.errors import transport_error
from relay.eventstream import Frame, FrameCut, FrameError, read_frames
from relay.watchdog import Interrupt

if TYPE_CHECKING:
    from collections.abc import Generator

    from relay.model_call import ModelCall
    from relay.settings import Settings
    from relay.shapes import Shape
    from relay.watchdog import Watchdog

_CAMEL_CASE = re.compile(r"(?<!^)(?=[A-Z])")
# The member of the answer that is the event stream.
_STREAMS = {"ConverseStream": "stream", "InvokeModelWithResponseStream": "body"}
# Those whose answer botocore reads whole; InvokeModel's it leaves to its caller.
_DOCUMENTS = frozenset({"Converse", "CountTokens"})
# A parameter and a member of a response that are ours.
_BODY = "RivuletBody"
_DOCUMENT = "RivuletDocument"
# More than a frame ever is: what has arrived is read at once, and nothing is waited for.
_READ_SIZE = 64 * 1024
_AT_ONCE = 0.5  # seconds after a request was sent: too soon for a model to have begun


# What describes the services. Reading it is most of what a client takes to be made.
_descriptions = Loader()


def new_session() -> Any:
    """Return a session of boto3's that has nothing in common with any other but what describes the services.

    So nothing that an interrupted call leaves behind, and no credentials, are shared with the next client.
    """
    core = botocore.session.Session()
    core.register_component("data_loader", _descriptions)
    session = boto3.session.Session(botocore_session=core)
    # boto3 adds its own each time.
    _descriptions.search_paths[:] = dict.fromkeys(_descriptions.search_paths)
    return session


class Answer(NamedTuple):
    """What Bedrock answers a call with.

    Attributes:
        frames: its event stream, as it arrives; of an operation that does not stream, one that carries the document.
        request_id: Bedrock's own, for its support.
        retries: how often boto3 tried again.
        headers: those that say something about the answer itself.
    """

    frames: Iterator[Frame]
    request_id: str
    retries: int
    headers: Mapping[str, str] = MappingProxyType({})


class Bedrock:
    """A client of the Bedrock runtime. Its endpoint, region and credentials are boto3's own choices."""

    def __init__(self, settings: Settings) -> None:
        self._config = Config(
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            retries={"mode": "standard", "total_max_attempts": settings.max_attempts},
            user_agent_extra="rivulet",
        )
        self._client = self._new_client()
        self._is_spoiled = False
        self._sent_at = -math.inf

    def input_shape(self, operation: str) -> Shape:
        """Return botocore's shape of an operation's request."""
        shape: Shape = self._client.meta.service_model.operation_model(operation).input_shape
        return shape

    def renew(self) -> None:
        """Take a client with connections and credentials of its own, where this process was copied from another."""
        self._client, self._is_spoiled = self._new_client(), False

    @contextmanager
    def stream(self, call: ModelCall, watchdog: Watchdog) -> Iterator[Answer]:
        """Call a streaming API; give the frames of its answer as they arrive, and close the connection in the end.

        Raises:
            UpstreamError: Bedrock refused, or could not be reached. Reading the frames raises it too, when the stream
                breaks; that it is complete is for the reader to see.
            RequestError: boto3 found the request to be none.
            Exception: what the watchdog ends a wait with, by reading the frames as well.
        """
        response = self._call(call, watchdog)
        metadata = response["ResponseMetadata"]
        request_id, retries = metadata.get("RequestId", ""), metadata.get("RetryAttempts", 0)
        headers = _headers(metadata.get("HTTPHeaders", {}))
        if call.operation not in _STREAMS:
            whole = iter((Frame(b"", headers, response[_DOCUMENT]),))
            yield Answer(whole, request_id, retries, headers)
            return
        event_stream = response[_STREAMS[call.operation]]
        # Its public side is lossy: see above.
        frames = _frames(event_stream._raw_stream, watchdog)  # noqa: SLF001
        try:
            yield Answer(frames, request_id, retries, headers)
        finally:
            # Now, not when it is collected: its last act is to end a wait, which may be another call's by then.
            frames.close()
            # What cannot be closed is closed, and the answer's end is told already.
            with suppress(Exception):
                event_stream.close()

    def _new_client(self) -> Any:
        client = new_session().client("bedrock-runtime", config=self._config)
        # Standard retries would repeat a call that Bedrock has accepted and may still be working on, silence and
        # tokens included. Registered first, this has the first word.
        client.meta.events.register_first("needs-retry.bedrock-runtime", self._retry_no_wait)
        client.meta.events.register("before-send.bedrock-runtime", self._note_sending)
        client.meta.events.register("before-parameter-build.bedrock-runtime", _take_body)
        client.meta.events.register("before-call.bedrock-runtime", _send_body)
        client.meta.events.register("after-call.bedrock-runtime", _keep_document)
        return client

    def _note_sending(self, **_: Any) -> None:
        self._sent_at = time.monotonic()

    def _retry_no_wait(self, caught_exception: Exception | None, **_: Any) -> bool | None:
        """Answer botocore's question whether to try again: not what Bedrock may be working on.

        Of the rest botocore knows more. A connection that is closed at once was closed already, while the environment
        was frozen: Bedrock has not had the request. One that is closed later may have cost something by then.
        """
        if isinstance(caught_exception, ReadTimeoutError):
            return False
        if isinstance(caught_exception, ConnectionClosedError):
            if time.monotonic() - self._sent_at < _AT_ONCE:
                return None
            raise LateClose from caught_exception
        return None

    def _call(self, call: ModelCall, watchdog: Watchdog) -> Any:
        if self._is_spoiled:
            self._client, self._is_spoiled = self._new_client(), False
        try:
            with told_apart():
                try:
                    watchdog.ask()
                    return _ask(self._client, call)
                finally:
                    watchdog.rest()  # before it has, it may still interrupt
        except Interrupt as interrupt:
            watchdog.rest()  # for it may have come before the other had done anything
            # It may have left boto3's insides in any state, a lock taken included: the next call gets new ones. They
            # are made then, for it takes a while, and whoever waits for this one's end has little time left.
            self._is_spoiled = True
            raise interrupt.error from None


def _ask(client: Any, call: ModelCall) -> Any:
    """Call; of an answer that is no stream, wait for all of it."""
    method = getattr(client, _CAMEL_CASE.sub("_", call.operation).lower())
    body = {} if call.body is None else {_BODY: call.body}
    response = method(**call.parameters, **body)
    if call.operation == "InvokeModel":
        response[_DOCUMENT] = response["body"].read()
    return response


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in headers.items()
        if name.lower() == "content-type" or name.lower().startswith("x-amzn-bedrock-")
    }


def _take_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Put aside the body that is to be sent as it is, before botocore looks at its parameters."""
    if _BODY in params:
        context[_BODY] = params.pop(_BODY)


def _send_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Send it in place of what botocore has made, before it is signed."""
    if _BODY in context:
        params["body"] = context[_BODY]
        params["headers"]["Content-Type"] = "application/json"


def _keep_document(http_response: Any, parsed: Any, model: Any, **_: Any) -> None:
    """Keep the document as it came: what botocore makes of it lacks what its service model has not heard of."""
    if model.name in _DOCUMENTS and http_response.status_code < 300:
        parsed[_DOCUMENT] = http_response.content


def _frames(raw: Any, watchdog: Watchdog) -> Generator[Frame, None, None]:
    """Yield the frames of a response; raise ``UpstreamError`` for all that can happen on the way."""
    try:
        try:
            watchdog.listen()
            watchdog.wait()
            for frame in read_frames(_pieces(raw)):
                watchdog.hear()
                yield frame
                watchdog.wait()
        finally:
            watchdog.rest()  # before it has, it may still interrupt
    except Interrupt as interrupt:
        watchdog.rest()  # for it may have come before the other had done anything
        raise interrupt.error from None
    except FrameCut as error:
        raise transport_error("truncated") from error
    except FrameError as error:
        raise transport_error("corrupt") from error


def _pieces(raw: Any) -> Iterator[bytes]:
    """Yield what has arrived, whenever something has. Read to its end, the connection can serve another call."""
    try:
        yield from _chunks(raw)
        # Where it is not chunked this is all of it. Where it was, it lets urllib3 see that the end has been read; its
        # stream() would hold a chunk back until its own end has come, too.
        while piece := raw.read1(_READ_SIZE):
            yield piece
    except (StreamReadTimeoutError, TimeoutError) as error:
        raise transport_error("read_timeout") from error
    except (HTTPError, OSError, ChunkError) as error:
        raise transport_error("connection_lost") from error


def _chunks(raw: Any) -> Iterator[bytes]:
    """Yield what arrives of a chunked body, all that is there at a time."""
    response = getattr(raw, "_fp", None)
    if isinstance(response, HTTPResponse) and response.chunked and response.fp is not None:
        yield from dechunk(iter(partial(response.fp.read1, _READ_SIZE), b""))
        response._close_conn()  # type: ignore[attr-defined]  # noqa: SLF001  # as it does itself at the end of a body

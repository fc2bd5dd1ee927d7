"""Start reading here: one request, from the event to the last byte.

What is asked (``relay.request``) is asked of Bedrock (``relay.bedrock``); its frames become events (``relay.lanes``),
the events bytes (``relay.formats``), and each piece is written the moment it is there (``streaming_runtime``). Nothing
is committed before Bedrock has answered, so that a failure of the call still has its HTTP status; afterwards a failure
is the stream's one typed end.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

from relay import __version__, formats
from relay.bedrock import Bedrock
from relay.errors import INTERNAL, RelayError
from relay.events import Failure
from relay.lanes import converse_events, invoke_events
from relay.request import Health, ModelCall, is_http, read_request
from relay.settings import Settings
from relay.telemetry import Record, logger, metrics, tracer
from streaming_runtime import Response, ResponseClosed, stream_response

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from relay.events import Event
    from relay.formats import Format

_LANES = {"ConverseStream": converse_events, "InvokeModelWithResponseStream": invoke_events}
_STREAM_HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx and its kin would hold the pieces back
    "x-content-type-options": "nosniff",  # browsers hold plain text back to guess its type
}

settings = Settings.from_environment(os.environ)
bedrock = Bedrock(settings)


@stream_response
@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handle(event: Any, context: Any, *, response: Response) -> None:
    """Answer one request of a function URL, or one direct invocation."""
    record = Record(log_content=settings.log_content)
    response.headers["x-request-id"] = context.aws_request_id
    try:
        _answer(event, context.aws_request_id, response, record)
    except ResponseClosed as closed:
        record.failed("response_too_large" if closed.status == 413 else "caller_gone")
    finally:
        record.tell(response.status, response.bytes_written)


def _answer(event: Any, request_id: str, response: Response, record: Record) -> None:
    """Answer, whatever happens; only ``ResponseClosed`` gets out, for then there is nobody to answer."""
    # Until a piece is written, an error is told by the status, or in a format where there is no HTTP to tell it by.
    chosen = None if is_http(event) else formats.NDJSON
    try:
        match read_request(event, settings, bedrock):
            case Health():
                _write_json(response, 200, {"status": "ok", "version": __version__})
            case ModelCall() as call:
                with closing(_relay(call, request_id, response, record)) as pieces:
                    for piece in pieces:
                        chosen = call.format
                        response.write(piece)
    except ResponseClosed:
        raise
    except RelayError as error:
        record.failed(error.code, error.__cause__)
        _refuse(error, request_id, response, chosen)
    except Exception as bug:  # noqa: BLE001  # whatever it is, the caller gets a typed end
        logger.exception("bug")
        record.failed("internal", bug)
        if not record.ended:  # a stream has one end
            _refuse(INTERNAL, request_id, response, chosen)


def _relay(
    call: ModelCall, request_id: str, response: Response, record: Record
) -> Generator[bytes, None, None]:
    """Call Bedrock and yield its answer, piece by piece, the end included.

    Raises:
        RelayError: Bedrock refused, or failed before its first event: nothing is yielded, nothing committed.
    """
    with record.calling(call), bedrock.stream(call) as frames:
        events = _LANES[call.operation](frames, model=call.model, request_id=request_id)
        first = next(events)
        if isinstance(first, Failure):
            raise first.error
        response.headers.update(call.format.headers)
        response.headers.update(_STREAM_HEADERS)
        yield from call.format.encode(
            record.observe(_with_trailers(chain([first], events), response))
        )


def _with_trailers(events: Iterable[Event], response: Response) -> Iterator[Event]:
    """Let a stream that fails count as a failed invocation, too."""
    for event in events:
        if isinstance(event, Failure):
            response.fail(f"Rivulet.{event.error.code}", event.error.message)
        yield event


def _refuse(error: RelayError, request_id: str, response: Response, chosen: Format | None) -> None:
    """Tell the caller why there is no answer, or no more of it: by the status, while there is one to send."""
    if chosen is not None:
        if not response.started:
            response.headers.update(chosen.headers)
        response.fail(f"Rivulet.{error.code}", error.message)
        for piece in chosen.encode([Failure(error)]):
            response.write(piece)
    else:
        response.headers.update(error.headers)
        said = {
            "code": error.code,
            "message": error.message,
            "retryable": error.retryable,
            "request_id": request_id,
        }
        # The AWS SDKs look for the message beside the error, where there is an exception for them to raise.
        beside = {"message": error.message} if "x-amzn-errortype" in error.headers else {}
        _write_json(response, error.status, {"error": said, **beside})


def _write_json(response: Response, status: int, body: Any) -> None:
    response.status = status
    response.headers["content-type"] = "application/json"
    response.write(json.dumps(body).encode())

"""Start reading here: one request, from the event to the last byte.

What is asked (``relay.request``) is asked of Bedrock (``relay.bedrock``), or of the next model where the first is busy
(``relay.fallback``); its frames become events (``relay.lanes``), which end once whatever happens (``relay.grammar``);
the events become bytes (``relay.formats``), and each piece is written the moment it is there (``streaming_runtime``).

Nothing is committed before Bedrock has answered, so that a failure of the call still has its HTTP status; afterwards a
failure is the stream's one typed end. Where Bedrock keeps everyone waiting, ``relay.watchdog`` breaks the silence, and
ends a stream that stalls or runs into Lambda's deadline.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from relay import formats
from relay.bedrock import Bedrock
from relay.errors import RelayError, UpstreamError, internal_error, limit_error
from relay.events import Failure, Start
from relay.fallback import calls, first_answer
from relay.grammar import well_formed
from relay.http_request import is_http
from relay.lanes import lane_of
from relay.models import name_of
from relay.request import ModelCall, Reply, read_request, refuse
from relay.settings import Settings
from relay.telemetry import Record, logger, metrics, tracer
from relay.watchdog import Heartbeat, Watchdog
from streaming_runtime import Response, ResponseClosed, stream_response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.events import Event
    from relay.formats import Format

_STREAM_HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx and its kin would hold the pieces back
    "x-content-type-options": "nosniff",  # browsers hold plain text back to guess its type
}

_LONGEST_BUFFERED = 4_000_000  # bytes: Lambda's 6 MB for an answer that is no stream, in base64
_SHORTEST = 1.0  # seconds: with less left before the deadline, Bedrock is not asked

settings = Settings.from_environment(os.environ)
bedrock = Bedrock(settings)
_vacancies = threading.BoundedSemaphore(settings.max_concurrency)


@stream_response
@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handle(event: Any, context: Any, *, response: Response) -> None:
    """Answer one request of a function URL, or one direct invocation."""
    record = Record(log_content=settings.log_content)
    deadline = time.monotonic() + _seconds_left(context) - settings.deadline_margin
    response.headers["x-request-id"] = context.aws_request_id
    try:
        _answer(event, context.aws_request_id, deadline, response, record)
    except ResponseClosed as closed:
        record.failed(_why(closed))
    finally:
        record.tell(response.status, response.bytes_written)


def _answer(
    event: Any, request_id: str, deadline: float, response: Response, record: Record
) -> None:
    """Answer, whatever happens; only ``ResponseClosed`` gets out, for then there is nobody to answer."""
    spoken = formats.NDJSON
    error: RelayError | None = None
    try:
        match read_request(event, settings, bedrock):
            case Reply(body=body, status=status, headers=headers):
                response.headers.update(headers)
                _write_json(response, status, body)
            case ModelCall() as call:
                spoken = call.format
                _Stream(call, request_id, deadline, response, record).relay()
    except ResponseClosed:
        raise
    except RelayError as raised:
        error = raised
        record.failed(error.code, error.__cause__)
    except Exception as bug:  # noqa: BLE001  # whatever it is, the caller gets a typed end
        error = internal_error(bug)
        logger.exception("bug")
        record.failed(error.code, bug)
    if error is None or (record.ended and response.started):  # a stream has one end
        return
    if is_http(event) and not response.started:
        headers, body = refuse(event, error, request_id)
        response.headers.update({**error.headers, **headers})
        _write_json(response, error.status, body)
    else:
        _end(Failure(error, record.usage), response, spoken)


@dataclass(slots=True)
class _Stream:
    """One call of Bedrock's, relayed to whoever reads the response."""

    call: ModelCall
    request_id: str
    deadline: float
    response: Response
    record: Record
    _bedrocks_headers: Mapping[str, str] = field(default_factory=dict)

    def relay(self) -> None:
        """Call Bedrock and write its answer, piece by piece, the end included.

        Raises:
            RelayError: Bedrock refused, or failed before its first event: nothing but heartbeats was written, if any.
            ResponseClosed: nobody reads any more.
        """
        watchdog = Watchdog(
            deadline=self.deadline,
            read_timeout=settings.read_timeout,
            heartbeat=self._heartbeat(),
        )
        asked = calls(self.call, settings.fallback_model_ids)
        with (
            _a_vacancy(),
            self.record.calling(self.call),
            watchdog.on_duty(),
            ExitStack() as opened,
        ):
            if self.deadline - time.monotonic() < _SHORTEST:
                raise limit_error("timeout")
            try:
                self._write(first_answer(asked, lambda call: self._ask(call, watchdog, opened)))
            except ResponseClosed as closed:
                self.record.failed(_why(closed))
                raise

    def _ask(self, call: ModelCall, watchdog: Watchdog, opened: ExitStack) -> Iterator[Event]:
        """Return the events of the answer to one call, once the first has come."""
        instead_of = None if call is self.call else name_of(self.call.model, settings)
        self.record.note(
            model=call.model, fallback_from=instead_of, bedrock_request_id=None, retries=None
        )
        try:
            answer = opened.enter_context(bedrock.stream(call, watchdog))
        except UpstreamError as error:
            self.record.note(bedrock_request_id=error.request_id, retries=error.retries)
            raise
        self.record.note(bedrock_request_id=answer.request_id, retries=answer.retries)
        self._bedrocks_headers = answer.headers if call.format.is_bedrocks else {}
        name = name_of(call.model, settings)
        start = Start(name, self.request_id, instead_of, created=int(time.time()))
        lane = lane_of(call.operation, is_bedrocks=call.format.is_bedrocks)
        events = lane(answer.frames, start, self.record.usage, watchdog.expect_no_more)
        first = next(events)
        if isinstance(first, Failure):
            opened.close()
            raise first.error
        return chain([first], events)

    def _write(self, events: Iterator[Event]) -> None:
        self._begin()
        told = well_formed(
            events, self.record.usage, has_room=self._has_room, passing=ResponseClosed
        )
        for piece in self.call.format.encode(self.record.observe(told)):
            if isinstance(self.record.end, Failure) and self._has_told_nothing():
                raise self.record.end.error  # so there is still a status to send
            if not self.response.started and len(piece) > self._limit():
                # A whole answer, which can still have a status.
                raise limit_error("response_too_large")
            self.response.write(piece)
        if isinstance(self.record.end, Failure):  # then the invocation is to count as failed, too
            if not self.response.started:  # a format that says nothing of it
                raise self.record.end.error
            _fail(self.response, self.record.end.error)

    def _has_told_nothing(self) -> bool:
        # Frames that arrived with that of a failure are told with it.
        return not (self.response.started or (self.call.format.is_bedrocks and self.record.pieces))

    def _begin(self) -> None:
        if not self.response.started:
            told = {**self.call.format.headers, **self._bedrocks_headers}
            told[self.call.format.request_id_header] = self.request_id
            self.response.headers.update({**told, **_STREAM_HEADERS})

    def _heartbeat(self) -> Heartbeat | None:
        if not self.response.streams or not self.call.format.heartbeat:
            return None
        return Heartbeat(self._beat, settings.commit_after, settings.heartbeat_interval)

    def _beat(self) -> None:
        self._begin()
        self.response.write(self.call.format.heartbeat)
        self.record.count("heartbeats")

    def _has_room(self) -> bool:
        return self.response.bytes_written < self._limit()

    def _limit(self) -> int:
        limit = settings.max_response_bytes
        return limit if self.response.streams else min(limit, _LONGEST_BUFFERED)


@contextmanager
def _a_vacancy() -> Iterator[None]:
    """Take one of the places there are for streams.

    Raises:
        LimitError: there is none.
    """
    if not _vacancies.acquire(blocking=False):
        raise limit_error("too_many_streams")
    try:
        yield
    finally:
        _vacancies.release()


def _seconds_left(context: Any) -> float:
    """Return the seconds until Lambda's deadline. None at all is an emulator's way to say that there is no deadline."""
    return context.get_remaining_time_in_millis() / 1000 or math.inf


def _why(closed: ResponseClosed) -> str:
    return "response_too_large" if closed.status == 413 else "caller_gone"


def _end(failure: Failure, response: Response, spoken: Format) -> None:
    """Tell the caller in the wire format why there is no answer, or no more of it."""
    if not response.started:
        response.headers.update(spoken.headers)
    _fail(response, failure.error)
    for piece in spoken.encode([failure]):
        response.write(piece)


def _fail(response: Response, error: RelayError) -> None:
    response.fail(f"Rivulet.{error.code}", error.message)


def _write_json(response: Response, status: int, body: Any) -> None:
    response.status = status
    if body is not None:
        response.headers["content-type"] = "application/json"
        response.write(json.dumps(body).encode())

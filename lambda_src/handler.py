"""Start reading here: one request, from the event to the last byte.

Who calls is let in or not (``access``). What is asked (``relay.request``) is asked of Bedrock (``relay.bedrock``), or
of the next model where the first is busy (``relay.fallback``); its frames become events (``relay.lanes``), which end
once whatever happens (``relay.grammar``); the events become bytes (``relay.formats``), and each piece is written the
moment it is there (``streaming_runtime``). What it may cost is taken from the caller's budget before, and what it has
not cost given back after (``access.budget``).

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
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from access import Gate
from relay import formats
from relay.bedrock import Bedrock
from relay.errors import AccessError, RelayError, UpstreamError, internal_error, limit_error
from relay.events import Failure, Start
from relay.fallback import calls, first_answer
from relay.grammar import well_formed
from relay.http_request import is_http, source_ip
from relay.lanes import lane_of
from relay.model_call import ModelCall, Reply
from relay.models import name_of
from relay.request import cross_origin, preflight, read_request, refuse
from relay.settings import Settings
from relay.telemetry import Record, logger, metrics, tracer
from relay.watchdog import Heartbeat, Watchdog
from snapshot import renew_after_restore
from streaming_runtime import Response, ResponseClosed, stream_response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from access import Caller
    from access.budget import Budget, Spending
    from relay.bedrock import Answer
    from relay.events import Event
    from relay.formats import Format

_STREAM_HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx and its kin would hold the pieces back
    "x-content-type-options": "nosniff",  # browsers hold plain text back to guess its type
}

_LONGEST_BUFFERED = 4_000_000  # bytes: Lambda's 6 MB for an answer that is no stream, in base64
_SHORTEST = 1.0  # seconds: with less left before the deadline, Bedrock is not asked


def _budget(settings: Settings) -> Budget | None:
    """Return what counts the tokens of callers, where there are budgets."""
    if settings.daily_tokens is None:
        return None
    # Imported where it is used, as the ways in: another client of boto3's takes a while to make.
    from access.budget import Budget  # noqa: PLC0415

    return Budget(settings)


settings = Settings.from_environment(os.environ)
gate = Gate(settings)
bedrock = Bedrock(settings)
budget = _budget(settings)
_vacancies = threading.BoundedSemaphore(settings.max_concurrency)
renew_after_restore(bedrock.renew, gate.renew, gate.prepare, *([budget.renew] if budget else []))


@stream_response
@logger.inject_lambda_context(clear_state=True, log_event=False)  # it has credentials and prompts
@tracer.capture_lambda_handler(capture_response=False, capture_error=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handle(event: Any, context: Any, *, response: Response) -> None:
    """Answer one request of a function URL, or one direct invocation."""
    record = Record(log_content=settings.log_content)
    deadline = time.monotonic() + _seconds_left(context) - settings.deadline_margin
    response.headers["x-request-id"] = context.aws_request_id
    response.headers.update(cross_origin(event, settings))
    try:
        with ExitStack() as afterwards:  # when the answer's end is written
            try:
                _answer(event, context.aws_request_id, deadline, response, record, afterwards)
            finally:
                record.answered()
    except ResponseClosed as closed:
        record.failed(_why(closed))
    finally:
        record.tell(response.status, response.bytes_written)


def _answer(
    event: Any,
    request_id: str,
    deadline: float,
    response: Response,
    record: Record,
    afterwards: ExitStack,
) -> None:
    """Answer, whatever happens; only ``ResponseClosed`` gets out, for then there is nobody to answer."""
    spoken = formats.NDJSON
    error: RelayError | None = None
    try:
        if reply := preflight(event, settings):  # which comes without a credential
            _write_reply(response, reply)
        else:
            caller = _admit(event, record)
            match read_request(event, settings, bedrock):
                case Reply() as reply:
                    _write_reply(response, reply)
                case ModelCall() as call:
                    spoken = call.format
                    _Stream(
                        call, caller, request_id, deadline, response, record, afterwards
                    ).relay()
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
        headers, body = refuse(event, error, request_id, record.usage)
        response.headers.update({**error.headers, **headers})
        _write_json(response, error.status, body)
    else:
        _end(Failure(error, record.usage), response, spoken)


def _admit(event: Any, record: Record) -> Caller:
    """Let a caller in, and note who it is; of one who is refused, where the request came from."""
    try:
        caller = gate.admit(event)
    except AccessError:
        record.note(source_ip=source_ip(event), auth=settings.auth)
        raise
    record.note(caller=caller.name, auth=caller.way)
    return caller


@dataclass(slots=True)
class _Stream:
    """One call of Bedrock's, relayed to whoever reads the response."""

    call: ModelCall
    caller: Caller
    request_id: str
    deadline: float
    response: Response
    record: Record
    afterwards: ExitStack
    _bedrocks_headers: Mapping[str, str] = field(default_factory=dict)
    _is_counted: bool = False  # all of it, by Bedrock

    def relay(self) -> None:
        """Call Bedrock and write its answer, piece by piece, the end included.

        Raises:
            RelayError: Bedrock refused, or failed before its first event: nothing but heartbeats was written, if any.
                Or it was not asked, for the caller's budget or the time is used up.
            ResponseClosed: nobody reads any more.
        """
        watchdog = Watchdog(
            deadline=self.deadline,
            read_timeout=settings.read_timeout,
            heartbeat=self._heartbeat(),
        )
        asked = calls(self.call, settings)
        with _a_vacancy(), self.record.calling(self.call, name_of(self.call.model, settings)):
            spending = self._reserve(asked)
            with watchdog.on_duty(), ExitStack() as opened:
                if self.deadline - time.monotonic() < _SHORTEST:
                    raise limit_error("timeout")

                def ask(call: ModelCall) -> Iterator[Event]:
                    with spending.attempt() if spending else nullcontext():
                        return self._ask(call, watchdog, opened)

                try:
                    self._write(first_answer(asked, ask))
                except UpstreamError as error:
                    self._note_asked(error)  # it may not be the latest
                    raise
                except ResponseClosed as closed:
                    self.record.failed(_why(closed))
                    raise

    def _reserve(self, asked: list[ModelCall]) -> Spending | None:
        """Take the most that the call may cost from its caller's budget; the rest is given back afterwards."""
        if budget is None or self.call.operation == "CountTokens":  # which costs nothing
            return None
        spending = budget.reserve(self.caller, asked)
        self.afterwards.callback(self._settle, spending)
        return spending

    def _settle(self, spending: Spending) -> None:
        """Give back what the call has not cost."""
        spending.settle(self.record.usage, complete=self._is_counted)
        self.record.note(budget=settings.daily_tokens, budget_used=spending.used)

    def _ask(self, call: ModelCall, watchdog: Watchdog, opened: ExitStack) -> Iterator[Event]:
        """Return the events of the answer to one call, once the first has come."""
        name = name_of(call.model, settings)
        instead_of = None if call is self.call else name_of(self.call.model, settings)
        self.record.note(
            model=name, fallback_from=instead_of, bedrock_request_id=None, retries=None
        )
        self._bedrocks_headers = {}
        try:
            answer = opened.enter_context(bedrock.stream(call, watchdog))
            self.record.note(bedrock_request_id=answer.request_id, retries=answer.retries)
            start = Start(name, self.request_id, instead_of, created=int(time.time()))
            lane = lane_of(call.operation, is_bedrocks=call.format.is_bedrocks)

            def complete() -> None:
                self._is_counted = True
                watchdog.expect_no_more()

            events = lane(answer.frames, start, self.record.usage, complete)
            first = next(events)
            if isinstance(first, Failure):
                opened.close()
                raise _of_call(first.error, answer)
        except UpstreamError as error:
            error.model, error.fallback_from = name, instead_of
            raise
        self._bedrocks_headers = answer.headers if call.format.is_bedrocks else {}
        return chain([first], events)

    def _note_asked(self, error: UpstreamError) -> None:
        """Note which call the error is of that the caller is told."""
        if error.model:
            self.record.note(
                model=error.model,
                fallback_from=error.fallback_from,
                bedrock_request_id=error.request_id,
                retries=error.retries,
            )

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


def _of_call(error: RelayError, answer: Answer) -> RelayError:
    """Return the failure that an answer began with, and says which answer."""
    if isinstance(error, UpstreamError):
        error.request_id, error.retries = answer.request_id, answer.retries
    return error


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


def _write_reply(response: Response, reply: Reply) -> None:
    response.headers.update(reply.headers)
    _write_json(response, reply.status, reply.body)


def _write_json(response: Response, status: int, body: Any) -> None:
    response.status = status
    if body is not None:
        response.headers["content-type"] = "application/json"
        response.write(json.dumps(body).encode())

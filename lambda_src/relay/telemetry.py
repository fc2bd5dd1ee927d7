"""Logger, Tracer and Metrics, made once, and the record of a stream: what is logged, counted and traced of it.

One structured log record, one set of metrics and one trace subsegment a stream, all from the same numbers. Prompts and
answers are in none of them, unless ``RIVULET_LOG_CONTENT`` says so.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

from relay.errors import RelayError
from relay.events import BlockEnd, Chunk, Done, Event, Failure, Start, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.request import ModelCall

# Their names come from POWERTOOLS_SERVICE_NAME and POWERTOOLS_METRICS_NAMESPACE; the level from POWERTOOLS_LOG_LEVEL.
logger = Logger()
metrics = Metrics()
# The one call that matters has a subsegment of its own: patching the HTTP libraries would only slow the start.
tracer = Tracer(auto_patch=False)

# Bedrock's names for what it counted, and the record's.
_TOKENS = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
    "cacheWriteInputTokens": "cache_write_input_tokens",
}
# What of a record is counted: the metric's name and unit.
_METRICS = {
    "duration_ms": ("Duration", MetricUnit.Milliseconds),
    "time_to_first_token_ms": ("TimeToFirstToken", MetricUnit.Milliseconds),
    "pieces": ("Pieces", MetricUnit.Count),
    "bytes": ("Bytes", MetricUnit.Bytes),
    "input_tokens": ("InputTokens", MetricUnit.Count),
    "output_tokens": ("OutputTokens", MetricUnit.Count),
    "cache_read_input_tokens": ("CacheReadInputTokens", MetricUnit.Count),
    "cache_write_input_tokens": ("CacheWriteInputTokens", MetricUnit.Count),
}


class Record:
    """What is known of one request, and in the end told of it.

    The fields are JSON values by name: ``route``, ``model``, ``status``, ``pieces``, ``bytes``, ``duration_ms``,
    ``time_to_first_token_ms``, the token counts, ``stop_reason`` or ``error``. Each is there once it is known.

    Attributes:
        ended: whether the stream's end has been passed on, and the next event asked for.
    """

    def __init__(self, *, log_content: bool) -> None:
        self.ended = False
        self._log_content = log_content
        self._began = time.perf_counter()
        self._fields: dict[str, Any] = {}
        self._request: Any = None
        self._answer: list[str] = []

    @contextmanager
    def calling(self, call: ModelCall) -> Iterator[None]:
        """Span a call of Bedrock's and the stream that it opens with a trace subsegment."""
        self._fields |= {"route": call.route, "model": call.model, "pieces": 0}
        self._request = call.parameters
        with ExitStack() as segment:
            subsegment = segment.enter_context(
                tracer.provider.in_subsegment(name=f"## {call.operation}")
            )
            try:
                yield
            except BaseException as error:
                self.failed(*_reason(error))
                raise
            finally:
                for name, value in self._fields.items():
                    subsegment.put_annotation(key=name, value=value)
                if "error" in self._fields:
                    subsegment.add_fault_flag()  # type: ignore[attr-defined]  # X-Ray's, and its stand-in's
                segment.close()  # now: an exception passing through would leave its words in the trace

    def observe(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass the events on, and note what they say."""
        for event in events:
            if isinstance(event, Done | Failure):
                self._note_end(event)
            elif not isinstance(event, Start | BlockEnd):
                self._note_piece(event)
            yield event
            self.ended = isinstance(event, Done | Failure)

    def failed(self, code: str, cause: BaseException | None = None) -> None:
        """Note why the request failed; ``cause`` is told by its type alone, for its words may be private."""
        self._fields["error"] = code
        if cause is not None:
            self._fields["cause"] = type(cause).__name__

    def tell(self, status: int, bytes_written: int) -> None:
        """Write the log record and add the metrics. Call it once, when all is over."""
        fields = self._fields
        fields |= {"status": status, "bytes": bytes_written, "duration_ms": self._elapsed()}
        if "model" in fields:
            metrics.add_dimension("model", fields["model"])
        metrics.add_metric("Requests", MetricUnit.Count, 1)
        metrics.add_metric("Failures", MetricUnit.Count, int("error" in fields))
        for name, (metric, unit) in _METRICS.items():
            if name in fields:
                metrics.add_metric(metric, unit, fields[name])
        what = "stream" if "model" in fields else "request"
        try:
            logger.info(what, extra=fields | self._content())
        except (
            RecursionError
        ):  # content that is nested too deeply to be logged: the answer matters more
            logger.info(what, extra=fields)

    def _content(self) -> dict[str, Any]:
        """Return the prompt and the answer, where they are to be logged."""
        if not self._log_content or self._request is None:
            return {}
        return {"request": _readable(self._request), "answer": "".join(self._answer)}

    def _note_piece(self, piece: Event) -> None:
        self._fields["pieces"] += 1
        if self._fields["pieces"] == 1:
            self._fields["time_to_first_token_ms"] = self._elapsed()
        if self._log_content:
            if isinstance(piece, Text):
                self._answer.append(piece.text)
            elif isinstance(piece, Chunk):
                self._answer.append(piece.document.decode(errors="replace"))

    def _note_end(self, end: Done | Failure) -> None:
        counts = {_TOKENS[k]: v for k, v in end.usage.items() if k in _TOKENS}
        self._fields |= {name: v for name, v in counts.items() if isinstance(v, int | float)}
        if isinstance(end, Failure):
            self.failed(end.error.code, end.error.__cause__)
        elif end.stop_reason is not None:
            self._fields["stop_reason"] = end.stop_reason

    def _elapsed(self) -> float:
        """Return the milliseconds since the request came."""
        return round((time.perf_counter() - self._began) * 1000, 3)


def _reason(error: BaseException) -> tuple[str, BaseException | None]:
    """Return the code for what ended a call, and its cause."""
    match error:
        case RelayError():
            return error.code, error.__cause__
        case GeneratorExit():  # whoever read the stream has stopped
            return "caller_gone", None
        case _:
            return "internal", error


def _readable(value: Any) -> Any:
    """Return a request as JSON can carry it: bytes as the text they are, where they are text."""
    match value:
        case bytes():
            return value.decode(errors="replace")
        case dict():
            return {name: _readable(member) for name, member in value.items()}
        case list():
            return [_readable(item) for item in value]
        case _:
            return value

"""Logger, Tracer and Metrics, made once, and the record of a stream: what is logged, counted and traced of it.

One structured log record, one set of metrics and one trace subsegment a stream, all from the same numbers. Prompts and
answers are in none of them, unless ``RIVULET_LOG_CONTENT`` says so.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics, Tracer

from relay import measures
from relay.errors import RelayError
from relay.events import (
    BlockEnd,
    Chunk,
    Done,
    Event,
    Failure,
    Forwarded,
    ImageStart,
    Reasoning,
    Start,
    Text,
    ToolResultStart,
    ToolStart,
    Unknown,
)
from relay.tempo import Tempo, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.model_call import ModelCall


def _serialize(record: Any) -> str:
    """Return what is logged as Powertools writes it, but with escapes where UTF-8 cannot carry it."""
    line = json.dumps(record, default=str, separators=(",", ":"), ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a surrogate pair, at a border of two pieces
        line = json.dumps(record, default=str, separators=(",", ":"))
    return line


# Their names come from POWERTOOLS_SERVICE_NAME and POWERTOOLS_METRICS_NAMESPACE; the level from POWERTOOLS_LOG_LEVEL.
logger = Logger(json_serializer=_serialize)
metrics = Metrics(provider=measures.Measures())
# The one call that matters has a subsegment of its own: patching the HTTP libraries would only slow the start.
tracer = Tracer(auto_patch=False)

# At DEBUG, which Lambda's log configuration can choose for all, these log whole requests: prompts, signatures, session
# tokens, secrets. A level of their own overrides the root's. Here, before anybody makes a client.
for _library in ("boto3", "botocore", "urllib3"):
    logging.getLogger(_library).setLevel(logging.WARNING)

# Bedrock's names for what it counted, and the record's.
_TOKENS = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
    "cacheWriteInputTokens": "cache_write_input_tokens",
}
_LARGEST = 2**360  # beyond that CloudWatch takes no number for a metric, and Powertools none at all
_ENDS = frozenset({Done, Failure})
# What models' own schemas send before their first token.
_OPENINGS = (
    b'"ping"',
    b'"message_start"',
    b'"content_block_start"',
    b'"messageStart"',
    b'"contentBlockStart"',
)


class Record:
    """What is known of one request, and in the end told of it.

    The fields are JSON values by name: ``route``, ``model``, ``status``, ``pieces``, ``bytes``, ``duration_ms``,
    ``time_to_first_token_ms``, the times between pieces, the token counts, ``stop_reason`` or ``error``. Each is there
    once it is known. docs/observability.md lists them all.

    Attributes:
        usage: what Bedrock has counted so far, under its own names.
        end: the event that ended the stream, once it has been passed on.
        ended: whether the next event has been asked for after that.
    """

    def __init__(self, *, log_content: bool) -> None:
        self.usage: dict[str, Any] = {}
        self.end: Done | Failure | None = None
        self.ended = False
        self._log_content = log_content
        self._began = time.perf_counter()
        self._fields: dict[str, Any] = {}
        self._request: Any = None
        self._answer: list[str] = []
        self._tempo = Tempo()
        self._first_token_at: float | None = None

    @property
    def pieces(self) -> int:
        """How many pieces have come."""
        return self._tempo.pieces

    @contextmanager
    def calling(self, call: ModelCall, model: str = "") -> Iterator[None]:
        """Span a call of Bedrock's and the stream that it opens with a trace subsegment.

        Args:
            call: it.
            model: the name by which callers know its model, where that is another than Bedrock's.
        """
        self._fields |= {"route": call.route, "model": model or call.model, "pieces": 0}
        self._request = call.parameters if call.body is None else call.body
        with ExitStack() as segment:
            subsegment = segment.enter_context(
                tracer.provider.in_subsegment(name=f"## {call.operation}")
            )
            try:
                yield
            except BaseException as error:
                if "error" not in self._fields:  # or else it is known better
                    self.failed(*_reason(error))
                raise
            finally:
                self._sum_up()
                for name, value in self._fields.items():
                    subsegment.put_annotation(key=name, value=value)
                if (
                    self._fields.get("at_fault") == "caller"
                ):  # in X-Ray's words an error, and no fault
                    subsegment.add_error_flag()  # type: ignore[attr-defined]  # X-Ray's, and its stand-in's
                elif "error" in self._fields:
                    subsegment.add_fault_flag()  # type: ignore[attr-defined]  # as above
                segment.close()  # now: an exception passing through would leave its words in the trace

    def note(self, **fields: Any) -> None:
        """Note what is known from elsewhere; where a value is false, that there is nothing to note (any more)."""
        for name, value in fields.items():
            if value:
                self._fields[name] = value
            else:
                self._fields.pop(name, None)

    def count(self, name: str) -> None:
        """Note that something has happened once more."""
        self._fields[name] = self._fields.get(name, 0) + 1

    def observe(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass the events on, and note what they say."""
        for event in events:
            kind = type(event)
            if kind in _ENDS:
                self._note_end(event)  # type: ignore[arg-type]  # it is one
            elif kind is Start:
                self._note_start(event)  # type: ignore[arg-type]  # it is one
            elif kind is not BlockEnd:
                self._tempo.note_piece()
                if self._first_token_at is None and _has_token(event):
                    self._first_token_at = self._tempo.latest
                if self._log_content:
                    self._note_content(event)
            yield event
            self.ended = kind in _ENDS

    def failed(self, code: str, cause: BaseException | None = None) -> None:
        """Note why the request failed.

        ``cause`` is told by its type, for its words may be private, or as it says itself.
        """
        self._fields |= {"error": code, "at_fault": measures.at_fault(code)}
        if cause is not None:
            self._fields["cause"] = getattr(cause, "cause", type(cause).__name__)

    def answered(self) -> None:
        """Note that the last byte is written: what is still done takes nobody's time."""
        self._fields["duration_ms"] = milliseconds(time.perf_counter() - self._began)

    def tell(self, status: int, bytes_written: int) -> None:
        """Write the log record and add the metrics. Call it once, when all is over."""
        fields = self._fields
        fields |= {"status": status, "bytes": bytes_written}
        for name, value in measures.dimensions(fields).items():
            metrics.add_dimension(name, value)
        for metric, number in measures.values(fields).items():
            metrics.add_metric(metric, measures.MEASURES[metric].unit, number)
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

    def _note_start(self, start: Start) -> None:
        self._fields["model"] = start.model
        self.note(fallback_from=start.fallback_from)

    def _note_content(self, piece: Event) -> None:
        if isinstance(piece, Text):
            self._answer.append(piece.text)
        elif isinstance(piece, Chunk | Forwarded):
            self._answer.append(piece.document.decode(errors="replace"))

    def _note_end(self, end: Done | Failure) -> None:
        self.end = end
        if isinstance(end, Failure):
            self.failed(end.error.code, end.error.__cause__)
        elif end.stop_reason is not None:
            self._fields["stop_reason"] = end.stop_reason

    def _sum_up(self) -> None:
        """Take into the fields what was counted piece by piece, and what Bedrock has counted."""
        fields = self._fields
        fields["pieces"] = self._tempo.pieces
        if self._first_token_at is not None:
            fields["time_to_first_token_ms"] = milliseconds(self._first_token_at - self._began)
        fields |= self._tempo.summary()
        counted = ((_TOKENS[k], v) for k, v in self.usage.items() if k in _TOKENS)
        counts = {n: v for n, v in counted if isinstance(v, int | float) and abs(v) < _LARGEST}
        fields |= counts
        if "error" in fields and counts and not isinstance(self.end, Done):
            fields["usage_partial"] = True


def _has_token(piece: Event) -> bool:
    """Tell whether a piece brings some of the answer itself; of a model's own documents, those that open it do not."""
    if isinstance(piece, Forwarded) and piece.name != "chunk":
        return piece.name == "contentBlockDelta"
    if isinstance(piece, Chunk | Forwarded):
        return not any(opening in piece.document[:200] for opening in _OPENINGS)
    if isinstance(piece, Text | Reasoning):
        return piece.text != ""
    return not isinstance(piece, ToolStart | ToolResultStart | ImageStart | Unknown)


def _reason(error: BaseException) -> tuple[str, BaseException | None]:
    """Return the code for what ended a call, and its cause."""
    match error:
        case RelayError():
            return error.code, error.__cause__
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

"""Every way in which an answer can go wrong, in every wire format, before and after its first byte: what callers see.

`FAILURES` is the table of docs/failures.md, which a test keeps the same. Each row has a script for the stand-in's fault
machine (docs/faults.md), so that anyone can see for themselves under ``make serve``. How each format is asked, and what
is so of every answer in it, is in `fault_caller.py`.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import boto3  # noqa: TID251  # the judge
import openai
import pytest
from botocore.config import Config  # noqa: TID251  # the judge
from botocore.exceptions import EventStreamError  # noqa: TID251  # the judge

from local.configuration import FunctionConfiguration
from local.fault_script import OF_DOCUMENTS, parse
from local.function import LocalFunction
from local.pace import IMMEDIATE, Pace
from tests.integration.fault_caller import (
    CLAUDE,
    DONE,
    NOVA,
    STREAMS,
    WHOLE,
    WHOLE_ANSWERS,
    WIRES,
    End,
    see,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "failures.md"

SETTINGS = {
    "RIVULET_MAX_ATTEMPTS": "1",
    "RIVULET_COMMIT_AFTER": "20",
    "RIVULET_HEARTBEAT_INTERVAL": "0.2",
    "RIVULET_READ_TIMEOUT": "1.5",
}
TIMEOUT = 30.0
ENVIRONMENTS = 13  # one a stream: all formats are asked at once
# A heartbeat goes out, and with it the 200, before Bedrock is heard of.
COMMITTED = {"RIVULET_COMMIT_AFTER": "0.2"}
LATE = "delay seconds=0.3"
# One is long due, but an answer that is no stream has none.
OVERDUE = {"RIVULET_COMMIT_AFTER": "0.05", "RIVULET_HEARTBEAT_INTERVAL": "0.05"}
A_LITTLE_LATE = "delay seconds=0.1"

# When it happens: of an answer that is no stream it makes no difference.
BEFORE, LATER, AFTER, EVER = "before the first byte", "after a heartbeat", "after it", "ever"

# What an SDK of AWS raises for a failure that Bedrock gave no name, by its status: before a stream, and in each.
SDK_EXCEPTIONS = {
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    500: "InternalServerException",
    504: "ModelTimeoutException",
}
CONVERSE_FRAMES = {
    400: "validationException",
    429: "throttlingException",
    500: "internalServerException",
    503: "serviceUnavailableException",
}
INVOKE_FRAMES = {
    **CONVERSE_FRAMES,
    408: "modelTimeoutException",
    504: "modelTimeoutException",
}
# What the errors of other APIs are called, by their status; others by whose fault they are.
OPENAI_TYPES = {
    403: "permission_error",
    408: "server_error",
    424: "server_error",
    429: "rate_limit_error",
}
ANTHROPIC_TYPES = {
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    424: "api_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


# The operations whose answers are event streams; those of the others are documents.
OF_EVENTS = {"ConverseStream", "InvokeModelWithResponseStream"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A row.

    Attributes:
        what: goes wrong.
        before: the script for it to happen before the first byte, if it can.
        after: the script for it to happen after.
        invoke_after: the same for InvokeModelWithResponseStream, where it is another.
        document: the scripts for an answer of Bedrock's that is one document, where they are not these.
        status: where there is still one to send.
        code: of the error; ``None`` where the answer is whole all the same.
        retryable: whether the caller is told to try again.
        exception: Bedrock's name for it, if it has one.
        frame: the exception in the AWS event stream, where Bedrock has sent that itself.
        settings: of the function, beyond the usual ones.
        slowly: whether the answer comes at a pace.
        may_be_late: whether it can also happen before the first byte and yet after a heartbeat.
    """

    what: str
    before: str | None = None
    after: str | None = None
    invoke_after: str | None = None
    document: tuple[str, ...] | None = None
    status: int = 0
    code: str | None = None
    retryable: bool = True
    exception: str = ""
    frame: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    slowly: bool = False
    may_be_late: bool = True

    def scripts(self, form: str, when: str) -> list[str]:
        """Return the scripts for it to happen in a format then."""
        operation = WIRES[form].operation
        after = self.invoke_after if operation.startswith("Invoke") else None
        chosen = {
            BEFORE: [self.before],
            LATER: [self.before and f"{LATE}; {self.before}"],
            AFTER: [after or self.after],
            EVER: [self.before, self.after],
        }[when]
        scripts = [script for script in chosen if script]
        if when == EVER and operation not in OF_EVENTS:
            possible = [s for s in scripts if all(f.name in OF_DOCUMENTS for f in parse(s))]
            scripts = possible if self.document is None else [*self.document]
        return [f"{A_LITTLE_LATE}; {s}" for s in scripts] if when == EVER else scripts


def _refused(exception: str, status: int, code: str, *, retryable: bool) -> Failure:
    in_stream = exception[0].lower() + exception[1:]
    return Failure(
        what=f"Bedrock's `{exception}`",
        before=f"refuse name={exception}",
        after=f"exception name={in_stream}",
        status=status,
        code=code,
        retryable=retryable,
        exception=exception,
        frame=in_stream,
    )


# The deadline comes after 1.5 s, and before any other end.
HASTE = {"RIVULET_READ_TIMEOUT": "60", "RIVULET_DEADLINE_MARGIN": "28.5"}
FAILURES = (
    _refused("AccessDeniedException", 403, "access_denied", retryable=False),
    _refused("InternalServerException", 500, "internal_server", retryable=True),
    _refused("ModelErrorException", 424, "model_error", retryable=True),
    _refused("ModelNotReadyException", 429, "model_not_ready", retryable=True),
    _refused("ModelStreamErrorException", 424, "model_stream_error", retryable=True),
    _refused("ModelTimeoutException", 408, "model_timeout", retryable=True),
    _refused("ResourceNotFoundException", 404, "resource_not_found", retryable=False),
    _refused("ServiceQuotaExceededException", 400, "service_quota_exceeded", retryable=False),
    _refused("ServiceUnavailableException", 503, "service_unavailable", retryable=True),
    _refused("ThrottlingException", 429, "throttling", retryable=True),
    _refused("ValidationException", 400, "validation", retryable=False),
    Failure(
        what="an exception that nobody has listed",
        before="refuse name=OverloadedException status=529",
        after="exception name=overloadedException",
        status=529,
        code="overloaded",
        exception="OverloadedException",
        frame="overloadedException",
    ),
    Failure(
        what="an exception without a name",
        before="exception after=0 name=",
        after="exception name=",
        status=502,
        code="unknown",
        frame="(no name)",
    ),
    Failure(
        what="an error frame",
        before="error after=0 code=Overloaded",
        after="error code=Overloaded",
        status=502,
        code="overloaded",
        exception="Overloaded",
        frame="Overloaded",
    ),
    Failure(
        what="an exception as the first frame",
        before="exception after=0",
        status=429,
        code="throttling",
        exception="ThrottlingException",
    ),
    Failure(
        what="an exception between stop reason and usage",
        after="exception after=messageStop",
        invoke_after="exception after=message_delta",
        status=429,
        code="throttling",
        exception="ThrottlingException",
        frame="throttlingException",
    ),
    Failure(
        what="an exception after the usage",
        after="exception after=metadata",
        invoke_after="exception after=message_stop",
        status=429,
        code="throttling",
        exception="ThrottlingException",
        frame="throttlingException",
    ),
    Failure(
        what="the connection is closed",
        before="cut after=0",
        after="cut",
        status=502,
        code="connection_lost",
    ),
    Failure(
        what="the connection is reset",
        before="stall after=0 seconds=0.1; reset after=0",
        after="stall seconds=0.1; reset",
        status=502,
        code="connection_lost",
    ),
    Failure(
        what="the connection is closed when all was said",
        after="cut after=metadata",
        invoke_after="cut after=message_stop",
    ),
    Failure(
        what="the stream ends too early",
        before="end after=0",
        after="end",
        document=(),
        status=502,
        code="truncated",
    ),
    Failure(
        what="the stream ends within a frame",
        before="end byte=20",
        after="end byte=1000",
        document=(),
        status=502,
        code="truncated",
    ),
    Failure(
        what="the stream ends without a stop reason",
        after="drop event=messageStop; drop event=message_stop",
        status=502,
        code="truncated",
    ),
    Failure(
        what="the stream ends without the usage",
        after="drop event=metadata; drop event=metrics",
        status=502,
        code="truncated",
    ),
    Failure(
        what="a document ends too early",
        document=("end after=0", "end", "end byte=9"),
        status=502,
        code="corrupt",
    ),
    Failure(
        what="a document that is no JSON",
        document=("corrupt after=0", "corrupt"),
        status=502,
        code="corrupt",
    ),
    Failure(
        what="a frame with a wrong checksum",
        before="corrupt after=0",
        after="corrupt",
        document=(),
        status=502,
        code="corrupt",
    ),
    Failure(
        what="a frame with a wrong length",
        before="corrupt after=0 byte=2",
        after="corrupt byte=2",
        document=(),
        status=502,
        code="corrupt",
    ),
    Failure(
        what="silence",
        before="stall after=0",
        after="stall",
        status=504,
        code="read_timeout",
    ),
    Failure(
        what="bytes that make no event",
        before="trickle after=0 seconds=0.3",
        after="trickle seconds=0.3",
        document=(),
        status=504,
        code="read_timeout",
    ),
    Failure(
        what="silence when all was said",
        after="stall after=metadata",
        invoke_after="stall after=message_stop",
    ),
    Failure(
        what="Lambda's deadline",
        before="delay seconds=30",
        after="split size=1000",
        status=504,
        code="timeout",
        settings=HASTE,
        slowly=True,
    ),
    Failure(
        what="no time left to begin",
        before="join",
        status=504,
        code="timeout",
        settings={"RIVULET_DEADLINE_MARGIN": "29.5"},
        may_be_late=False,
    ),
    Failure(
        what="the longest answer that may be sent",
        after="text after=3 size=5000",
        status=502,
        code="response_too_large",
        retryable=False,
        settings={"RIVULET_MAX_RESPONSE_BYTES": "4000"},
    ),
    Failure(
        what="an event that nobody has listed",
        before="unknown_event after=0",
        after="unknown_event",
    ),
    Failure(what="a piece that nobody has listed", after="unknown_delta"),
    Failure(what="a block that nobody has listed", after="unknown_block"),
    Failure(what="a stop reason that nobody has listed", after="unknown_stop"),
    Failure(what="an empty piece", after="text size=0"),
    Failure(what="a letter in two halves", after="surrogates"),
    Failure(what="frames in pieces of a few bytes", after="split size=9"),
)


# What is not so yet: the row, the format and when, and what is seen instead.
NOT_YET: dict[tuple[str, str, str], str] = {}


def expected(row: Failure, form: str, when: str) -> End:
    """Return what a caller sees of a row."""
    path = WIRES[form].path
    frames = {"InvokeModel's frames": INVOKE_FRAMES, "ConverseStream's frames": CONVERSE_FRAMES}
    if row.code is None:
        return WHOLE if form in frames or form == "plain text" else DONE
    if (
        form in WHOLE_ANSWERS
        or (when == BEFORE and path)  # a direct invocation has no status
        or (when == LATER and form == "plain text")  # which has no heartbeat
    ):
        return End(" ".join([str(row.status), row.code, *_named(row, path)]), row.retryable)
    if form in frames:
        return End(_frame(row, frames[form], when))
    if form == "plain text":
        return End(f"[{row.code}]")
    if form == "UI messages":
        return End(f"error {row.code}")
    return End(" ".join(["error", row.code, *_type(row, path)]), row.retryable)


def _named(row: Failure, path: str) -> list[str]:
    """Return what clients tell an error before the first byte apart by, beside its status and code."""
    if not path.startswith("/model/"):
        return _type(row, path)
    default = "ValidationException" if row.status < 500 else "ServiceUnavailableException"
    return [row.exception or SDK_EXCEPTIONS.get(row.status, default)]


def _type(row: Failure, path: str) -> list[str]:
    """Return what another API calls an error, if the path is one of its."""
    if not path.startswith("/v1/"):
        return []
    if path.startswith("/v1/messages"):
        default = "invalid_request_error" if row.status < 500 else "api_error"
        return [ANTHROPIC_TYPES.get(row.status, default)]
    if row.code == "service_quota_exceeded":  # none of the request's faults
        return ["insufficient_quota"]
    default = "invalid_request_error" if row.status < 500 else "server_error"
    return [OPENAI_TYPES.get(row.status, default)]


def _frame(row: Failure, frames: Mapping[int, str], when: str) -> str:
    if row.frame and when == AFTER:
        return row.frame
    return f"{frames.get(row.status, 'modelStreamErrorException')} {row.code}"


class Stage:
    """Functions by their settings, each started when it is first needed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._functions: dict[str, LocalFunction] = {}
        self._pool = self._stack.enter_context(ThreadPoolExecutor(ENVIRONMENTS))

    def close(self) -> None:
        self._stack.close()

    def ask(
        self, row: Failure, settings: Mapping[str, str], asked: Iterable[tuple[str, str]]
    ) -> list[End]:
        """Return what callers see, each in a format and with a script, all at once."""
        function = self.function({**row.settings, **settings})
        function.bedrock.pace = Pace(0, 5) if row.slowly else IMMEDIATE
        return list(self._pool.map(lambda one: see(function, *one), asked))

    def function(self, settings: Mapping[str, str]) -> LocalFunction:
        """Return the function with these settings beside the usual ones."""
        key = json.dumps(settings, sort_keys=True)
        if key not in self._functions:
            configuration = FunctionConfiguration(
                concurrency=ENVIRONMENTS,
                provisioned_concurrency=ENVIRONMENTS,
                timeout=TIMEOUT,
                init_timeout=60,
            )
            function = LocalFunction(configuration, environment={**SETTINGS, **settings})
            self._functions[key] = self._stack.enter_context(function)
        return self._functions[key]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with closing(Stage()) as stage:
        yield stage


def _check(stage: Stage, row: Failure, when: str, forms: Iterable[str]) -> None:
    """Ask in all these formats; compare what is seen with what is to be."""
    settings = {BEFORE: {}, LATER: COMMITTED, AFTER: {}, EVER: OVERDUE}[when]
    asked = [
        (form, script)
        for form in forms
        if (row.what, form, when) not in NOT_YET
        for script in row.scripts(form, when)
    ]
    seen = stage.ask(row, settings, asked)
    assert dict(zip(asked, seen, strict=True)) == {
        one: expected(row, one[0], when) for one in asked
    }


def _by_name(rows: Iterable[Failure]) -> list[Any]:
    return [pytest.param(row, id=row.what.replace("`", "")) for row in rows]


@pytest.mark.xdist_group("failures")
@pytest.mark.parametrize("row", _by_name(row for row in FAILURES if row.before))
def test_before_the_first_byte(stage: Stage, row: Failure) -> None:
    """Until a byte is out, a failure is an HTTP status, whatever format was asked for."""
    _check(stage, row, BEFORE, STREAMS)


@pytest.mark.xdist_group("failures")
@pytest.mark.parametrize("row", _by_name(row for row in FAILURES if row.before and row.may_be_late))
def test_after_a_heartbeat(stage: Stage, row: Failure) -> None:
    """Once a heartbeat is out, a failure is the stream's one end; in plain text, which has none, still a status."""
    _check(stage, row, LATER, STREAMS)


@pytest.mark.xdist_group("failures")
@pytest.mark.parametrize("row", _by_name(row for row in FAILURES if row.after))
def test_after_the_first_byte(stage: Stage, row: Failure) -> None:
    """In mid-stream a failure is the one end, in the format's own terms, after all that came before it."""
    _check(stage, row, AFTER, STREAMS)


@pytest.mark.xdist_group("failures of whole answers")
@pytest.mark.parametrize("row", _by_name(FAILURES))
def test_of_a_whole_answer(stage: Stage, row: Failure) -> None:
    """An answer that is no stream has a status whenever it fails, and no heartbeats, however long it takes."""
    _check(stage, row, EVER, WHOLE_ANSWERS)


@pytest.mark.xdist_group("failures")
@pytest.mark.xfail(strict=True, reason="reported")
@pytest.mark.parametrize(("what", "form", "when"), NOT_YET)
def test_what_is_not_so_yet(stage: Stage, what: str, form: str, when: str) -> None:
    """Each is a promise that is not kept yet."""
    (row,) = (row for row in FAILURES if row.what == what)
    settings = {BEFORE: {}, LATER: COMMITTED, AFTER: {}, EVER: OVERDUE}[when]
    asked = [(form, script) for script in row.scripts(form, when)]
    assert stage.ask(row, settings, asked) == [expected(row, form, when)] * len(asked)

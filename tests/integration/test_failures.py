"""Every way in which an answer can go wrong, in every wire format, before and after its first byte: what callers see.

`FAILURES` is the table of docs/failures.md, which a test keeps the same. Each row has a script for the stand-in's fault
machine (docs/faults.md), so that anyone can see for themselves under ``make serve``.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3  # noqa: TID251  # the judge
import pytest
from botocore.config import Config  # noqa: TID251  # the judge
from botocore.eventstream import EventStreamBuffer  # noqa: TID251  # the judge

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import IMMEDIATE, Pace
from tests.caller import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "failures.md"
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
INVOKE_PATH = f"/model/{CLAUDE}/invoke-with-response-stream"

# By name: the path, and what is accepted.
FORMATS = {
    "SSE": ("/stream", "text/event-stream"),
    "NDJSON": ("/stream", "application/x-ndjson"),
    "plain text": ("/stream", "text/plain"),
    "SSE of chunks": (INVOKE_PATH, "text/event-stream"),
    "NDJSON of chunks": (INVOKE_PATH, "application/x-ndjson"),
    "event stream": (INVOKE_PATH, "*/*"),
    "direct invocation": ("", ""),
}
SETTINGS = {
    "RIVULET_MAX_ATTEMPTS": "1",
    "RIVULET_COMMIT_AFTER": "20",
    "RIVULET_HEARTBEAT_INTERVAL": "0.2",
    "RIVULET_READ_TIMEOUT": "1.5",
}
TIMEOUT = 30.0
# A heartbeat goes out, and with it the 200, before Bedrock is heard of.
COMMITTED = {"RIVULET_COMMIT_AFTER": "0.2"}
LATE = "delay seconds=0.3"
# The exceptions that an SDK knows in a stream, for a failure that Bedrock did not put into a frame itself.
BY_STATUS = {
    400: "validationException",
    408: "modelTimeoutException",
    429: "throttlingException",
    500: "internalServerException",
    503: "serviceUnavailableException",
    504: "modelTimeoutException",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A row.

    Attributes:
        what: goes wrong.
        before: the script for it to happen before the first byte, if it can.
        after: the script for it to happen after.
        invoke_after: the same for InvokeModelWithResponseStream, where it is another.
        status: before.
        code: of the error; ``None`` where the answer is whole all the same.
        retryable: whether the caller is told to try again.
        frame: the exception in the AWS event stream, where it is after the first byte.
        settings: of the function, beyond the usual ones.
        slowly: whether the answer comes at a pace.
        may_be_late: whether it can also happen before the first byte and yet after a heartbeat.
    """

    what: str
    before: str | None = None
    after: str | None = None
    invoke_after: str | None = None
    status: int = 0
    code: str | None = None
    retryable: bool = True
    frame: str = "modelStreamErrorException"
    settings: Mapping[str, str] = field(default_factory=dict)
    slowly: bool = False
    may_be_late: bool = True


def _refused(exception: str, status: int, code: str, *, retryable: bool) -> Failure:
    in_stream = exception[0].lower() + exception[1:]
    return Failure(
        what=f"Bedrock's `{exception}`",
        before=f"refuse name={exception}",
        after=f"exception name={in_stream}",
        status=status,
        code=code,
        retryable=retryable,
        frame=in_stream,
    )


# The deadline comes after 1.2 s, and before any other end.
HASTE = {"RIVULET_READ_TIMEOUT": "60", "RIVULET_DEADLINE_MARGIN": "28.8"}
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
        frame="overloadedException",
    ),
    Failure(
        what="an exception without a name",
        before="exception after=0 name=",
        after="exception name=",
        status=502,
        code="unknown",
        frame="",
    ),
    Failure(
        what="an error frame",
        before="error after=0 code=Overloaded",
        after="error code=Overloaded",
        status=502,
        code="overloaded",
        frame="Overloaded",
    ),
    Failure(
        what="an exception as the first frame",
        before="exception after=0",
        status=429,
        code="throttling",
    ),
    Failure(
        what="an exception between stop reason and usage",
        after="exception after=messageStop",
        invoke_after="exception after=message_delta",
        code="throttling",
        frame="throttlingException",
    ),
    Failure(
        what="an exception after the usage",
        after="exception after=metadata",
        invoke_after="exception after=message_stop",
        code="throttling",
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
        status=502,
        code="truncated",
    ),
    Failure(
        what="the stream ends within a frame",
        before="end byte=20",
        after="end byte=1000",
        status=502,
        code="truncated",
    ),
    Failure(
        what="the stream ends without a stop reason",
        after="drop event=messageStop; drop event=message_stop",
        code="truncated",
    ),
    Failure(
        what="the stream ends without the usage",
        after="drop event=metadata; drop event=metrics",
        code="truncated",
    ),
    Failure(
        what="a frame with a wrong checksum",
        before="corrupt after=0",
        after="corrupt",
        status=502,
        code="corrupt",
    ),
    Failure(
        what="a frame with a wrong length",
        before="corrupt after=0 byte=2",
        after="corrupt byte=2",
        status=502,
        code="corrupt",
    ),
    Failure(
        what="silence",
        before="stall after=0",
        after="stall",
        status=504,
        code="read_timeout",
        frame="modelTimeoutException",
    ),
    Failure(
        what="bytes that make no event",
        before="trickle after=0 seconds=0.3",
        after="trickle seconds=0.3",
        status=504,
        code="read_timeout",
        frame="modelTimeoutException",
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
        frame="modelTimeoutException",
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


def expected_before(row: Failure, form: str) -> str:
    """Return what a caller sees when it happens before the first byte."""
    if row.code is None:
        return WHOLE[form]
    return f"error {row.code}" if form == "direct invocation" else f"{row.status} {row.code}"


def expected_late(row: Failure, form: str) -> str:
    """Return what a caller sees when it happens before the first byte, but after a heartbeat."""
    if row.code is None:
        return WHOLE[form]
    match form:
        case "plain text":  # which has no heartbeat
            return f"{row.status} {row.code}"
        case "event stream":
            return BY_STATUS.get(row.status, "modelStreamErrorException")
        case _:
            return f"error {row.code}"


def expected_after(row: Failure, form: str) -> str:
    """Return what a caller sees when it happens after the first byte."""
    if row.code is None:
        return WHOLE[form]
    match form:
        case "plain text":
            return f"[{row.code}]"
        case "event stream":
            return row.frame or "(no name)"
        case _:
            return f"error {row.code}"


WHOLE = dict.fromkeys(FORMATS, "done") | {"plain text": "whole", "event stream": "whole"}


class Stage:
    """Functions by their settings, each started when it is first needed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._functions: dict[str, LocalFunction] = {}
        self._pool = self._stack.enter_context(ThreadPoolExecutor(len(FORMATS)))

    @property
    def url(self) -> str:
        """Where the function with the usual settings is."""
        return self._function({}).url

    def close(self) -> None:
        self._stack.close()

    def ask(
        self, settings: Mapping[str, str], scripts: Mapping[str, str], *, slowly: bool
    ) -> dict[str, str]:
        """Return what callers in all formats see at once."""
        function = self._function(settings)
        function.bedrock.pace = Pace(0, 5) if slowly else IMMEDIATE
        seen = self._pool.map(lambda form: _see(function, form, scripts[form]), FORMATS)
        return dict(zip(FORMATS, seen, strict=True))

    def _function(self, settings: Mapping[str, str]) -> LocalFunction:
        key = json.dumps(settings, sort_keys=True)
        if key not in self._functions:
            configuration = FunctionConfiguration(concurrency=len(FORMATS), timeout=TIMEOUT)
            function = LocalFunction(configuration, environment={**SETTINGS, **settings})
            self._functions[key] = self._stack.enter_context(function)
        return self._functions[key]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def _see(function: LocalFunction, form: str, script: str) -> str:
    """Ask in one format; check what is so of every answer, and return what is particular to this one."""
    prompt = f"How does a token travel? [fault: {script}]"
    converse = {"prompt": prompt, "inferenceConfig": {"maxTokens": 40}}
    if form == "direct invocation":
        return _see_directly(function, converse)
    path, accept = FORMATS[form]
    message = {"role": "user", "content": prompt}
    invoke = {"anthropic_version": "x", "max_tokens": 40, "messages": [message]}
    answer = ask(function.url, path, converse if path == "/stream" else invoke, accept=accept)
    assert answer.headers["x-request-id"] == answer.headers["x-amzn-requestid"]
    assert "arn:" not in answer.body.decode(errors="replace")
    if answer.status != 200:
        return _refusal(answer)
    match form:
        case "plain text":
            return _end_of_text(answer)
        case "event stream":
            return _end_of_frames(answer)
        case _:
            return _end_of_objects(answer.objects, whole=answer.whole)


def _refusal(answer: Answer) -> str:
    (said,) = answer.objects
    error = said["error"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.whole
    assert error["request_id"] == answer.headers["x-request-id"]
    assert error["message"]
    assert isinstance(error["retryable"], bool)
    if answer.status in {429, 503}:
        assert int(answer.headers["retry-after"]) > 0
    return f"{answer.status} {error['code']}"


def _end_of_objects(objects: list[Any], *, whole: bool) -> str:
    """Check that there is exactly one end, that blocks are closed before it, and that nothing comes after."""
    told = [o for o in objects if o["type"] != "ping"]
    end = told[-1]
    assert sum(o["type"] in {"done", "error"} for o in told) == 1
    assert [o["type"] for o in told].count("start") == (1 if len(told) > 1 else 0)
    opened = [o["index"] for o in told if "index" in o and o["type"] != "block_end"]
    closed = [o["index"] for o in told if o["type"] == "block_end"]
    assert len(closed) == len(set(closed))
    assert set(opened) <= set(closed)
    if end["type"] == "done":
        assert whole
        return "done"
    assert not whole, "the invocation counts as failed"
    assert end["message"]
    assert isinstance(end["retryable"], bool)
    return f"error {end['code']}"


def _end_of_text(answer: Answer) -> str:
    found = re.search(r"\n\[(\w+): [^\n]+\]\n\Z", answer.body.decode())
    assert answer.whole is (found is None)
    return f"[{found[1]}]" if found else "whole"


def _end_of_frames(answer: Answer) -> str:
    judge = EventStreamBuffer()
    judge.add_data(answer.body)
    *pieces, end = judge
    assert {message.headers[":message-type"] for message in pieces} <= {"event"}
    kind = end.headers[":message-type"]
    assert answer.whole is (kind == "event")
    if kind == "event":
        return "whole"
    name = end.headers.get(":exception-type" if kind == "exception" else ":error-code")
    return str(name or "(no name)")


def _see_directly(function: LocalFunction, event: Any) -> str:
    client = boto3.client(
        "lambda",
        endpoint_url=function.invoke_url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        # An environment may not be done with the invocation before.
        config=Config(retries={"mode": "standard", "total_max_attempts": 10}),
    )
    answer = client.invoke_with_response_stream(FunctionName="rivulet", Payload=json.dumps(event))
    *pieces, complete = answer["EventStream"]
    client.close()
    body = b"".join(piece["PayloadChunk"]["Payload"] for piece in pieces)
    failure = complete["InvokeComplete"].get("ErrorCode")
    seen = _end_of_objects(
        [json.loads(line) for line in body.decode().split("\n") if line], whole=failure is None
    )
    assert failure == (None if seen == "done" else f"Rivulet.{seen.removeprefix('error ')}")
    return seen


def _by_name(rows: Iterable[Failure]) -> list[Any]:
    return [pytest.param(row, id=row.what.replace("`", "")) for row in rows]


@pytest.mark.xdist_group("failures")
@pytest.mark.parametrize("row", _by_name(row for row in FAILURES if row.before))
def test_before_the_first_byte(stage: Stage, row: Failure) -> None:
    """Until a byte is out, a failure is an HTTP status, whatever format was asked for."""
    scripts = dict.fromkeys(FORMATS, str(row.before))
    seen = stage.ask(row.settings, scripts, slowly=row.slowly)
    assert seen == {form: expected_before(row, form) for form in FORMATS}


@pytest.mark.xdist_group("failures")
@pytest.mark.parametrize("row", _by_name(row for row in FAILURES if row.before and row.may_be_late))
def test_after_a_heartbeat(stage: Stage, row: Failure) -> None:
    """Once a heartbeat is out, a failure is the stream's one end; in plain text, which has none, still a status."""
    scripts = dict.fromkeys(FORMATS, f"{LATE}; {row.before}")
    seen = stage.ask({**row.settings, **COMMITTED}, scripts, slowly=row.slowly)
    assert seen == {form: expected_late(row, form) for form in FORMATS}


@pytest.mark.xdist_group("failures")
@pytest.mark.parametrize("row", _by_name(row for row in FAILURES if row.after))
def test_after_the_first_byte(stage: Stage, row: Failure) -> None:
    """In mid-stream a failure is the one end, in the format's own terms, after all that came before it."""
    scripts = {
        form: str(row.invoke_after if path == INVOKE_PATH and row.invoke_after else row.after)
        for form, (path, _) in FORMATS.items()
    }
    seen = stage.ask(row.settings, scripts, slowly=row.slowly)
    assert seen == {form: expected_after(row, form) for form in FORMATS}


# By the script: what boto3 raises where Bedrock gave the failure no name of its own.
RAISED = {
    "cut after=0": "ServiceUnavailableException",
    "stall after=0": "ModelTimeoutException",
    "exception after=0 name=": "ServiceUnavailableException",
    "refuse name=ModelErrorException": "ModelErrorException",
}


@pytest.mark.xdist_group("failures")
@pytest.mark.parametrize("script", RAISED)
def test_an_sdk_raises_an_exception_that_it_knows(stage: Stage, script: str) -> None:
    """On Bedrock's own routes any failure before the first byte has a name and a message, to boto3 as well."""
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=stage.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    message = {"role": "user", "content": f"hi [fault: {script}]"}
    body = {"anthropic_version": "x", "max_tokens": 5, "messages": [message]}
    with pytest.raises(getattr(client.exceptions, RAISED[script])) as caught:
        client.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(body))
    client.close()
    assert caught.value.response["Error"]["Message"].endswith(".")


def table() -> str:
    """Return the table for docs/failures.md."""
    lines = [
        "| what goes wrong | before the first byte | after it: SSE, NDJSON | plain text | event stream | to try |",
        "|---|---|---|---|---|---|",
    ]
    for row in FAILURES:
        before = _code(expected_before(row, "SSE")) if row.before else "—"
        after = [
            _code(expected_after(row, form)) if row.after else "—"
            for form in ("SSE", "plain text", "event stream")
        ]
        scripts = dict.fromkeys(filter(None, (row.before, row.after, row.invoke_after)))
        tries = " or ".join(f"`{script}`" for script in scripts)
        lines.append(f"| {' | '.join([row.what, before, *after, tries])} |")
    return "\n".join(lines)


def _code(seen: str) -> str:
    if seen in {"whole", "(no name)"}:
        return seen
    kind, _, code = seen.rpartition(" ")
    return f"{kind} `{code}`".strip()


def test_the_document_has_the_table() -> None:
    """docs/failures.md says what these tests prove, row by row, and the other tests that it names are there."""
    document = DOCUMENT.read_text(encoding="utf-8")
    assert table() in document
    tests = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", document):
        assert f"def {name}(" in tests
    for name in re.findall(r"`(test_\w+\.py)`", document):
        assert list(TESTS.rglob(name))

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
from botocore.exceptions import ClientError, EventStreamError  # noqa: TID251  # the judge

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
    "RIVULET_READ_TIMEOUT": "15",
}
TIMEOUT = 30.0
# A heartbeat goes out, and with it the 200, before Bedrock is heard of; but none where the answer is no stream.
COMMITTED = {"RIVULET_COMMIT_AFTER": "0.05"}
LATE = "delay seconds=0.15"

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
# Of these, boto3 reads the documents itself.
READ_BY_BOTO3 = {"Converse", "CountTokens"}


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
        boto3s_code: the same where boto3 itself reads the document, and tells less, if it is another.
        retryable: whether the caller is told to try again.
        exception: Bedrock's name for it, if it has one.
        frame: the exception in the AWS event stream, where Bedrock has sent that itself.
        settings: of the function, beyond the usual ones.
        takes_long: whether it takes a while, so that it is worth an environment for each format.
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
    boto3s_code: str | None = None
    retryable: bool = True
    exception: str = ""
    frame: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    takes_long: bool = False
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
        return [f"{LATE}; {script}" for script in scripts] if when == EVER else scripts


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


# It is not waited for long.
IMPATIENT = {"RIVULET_READ_TIMEOUT": "1.5"}
# The deadline comes after 1.5 s.
HASTE = {"RIVULET_DEADLINE_MARGIN": "28.5"}
# The code of exceptions that nobody has listed; each has another status.
UNLISTED = "overloaded"
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
        what="a refusal that nobody has listed",
        before="refuse name=OverloadedException status=529",
        status=529,
        code=UNLISTED,
        exception="OverloadedException",
    ),
    Failure(
        what="an exception that nobody has listed",
        before="exception after=0 name=overloadedException",
        after="exception name=overloadedException",
        status=502,
        code=UNLISTED,
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
        code=UNLISTED,
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
        document=("cut after=0", "cut", "cut byte=1", "cut after=9"),
        status=502,
        code="connection_lost",
        boto3s_code="corrupt",
    ),
    Failure(
        what="the connection is reset",
        before="stall after=0 seconds=0.1; reset after=0",
        after="stall seconds=0.1; reset",
        status=502,
        code="connection_lost",
        boto3s_code="connect_failed",
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
        document=("end after=0", "end", "end byte=1", "end after=9"),
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
        settings=IMPATIENT,
        takes_long=True,
    ),
    Failure(
        what="bytes that make no event",
        before="trickle after=0 seconds=0.3",
        after="trickle seconds=0.3",
        document=(),
        status=504,
        code="read_timeout",
        settings=IMPATIENT,
        takes_long=True,
    ),
    Failure(
        what="silence when all was said",
        after="stall after=metadata",
        invoke_after="stall after=message_stop",
        document=(),
    ),
    Failure(
        what="Lambda's deadline",
        before="delay seconds=30",
        after="split size=1000",
        document=("delay seconds=30", "stall"),
        status=504,
        code="timeout",
        settings=HASTE,
        takes_long=True,
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
        after="text after=3 size=100000; text after=9 size=100000",
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


OWN_MESSAGES = "Messages of Anthropic's models"


def expected(row: Failure, form: str, when: str) -> End:
    """Return what a caller sees of a row."""
    operation, path = WIRES[form][:2]
    frames = {"InvokeModel's frames": INVOKE_FRAMES, "ConverseStream's frames": CONVERSE_FRAMES}
    if row.code is None:
        return WHOLE if form in frames or form == "plain text" else DONE
    if (
        form in WHOLE_ANSWERS
        or (when == BEFORE and path)  # a direct invocation has no status
        or (when == LATER and form == "plain text")  # which has no heartbeat
    ):
        code = (operation in READ_BY_BOTO3 and row.boto3s_code) or row.code
        return End(" ".join([str(row.status), code, *_named(row, path)]), row.retryable)
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

    def close(self) -> None:
        self._stack.close()

    def ask(
        self, row: Failure, settings: Mapping[str, str], asked: Sequence[tuple[str, str]]
    ) -> list[End]:
        """Return what callers see, each in a format and with a script."""
        # What is late takes a little, too.
        many = row.takes_long or (settings and not row.settings)
        at_once = len(STREAMS) if many else 3 if row.settings else 7
        function = self.function({**row.settings, **settings}, at_once)
        function.bedrock.pace = Pace(0, 5) if row.slowly else IMMEDIATE
        with ThreadPoolExecutor(at_once) as pool:
            try:
                return list(pool.map(lambda one: see(function, *one), asked))
            except BaseException:
                print(*function.log, sep="\n")  # what went wrong is there
                raise

    def function(self, settings: Mapping[str, str], environments: int = 7) -> LocalFunction:
        """Return the function with these settings beside the usual ones."""
        key = json.dumps(settings, sort_keys=True)
        if key not in self._functions:
            configuration = FunctionConfiguration(
                concurrency=environments,
                provisioned_concurrency=environments,
                timeout=TIMEOUT,
                init_timeout=60,  # they are started at once, on a machine that may be busy
            )
            function = LocalFunction(configuration, environment={**SETTINGS, **settings})
            self._functions[key] = self._stack.enter_context(function)
        return self._functions[key]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with closing(Stage()) as stage:
        yield stage


def _check(stage: Stage, row: Failure, when: str, forms: Iterable[str]) -> None:
    """Ask in all these formats, with each script; compare what is seen with what is to be."""
    asked = [(form, script) for form in forms for script in row.scripts(form, when)]
    seen = stage.ask(row, COMMITTED if when in {LATER, EVER} else {}, asked)
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


@pytest.mark.xdist_group("late failures")
@pytest.mark.parametrize("row", _by_name(row for row in FAILURES if row.before and row.may_be_late))
def test_after_a_heartbeat(stage: Stage, row: Failure) -> None:
    """Once a heartbeat is out, a failure is the stream's one end; in plain text, which has none, still a status."""
    _check(stage, row, LATER, STREAMS)


@pytest.mark.xdist_group("failures")
@pytest.mark.parametrize("row", _by_name(row for row in FAILURES if row.after))
def test_after_the_first_byte(stage: Stage, row: Failure) -> None:
    """In mid-stream a failure is the one end, in the format's own terms, after all that came before it."""
    _check(stage, row, AFTER, STREAMS)


@pytest.mark.xdist_group("late failures")
@pytest.mark.parametrize("row", _by_name(FAILURES))
def test_of_a_whole_answer(stage: Stage, row: Failure) -> None:
    """An answer that is no stream has a status whenever it fails, and no heartbeats, however long it takes."""
    _check(stage, row, EVER, WHOLE_ANSWERS)


def _boto3(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )


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
    with closing(_boto3(stage.function(IMPATIENT).url)) as client:
        message = {"role": "user", "content": f"hi [fault: {script}]"}
        body = {"anthropic_version": "x", "max_tokens": 5, "messages": [message]}
        with pytest.raises(getattr(client.exceptions, RAISED[script])) as caught:
            client.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(body))
    assert caught.value.response["Error"]["Message"].endswith(".")


def _ask_openai(name: str, url: str, prompt: str, *, streams: bool) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        if name == "chat":
            messages: Any = [{"role": "user", "content": prompt}]
            said: Any = client.chat.completions.create(
                model=NOVA, messages=messages, stream=streams
            )
        else:
            said = client.responses.create(model=NOVA, input=prompt, stream=streams)
        list(said)


def _ask_anthropic(model: str, url: str, prompt: str, *, streams: bool) -> None:
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": prompt}]
        list(client.messages.create(model=model, max_tokens=40, messages=messages, stream=streams))


def _count_with_anthropic(model: str, url: str, prompt: str, *, streams: bool) -> None:
    assert not streams
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": prompt}]
        client.messages.count_tokens(model=model, messages=messages)


def _read(stream: Any) -> None:
    with closing(stream):
        list(stream)


def _ask_boto3(name: str, url: str, prompt: str, *, streams: bool) -> None:
    with closing(_boto3(url)) as client:
        messages = [{"role": "user", "content": [{"text": prompt}]}]
        invoked = json.dumps({"messages": messages})
        match name, streams:
            case "converse", True:
                answer = client.converse_stream(modelId=NOVA, messages=messages)
                _read(answer["stream"])
            case "converse", False:
                client.converse(modelId=NOVA, messages=messages)
            case "invoke", True:
                answer = client.invoke_model_with_response_stream(modelId=NOVA, body=invoked)
                _read(answer["body"])
            case "invoke", False:
                client.invoke_model(modelId=NOVA, body=invoked)
            case _:
                client.count_tokens(modelId=CLAUDE, input={"converse": {"messages": messages}})


# By the API: its client in Python and what that is asked, and what it raises for a status and in a stream.
CLIENTS: Mapping[str, tuple[Callable[..., None], str, str, type[Exception]]] = {
    "Chat Completions": (_ask_openai, "chat", "RateLimitError", openai.APIError),
    "Responses": (_ask_openai, "responses", "RateLimitError", openai.APIError),
    OWN_MESSAGES: (_ask_anthropic, CLAUDE, "RateLimitError", anthropic.APIStatusError),
    "Messages of other models": (_ask_anthropic, NOVA, "RateLimitError", anthropic.APIStatusError),
    "Converse": (_ask_boto3, "converse", "ThrottlingException", EventStreamError),
    "InvokeModel": (_ask_boto3, "invoke", "ThrottlingException", EventStreamError),
    "CountTokens": (_ask_boto3, "count", "ThrottlingException", EventStreamError),
    "tokens of other models": (_count_with_anthropic, NOVA, "RateLimitError", anthropic.APIError),
}
CODES = {"throttlingException": "throttling", "ThrottlingException": "throttling"}


@pytest.mark.judge
@pytest.mark.parametrize(
    ("api", "when"),
    [
        pytest.param(
            api,
            when,
            marks=pytest.mark.xdist_group("late failures" if late else "failures"),
        )
        for when, late in ((BEFORE, False), (LATER, True), (AFTER, False), (EVER, True))
        for api in CLIENTS
        if when == EVER or "okens" not in api  # which are counted without a stream
    ],
)
def test_the_apis_own_client_raises(stage: Stage, api: str, when: str) -> None:
    """Whenever it fails, the client that is made for the API raises what it has for that, with the code."""
    ask_it, about, for_status, in_stream = CLIENTS[api]
    late = when in {LATER, EVER}
    has_status = when in {BEFORE, EVER}
    script = f"{LATE}; refuse" if late else "cut" if when == AFTER else "refuse"
    url = stage.function(COMMITTED if late else {}).url
    with pytest.raises((openai.APIError, anthropic.APIError, ClientError)) as caught:
        ask_it(about, url, f"How does a token travel? [fault: {script}]", streams=when != EVER)
    raised = caught.value
    assert type(raised).__name__ == (for_status if has_status else in_stream.__name__)
    if isinstance(raised, openai.APIError):
        code = raised.code
    elif isinstance(raised, anthropic.APIStatusError):
        code = raised.error_code
        assert raised.request_id
    else:
        code = raised.response["Error"]["Code"]
    lost = "modelStreamErrorException" if in_stream is EventStreamError else "connection_lost"
    assert CODES.get(str(code), code) == (lost if when == AFTER else "throttling")


def table() -> str:
    """Return the table for docs/failures.md."""
    titles = ["what goes wrong", "before the first byte", "after it: events", "plain text"]
    titles += ["frames", "whole, of a stream", "whole, of a document", "to try"]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for row in FAILURES:
        cells = [
            _cell(row, "SSE", BEFORE),
            _cell(row, "SSE", AFTER),
            _cell(row, "plain text", AFTER),
            _frames(row),
            _cell(row, "Messages of other models, whole", EVER),
            _document(row),
        ]
        scripts = dict.fromkeys(
            filter(None, (row.before, row.after, row.invoke_after, *(row.document or ())))
        )
        tries = " or ".join(f"`{script}`" for script in scripts)
        lines.append(f"| {' | '.join([row.what, *cells, tries])} |")
    return "\n".join(lines)


def _cell(row: Failure, form: str, when: str) -> str:
    if not row.scripts(form, when):
        return "—"
    end = expected(row, form, when)
    if end == WHOLE or (end == DONE and form in WHOLE_ANSWERS):
        return "whole"
    kind, *code = end.said.split()[:2]
    return " ".join([kind, f"`{code[0]}`"]) if code else f"`{kind}`"


def _frames(row: Failure) -> str:
    """Return the last frame in either operation's stream, where that is one."""
    if not row.after or row.code is None:
        return _cell(row, "InvokeModel's frames", AFTER)
    invoke, converse = (
        expected(row, form, AFTER).said.removesuffix(f" {row.code}")
        for form in ("InvokeModel's frames", "ConverseStream's frames")
    )
    told = f"`{invoke}`" if invoke[0] != "(" else invoke
    return told if invoke == converse else f"{told}, ConverseStream: `{converse}`"


def _document(row: Failure) -> str:
    """Return what comes of a document, and where boto3 reads it itself, if that is another."""
    told = _cell(row, "InvokeModel", EVER)
    return f"{told}, or `{row.boto3s_code}`" if row.boto3s_code else told


def names() -> set[str]:
    """Return rows for docs/failures.md that say what the clients of other APIs know each failure by that has a name."""
    rows = set()
    for row in FAILURES:
        if row.code is not None and row.code != UNLISTED:
            aws, openais, anthropics = (
                expected(row, form, BEFORE).said.split()[-1]
                for form in ("ConverseStream's frames", "Chat Completions", OWN_MESSAGES)
            )
            again = "yes" if row.retryable else "no"
            rows.add(
                f"| `{row.code}` | {row.status} | {again} | `{aws}` | `{openais}` | `{anthropics}` |"
            )
    return rows


def test_the_document_has_the_tables() -> None:
    """docs/failures.md says what these tests prove, row by row, and the other tests that it names are there."""
    document = DOCUMENT.read_text(encoding="utf-8")
    assert table() in document
    assert names() <= set(document.splitlines())
    tests = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", document):
        assert f"def {name}(" in tests
    for name in re.findall(r"`(test_\w+\.py)`", document):
        assert list(TESTS.rglob(name))

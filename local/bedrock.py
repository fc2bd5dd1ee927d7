"""A stand-in for Amazon Bedrock, on the wire what Bedrock is, at the pace of a real model.

It answers `POST /model/{id}/converse-stream` and `POST /model/{id}/invoke-with-response-stream` with real event stream
frames, one token each, `/converse`, `/invoke` and `/count-tokens` with one document, and what is wrong with a request
with Bedrock's own errors. Signatures are not checked. What it
answers is a script (`script.py`); `Bedrock.answer` is the function from a call to its script and may be replaced, as
`fault_script.py` does for callers who choose what goes wrong::

    bedrock = Bedrock(Pace(time_to_first_token=0.6, tokens_per_second=50))
    bedrock.answer = lambda call: [*islice(honest_answer(call), 5), Cut()]

Every call is kept in `Bedrock.calls` with the time at which each of its pieces was sent.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from base64 import b64decode, b64encode
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from zlib import crc32

from local import documents
from local.answers import reply_to
from local.dialects import Event, check_model_id, converse, family_of, of_model
from local.http1 import Exchange, Server
from local.prompts import BedrockError, from_converse
from local.script import Head, Pause, Performance, Script, Send, perform
from relay import eventstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from local.answers import Reply
    from local.dialects import Dialect, Reader
    from local.pace import Pace
    from local.prompts import Prompt

_OPERATIONS = {
    "converse-stream": "ConverseStream",
    "invoke-with-response-stream": "InvokeModelWithResponseStream",
    "converse": "Converse",
    "invoke": "InvokeModel",
    "count-tokens": "CountTokens",
}
_STREAMS = frozenset({"ConverseStream", "InvokeModelWithResponseStream"})
_REQUEST_LIMIT = 25_000_000
_CALLS_KEPT = 1000
# Bedrock pads its events with a varying part of this, so that their sizes tell nothing about the text.
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(slots=True)
class Call:
    """One call of the stand-in.

    Attributes:
        operation: ``ConverseStream``, ``InvokeModelWithResponseStream``, ``Converse``, ``InvokeModel`` or
            ``CountTokens``.
        model_id: decoded.
        headers: names in lower case.
        body: the request's JSON.
        pace: the pace when it came.
        at: when it came, in seconds of `time.monotonic`.
        performance: what was sent and when, and how it ended.
        request_id: the ``x-amzn-RequestId`` of the answer.
    """

    operation: str
    model_id: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    pace: Pace
    at: float = field(default_factory=time.monotonic)
    performance: Performance = field(default_factory=Performance)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def streams(self) -> bool:
        """Whether it is answered with an event stream, or else with one document."""
        return self.operation in _STREAMS


class Bedrock:
    """The stand-in.

    Attributes:
        pace: how fast it answers.
        answer: what it answers a call.
        calls: the latest calls, oldest first.
    """

    def __init__(self, pace: Pace, answer: Callable[[Call], Script] | None = None) -> None:
        self.pace = pace
        self.answer = answer or honest_answer
        self.calls: deque[Call] = deque(maxlen=_CALLS_KEPT)
        self._server = Server(self._handle)

    @property
    def url(self) -> str:
        """Where it is, for ``AWS_ENDPOINT_URL_BEDROCK_RUNTIME``."""
        return f"http://127.0.0.1:{self._server.port}"

    async def start(self, port: int = 0) -> None:
        """Listen."""
        await self._server.listen(port)

    async def close(self) -> None:
        """Stop, in the middle of what is being said."""
        await self._server.close()

    async def _handle(self, exchange: Exchange) -> None:
        try:
            call = await _read_call(exchange, self.pace)
        except BedrockError as error:
            await perform(refusal(error, str(uuid.uuid4())), exchange, Performance())
            return
        self.calls.append(call)
        try:
            script = self.answer(call)
        except BedrockError as error:
            script = refusal(error, call.request_id)
        await perform(script, exchange, call.performance)


def honest_answer(call: Call) -> Script:
    """Return the script of a fitting answer at the call's pace.

    Raises:
        BedrockError: something is wrong with the request.
    """
    return answer_to(prompt_of(call), call)


def prompt_of(call: Call) -> Prompt:
    """Return what a call asks.

    Raises:
        BedrockError: something is wrong with the request.
    """
    read, _ = _schema_of(call)
    try:
        return read(call.body)
    except (AttributeError, KeyError, TypeError) as error:
        raise BedrockError(
            400, "ValidationException", f"Malformed input request: {error}"
        ) from error


def answer_to(prompt: Prompt, call: Call) -> Script:
    """Return the script of a fitting answer to a prompt, in the schema and at the pace of a call."""
    reply = reply_to(prompt)
    if not call.streams:
        return _whole(reply, call)
    _, write = _schema_of(call)
    return _paced(write(reply, call.pace, call.model_id), call)


def refusal(error: BedrockError, request_id: str, *headers: tuple[str, str]) -> Script:
    """Return the script of an error before the stream."""
    body = json.dumps({"message": error.message}).encode()
    yield Head(
        error.status,
        (
            ("x-amzn-RequestId", request_id),
            (
                "x-amzn-ErrorType",
                f"{error.code}:http://internal.amazon.com/coral/com.amazon.bedrock/",
            ),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            *headers,
        ),
    )
    yield Send(body)


def success_head(call: Call) -> Head:
    """Return the head of a stream."""
    headers = [("x-amzn-RequestId", call.request_id), ("Content-Type", eventstream.CONTENT_TYPE)]
    if call.operation == "InvokeModelWithResponseStream":
        headers.append(("X-Amzn-Bedrock-Content-Type", "application/json"))
    return Head(200, tuple(headers))


def frame(event: Event) -> bytes:
    """Return an event as Bedrock sends it: keys sorted, padded, headers in its order."""
    body = event.body
    if event.type == "chunk":
        body = {"bytes": b64encode(_json(body)).decode()}
    padding = _PADDING[: 1 + crc32(_json(body)) % len(_PADDING)]
    headers = {
        ":event-type": event.type,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return eventstream.encode(headers, _json({**body, "p": padding}, sort_keys=True))


def exception_frame(exception_type: str, body: Mapping[str, Any]) -> bytes:
    """Return an exception in mid-stream, such as ``throttlingException``; it may be nameless."""
    headers = {":exception-type": exception_type} if exception_type else {}
    headers |= {":content-type": "application/json", ":message-type": "exception"}
    return eventstream.encode(headers, _json(body))


def error_frame(code: str, message: str) -> bytes:
    """Return an error in mid-stream that the service model does not list."""
    headers = {":message-type": "error", ":error-code": code, ":error-message": message}
    return eventstream.encode(headers, b"")


def _schema_of(call: Call) -> tuple[Reader, Dialect]:
    check_model_id(call.model_id)
    if call.operation in {"ConverseStream", "Converse"}:
        return from_converse, converse
    if call.operation == "CountTokens":
        return _from_count_tokens(call.model_id), converse
    return of_model(call.model_id)


def _from_count_tokens(model_id: str) -> Reader:
    """Return how a request to count is read: it holds one for Converse, or one for InvokeModel in base64."""

    def read(body: Mapping[str, Any]) -> Prompt:
        if not re.match(r"(arn:[^:]+:bedrock:[^:]*::foundation-model/)?[a-z0-9]+\.[^.]+", model_id):
            message = "The provided model doesn't support counting tokens."
            raise BedrockError(400, "ValidationException", message)
        ((kind, asked),) = body["input"].items()
        if kind == "converse":
            return from_converse(asked)
        own, _ = of_model(model_id)
        return own(json.loads(b64decode(asked["body"])))

    return read


def _whole(reply: Reply, call: Call) -> Script:
    """Return the script of an answer that comes in one piece, when the last of its tokens is there."""
    headers: list[tuple[str, str]] = []
    if call.operation == "CountTokens":
        body: dict[str, Any] = {"inputTokens": reply.input_tokens}
    elif call.operation == "Converse":
        body = documents.converse(reply, call.pace, call.model_id)
    else:
        body = documents.FAMILIES[family_of(call.model_id)](reply, call.pace, call.model_id)
        headers = [
            ("X-Amzn-Bedrock-Input-Token-Count", str(reply.input_tokens)),
            ("X-Amzn-Bedrock-Output-Token-Count", str(reply.output_tokens)),
            ("X-Amzn-Bedrock-Invocation-Latency", "1"),
        ]
        if reply.cache_read or reply.cache_write:
            headers += [
                ("X-Amzn-Bedrock-Cache-Read-Input-Token-Count", str(reply.cache_read)),
                ("X-Amzn-Bedrock-Cache-Write-Input-Token-Count", str(reply.cache_write)),
            ]
    data = _json(body)
    if call.operation != "CountTokens":
        yield Pause(call.pace.seconds(reply.output_tokens))
    head = (
        ("x-amzn-RequestId", call.request_id),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(data))),
        *headers,
    )
    yield Head(200, head)
    yield Send(data)


def _paced(events: Iterator[Event], call: Call) -> Script:
    """Return the script of a stream: the first events come with the first token, each later token at its time."""
    yield Pause(call.pace.time_to_first_token)
    yield success_head(call)
    sent = 0
    for event in events:
        if event.tokens and sent:
            yield Pause(call.pace.pause_before(sent))
        sent += event.tokens
        yield Send(frame(event))


async def _read_call(exchange: Exchange, pace: Pace) -> Call:
    request = exchange.request
    model_id, _, operation = request.path.removeprefix("/model/").rpartition("/")
    if (
        not request.path.startswith("/model/")
        or operation not in _OPERATIONS
        or request.method != "POST"
    ):
        raise BedrockError(
            404, "UnknownOperationException", f"the stand-in has no {request.method} {request.path}"
        )
    data = await exchange.read(_REQUEST_LIMIT)
    if data is None:
        raise BedrockError(413, "RequestEntityTooLargeException", "Request body is too large.")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        message = f"Malformed input request: {error}, please reformat your input and try again."
        raise BedrockError(400, "ValidationException", message) from error
    if not isinstance(body, dict):
        message = "Malformed input request: expected type: JSONObject, please reformat your input and try again."
        raise BedrockError(400, "ValidationException", message)
    return Call(_OPERATIONS[operation], unquote(model_id), dict(request.headers), body, pace)


def _json(value: Any, *, sort_keys: bool = False) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)
    # Half of a letter outside the BMP has no UTF-8; with a backslash it is what JSON escapes it to.
    return text.encode(errors="backslashreplace")

"""Callers who choose what goes wrong, and what they see of the answer.

`Caller` is boto3 in front of the stand-in for Bedrock, with a script of faults in the header. `see` asks the function
in one of its wire formats, `WIRES`, with the script in the prompt, and returns the `End` of the answer in the format's
own terms, once all is checked that is so of every answer in that format.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3  # noqa: TID251  # the judge
import pytest
from botocore.config import Config  # noqa: TID251  # the judge

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import IMMEDIATE
from tests.caller import ask
from tests.readers import read_frames, read_named_sse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from local.bedrock import Bedrock
    from tests.caller import Answer

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
ASK = [{"role": "user", "content": [{"text": "Why stream?"}]}]
BODIES = {
    CLAUDE: {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 900,
        "messages": [{"role": "user", "content": "Why stream?"}],
    },
    NOVA: {"messages": ASK},
}
READ_TIMEOUT = 1.0
NOTHING = "delay seconds=0"
LANES = pytest.mark.parametrize("lane", ["converse", "anthropic", "nova"])


@dataclass(slots=True)
class Seen:
    """What boto3 sees of a stream.

    Attributes:
        events: all that it yields; of an invoke stream the documents.
        times: when it yielded each.
        error: what it raises in the end, if anything.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    error: Exception | None = None

    @property
    def deltas(self) -> list[dict[str, Any]]:
        """The pieces of blocks."""
        bodies = [event.get("contentBlockDelta", event) for event in self.events]
        return [body["delta"] for body in bodies if "delta" in body]

    @property
    def text(self) -> str:
        """The text that was said."""
        return "".join(delta.get("text", "") for delta in self.deltas)

    @property
    def names(self) -> list[str]:
        """What the events are called in their schema."""
        return [event.get("type") or next(iter(event)) for event in self.events]


class Caller:
    """boto3, asking a stand-in with a script of faults in the header."""

    def __init__(self, url: str, attempts: int = 1) -> None:
        self.script = ""
        retries = {"total_max_attempts": attempts, "mode": "standard"}
        self.client = boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(retries=retries, read_timeout=READ_TIMEOUT),
        )
        self.client.meta.events.register("before-call.bedrock-runtime", self._add_header)

    def _add_header(self, params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-rivulet-faults"] = self.script

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def see(self, lane: str, script: str) -> Seen:
        """Ask in a lane and read to the end, whatever that is; raises what the call raises."""
        self.script = script
        if lane == "converse":
            stream = self.client.converse_stream(modelId=CLAUDE, messages=ASK)["stream"]
        else:
            model_id = CLAUDE if lane == "anthropic" else NOVA
            body = json.dumps(BODIES[model_id])
            invoke = self.client.invoke_model_with_response_stream
            stream = invoke(modelId=model_id, body=body)["body"]
        seen = Seen()
        with closing(stream):
            try:
                for event in stream:
                    seen.times.append(time.monotonic())
                    chunk = event.get("chunk")
                    seen.events.append(json.loads(chunk["bytes"]) if chunk else event)
            except Exception as error:  # noqa: BLE001  # what it is, is what is looked at
                seen.error = error
        return seen


@contextmanager
def stand_in() -> Iterator[Bedrock]:
    """Give a stand-in without a function."""
    configuration = FunctionConfiguration(provisioned_concurrency=0)
    with LocalFunction(configuration, pace=IMMEDIATE) as function:
        yield function.bedrock


class End(NamedTuple):
    """How an answer ends.

    Attributes:
        said: a status or the last event, a code, and what else the format's clients tell failures apart by.
        retryable: whether to try again; ``None`` where the format does not say.
    """

    said: str
    retryable: bool | None = None


WHOLE = End("whole")
DONE = End("done")


class Wire(NamedTuple):
    """A wire format, as its caller knows it.

    Attributes:
        operation: Bedrock's, of which the answer is made.
        path: where it is to be had; nothing for a direct invocation.
        body: makes the request's body of a prompt.
        end: checks an answer with status 200, and returns its end.
        accept: the media type that is asked for.
    """

    operation: str
    path: str
    body: Callable[[str], Any]
    end: Callable[[Answer], End]
    accept: str = "*/*"


def see(function: LocalFunction, form: str, script: str) -> End:
    """Ask in a format, with a script of faults in the prompt."""
    wire = WIRES[form]
    body = wire.body(f"How does a token travel? [fault: {script}]")
    if not wire.path:
        return _see_directly(function, body)
    answer = ask(function.url, wire.path, body, accept=wire.accept, timeout=60)
    assert answer.headers["x-request-id"] == answer.headers["x-amzn-requestid"]
    assert "arn:" not in answer.body.decode(errors="replace")
    if answer.status == 200:
        return wire.end(answer)
    return next(read for path, read in _REFUSALS if wire.path.startswith(path))(answer)


def _see_directly(function: LocalFunction, event: Any) -> End:
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
    objects = [json.loads(line) for line in body.decode().split("\n") if line]
    end = _end_of_objects(objects, whole=failure is None)
    assert failure == (None if end == DONE else f"Rivulet.{end.said.removeprefix('error ')}")
    return end


def _refusal(answer: Answer) -> End:
    """Read an error before the first byte as Rivulet's own routes tell it."""
    (said,) = answer.objects
    return _status(answer, said["error"], said["error"]["request_id"])


def _status(answer: Answer, error: Mapping[str, Any], request_id: str) -> End:
    assert answer.headers["content-type"] == "application/json"
    assert answer.whole
    assert request_id == answer.headers["x-request-id"]
    assert error["message"]
    if answer.status in {429, 503}:
        assert int(answer.headers["retry-after"]) > 0
    return End(f"{answer.status} {error['code']}", _retryable(error))


def _retryable(error: Mapping[str, Any]) -> bool:
    retryable = error["retryable"]
    assert isinstance(retryable, bool)
    return retryable


def _aws_refusal(answer: Answer) -> End:
    """Read one as an AWS SDK does, which looks at a header, and for the message beside the error."""
    end = _refusal(answer)
    (said,) = answer.objects
    assert said["message"] == said["error"]["message"]
    return End(f"{end.said} {answer.headers['x-amzn-errortype']}", end.retryable)


def _sdk_refusal(answer: Answer) -> End:
    """Read one as the clients do that ask a header whether to try again."""
    end = _refusal(answer)
    assert answer.headers["x-should-retry"] == str(end.retryable).lower()
    return end


def _openai_refusal(answer: Answer) -> End:
    end = _sdk_refusal(answer)
    (said,) = answer.objects
    return End(f"{end.said} {said['error']['type']}", end.retryable)


def _anthropic_refusal(answer: Answer) -> End:
    (said,) = answer.objects
    error = said["error"]
    end = _status(answer, error, said["request_id"])
    assert answer.headers["x-should-retry"] == str(end.retryable).lower()
    assert answer.headers["request-id"] == said["request_id"]
    assert (said["type"], error["details"]) == ("error", {"error_code": error["code"]})
    return End(f"{end.said} {error['type']}", end.retryable)


# Who reads an error before the first byte, by where the path begins.
_REFUSALS = (
    ("/model/", _aws_refusal),
    ("/v1/messages", _anthropic_refusal),
    ("/v1/", _openai_refusal),
    ("/ui/", _sdk_refusal),
    ("/", _refusal),
)


def _end_of_object_stream(answer: Answer) -> End:
    return _end_of_objects(answer.objects, whole=answer.whole)


def _end_of_objects(objects: list[Any], *, whole: bool) -> End:
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
        return DONE
    assert not whole, "the invocation counts as failed"
    assert end["message"]
    return End(f"error {end['code']}", _retryable(end))


def _end_of_text(answer: Answer) -> End:
    found = re.search(r"\n\[(\w+): [^\n]+\]\n\Z", answer.body.decode())
    assert answer.whole is (found is None)
    return End(f"[{found[1]}]") if found else WHOLE


def _end_of_frames(answer: Answer) -> End:
    """Check that at most the last frame is a failure; one that Bedrock did not send has a code, too."""
    *pieces, (headers, payload) = read_frames([answer.body])
    assert {headers[":message-type"] for headers, _ in pieces} <= {"event"}
    kind = headers[":message-type"]
    assert answer.whole is (kind == "event")
    if kind == "event":
        return WHOLE
    name = headers.get(":exception-type" if kind == "exception" else ":error-code") or "(no name)"
    body = json.loads(payload or b"{}")
    assert body.get("message") or headers.get(":error-message")
    code = body.get("originalMessage", "")
    return End(f"{name} {code}" if re.fullmatch("[a-z_]+", code) else name)


def _end_of_chat(answer: Answer) -> End:
    """Check Chat Completions: ``[DONE]`` after the one finish reason there is, or an error after none."""
    *told, (_, end) = read_named_sse([answer.body])
    assert all(name == "message" for name, _ in told)
    chunks = [json.loads(data) for _, data in told]
    assert not any("error" in chunk for chunk in chunks)
    request_id = answer.headers["x-request-id"]
    assert {chunk["id"] for chunk in chunks} <= {f"chatcmpl-{request_id}"}
    finished = [reason for chunk in chunks if (reason := chunk["choices"][0]["finish_reason"])]
    if end == "[DONE]":
        assert answer.whole
        assert len(finished) == 1
        assert chunks[-1]["choices"][0]["finish_reason"]
        return DONE
    assert not answer.whole
    assert finished == []
    return _openai_error(json.loads(end)["error"], request_id if chunks else None)


def _openai_error(error: Mapping[str, Any], request_id: str | None) -> End:
    """Read the object that OpenAI's clients raise; it has the request's id if the stream has begun."""
    assert error["message"]
    assert error.get("request_id") == request_id
    return End(f"error {error['code']} {error['type']}", _retryable(error))


_RESPONSE_ENDS = {"response.completed", "response.incomplete", "response.failed"}


def _end_of_responses(answer: Answer) -> End:
    """Check Responses: the last event, and no other, has the answer's state, whose parts are all closed."""
    events = [(name, json.loads(data)) for name, data in read_named_sse([answer.body])]
    names = [name for name, _ in events]
    assert names == [event["type"] for _, event in events]
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    assert [name for name in names if name in _RESPONSE_ENDS] == names[-1:]
    added, done = (names.count(f"response.content_part.{state}") for state in ("added", "done"))
    assert added == done
    end = events[-1][1]
    assert f"response.{end['response']['status']}" == names[-1]
    if names[-1] != "response.failed":
        assert answer.whole
        assert end["response"]["error"] is None
        return DONE
    assert not answer.whole
    assert end["response"]["error"]["message"] == end["error"]["message"]
    request_id = answer.headers["x-request-id"] if len(events) > 1 else None
    return _openai_error(end["error"], request_id)


def _end_of_messages(answer: Answer, *, closes_blocks: bool) -> End:
    """Check Messages: ``message_stop`` or ``error``, and nothing after it."""
    events = [(name, json.loads(data)) for name, data in read_named_sse([answer.body])]
    assert all(name == event["type"] for name, event in events)
    names = [name for name, _ in events if name != "ping"]
    assert [name for name in names if name in {"message_stop", "error"}] == names[-1:]
    assert names.count("message_start") == (1 if len(names) > 1 else 0)
    if closes_blocks or names[-1] == "message_stop":
        assert names.count("content_block_start") == names.count("content_block_stop")
    end = next(event for name, event in reversed(events) if name != "ping")
    if end["type"] == "message_stop":
        assert answer.whole
        return DONE
    assert not answer.whole
    error = end["error"]
    assert error["message"]
    assert error["details"] == {"error_code": error["code"]}
    if len(names) > 1:
        assert end["request_id"] == answer.headers["x-request-id"]
    return End(f"error {error['code']} {error['type']}", _retryable(error))


def _end_of_ui(answer: Answer) -> End:
    """Check the UI message stream: ``finish`` or ``error`` once all parts are closed, then ``[DONE]``."""
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    *told, last = read_named_sse([answer.body])
    assert last == ("message", "[DONE]")
    chunks = [json.loads(data) for _, data in told]
    types = [chunk["type"] for chunk in chunks]
    assert [type_ for type_ in types if type_ in {"finish", "error"}] == types[-1:]
    assert types.count("text-start") == types.count("text-end")
    if len(chunks) > 1:
        about = chunks[0]["messageMetadata"]
        assert (types[0], about["requestId"]) == ("start", answer.headers["x-request-id"])
    if types[-1] == "finish":
        assert answer.whole
        return DONE
    assert not answer.whole
    code, colon, message = chunks[-1]["errorText"].partition(": ")
    assert colon
    assert message
    return End(f"error {code}")


def _end_of_document(answer: Answer, is_complete: Callable[[Any], bool]) -> End:
    """Check an answer in one piece: with status 200 all of it is there, and nothing else is sent: no heartbeats."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.whole
    assert answer.body.startswith(b"{")
    assert is_complete(json.loads(answer.body))
    return DONE


def _whole(is_complete: Callable[[Any], bool]) -> Callable[[Answer], End]:
    return partial(_end_of_document, is_complete=is_complete)


_LIMIT = 40  # tokens, to have little to do
_LIMITED: Any = {"max_tokens": _LIMIT}
_STREAMED: Any = {**_LIMITED, "stream": True}


def _user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def _prompt(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "inferenceConfig": {"maxTokens": _LIMIT}}


def _converse(prompt: str) -> dict[str, Any]:
    return {"messages": _user([{"text": prompt}]), "inferenceConfig": {"maxTokens": _LIMIT}}


def _invoke(prompt: str) -> dict[str, Any]:
    return {"anthropic_version": "x", "max_tokens": _LIMIT, "messages": _user(prompt)}


def _to_count(prompt: str) -> dict[str, Any]:
    return {"input": {"converse": {"messages": _user([{"text": prompt}])}}}


def _messages(model: str, **more: Any) -> Callable[[str], dict[str, Any]]:
    """Return what makes a request of a prompt to Chat Completions or to Messages, which agree so far."""
    return lambda prompt: {"model": model, "messages": _user(prompt), **more}


def _response(*, stream: bool) -> Callable[[str], dict[str, Any]]:
    asked = {"model": NOVA, "max_output_tokens": _LIMIT, "stream": stream}
    return lambda prompt: {"input": prompt, **asked}


def _ui(prompt: str) -> dict[str, Any]:
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": prompt}]}
    return {"messages": [message], "maxOutputTokens": _LIMIT}


_STREAM, _CHAT, _RESPONSES = "/stream", "/v1/chat/completions", "/v1/responses"
_MESSAGES, _COUNT = "/v1/messages", "/v1/messages/count_tokens"
_MODEL = f"/model/{CLAUDE}"
_INVOKE_STREAM = f"{_MODEL}/invoke-with-response-stream"
_SSE, _NDJSON = "text/event-stream", "application/x-ndjson"
_CONVERSES, _INVOKES = "ConverseStream", "InvokeModelWithResponseStream"
_OWN = partial(_end_of_messages, closes_blocks=False)
_OTHERS = partial(_end_of_messages, closes_blocks=True)

STREAMS: Mapping[str, Wire] = {
    "SSE": Wire(_CONVERSES, _STREAM, _prompt, _end_of_object_stream, _SSE),
    "NDJSON": Wire(_CONVERSES, _STREAM, _prompt, _end_of_object_stream, _NDJSON),
    "plain text": Wire(_CONVERSES, _STREAM, _prompt, _end_of_text, "text/plain"),
    "SSE of chunks": Wire(_INVOKES, _INVOKE_STREAM, _invoke, _end_of_object_stream, _SSE),
    "NDJSON of chunks": Wire(_INVOKES, _INVOKE_STREAM, _invoke, _end_of_object_stream, _NDJSON),
    "InvokeModel's frames": Wire(_INVOKES, _INVOKE_STREAM, _invoke, _end_of_frames),
    "ConverseStream's frames": Wire(
        _CONVERSES, f"{_MODEL}/converse-stream", _converse, _end_of_frames
    ),
    "direct invocation": Wire(_CONVERSES, "", _prompt, _end_of_object_stream),
    "Chat Completions": Wire(_CONVERSES, _CHAT, _messages(NOVA, **_STREAMED), _end_of_chat),
    "Responses": Wire(_CONVERSES, _RESPONSES, _response(stream=True), _end_of_responses),
    "Messages of Anthropic's models": Wire(
        _INVOKES, _MESSAGES, _messages(CLAUDE, **_STREAMED), _OWN
    ),
    "Messages of other models": Wire(_CONVERSES, _MESSAGES, _messages(NOVA, **_STREAMED), _OTHERS),
    "UI messages": Wire(_CONVERSES, "/ui/chat", _ui, _end_of_ui),
}

_IS_CONVERSES = _whole(lambda said: said["stopReason"] and said["usage"])
_IS_COMPLETION = _whole(lambda said: said["choices"][0]["finish_reason"])
_IS_RESPONSE = _whole(lambda said: said["status"] in {"completed", "incomplete"})
_IS_MESSAGE = _whole(lambda said: said["type"] == "message" and said["stop_reason"])
_IS_COUNT = _whole(lambda said: [count > 0 for count in said.values()] == [True])

WHOLE_ANSWERS: Mapping[str, Wire] = {
    "Converse": Wire("Converse", f"{_MODEL}/converse", _converse, _IS_CONVERSES),
    "InvokeModel": Wire("InvokeModel", f"{_MODEL}/invoke", _invoke, _IS_MESSAGE),
    "CountTokens": Wire("CountTokens", f"{_MODEL}/count-tokens", _to_count, _IS_COUNT),
    "Chat Completions, whole": Wire(_CONVERSES, _CHAT, _messages(NOVA, **_LIMITED), _IS_COMPLETION),
    "Responses, whole": Wire(_CONVERSES, _RESPONSES, _response(stream=False), _IS_RESPONSE),
    "Messages of Anthropic's models, whole": Wire(
        "InvokeModel", _MESSAGES, _messages(CLAUDE, **_LIMITED), _IS_MESSAGE
    ),
    "Messages of other models, whole": Wire(
        _CONVERSES, _MESSAGES, _messages(NOVA, **_LIMITED), _IS_MESSAGE
    ),
    "tokens of Anthropic's models": Wire("CountTokens", _COUNT, _messages(CLAUDE), _IS_COUNT),
    "tokens of other models": Wire("CountTokens", _COUNT, _messages(NOVA), _IS_COUNT),
}

WIRES: Mapping[str, Wire] = {**STREAMS, **WHOLE_ANSWERS}

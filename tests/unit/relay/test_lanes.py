# ruff: noqa: TID251  # botocore's service model is the list to be complete against

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest

from relay.errors import UpstreamError, transport_error
from relay.events import (
    BlockEnd,
    Chunk,
    Citation,
    Done,
    Event,
    Failure,
    Image,
    ImageStart,
    Reasoning,
    ReasoningSignature,
    RedactedReasoning,
    Start,
    Text,
    ToolInput,
    ToolResult,
    ToolResultStart,
    ToolStart,
    Unknown,
)
from relay.lanes import converse_events, invoke_events
from tests.frames import (
    LAST_CHUNK,
    MESSAGE_START,
    MESSAGE_STOP,
    METADATA,
    METRICS,
    USAGE,
    chunk,
    delta,
    end_block,
    event,
    exception,
    frames,
    start_block,
    unmodelled_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.eventstream import Frame

START = Start("the.model", "the-request")
DONE = Done("end_turn", USAGE, {"metrics": {"latencyMs": 900}})
INVOKE_DONE = Done(
    None, {"inputTokens": 3, "outputTokens": 5}, {"metrics": {"invocationLatency": 9}}
)

TOOL = {"toolUseId": "t1", "name": "look", "type": "server_tool_use"}
TOOL_RESULT = {"toolUseId": "t1", "type": "x", "status": "success"}
CITATION = {"title": "T", "location": {"web": {"url": "https://example.com"}}}
PIECES: dict[bytes, Event] = {
    delta(0, text="Grüße 🦦"): Text(0, "Grüße 🦦"),
    delta(0, text=""): Text(0, ""),
    delta(7, text="x"): Text(7, "x"),
    event("contentBlockDelta", {"delta": {"text": "x"}}): Text(0, "x"),
    event("contentBlockDelta", rb'{"delta":{"text":"\ud83e"},"contentBlockIndex":1}'): Text(
        1, "\ud83e"
    ),
    delta(0, reasoningContent={"text": "hm"}): Reasoning(0, "hm"),
    delta(0, reasoningContent={"signature": "c2ln"}): ReasoningSignature(0, "c2ln"),
    delta(0, reasoningContent={"redactedContent": "AAEC"}): RedactedReasoning(0, "AAEC"),
    start_block(1, toolUse=TOOL): ToolStart(1, TOOL),
    delta(1, toolUse={"input": '{"q":'}): ToolInput(1, '{"q":'),
    delta(1, toolUse={"input": ""}): ToolInput(1, ""),
    start_block(2, toolResult=TOOL_RESULT): ToolResultStart(2, TOOL_RESULT),
    delta(2, toolResult=[{"text": "x"}, {"json": {"a": 1}}]): ToolResult(
        2, [{"text": "x"}, {"json": {"a": 1}}]
    ),
    start_block(3, image={"format": "png"}): ImageStart(3, "png"),
    delta(3, image={"source": {"bytes": "AAEC"}}): Image(3, {"source": {"bytes": "AAEC"}}),
    delta(3, image={"error": {"message": "no"}}): Image(3, {"error": {"message": "no"}}),
    delta(4, citation=CITATION): Citation(4, CITATION),
    end_block(4): BlockEnd(4),
    event("contentBlockStop", {}): BlockEnd(0),
}
# What nobody listed, and what is not as it is listed: passed on whole.
UNKNOWN = (
    event("newEvent", {"a": 1}),
    event("newEvent", b"\x00 no JSON"),
    event("chunk", {"bytes": "e30="}),
    delta(0, newDelta={"a": 1}),
    delta(0),
    delta(0, text="a", citation=CITATION),
    delta(0, reasoningContent={"text": "a"}, text="b"),
    delta(0, reasoningContent={"newReasoning": "a"}),
    delta(0, reasoningContent={"text": "a", "signature": "b"}),
    delta(0, reasoningContent={}),
    delta(0, reasoningContent="a"),
    start_block(0, newStart={}),
    start_block(0),
    event("contentBlockDelta", {"delta": None}),
    event("contentBlockDelta", {}),
    event("contentBlockStart", {"start": [1]}),
    delta(0, text=5),
    delta(0, text=None),
    delta(0, toolUse={}),
    delta(0, toolUse=None),
    delta(0, toolUse={"input": {"a": 1}}),
    delta(0, toolUse={"input": "a", "newField": 1}),
    delta(0, toolUse={"newField": "a"}),
    delta(0, toolUse="x"),
    delta(0, citation="x"),
    delta(0, image=None),
    delta(0, toolResult={}),
    delta(0, reasoningContent={"redactedContent": 1}),
    start_block(0, toolUse=None),
    start_block(0, toolResult="x"),
    start_block(0, image={}),
    start_block(0, image={"format": 1}),
    event("contentBlockDelta", {"contentBlockIndex": "0", "delta": {"text": "x"}}),
    event("contentBlockStop", {"contentBlockIndex": None}),
)
# The exceptions of both streams, in the spelling of the stream: status, code, whether to retry.
EXCEPTIONS = {
    "internalServerException": (500, "internal_server", True),
    "modelStreamErrorException": (424, "model_stream_error", True),
    "validationException": (400, "validation", False),
    "throttlingException": (429, "throttling", True),
    "modelTimeoutException": (408, "model_timeout", True),
    "serviceUnavailableException": (503, "service_unavailable", True),
}


def converse(*data: bytes, then: UpstreamError | None = None) -> list[Event]:
    return list(converse_events(_stream(data, then), model="the.model", request_id="the-request"))


def invoke(*data: bytes, then: UpstreamError | None = None) -> list[Event]:
    return list(invoke_events(_stream(data, then), model="the.model", request_id="the-request"))


def _stream(data: tuple[bytes, ...], then: UpstreamError | None) -> Iterator[Frame]:
    yield from frames(*data)
    if then is not None:
        raise then


def _members(operation: str) -> dict[str, Any]:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    members: dict[str, Any] = (
        model.operation_model(operation)
        .get_event_stream_output()
        .members  # the union of its events
    )
    return members


def _code(failure: Event) -> str:
    assert isinstance(failure, Failure)
    return failure.error.code


@pytest.mark.parametrize("data", PIECES)
def test_each_event_has_its_meaning(data: bytes) -> None:
    """Every event that Bedrock's model lists becomes the event of that name, with what it carries."""
    assert converse(MESSAGE_START, data, MESSAGE_STOP, METADATA) == [START, PIECES[data], DONE]


@pytest.mark.parametrize("data", UNKNOWN)
def test_what_is_not_listed_is_passed_on_whole(data: bytes) -> None:
    """An event, a member or a value that nobody listed loses nothing, and does not end the stream."""
    (frame,) = frames(data)
    unknown = Unknown(frame.headers[":event-type"], frame.payload, data)
    assert converse(MESSAGE_START, data, MESSAGE_STOP, METADATA) == [START, unknown, DONE]


def test_every_event_of_bedrocks_model_is_handled() -> None:
    """A member that a new botocore lists and the relay does not know is noticed here."""
    members = _members("ConverseStream")
    events = {name for name, shape in members.items() if not shape.metadata.get("exception")}
    assert events == {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
    handled: dict[str, set[str]] = {"start": set(), "delta": set(), "reasoningContent": set()}
    for data in PIECES:
        body = json.loads(frames(data)[0].payload)
        for union in handled.keys() & body.keys():
            handled[union] |= body[union].keys()
        handled["reasoningContent"] |= body.get("delta", {}).get("reasoningContent", {}).keys()
    deltas = members["contentBlockDelta"].members["delta"].members
    assert handled["start"] == set(members["contentBlockStart"].members["start"].members)
    assert handled["delta"] == set(deltas)
    assert handled["reasoningContent"] == set(deltas["reasoningContent"].members)
    # Of these two only the one member is told.
    assert set(deltas["toolUse"].members) == {"input"}
    assert set(members["contentBlockStart"].members["start"].members["image"].members) == {"format"}
    assert set(members["messageStart"].members) == {"role"}


@pytest.mark.parametrize("operation", ["ConverseStream", "InvokeModelWithResponseStream"])
def test_every_exception_of_bedrocks_model_is_listed(operation: str) -> None:
    """An exception that a new botocore lists and the relay does not know is noticed here."""
    listed = {n for n, s in _members(operation).items() if s.metadata.get("exception")}
    assert listed <= EXCEPTIONS.keys()


@pytest.mark.parametrize("name", EXCEPTIONS)
@pytest.mark.parametrize("lane", [converse, invoke])
def test_an_exception_is_the_end(name: str, lane: Any) -> None:
    """Each listed exception ends the stream with its code and whether to retry, and keeps its frame (fact 10)."""
    status, code, retryable = EXCEPTIONS[name]
    data = exception(name, {"message": "arn:aws:bedrock:us-east-1:123456789012:x broke"})
    piece = delta(text="x") if lane is converse else chunk({})
    start, _, end, *rest = lane(piece, data, MESSAGE_STOP, METADATA, LAST_CHUNK)
    assert (start, rest) == (START, [])
    assert (end.error.status, end.error.code, end.error.retryable) == (status, code, retryable)
    assert (end.frame, end.usage) == (data, {})
    assert "123456789012" not in end.error.message


@pytest.mark.parametrize("lane", [converse, invoke])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (exception("quiteNewException", {"message": "x"}), "quite_new"),
        (exception("quiteNewException", b"no JSON"), "quite_new"),
        (exception("validationException", {"message": None}), "validation"),
        (exception("validationException", b"[]"), "validation"),
        (exception("throttlingException", b""), "throttling"),
        (exception("", {}), "unknown"),
        (exception("no name/at all", {}), "unknown"),
        (unmodelled_error("InternalFailure", "it broke"), "internal_failure"),
        (unmodelled_error("500", "it broke"), "unknown"),
        (unmodelled_error("", ""), "unknown"),
    ],
)
def test_an_unlisted_exception_is_one_too(lane: Any, data: bytes, code: str) -> None:
    """An exception that nobody listed, and an error that is no exception, end the stream typed as well (fact 14)."""
    (end,) = lane(data)
    assert (_code(end), end.frame) == (code, data)


def test_a_first_exception_is_not_preceded_by_a_start() -> None:
    """Where nothing was begun, the failure is all there is: a status can still tell of it."""
    (end,) = converse(exception("throttlingException", {"message": "slow down"}))
    assert _code(end) == "throttling"


def test_validations_words_are_told_without_names() -> None:
    """What Bedrock says about the caller's own request is worth telling, but not the names of resources."""
    said = (
        "messages.1: unexpected role in arn:aws:bedrock:us-east-1:123456789012:inference-profile/x"
    )
    (end,) = converse(exception("validationException", {"message": said}))
    assert isinstance(end, Failure)
    assert "messages.1: unexpected role in …" in end.error.message
    assert "12345" not in end.error.message


@pytest.mark.parametrize("error", [None, transport_error("connection_lost")])
def test_a_stream_without_its_end_is_a_failure(error: UpstreamError | None) -> None:
    """However politely the connection ended: without stop reason and usage the answer is not whole (fact 15)."""
    code = error.code if error else "truncated"
    whole = [MESSAGE_START, delta(text="x"), end_block(), MESSAGE_STOP, METADATA]
    for cut in range(len(whole)):
        *before, end = converse(*whole[:cut], then=error)
        assert _code(end) == code
        assert not any(isinstance(e, Done | Failure) for e in before)
        assert (START in before) == (cut > 0)
    assert converse(*whole, then=error)[-1] == DONE


def test_usage_that_came_is_told_with_a_failure() -> None:
    """Metadata without a stop reason: the answer was cut, but its cost is known."""
    (*_, end) = converse(MESSAGE_START, METADATA)
    assert isinstance(end, Failure)
    assert end.usage == USAGE


def test_metadata_may_come_before_the_stop() -> None:
    """The order of the last two does not matter."""
    assert converse(METADATA, MESSAGE_STOP) == [START, DONE]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_exception_is_told_wherever_it_comes(at: int) -> None:
    """Even after stop reason and usage: what Bedrock itself reports is not hidden, and is the only end."""
    stream = [MESSAGE_START, delta(text="x"), MESSAGE_STOP, METADATA]
    stream.insert(at, exception("internalServerException", {"message": "x"}))
    *before, end = converse(*stream)
    assert isinstance(end, Failure)
    assert end.usage == (USAGE if at == 4 else {})
    assert not any(isinstance(e, Done | Failure) for e in before)


def test_events_after_the_end_are_passed_on_before_it() -> None:
    """What still comes after the metadata has its place before the end, which is the last."""
    late = event("late", {})
    (frame,) = frames(late)
    assert converse(MESSAGE_STOP, METADATA, late) == [
        START,
        Unknown("late", frame.payload, late),
        DONE,
    ]


@pytest.mark.parametrize("name", ["contentBlockStart", "contentBlockDelta", "contentBlockStop"])
@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"1", b"\xff", b"NaN", b"[" * 100_000])
def test_an_event_that_is_no_object_is_damage(name: str, payload: bytes) -> None:
    """A frame whose checksum holds but whose payload is no JSON object ends the stream as damaged."""
    start, end = converse(event(name, payload), MESSAGE_STOP, METADATA)
    assert (start, _code(end)) == (START, "corrupt")


@pytest.mark.parametrize(("name", "other"), [("messageStop", METADATA), ("metadata", MESSAGE_STOP)])
def test_an_end_that_is_no_object_is_damage(name: str, other: bytes) -> None:
    """The end is not made up from what cannot be read."""
    assert _code(converse(other, event(name, b"{"))[-1]) == "corrupt"


@pytest.mark.parametrize(
    ("stop", "metadata", "done"),
    [
        ({"stopReason": "quite_new"}, {"usage": USAGE}, Done("quite_new", USAGE)),
        ({}, {}, Done(None, {})),
        ({"stopReason": 5}, {"usage": "x"}, Done(None, {})),
        ({"stopReason": None}, {"usage": None}, Done(None, {})),
        (
            {"stopReason": "x", "additionalModelResponseFields": {"a": [1]}},
            {
                "usage": {**USAGE, "cacheDetails": [{"ttl": "1h", "inputTokens": 1}]},
                "trace": {"guardrail": {}},
                "serviceTier": {"type": "flex"},
                "quiteNew": 1,
                "p": "abc",
            },
            Done(
                "x",
                {**USAGE, "cacheDetails": [{"ttl": "1h", "inputTokens": 1}]},
                {
                    "additionalModelResponseFields": {"a": [1]},
                    "trace": {"guardrail": {}},
                    "serviceTier": {"type": "flex"},
                    "quiteNew": 1,
                },
            ),
        ),
    ],
)
def test_the_end_says_what_bedrock_said(stop: Any, metadata: Any, done: Done) -> None:
    """Stop reason, usage and all the rest pass through, unseen values included (facts 4 and 5), padding aside."""
    assert converse(event("messageStop", stop), event("metadata", metadata)) == [START, done]


def test_events_are_yielded_as_they_come() -> None:
    """An event is there before the next frame is asked for."""
    stream = [MESSAGE_START, delta(text="x"), MESSAGE_STOP, METADATA]
    asked = 0

    def one_by_one() -> Iterator[Frame]:
        nonlocal asked
        for frame in frames(*stream):
            asked += 1
            yield frame

    events = converse_events(one_by_one(), model="m", request_id="r")
    assert (next(events), asked) == (Start("m", "r"), 1)
    assert (next(events), asked) == (Text(0, "x"), 2)


ANTHROPIC = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüße"}},
]


def test_chunks_are_the_models_own_words() -> None:
    """Each chunk is the document as the model wrote it, in the frame as it came, whatever is beside it."""
    data = [chunk(ANTHROPIC[0], p="ab"), chunk(b'{ "a":\n1 }', newField=1)]
    expected = [
        Chunk(json.dumps(ANTHROPIC[0], ensure_ascii=False).encode(), data[0]),
        Chunk(b'{ "a":\n1 }', data[1]),
    ]
    last = json.dumps({"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS})
    assert invoke(*data, LAST_CHUNK) == [
        START,
        *expected,
        Chunk(last.encode(), LAST_CHUNK),
        INVOKE_DONE,
    ]


def test_invoke_counts_are_told_under_converses_names() -> None:
    """All counts of the last chunk, cached ones too, under the names that Converse has for them (fact 12)."""
    metrics = {**METRICS, "cacheReadInputTokenCount": 1, "cacheWriteInputTokenCount": 2, "new": 7}
    (*_, done) = invoke(chunk({"amazon-bedrock-invocationMetrics": metrics}))
    assert done == Done(
        None,
        {
            "inputTokens": 3,
            "outputTokens": 5,
            "cacheReadInputTokens": 1,
            "cacheWriteInputTokens": 2,
        },
        {"metrics": {"invocationLatency": 9, "new": 7}},
    )


@pytest.mark.parametrize(
    "document",
    [
        b"plain text",
        b"\xff\x00",
        b"",
        b'"amazon-bedrock-invocationMetrics"',
        b'["amazon-bedrock-invocationMetrics"]',
        b'{"amazon-bedrock-invocationMetrics":5}',
        b'{"text":"amazon-bedrock-invocationMetrics"}',
        b'{"text":{"amazon-bedrock-invocationMetrics":{"inputTokenCount":1}}}',
        b'{"amazon-bedrock-invocationMetrics":{}',
        b"[" * 100_000 + b'"amazon-bedrock-invocationMetrics"',
    ],
)
def test_a_document_that_is_no_end_is_passed_on(document: bytes) -> None:
    """Any bytes are a document; only the metrics as the document's own member are the end."""
    data = chunk(document)
    assert invoke(data, LAST_CHUNK)[1] == Chunk(document, data)
    assert _code(invoke(data)[-1]) == "truncated"


def test_metrics_without_counts_are_the_end_too() -> None:
    """It is the metrics' coming that says the stream is whole, not what they count."""
    (*_, done) = invoke(chunk({"amazon-bedrock-invocationMetrics": {}}))
    assert done == Done(None, {}, {"metrics": {}})


@pytest.mark.parametrize("body", [{}, {"bytes": 5}, {"bytes": "no base64!"}, [], b"x", b""])
def test_a_chunk_without_bytes_is_damage(body: Any) -> None:
    """A chunk that carries no base64 ends the stream as damaged."""
    _, end = invoke(event("chunk", body), LAST_CHUNK)
    assert _code(end) == "corrupt"


def test_unknown_events_between_chunks_are_passed_on() -> None:
    """An event that the model does not list is not lost."""
    new = event("newEvent", b"\x00")
    assert invoke(new, LAST_CHUNK)[1] == Unknown("newEvent", b"\x00", new)


@pytest.mark.parametrize("error", [None, transport_error("read_timeout")])
def test_an_invoke_stream_without_metrics_is_a_failure(error: UpstreamError | None) -> None:
    """Without the metrics the last chunk has not been seen; after them nothing is missing."""
    assert _code(invoke(chunk({}), then=error)[-1]) == (error.code if error else "truncated")
    assert _code(invoke(then=error)[0]) == (error.code if error else "truncated")
    assert invoke(chunk({}), LAST_CHUNK, then=error)[-1] == INVOKE_DONE


def test_an_exception_after_the_metrics_is_told() -> None:
    """What Bedrock itself reports is not hidden, with the usage so far."""
    data = exception("internalServerException", {"message": "x"})
    end = invoke(LAST_CHUNK, data)[-1]
    assert isinstance(end, Failure)
    assert (end.frame, end.usage) == (data, {"inputTokens": 3, "outputTokens": 5})


def test_base64_is_that_of_the_standard() -> None:
    """Padding and both odd letters are read."""
    document = b"\xfb\xff\xfe"
    assert b64encode(document) == b"+//+"
    assert invoke(event("chunk", {"bytes": "+//+"}))[1] == Chunk(
        document, event("chunk", {"bytes": "+//+"})
    )

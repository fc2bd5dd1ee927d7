from __future__ import annotations

import json
import math
from base64 import b64encode
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import bedrock
from relay.errors import bedrock_error, transport_error
from relay.events import (
    BlockEnd,
    Chunk,
    Citation,
    Done,
    Event,
    Failure,
    Forwarded,
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
from relay.formats.vercel_ui_messages import Document
from relay.formats.vercel_ui_stream import encode
from relay.grammar import well_formed
from relay.lanes import converse_events
from relay.watchdog import Watchdog
from streaming_runtime import ResponseClosed
from tests.strategies.streams import Raw, Stream, streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

START = Start("a.model", "r1")
WEATHER = {"toolUseId": "t1", "name": "get_weather"}
SEARCH = {"toolUseId": "s1", "name": "nova_grounding", "type": "server_tool_use"}
STARTED = [
    {
        "type": "start",
        "messageId": "msg-r1",
        "messageMetadata": {"model": "a.model", "requestId": "r1"},
    },
    {"type": "start-step"},
]
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
COUNTED = {
    "inputTokens": 3,
    "inputTokenDetails": {"noCacheTokens": 3, "cacheReadTokens": 0, "cacheWriteTokens": 0},
    "outputTokens": 5,
    "outputTokenDetails": {},
    "totalTokens": 8,
}
DONE = Done("end_turn", USAGE)


def _chunks(data: bytes) -> list[Any]:
    """Return the JSON of each server-sent event, and ``[DONE]`` as it is."""
    *lines, rest = data.decode().split("\n\n")
    assert rest == ""
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    said = [line.removeprefix("data: ") for line in lines]
    return [text if text == "[DONE]" else json.loads(text) for text in said]


def _told(*events: Event, **how: Any) -> list[Any]:
    """Return what is told of events after the beginning."""
    chunks = _chunks(b"".join(encode([START, *events], **how)))
    assert chunks[1] == {"type": "start-step"}
    return chunks[2:]


def _aside(**data: Any) -> dict[str, Any]:
    return {"type": "data-bedrock", "data": data, "transient": True}


def test_a_whole_answer_in_its_exact_bytes() -> None:
    """Text, a tool call and the end: each event one write, each write whole events."""
    events: list[Event] = [
        START,
        Text(0, "Grüße"),
        Text(0, ' "\n'),
        BlockEnd(0),
        ToolStart(1, WEATHER),
        ToolInput(1, '{"city":'),
        ToolInput(1, '"Paris"}'),
        BlockEnd(1),
        Done("tool_use", USAGE),
    ]
    counted = json.dumps(COUNTED, separators=(",", ":"))
    expected = [
        (
            'data: {"type":"start","messageId":"msg-r1","messageMetadata":{"model":"a.model","requestId":"r1"}}\n\n'
            'data: {"type":"start-step"}\n\n'
        ),
        (
            'data: {"type":"text-start","id":"text-1"}\n\n'
            'data: {"type":"text-delta","id":"text-1","delta":"Grüße"}\n\n'
        ),
        'data: {"type":"text-delta","id":"text-1","delta":" \\"\\n"}\n\n',
        'data: {"type":"text-end","id":"text-1"}\n\n',
        'data: {"type":"tool-input-start","toolCallId":"t1","toolName":"get_weather"}\n\n',
        'data: {"type":"tool-input-delta","toolCallId":"t1","inputTextDelta":"{\\"city\\":"}\n\n',
        'data: {"type":"tool-input-delta","toolCallId":"t1","inputTextDelta":"\\"Paris\\"}"}\n\n',
        (
            'data: {"type":"tool-input-available","toolCallId":"t1","toolName":"get_weather",'
            '"input":{"city":"Paris"}}\n\n'
        ),
        (
            'data: {"type":"finish-step"}\n\n'
            'data: {"type":"finish","finishReason":"tool-calls",'
            f'"messageMetadata":{{"usage":{counted},"stopReason":"tool_use"}}}}\n\n'
            "data: [DONE]\n\n"
        ),
    ]
    assert [piece.decode() for piece in encode(events)] == expected


def test_an_event_is_written_when_it_comes() -> None:
    """A piece is there before the next event is asked for: nothing is held or joined."""
    events: list[Event] = [START, Text(0, "a"), Text(0, "b"), BlockEnd(0), DONE]
    asked = 0

    def one_by_one() -> Iterable[Event]:
        nonlocal asked
        for event in events:
            asked += 1
            yield event

    for n, _ in enumerate(encode(one_by_one()), 1):
        assert asked == n


def test_an_answer_that_goes_on_with_the_last_message_gives_it_no_id() -> None:
    """``useChat`` would take another id for another message, and show the first one twice."""
    (start, _) = _chunks(b"".join(encode([START], is_new=False)))
    assert "messageId" not in start


def test_the_model_that_stepped_in_is_named() -> None:
    """The metadata has the model that answers, and the one that was asked for."""
    (start, _) = _chunks(b"".join(encode([Start("b.model", "r1", fallback_from="a.model")])))
    assert start["messageMetadata"] == {
        "model": "b.model",
        "requestId": "r1",
        "fallbackFrom": "a.model",
    }


def test_reasoning_brings_its_signature() -> None:
    """The proof is in the metadata of the very part, whole at any time, and never lost."""
    assert _told(
        Reasoning(0, "hm"), ReasoningSignature(0, "c2"), ReasoningSignature(0, "ln"), BlockEnd(0)
    ) == [
        {"type": "reasoning-start", "id": "reasoning-1"},
        {"type": "reasoning-delta", "id": "reasoning-1", "delta": "hm"},
        {
            "type": "reasoning-delta",
            "id": "reasoning-1",
            "delta": "",
            "providerMetadata": {"bedrock": {"signature": "c2"}},
        },
        {
            "type": "reasoning-delta",
            "id": "reasoning-1",
            "delta": "",
            "providerMetadata": {"bedrock": {"signature": "c2ln"}},
        },
        {"type": "reasoning-end", "id": "reasoning-1"},
    ]


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["AAEC"], "AAEC"),
        (["AAE=", "AgM="], "AAECAw=="),
        (["no base64"], "no base64"),
        (["AAE", "=!"], "AAE=!"),
    ],
)
def test_redacted_reasoning_is_bytes(pieces: list[str], whole: str) -> None:
    """Base64 that comes in pieces is put together as the bytes that it means (fact 6)."""
    *_, last = _told(*(RedactedReasoning(0, piece) for piece in pieces))
    assert last["providerMetadata"] == {"bedrock": {"redactedContent": whole}}
    assert (last["type"], last["delta"]) == ("reasoning-delta", "")


@pytest.mark.parametrize(
    ("pieces", "value"),
    [
        ([], {}),
        ([""], {}),
        (["{}"], {}),
        (["", '{"a":', "[1.5,null]}"], {"a": [1.5, None]}),
        (['{"a":"\ud83e', '\udda6"}'], {"a": "🦦"}),
        (['{"a":"\\ud83e"}'], {"a": "\ud83e"}),
    ],
)
def test_a_tool_call_ends_with_its_whole_input(pieces: list[str], value: Any) -> None:
    """The pieces put together, and no pieces are an empty object rather than nothing."""
    told = _told(ToolStart(0, WEATHER), *(ToolInput(0, piece) for piece in pieces), BlockEnd(0))
    assert told[1:-1] == [
        {"type": "tool-input-delta", "toolCallId": "t1", "inputTextDelta": piece}
        for piece in pieces
    ]
    assert told[-1] == {
        "type": "tool-input-available",
        "toolCallId": "t1",
        "toolName": "get_weather",
        "input": value,
    }


@pytest.mark.parametrize(
    ("text", "complete"),
    [('{"a":', True), ("5", True), ('{"a":1e999}', True), ('{"a":1}', False), ("", False)],
)
def test_a_tool_is_not_to_run_on_half_an_input(text: str, *, complete: bool) -> None:
    """An input cut short, by the model or by a failure, is an error of the call: ``onToolCall`` is not called."""
    told = _told(ToolStart(0, WEATHER), ToolInput(0, text), BlockEnd(0, complete=complete))
    assert told[-1] == {
        "type": "tool-input-error",
        "toolCallId": "t1",
        "toolName": "get_weather",
        "input": text,
        "errorText": "The tool call was cut short: its input is no whole JSON object.",
    }


def test_calls_in_parallel_are_told_apart_by_their_ids() -> None:
    """Pieces of two calls that come in turns go to the call of their block."""
    other = {"toolUseId": "t2", "name": "get_time"}
    told = _told(
        ToolStart(1, WEATHER),
        ToolStart(2, other),
        ToolInput(2, '{"b":2}'),
        ToolInput(1, '{"a":1}'),
        BlockEnd(2),
        BlockEnd(1),
    )
    assert [(chunk["type"], chunk["toolCallId"]) for chunk in told] == [
        ("tool-input-start", "t1"),
        ("tool-input-start", "t2"),
        ("tool-input-delta", "t2"),
        ("tool-input-delta", "t1"),
        ("tool-input-available", "t2"),
        ("tool-input-available", "t1"),
    ]
    assert [chunk["input"] for chunk in told[-2:]] == [{"b": 2}, {"a": 1}]


def test_a_tool_of_bedrocks_own_has_its_result_in_the_answer() -> None:
    """The caller's page is not to run it; its result goes back with its type."""
    told = _told(
        ToolStart(0, SEARCH),
        ToolInput(0, "{}"),
        BlockEnd(0),
        ToolResultStart(1, {"toolUseId": "s1", "type": "nova_grounding_result"}),
        ToolResult(1, [{"text": "a"}]),
        ToolResult(1, [{"json": {"b": 1}}]),
        BlockEnd(1),
    )
    assert [chunk.get("providerExecuted") for chunk in told] == [True, None, True, True]
    assert told[-1] == {
        "type": "tool-output-available",
        "toolCallId": "s1",
        "providerExecuted": True,
        "providerMetadata": {"bedrock": {"type": "nova_grounding_result"}},
        "output": [{"text": "a"}, {"json": {"b": 1}}],
    }


def test_a_tool_of_bedrocks_own_can_fail() -> None:
    """Its result is an error then, and one that is cut short is none."""
    events: list[Event] = [
        ToolStart(0, SEARCH),
        BlockEnd(0),
        ToolResultStart(1, {"toolUseId": "s1", "status": "error"}),
        ToolResult(1, [{"text": "no"}]),
    ]
    assert _told(*events, BlockEnd(1))[-1] == {
        "type": "tool-output-error",
        "toolCallId": "s1",
        "providerExecuted": True,
        "errorText": '[{"text":"no"}]',
    }
    assert _told(*events, BlockEnd(1, complete=False))[-1]["type"] == "tool-input-available"


def test_an_image_is_a_file() -> None:
    """Its pieces are put together to a data URL; half an image is none."""
    half: list[Event] = [ImageStart(0, "png"), Image(0, {"source": {"bytes": "AAE="}})]
    whole = [*half, Image(0, {"source": {"bytes": "AgM="}}), BlockEnd(0)]
    assert _told(*whole) == [
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AAECAw=="}
    ]
    assert _told(*half, BlockEnd(0, complete=False)) == []
    assert _told(ImageStart(0, "png"), BlockEnd(0)) == []


@pytest.mark.parametrize(
    ("location", "source"),
    [
        (
            {"web": {"url": "https://example.com/a", "domain": "example.com"}},
            {"type": "source-url", "url": "https://example.com/a"},
        ),
        (
            {"documentPage": {"documentIndex": 1, "start": 2, "end": 3}},
            {"type": "source-document", "mediaType": "application/pdf", "filename": "b.pdf"},
        ),
        (
            {"documentChar": {"start": 2, "end": 3}},
            {"type": "source-document", "mediaType": "text/plain"},
        ),
    ],
)
def test_a_citation_is_a_source(location: Any, source: dict[str, Any]) -> None:
    """A place on the web, or one of the caller's documents, with all that Bedrock says of it."""
    documents = [Document("text/plain", None), Document("application/pdf", "b.pdf")]
    citation = {"title": "T", "location": location, "sourceContent": [{"text": "x"}]}
    *_, told = _told(Text(0, "a"), Citation(0, citation), documents=documents)
    assert told == {
        "sourceId": "r1-2",
        "title": "T",
        "providerMetadata": {"bedrock": {"citation": citation}},
        **source,
    }


@pytest.mark.parametrize(
    ("filename", "title"), [("b.pdf", "b.pdf"), (None, "document")], ids=["named", "nameless"]
)
def test_a_source_has_a_title(filename: str | None, title: str) -> None:
    """A document that Bedrock names nothing is known by its file: the AI SDK wants a title."""
    citation = {"location": {"documentChunk": {"documentIndex": 0}}}
    documents = [Document("application/pdf", filename)]
    (told,) = _told(Citation(0, citation), documents=documents)
    assert told["title"] == title


@pytest.mark.parametrize(
    ("event", "aside"),
    [
        (
            Unknown("new", b'{"a":1}', b""),
            _aside(type="unknown", name="new", payload={"a": 1}),
        ),
        (Forwarded("new", b"{}", b""), _aside(type="unknown", name="new", payload={})),
        (Chunk(b'{"a":1}'), _aside(type="chunk", chunk={"a": 1})),
        (ToolInput(7, "{"), _aside(type="tool_input", index=7, input="{")),
        (
            ToolResultStart(7, {"toolUseId": "?"}),
            _aside(type="tool_result_start", index=7, result={"toolUseId": "?"}),
        ),
        (
            ToolResultStart(7, {"toolUseId": ["?"]}),
            _aside(type="tool_result_start", index=7, result={"toolUseId": ["?"]}),
        ),
        (
            ToolResult(7, [{"text": "a"}]),
            _aside(type="tool_result", index=7, content=[{"text": "a"}]),
        ),
        (
            Image(7, {"error": {"message": "no"}}),
            _aside(type="image", index=7, image={"error": {"message": "no"}}),
        ),
        (
            Citation(7, {"location": {"documentChar": {"documentIndex": 9}}}),
            _aside(
                type="citation",
                index=7,
                citation={"location": {"documentChar": {"documentIndex": 9}}},
            ),
        ),
        (Citation(7, {}), _aside(type="citation", index=7, citation={})),
    ],
)
def test_what_has_no_chunk_is_told_aside(event: Event, aside: Any) -> None:
    """Nothing that Bedrock says is lost, and none of it makes the AI SDK stumble."""
    assert _told(event) == [aside]


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool-calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content-filter"),
        ("content_filtered", "content-filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
        ("tomorrows", "other"),
    ],
)
def test_every_stop_reason_has_a_finish_reason(stop_reason: str, finish_reason: str) -> None:
    """The AI SDK's word, and Bedrock's own beside it (fact 4)."""
    step, finish, done = _told(Done(stop_reason, USAGE))
    assert step == {"type": "finish-step"}
    assert finish == {
        "type": "finish",
        "finishReason": finish_reason,
        "messageMetadata": {"usage": COUNTED, "stopReason": stop_reason},
    }
    assert done == "[DONE]"


def test_without_a_stop_reason_and_counts_nothing_is_made_up() -> None:
    """What Bedrock has not said is not in the metadata."""
    assert _told(Done(None, {}))[1] == {
        "type": "finish",
        "finishReason": "other",
        "messageMetadata": {},
    }


def test_usage_counts_what_the_cache_has_read_and_written() -> None:
    """The AI SDK's input tokens are all of them, Bedrock's only those without the cache (fact 5)."""
    usage = {**USAGE, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 10, "totalTokens": 118}
    about = _told(Done("end_turn", usage))[1]["messageMetadata"]
    assert about["usage"] == {
        "inputTokens": 113,
        "inputTokenDetails": {"noCacheTokens": 3, "cacheReadTokens": 100, "cacheWriteTokens": 10},
        "outputTokens": 5,
        "outputTokenDetails": {},
        "totalTokens": 118,
    }
    about = _told(Done("end_turn", {"inputTokens": 2, "outputTokens": None}))[1]["messageMetadata"]
    assert about["usage"]["totalTokens"] == 2


def test_a_failure_is_the_one_end() -> None:
    """All parts are ended, then the error says its code and its message, and no finish is made up."""
    error = bedrock_error("throttlingException", "arn:aws:bedrock:secret")
    told = _told(Text(0, "a"), BlockEnd(0, complete=False), Failure(error))
    assert told[-4:] == [
        {"type": "text-end", "id": "text-1"},
        {"type": "message-metadata", "messageMetadata": {"error": error.told()}},
        {"type": "error", "errorText": "throttling: Bedrock is throttling this deployment."},
        "[DONE]",
    ]


def test_a_failure_tells_what_was_counted() -> None:
    """The usage so far is in the message's metadata before the error, after which nobody reads; so is the error."""
    failed = bedrock_error("modelStreamErrorException", original_status=529)
    metadata, error, _ = _told(Failure(failed, USAGE))
    about = {"usage": COUNTED, "error": failed.told()}
    assert metadata == {"type": "message-metadata", "messageMetadata": about}
    assert about["error"]["retryable"] is True
    assert about["error"]["original_status"] == 529
    assert error["type"] == "error"


def test_a_failure_can_be_all_there_is() -> None:
    """After nothing but heartbeats the error still comes, and the end of the stream."""
    assert b"".join(encode([Failure(transport_error("read_timeout"))])) == (
        b'data: {"type":"error","errorText":"read_timeout: Bedrock was silent for too long."}\n\n'
        b"data: [DONE]\n\n"
    )


def test_a_block_that_changes_its_kind_is_two_parts() -> None:
    """What Bedrock should not do makes no delta for a part that is not open."""
    told = _told(
        Text(0, "a"), Reasoning(0, "b"), ToolStart(0, WEATHER), Text(0, "c"), ImageStart(0, "png")
    )
    assert [chunk["type"] for chunk in told] == [
        *("text-start", "text-delta", "text-end"),
        *("reasoning-start", "reasoning-delta", "reasoning-end"),
        *("tool-input-start", "tool-input-available"),
        *("text-start", "text-delta", "text-end"),
    ]


def test_every_event_is_told_somewhere() -> None:
    """An event that nobody has thought of here is noticed."""
    assert set(get_args(Event)) == {
        *(Start, Text, Reasoning, ReasoningSignature, RedactedReasoning, ToolStart, ToolInput),
        *(ToolResultStart, ToolResult, ImageStart, Image, Citation, BlockEnd, Chunk, Unknown),
        *(Forwarded, Done, Failure),
    }


@given(st.lists(st.text(st.characters(codec=None, categories=None), max_size=9), max_size=5))
def test_any_text_comes_out_as_it_was(pieces: Sequence[str]) -> None:
    """Line ends of every kind, controls, halves of pairs: JSON on one line, and the same text when put together."""
    told = _told(*(Text(0, piece) for piece in pieces))
    assert [chunk["delta"] for chunk in told if chunk["type"] == "text-delta"] == list(pieces)


class Screen:
    """What ``useChat`` keeps, as far as chunks can contradict it: it throws where a part is not open."""

    def __init__(self) -> None:
        self.text = ""
        self.signatures: dict[str, str] = {}
        self.open: set[str] = set()
        self.tools: dict[str, str] = {}

    def show(self, chunk: dict[str, Any]) -> None:
        kind = chunk["type"]
        family, _, verb = kind.rpartition("-")
        if family in {"text", "reasoning"}:
            if verb == "start":
                assert chunk["id"] not in self.open
                self.open.add(chunk["id"])
            assert chunk["id"] in self.open
            if verb == "end":
                self.open.remove(chunk["id"])
            if family == "text":
                self.text += chunk.get("delta", "")
        elif kind == "tool-input-start":
            self.tools[chunk["toolCallId"]] = ""
        elif kind.startswith("tool-"):
            assert chunk["toolCallId"] in self.tools
            self.tools[chunk["toolCallId"]] += chunk.get("inputTextDelta", "")


@given(streams("ConverseStream"))
def test_any_stream_is_a_message_with_one_end(stream: Stream) -> None:
    """Whatever Bedrock sends: every part is opened and ended, the text is whole, and there is one finish or error."""
    frames = bedrock._frames(Raw(stream), Watchdog(deadline=math.inf, read_timeout=math.inf))
    usage: dict[str, Any] = {}
    events = converse_events(frames, Start("a.model", "r1"), usage)
    whole = list(well_formed(events, usage, has_room=lambda: True, passing=ResponseClosed))
    *chunks, end, done = _chunks(b"".join(encode(whole)))
    assert done == "[DONE]"
    assert end["type"] == ("finish" if isinstance(whole[-1], Done) else "error")
    screen = Screen()
    for chunk in chunks:
        assert chunk["type"] not in {"finish", "error"}
        screen.show(chunk)
    assert screen.open == set()
    assert screen.text == stream.text


def test_base64_of_an_image_may_be_long() -> None:
    """An image in many pieces is the same bytes."""
    data = bytes(range(256)) * 40
    pieces = [data[n : n + 100] for n in range(0, len(data), 100)]
    images = [Image(0, {"source": {"bytes": b64encode(piece).decode()}}) for piece in pieces]
    (file,) = _told(ImageStart(0, "webp"), *images, BlockEnd(0))
    assert file["url"] == f"data:image/webp;base64,{b64encode(data).decode()}"

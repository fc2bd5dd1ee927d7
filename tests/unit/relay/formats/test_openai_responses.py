"""Judged by OpenAI's own client: its types say what an answer is made of, and it reads our bytes as if from OpenAI."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import httpx
import httpx2
import openai
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from relay.errors import RelayError, bedrock_error, internal_error, limit_error, transport_error
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
from relay.formats.openai_responses import API
from tests.strategies.values import TEXT, in_unicode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hypothesis.strategies import DrawFn
    from openai.types.responses import ParsedResponse

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
START = Start(MODEL, "r-1", created=1_700_000_000)
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
TOLD_USAGE = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 8,
}
DONE = Done("end_turn", USAGE)
CUT = Failure(transport_error("connection_lost"), {"inputTokens": 3})
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
RESPONSE: dict[str, Any] = {
    "id": "resp_r-1",
    "object": "response",
    "created_at": 1_700_000_000,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
    "model": MODEL,
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": None,
    "store": False,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
}
ENDS = ("response.completed", "response.incomplete", "response.failed")
is_stream_event = TypeAdapter[Any](ResponseStreamEvent)
is_response = TypeAdapter(Response)


def _format(**asked: Any) -> Any:
    return API.read({"input": "hi", **asked}, MODEL, {}).format


STREAM = _format(stream=True)
WHOLE = _format()


def _streamed(events: Iterable[Event]) -> bytes:
    return b"".join(STREAM.encode(events))


def _read(data: bytes) -> list[dict[str, Any]]:
    """Return the events that httpx-sse finds in a stream; the name of each is its type."""
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)
    told = []
    for event in EventSource(response).iter_sse():
        said = json.loads(event.data)
        assert event.event == said["type"]
        told.append(said)
    assert [said["sequence_number"] for said in told] == list(range(len(told)))
    return told


def _told(*events: Event) -> list[dict[str, Any]]:
    """Return what a stream tells between its beginning and its end, without the numbers."""
    told = _read(_streamed([START, *events]))[2:]
    return [
        {name: value for name, value in said.items() if name != "sequence_number"} for said in told
    ]


def _whole(*events: Event) -> dict[str, Any]:
    (document,) = WHOLE.encode([START, *events])
    said: dict[str, Any] = json.loads(document)
    return said


@contextmanager
def _client(
    data: bytes, status: int = 200, headers: Mapping[str, str] = STREAM.headers
) -> Iterator[openai.OpenAI]:
    """OpenAI's client, to whom every request is answered like this."""
    answer = httpx2.MockTransport(
        lambda _request: httpx2.Response(status, headers=dict(headers), content=data)
    )
    with openai.OpenAI(
        api_key="x",
        base_url="http://function.url/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=answer),
    ) as client:
        yield client


def _final(data: bytes, **asked: Any) -> ParsedResponse[Any]:
    """Return the response that the client's own accumulator makes of a stream."""
    with _client(data) as client, client.responses.stream(model="m", input="hi", **asked) as stream:
        return stream.get_final_response()


# What is streamed


def test_the_exact_bytes() -> None:
    """An answer of two pieces, byte by byte: every event complete, under its name, numbered from 0."""
    pieces = list(STREAM.encode([START, Text(0, "Grüße"), Text(0, ' "🦦"\n'), BlockEnd(0), DONE]))
    item = '"item_id":"msg_r-1_0","output_index":0,"content_index":0'
    part = '{"type":"output_text","text":"%s","annotations":[],"logprobs":[]}'
    text = 'Grüße \\"🦦\\"\\n'
    message = '{"id":"msg_r-1_0","type":"message","role":"assistant","content":[%s],"status":"%s"}'
    done = message % (part % text, "completed")
    response = json.dumps(RESPONSE, separators=(",", ":"))
    completed = {"status": "completed", "output": [json.loads(done)], "usage": TOLD_USAGE}
    ended = json.dumps(RESPONSE | completed, separators=(",", ":"), ensure_ascii=False)
    told = [
        [("response.created", f'"response":{response}')],
        [("response.in_progress", f'"response":{response}')],
        [
            (
                "response.output_item.added",
                '"output_index":0,"item":' + message % ("", "in_progress"),
            ),
            ("response.content_part.added", f'{item},"part":' + part % ""),
            ("response.output_text.delta", f'{item},"delta":"Grüße","logprobs":[]'),
        ],
        [("response.output_text.delta", f'{item},"delta":" \\"🦦\\"\\n","logprobs":[]')],
        [
            ("response.output_text.done", f'{item},"text":"{text}","logprobs":[]'),
            ("response.content_part.done", f'{item},"part":' + part % text),
            ("response.output_item.done", f'"output_index":0,"item":{done}'),
        ],
        [("response.completed", f'"response":{ended}')],
    ]
    told[:2] = [told[0] + told[1]]
    number = 0
    for piece, events in zip(pieces, told, strict=True):
        expected = ""
        for type_, members in events:
            data = f'{{"type":"{type_}","sequence_number":{number},{members}}}'
            expected += f"event: {type_}\ndata: {data}\n\n"
            number += 1
        assert piece.decode() == expected


def test_reasoning_is_a_summary_with_its_signature() -> None:
    """The text is told as a summary's, and done with what proves it, sealed in the item."""
    item = {"item_id": "rs_r-1_0", "output_index": 0, "summary_index": 0}
    begun: dict[str, Any] = {"id": "rs_r-1_0", "type": "reasoning", "summary": []}
    begun["encrypted_content"] = None
    summary = {"type": "summary_text", "text": "hm, so"}
    sealed = (
        "eyJ0ZXh0IjoiaG0sIHNvIiwic2lnbmF0dXJlIjoiYzJsbiJ9"  # {"text":"hm, so","signature":"c2ln"}
    )
    done = {**begun, "summary": [summary], "encrypted_content": sealed, "status": "completed"}
    assert _told(
        Reasoning(0, "hm,"), Reasoning(0, " so"), ReasoningSignature(0, "c2ln"), BlockEnd(0)
    ) == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**begun, "status": "in_progress"},
        },
        {
            "type": "response.reasoning_summary_part.added",
            **item,
            "part": {"type": "summary_text", "text": ""},
        },
        {"type": "response.reasoning_summary_text.delta", **item, "delta": "hm,"},
        {"type": "response.reasoning_summary_text.delta", **item, "delta": " so"},
        {"type": "response.reasoning_summary_text.done", **item, "text": "hm, so"},
        {"type": "response.reasoning_summary_part.done", **item, "part": summary},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
    ]


@pytest.mark.parametrize(
    ("events", "sealed"),
    [
        ([RedactedReasoning(0, "AAEC")], "eyJyZWRhY3RlZCI6WyJBQUVDIl19"),  # {"redacted":["AAEC"]}
        ([ReasoningSignature(0, "c2ln")], "eyJzaWduYXR1cmUiOiJjMmxuIn0="),  # {"signature":"c2ln"}
    ],
)
def test_reasoning_that_nobody_may_read_is_kept(events: list[Event], sealed: str) -> None:
    """Redacted reasoning, or a signature whose text is not told, is an item without a summary."""
    added, done = _told(*events, BlockEnd(0))
    item = {"id": "rs_r-1_0", "type": "reasoning", "summary": []}
    assert added["item"] == {**item, "encrypted_content": None, "status": "in_progress"}
    assert done["item"] == {**item, "encrypted_content": sealed, "status": "completed"}


def test_calls_are_counted_by_their_items() -> None:
    """Two calls at once: each is an item of its own, by its place in the output and not by Bedrock's index."""
    tool = {"toolUseId": "tooluse_a", "name": "get_weather"}
    other = {"toolUseId": "tooluse_b", "name": "get_time"}
    told = _told(
        ToolStart(4, tool),
        ToolInput(4, ""),
        ToolInput(4, '{"city":'),
        ToolStart(7, other),
        ToolInput(4, '"Paris"}'),
        ToolInput(7, "{}"),
        BlockEnd(7),
        BlockEnd(4),
    )
    a: dict[str, Any] = {"item_id": "fc_r-1_0", "output_index": 0}
    b: dict[str, Any] = {"item_id": "fc_r-1_1", "output_index": 1}
    paris = '{"city":"Paris"}'
    call = {
        "id": "fc_r-1_0",
        "type": "function_call",
        "call_id": "tooluse_a",
        "name": "get_weather",
    }
    another = {
        "id": "fc_r-1_1",
        "type": "function_call",
        "call_id": "tooluse_b",
        "name": "get_time",
    }
    begun = {"arguments": "", "status": "in_progress"}
    assert told == [
        {"type": "response.output_item.added", "output_index": 0, "item": {**call, **begun}},
        {"type": "response.function_call_arguments.delta", **a, "delta": '{"city":'},
        {"type": "response.output_item.added", "output_index": 1, "item": {**another, **begun}},
        {"type": "response.function_call_arguments.delta", **a, "delta": '"Paris"}'},
        {"type": "response.function_call_arguments.delta", **b, "delta": "{}"},
        {
            "type": "response.function_call_arguments.done",
            **b,
            "name": "get_time",
            "arguments": "{}",
        },
        {
            "type": "response.output_item.done",
            "output_index": 1,
            "item": {**another, "arguments": "{}", "status": "completed"},
        },
        {
            "type": "response.function_call_arguments.done",
            **a,
            "name": "get_weather",
            "arguments": paris,
        },
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**call, "arguments": paris, "status": "completed"},
        },
    ]


def test_a_call_without_input_has_an_empty_object() -> None:
    """Arguments are JSON even where the model sends none, to those who add up the pieces as well."""
    tool = {"toolUseId": "t", "name": "now"}
    told = _told(ToolStart(0, tool), ToolInput(0, ""), BlockEnd(0))
    assert [said.get("delta") for said in told] == [None, "{}", None, None]
    assert told[2]["arguments"] == told[3]["item"]["arguments"] == "{}"
    assert told[3]["item"]["status"] == "completed"


def test_a_call_that_is_cut_short_is_not_complete() -> None:
    """A limit on tokens may end a call within its input: the item says so, and so does the response."""
    call = ToolStart(0, {"toolUseId": "t", "name": "f"})
    input_ = ToolInput(0, '{"a":"b')
    *_, done, end = _told(call, input_, BlockEnd(0), Done("max_tokens", USAGE))
    assert done["item"]["arguments"] == '{"a":"b'
    assert done["item"]["status"] == "incomplete"
    assert end["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert end["response"]["output"] == [done["item"]]


def test_a_call_that_the_stream_fails_within_is_never_done() -> None:
    """Clients do what they see done. So there is no event of the kind, but the failure tells of the call."""
    tool = {"toolUseId": "t", "name": "delete_all"}
    for pieces in ([], [ToolInput(0, '{"a":')]):
        told = _told(ToolStart(0, tool), *pieces, BlockEnd(0, complete=False), CUT)
        assert not any("done" in said["type"] for said in told)
        (call,) = told[-1]["response"]["output"]
        assert call["status"] == "incomplete"
        assert call["arguments"] == "".join(piece.input for piece in pieces)


def test_what_bedrock_runs_itself_is_not_the_callers_to_run() -> None:
    """A tool of Bedrock's own, and its result, are no calls."""
    tool = {"toolUseId": "t", "name": "nova_grounding", "type": "server_tool_use"}
    call = (ToolStart(0, tool), ToolInput(0, "{}"), BlockEnd(0))
    assert _told(*call, ToolResultStart(1, {}), ToolResult(1, []), BlockEnd(1)) == []


def test_an_image() -> None:
    """An image's pieces, each base64 with an end of its own, are one image in the end."""
    pieces = [Image(0, {"source": {"bytes": "AAEC"}}), Image(0, {"source": {"bytes": "Aw=="}})]
    added, begun, completed, done = _told(
        ImageStart(0, "png"), *pieces, Image(0, {"source": {"bytes": "BA=="}}), BlockEnd(0)
    )
    item = {"id": "ig_r-1_0", "type": "image_generation_call", "output_format": "png"}
    assert added["item"] == {**item, "result": None, "status": "in_progress"}
    assert begun["type"] == "response.image_generation_call.in_progress"
    assert completed["type"] == "response.image_generation_call.completed"
    assert done["item"] == {**item, "result": "AAECAwQ=", "status": "completed"}


@pytest.mark.parametrize(
    "events",
    [
        [BlockEnd(0)],
        [Image(0, {"error": {"message": "no"}}), BlockEnd(0)],
        [Image(0, {"source": {"bytes": "?"}}), BlockEnd(0)],
        [Image(0, {"source": {"bytes": "AAEC"}}), BlockEnd(0, complete=False)],
    ],
)
def test_an_image_that_did_not_come_has_failed(events: list[Event]) -> None:
    """No made-up image, and no half of one."""
    (*_, done) = _told(ImageStart(0, "png"), *events)
    assert (done["item"]["status"], done["item"]["result"]) == ("failed", None)


def test_web_pages_are_cited() -> None:
    """A page that the text of a block rests on is an annotation to all of it; other sources have no place."""
    page = {"title": "Otters", "location": {"web": {"url": "https://otter.s", "domain": "otter.s"}}}
    untitled = {"location": {"web": {"url": "https://a.b", "domain": "a.b"}}}
    file = {"title": "a.pdf", "location": {"documentPage": {"documentIndex": 0}}}
    cited = [Citation(0, page), Citation(0, file), Citation(0, untitled), Citation(9, page)]
    told = _told(Text(0, "Otters"), *cited, Text(0, " swim."), BlockEnd(0))
    span = {"start_index": 0, "end_index": 12}
    annotations = [
        {"type": "url_citation", "title": "Otters", "url": "https://otter.s", **span},
        {"type": "url_citation", "title": "a.b", "url": "https://a.b", **span},
    ]
    added = [said for said in told if said["type"] == "response.output_text.annotation.added"]
    assert [said["annotation"] for said in added] == annotations
    assert [said["annotation_index"] for said in added] == [0, 1]
    assert told[-1]["item"]["content"][0]["annotations"] == annotations


TOLD: list[tuple[Event, list[str]]] = [
    (START, ["created", "in_progress"]),
    (Text(0, "a"), ["output_item.added", "content_part.added", "output_text.delta"]),
    (Text(0, ""), []),
    (Citation(0, {"location": {"web": {"url": "https://a.b"}}}), []),
    (
        BlockEnd(0),
        [
            "output_text.annotation.added",
            "output_text.done",
            "content_part.done",
            "output_item.done",
        ],
    ),
    (BlockEnd(0), []),
    (
        Reasoning(1, "a"),
        ["output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"],
    ),
    (Reasoning(1, "b"), ["reasoning_summary_text.delta"]),
    (Reasoning(1, ""), []),
    (ReasoningSignature(1, "c"), []),
    (RedactedReasoning(2, "AAEC"), ["output_item.added"]),
    (ToolStart(3, {"toolUseId": "t", "name": "n"}), ["output_item.added"]),
    (ToolInput(3, "{"), ["function_call_arguments.delta"]),
    (ToolInput(3, ""), []),
    (ToolInput(9, "{"), []),
    (ToolStart(3, {"toolUseId": "u", "name": "n"}), ["output_item.added"]),  # its end was forgotten
    (ToolResultStart(4, {"toolUseId": "t"}), []),
    (ToolResult(4, [{"text": "a"}]), []),
    (ImageStart(5, "png"), ["output_item.added", "image_generation_call.in_progress"]),
    (Image(5, {"source": {"bytes": "AAEC"}}), []),
    (Image(9, {"source": {"bytes": "AAEC"}}), []),
    (Chunk(b"{}"), []),
    (Unknown("new", b"{}", b""), []),
    (Forwarded("new", b"{}", b""), []),
    (Failure(transport_error("truncated")), ["failed"]),
    (DONE, ["completed"]),
]


def test_an_event_is_written_when_it_comes() -> None:
    """A piece is there before the next event is asked for: nothing is held, joined or split."""
    asked: list[Event] = []

    def one_by_one() -> Iterable[Event]:
        for event, _ in TOLD:
            asked.append(event)
            yield event

    pieces = STREAM.encode(one_by_one())
    for number, (event, told) in enumerate(TOLD, 1):
        if told:
            piece = next(pieces)
            types = [line[7:].decode() for line in piece.split(b"\n") if line.startswith(b"event")]
            assert types == [f"response.{type_}" for type_ in told], event
            assert piece.endswith(b"\n\n")
            assert len(asked) == number
    assert next(pieces, None) is None


def test_every_event_is_in_the_table() -> None:
    """An event that nobody has thought about is noticed here."""
    assert {type(event) for event, _ in TOLD} == set(get_args(Event))


@pytest.mark.parametrize(
    ("stop_reason", "status", "why"),
    [
        ("end_turn", "completed", None),
        ("tool_use", "completed", None),
        ("stop_sequence", "completed", None),
        (None, "completed", None),
        ("quite_new", "incomplete", "quite_new"),
        ("malformed_model_output", "incomplete", "malformed_model_output"),
        ("malformed_tool_use", "incomplete", "malformed_tool_use"),
        ("max_tokens", "incomplete", "max_output_tokens"),
        ("model_context_window_exceeded", "incomplete", "max_output_tokens"),
        ("content_filtered", "incomplete", "content_filter"),
        ("guardrail_intervened", "incomplete", "content_filter"),
    ],
)
def test_why_the_model_stopped(stop_reason: str | None, status: str, why: str | None) -> None:
    """A stream ends with its status, and where that is ``incomplete`` with the reason, which the last item shares."""
    events: list[Event] = [
        Text(0, "a"),
        BlockEnd(0),
        Text(1, "b"),
        BlockEnd(1),
        Done(stop_reason, USAGE),
    ]
    end = _told(*events)[-1]
    assert end["type"] == f"response.{status}"
    response = end["response"]
    assert response["status"] == status
    assert response["incomplete_details"] == (why and {"reason": why})
    assert [item["status"] for item in response["output"]] == ["completed", status]
    assert response == _whole(*events)
    if why in {None, "max_output_tokens", "content_filter"}:  # others are Bedrock's own words
        is_response.validate_python(response, strict=True)


@pytest.mark.parametrize("reason", ["max_tokens", "quite_new"])
def test_what_is_whole_stays_so(reason: str) -> None:
    """A call and an image show themselves whether they were cut: the last event of an item and the answer agree."""
    called = ToolStart(0, {"toolUseId": "t", "name": "n"})
    said: list[tuple[list[Event], str]] = [
        ([called, ToolInput(0, '{"a":1}')], "completed"),
        ([called, ToolInput(0, '{"a"')], "incomplete"),
        ([ImageStart(0, "png"), Image(0, {"source": {"bytes": "aaaa"}})], "completed"),
    ]
    for events, status in said:
        (item,) = _whole(*events, BlockEnd(0), Done(reason, USAGE))["output"]
        assert item["status"] == status


def test_nothing_at_all_may_be_said() -> None:
    """An answer without a block has no output, however it ends."""
    for end in (DONE, Done("content_filtered", USAGE)):
        assert _whole(end)["output"] == []
        assert _read(_streamed([START, end]))[-1]["response"]["output"] == []


@pytest.mark.parametrize(
    ("counted", "told"),
    [
        (USAGE, TOLD_USAGE),
        (
            {
                "inputTokens": 3,
                "outputTokens": 5,
                "cacheReadInputTokens": 100,
                "cacheWriteInputTokens": 20,
                "totalTokens": 128,
            },
            {
                "input_tokens": 123,
                "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 128,
            },
        ),
        ({"inputTokens": 3}, {**TOLD_USAGE, "output_tokens": 0, "total_tokens": 3}),
        ({}, None),
    ],
)
def test_usage(counted: Any, told: Any) -> None:
    """What a cache had a part in was input, too; where Bedrock counted nothing, nothing is made up."""
    assert _whole(Text(0, "a"), BlockEnd(0), Done("end_turn", counted))["usage"] == told
    failed = _told(Failure(transport_error("truncated"), counted))[-1]
    assert failed["response"]["usage"] == told


def test_the_tier_that_served_is_told() -> None:
    """Bedrock says in the end which tier it was; until then it is the one that was asked for."""
    events = [START, Done("end_turn", USAGE, {"serviceTier": {"type": "flex"}})]
    told = _read(b"".join(_format(stream=True, service_tier="priority").encode(events)))
    tiers = [said["response"]["service_tier"] for said in told]
    assert tiers == ["priority", "priority", "flex"]
    assert _whole(Done("end_turn", USAGE, {"serviceTier": "odd"}))["service_tier"] is None


def test_what_the_answer_repeats() -> None:
    """An answer says what was asked for, under the name of the model that gave it, and that nothing is stored."""
    asked: dict[str, Any] = {
        "model": "ours",
        "input": "hi",
        "instructions": "Be brief.",
        "max_output_tokens": 2000,
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": None},
        "reasoning": {"effort": "low", "summary": "auto"},
        "tools": [TOOL],
        "tool_choice": "required",
        "top_p": 1,
        "user": "u",
        "store": False,
        "truncation": None,
    }
    (document,) = _format(**asked).encode([START, Text(0, "a"), BlockEnd(0), DONE])
    response = json.loads(document)
    repeated = {name: value for name, value in asked.items() if name not in {"input", "truncation"}}
    told = {"model": MODEL, "text": {"format": {"type": "text"}, "verbosity": "medium"}}
    assert response == {
        **RESPONSE,
        **repeated,
        **told,
        "status": "completed",
        "usage": TOLD_USAGE,
        "output": response["output"],
    }
    is_response.validate_python(response, strict=True)


# Failures


def _types(client: openai.OpenAI, *, helper: bool) -> Iterator[str]:
    """Yield the types of the events that the client tells, in one of its ways to stream."""
    if helper:
        with client.responses.stream(model="m", input="hi") as stream:
            yield from (event.type for event in stream)
    else:
        for event in client.responses.create(model="m", input="hi", stream=True):
            yield event.type


@pytest.mark.parametrize(
    ("error", "code", "type_"),
    [
        (bedrock_error("throttlingException"), "rate_limit_exceeded", "rate_limit_error"),
        (bedrock_error("validationException", "odd"), "invalid_prompt", "invalid_request_error"),
        (bedrock_error("modelStreamErrorException"), "server_error", "server_error"),
        (transport_error("read_timeout"), "server_error", "server_error"),
        (limit_error("timeout"), "server_error", "server_error"),
        (internal_error(KeyError()), "server_error", "server_error"),
    ],
)
@pytest.mark.parametrize("helper", [False, True])
def test_a_failure_in_mid_stream_is_raised(
    error: RelayError, code: str, type_: str, *, helper: bool
) -> None:
    """After the text that came, the client raises its ``APIError`` with our code and message: once, and typed."""
    events: list[Event] = [
        START,
        Text(0, "a"),
        BlockEnd(0, complete=False),
        Failure(error, {"inputTokens": 3}),
    ]
    *_, done, end = _read(_streamed(events))
    assert (done["type"], done["item"]["status"]) == ("response.output_item.done", "incomplete")
    told = {
        "message": error.message,
        "type": type_,
        "param": None,
        "code": error.code,
        "request_id": "r-1",
        "retryable": error.retryable,
    }
    assert end == {
        "type": "response.failed",
        "sequence_number": 8,
        "response": {
            **RESPONSE,
            "status": "failed",
            "error": {"code": code, "message": error.message},
            "output": [done["item"]],
            "usage": {**TOLD_USAGE, "output_tokens": 0, "total_tokens": 3},
        },
        "error": told,
    }
    seen: list[str] = []
    with _client(_streamed(events)) as client, pytest.raises(openai.APIError) as caught:
        seen.extend(_types(client, helper=helper))
    assert seen[-1] == "response.output_item.done"
    assert (caught.value.message, caught.value.code) == (error.message, error.code)
    assert caught.value.type == type_
    assert caught.value.body == told


def test_a_failure_after_heartbeats_only() -> None:
    """Where nothing has come but heartbeats, the failure is the first event, and raised all the same."""
    data = STREAM.heartbeat * 2 + _streamed([Failure(transport_error("read_timeout"))])
    (failed,) = _read(data)
    is_stream_event.validate_python(failed, strict=True)
    assert failed["response"] == {
        **RESPONSE,
        "id": "resp_0",
        "created_at": 0,
        "status": "failed",
        "error": {"code": "server_error", "message": "Bedrock was silent for too long."},
    }
    assert failed["error"]["code"] == "read_timeout"
    with _client(data) as client, pytest.raises(openai.APIError, match="silent for too long"):
        list(client.responses.create(model="m", input="hi", stream=True))


def test_an_answer_that_is_not_streamed_says_nothing_of_a_failure() -> None:
    """There is a status for it then."""
    events = [START, Text(0, "a"), BlockEnd(0, complete=False), CUT]
    assert list(WHOLE.encode(events)) == []
    assert list(WHOLE.encode([CUT])) == []
    assert WHOLE.heartbeat == b""


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (bedrock_error("ValidationException", "odd"), openai.BadRequestError),
        (bedrock_error("AccessDeniedException"), openai.PermissionDeniedError),
        (bedrock_error("ResourceNotFoundException"), openai.NotFoundError),
        (bedrock_error("ThrottlingException"), openai.RateLimitError),
        (bedrock_error("InternalServerException"), openai.InternalServerError),
        (transport_error("connect_timeout"), openai.InternalServerError),
    ],
)
def test_an_error_before_the_stream_is_an_exception(
    error: RelayError, raised: type[openai.APIStatusError]
) -> None:
    """Each status is the exception that its client knows it by, with our code and message."""
    headers, body = API.refuse(error, "r-1", {})
    data = json.dumps(body).encode()
    with _client(data, error.status, headers) as client, pytest.raises(raised) as caught:
        client.responses.create(model="m", input="hi")
    assert caught.value.code == error.code
    assert error.message in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == str(error.retryable).lower()


# The client


CONVERSATION: list[Event] = [
    START,
    Reasoning(0, "hm"),
    ReasoningSignature(0, "c2ln"),
    BlockEnd(0),
    RedactedReasoning(1, "AAEC"),
    BlockEnd(1),
    Text(2, "Let me "),
    Text(2, "look."),
    BlockEnd(2),
    ToolStart(3, {"toolUseId": "a", "name": "get_weather"}),
    ToolInput(3, ""),
    ToolInput(3, '{"city":'),
    ToolInput(3, '"Paris"}'),
    BlockEnd(3),
    ToolStart(4, {"toolUseId": "b", "name": "get_weather"}),
    BlockEnd(4),
    Done("tool_use", USAGE),
]


def test_every_event_is_what_the_clients_types_say() -> None:
    """Each event and the whole answer are valid, strictly, by the client's own types."""
    more: list[Event] = [ImageStart(5, "png"), Image(5, {"source": {"bytes": "AAEC"}}), BlockEnd(5)]
    for said in _read(_streamed([*CONVERSATION[:-1], *more, CONVERSATION[-1]])):
        is_stream_event.validate_python(said, strict=True)
    is_response.validate_python(_whole(*CONVERSATION[1:]), strict=True)


def test_the_client_reads_the_stream() -> None:
    """``create(stream=True)`` yields typed events, heartbeats between them or not."""
    data = STREAM.heartbeat.join([b"", *STREAM.encode(CONVERSATION), b""])
    with _client(data) as client:
        events = list(client.responses.create(model="m", input="hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert texts == ["Let me ", "look."]
    thoughts = [e.delta for e in events if e.type == "response.reasoning_summary_text.delta"]
    assert thoughts == ["hm"]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "Let me look."


def test_the_clients_accumulator_agrees() -> None:
    """``stream()`` adds up the same response that an answer is which is not streamed."""
    final = _final(_streamed(CONVERSATION))
    assert final.status == "completed"
    assert final.output_text == "Let me look."
    assert final.usage is not None
    assert final.usage.to_dict() == TOLD_USAGE
    calls = [item for item in final.output if item.type == "function_call"]
    assert [(call.call_id, call.arguments) for call in calls] == [
        ("a", '{"city":"Paris"}'),
        ("b", "{}"),
    ]
    with _client(b"".join(WHOLE.encode(CONVERSATION)), headers=WHOLE.headers) as client:
        whole = client.responses.create(model="m", input="hi")
    assert whole.output_text == final.output_text
    assert [item.to_dict() for item in whole.output] == _whole(*CONVERSATION[1:])["output"]
    assert whole.to_dict() == _read(_streamed(CONVERSATION))[-1]["response"]


class Weather(BaseModel):
    """What the weather is like."""

    city: str


def test_the_client_parses_what_it_asked_for() -> None:
    """Text and arguments of a schema become objects, streamed and whole."""
    tool = openai.pydantic_function_tool(Weather, name="get_weather")["function"]
    flat: Any = {"type": "function", **tool}
    events: list[Event] = [
        START,
        Text(0, '{"city":"Paris"}'),
        BlockEnd(0),
        *CONVERSATION[9:14],
        Done("tool_use", USAGE),
    ]
    final = _final(_streamed(events), text_format=Weather, tools=[flat])
    with _client(b"".join(WHOLE.encode(events)), headers=WHOLE.headers) as client:
        whole = client.responses.parse(model="m", input="hi", text_format=Weather, tools=[flat])
    for response in (final, whole):
        assert response.output_parsed == Weather(city="Paris")
        call = response.output[1]
        assert call.type == "function_call"
        assert call.parsed_arguments == {"city": "Paris"}


def test_what_comes_back_is_what_bedrock_said() -> None:
    """The client's items, sent back as they are, are Bedrock's own blocks again, the reasoning first and signed."""
    final = _final(_streamed(CONVERSATION))
    items: list[Any] = [item.model_dump() for item in final.output]
    asked = {"input": [{"role": "user", "content": "hi"}, *items], "tools": [TOOL]}
    user, assistant = API.read(asked, MODEL, {}).request["messages"]
    assert user == {"role": "user", "content": [{"text": "hi"}]}
    call = {"toolUseId": "a", "name": "get_weather", "input": {"city": "Paris"}}
    assert assistant["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "AAEC"}},
        {"text": "Let me look."},
        {"toolUse": call},
        {"toolUse": {"toolUseId": "b", "name": "get_weather", "input": {}}},
    ]


def test_a_pair_split_between_two_pieces_is_whole_in_the_end() -> None:
    """Half a surrogate pair is told by JSON's escapes, and both halves are the letter, in the signed text as well."""
    high, low = "\ud83e", "\udda6"
    events: list[Event] = [
        Reasoning(0, high),
        Reasoning(0, low),
        ReasoningSignature(0, "s"),
        BlockEnd(0),
    ]
    final = _whole(*events, Text(1, high), Text(1, low), BlockEnd(1), DONE)
    assert final["output"][1]["content"][0]["text"] == "🦦"
    asked = {"input": [{"role": "user", "content": "hi"}, final["output"][0]]}
    content = API.read(asked, MODEL, {}).request["messages"][1]["content"]
    assert content[0]["reasoningContent"]["reasoningText"] == {"text": "🦦", "signature": "s"}


# At random


@st.composite
def _blocks(draw: DrawFn, index: int) -> list[Event]:
    """Draw a block of any kind, from its first piece to its end."""
    texts = draw(st.lists(TEXT, max_size=3))
    match draw(st.sampled_from(["text", "reasoning", "redacted", "tool", "other"])):
        case "text":
            return [Text(index, text) for text in texts]
        case "reasoning":
            signed = [ReasoningSignature(index, draw(TEXT))] if draw(st.booleans()) else []
            return [*(Reasoning(index, text) for text in texts), *signed]
        case "redacted":
            return [RedactedReasoning(index, text) for text in texts]
        case "tool":
            tool = {"toolUseId": f"id-{index}", "name": "f"}
            return [ToolStart(index, tool), *(ToolInput(index, text) for text in texts)]
        case _:
            return [ToolResultStart(index, {}), ToolResult(index, []), Unknown("new", b"", b"")]


@st.composite
def _streams(draw: DrawFn) -> list[Event]:
    """Draw a stream: blocks, one after another or in each other's midst, and one end."""
    indexes = draw(st.lists(st.integers(0, 30), max_size=6, unique=True))
    blocks = [draw(_blocks(index)) for index in indexes]
    fails = draw(st.booleans())
    complete = {index: not fails or draw(st.booleans()) for index in indexes}
    ended = [
        [*block, BlockEnd(index, complete=complete[index])]
        for index, block in zip(indexes, blocks, strict=True)
    ]
    turns = [turn for turn, block in enumerate(ended) for _ in block]
    if draw(st.booleans()):
        turns = draw(st.permutations(turns))
    left = [iter(block) for block in ended]
    pieces = [next(left[turn]) for turn in turns]
    reason = draw(st.sampled_from(["end_turn", "tool_use", "max_tokens", "new", None]))
    return [START, *pieces, CUT if fails else Done(reason, USAGE)]


def _joined(events: Iterable[Any]) -> str:
    return in_unicode("".join(event.text for event in events))


def _deltas(told: Iterable[Mapping[str, Any]], kind: str) -> dict[str, str]:
    """Return the pieces that each item had, added up."""
    added: dict[str, str] = {}
    for said in told:
        if said["type"] == f"response.{kind}.delta":
            added[said["item_id"]] = added.get(said["item_id"], "") + said["delta"]
    return {item: in_unicode(text) for item, text in added.items()}


@given(_streams())
def test_any_stream_is_told_whole(events: list[Event]) -> None:
    """Whatever comes, in whatever order: all text, one end, no gap in the numbers, and items that add up."""
    pieces = list(STREAM.encode(events))
    told = _read(b"".join(pieces))
    assert len(pieces) <= len(events)
    assert [said["type"] for said in told if said["type"] in ENDS] == [told[-1]["type"]]
    response = told[-1]["response"]
    failed = isinstance(events[-1], Failure)
    assert ("error" in told[-1]) == (response["error"] is not None) == failed

    texts, thoughts = _deltas(told, "output_text"), _deltas(told, "reasoning_summary_text")
    arguments = _deltas(told, "function_call_arguments")
    assert sorted("".join(texts.values())) == sorted(
        _joined(e for e in events if isinstance(e, Text))
    )
    said = _joined(event for event in events if isinstance(event, Reasoning))
    assert sorted("".join(thoughts.values())) == sorted(said)

    added = [said for said in told if said["type"] == "response.output_item.added"]
    assert [said["output_index"] for said in added] == list(range(len(added)))
    assert [said["item"]["id"] for said in added] == [item["id"] for item in response["output"]]
    done = {
        said["output_index"]: said["item"]
        for said in told
        if said["type"] == "response.output_item.done"
    }
    for place, item in enumerate(response["output"]):
        match item["type"]:
            case "message":
                assert in_unicode(item["content"][0]["text"]) == texts[item["id"]]
            case "reasoning":
                summary = "".join(part["text"] for part in item["summary"])
                assert in_unicode(summary) == thoughts.get(item["id"], "")
            case _:
                assert in_unicode(item["arguments"]) == arguments.get(item["id"], "")
        if place in done:
            assert done[place] == {**item, "status": done[place]["status"]}
        else:
            assert item["type"] == "function_call"
            assert item["status"] == "incomplete"
            assert failed


@given(_streams())
def test_any_stream_is_the_same_to_the_client(events: list[Event]) -> None:
    """The client's accumulator takes any stream that is complete, and raises one that is not."""
    data = _streamed(events)
    read = partial(_final, data)
    if isinstance(events[-1], Failure):
        with pytest.raises(openai.APIError, match="connection to Bedrock broke"):
            read()
    elif _read(data)[-1]["type"] == "response.completed":
        (document,) = WHOLE.encode(events)
        assert json.loads(document) == _read(data)[-1]["response"]
        final = read()
        items: list[Any] = list(final.output)
        assert [item.id for item in items] == [
            item["id"] for item in json.loads(document)["output"]
        ]
        text = "".join(
            part["text"]
            for item in json.loads(document)["output"]
            for part in item.get("content", [])
        )
        assert final.output_text == text

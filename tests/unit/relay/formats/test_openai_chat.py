"""Judged by OpenAI's own client: it reads our bytes, as if they had come from OpenAI."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import (
    RelayError,
    RequestError,
    bedrock_error,
    internal_error,
    limit_error,
    transport_error,
)
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
from relay.formats.openai_chat import API
from relay.shapes import invalid
from tests.strategies.values import TEXT, in_unicode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hypothesis.strategies import DrawFn
    from openai.types.chat import ChatCompletionMessage, ParsedChatCompletion

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
START = Start(MODEL, "r-1", created=1_700_000_000)
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
TOLD_USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 5,
    "total_tokens": 8,
    "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
}
DONE = Done("end_turn", USAGE)
CUT = Failure(transport_error("connection_lost"))
HEAD = (
    'data: {"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":1700000000,'
    f'"model":"{MODEL}",'
)
OPENING = (
    f'{HEAD}"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}},'
    '"finish_reason":null}]}\n\n'
)
END = "data: [DONE]\n\n"
MESSAGES: Any = [{"role": "user", "content": "hi"}]


def _format(**asked: Any) -> Any:
    return API.read({"messages": MESSAGES, **asked}, MODEL, {}).format


STREAM = _format(stream=True)
WITH_USAGE = _format(stream=True, stream_options={"include_usage": True})
WHOLE = _format()


def _streamed(events: Iterable[Event]) -> bytes:
    return b"".join(STREAM.encode(events))


def _delta(delta: str, finish_reason: str = "null") -> str:
    return f'{HEAD}"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish_reason}}}]}}\n\n'


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


def _read(data: bytes) -> tuple[list[Any], openai.APIError | None]:
    """Return the chunks of a stream, and what the client raised instead of its end."""
    chunks = []
    with _client(data) as client:
        try:
            for chunk in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
                chunks.append(chunk)  # noqa: PERF402  # those before an error count, too
        except openai.APIError as error:
            return chunks, error
    return chunks, None


def _chunks(data: bytes) -> list[Any]:
    chunks, error = _read(data)
    assert error is None
    return chunks


def _added_up(data: bytes) -> ParsedChatCompletion[Any]:
    """Return what the client's own helper makes of a stream."""
    with (
        _client(data) as client,
        client.chat.completions.stream(model="m", messages=MESSAGES) as stream,
    ):
        # get_final_completion() is the same, but raises where the answer was too long or filtered.
        return stream.until_done().current_completion_snapshot


def _message(data: bytes) -> ChatCompletionMessage:
    return _added_up(data).choices[0].message


def _in_one(events: Iterable[Event]) -> Any:
    """Return a whole answer as the client reads it."""
    (document,) = WHOLE.encode(events)
    with _client(document, headers=WHOLE.headers) as client:
        return client.chat.completions.create(model="m", messages=MESSAGES)


def _calls(message: Any) -> list[tuple[str, str]]:
    """Return the ids and the arguments of a message's calls."""
    return [(call.id, call.function.arguments) for call in message.tool_calls or ()]


def _tool(index: int, tool_id: str, name: str, *pieces: str) -> list[Event]:
    start = ToolStart(index, {"toolUseId": tool_id, "name": name})
    return [start, *(ToolInput(index, piece) for piece in pieces), BlockEnd(index)]


PIECES: list[tuple[Sequence[Event], str | None]] = [
    ([Text(0, 'Grüße "🦦"\n')], '{"content":"Grüße \\"🦦\\"\\n"}'),
    ([Text(0, "")], '{"content":""}'),
    ([Text(0, "\ud83e")], '{"content":"\\ud83e"}'),
    ([Text(0, "a\u2028b")], '{"content":"a\\u2028b"}'),
    (
        [Reasoning(0, "hm")],
        '{"reasoning_content":"hm","thinking_blocks":[{"index":0,"type":"thinking","thinking":"hm"}]}',
    ),
    (
        [ReasoningSignature(0, "c2ln")],
        '{"thinking_blocks":[{"index":0,"type":"thinking","thinking":"","signature":"c2ln"}]}',
    ),
    (
        [RedactedReasoning(0, "AAEC")],
        '{"thinking_blocks":[{"index":0,"type":"redacted_thinking","data":"AAEC"}]}',
    ),
    (
        [ToolStart(4, {"toolUseId": "t", "name": "f"})],
        '{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":""}}]}',
    ),
    ([ToolInput(4, "{}")], None),
    ([ToolStart(1, {"toolUseId": "t", "name": "f", "type": "server_tool_use"})], None),
    ([ToolResultStart(2, {"toolUseId": "t"})], None),
    ([ToolResult(2, [{"json": {"a": 1}}])], None),
    ([ImageStart(3, "png")], None),
    ([Image(3, {"source": {"bytes": "AAEC"}})], None),
    ([Citation(4, {"title": "T", "location": {"web": {"url": "https://a.example/"}}})], None),
    ([BlockEnd(0)], None),
    ([BlockEnd(0, complete=False)], None),
    ([Chunk(b"{}")], None),
    ([Unknown("new", b"{}", b"")], None),
    ([Forwarded("new", b"{}", b"")], None),
]


@pytest.mark.parametrize(("events", "delta"), PIECES)
def test_each_event_is_one_delta_or_none(events: Sequence[Event], delta: str | None) -> None:
    """The exact bytes of every event, and silence for those that the format has no place for."""
    written = [piece.decode() for piece in STREAM.encode([START, *events])]
    assert written == [OPENING, *([] if delta is None else [_delta(delta)])]


def test_every_event_is_in_the_table() -> None:
    """An event that nobody has decided about is noticed here."""
    listed = {type(event) for events, _ in PIECES for event in events}
    assert listed | {Start, Done, Failure} == set(get_args(Event))


def test_a_stream_to_the_last_byte() -> None:
    """The role first, a chunk a piece, why it ended in a chunk of its own, and ``[DONE]`` (fact 60)."""
    data = _streamed([START, Text(0, "Hi"), Text(0, " there"), BlockEnd(0), DONE])
    assert data.decode() == (
        OPENING
        + _delta('{"content":"Hi"}')
        + _delta('{"content":" there"}')
        + _delta("{}", '"stop"')
        + END
    )


def test_usage_comes_last_and_only_when_asked_for() -> None:
    """With ``include_usage`` one more chunk, without choices; all others say ``null``, and ``[DONE]`` is still last."""
    events: list[Event] = [START, Text(0, "Hi"), BlockEnd(0), DONE]
    data = b"".join(WITH_USAGE.encode(events))
    assert data.endswith(
        b'"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,'
        b'"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0}}}\n\ndata: [DONE]\n\n'
    )
    *others, last = _chunks(data)
    assert [chunk.to_dict()["usage"] for chunk in others] == [None, None, None]
    assert (last.choices, last.usage.total_tokens) == ([], 8)
    assert b"usage" not in _streamed(events)
    usage = _added_up(data).usage
    assert usage is not None
    assert usage.to_dict() == TOLD_USAGE


@pytest.mark.parametrize(
    ("counted", "prompt", "completion", "read", "written"),
    [
        ({}, 0, 0, 0, 0),
        ({"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, 1, 2, 0, 0),
        (
            {
                "inputTokens": 1,
                "outputTokens": 2,
                "totalTokens": 3,
                "cacheReadInputTokens": 10,
                "cacheWriteInputTokens": 100,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 100}],
            },
            *(111, 2, 10, 100),
        ),
        ({"inputTokens": "many", "outputTokens": None}, 0, 0, 0, 0),
    ],
)
def test_what_a_cache_took_or_saved_is_part_of_the_prompt(
    counted: dict[str, Any], prompt: int, completion: int, read: int, written: int
) -> None:
    """Bedrock counts it beside the input, OpenAI within; the total is the sum of the two that are told."""
    usage = _in_one([START, Done("end_turn", counted)]).usage
    assert usage.prompt_tokens == prompt
    assert usage.completion_tokens == completion
    assert usage.total_tokens == prompt + completion
    assert usage.prompt_tokens_details.cached_tokens == read
    assert usage.prompt_tokens_details.cache_write_tokens == written


TOOL: list[Event] = [ToolStart(0, {"toolUseId": "t", "name": "f"}), ToolInput(0, "{}"), BlockEnd(0)]


@pytest.mark.parametrize(
    ("stop_reason", "events", "finish_reason"),
    [
        ("end_turn", [], "stop"),
        ("stop_sequence", [], "stop"),
        (None, [], "stop"),
        ("max_tokens", [], "length"),
        ("model_context_window_exceeded", [], "length"),
        ("guardrail_intervened", [], "content_filter"),
        ("content_filtered", [], "content_filter"),
        ("malformed_tool_use", [], "malformed_tool_use"),
        ("malformed_model_output", [], "malformed_model_output"),
        ("of tomorrow", [], "of tomorrow"),
        ("tool_use", TOOL, "tool_calls"),
        ("max_tokens", TOOL, "length"),
        # What Bedrock has been seen to say by mistake: callers look at this to know whether to call a tool.
        ("end_turn", TOOL, "tool_calls"),
        (None, TOOL, "tool_calls"),
        ("tool_use", [Text(0, "no call"), BlockEnd(0)], "stop"),
    ],
)
def test_every_stop_reason_has_its_finish_reason(
    stop_reason: str | None, events: list[Event], finish_reason: str
) -> None:
    """In exactly one chunk, with nothing in its delta; and the same in a whole answer."""
    stream: list[Event] = [START, *events, Done(stop_reason, USAGE)]
    *others, last = _chunks(_streamed(stream))
    assert {chunk.choices[0].finish_reason for chunk in others} == {None}
    assert last.choices[0].finish_reason == finish_reason
    assert last.choices[0].delta.to_dict() == {}
    assert _in_one(stream).choices[0].finish_reason == finish_reason


def test_tool_calls_are_counted_from_zero_whatever_their_blocks() -> None:
    """Text, reasoning and Bedrock's own tools have indexes too, but calls are numbered among themselves (fact 9)."""
    server = ToolStart(3, {"toolUseId": "s", "name": "search", "type": "server_tool_use"})
    events: list[Event] = [
        *(START, Reasoning(0, "hm"), BlockEnd(0), Text(1, "I'll look."), BlockEnd(1)),
        *_tool(2, "t1", "get_weather", "", '{"city":', ' "Paris"}'),
        *(server, ToolInput(3, '{"q": 1}'), BlockEnd(3)),
        *(ToolResultStart(4, {"toolUseId": "s"}), ToolResult(4, [{"text": "x"}]), BlockEnd(4)),
        *_tool(5, "t2", "get_time", '{"city": "Paris"}'),
        Done("tool_use", USAGE),
    ]
    assert [
        call.to_dict()
        for chunk in _chunks(_streamed(events))
        for call in chunk.choices[0].delta.tool_calls or ()
    ] == [
        {
            "index": 0,
            "id": "t1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": ""},
        },
        {"index": 0, "function": {"arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 0, "function": {"arguments": ' "Paris"}'}},
        {
            "index": 1,
            "id": "t2",
            "type": "function",
            "function": {"name": "get_time", "arguments": ""},
        },
        {"index": 1, "function": {"arguments": '{"city": "Paris"}'}},
    ]
    assert [call.to_dict() for call in _in_one(events).choices[0].message.tool_calls] == [
        {
            "id": "t1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
        },
        {
            "id": "t2",
            "type": "function",
            "function": {"name": "get_time", "arguments": '{"city": "Paris"}'},
        },
    ]
    paris = '{"city": "Paris"}'
    assert _calls(_message(_streamed(events))) == [("t1", paris), ("t2", paris)]


def test_tool_calls_side_by_side_are_kept_apart() -> None:
    """Pieces of two calls that take turns get to the call that they belong to."""
    events: list[Event] = [
        START,
        ToolStart(0, {"toolUseId": "a", "name": "f"}),
        ToolStart(1, {"toolUseId": "b", "name": "g"}),
        *(ToolInput(1, '{"b"'), ToolInput(0, '{"a"'), ToolInput(1, ":2}"), ToolInput(0, ":1}")),
        *(BlockEnd(1), BlockEnd(0), Done("tool_use", USAGE)),
    ]
    assert _calls(_message(_streamed(events))) == [("a", '{"a":1}'), ("b", '{"b":2}')]


@pytest.mark.parametrize("pieces", [(), ("",), ("", "")])
def test_a_call_without_input_has_an_empty_object(pieces: tuple[str, ...]) -> None:
    """Not ``""``, which no caller can parse: for a tool that takes nothing, Bedrock may send nothing."""
    events: list[Event] = [START, *_tool(0, "t", "now", *pieces), Done("tool_use", USAGE)]
    for message in (_message(_streamed(events)), _in_one(events).choices[0].message):
        assert _calls(message) == [("t", "{}")]


def test_a_call_that_broke_off_is_not_completed() -> None:
    """Where the stream failed within a call, nothing makes it look whole."""
    start = ToolStart(0, {"toolUseId": "t", "name": "f"})
    data = _streamed([START, start, BlockEnd(0, complete=False), CUT])
    assert b"{}" not in data
    assert b'finish_reason":"' not in data


def test_a_whole_answer() -> None:
    """One ``chat.completion``, to the last byte."""
    events: list[Event] = [START, Text(0, "Grüße"), Text(0, "!"), BlockEnd(0), DONE]
    assert b"".join(WHOLE.encode(events)).decode() == (
        f'{{"id":"chatcmpl-r-1","object":"chat.completion","created":1700000000,"model":"{MODEL}",'
        '"choices":[{"index":0,"message":{"role":"assistant","content":"Grüße!","refusal":null},'
        '"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,'
        '"total_tokens":8,"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0}}}'
    )
    assert WHOLE.headers == {"content-type": "application/json"}
    assert not WHOLE.heartbeat  # before it there must be room for the status of a failure
    assert _in_one(events).choices[0].message.content == "Grüße!"


def test_content_is_null_where_there_is_only_a_call() -> None:
    """As OpenAI has it; an answer with nothing at all has empty text."""
    only_a_call = _in_one([START, *TOOL, Done("tool_use", USAGE)]).choices[0].message
    assert only_a_call.content is None
    assert _in_one([START, DONE]).choices[0].message.content == ""


THOUGHTS: list[Event] = [
    *(Reasoning(0, "Let me"), Reasoning(0, " see."), ReasoningSignature(0, "c2ln"), BlockEnd(0)),
    *(RedactedReasoning(1, "AAEC"), BlockEnd(1)),
    *(Reasoning(2, "Well."), ReasoningSignature(2, "bmV3"), BlockEnd(2)),
    *(ReasoningSignature(3, "b25seQ=="), BlockEnd(3)),
]
THINKING_BLOCKS = [
    {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "AAEC"},
    {"type": "thinking", "thinking": "Well.", "signature": "bmV3"},
    {"type": "thinking", "thinking": "", "signature": "b25seQ=="},
]


def test_reasoning_keeps_its_signatures() -> None:
    """The client's own helper adds the blocks up, each with its signature; a whole answer has the same."""
    events: list[Event] = [START, *THOUGHTS, *_tool(4, "t", "f", "{}"), Done("tool_use", USAGE)]
    added_up = _message(_streamed(events)).to_dict()
    whole = _in_one(events).choices[0].message.to_dict()
    assert added_up["reasoning_content"] == whole["reasoning_content"] == "Let me see.Well."
    assert whole["thinking_blocks"] == THINKING_BLOCKS
    assert added_up["thinking_blocks"] == [
        {"index": number, **block} for number, block in enumerate(THINKING_BLOCKS)
    ]


@pytest.mark.parametrize("streams", [True, False])
def test_an_answer_that_comes_back_is_what_bedrock_said(streams: bool) -> None:  # noqa: FBT001  # both ways
    """The client sends its own message back as it got it; the turn that Bedrock sees is the one that it said."""
    page = Citation(4, {"title": "T", "location": {"web": {"url": "https://a.example/"}}})
    answer: list[Event] = [
        *(START, *THOUGHTS, Text(4, "I'll look."), page, BlockEnd(4)),
        *_tool(5, "t1", "f", '{"a":', " 1}"),
        *_tool(6, "t2", "g"),
        Done("tool_use", USAGE),
    ]
    said = _message(_streamed(answer)) if streams else _in_one(answer).choices[0].message
    sent: list[bytes] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.content)
        return httpx2.Response(200, json={})

    http_client = httpx2.Client(transport=httpx2.MockTransport(note))
    with openai.OpenAI(api_key="x", base_url="http://f/v1", http_client=http_client) as client:
        client.chat.completions.create(
            model="m",
            messages=[
                *MESSAGES,
                said,  # type: ignore[list-item]  # as the client's own documentation has it
                {"role": "tool", "tool_call_id": "t1", "content": "1"},
                {"role": "tool", "tool_call_id": "t2", "content": "2"},
            ],
            tools=[{"type": "function", "function": {"name": name}} for name in ("f", "g")],
        )
    request = API.read(json.loads(sent[0]), MODEL, {}).request
    _user, assistant, results = request["messages"]
    assert assistant["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Let me see.", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "AAEC"}},
        {"reasoningContent": {"reasoningText": {"text": "Well.", "signature": "bmV3"}}},
        {"reasoningContent": {"reasoningText": {"text": "", "signature": "b25seQ=="}}},
        {"text": "I'll look."},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
        {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
    ]
    assert [block["toolResult"]["toolUseId"] for block in results["content"]] == ["t1", "t2"]


def test_web_pages_are_annotations() -> None:
    """With the span of the block that rests on them, which is known at its end; other sources have no place."""
    events: list[Event] = [
        *(START, Text(0, "As we know: "), BlockEnd(0)),
        Citation(1, {"title": "A", "location": {"web": {"url": "https://a.example/"}}}),
        *(Text(1, "it "), Text(1, "rains")),
        Citation(1, {"location": {"web": {"url": "https://b.example/", "domain": "b.example"}}}),
        Citation(1, {"location": {"web": {"url": "https://c.example/"}}}),
        Citation(1, {"location": {"documentChar": {"documentIndex": 0}}, "title": "no"}),
        *(Citation(1, {"location": {"web": {"domain": "no"}}}), Citation(1, {"location": "no"})),
        *(BlockEnd(1), Text(2, ", it pours"), BlockEnd(2)),
        Citation(3, {"location": {"web": {"url": "https://no.example/"}}}),
        *(BlockEnd(3), Text(4, ".")),
        Citation(4, {"location": {"web": {"url": "https://d.example/"}}}),
        *(BlockEnd(4), DONE),
    ]
    whole = _in_one(events).choices[0].message
    told = [annotation.to_dict() for annotation in whole.annotations]
    assert {annotation["type"] for annotation in told} == {"url_citation"}
    assert [
        (page["title"], page["url"], whole.content[page["start_index"] : page["end_index"]])
        for page in (annotation["url_citation"] for annotation in told)
    ] == [
        ("A", "https://a.example/", "it rains"),
        ("b.example", "https://b.example/", "it rains"),
        ("https://c.example/", "https://c.example/", "it rains"),
        ("https://d.example/", "https://d.example/", "."),
    ]
    added_up = _message(_streamed(events)).annotations or []
    assert [annotation.url_citation for annotation in added_up] == [
        annotation.url_citation for annotation in whole.annotations
    ]


def test_the_service_tier_is_told_where_bedrock_tells_it() -> None:
    """In the chunk that ends the choice, the one with the usage, and the whole answer."""
    done = Done("end_turn", USAGE, {"serviceTier": {"type": "flex"}, "metrics": {"latencyMs": 1}})
    *_, finish, usage = _chunks(b"".join(WITH_USAGE.encode([START, done])))
    assert (finish.service_tier, usage.service_tier) == ("flex", "flex")
    assert _in_one([START, done]).service_tier == "flex"
    assert "service_tier" not in _in_one([START, DONE]).to_dict()


FAILURES = [
    transport_error("read_timeout"),
    transport_error("truncated"),
    limit_error("timeout"),
    limit_error("response_too_large"),
    internal_error(KeyError("x")),
    bedrock_error("throttlingException"),
    bedrock_error("validationException", "No."),
    bedrock_error("modelStreamErrorException", original_status=529),
    RelayError(502, "unknown", "Bedrock reported an error.", retryable=True),
]


@pytest.mark.parametrize("error", FAILURES, ids=[error.code for error in FAILURES])
def test_a_failure_in_mid_stream_is_the_clients_exception(error: RelayError) -> None:
    """What came before it is kept, then ``openai.APIError`` says what happened: no finish reason, no ``[DONE]``."""
    data = _streamed([START, Text(0, "Hi"), BlockEnd(0, complete=False), Failure(error)])
    assert b"[DONE]" not in data
    assert b'"finish_reason":"' not in data
    (opening, said), told = _read(data)
    assert opening.choices[0].delta.role == "assistant"
    assert said.choices[0].delta.content == "Hi"
    assert told is not None
    assert told.message == error.message
    assert told.code == error.code
    assert isinstance(told.body, dict)
    assert told.body["retryable"] == error.retryable
    assert told.body["request_id"] == "r-1"
    with pytest.raises(openai.APIError, match=error.message[:10]):
        _added_up(data)


def test_a_failure_to_the_last_byte() -> None:
    """One object, as OpenAI's; what was counted until then is in it."""
    failure = Failure(bedrock_error("modelStreamErrorException", original_status=529), USAGE)
    *_, end = STREAM.encode([START, failure])
    assert end.decode() == (
        'data: {"error":{"message":"The model failed while streaming.","type":"server_error","param":null,'
        '"code":"model_stream_error","request_id":"r-1","retryable":true,"original_status":529,'
        '"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,'
        '"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0}}}}\n\n'
    )


def test_a_failure_alone_is_an_error_too() -> None:
    """Behind heartbeats there may be nothing but the failure: the client raises, whatever it waited for."""
    beats = STREAM.heartbeat * 3
    data = beats + _streamed([Failure(transport_error("connect_timeout"))])
    assert b"request_id" not in data  # nobody has said it yet
    with (
        _client(data) as client,
        client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream,
        pytest.raises(openai.APIError, match="did not accept"),
    ):
        next(stream)


@pytest.mark.parametrize("events", [[CUT], [START, CUT], [START, Text(0, "Hi"), BlockEnd(0), CUT]])
def test_a_whole_answer_that_failed_is_left_to_its_status(events: list[Event]) -> None:
    """Nothing is written of it: an error is no text in a 200."""
    assert list(WHOLE.encode(events)) == []


def test_heartbeats_mean_nothing() -> None:
    """Before the first event, between any two and behind the last, the client passes over them."""
    assert STREAM.heartbeat == WITH_USAGE.heartbeat == b": ping\n\n"
    pieces = list(STREAM.encode([START, Text(0, "Hi"), *_tool(1, "t", "f"), DONE]))
    beaten = STREAM.heartbeat + STREAM.heartbeat.join(pieces) + STREAM.heartbeat
    assert _chunks(beaten) == _chunks(b"".join(pieces))


def test_an_event_is_written_when_it_comes() -> None:
    """A delta is there before the next event is asked for: nothing is held or joined."""
    asked = 0

    def one_by_one() -> Iterator[Event]:
        nonlocal asked
        events: list[Event] = [
            START,
            Text(0, "a"),
            Reasoning(1, "b"),
            *TOOL[:2],
            Text(2, "c"),
            DONE,
        ]
        for event in events:
            asked += 1
            yield event

    for format_ in (STREAM, WITH_USAGE):
        asked = 0
        for number, piece in enumerate(format_.encode(one_by_one()), 1):
            assert asked == number
            assert piece.startswith(b"data: ")
            assert piece.endswith(b"\n\n")


ERRORS: list[tuple[RelayError, type[openai.APIStatusError], str]] = [
    (
        invalid("messages[0].role", "another", "none"),
        openai.BadRequestError,
        "invalid_request_error",
    ),
    (RequestError(404, "model_not_found", "?"), openai.NotFoundError, "invalid_request_error"),
    (RequestError(413, "payload_too_large", "?"), openai.APIStatusError, "invalid_request_error"),
    (RelayError(401, "unauthorized", "?"), openai.AuthenticationError, "authentication_error"),
    (
        bedrock_error("AccessDeniedException"),
        openai.PermissionDeniedError,
        "permission_error",
    ),
    (bedrock_error("ThrottlingException"), openai.RateLimitError, "rate_limit_error"),
    (bedrock_error("ModelNotReadyException"), openai.RateLimitError, "rate_limit_error"),
    (limit_error("too_many_streams"), openai.RateLimitError, "rate_limit_error"),
    (bedrock_error("ValidationException"), openai.BadRequestError, "invalid_request_error"),
    (bedrock_error("ServiceQuotaExceededException"), openai.BadRequestError, "insufficient_quota"),
    (bedrock_error("ModelTimeoutException"), openai.APIStatusError, "server_error"),
    (bedrock_error("ModelErrorException"), openai.APIStatusError, "server_error"),
    (bedrock_error("InternalServerException"), openai.InternalServerError, "server_error"),
    (transport_error("connect_failed"), openai.InternalServerError, "server_error"),
    (internal_error(KeyError()), openai.InternalServerError, "server_error"),
]


@pytest.mark.parametrize(("error", "raised", "type_"), ERRORS, ids=[e.code for e, _, _ in ERRORS])
def test_a_refusal_is_the_clients_own_exception(
    error: RelayError, raised: type[openai.APIStatusError], type_: str
) -> None:
    """By its status; with our code, OpenAI's type and the caller's field, and word on whether to try again."""
    headers, body = API.refuse(error, "r-1", {})
    assert headers == {"x-should-retry": "true" if error.retryable else "false"}
    with (
        _client(json.dumps(body).encode(), error.status, headers) as client,
        pytest.raises(raised) as caught,
    ):
        client.chat.completions.create(model="m", messages=MESSAGES)
    told = caught.value
    assert (told.code, told.type, told.param) == (error.code, type_, error.field)
    assert told.body == {
        "message": error.message,
        "type": type_,
        "param": error.field,
        "code": error.code,
        "request_id": "r-1",
        "retryable": error.retryable,
    }


@pytest.mark.parametrize(("retryable", "calls"), [(True, 2), (False, 1)])
def test_the_client_tries_again_where_it_may_help(retryable: bool, calls: int) -> None:  # noqa: FBT001  # a flag it is
    """Whatever it would make of the status: 424 is no reason to retry by itself, 502 is one."""
    error = RelayError(424 if retryable else 502, "x", "?", retryable=retryable)
    headers, body = API.refuse(error, "r-1", {})
    seen = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(
            error.status, headers={**headers, "retry-after-ms": "1"}, content=json.dumps(body)
        )

    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    with (
        openai.OpenAI(
            api_key="x", base_url="http://f/v1", max_retries=1, http_client=http_client
        ) as client,
        pytest.raises(openai.APIStatusError),
    ):
        client.chat.completions.create(model="m", messages=MESSAGES)
    assert len(seen) == calls


@st.composite
def _blocks(draw: DrawFn, index: int) -> list[Event]:
    """Draw a block of any kind, from its first piece to its end."""
    texts = draw(st.lists(TEXT, max_size=3))
    match draw(st.sampled_from(["text", "reasoning", "redacted", "tool", "server", "other"])):
        case "text":
            page = {"location": {"web": {"url": draw(TEXT)}}, "title": draw(TEXT)}
            cited: list[Event] = [Citation(index, page)] if draw(st.booleans()) else []
            pieces: list[Event] = [Text(index, text) for text in texts]
            return draw(st.permutations([*pieces, *cited]))
        case "reasoning":
            signed = [ReasoningSignature(index, draw(TEXT))] if draw(st.booleans()) else []
            return [*(Reasoning(index, text) for text in texts), *signed]
        case "redacted":
            return [RedactedReasoning(index, text) for text in texts]
        case "tool":
            tool = {"toolUseId": f"id-{index}", "name": "f"}
            return [ToolStart(index, tool), *(ToolInput(index, text) for text in texts)]
        case "server":
            tool = {"toolUseId": "s", "name": "f", "type": "server_tool_use"}
            return [ToolStart(index, tool), *(ToolInput(index, text) for text in texts)]
        case _:
            return [ImageStart(index, "png"), Image(index, {}), Unknown("new", b"", b"")]


@st.composite
def _streams(draw: DrawFn) -> list[Event]:
    """Draw a stream: blocks, one after another or in each other's midst, and one end."""
    indexes = draw(st.lists(st.integers(0, 30), max_size=6, unique=True))
    blocks = [draw(_blocks(index)) for index in indexes]
    fails = draw(st.booleans())
    if fails and blocks:
        blocks[-1] = blocks[-1][: draw(st.integers(0, 3))]
    ends = [
        [*block, BlockEnd(index, complete=not (fails and block is blocks[-1]))]
        for index, block in zip(indexes, blocks, strict=True)
    ]
    if draw(st.booleans()):
        pieces = [event for block in ends for event in block]
    else:
        turns = draw(st.permutations([i for i, block in enumerate(ends) for _ in block]))
        left = [iter(block) for block in ends]
        pieces = [next(left[turn]) for turn in turns]
    reason = draw(st.sampled_from(["end_turn", "tool_use", "max_tokens", "new", None]))
    end: Event = CUT if fails else Done(reason, USAGE)
    return [START, *pieces, end]


def _arguments(events: list[Event]) -> list[str]:
    """Return what the calls' inputs are, by the events alone."""
    said = {
        event.index: ""
        for event in events
        if isinstance(event, ToolStart) and "type" not in event.tool
    }
    for event in events:
        if isinstance(event, ToolInput) and event.index in said:
            said[event.index] += event.input
        elif isinstance(event, BlockEnd) and event.complete and said.get(event.index) == "":
            said[event.index] = "{}"
    return list(said.values())


@given(_streams())
def test_any_stream_is_read_as_it_was_said(events: list[Event]) -> None:
    """Text, reasoning and inputs are those of the events, streamed and whole; one finish, or one error."""
    pieces = list(STREAM.encode(events))
    failed = isinstance(events[-1], Failure)
    text = "".join(event.text for event in events if isinstance(event, Text))
    thoughts = "".join(event.text for event in events if isinstance(event, Reasoning))
    arguments = [in_unicode(text) for text in _arguments(events)]

    chunks, error = _read(b"".join(pieces))
    assert (error is not None) == failed
    assert pieces[-1].endswith(END.encode()) != failed
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert sum(choice.finish_reason is not None for choice in choices) == (not failed)
    assert in_unicode("".join(c.delta.content or "" for c in choices)) == in_unicode(text)

    added_up: Any = _message(b"".join(pieces[: -1 if failed else None])).to_dict()
    whole = [json.loads(document)["choices"][0]["message"] for document in WHOLE.encode(events)]
    assert len(whole) == (not failed)
    for message in (added_up, *whole):
        calls: Any = message.get("tool_calls") or ()
        assert in_unicode(message["content"] or "") == in_unicode(text)
        assert in_unicode(message.get("reasoning_content", "")) == in_unicode(thoughts)
        assert [in_unicode(call["function"]["arguments"]) for call in calls] == arguments

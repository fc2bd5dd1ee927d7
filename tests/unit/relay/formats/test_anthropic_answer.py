from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from relay.formats.anthropic_answer import message, stream
from tests.anthropic_client import ASKED, answering, failure, streamed, whole
from tests.strategies.values import TEXT, in_unicode, split_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hypothesis.strategies import DrawFn

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
START = Start("a.model", "r1", created=1_700_000_000)
TOOL = {"toolUseId": "t1", "name": "get_weather"}
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 15, "cacheReadInputTokens": 7}
TOLD_USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 7,
    "output_tokens": 5,
}
THOUGHT: list[Event] = [Reasoning(0, "h"), Reasoning(0, "m"), ReasoningSignature(0, "c2ln")]


def _said(events: Iterable[Event]) -> list[Any]:
    """Return what httpx-sse reads; each event has the name that it has in its data."""
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=b"".join(stream(events)))
    said = []
    for event in EventSource(response).iter_sse():
        said.append(json.loads(event.data))
        assert event.event == said[-1]["type"]
        assert (event.id, event.retry) == ("", None)
    return said


def _begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, type_: str, **piece: Any) -> dict[str, Any]:
    delta = {"type": type_, **piece}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def _document(events: Iterable[Event]) -> Any:
    (document,) = message(events)
    return json.loads(document)


def test_a_stream_to_the_byte() -> None:
    """Each event is complete where Bedrock's is, and says its name twice."""
    events: list[Event] = [
        START,
        Text(0, 'Grüße "🦦"\n'),
        Text(0, "!"),
        BlockEnd(0),
        Done("end_turn", USAGE),
    ]
    begin, first, second, stop, end = stream(events)
    assert begin == (
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"id":"msg_r1","type":"message","role":"assistant",'
        b'"model":"a.model","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,'
        b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}\n\n'
    )
    assert first == (
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
        + '"text":"Grüße \\"🦦\\"\\n"}}\n\n'.encode()
    )
    assert second == (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"!"}}\n\n'
    )
    assert stop == b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    assert end == (
        b"event: message_delta\n"
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"input_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":7,'
        b'"output_tokens":5}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            [Reasoning(3, "hm"), ReasoningSignature(3, "s"), BlockEnd(3)],
            [
                _begin(0, type="thinking", thinking="", signature=""),
                _delta(0, "thinking_delta", thinking="hm"),
                _delta(0, "signature_delta", signature="s"),
                _end(0),
            ],
        ),
        (
            [ReasoningSignature(0, "s"), BlockEnd(0)],
            [
                _begin(0, type="thinking", thinking="", signature=""),
                _delta(0, "signature_delta", signature="s"),
                _end(0),
            ],
        ),
        (
            [RedactedReasoning(0, "AAEC"), RedactedReasoning(0, "AwQF"), BlockEnd(0)],
            [
                _begin(0, type="redacted_thinking", data="AAECAwQF"),
                _end(0),
            ],
        ),
        (
            [ToolStart(7, TOOL), ToolInput(7, ""), ToolInput(7, '{"q":'), BlockEnd(7)],
            [
                _begin(0, type="tool_use", id="t1", name="get_weather", input={}),
                _delta(0, "input_json_delta", partial_json=""),
                _delta(0, "input_json_delta", partial_json='{"q":'),
                _end(0),
            ],
        ),
        (
            [ToolStart(0, {**TOOL, "type": "server_tool_use"}), ToolInput(0, "{}"), BlockEnd(0)],
            [
                _begin(0, type="server_tool_use", id="t1", name="get_weather", input={}),
                _delta(0, "input_json_delta", partial_json="{}"),
                _end(0),
            ],
        ),
        ([ToolInput(0, "{}"), BlockEnd(0)], []),
        (
            [Text(0, "a"), ToolInput(0, "{}"), BlockEnd(0)],
            [_begin(0, type="text", text=""), _delta(0, "text_delta", text="a"), _end(0)],
        ),
        (
            [Reasoning(0, "a"), Text(0, "b"), BlockEnd(0)],
            [
                _begin(0, type="thinking", thinking="", signature=""),
                _delta(0, "thinking_delta", thinking="a"),
                _end(0),
                _begin(1, type="text", text=""),
                _delta(1, "text_delta", text="b"),
                _end(1),
            ],
        ),
        (
            [Text(0, "a"), Text(5, "b"), Text(0, "c"), BlockEnd(5), BlockEnd(0), Text(0, "d")],
            [
                _begin(0, type="text", text=""),
                _delta(0, "text_delta", text="a"),
                _begin(1, type="text", text=""),
                _delta(1, "text_delta", text="b"),
                _delta(0, "text_delta", text="c"),
                _end(1),
                _end(0),
                _begin(2, type="text", text=""),
                _delta(2, "text_delta", text="d"),
            ],
        ),
        ([BlockEnd(0), BlockEnd(0)], []),
        ([ImageStart(0, "png"), Image(0, {"source": {"bytes": "AA=="}}), BlockEnd(0)], []),
        ([ToolResultStart(0, TOOL), ToolResult(0, [{"text": "x"}]), BlockEnd(0)], []),
        ([Unknown("new", b"{}", b""), Forwarded("new", b"{}", b""), Chunk(b"{}")], []),
        ([Citation(0, {}), Citation(0, {"location": {"new": {}}})], []),
    ],
)
def test_each_piece_in_anthropics_terms(events: list[Event], said: list[Any]) -> None:
    """Blocks begin once, are numbered without gaps, and hold pieces of one kind; what has no place is left out."""
    assert _said([START, *events])[1:] == said


@pytest.mark.parametrize(
    ("citation", "told"),
    [
        (
            {
                "title": "T",
                "sourceContent": [{"text": "so "}, {"text": "it says"}],
                "location": {"documentChar": {"documentIndex": 1, "start": 2, "end": 9}},
            },
            {
                "type": "char_location",
                "cited_text": "so it says",
                "document_index": 1,
                "start_char_index": 2,
                "end_char_index": 9,
                "document_title": "T",
            },
        ),
        (
            {"location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}},
            {
                "type": "page_location",
                "cited_text": "",
                "document_index": 0,
                "start_page_number": 1,
                "end_page_number": 2,
                "document_title": None,
            },
        ),
        (
            {"location": {"documentChunk": {"documentIndex": 0, "start": 1, "end": 2}}},
            {
                "type": "content_block_location",
                "cited_text": "",
                "document_index": 0,
                "start_block_index": 1,
                "end_block_index": 2,
                "document_title": None,
            },
        ),
        (
            {
                "title": "T",
                "source": "https://a.example",
                "location": {
                    "searchResultLocation": {"searchResultIndex": 0, "start": 1, "end": 2}
                },
            },
            {
                "type": "search_result_location",
                "cited_text": "",
                "search_result_index": 0,
                "start_block_index": 1,
                "end_block_index": 2,
                "title": "T",
                "source": "https://a.example",
            },
        ),
        (
            {"location": {"web": {"url": "https://a.example", "domain": "a.example"}}},
            {
                "type": "web_search_result_location",
                "cited_text": "",
                "url": "https://a.example",
                "title": None,
                "encrypted_index": "",
            },
        ),
    ],
)
def test_a_citation_has_its_place(citation: dict[str, Any], told: dict[str, Any]) -> None:
    """Each kind of place that both have is told, and Anthropic's client keeps it with the text."""
    events: list[Event] = [
        START,
        Text(0, "a"),
        Citation(0, citation),
        BlockEnd(0),
        Done("end_turn", {}),
    ]
    assert _said(events)[3] == _delta(0, "citations_delta", citation=told)
    (block,) = streamed(stream(events)).content
    assert [c.to_dict() for c in block.citations or []] == [told]  # type: ignore[union-attr]  # a text has them
    assert _document(events)["content"] == [{"type": "text", "text": "a", "citations": [told]}]


@pytest.mark.parametrize(
    "citation",
    [
        {"location": {"web": {}}},
        {"location": {"documentChar": {"start": 1, "end": 2}}},
        {"location": {"documentChar": 5}},
        {"location": None},
        {"title": "T", "sourceContent": "no list"},
    ],
)
def test_a_citation_without_a_place_is_left_out(citation: dict[str, Any]) -> None:
    """Nothing is made up: what Anthropic cannot say of a citation is not said."""
    events: list[Event] = [
        START,
        Text(0, "a"),
        Citation(0, citation),
        BlockEnd(0),
        Done("end_turn", {}),
    ]
    assert _document(events)["content"] == [{"type": "text", "text": "a"}]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_use"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        ("guardrail_intervened", "refusal"),
        ("content_filtered", "refusal"),
        ("malformed_tool_use", "malformed_tool_use"),
        ("quite_new", "quite_new"),
        (None, "end_turn"),
    ],
)
def test_there_is_always_a_stop_reason(reason: str | None, told: str) -> None:
    """Anthropic's where it has one, Bedrock's own where it has not (fact 4), never ``null`` at the end."""
    events: list[Event] = [START, Text(0, "a"), BlockEnd(0), Done(reason, {})]
    assert streamed(stream(events)).stop_reason == told
    assert whole(message(events)).stop_reason == told


def _conversation() -> list[Event]:
    return [
        START,
        *THOUGHT,
        BlockEnd(0),
        RedactedReasoning(1, "AAEC"),
        BlockEnd(1),
        Text(2, "I'll "),
        Text(2, "ask."),
        BlockEnd(2),
        ToolStart(3, TOOL),
        ToolInput(3, ""),
        ToolInput(3, '{"city":'),
        ToolInput(3, ' "Lima"}'),
        BlockEnd(3),
        ToolStart(4, {"toolUseId": "t2", "name": "get_time"}),
        BlockEnd(4),
        Done("tool_use", USAGE),
    ]


CONTENT = [
    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "AAEC"},
    {"type": "text", "text": "I'll ask."},
    {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Lima"}},
    {"type": "tool_use", "id": "t2", "name": "get_time", "input": {}},
]


def test_anthropics_client_puts_the_message_together() -> None:
    """Thought and its signature, parallel calls with their inputs, one without any, usage: all of it arrives."""
    for said in (streamed(stream(_conversation())), whole(message(_conversation()))):
        assert [block.to_dict() for block in said.content] == CONTENT
        assert (said.id, said.model, said.role) == ("msg_r1", "a.model", "assistant")
        assert (said.stop_reason, said.stop_sequence) == ("tool_use", None)
        assert said.usage.to_dict() == TOLD_USAGE


def test_the_message_in_one_piece() -> None:
    """The whole answer is the object that the stream adds up to."""
    assert _document(_conversation()) == {
        "id": "msg_r1",
        "type": "message",
        "role": "assistant",
        "model": "a.model",
        "content": CONTENT,
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": TOLD_USAGE,
    }


def test_anthropics_client_streams_text() -> None:
    """Its stream of text has each piece by itself; raw events come one by one, too."""
    with answering(stream(_conversation())) as answered:
        with answered.client.messages.stream(**ASKED) as said:
            assert list(said.text_stream) == ["I'll ", "ask."]
        raw = answered.client.messages.create(**ASKED, stream=True)
        assert [event.type for event in raw] == [said["type"] for said in _said(_conversation())]


def test_a_ping_may_come_anywhere() -> None:
    """Heartbeats between all events, even before the first, change nothing for Anthropic's client."""
    quiet = streamed(stream(_conversation())).to_dict()
    pieces = [piece for said in stream(_conversation()) for piece in (PING, said)]
    assert streamed([*pieces, PING]).to_dict() == quiet


@pytest.mark.parametrize(
    ("failed", "type_"),
    [
        (bedrock_error("throttlingException"), "rate_limit_error"),
        (bedrock_error("serviceUnavailableException"), "overloaded_error"),
        (bedrock_error("modelStreamErrorException", original_status=529), "api_error"),
        (bedrock_error("validationException", "no"), "invalid_request_error"),
        (transport_error("read_timeout"), "timeout_error"),
        (transport_error("truncated"), "api_error"),
    ],
)
def test_a_failure_in_mid_stream_is_an_exception(failed: Any, type_: str) -> None:
    """After what came, the open block is closed and the client raises: no text in a 200 that looks like an answer."""
    events: list[Event] = [
        START,
        Text(0, "a"),
        BlockEnd(0, complete=False),
        Failure(failed, {"inputTokens": 3}),
    ]
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }
    details = {"error_code": failed.code}
    told = {"type": type_, "details": details, **failed.told(), "usage": usage}
    assert _said(events)[1:] == [
        _begin(0, type="text", text=""),
        _delta(0, "text_delta", text="a"),
        _end(0),
        {"type": "error", "error": told, "request_id": "r1"},
    ]
    raised = failure(stream(events))
    assert (raised.type, raised.error_code) == (type_, failed.code)
    assert raised.api_message == failed.message
    assert list(message(events)) == []


def test_a_failure_may_come_alone() -> None:
    """Where nothing but heartbeats has been sent, the error is all there is, and the client raises it."""
    events: list[Event] = [Failure(transport_error("read_timeout"))]
    assert "request_id" not in _said(events)[0]
    assert failure([PING, *stream(events)]).type == "timeout_error"
    assert list(message(events)) == []


@pytest.mark.parametrize("text", ['{"a": [1,', '{"a"', "[1]", "5", "NaN", '{"a": "\ud83e'])
def test_input_cut_short_is_told_as_it_is(text: str) -> None:
    """Half a tool's input (fact 7) is neither lost nor taken for an input without members."""
    events: list[Event] = [
        START,
        ToolStart(0, TOOL),
        ToolInput(0, text),
        BlockEnd(0),
        Done("max_tokens", {}),
    ]
    (block,) = _document(events)["content"]
    assert block["input"] == {"INVALID_JSON": text}


def test_a_pair_split_between_two_pieces_is_whole_in_the_end() -> None:
    """Both halves of a surrogate pair make the letter again, in the stream and in one piece."""
    events: list[Event] = [
        START,
        Text(0, "a\ud83e"),
        Text(0, "\udda6b"),
        BlockEnd(0),
        Done("end_turn", {}),
    ]
    assert _document(events)["content"] == [{"type": "text", "text": "a🦦b"}]
    deltas = [said for said in _said(events) if said["type"] == "content_block_delta"]
    assert in_unicode("".join(said["delta"]["text"] for said in deltas)) == "a🦦b"


def _pieces(index: int) -> st.SearchStrategy[list[Event]]:
    """Draw a block's pieces, of one kind mostly."""
    tool = st.fixed_dictionaries({"toolUseId": TEXT, "name": TEXT})
    one_of_these: list[st.SearchStrategy[Event]] = [
        st.builds(Text, st.just(index), TEXT),
        st.builds(Reasoning, st.just(index), TEXT),
        st.builds(ReasoningSignature, st.just(index), TEXT),
        st.builds(RedactedReasoning, st.just(index), TEXT),
        st.builds(ToolStart, st.just(index), tool),
        st.builds(ToolInput, st.just(index), TEXT),
        st.builds(Citation, st.just(index), st.dictionaries(TEXT, TEXT)),
        st.builds(BlockEnd, st.just(index)),
        st.builds(Unknown, TEXT, st.just(b"{}"), st.just(b"")),
    ]
    return st.lists(st.one_of(one_of_these), max_size=5)


@st.composite
def _streams(draw: DrawFn) -> list[Event]:
    """Draw any stream that keeps to the grammar: pieces in any order, blocks closed before the end."""
    blocks = draw(st.lists(st.integers(0, 3).flatmap(_pieces), max_size=5))
    pieces = [piece for block in blocks for piece in block]
    open_blocks: dict[int, None] = {}
    for piece in pieces:
        if isinstance(piece, BlockEnd):
            open_blocks.pop(piece.index, None)
        elif not isinstance(piece, Unknown):
            open_blocks[piece.index] = None  # type: ignore[union-attr]  # all the others have one
    end: Event = draw(
        st.builds(Done, st.none() | TEXT, st.just(USAGE))
        | st.just(Failure(transport_error("truncated")))
    )
    complete = isinstance(end, Done)
    return [START, *pieces, *(BlockEnd(i, complete=complete) for i in open_blocks), end]


many = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(_streams())
def test_any_stream_keeps_to_anthropics_grammar(events: list[Event]) -> None:
    """Blocks begin and end once, in order, with pieces of their own kind between; there is exactly one end."""
    first, *middle, last = _said(events)
    assert first["type"] == "message_start"
    if isinstance(events[-1], Done):
        assert middle.pop()["type"] == "message_delta"
        assert last == {"type": "message_stop"}
    else:
        assert last["type"] == "error"
    kinds = {
        "text": {"text_delta", "citations_delta"},
        "thinking": {"thinking_delta", "signature_delta"},
        "tool_use": {"input_json_delta"},
        "redacted_thinking": set(),
    }
    count, open_blocks = 0, dict[int, str]()
    for said in middle:
        match said["type"]:
            case "content_block_start":
                assert said["index"] == count
                count += 1
                open_blocks[said["index"]] = said["content_block"]["type"]
            case "content_block_stop":
                open_blocks.pop(said["index"])
            case _:
                assert said["type"] == "content_block_delta"
                assert said["delta"]["type"] in kinds[open_blocks[said["index"]]]
    assert not open_blocks


@many
@given(_streams())
def test_no_piece_is_lost_or_held(events: list[Event]) -> None:
    """Text, thought and signature are all there, in order, and each piece is written when it has come."""
    came = []
    for event in events:
        match event:
            case Text(_, text):
                came.append(("text", text))
            case Reasoning(_, text):
                came.append(("thinking", text))
            case ReasoningSignature(_, signature):
                came.append(("signature", signature))
            case _:
                pass
    told = [
        (member, said["delta"][member])
        for said in _said(events)
        if said["type"] == "content_block_delta"
        for member in ("text", "thinking", "signature")
        if member in said["delta"]
    ]
    assert told == came
    asked = 0

    def one_by_one() -> Iterator[Event]:
        nonlocal asked
        for event in events:
            asked += 1
            yield event

    for seen, piece in enumerate(stream(one_by_one())):
        assert piece.endswith(b"\n\n")
        assert list(stream(events[:asked]))[seen:] == [piece]


@st.composite
def _answers(draw: DrawFn) -> list[Event]:
    """Draw an answer whose tool inputs are what Anthropic's client can read: the text of an object, in pieces."""
    events: list[Event] = [START]
    for index in range(draw(st.integers(0, 4))):
        texts = [in_unicode(text) for text in draw(split_texts())]
        match draw(st.sampled_from(["text", "thinking", "tool"])):
            case "text":
                events += [Text(index, text) for text in texts]
            case "thinking":
                events += [Reasoning(index, text) for text in texts]
                events.append(ReasoningSignature(index, "c2ln"))
            case _:
                events.append(ToolStart(index, {"toolUseId": f"t{index}", "name": "n"}))
                written = json.dumps(dict.fromkeys(texts, index))
                events += [ToolInput(index, letter) for letter in written]
        events.append(BlockEnd(index))
    return [*events, Done(draw(st.sampled_from(["end_turn", "tool_use", "max_tokens"])), USAGE)]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(_answers())
def test_a_stream_adds_up_to_the_message(events: list[Event]) -> None:
    """What Anthropic's client puts together from the stream is what it reads from the answer in one piece."""
    together = streamed(stream(events)).to_dict(exclude_none=True)
    assert together == whole(message(events)).to_dict(exclude_none=True)
    assert together == {k: v for k, v in _document(events).items() if v is not None}

from __future__ import annotations

import json
from base64 import b64decode
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
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
from relay.formats.json_objects import ndjson, server_sent_events

if TYPE_CHECKING:
    from collections.abc import Iterable

FAILURE = Failure(transport_error("read_timeout"))
LINES: list[tuple[Event, str]] = [
    (Start("a.model", "r1"), '{"type":"start","model":"a.model","request_id":"r1"}'),
    (
        Start("b.model", "r1", fallback_from="a.model"),
        '{"type":"start","model":"b.model","request_id":"r1","fallback_from":"a.model"}',
    ),
    (Text(0, 'Grüße "🦦"\n'), '{"type":"text","index":0,"text":"Grüße \\"🦦\\"\\n"}'),
    (Text(1, ""), '{"type":"text","index":1,"text":""}'),
    (Reasoning(0, "hm"), '{"type":"reasoning","index":0,"text":"hm"}'),
    (
        ReasoningSignature(0, "c2ln"),
        '{"type":"reasoning_signature","index":0,"signature":"c2ln"}',
    ),
    (RedactedReasoning(0, "AAEC"), '{"type":"redacted_reasoning","index":0,"data":"AAEC"}'),
    (
        ToolStart(1, {"toolUseId": "t", "name": "n"}),
        '{"type":"tool_start","index":1,"tool":{"toolUseId":"t","name":"n"}}',
    ),
    (ToolInput(1, '{"q":'), '{"type":"tool_input","index":1,"input":"{\\"q\\":"}'),
    (
        ToolResultStart(2, {"toolUseId": "t"}),
        '{"type":"tool_result_start","index":2,"result":{"toolUseId":"t"}}',
    ),
    (
        ToolResult(2, [{"json": {"a": [1, None]}}]),
        '{"type":"tool_result","index":2,"content":[{"json":{"a":[1,null]}}]}',
    ),
    (ImageStart(3, "png"), '{"type":"image_start","index":3,"format":"png"}'),
    (
        Image(3, {"source": {"bytes": "AAEC"}}),
        '{"type":"image","index":3,"image":{"source":{"bytes":"AAEC"}}}',
    ),
    (Citation(4, {"title": "T"}), '{"type":"citation","index":4,"citation":{"title":"T"}}'),
    (BlockEnd(4), '{"type":"block_end","index":4}'),
    (BlockEnd(4, complete=False), '{"type":"block_end","index":4,"complete":false}'),
    (Chunk(b'{"a": 1}', b""), '{"type":"chunk","chunk":{"a": 1}}'),
    (Chunk(b"plain", b""), '{"type":"chunk","bytes":"cGxhaW4="}'),
    (Unknown("new", b'{"a": 1}', b""), '{"type":"unknown","name":"new","payload":{"a":1}}'),
    (Unknown("new", b"\x00", b""), '{"type":"unknown","name":"new","payload":"AA=="}'),
    (
        Done("end_turn", {"inputTokens": 3}, {"metrics": {"latencyMs": 9}}),
        '{"type":"done","stop_reason":"end_turn","usage":{"inputTokens":3},"metrics":{"latencyMs":9}}',
    ),
    (Done(None, {}), '{"type":"done","usage":{}}'),
    (
        Done("x", {"a": 1}, {"type": "error", "usage": 0, "stop_reason": 0, "b": 1}),
        '{"type":"done","stop_reason":"x","usage":{"a":1},"b":1}',
    ),
    (
        FAILURE,
        '{"type":"error","code":"read_timeout","message":"Bedrock was silent for too long.","retryable":true}',
    ),
    (
        Failure(FAILURE.error, {"inputTokens": 3}, b"frame"),
        (
            '{"type":"error","code":"read_timeout","message":"Bedrock was silent for too long.",'
            '"retryable":true,"usage":{"inputTokens":3},"usage_partial":true}'
        ),
    ),
    (
        Failure(bedrock_error("modelStreamErrorException", original_status=529)),
        (
            '{"type":"error","code":"model_stream_error","message":"The model failed while streaming.",'
            '"retryable":true,"original_status":529}'
        ),
    ),
]


def _read_sse(data: bytes) -> list[str]:
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=data)
    return [event.data for event in EventSource(response).iter_sse()]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_each_event_is_one_object(event: Event, line: str) -> None:
    """The exact bytes of every event, in both formats."""
    assert list(ndjson([event])) == [line.encode() + b"\n"]
    assert list(server_sent_events([event])) == [b"data: " + line.encode() + b"\n\n"]
    json.loads(line)


def test_every_event_is_in_the_table() -> None:
    """An event without its bytes in the table above is noticed here; frames are forwarded in another format."""
    assert {type(event) for event, _ in LINES} == {*get_args(Event)} - {Forwarded}


def test_an_event_is_written_when_it_comes() -> None:
    """A piece is there before the next event is asked for: nothing is held or joined."""
    for encode in (ndjson, server_sent_events):
        asked = 0

        def one_by_one() -> Iterable[Event]:
            nonlocal asked
            for event, _ in LINES:
                asked += 1
                yield event

        for n, piece in enumerate(encode(one_by_one()), 1):
            assert asked == n
            assert piece.count(b"\n") == (1 if encode is ndjson else 2)


def test_a_judge_reads_the_sse() -> None:
    """httpx-sse, which is not ours, reads from the stream just the objects that were written."""
    data = b"".join(server_sent_events(event for event, _ in LINES))
    assert _read_sse(data) == [line for _, line in LINES]


@given(st.text(st.characters(codec=None, categories=None), max_size=30))
def test_any_text_stays_one_line(text: str) -> None:
    """Line ends of every kind, controls, separators, halves of pairs: one line of UTF-8, read back unchanged."""
    (line,) = ndjson([Text(0, text)])
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line.decode())["text"] == text
    (block,) = server_sent_events([Text(0, text)])
    assert json.loads(_read_sse(block)[0])["text"] == text


def test_a_pair_split_between_two_pieces_is_whole_in_the_end() -> None:
    """JSON's escapes carry half a surrogate pair; both halves make the letter again."""
    high, low = "\ud83e", "\udda6"
    pieces = [
        json.loads(line)["text"] for line in ndjson([Text(0, "a" + high), Text(0, low + "b")])
    ]
    joined = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16")
    assert joined == "a🦦b"


@pytest.mark.parametrize("line_end", ["\x85", "\u2028", "\u2029"])
def test_unicodes_own_line_ends_are_escaped(line_end: str) -> None:
    """A reader that splits at every line end of Unicode's, as Python's ``splitlines`` does, finds whole objects."""
    text = f"a{line_end}Grüße"
    lines = b"".join(
        ndjson([Text(0, text), Chunk(json.dumps([text], ensure_ascii=False).encode(), b"")])
    )
    said = [json.loads(line) for line in lines.decode().splitlines()]
    assert said == [{"type": "text", "index": 0, "text": text}, {"type": "chunk", "chunk": [text]}]


@pytest.mark.parametrize(
    "document",
    [
        b'{"a":\r\n 1,\n\n"b": "x\\ny"}\n',
        b'[1.0, 1e5, 12345678901234567890, 1.10, "\\u00fc", "\xc3\xbc"]',
        b'{"a":1,"a":2}',
        b'"a string"',
        b"null",
        b"  5  ",
    ],
)
def test_a_document_keeps_its_own_bytes(document: bytes) -> None:
    """A model's JSON is not rewritten: number for number, escape for escape; only its line ends become spaces."""
    (line,) = ndjson([Chunk(document, b"")])
    inside = document.replace(b"\r", b" ").replace(b"\n", b" ")
    assert line == b'{"type":"chunk","chunk":' + inside + b"}\n"
    assert json.loads(line)["chunk"] == json.loads(document)
    (block,) = server_sent_events([Chunk(document, b"")])
    assert json.loads(_read_sse(block)[0])["chunk"] == json.loads(document)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a":NaN}',
        b'{"a":1e999}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-8-sig"),
        b'"\xed\xa0\x80"',
        b"[" * 100_000,
        b'{"a":1}\n{"b":2}',
    ],
)
def test_a_document_that_is_no_json_goes_in_base64(document: bytes) -> None:
    """What would not be JSON in UTF-8 never gets into the stream as such, and is not lost."""
    (line,) = ndjson([Chunk(document, b"")])
    assert b64decode(json.loads(line)["bytes"]) == document


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"NaN", b"1e999", b"[" * 100_000])
def test_an_unknown_payload_that_is_no_json_goes_in_base64(payload: bytes) -> None:
    """An event that nobody listed may carry anything."""
    (line,) = ndjson([Unknown("new", payload, b"")])
    assert b64decode(json.loads(line)["payload"]) == payload


def test_no_two_events_share_a_type() -> None:
    """Each kind of event can be told from the others by its type alone."""
    types: dict[Any, str] = {}
    for event, line in LINES:
        types.setdefault(type(event), json.loads(line)["type"])
    ordered = sorted(types.values())
    assert all(a != b for a, b in pairwise(ordered))

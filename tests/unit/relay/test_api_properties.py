"""Any stream of Bedrock's, in the formats of the APIs that clients speak already; their official clients are judges."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anthropic
import httpx
import httpx2
import openai
import pytest
from httpx_sse import EventSource
from hypothesis import HealthCheck, assume, given, settings
from jiter import from_json

from relay import formats
from tests.anthropic_client import ASKED
from tests.strategies.sent import SECRET
from tests.strategies.streams import MODEL, Stream, streams
from tests.strategies.values import SIZES, cut, in_unicode, paired
from tests.unit.relay.test_stream_properties import CONVERSE, INVOKE, Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from httpx_sse import ServerSentEvent

    from relay.formats import Format

NOVA = "amazon.nova-lite-v1:0"
MESSAGES: Any = [{"role": "user", "content": "hi"}]
UI_MESSAGES = [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]

# Each of these tests is for every API, so that a few examples of each are many.
fast = settings(
    deadline=None,
    max_examples=settings().max_examples // 3,
    suppress_health_check=[HealthCheck.too_slow],
)


def _format(path: str, body: Any, model: str = MODEL) -> Format:
    return formats.APIS[path].read(body, model, {}).format


CHAT = _format("/v1/chat/completions", {"messages": MESSAGES, "stream": True})
CHAT_WITH_USAGE = _format(
    "/v1/chat/completions",
    {"messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}},
)
RESPONSES = _format("/v1/responses", {"input": "hi", "stream": True})
ANTHROPIC = _format("/v1/messages", {**ASKED, "stream": True}, NOVA)
ANTHROPICS_OWN = _format("/v1/messages", {**ASKED, "stream": True})
UI = _format("/ui/chat", {"messages": UI_MESSAGES})
WHOLE = {
    "openai-chat": _format("/v1/chat/completions", {"messages": MESSAGES}),
    "openai-responses": _format("/v1/responses", {"input": "hi"}),
    "anthropic-messages": _format("/v1/messages", ASKED, NOVA),
}


def _sse(pieces: Iterable[bytes]) -> list[ServerSentEvent]:
    """Return the server-sent events that httpx-sse finds; whoever names them says the name in the data, too."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    events = list(EventSource(httpx.Response(200, headers=headers, content=pieces)).iter_sse())
    for event in events:
        assert (event.id, event.retry) == ("", None)
        assert event.event == "message" or event.event == json.loads(event.data)["type"]
    return events


def _ends(kind: str, *ends: str) -> Callable[[Any], bool]:
    return lambda said: said.get(kind) in ends


class Streamed(NamedTuple):
    """How an API streams an answer.

    Attributes:
        format: the wire format.
        text: what of the answer's text an event says.
        is_done: tells the event that ends a complete answer.
        is_error: tells the one that ends any other.
        says_done: whether there is a ``[DONE]``: after a complete answer, and after an error.
    """

    format: Format
    text: Callable[[Any], str]
    is_done: Callable[[Any], bool]
    is_error: Callable[[Any], bool]
    says_done: tuple[bool, bool] = (False, False)


def _chat_text(said: Any) -> str:
    return "".join(choice["delta"].get("content", "") for choice in said.get("choices", ()))


def _finishes_chat(said: Any) -> bool:
    return any(choice["finish_reason"] for choice in said.get("choices", ()))


def _of(type_: str, *path: str) -> Callable[[Any], str]:
    """Return what reads a text out of the events of a type."""

    def read(said: Any) -> str:
        if said["type"] != type_:
            return ""
        for name in path:
            said = said.get(name, "")
        return str(said)

    return read


STREAMED = {
    "openai-chat": Streamed(
        CHAT, _chat_text, _finishes_chat, lambda said: "error" in said, (True, False)
    ),
    "openai-chat with usage": Streamed(
        CHAT_WITH_USAGE, _chat_text, _finishes_chat, lambda said: "error" in said, (True, False)
    ),
    "openai-responses": Streamed(
        RESPONSES,
        _of("response.output_text.delta", "delta"),
        _ends("type", "response.completed", "response.incomplete"),
        _ends("type", "response.failed"),
    ),
    "anthropic-messages": Streamed(
        ANTHROPIC,
        _of("content_block_delta", "delta", "text"),
        _ends("type", "message_stop"),
        _ends("type", "error"),
    ),
    "ui-chat": Streamed(
        UI,
        _of("text-delta", "delta"),
        _ends("type", "finish"),
        _ends("type", "error"),
        (True, True),
    ),
}
in_every_api = pytest.mark.parametrize("api", STREAMED)


@in_every_api
@fast
@given(stream=streams(CONVERSE), sizes=SIZES)
def test_there_is_one_end_and_the_text_before_it(
    api: str, stream: Stream, sizes: list[int]
) -> None:
    """However the transport cuts it: server-sent events, what Bedrock has sent of the text, and one end, the last."""
    streamed = STREAMED[api]
    written = Relay(stream, streamed.format).relay()
    events = [event.data for event in _sse(cut(b"".join(written), sizes))]
    done_or_not = streamed.says_done[0 if stream.is_complete else 1]
    assert [n for n, data in enumerate(events) if data == "[DONE]"] == [
        len(events) - 1
    ] * done_or_not
    said = [json.loads(data) for data in events if data != "[DONE]"]
    assert paired("".join(map(streamed.text, said))) == paired(stream.text)
    ends = [n for n, one in enumerate(said) if streamed.is_done(one) or streamed.is_error(one)]
    has_usage = api == "openai-chat with usage" and stream.is_complete
    assert ends == [len(said) - 1 - has_usage]
    assert streamed.is_done(said[ends[0]]) == stream.is_complete
    assert streamed.is_error(said[ends[0]]) != stream.is_complete
    if has_usage:
        assert (said[-1]["choices"], type(said[-1]["usage"])) == ([], dict)
    if not stream.is_complete:
        assert stream.code in events[ends[0]]


@in_every_api
@fast
@given(stream=streams(CONVERSE))
def test_every_piece_is_whole_events(api: str, stream: Stream) -> None:
    """A piece that is written has all of its events, so that a heartbeat between two pieces is within none."""
    chosen = STREAMED[api].format
    written = Relay(stream, chosen).relay()
    apart = [(event.event, event.data) for piece in written for event in _sse([piece])]
    together = _sse([chosen.heartbeat, *(piece + chosen.heartbeat for piece in written)])
    pings = {"ping"} if b"event" in chosen.heartbeat else set()
    assert [(e.event, e.data) for e in together if e.event not in pings] == apart


@in_every_api
@fast
@given(stream=streams(CONVERSE))
def test_pieces_of_text_go_out_when_they_come(api: str, stream: Stream) -> None:
    """What brings text is written before anything is read beyond it, and none is joined with another's."""
    streamed = STREAMED[api]
    relay = Relay(stream, streamed.format)
    relay.relay()
    came, at = [], 0
    arrivals = [0]
    for piece in stream.pieces:
        arrivals.append(arrivals[-1] + len(piece))
    for sent in stream.heard:
        at += len(sent.data)
        if sent.told and sent.told["type"] == "text" and sent.told["text"]:
            came.append((sent.told["text"], next(n for n in arrivals if n >= at)))
    out = []
    for piece, read in zip(relay.written, relay.read_by_then, strict=True):
        events = [event.data for event in _sse([piece]) if event.data != "[DONE]"]
        texts = [text for text in map(streamed.text, map(json.loads, events)) if text]
        assert len(texts) <= 1
        out += [(text, read) for text in texts]
    assert out == came


@in_every_api
@fast
@given(stream=streams(CONVERSE))
def test_names_of_resources_are_never_told(api: str, stream: Stream) -> None:
    """Whatever Bedrock or an exception says, no account is told, in no API."""
    assert SECRET.encode() not in b"".join(Relay(stream, STREAMED[api].format).relay())


@pytest.mark.parametrize("api", WHOLE)
@fast
@given(stream=streams(CONVERSE))
def test_a_whole_answer_is_the_streamed_ones_text_or_nothing(api: str, stream: Stream) -> None:
    """One document with all of the text where the answer is complete; no byte where it is not, so there is a status."""
    written = Relay(stream, WHOLE[api]).relay()
    if not stream.is_complete:
        assert written == []
        return
    (document,) = written
    said = json.loads(document)
    if api == "openai-chat":
        text = said["choices"][0]["message"]["content"] or ""
    elif api == "openai-responses":
        parts = [part for item in said["output"] for part in item.get("content", ())]
        text = "".join(part["text"] for part in parts)
    else:
        text = "".join(block.get("text", "") for block in said["content"])
    # Blocks that Bedrock lets take turns are whole ones here, one after the other, unless they are one text.
    assert sorted(in_unicode(text)) == sorted(in_unicode(stream.text)) or "\ufffd" in in_unicode(
        stream.text
    )
    if api == "openai-chat":
        assert paired(text) == paired(stream.text)


class Answering(httpx2.BaseTransport):
    """Answers every request with the same bytes."""

    def __init__(self) -> None:
        self.pieces: Sequence[bytes] = ()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:  # noqa: ARG002  # whatever it is
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        return httpx2.Response(200, headers=headers, content=iter(self.pieces))


TRANSPORT = Answering()
OPENAI = openai.OpenAI(
    api_key="x",
    base_url="http://function.url/v1",
    max_retries=0,
    http_client=httpx2.Client(transport=TRANSPORT),
)
ANTHROPIC_CLIENT = anthropic.Anthropic(
    api_key="x",
    base_url="http://function.url",
    max_retries=0,
    http_client=httpx2.Client(transport=TRANSPORT),
)


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    OPENAI.close()
    ANTHROPIC_CLIENT.close()


@contextmanager
def answered(stream: Stream, chosen: Format, sizes: list[int]) -> Iterator[None]:
    """Let the clients be answered with a stream."""
    TRANSPORT.pieces = list(cut(b"".join(Relay(stream, chosen).relay()), sizes))
    yield
    TRANSPORT.pieces = ()


def _chat(**_: Any) -> str:
    text = ""
    for chunk in OPENAI.chat.completions.create(model="m", messages=MESSAGES, stream=True):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return text


def _chat_added_up() -> str:
    with OPENAI.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        completion = stream.until_done().current_completion_snapshot
    return completion.choices[0].message.content or ""


def _responses() -> str:
    text = ""
    for event in OPENAI.responses.create(model="m", input="hi", stream=True):
        text += event.delta if event.type == "response.output_text.delta" else ""
    return text


def _responses_added_up() -> str:
    text = ""
    with OPENAI.responses.stream(model="m", input="hi") as stream:
        for event in stream:
            text += event.delta if event.type == "response.output_text.delta" else ""
    return text


def _anthropic() -> str:
    text = ""
    for event in ANTHROPIC_CLIENT.messages.create(**ASKED, stream=True):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            text += event.delta.text
    return text


def _anthropic_added_up() -> str:
    with ANTHROPIC_CLIENT.messages.stream(**ASKED) as stream:
        return "".join(stream.text_stream)


CLIENTS: dict[str, tuple[Format, Callable[[], str], type[Exception]]] = {
    "openai chat": (CHAT, _chat, openai.APIError),
    "openai chat, added up": (CHAT_WITH_USAGE, _chat_added_up, openai.APIError),
    "openai responses": (RESPONSES, _responses, openai.APIError),
    "openai responses, added up": (RESPONSES, _responses_added_up, openai.APIError),
    "anthropic": (ANTHROPIC, _anthropic, anthropic.APIError),
    "anthropic, added up": (ANTHROPIC, _anthropic_added_up, anthropic.APIError),
}


def _tool_inputs(stream: Stream) -> list[str]:
    """Return what tools are called with, by the block that calls them."""
    inputs: list[str] = []
    open_inputs: dict[int, int] = {}
    for told in (sent.told for sent in stream.heard if sent.told):
        match told:
            case {"type": "tool_start", "index": index}:
                open_inputs[index] = len(inputs)
                inputs.append("")
            case {"type": "tool_input", "index": index, "input": piece} if index in open_inputs:
                inputs[open_inputs[index]] += piece
            case _:
                pass
    return inputs


def _calls_with_objects(stream: Stream) -> bool:
    """Tell whether all input of tools is JSON objects, as far as it has come, without halves of surrogate pairs."""
    inputs = _tool_inputs(stream)
    for text in inputs:
        try:
            from_json(text.encode() or b"{}", partial_mode=True)
        except (UnicodeEncodeError, ValueError):
            return False
    return all(text[:1] in {"", "{"} for text in inputs)


def _calls_apart(stream: Stream) -> bool:
    """Tell whether calls of tools have ids of their own, and none begins where another has not ended."""
    known: set[str] = set()
    is_open: set[int] = set()
    for told in (sent.told for sent in stream.heard if sent.told):
        match told:
            case {"type": "block_end", "index": index}:
                is_open.discard(index)
            case {"type": "tool_start", "index": index, "tool": {"toolUseId": called}}:
                if called in known or index in is_open:
                    return False
                known.add(called)
                is_open.add(index)
            case _:
                pass
    return True


# What adds a stream up raises errors of other kinds, too, for what neither Bedrock nor its own API would send.
PARTICULAR = {
    "anthropic, added up": _calls_with_objects,
    "openai responses, added up": _calls_apart,
}


@pytest.mark.parametrize("client", CLIENTS)
@fast
@given(stream=streams(CONVERSE), sizes=SIZES)
def test_the_official_clients_read_every_stream(
    client: str, stream: Stream, sizes: list[int]
) -> None:
    """They give their callers the text, and raise their own error exactly where the answer is not complete."""
    chosen, read, error = CLIENTS[client]
    assume(client not in PARTICULAR or PARTICULAR[client](stream))
    with answered(stream, chosen, sizes):
        if stream.is_complete:
            assert paired(read()) == paired(stream.text)
        else:
            with pytest.raises(error) as caught:
                read()
            assert SECRET not in str(caught.value)


@fast
@given(stream=streams(INVOKE), sizes=SIZES)
def test_anthropics_own_documents_are_events(stream: Stream, sizes: list[int]) -> None:
    """Each document that came is an event, under its own type if it has one, and after a failure there is one error."""
    written = Relay(stream, ANTHROPICS_OWN).relay()
    events = _sse_of_any_name(cut(b"".join(written), sizes))
    told = [sent.told for sent in stream.heard if sent.told and sent.told["type"] == "chunk"]
    documents = [chunk.get("chunk", {"bytes": chunk.get("bytes")}) for chunk in told]
    if not stream.is_complete:
        end = events.pop()
        assert (end.event, json.loads(end.data)["error"]["code"]) == ("error", stream.code)
    else:
        stops = [d for d in documents if isinstance(d, dict) and d.get("type") == "message_stop"]
        documents = [d for d in documents if d not in stops]
        assert json.loads(events.pop().data) == (stops or [{"type": "message_stop"}])[-1]
    assert [json.loads(event.data) for event in events] == documents
    assert SECRET.encode() not in b"".join(written)


def _sse_of_any_name(pieces: Iterable[bytes]) -> list[ServerSentEvent]:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return list(EventSource(httpx.Response(200, headers=headers, content=pieces)).iter_sse())


@fast
@given(stream=streams(INVOKE), sizes=SIZES)
def test_anthropics_client_reads_any_documents(stream: Stream, sizes: list[int]) -> None:
    """Whatever a model says, the client raises an error of its own exactly where the stream failed."""
    with answered(stream, ANTHROPICS_OWN, sizes):
        if stream.is_complete:
            list(ANTHROPIC_CLIENT.messages.create(**ASKED, stream=True))
        else:
            with pytest.raises(anthropic.APIError) as caught:
                list(ANTHROPIC_CLIENT.messages.create(**ASKED, stream=True))
            assert SECRET not in str(caught.value)

# ruff: noqa: TID251  # the shapes are botocore's

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import anthropic
import botocore.session
import httpx
import httpx2
import pytest
from anthropic import AnthropicBedrock
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from relay import formats
from relay.errors import (
    RelayError,
    RequestError,
    UpstreamError,
    bedrock_error,
    limit_error,
    transport_error,
)
from relay.events import Chunk, Done, Event, Failure, Start, Unknown
from relay.formats.anthropic_messages import API, COUNT_TOKENS
from relay.shapes import convert
from tests.anthropic_client import ASKED, JSON, answering, failure, streamed, whole
from tests.strategies.values import JSON as ANY_JSON
from tests.strategies.values import NO_JSON, OBJECTS, TEXT, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.formats import Asked
    from relay.shapes import Shape

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
MODEL = botocore.session.get_session().get_service_model("bedrock-runtime")
START = Start("a.model", "r1")
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
OWN_VERSION = {"anthropic_version": "bedrock-2023-05-31"}
METRICS = {"inputTokenCount": 3, "outputTokenCount": 5}


def _read(model: str, /, headers: Mapping[str, str] | None = None, **asked: Any) -> Asked:
    return API.read({**ASKED, **asked}, model, headers or {})


def _counted(model: str, /, headers: Mapping[str, str] | None = None, **asked: Any) -> Any:
    """Return what is to be counted; boto3 has to take it."""
    read = COUNT_TOKENS.read({**ASKED, "max_tokens": None, **asked}, model, headers or {})
    assert read.operation == "CountTokens"
    shape: Shape = MODEL.operation_model("CountTokens").input_shape
    taken = convert({**read.request, "modelId": model}, shape, "")
    return taken["input"]


def _wire(asked: Asked, events: Iterable[Event]) -> bytes:
    return b"".join(asked.format.encode(events))


def test_the_routes_are_in_the_table() -> None:
    """Both paths of Anthropic's API lead here."""
    assert formats.APIS["/v1/messages"] is API
    assert formats.APIS["/v1/messages/count_tokens"] is COUNT_TOKENS


@pytest.mark.parametrize(
    ("model", "stream", "operation"),
    [
        (CLAUDE, True, "InvokeModelWithResponseStream"),
        (CLAUDE, False, "InvokeModel"),
        (CLAUDE, None, "InvokeModel"),
        ("anthropic.claude-3-haiku-20240307-v1:0", True, "InvokeModelWithResponseStream"),
        (f"arn:aws:bedrock:us-east-1:1:inference-profile/{CLAUDE}", None, "InvokeModel"),
        (NOVA, True, "ConverseStream"),
        (NOVA, False, "ConverseStream"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", None, "ConverseStream"),
        ("us.meta.llama3-1-8b-instruct-v1:0", None, "ConverseStream"),
    ],
)
def test_each_model_is_asked_in_its_own_way(
    model: str,
    stream: bool | None,  # noqa: FBT001  # as it comes
    operation: str,
) -> None:
    """Anthropic's own models by InvokeModel, all others by ConverseStream, whether the caller streams or not."""
    asked = _read(model, stream=stream)
    assert asked.operation == operation
    if stream:
        assert asked.format.headers == {"content-type": "text/event-stream; charset=utf-8"}
        assert asked.format.heartbeat == b'event: ping\ndata: {"type": "ping"}\n\n'
    else:
        assert asked.format.headers == {"content-type": "application/json"}
        assert asked.format.heartbeat == b""


def test_an_own_models_request_goes_on_untouched() -> None:
    """Only what Bedrock has told elsewhere leaves the body; what nobody has met stays in it."""
    body = {
        **ASKED,
        "metadata": {"user_id": "{}"},
        "context_management": {"edits": []},
        "quite_new": [None, {"a": 1.5}],
        "temperature": None,
        "stream": True,
    }
    kept = {k: v for k, v in body.items() if k not in {"model", "stream"}}
    assert API.read(body, CLAUDE, {}).request == {**OWN_VERSION, **kept}
    own = {**body, "anthropic_version": "bedrock-2030-01-01"}
    assert API.read(own, CLAUDE, {}).request["anthropic_version"] == "bedrock-2030-01-01"


@pytest.mark.parametrize(
    ("header", "members", "named"),
    [
        ("a-2025-01-01", {}, ["a-2025-01-01"]),
        (" a , b,,a ", {}, ["a", "b"]),
        ("a", {"anthropic_beta": ["b", "a"], "betas": ["c"]}, ["a", "b", "c"]),
        (None, {"betas": ["c"]}, ["c"]),
        ("", {"anthropic_beta": []}, None),
        (None, {"anthropic_beta": None}, None),
    ],
)
def test_previews_are_named_where_bedrock_looks(
    header: str | None, members: dict[str, Any], named: list[str] | None
) -> None:
    """The header's names and the body's, each once: Bedrock, not the relay, says which it knows."""
    headers = {} if header is None else {"anthropic-beta": header}
    request = _read(CLAUDE, headers, **members).request
    assert request.get("anthropic_beta") == named
    assert "betas" not in request


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"stream": "yes"}, "stream"),
        ({"anthropic_beta": "a"}, "anthropic_beta"),
        ({"betas": [5]}, "betas"),
    ],
)
def test_what_cannot_be_moved_is_refused(members: dict[str, Any], field: str) -> None:
    """What the relay reads itself has to be what it is supposed to be."""
    with pytest.raises(RequestError) as caught:
        _read(CLAUDE, **members)
    assert caught.value.field == field


def test_the_request_is_the_one_that_anthropics_bedrock_client_makes() -> None:
    """Anthropic has a client for Bedrock itself: the body it sends there is the one that is made here.

    But for the version: the client's own is not known to Bedrock for models before Claude 4.7.
    """
    sent: list[bytes] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.content)
        return httpx2.Response(200, headers=JSON, json=BEGIN["message"])

    asked: dict[str, Any] = {**ASKED, "model": CLAUDE}
    betas = {"anthropic-beta": "a,b"}
    with (
        httpx2.Client(transport=httpx2.MockTransport(keep)) as http_client,
        AnthropicBedrock(
            aws_access_key="x", aws_secret_key="x", aws_region="us-east-1", http_client=http_client
        ) as client,
    ):
        client.messages.create(**asked, extra_headers=betas, extra_body={"top_k": 5})
    theirs = json.loads(sent[0])
    ours = API.read({**asked, "top_k": 5}, CLAUDE, betas).request
    assert ours == {**theirs, **OWN_VERSION}


def _documents(*documents: Any, metrics: bool = True) -> list[Event]:
    """Return a stream of a model's own documents, as they come from Bedrock."""
    end = {"type": "message_stop"}
    if metrics:
        end["amazon-bedrock-invocationMetrics"] = METRICS  # type: ignore[assignment]
    said = [*documents, end]
    return [START, *(Chunk(json.dumps(document).encode()) for document in said), Done(None, {})]


BEGIN = {
    "type": "message_start",
    "message": {
        "id": "msg_bdrk_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 7},
    },
}
BLOCKS: list[Any] = [
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "hm"},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "signature_delta", "signature": "c2ln"},
    },
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t1", "name": "n", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'},
    },
    {"type": "content_block_stop", "index": 1},
]
DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "tool_use", "stop_sequence": None},
    "usage": {"output_tokens": 5},
}


def test_a_document_to_the_byte() -> None:
    """Each is one event of its own type, in its own bytes but for line ends; Bedrock's metrics come along."""
    documents = [
        b'{"type":"ping"}',
        b'{"a": 1.10,\r\n "type":\n"content_block_delta", "b": "\xe2\x80\xa8"}',
        b'{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}',
    ]
    events: list[Event] = [START, *map(Chunk, documents), Done(None, {})]
    assert list(_read(CLAUDE, stream=True).format.encode(events)) == [
        b'event: ping\ndata: {"type":"ping"}\n\n',
        b'event: content_block_delta\ndata: {"a": 1.10,   "type": "content_block_delta", "b": "\\u2028"}\n\n',
        (
            b"event: message_stop\n"
            b'data: {"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}\n\n'
        ),
    ]


@pytest.mark.parametrize(
    ("document", "event"),
    [
        (b'{"a": 1}', b'data: {"a": 1}\n\n'),
        (b'{"type": null}', b'data: {"type": null}\n\n'),
        (b'{"type": "a\\nevent: b"}', b'data: {"type": "a\\nevent: b"}\n\n'),
        (b'{"type": ""}', b'data: {"type": ""}\n\n'),
        (b'["type"]', b'data: ["type"]\n\n'),
        (b"null", b"data: null\n\n"),
        (b"", b'data: {"bytes":""}\n\n'),
        (b"plain\n", b'data: {"bytes":"cGxhaW4K"}\n\n'),
        (b"\xff", b'data: {"bytes":"/w=="}\n\n'),
    ],
)
def test_a_document_without_a_type_has_no_name(document: bytes, event: bytes) -> None:
    """It is not lost, and Anthropic's client, which goes by names, passes over it."""
    events: list[Event] = [START, Chunk(document), Done(None, {})]
    asked = _read(CLAUDE, stream=True)
    assert _wire(asked, events) == event + STOP
    around = [_wire(asked, [Chunk(json.dumps(BEGIN).encode())]), event]
    assert streamed(around).id == "msg_bdrk_1"


def test_anthropics_client_reads_an_own_models_stream() -> None:
    """Thought, signature, input and usage come through; raw events still have Bedrock's metrics."""
    asked = _read(CLAUDE, stream=True)
    pieces = list(asked.format.encode(_documents(BEGIN, *BLOCKS, DELTA)))
    message = streamed([asked.format.heartbeat, *pieces, asked.format.heartbeat])
    assert [block.to_dict() for block in message.content] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "tool_use", "id": "t1", "name": "n", "input": {"a": 1}},
    ]
    assert (message.id, message.model) == ("msg_bdrk_1", "claude-sonnet-4-5")
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 5)
    assert message.usage.cache_read_input_tokens == 7
    with answering(pieces) as answered:
        *_, last = answered.client.messages.create(**ASKED, stream=True)
    assert last.to_dict()["amazon-bedrock-invocationMetrics"] == METRICS


def test_an_answer_in_one_piece_is_the_models_own() -> None:
    """Not a byte of it is touched, and Anthropic's client reads it."""
    asked = _read(CLAUDE)
    message = {**BEGIN["message"], "content": [{"type": "text", "text": "Grüße"}]}  # type: ignore[dict-item]
    document = json.dumps(message, indent=1).encode()
    assert _wire(asked, [START, Chunk(document), Done("end_turn", {})]) == document
    assert whole([document]).content[0].to_dict() == {"type": "text", "text": "Grüße"}
    assert _wire(asked, [Failure(transport_error("read_timeout"))]) == b""


def test_a_failure_between_a_models_documents_is_an_exception() -> None:
    """The block that is open stays open, for the documents are the model's; the client raises all the same."""
    asked = _read(CLAUDE, stream=True)
    cut = [*_documents(BEGIN, *BLOCKS[:2])[:-2], Failure(bedrock_error("throttlingException"))]
    wire = _wire(asked, cut)
    assert b"content_block_stop" not in wire
    assert wire.endswith(
        b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error",'
        b'"message":"Bedrock is throttling this deployment.","details":{"error_code":"throttling"},'
        b'"code":"throttling","retryable":true},"request_id":"r1"}\n\n'
    )
    raised = failure([wire])
    assert (raised.type, raised.error_code) == ("rate_limit_error", "throttling")


def test_a_complete_answer_ends_as_anthropics_do() -> None:
    """With ``message_stop``, whether the model has said it or only Bedrock has counted, and it comes last."""
    asked = _read(CLAUDE, stream=True)
    stop, delta = (json.dumps(said).encode() for said in ({"type": "message_stop"}, DELTA))
    for documents in ([delta], [delta, stop], [stop, delta]):
        wire = _wire(asked, [START, *map(Chunk, documents), Done(None, {})])
        assert wire.startswith(b"event: message_delta\n")
        assert wire.count(b"event: message_stop\n") == 1
        assert json.loads(wire.split(b"data: ")[-1]) == {"type": "message_stop"}


def test_a_failure_may_come_alone() -> None:
    """After heartbeats and nothing else, the error is all there is."""
    events: list[Event] = [Failure(transport_error("read_timeout"))]
    asked = _read(CLAUDE, stream=True)
    assert failure([asked.format.heartbeat, _wire(asked, events)]).type == "timeout_error"


_TYPES = st.sampled_from(["message_start", "content_block_delta", "quite_new", "message_stop"])
_DOCUMENTS = st.one_of(
    st.builds(lambda t, more: {**more, "type": t}, _TYPES | TEXT, OBJECTS).flatmap(written),
    ANY_JSON.flatmap(written),
    NO_JSON,
)


def _is_stop(document: bytes) -> bool:
    try:
        said = json.loads(document)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("type") == "message_stop"


@given(
    st.lists(_DOCUMENTS, max_size=6),
    st.sampled_from([Done(None, {}), Failure(transport_error("truncated"))]),
)
def test_any_documents_come_through_in_order(documents: list[bytes], end: Done | Failure) -> None:
    """Whatever they are, each is one event with just what it says, in order, and a failure is the one last event.

    The model's own end is the last, and is not told where it was none.
    """
    unknown = Unknown("new", b"{}", b"")
    wire = _wire(_read(CLAUDE, stream=True), [START, *map(Chunk, documents), unknown, end])
    response = httpx.Response(
        200, headers={"content-type": "text/event-stream"}, content=iter([wire])
    )
    read = list(EventSource(response).iter_sse())
    if isinstance(end, Failure):
        last = read.pop()
        assert last.event == "error"
        assert json.loads(last.data)["error"]["code"] == "truncated"
    pieces = [document for document in documents if not _is_stop(document)]
    stops = [b'{"type":"message_stop"}', *(d for d in documents if _is_stop(d))]
    documents = pieces if isinstance(end, Failure) else [*pieces, stops[-1]]
    assert len(read) == len(documents)
    for event, document in zip(read, documents, strict=True):
        said = json.loads(event.data)
        if event.event != "message":  # SSE's name for an event without one
            assert event.event == said["type"]
        if isinstance(said, dict) and said.keys() == {"bytes"}:
            assert b64decode(said["bytes"]) == document or said == json.loads(document)
        else:
            assert said == json.loads(document)


ERRORS: list[tuple[RelayError, int, str, type[anthropic.APIStatusError]]] = [
    (RequestError(400, "a", "b"), 400, "invalid_request_error", anthropic.BadRequestError),
    (RequestError(401, "a", "b"), 401, "authentication_error", anthropic.AuthenticationError),
    (
        bedrock_error("AccessDeniedException"),
        403,
        "permission_error",
        anthropic.PermissionDeniedError,
    ),
    (RequestError(404, "a", "b"), 404, "not_found_error", anthropic.NotFoundError),
    (RequestError(405, "a", "b"), 405, "invalid_request_error", anthropic.APIStatusError),
    (bedrock_error("ModelTimeoutException"), 408, "timeout_error", anthropic.APIStatusError),
    (RequestError(413, "a", "b"), 413, "request_too_large", anthropic.APIStatusError),
    (bedrock_error("ModelErrorException"), 424, "api_error", anthropic.APIStatusError),
    (limit_error("too_many_streams"), 429, "rate_limit_error", anthropic.RateLimitError),
    (
        bedrock_error("InternalServerException"),
        500,
        "api_error",
        anthropic.InternalServerError,
    ),
    (transport_error("connect_failed"), 502, "api_error", anthropic.InternalServerError),
    (
        bedrock_error("ServiceUnavailableException"),
        503,
        "overloaded_error",
        anthropic.InternalServerError,
    ),
    (transport_error("read_timeout"), 504, "timeout_error", anthropic.InternalServerError),
    (UpstreamError(529, "a", "b"), 529, "overloaded_error", anthropic.InternalServerError),
]


@pytest.mark.parametrize("api", [API, COUNT_TOKENS])
@pytest.mark.parametrize(("error", "status", "type_", "raised"), ERRORS)
def test_a_refusal_is_anthropics_exception(
    api: formats.Api,
    error: RelayError,
    status: int,
    type_: str,
    raised: type[anthropic.APIStatusError],
) -> None:
    """By its status, with its type, its code and the request's id where the client looks for them."""
    refusal = api.refuse(error, "r1", {})
    assert refusal.body == {
        "type": "error",
        "error": {
            "type": type_,
            "message": error.message,
            "details": {"error_code": error.code},
            "code": error.code,
            "retryable": error.retryable,
        },
        "request_id": "r1",
    }
    body = json.dumps(refusal.body).encode()
    at_once = {"retry-after-ms": "1"}
    with answering([body], {**JSON, **at_once, **refusal.headers}, status) as answered:
        with pytest.raises(raised) as caught:
            answered.client.messages.create(**ASKED)
        assert (caught.value.type, caught.value.error_code) == (type_, error.code)
        assert caught.value.request_id == "r1"
        # Whether to try again the client asks the relay, which knows.
        answered.requests.clear()
        with pytest.raises(raised):
            answered.client.with_options(max_retries=1).messages.create(**ASKED)
        assert len(answered.requests) == (2 if error.retryable else 1)


def test_an_own_models_request_is_counted_as_it_would_be_sent() -> None:
    """In base64, with what Bedrock wants in it: its version, and a limit for an answer that nobody asks for."""
    counted = _counted(CLAUDE, {"anthropic-beta": "a,token-counting-2024-11-01"}, system="s")
    assert json.loads(counted["invokeModel"]["body"]) == {
        **OWN_VERSION,
        "anthropic_beta": ["a"],
        "max_tokens": 1,
        "messages": ASKED["messages"],
        "system": "s",
    }


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, 2001),
        ({"thinking": {"type": "adaptive"}}, 1),
        ({"thinking": 5}, 1),
    ],
)
def test_the_limit_of_a_counted_request_leaves_room_to_think(
    asked: dict[str, Any], limit: int
) -> None:
    """Bedrock checks that a budget keeps to the limit, even where nothing is going to be answered."""
    (body,) = _counted(CLAUDE, **asked)["invokeModel"].values()
    assert json.loads(body)["max_tokens"] == limit


def test_another_models_request_is_counted_in_converses_terms() -> None:
    """Messages, system and tools count; what an answer would be like does not."""
    tool = {"name": "n", "input_schema": {"type": "object"}}
    counted = _counted(NOVA, system="s", tools=[tool], temperature=0, metadata={"user_id": "u"})
    assert counted == {
        "converse": {
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "system": [{"text": "s"}],
            "toolConfig": {
                "tools": [{"toolSpec": {"name": "n", "inputSchema": {"json": {"type": "object"}}}}]
            },
        }
    }


def test_anthropics_client_reads_the_count() -> None:
    """Bedrock's number under Anthropic's name."""
    asked = COUNT_TOKENS.read(ASKED, NOVA, {})
    wire = _wire(asked, [START, Chunk(b'{"inputTokens": 12}'), Done(None, {})])
    assert wire == b'{"input_tokens":12}'
    with answering([wire], asked.format.headers) as answered:
        count = answered.client.messages.count_tokens(model=NOVA, messages=ASKED["messages"])
        assert count.input_tokens == 12
        answered.client.beta.messages.count_tokens(model=NOVA, messages=ASKED["messages"])
    beta = answered.requests[-1]
    assert beta.headers["anthropic-beta"] == "token-counting-2024-11-01"
    sent = COUNT_TOKENS.read(json.loads(beta.content), CLAUDE, dict(beta.headers))
    assert b"beta" not in b64decode(sent.request["input"]["invokeModel"]["body"])


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b"5"])
def test_a_count_that_is_none_is_bedrocks_failure(document: bytes) -> None:
    """Nothing is made up: what cannot be read was damaged on its way."""
    asked = COUNT_TOKENS.read(ASKED, NOVA, {})
    with pytest.raises(UpstreamError, match="corrupt"):
        _wire(asked, [START, Chunk(document), Done(None, {})])
    assert _wire(asked, [Failure(transport_error("truncated"))]) == b""


def test_anthropics_client_asks_what_can_be_read() -> None:
    """What the client sends for a request with everything is read, for either kind of model."""
    asked: dict[str, Any] = {
        **ASKED,
        "max_tokens": 4000,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "n", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u"},
        "stop_sequences": ["x"],
    }
    pieces = _read(CLAUDE, stream=True).format.encode(_documents(BEGIN, DELTA))
    with (
        answering(pieces) as answered,
        answered.client.beta.messages.stream(**asked, betas=["a"]) as stream,
    ):
        stream.until_done()
    (request,) = answered.requests
    body = json.loads(request.content)
    assert request.url.path == "/v1/messages"
    own = API.read(body, CLAUDE, dict(request.headers))
    assert own.operation == "InvokeModelWithResponseStream"
    del asked["model"]
    assert own.request == {**OWN_VERSION, **asked, "anthropic_beta": ["a"]}
    other = API.read(body, "us.amazon.nova-2-lite-v1:0", dict(request.headers))
    assert other.request["toolConfig"]["toolChoice"] == {"any": {}}

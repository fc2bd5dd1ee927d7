"""Operations that do not stream, and bodies that are sent as they are: boto3's real client, and bytes on sockets."""

# ruff: noqa: TID251  # boto3's own signature is the judge, and sockets are what this is about

from __future__ import annotations

import gc
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import InvalidRegionError

from relay import formats
from relay.bedrock import Bedrock
from relay.errors import LimitError, UpstreamError
from relay.events import Failure, Start
from relay.lanes import document_events
from relay.model_call import ModelCall
from relay.settings import Settings
from relay.watchdog import Watchdog
from tests.frames import MESSAGE_START, MESSAGE_STOP, METADATA
from tests.unit.relay.conftest import ENVIRONMENT
from tests.unit.relay.fake_boto import Noting, a_call, answers
from tests.upstream import CHUNKED_HEAD, END, Upstream, fin, http_chunk, refusal, rst

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from relay.bedrock import Answer

MODEL = "us.amazon.nova-lite-v1:0"
READ_TIMEOUT = 0.3
# Its own white space, an escape that need not be one, a number as it is, a member of tomorrow.
DOCUMENT = (
    b'{ "output":{"message":{"role":"assistant","content":[{"text":"Gr\\u00fc\\u00dfe 1.0"}]}},\n'
    b'"stopReason":"end_turn", "usage":{"inputTokens":3,"outputTokens":5,"totalTokens":8},'
    b'"metrics":{"latencyMs":1}, "ofTomorrow":[1.0, 1e2, null] }'
)
BODY = (
    b'{ "messages":[{"role":"user",\n"content":[{"text":"hi"},{"hologram":{"depth":3}}]}],'
    b'"ofTomorrow":{"a":1.0} }'
)
PARAMETERS: dict[str, dict[str, Any]] = {
    "Converse": {},
    "InvokeModel": {"body": b'{ "max_tokens":\n5 }', "contentType": "application/json"},
    "CountTokens": {"input": {"converse": {}}},
    "ConverseStream": {},
}
PATHS = {
    "Converse": "converse",
    "InvokeModel": "invoke",
    "CountTokens": "count-tokens",
    "ConverseStream": "converse-stream",
}
WHOLE = ("Converse", "InvokeModel", "CountTokens")
in_every_operation = pytest.mark.parametrize("operation", WHOLE)


def call(operation: str, body: bytes | None = None) -> ModelCall:
    return ModelCall(
        route="/x",
        operation=operation,
        model=MODEL,
        parameters={"modelId": MODEL, **PARAMETERS[operation]},
        body=body,
        format=formats.DOCUMENT,
    )


def settings(**more: str) -> Settings:
    return Settings.from_environment(
        {
            "RIVULET_MODEL_IDS": MODEL,
            "RIVULET_READ_TIMEOUT": str(READ_TIMEOUT),
            "RIVULET_MAX_ATTEMPTS": "2",
            **more,
        }
    )


@pytest.fixture(scope="module")
def _listening() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(_listening: Upstream) -> Upstream:
    """Bedrock, which answers as ``answer`` says; nothing has been asked of it yet."""
    _listening.requests.clear()
    return _listening


@pytest.fixture(scope="module")
def bedrock(_listening: Upstream) -> Iterator[Bedrock]:
    """The relay's side, with a client of boto3's."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", _listening.url)
        bedrock = Bedrock(settings())
        yield bedrock
        bedrock._client.close()


def http(body: bytes, *headers: str, length: int | None = None, status: str = "200 OK") -> bytes:
    """Return a whole response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += ["Content-Type: application/json", "x-amzn-RequestId: b-1", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def sends(*steps: bytes | Callable[[socket.socket], bool] | float) -> Any:
    """Return an answer: bytes, silences in seconds, and what is done with the connection."""

    def answer(connection: socket.socket) -> bool:
        for step in steps:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif isinstance(step, float):
                time.sleep(step)
            else:
                return step(connection)
        return True

    return answer


def in_turn(*answers: Any) -> Any:
    """Return an answer that is another one each time, and the last one from then on."""
    left = list(answers)

    def answer(connection: socket.socket) -> bool:
        still_open: bool = (left.pop(0) if len(left) > 1 else left[0])(connection)
        return still_open

    return answer


def read(
    bedrock: Bedrock, asked: ModelCall, watchdog: Watchdog | None = None
) -> tuple[bytes, Answer]:
    """Return the document that a call is answered with, and the answer."""
    with bedrock.stream(asked, watchdog or Noting()) as answer:
        (frame,) = answer.frames
        return frame.payload, answer


def failure(bedrock: Bedrock, asked: ModelCall, watchdog: Watchdog | None = None) -> Any:
    """Return the error that a call is answered with; a document that is damaged, its lane finds out."""
    try:
        with bedrock.stream(asked, watchdog or Noting()) as answer:
            (end,) = document_events(answer.frames, Start("m", "r"), {})
    except (UpstreamError, LimitError) as error:
        return error
    assert isinstance(end, Failure)
    return end.error


def parsed(request: bytes) -> tuple[str, str, dict[str, str], bytes]:
    """Return the method, the path, the headers and the body of a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    return method, path, headers, body


def signature(url: str, request: bytes, body: bytes) -> tuple[str, str]:
    """Return the signature that a request has, and the one that it should have with some body."""
    method, path, headers, _ = parsed(request)
    said = dict(
        part.split("=", 1) for part in headers["Authorization"].partition(" ")[2].split(", ")
    )
    signed = {n: v for n, v in headers.items() if n.lower() in said["SignedHeaders"].split(";")}
    again = AWSRequest(method, url + path, headers=signed, data=body)
    again.context["timestamp"] = headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials("x", "x"), "bedrock", "us-east-1")
    text = auth.string_to_sign(again, auth.canonical_request(again))
    return said["Signature"], auth.signature(text, again)


@in_every_operation
@pytest.mark.parametrize(
    "answer",
    [
        http(DOCUMENT),
        CHUNKED_HEAD.replace(b"vnd.amazon.eventstream", b"json")
        + b"".join(http_chunk(DOCUMENT[n : n + 7]) for n in range(0, len(DOCUMENT), 7))
        + END,
    ],
    ids=["at once", "in chunks"],
)
def test_a_document_is_kept_byte_for_byte(
    bedrock: Bedrock, upstream: Upstream, operation: str, answer: bytes
) -> None:
    """What boto3's model of the answer does not have, its numbers, its escapes and its white space included."""
    upstream.answer = sends(answer)
    document, _ = read(bedrock, call(operation))
    assert document == DOCUMENT
    assert len(upstream.requests) == 1


@in_every_operation
def test_a_document_may_come_slowly(bedrock: Bedrock, upstream: Upstream, operation: str) -> None:
    """However long it takes in all, as long as it goes on."""
    whole = http(DOCUMENT)
    upstream.answer = sends(
        whole[:150], 0.12, whole[150:200], 0.12, whole[200:-1], 0.12, whole[-1:]
    )
    assert read(bedrock, call(operation))[0] == DOCUMENT


def test_a_models_document_may_be_anything(bedrock: Bedrock, upstream: Upstream) -> None:
    """InvokeModel's answers are the models' own business."""
    for document in (b"", b"no JSON \xff", b"[1.0]", b"x" * 1_000_000):
        upstream.answer = sends(http(document))
        assert read(bedrock, call("InvokeModel"))[0] == document


@in_every_operation
def test_what_an_answer_says_of_itself_is_told(
    bedrock: Bedrock, upstream: Upstream, operation: str
) -> None:
    """Its type and Bedrock's own headers, token counts among them; no other header, for these are the connection's."""
    upstream.answer = sends(
        http(
            DOCUMENT,
            "X-Amzn-Bedrock-Input-Token-Count: 3",
            "x-amzn-bedrock-output-token-count: 5",
            "X-Amzn-Bedrock-Invocation-Latency: 12",
            "Set-Cookie: a=b",
            "X-Amz-Cf-Id: x",
        )
    )
    with bedrock.stream(call(operation), Noting()) as answer:
        (frame,) = answer.frames
    told = {
        "content-type": "application/json",
        "x-amzn-bedrock-input-token-count": "3",
        "x-amzn-bedrock-output-token-count": "5",
        "x-amzn-bedrock-invocation-latency": "12",
    }
    assert (answer.headers, frame.headers) == (told, told)
    assert (answer.request_id, answer.retries) == ("b-1", 0)


def test_a_stream_says_of_itself_as_much(bedrock: Bedrock, upstream: Upstream) -> None:
    """The headers of an event stream are told as well."""
    frames = b"".join(map(http_chunk, (MESSAGE_START, MESSAGE_STOP, METADATA)))
    head = CHUNKED_HEAD.replace(b"\r\n\r\n", b"\r\nX-Amzn-Bedrock-Content-Type: a/b\r\n\r\n")
    upstream.answer = sends(head + frames + END)
    with bedrock.stream(call("ConverseStream", BODY), Noting()) as answer:
        data = [frame.data for frame in answer.frames]
    assert data == [MESSAGE_START, MESSAGE_STOP, METADATA]
    assert answer.headers == {
        "content-type": "application/vnd.amazon.eventstream",
        "x-amzn-bedrock-content-type": "a/b",
    }


@pytest.mark.parametrize("operation", ["Converse", "CountTokens", "ConverseStream"])
def test_a_body_is_sent_byte_for_byte_and_signed(
    bedrock: Bedrock, upstream: Upstream, operation: str
) -> None:
    """What boto3 has not heard of gets there, too; and the signature is that of what is sent, not of boto3's own."""
    frames = b"".join(map(http_chunk, (MESSAGE_START, MESSAGE_STOP, METADATA)))
    answer = CHUNKED_HEAD + frames + END if operation == "ConverseStream" else http(DOCUMENT)
    upstream.answer = sends(answer)
    with bedrock.stream(call(operation, BODY), Noting()) as answered:
        list(answered.frames)
    (request,) = upstream.requests
    method, path, headers, body = parsed(request)
    assert (method, path) == ("POST", f"/model/{quote(MODEL, safe='')}/{PATHS[operation]}")
    assert body == BODY
    assert (headers["Content-Type"], headers["Content-Length"]) == (
        "application/json",
        str(len(BODY)),
    )
    sent, due = signature(upstream.url, request, BODY)
    assert sent == due
    assert sent != signature(upstream.url, request, BODY[:-1] + b" }")[1]


def test_a_models_own_request_is_sent_and_signed_as_it_is(
    bedrock: Bedrock, upstream: Upstream
) -> None:
    """boto3 does so itself where the body is a blob."""
    upstream.answer = sends(http(DOCUMENT))
    read(bedrock, call("InvokeModel"))
    (request,) = upstream.requests
    body = PARAMETERS["InvokeModel"]["body"]
    assert parsed(request)[3] == body
    sent, due = signature(upstream.url, request, body)
    assert sent == due


@pytest.mark.parametrize("operation", ["Converse", "CountTokens"])
def test_a_body_is_for_its_call_alone(bedrock: Bedrock, upstream: Upstream, operation: str) -> None:
    """The next call has its own, or boto3's."""
    upstream.answer = sends(http(DOCUMENT))
    asked = call(operation)
    due: Any = {"input": {"converse": {}}}
    if operation == "Converse":
        due = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
        asked = replace(asked, parameters={**asked.parameters, **due})
    read(bedrock, call(operation, BODY))
    read(bedrock, asked)
    read(bedrock, call(operation, b'{"b":1}'))
    first, second, third = (parsed(request)[3] for request in upstream.requests)
    assert (first, third) == (BODY, b'{"b":1}')
    assert json.loads(second) == due


@in_every_operation
def test_a_connection_serves_one_call_after_the_other(
    bedrock: Bedrock, upstream: Upstream, operation: str
) -> None:
    """A document that has been read to its end leaves it as it was."""
    upstream.answer = sends(http(DOCUMENT))
    read(bedrock, call(operation))
    before = len(upstream.connections)
    for _ in range(3):
        read(bedrock, call(operation))
    assert len(upstream.connections) == before


@in_every_operation
@pytest.mark.parametrize(
    ("status", "exception", "code", "asked"),
    [
        (429, "ThrottlingException", "throttling", 2),
        (503, "ServiceUnavailableException", "service_unavailable", 2),
        (400, "ValidationException", "validation", 1),
        (403, "AccessDeniedException", "access_denied", 1),
        (404, "ResourceNotFoundException", "resource_not_found", 1),
    ],
)
def test_bedrocks_refusals_keep_their_status(
    bedrock: Bedrock,
    upstream: Upstream,
    operation: str,
    status: int,
    exception: str,
    code: str,
    asked: int,
) -> None:
    """With what was tried, and under the name by which an SDK knows them."""
    upstream.answer = sends(refusal(status, exception, "of arn:aws:iam::123456789012:role/x"))
    error = failure(bedrock, call(operation, None if operation == "InvokeModel" else BODY))
    assert (error.status, error.code, error.retries) == (status, code, asked - 1)
    assert error.headers["x-amzn-errortype"] == exception
    assert "123456789012" not in error.message
    assert len(upstream.requests) == asked


@in_every_operation
def test_another_try_sends_the_same(bedrock: Bedrock, upstream: Upstream, operation: str) -> None:
    """The body is signed anew and sent byte for byte again, and the answer says how often it took."""
    busy = sends(refusal(503, "ServiceUnavailableException", "no"))
    upstream.answer = in_turn(busy, sends(http(DOCUMENT)))
    body = None if operation == "InvokeModel" else BODY
    document, answer = read(bedrock, call(operation, body))
    assert (document, answer.retries) == (DOCUMENT, 1)
    sent = {parsed(request)[3] for request in upstream.requests}
    assert sent == {body or PARAMETERS[operation]["body"]}
    assert len(upstream.requests) == 2
    for request in upstream.requests:
        has, due = signature(upstream.url, request, body or PARAMETERS[operation]["body"])
        assert has == due


HALF = http(DOCUMENT)[: -len(DOCUMENT) // 2]
CHUNKED_HALF = CHUNKED_HEAD + http_chunk(DOCUMENT[:20])


SILENCES = {
    "no head": (),
    "half a body": (HALF,),
    "half in chunks": (CHUNKED_HALF,),
}
BREAKS = {
    "cut": (HALF, fin),
    "reset": (HALF, rst),
    "cut in chunks": (CHUNKED_HALF, fin),
    "reset in chunks": (CHUNKED_HALF, rst),
    "damaged chunks": (CHUNKED_HALF + b"no chunk\r\n",),
    "no HTTP": (b"no HTTP\r\n\r\n", fin),
}


@in_every_operation
@pytest.mark.parametrize("silence", SILENCES)
def test_a_document_that_stalls_is_left(
    bedrock: Bedrock, upstream: Upstream, operation: str, silence: str
) -> None:
    """Wherever it does: with a code of its own, and without another try, for Bedrock may still be at work."""
    upstream.answer = sends(*SILENCES[silence], 2 * READ_TIMEOUT, fin)
    error = failure(bedrock, call(operation))
    assert (error.status, error.code, error.retryable) == (504, "read_timeout", True)
    assert len(upstream.requests) == 1
    upstream.answer = sends(http(DOCUMENT))
    assert read(bedrock, call(operation))[0] == DOCUMENT, "the next call is as if nothing had been"


@in_every_operation
@pytest.mark.parametrize("broken", BREAKS)
def test_half_a_document_is_none(
    bedrock: Bedrock, upstream: Upstream, operation: str, broken: str
) -> None:
    """What breaks on the way is an error of ours, and no byte of it is told."""
    upstream.answer = sends(*BREAKS[broken])
    error = failure(bedrock, call(operation))
    assert (error.status, error.retryable) == (502, True)
    # boto3 does not always say whether the head of the answer had come, or that some of it is missing.
    assert error.code in {"connect_failed", "connection_lost", "corrupt"}
    upstream.answer = sends(http(DOCUMENT))
    assert read(bedrock, call(operation))[0] == DOCUMENT, "the next call is as if nothing had been"


@pytest.mark.parametrize("broken", [name for name in BREAKS if name != "no HTTP"])
def test_a_models_document_that_breaks_is_a_lost_connection(
    bedrock: Bedrock, upstream: Upstream, broken: str
) -> None:
    """Of InvokeModel's answers boto3 does say that their head had come: Bedrock was reached."""
    upstream.answer = sends(*BREAKS[broken])
    assert failure(bedrock, call("InvokeModel")).code == "connection_lost"


@in_every_operation
@pytest.mark.parametrize("steps", [(), (HALF,), (CHUNKED_HALF,)], ids=["head", "half", "chunks"])
def test_the_deadline_ends_the_wait_for_a_document(
    bedrock: Bedrock, upstream: Upstream, operation: str, steps: Any
) -> None:
    """Wherever it is waited for: in time, with its own code; the next call is made by a client of its own."""
    gc.collect()  # an interrupt that meets a finaliser is lost, and comes again too late for this test
    upstream.answer = sends(*steps, 1.0, fin)
    before = bedrock._client
    began = time.monotonic()
    watchdog = Watchdog(deadline=began + 0.1, read_timeout=60)
    with watchdog.on_duty():
        error = failure(bedrock, call(operation), watchdog)
    assert 0.1 <= time.monotonic() - began < 0.9
    assert (error.status, error.code) == (504, "timeout")
    upstream.answer = sends(http(DOCUMENT))
    assert read(bedrock, call(operation))[0] == DOCUMENT
    assert bedrock._client is not before


@in_every_operation
def test_the_watchdog_knows_that_a_document_is_waited_for(
    bedrock: Bedrock, upstream: Upstream, operation: str
) -> None:
    """Until all of it has come; nothing more is waited for then."""
    upstream.answer = sends(http(DOCUMENT))
    watchdog = Noting()
    with bedrock.stream(call(operation), watchdog) as answer:
        assert watchdog.noted == ["ask", "rest"]
        list(answer.frames)
    assert watchdog.noted == ["ask", "rest"]


@pytest.mark.parametrize("operation", ["Converse", "CountTokens"])
@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'"x"', b"null", b"\xff", b"{"])
def test_what_is_no_document_of_bedrocks_is_an_error(
    bedrock: Bedrock, upstream: Upstream, operation: str, body: bytes
) -> None:
    """Whatever comes with a 200: what boto3 cannot read is an error of ours, and nothing else gets out."""
    upstream.answer = sends(http(body))
    error = failure(bedrock, call(operation))
    assert (error.status, error.code) == (502, "corrupt")


def test_a_deployments_mistake_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that is none is nothing that another try would mend, whatever Python takes botocore's error for."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    bedrock = Bedrock(settings())
    answers(bedrock, monkeypatch, InvalidRegionError(region_name="us east 1"))
    with pytest.raises(UpstreamError) as caught, bedrock.stream(a_call(), Noting()):
        pytest.fail("there is no answer")
    assert (caught.value.status, caught.value.code) == (500, "misconfigured")

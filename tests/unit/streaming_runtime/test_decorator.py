from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from streaming_runtime import Response, ResponseClosed, stream_response
from streaming_runtime.decorator import INVOKE_MODE, set_response_opener
from tests.unit.streaming_runtime.test_response import RecordingBody

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = {"http": {"method": "GET"}, "apiId": "a", "domainName": "a.lambda-url.eu-west-1.on.aws"}
HTTP_API = {"http": {}, "apiId": "a", "domainName": "a.execute-api.eu-west-1.amazonaws.com"}
HTTP_API_WITH_A_DOMAIN = {"http": {}, "apiId": "a", "domainName": "api.example.com"}
ODD_NAMES: list[Any] = [5, ["a"], {}, None, ""]
ODD = [{"http": {}, "domainName": name, "apiId": "a"} for name in ODD_NAMES]
EMULATOR: dict[str, Any] = {"http": {}, "apiId": None, "domainName": "localhost"}
REST_API = {"httpMethod": "GET", "domainName": "a.execute-api.eu-west-1.amazonaws.com"}
LOAD_BALANCER = {"elb": {"targetGroupArn": "arn"}}


class Opener:
    def __init__(self) -> None:
        self.bodies: list[RecordingBody] = []
        self.over_http: list[bool] = []

    def open_response(self, *, over_http: bool) -> RecordingBody:
        self.over_http.append(over_http)
        self.bodies.append(RecordingBody())
        return self.bodies[-1]


@contextmanager
def _streaming() -> Iterator[Opener]:
    opener = Opener()
    set_response_opener(opener)
    try:
        yield opener
    finally:
        set_response_opener(None)


@stream_response
def hello(_event: Any, context: Any, *, response: Response) -> None:
    """Say hello."""
    response.status = 201
    response.headers["content-type"] = "text/plain"
    response.cookies.append("a=b")
    response.write(f"{context} ")
    response.write("there")


HELLO = {
    "statusCode": 201,
    "headers": {"content-type": "text/plain"},
    "cookies": ["a=b"],
    "body": "me there",
    "isBase64Encoded": False,
}


@pytest.mark.parametrize(
    ("event", "over_http"),
    [
        ({"requestContext": URL}, True),
        ({"requestContext": {"http": {}}}, True),
        ({"requestContext": EMULATOR}, True),
        ({"requestContext": REST_API}, True),
        ({}, False),
        ({"requestContext": None}, False),
        ({"requestContext": "http"}, False),
        ({"requestContext": {"connectionId": "1"}}, False),
        (None, False),
        ([1], False),
        ("text", False),
    ],
)
def test_streamed(event: Any, *, over_http: bool) -> None:
    """Where the runtime can stream, the pieces go out; status and headers precede them over HTTP only."""
    with _streaming() as opener:
        assert hello(event, "me") is None
    assert opener.over_http == [over_http]
    [body] = opener.bodies
    assert body.pieces == [b"me ", b"there"]
    assert len(body.heads) == 1


@pytest.mark.parametrize("context", [HTTP_API, HTTP_API_WITH_A_DOMAIN, LOAD_BALANCER, *ODD])
def test_a_way_in_that_cannot_stream(context: Any) -> None:
    """An HTTP API and a load balancer take a whole answer only, and get one; so does what nobody knows."""
    with _streaming() as opener:
        assert hello({"requestContext": context}, "me") == HELLO
    assert opener.bodies == []


@pytest.mark.parametrize("event", [{}, {"requestContext": URL}, {"requestContext": REST_API}])
def test_a_runtime_that_cannot_stream(event: Any) -> None:
    """Under plain awslambdaric the same handler returns the usual proxy response."""
    assert hello(event, "me") == HELLO


@pytest.mark.parametrize(("mode", "streams"), [("BUFFERED", False), ("RESPONSE_STREAM", True)])
def test_invoke_mode(mode: str, *, streams: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function URL in mode BUFFERED is told so by its environment."""
    monkeypatch.setenv(INVOKE_MODE, mode)
    with _streaming() as opener:
        assert hello({"requestContext": URL}, "me") == (None if streams else HELLO)
    assert len(opener.bodies) == streams


@pytest.mark.parametrize(
    ("event", "streams"),
    [({}, True), ({"requestContext": URL}, True), ({"requestContext": HTTP_API}, False)],
)
def test_the_handler_knows_whether_it_streams(event: Any, *, streams: bool) -> None:
    """Its response says so, a request at a time; under a runtime that cannot stream it never does."""
    told: list[bool] = []

    @stream_response
    def curious(_event: Any, _context: Any, *, response: Response) -> None:
        told.append(response.streams)

    with _streaming():
        curious(event, None)
    curious(event, None)
    assert told == [streams, False]


def test_an_empty_answer_is_started() -> None:
    """A handler that writes nothing still sends its status (fact 33)."""

    @stream_response
    def quiet(_event: Any, _context: Any, *, response: Response) -> None:
        response.status = 204

    with _streaming() as opener:
        quiet({"requestContext": URL}, None)
    assert opener.bodies[0].heads == [(204, {}, [])]
    assert opener.bodies[0].pieces == []
    assert quiet({}, None)["statusCode"] == 204


def test_an_exception_passes_through() -> None:
    """The handler's exception reaches the runtime; the response is not started on its behalf."""

    @stream_response
    def broken(_event: Any, _context: Any, *, response: Response) -> None:
        raise LookupError(response)

    with _streaming() as opener, pytest.raises(LookupError):
        broken({}, None)
    assert opener.bodies[0].heads == []
    with pytest.raises(LookupError):
        broken({}, None)


def test_what_surrounds_the_handler_stays() -> None:
    """The decorated handler keeps its name and docstring."""
    assert (hello.__name__, hello.__doc__) == ("hello", "Say hello.")


@pytest.mark.parametrize("keep", [True, False])
def test_a_response_ends_with_its_invocation(*, keep: bool) -> None:
    """A response that a thread or a global kept answers nothing after the handler is through, failed or not."""
    kept: list[Response] = []

    @stream_response
    def keeper(_event: Any, _context: Any, *, response: Response) -> None:
        kept.append(response)
        if not keep:
            raise LookupError

    with _streaming() as opener:
        if keep:
            keeper({}, None)
        else:
            with pytest.raises(LookupError):
                keeper({}, None)
        with pytest.raises(ResponseClosed, match="its invocation is over"):
            kept[0].write("late")
    assert opener.bodies[0].pieces == []


def test_a_handler_that_does_not_write() -> None:
    """A generator, which would not even run, and a returned proxy response are told what is expected."""

    @stream_response  # type: ignore[arg-type]  # what is tested
    def generator(_event: Any, _context: Any, *, response: Response) -> Iterator[None]:
        yield response.write("never")  # type: ignore[func-returns-value]  # what is tested

    @stream_response  # type: ignore[arg-type]  # what is tested
    def returning(_event: Any, _context: Any, *, response: Response) -> dict[str, Any]:
        return {"statusCode": response.status}

    for handler, kind in ((generator, "generator"), (returning, "dict")):
        with _streaming() as opener, pytest.raises(TypeError, match=f"return None, got {kind}"):
            handler({}, None)
        assert opener.bodies[0].heads == []

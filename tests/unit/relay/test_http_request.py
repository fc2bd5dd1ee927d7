from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import RequestError
from relay.http_request import (
    HttpRequest,
    headers_of,
    is_http,
    parse_json,
    path_of,
    read_http,
)
from tests.strategies.values import JSON, written

EVENT: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/stream",
    "headers": {"Content-Type": "Application/JSON; charset=utf-8", "X-Some": "Thing"},
    "requestContext": {"http": {"method": "POST", "path": "/stream"}},
    "body": "{}",
    "isBase64Encoded": False,
}


def _body(content: str, limit: int = 100, *, is_base64: bool = False) -> bytes:
    return read_http({**EVENT, "body": content, "isBase64Encoded": is_base64}).body(limit)


def test_an_event_is_one_request() -> None:
    """The names of headers in lower case, their values as they came."""
    http = read_http(EVENT)
    assert http == HttpRequest(
        method="POST",
        path="/stream",
        headers={"content-type": "Application/JSON; charset=utf-8", "x-some": "Thing"},
        content="{}",
        is_base64=False,
    )
    assert http.content_type == "application/json"
    assert http.body(2) == b"{}"


def test_a_rest_apis_event_is_the_same_request() -> None:
    """Payload format 1.0: the path is without the stage, and all values of a repeated header are there."""
    http = read_http(
        {
            "resource": "/{proxy+}",
            "path": "/stream",
            "httpMethod": "POST",
            "headers": {"Content-Type": "application/json", "X-Some": "Other"},
            "multiValueHeaders": {
                "Content-Type": ["application/json"],
                "X-Some": ["Thing", "Other"],
            },
            "requestContext": {
                "httpMethod": "POST",
                "path": "/prod/stream",
                "stage": "prod",
                "identity": {"userArn": None},
            },
            "body": "{}",
            "isBase64Encoded": False,
        }
    )
    assert http == HttpRequest(
        method="POST",
        path="/stream",
        headers={"content-type": "application/json", "x-some": "Thing,Other"},
        content="{}",
        is_base64=False,
    )


def test_a_load_balancers_event_is_one_as_well() -> None:
    """It has several values of a header, or only one of each, as its target group is configured."""
    event = {"requestContext": {"elb": {}}, "httpMethod": "GET", "path": "/health"}
    assert read_http({**event, "headers": {"accept": "*/*"}}).headers == {"accept": "*/*"}
    several = read_http({**event, "multiValueHeaders": {"accept": ["a", "b"]}})
    assert (several.path, several.headers) == ("/health", {"accept": "a,b"})


def test_a_header_in_two_cases_is_one() -> None:
    """Nothing is hidden behind the spelling of a name."""
    assert headers_of({"headers": {"X-Api-Key": "a", "x-api-key": "b"}}) == {"x-api-key": "a,b"}


@pytest.mark.parametrize("nothing", [{}, {"headers": None, "body": None, "rawPath": None}], ids=str)
def test_what_is_not_there_is_nothing(nothing: dict[str, Any]) -> None:
    """A GET has no body, and perhaps no headers; a path that is missing is the root."""
    http = read_http({"requestContext": {"http": {"method": "GET"}}, **nothing})
    assert (http.method, http.path, http.headers) == ("GET", "/", {})
    assert (http.content_type, http.body(1), http.is_base64) == ("", b"", False)


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/stream", "/stream"),
        ("//stream", "/stream"),
        ("///v1//models", "/v1//models"),
        ("", "/"),
        ("stream", "stream"),
        ("/", "/"),
    ],
)
def test_slashes_that_a_base_url_adds_are_one(path: str, read: str) -> None:
    """At its beginning, and there alone."""
    event = {**EVENT, "rawPath": path}
    assert read_http(event).path == read
    assert path_of(event) == (read if path else "")


@pytest.mark.parametrize(
    "event", [None, [], {}, {"rawPath": "/x"}, {"rawPath": "/x", "requestContext": {}}]
)
def test_a_direct_invocation_has_no_path(event: Any) -> None:
    """There is nothing to route it by."""
    assert not is_http(event)
    assert path_of(event) == ""


@pytest.mark.parametrize("path", [None, 5, ["/stream"], {}])
def test_a_path_that_is_none_is_empty(path: Any) -> None:
    """Who is told an error need not have asked well."""
    assert path_of({**EVENT, "rawPath": path}) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"requestContext": {"http": {"method": 5}}},
        {"requestContext": {"http": "POST"}},
        {"rawPath": ["/"]},
        {"headers": [["a", "b"]]},
        {"headers": {"a": ["b"]}},
        {"headers": {5: "b"}},
        {"body": {"a": 1}},
        {"body": b"{}"},
    ],
    ids=str,
)
def test_another_kind_of_event_is_refused(wrong: dict[str, Any]) -> None:
    """A 400 that says whose event it should be."""
    with pytest.raises(RequestError, match="expected a function URL's") as caught:
        read_http({**EVENT, **wrong})
    assert (caught.value.status, caught.value.code) == (400, "invalid_event")


@given(data=st.binary(max_size=40), limit=st.integers(1, 40))
def test_a_body_in_base64_is_limited_by_its_own_bytes(data: bytes, limit: int) -> None:
    """Not by what the event makes of them."""
    content = b64encode(data).decode()
    if len(data) <= limit:
        assert _body(content, limit, is_base64=True) == data
    else:
        with pytest.raises(RequestError, match=f"at most {limit} bytes") as caught:
            _body(content, limit, is_base64=True)
        assert (caught.value.status, caught.value.code) == (413, "payload_too_large")


@given(text=st.text(st.characters(codec="utf-8"), max_size=40), limit=st.integers(1, 40))
def test_a_body_of_text_is_limited_by_its_utf8(text: str, limit: int) -> None:
    """Characters are as many bytes as they are."""
    data = text.encode()
    if len(data) <= limit:
        assert _body(text, limit) == data
    else:
        with pytest.raises(RequestError, match=f"at most {limit} bytes"):
            _body(text, limit)


@pytest.mark.parametrize("content", ["e30", "e30=\n", "{}", "ü", "e30=e30=", "="])
def test_what_is_no_base64_is_refused(content: str) -> None:
    """However close it comes."""
    with pytest.raises(RequestError, match="expected base64, as the event says, got something"):
        _body(content, is_base64=True)


def test_what_no_utf8_can_say_is_refused() -> None:
    """Half a surrogate pair is no text."""
    with pytest.raises(RequestError, match="expected Unicode text, got something else"):
        _body('"\ud83e"')


@given(JSON.flatmap(lambda value: st.tuples(st.just(value), written(value))))
def test_json_is_what_it_says(drawn: tuple[Any, bytes]) -> None:
    """With whatever escapes and white space."""
    value, data = drawn
    assert json.dumps(parse_json(data)) == json.dumps(value)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "nothing"),
        (b"{", "an error at character 1"),
        (b'{"a":}', "an error at character 5"),
        (b"{}{}", "an error at character 2"),
        (b"\xff", "what is no UTF-8 at byte 0"),
        (b'"\xed\xa0\xbe"', "what is no UTF-8 at byte 1"),
        (b"\xef\xbb\xbf{}", "an error at character 0"),
        ("{}".encode("utf-16"), "what is no UTF-8 at byte 0"),
        (b"[1e999]", "something that is no finite number"),
        (b"[-Infinity]", "something that is no finite number"),
        (b"1" * 5000, "something else"),
        (b"[" * 101 + b"]" * 101, "something that is nested too deeply"),
        (b"[" * 100_000, "something that is nested too deeply"),
    ],
)
def test_what_is_no_json_is_pointed_at(data: bytes, got: str) -> None:
    """Where there is a place to point at."""
    with pytest.raises(RequestError) as caught:
        parse_json(data)
    assert caught.value.message == f"the body: expected JSON, got {got}"
    assert (caught.value.status, caught.value.field) == (400, None)

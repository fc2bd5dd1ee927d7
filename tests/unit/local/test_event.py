from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import Any

import pytest

from local.event import to_event
from local.http1 import Request


def event(body: bytes = b"", **parts: Any) -> dict[str, Any]:
    request = Request(
        **{
            "method": "POST",
            "path": "/a%20b",
            "query": "",
            "headers": (("content-type", "application/json"),),
            "http_version": "1.1",
            "peer": "127.0.0.1",
            **parts,
        }
    )
    trace = "Root=1-6252dbdd-2a88d899750a6e1f3a2b4c5d;Parent=53995c3f42cd8ad8;Sampled=1"
    data = to_event(request, body, region="eu-west-1", request_id="id-1", trace_id=trace, port=8080)
    parsed: dict[str, Any] = json.loads(data)
    return parsed


def test_the_event_is_payload_format_two() -> None:
    """The event has the members that AWS documents for function URLs, and no others."""
    got = event(
        b'{"a": 1}', headers=(("content-type", "application/json"), ("user-agent", "curl/8"))
    )
    context = got["requestContext"]
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context.pop("time"))
    assert context.pop("timeEpoch") > 1_700_000_000_000
    assert got == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/a%20b",
        "rawQueryString": "",
        "headers": {
            "content-type": "application/json",
            "user-agent": "curl/8",
            "x-amzn-trace-id": "Root=1-6252dbdd-2a88d899750a6e1f3a2b4c5d",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "8080",
            "x-forwarded-proto": "http",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": "local.lambda-url.eu-west-1.on.aws",
            "domainPrefix": "local",
            "http": {
                "method": "POST",
                "path": "/a%20b",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "curl/8",
            },
            "requestId": "id-1",
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": '{"a": 1}',
        "isBase64Encoded": False,
    }


def test_repeated_headers_and_parameters_are_joined_with_commas() -> None:
    """Values of a repeated name are joined; parameters are decoded, the raw query is not."""
    got = event(headers=(("x", "1"), ("x", "2")), query="a=1&b=%C3%A9&a=2&empty=")
    assert got["headers"]["x"] == "1,2"
    assert got["queryStringParameters"] == {"a": "1,2", "b": "é", "empty": ""}
    assert got["rawQueryString"] == "a=1&b=%C3%A9&a=2&empty="


def test_cookies_have_a_place_of_their_own() -> None:
    """Cookies are a list, and no header."""
    got = event(headers=(("cookie", "a=1; b=2"), ("cookie", "c=3")))
    assert got["cookies"] == ["a=1", "b=2", "c=3"]
    assert "cookie" not in got["headers"]


def test_what_is_absent_is_not_there() -> None:
    """Without a body, cookies or a query the event has no such members."""
    assert not {"body", "cookies", "queryStringParameters"} & event().keys()


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("application/json; charset=utf-8", '{"é": 1}'.encode(), True),
        ("text/plain", "é".encode(), True),
        ("text/plain", b"\xff", False),
        ("application/x-www-form-urlencoded", b"a=b", False),
        ("application/octet-stream", b"a", False),
        (None, b"a", False),
    ],
)
def test_a_body_is_text_only_where_its_type_says_so(
    content_type: str | None, body: bytes, *, text: bool
) -> None:
    """Bodies of JSON, XML, JavaScript and text types are passed as text, all others in base64."""
    got = event(body, headers=(("content-type", content_type),) if content_type else ())
    assert got["isBase64Encoded"] is not text
    assert (got["body"].encode() if text else b64decode(got["body"])) == body

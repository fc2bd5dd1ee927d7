from __future__ import annotations

import itertools
import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.http_response import BadResponse, Head, PreludeReader, proxy_response

PRELUDE = json.dumps(
    {
        "statusCode": 201,
        "headers": {
            "Content-Type": "text/plain",
            "X-A": 1,
            "Content-Length": "5",
            "Transfer-Encoding": "chunked",
        },
        "cookies": ["a=1; Secure", "b=2"],
    }
).encode()
STREAM = PRELUDE + bytes(8) + b"pay\0load"
HEAD = Head(
    201,
    (
        ("content-type", "text/plain"),
        ("x-a", "1"),
        ("set-cookie", "a=1; Secure"),
        ("set-cookie", "b=2"),
    ),
)


@given(st.lists(st.integers(0, len(STREAM))))
def test_a_prelude_is_found_however_it_is_cut(cuts: list[int]) -> None:
    """Status, headers, cookies and payload are the same wherever the transport cuts the stream."""
    borders = [0, *sorted(cuts), len(STREAM)]
    reader = PreludeReader()
    head, payload = None, b""
    for start, end in itertools.pairwise(borders):
        if head is None:
            found = reader.read(STREAM[start:end])
            head, payload = found or (None, b"")
        else:
            payload += STREAM[start:end]
    assert head == HEAD
    assert payload == b"pay\0load"


def test_a_prelude_may_be_empty() -> None:
    """An empty prelude is a 200 with Lambda's default content type."""
    found = PreludeReader().read(b"{}" + bytes(8))
    assert found == (Head(200, (("content-type", "application/octet-stream"),)), b"")


@pytest.mark.parametrize(
    "data", [b"x" + bytes(8), b"[]" + bytes(8), b'{"headers": 1}' + bytes(8), b" " * 16_385]
)
def test_what_is_no_prelude_is_told(data: bytes) -> None:
    """A prelude that is no JSON object, or has no end within 16 KB, is refused."""
    with pytest.raises(BadResponse, match="expected"):
        PreludeReader().read(data)


def test_a_proxy_response_is_read() -> None:
    """A buffered payload with a status code is a response, its body decoded if it says so."""
    payload = json.dumps(
        {"statusCode": 404, "body": b64encode(b"\xff").decode(), "isBase64Encoded": True}
    )
    assert proxy_response(payload.encode()) == (
        Head(404, (("content-type", "application/json"),)),
        b"\xff",
    )
    text = json.dumps(
        {
            "statusCode": 200,
            "headers": {"Content-Type": "text/plain"},
            "body": "é",
            "cookies": ["a=1"],
        }
    )
    head = Head(200, (("content-type", "text/plain"), ("set-cookie", "a=1")))
    assert proxy_response(text.encode()) == (head, "é".encode())


@pytest.mark.parametrize("payload", [b'{"a": 1}', b'"text"', b"null", b"[1]"])
def test_any_other_json_goes_out_as_it_is(payload: bytes) -> None:
    """A payload that is no proxy response is the body of a 200."""
    assert proxy_response(payload) == (Head(200, (("content-type", "application/json"),)), payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b'{"statusCode": "x"}',
        b'{"statusCode": 200, "body": "%", "isBase64Encoded": true}',
    ],
)
def test_what_is_no_response_is_told(payload: bytes) -> None:
    """A payload that cannot be a response is refused."""
    with pytest.raises(BadResponse, match="expected"):
        proxy_response(payload)

from __future__ import annotations

from typing import Any

import pytest

from access.credentials import credential_of
from tests.unit.access.requests import bearer, refused, request, rest_request

KEY = "abcdefghijklmnop-._~+/123456=="
AWS = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"AUTHORIZATION": f"BEARER  {KEY} "},
        {"x-api-key": KEY},
        {"X-API-Key": f" {KEY}"},
        {"x-api-key": KEY, "authorization": AWS},
        {"x-api-key": KEY, "authorization": "AWS4-ECDSA-P256-SHA256 Credential=a"},
        {"x-api-key": KEY, "authorization": "Basic dXNlcjpwYXNz"},
        {"x-api-key": KEY, "authorization": f"Bearer {KEY}"},
    ],
)
def test_a_credential_is_found(headers: dict[str, str]) -> None:
    """Either header will do, in any case; twice the same is one; what is for others is passed over."""
    assert credential_of(request(**headers)) == KEY
    assert credential_of(rest_request({name: [value] for name, value in headers.items()})) == KEY


@pytest.mark.parametrize("headers", [{}, {"authorization": AWS}, {"authorization": "Basic eDp4"}])
def test_a_missing_credential_is_refused(headers: dict[str, str]) -> None:
    """Without one, or with one for others only, a request is refused with the challenge of RFC 6750."""
    error = refused(401, credential_of, request(**headers))
    assert error.code == "unauthenticated"
    assert error.headers["www-authenticate"] == "Bearer"
    assert error.message.endswith("got none.")


@pytest.mark.parametrize(
    "event",
    [
        request(authorization=f"Bearer {KEY}", x_api_key=f"{KEY}x"),
        request(authorization=f"Bearer {KEY}", Authorization=f"Bearer {KEY}"),
        request(x_api_key=KEY, X_API_KEY=KEY),
        request(authorization=f"Bearer {KEY},Bearer {KEY}"),
        request(authorization=f"Bearer {KEY},{KEY}"),
        request(authorization=f"Basic eDp4,Bearer {KEY}"),
        request(authorization=f"{AWS},Bearer {KEY}"),
        request(x_api_key=f"{KEY},{KEY}"),
        request(x_api_key=f"{KEY}, "),
        rest_request({"Authorization": [f"Bearer {KEY}", f"Bearer {KEY}"]}),
        rest_request({"X-Api-Key": ["another-key-that-is-none", KEY]}),
        rest_request({"X-Api-Key": [KEY], "x-api-key": [KEY]}),
        rest_request({"Authorization": [f"Bearer {KEY}"], "x-api-key": [f"{KEY}x"]}),
        # What the last value alone would say does not count.
        {**rest_request({"accept": ["*/*"]}), "headers": {"x-api-key": KEY}},
    ],
)
def test_two_credentials_are_refused(event: dict[str, Any]) -> None:
    """Two of them, repeated headers, or the same in another case: nobody guesses which one counts."""
    refused(401, credential_of, event)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        f"{KEY} {KEY}",
        f"{KEY}\n",
        f"{KEY}\r\nx-a: b",
        f"{KEY}\0",
        f"\t{KEY}",
        f"{KEY}\u00a0",
        "clé-clé-clé-clé-clé",
        "\uff4b\uff45\uff59" * 9,
        f'"{KEY}"',
        f"{KEY}=x",
        "=",
        f"{KEY};{KEY}",
        "\ud800" * 20,
    ],
)
def test_a_malformed_credential_is_refused(value: str) -> None:
    """What RFC 6750 does not call a token is none: blank, quoted, with controls or other than ASCII."""
    refused(401, credential_of, request(x_api_key=value))
    refused(401, credential_of, bearer(value))


@pytest.mark.parametrize("value", [KEY, "", "Bearer", f"Token {KEY}", f"Bearer\t{KEY}", "Digest x"])
def test_another_scheme_is_refused(value: str) -> None:
    """An Authorization header that is neither a bearer's nor another way of AWS's or a browser's is a mistake."""
    refused(401, credential_of, request(authorization=value))
    refused(401, credential_of, request(authorization=value, x_api_key=f"{KEY}x"))


def test_an_oversized_credential_is_refused() -> None:
    """8 KB are enough for any token; nothing longer is even looked into."""
    assert credential_of(bearer("k" * 8192)) == "k" * 8192
    for event in (bearer("k" * 8193), request(x_api_key="k" * 100_000)):
        assert "8192" in refused(401, credential_of, event).message


@pytest.mark.parametrize(
    "event",
    [
        {"headers": None},
        {"headers": [["x-api-key", KEY]]},
        {"headers": {"x-api-key": 5}},
        {"headers": {"x-api-key": None}},
        {"headers": {"x-api-key": [KEY]}},
        rest_request(None),
        rest_request({}),
        {"multiValueHeaders": {"x-api-key": KEY}},
        {"multiValueHeaders": {"x-api-key": []}, "headers": {"x-api-key": KEY}},
        {"multiValueHeaders": [KEY]},
    ],
)
def test_an_event_of_another_form_has_no_credential(event: dict[str, Any]) -> None:
    """Whatever an event looks like, it is refused rather than let in or stumbled over."""
    refused(401, credential_of, {**request(), **event})


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-authorization",
        "x-original-authorization",
        "proxy-authorization",
        "api-key",
        "x-amz-security-token",
        "x-amzn-remapped-authorization",
        "x_api_key",
        "cookie",
        "authorization ",
    ],
)
def test_no_other_header_is_a_credential(name: str) -> None:
    """What a proxy, a browser or another API would have it in does not count; neither do query and body."""
    event = {
        **request(),
        "headers": {name: f"Bearer {KEY}", "x-forwarded-user": "admin"},
        "cookies": [f"x-api-key={KEY}"],
        "queryStringParameters": {"x-api-key": KEY, "api_key": KEY},
        "rawQueryString": f"x-api-key={KEY}",
        "body": f'{{"x-api-key": "{KEY}"}}',
    }
    refused(401, credential_of, event)

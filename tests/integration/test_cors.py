"""Browsers on other origins: the URL answers their preflights, and the function adds nothing of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from local.configuration import FunctionConfiguration
from local.function import LocalFunction
from local.pace import IMMEDIATE

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN = "https://app.example.com"
ROUTES = ["/stream", "/v1/chat/completions", "/v1/messages", "/ui/chat"]


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    with LocalFunction(FunctionConfiguration(cors_origins=(ORIGIN,)), pace=IMMEDIATE) as function:
        yield function


def _preflight(function: LocalFunction, path: str, origin: str, method: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type",
    }
    return httpx.options(function.url + path, headers=headers)


@pytest.mark.parametrize("path", ROUTES)
def test_a_preflight_reaches_neither_the_function_nor_bedrock(
    function: LocalFunction, path: str
) -> None:
    """It is answered from the URL's configuration: origin, methods, and the headers that clients send."""
    log = len(function.log)
    response = _preflight(function, path, ORIGIN, "POST")
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-methods"] == "GET,POST"
    assert {"authorization", "content-type"} <= set(
        response.headers["access-control-allow-headers"].split(",")
    )
    assert len(function.log) == log
    assert not function.bedrock.calls


@pytest.mark.parametrize(
    ("origin", "method"), [("https://evil.example.com", "POST"), (ORIGIN, "DELETE")]
)
def test_what_is_not_allowed_is_not(function: LocalFunction, origin: str, method: str) -> None:
    """Another origin and another method get no header, on which the browser gives up."""
    response = _preflight(function, "/stream", origin, method)
    assert not [name for name in response.headers if name.startswith("access-control-")]


def test_an_answer_names_its_origin_once(function: LocalFunction) -> None:
    """Streams and errors alike: exactly one header, and the request's id may be read (fact 44)."""
    for body in ({"prompt": "hi"}, {}):
        response = httpx.post(function.url + "/stream", json=body, headers={"origin": ORIGIN})
        assert response.status_code == (200 if body else 400)
        assert response.headers.get_list("access-control-allow-origin") == [ORIGIN]
        assert "x-request-id" in response.headers["access-control-expose-headers"].split(",")
    response = httpx.post(function.url + "/stream", json={"prompt": "hi"})
    assert not [name for name in response.headers if name.startswith("access-control-")]


def test_options_without_an_origin_are_answered_by_the_function(function: LocalFunction) -> None:
    """No browser asks so; whoever does is told the methods, and Bedrock is not asked."""
    calls = len(function.bedrock.calls)
    response = httpx.options(function.url + "/v1/chat/completions")
    assert (response.status_code, response.headers["allow"]) == (204, "POST, OPTIONS")
    assert len(function.bedrock.calls) == calls


def test_without_a_configuration_there_is_no_cors() -> None:
    """Nobody else's page may read an answer unless the deployment says so."""
    with LocalFunction(pace=IMMEDIATE) as function:
        preflight = _preflight(function, "/stream", ORIGIN, "POST")
        answer = httpx.post(
            function.url + "/stream", json={"prompt": "hi"}, headers={"origin": ORIGIN}
        )
    for response in (preflight, answer):
        assert not [name for name in response.headers if name.startswith("access-control-")]

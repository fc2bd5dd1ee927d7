"""Behind a REST API with response streaming: its events (payload format 1.0), through the whole function.

API Gateway calls the function by InvokeWithResponseStream; boto3 does the same here, and gets what API Gateway would:
the prelude, eight NULs and the body (fact 32).
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3  # noqa: TID251  # the judge
import pytest

from local.function import LocalFunction
from local.pace import IMMEDIATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ORIGIN = "https://app.example.com"
OURS = {"origin": [ORIGIN]}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes
    error: str | None


@pytest.fixture(scope="module")
def function() -> Iterator[LocalFunction]:
    cors = {"RIVULET_CORS_ORIGINS": f"{ORIGIN},https://other.example.com"}
    with LocalFunction(environment=cors, pace=IMMEDIATE) as function:
        yield function


def _ask(
    function: LocalFunction,
    path: str,
    body: Any = None,
    method: str = "POST",
    headers: Mapping[str, list[str]] | None = None,
) -> Answer:
    several = {"content-type": ["application/json"], **(headers or {})}
    event = {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {name: values[-1] for name, values in several.items()},
        "multiValueHeaders": several,
        "queryStringParameters": None,
        "pathParameters": {"proxy": path.removeprefix("/")},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3",
            "domainName": "a1b2c3.execute-api.us-east-1.amazonaws.com",
            "httpMethod": method,
            "identity": {
                "sourceIp": "192.0.2.1",
                "userArn": "arn:aws:sts::123456789012:assumed-role/Shop/session",
            },
            "path": f"/live{path}",
            "requestId": "an-id",
            "resourcePath": "/{proxy+}",
            "stage": "live",
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }
    client = boto3.client(
        "lambda",
        endpoint_url=function.invoke_url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    with closing(client):
        answer = client.invoke_with_response_stream(
            FunctionName="rivulet", Payload=json.dumps(event)
        )
        *pieces, complete = answer["EventStream"]
    whole = b"".join(piece["PayloadChunk"]["Payload"] for piece in pieces)
    prelude, nuls, payload = whole.partition(bytes(8))
    assert nuls
    head = json.loads(prelude)
    error = complete["InvokeComplete"].get("ErrorCode")
    return Answer(head["statusCode"], head["headers"], payload, error)


def test_an_answer_streams(function: LocalFunction) -> None:
    """Status and headers go before the events, as API Gateway reads them."""
    answer = _ask(function, "/stream", {"prompt": "Why stream?"})
    assert (answer.status, answer.error) == (200, None)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n") if line]
    assert (events[0]["type"], events[-1]["type"]) == ("start", "done")


def test_the_caller_is_known(function: LocalFunction) -> None:
    """The role whose signature API Gateway has checked is in the record, by its name alone."""
    function.log.clear()
    _ask(function, "/v1/models", method="GET")
    record = json.loads(function.wait_for_line('"caller"'))
    assert (record["caller"], record["auth"]) == ("Shop", "iam")
    assert "arn:aws:sts" not in "".join(function.log)


def test_every_api_is_there(function: LocalFunction) -> None:
    """OpenAI's and Anthropic's answers and errors as behind a URL."""
    messages = [{"role": "user", "content": "hi"}]
    chat = _ask(function, "/v1/chat/completions", {"messages": messages})
    assert json.loads(chat.body)["object"] == "chat.completion"
    refused = _ask(function, "/v1/messages", {"messages": messages})
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["type"] == "invalid_request_error"
    nothing = _ask(function, "/nothing", method="GET")
    assert nothing.status == 404


def test_a_failed_stream_fails_the_invocation(function: LocalFunction) -> None:
    """Its trailers reach API Gateway, after the error in the body."""
    answer = _ask(function, "/stream", {"prompt": "hi [fault: cut]"})
    assert (answer.status, answer.error) == (200, "Rivulet.connection_lost")
    assert b'"code":"connection_lost"' in answer.body


def test_the_function_answers_preflights(function: LocalFunction) -> None:
    """A REST API hands them on, unlike a URL (fact 44): origin, methods and headers; nothing for other origins."""
    asked = {"access-control-request-method": ["POST"]}
    ours = _ask(function, "/stream", method="OPTIONS", headers={**OURS, **asked})
    assert (ours.status, ours.body) == (204, b"")
    assert ours.headers["access-control-allow-origin"] == ORIGIN
    assert ours.headers["access-control-allow-methods"] == "GET,POST"
    assert "authorization" in ours.headers["access-control-allow-headers"].split(",")
    theirs = {"origin": ["https://evil.example.com"], **asked}
    other = _ask(function, "/stream", method="OPTIONS", headers=theirs)
    assert not [name for name in other.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/models", 200), ("/nothing", 404)], ids=["answer", "error"]
)
def test_browsers_may_read_the_answer(function: LocalFunction, path: str, status: int) -> None:
    """An answer and an error alike name the origin, one of several, and what else may be read."""
    answer = _ask(function, path, method="GET", headers=OURS)
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["vary"] == "Origin"
    assert "x-request-id" in answer.headers["access-control-expose-headers"].split(",")
    assert "access-control-allow-origin" not in _ask(function, path, method="GET").headers

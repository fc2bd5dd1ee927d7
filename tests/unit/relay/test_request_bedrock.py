"""Bedrock's own routes: what is sent there goes to Bedrock as it came."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import formats
from relay.errors import RequestError
from relay.model_call import ModelCall
from relay.request import read_request
from tests.strategies.values import OBJECTS, written
from tests.unit.relay.test_request import MODEL as SERVICE
from tests.unit.relay.test_request import BotocoreShapes
from tests.unit.relay.url_events import (
    CLAUDE,
    LIMITED,
    NOVA,
    PROFILE,
    SETTINGS,
    call_of,
    refusal_of,
    told,
    url_event,
)

CONVERSE = {"converse-stream": "ConverseStream", "converse": "Converse"}
INVOKE = {
    "invoke-with-response-stream": "InvokeModelWithResponseStream",
    "invoke": "InvokeModel",
}
FORMATS = {
    "converse-stream": formats.CONVERSE_FRAMES,
    "converse": formats.DOCUMENT,
    "invoke-with-response-stream": formats.INVOKE_FRAMES,
    "invoke": formats.DOCUMENT,
    "count-tokens": formats.DOCUMENT,
}
ALL = {**CONVERSE, **INVOKE, "count-tokens": "CountTokens"}
MESSAGES = [{"role": "user", "content": [{"text": "hi"}]}]
# Its own white space, an escape that need not be one, numbers as they are, a member of tomorrow.
AS_IT_CAME = (
    b'{ "messages":[{"role":"user",\n"content":[{"text":"Gr\\u00fc\\u00dfe"}]}],'
    b'"ofTomorrow":{"a":1.0,"b":1e2}, "inferenceConfig" : {"maxTokens":5} }'
)


def _path(operation: str, model: str = CLAUDE, safe: str = "") -> str:
    return f"/model/{quote(model, safe=safe)}/{operation}"


@pytest.mark.parametrize("operation", CONVERSE)
@pytest.mark.parametrize("settings", [SETTINGS, LIMITED], ids=["unlimited", "limited"])
def test_a_conversation_goes_through_as_it_came(operation: str, settings: Any) -> None:
    """Byte for byte, what boto3 has not heard of included; boto3 is told the model alone."""
    assert call_of(_path(operation), AS_IT_CAME, settings=settings) == ModelCall(
        route=f"/model/{{modelId}}/{operation}",
        operation=CONVERSE[operation],
        model=CLAUDE,
        parameters={"modelId": CLAUDE},
        body=AS_IT_CAME,
        format=FORMATS[operation],
    )


@pytest.mark.parametrize("operation", CONVERSE)
@given(body=OBJECTS.flatmap(written))
def test_any_object_goes_through_as_it_came(operation: str, body: bytes) -> None:
    """What is in it is for Bedrock to judge."""
    assert call_of(_path(operation), body).body == body


@pytest.mark.parametrize("operation", CONVERSE)
@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({}, {"inferenceConfig": {"maxTokens": 100}}),
        ({"messages": MESSAGES}, {"messages": MESSAGES, "inferenceConfig": {"maxTokens": 100}}),
        (
            {"x": [None, 1.5, "ü\u2028"], "inferenceConfig": {"topP": 1, "new": {}}},
            {
                "x": [None, 1.5, "ü\u2028"],
                "inferenceConfig": {"maxTokens": 100, "topP": 1, "new": {}},
            },
        ),
    ],
)
def test_the_limit_is_filled_in(operation: str, body: Any, sent: Any) -> None:
    """Where a conversation names none, and nothing else of it changes."""
    call = call_of(_path(operation), body, settings=LIMITED)
    assert json.loads(call.body or b"") == sent
    kept = {**body, "inferenceConfig": {**body.get("inferenceConfig", {}), "maxTokens": 100}}
    assert call_of(_path(operation), kept, settings=LIMITED).body == json.dumps(kept).encode()


@pytest.mark.parametrize("operation", CONVERSE)
def test_what_is_filled_in_stays_json(operation: str) -> None:
    r"""JSON's escape for half a surrogate pair stays one: ``"\ud83e"``."""
    body = call_of(_path(operation), rb'{"messages":"\ud83e"}', settings=LIMITED).body
    assert body is not None
    json.loads(body.decode())


@pytest.mark.parametrize("operation", CONVERSE)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"inferenceConfig": {"maxTokens": 101}},
            "inferenceConfig.maxTokens: expected from 1 to 100, got the number 101",
        ),
        (
            {"inferenceConfig": {"maxTokens": None}},
            "inferenceConfig.maxTokens: expected from 1 to 100, got null",
        ),
        ({"inferenceConfig": None}, "inferenceConfig: expected an object, got null"),
        ({"inferenceConfig": [5]}, "inferenceConfig: expected an object, got a list of 1"),
        (
            {"additionalModelRequestFields": {"max_tokens": 101}},
            "additionalModelRequestFields.max_tokens: expected from 1 to 100, got the number 101",
        ),
        (
            {"additionalModelRequestFields": {"n": 2}},
            "additionalModelRequestFields.n: expected 1, got the number 2",
        ),
        ({"messages": MESSAGES * 3}, "messages: expected at most 2, got 3"),
        (
            b'{"inferenceConfig":{"maxTokens":5,"maxTokens":500}}',
            "the body: expected each name once in an object, got one twice",
        ),
        (
            b'{"inferenceConfig":{"maxTokens":5},"inferenceConfig":{}}',
            "the body: expected each name once in an object, got one twice",
        ),
    ],
)
def test_what_asks_for_more_is_refused(operation: str, body: Any, message: str) -> None:
    """By Bedrock's own names, which are the caller's."""
    error = refusal_of(_path(operation), body, settings=LIMITED)
    assert (error.status, error.code, error.message) == (400, "invalid_request", message)


@pytest.mark.parametrize("operation", [*CONVERSE, *INVOKE])
def test_without_a_limit_on_tokens_only_messages_come_once(operation: str) -> None:
    """What is limited in any case has one meaning; what is not is as it came."""
    twice = b'{"messages":[],"messages":[],"x":1}'
    assert "each name once" in refusal_of(_path(operation), twice).message
    harmless = b'{"max_tokens":1,"max_tokens":2,"inferenceConfig":5}'
    call = call_of(_path(operation), harmless)
    assert (call.body or call.parameters["body"]) == harmless


@pytest.mark.parametrize("operation", INVOKE)
def test_a_models_own_request_goes_through_as_it_came(operation: str) -> None:
    """Byte for byte, and its headers as boto3's parameters, as far as the operation has them."""
    body = b'{ "max_tokens":\n5, "x": 1.0 }'
    shape = SERVICE.operation_model(INVOKE[operation]).input_shape
    headers = {
        member.serialization["name"]: name
        for name, member in shape.members.items()
        if member.serialization.get("location") == "header"
    }
    del headers["Content-Type"]
    sent = {header: f"a {name}" for header, name in headers.items()}
    # On the way without a stream it is HTTP's own, and asks for nothing: the answer is the model's document.
    accepted = {"Accept": "accept"} if operation == "invoke" else {}
    call = call_of(_path(operation), body, headers=sent, settings=LIMITED)
    assert call == ModelCall(
        route=f"/model/{{modelId}}/{operation}",
        operation=INVOKE[operation],
        model=CLAUDE,
        parameters={
            "modelId": CLAUDE,
            "body": body,
            "contentType": "application/json",
            **{n: f"a {n}" for header, n in headers.items() if header not in accepted},
        },
        format=FORMATS[operation],
    )


@pytest.mark.parametrize("operation", INVOKE)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"max_tokens": 101}, "max_tokens: expected from 1 to 100, got the number 101"),
        ({}, "max_tokens or max_tokens_to_sample: expected from 1 to 100, got nothing"),
        ({"max_tokens": 5, "messages": [{}] * 3}, "messages: expected at most 2, got 3"),
        (
            b'{"max_tokens":5,"max_tokens":500}',
            "the body: expected each name once in an object, got one twice",
        ),
    ],
)
def test_no_model_is_asked_for_more(operation: str, body: Any, message: str) -> None:
    """A model's own schema is limited with a stream and without."""
    assert refusal_of(_path(operation), body, settings=LIMITED).message == message


@pytest.mark.parametrize("model", [CLAUDE, NOVA, "gpt-4o", PROFILE, "ours"])
@pytest.mark.parametrize("safe", ["", "/", ":/"], ids=["encoded", "half", "as it is"])
@pytest.mark.parametrize("operation", ALL)
def test_a_model_goes_by_any_of_its_names(operation: str, safe: str, model: str) -> None:
    """Ids, ARNs and aliases, percent-encoded or not: Bedrock is told the id that the deployment knows."""
    call = call_of(_path(operation, model, safe), {"max_tokens": 5})
    known = {"gpt-4o": NOVA, "ours": PROFILE}.get(model, model)
    if operation == "count-tokens":  # which knows no inference profile of a region's
        known = known.removeprefix("us.")
    assert (call.model, call.parameters["modelId"]) == (known, known)
    assert call.operation == ALL[operation]


@pytest.mark.parametrize("operation", ALL)
def test_a_model_that_is_not_allowed_is_an_aws_sdks_404(operation: str) -> None:
    """In the header from which an SDK takes its exception, and with the message beside the error."""
    headers, body = told(_path(operation, "arn:other"), {})
    assert headers == {"x-amzn-errortype": "ResourceNotFoundException"}
    message = "modelId: expected a model that this deployment allows (GET /v1/models lists them), got arn:other"
    assert body == {
        "error": {
            "code": "model_not_found",
            "message": message,
            "retryable": False,
            "request_id": "the-request",
        },
        "message": message,
    }


def test_tokens_are_counted_of_what_came() -> None:
    """CountTokens' own body goes through byte for byte; boto3 is told something that it lets pass."""
    body = b'{ "input":{"invokeModel":{"body":"e30="}}, "new":1 }'
    assert call_of(_path("count-tokens"), body, settings=LIMITED) == ModelCall(
        route="/model/{modelId}/count-tokens",
        operation="CountTokens",
        model=CLAUDE.removeprefix("us."),
        parameters={"modelId": CLAUDE.removeprefix("us."), "input": {"converse": {}}},
        body=body,
        format=formats.DOCUMENT,
    )


@pytest.mark.parametrize("operation", ALL)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body: expected JSON, got nothing"),
        (b"{", "the body: expected JSON, got an error at character 1"),
        (b'{"a":NaN}', "the body: expected JSON, got something that is no finite number"),
        (
            b"[" * 150 + b"]" * 150,
            "the body: expected JSON, got something that is nested too deeply",
        ),
    ],
)
def test_what_is_no_json_is_refused(operation: str, body: bytes, message: str) -> None:
    """Here, and not by Bedrock."""
    assert refusal_of(_path(operation), body).message == message


@pytest.mark.parametrize("operation", [*CONVERSE, "count-tokens"])
@pytest.mark.parametrize(
    ("body", "got"), [([], "a list of 0"), ("hi", "text of 2 characters"), (None, "null")]
)
def test_converses_own_request_is_an_object(operation: str, body: Any, got: str) -> None:
    """Any other JSON is none."""
    message = f"the body: expected a JSON object, got {got}"
    assert refusal_of(_path(operation), body).message == message


@pytest.mark.parametrize("operation", ALL)
def test_bodies_in_base64_are_decoded(operation: str) -> None:
    """Lambda hands some bodies on in base64; Bedrock gets the bytes."""
    body = '{"x":"Grüße"}'.encode()
    event = {**url_event(_path(operation)), "body": b64encode(body).decode()}
    call = read_request({**event, "isBase64Encoded": True}, SETTINGS, BotocoreShapes())
    assert isinstance(call, ModelCall)
    assert (call.body or call.parameters["body"]) == body
    with pytest.raises(RequestError, match="expected base64, as the event says"):
        read_request({**event, "body": "{}", "isBase64Encoded": True}, SETTINGS, BotocoreShapes())


@pytest.mark.parametrize("operation", ALL)
def test_other_methods_and_types_are_refused(operation: str) -> None:
    """As everywhere, but so that an AWS SDK raises it."""
    headers, body = told(_path(operation), {}, method="GET")
    assert headers == {"x-amzn-errortype": "ValidationException", "allow": "POST"}
    assert body["error"]["code"] == "method_not_allowed"
    headers, body = told(_path(operation), {}, headers={"content-type": "text/css"})
    assert headers == {"x-amzn-errortype": "ValidationException"}
    assert body["message"] == "content-type: expected application/json, got text/css"


@pytest.mark.parametrize("operation", [*CONVERSE, "invoke", "count-tokens"])
@given(accept=st.sampled_from(["", "application/json", "text/css", "*/*;q=0", ";"]))
def test_where_there_is_one_format_nothing_is_negotiated(operation: str, accept: str) -> None:
    """Whatever an SDK says that it accepts, it is answered in the operation's own format."""
    assert call_of(_path(operation), {}, headers={"accept": accept}).format is FORMATS[operation]

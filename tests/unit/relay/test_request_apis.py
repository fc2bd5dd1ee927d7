"""The routes of other APIs, and the lists of models: what is asked for, and how each is told that it cannot be had."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from relay import formats
from relay.errors import RequestError, bedrock_error, limit_error
from relay.model_call import Reply
from relay.request import read_request, refuse
from relay.settings import Settings
from tests.strategies.api_requests import BODIES
from tests.unit.relay.test_request import BotocoreShapes
from tests.unit.relay.url_events import (
    CLAUDE,
    LIMITED,
    NOVA,
    PROFILE,
    SETTINGS,
    call_of,
    refusal_of,
    reply_to,
    told,
    url_event,
)

APIS = list(formats.APIS)
OPENAIS = ["/v1/chat/completions", "/v1/responses"]
ANTHROPICS = ["/v1/messages", "/v1/messages/count_tokens"]
ANTHROPIC = {"anthropic-version": "2023-06-01"}
BODY = {path: BODIES[path][0] for path in APIS}


def _error(path: str, body: Any) -> Any:
    """Return what is in the shape of the API's error, as far as all have it."""
    assert body["type" if path in ANTHROPICS else "error"] is not None
    return body["error"]


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("name", [NOVA, "gpt-4o", PROFILE, "ours", CLAUDE])
def test_a_model_goes_by_any_of_its_names(path: str, name: str) -> None:
    """Ids, ARNs and aliases; for CountTokens the model behind the inference profile."""
    call = call_of(path, {**BODY[path], "model": name})
    known = {"gpt-4o": NOVA, "ours": PROFILE}.get(name, name)
    if call.operation == "CountTokens":
        known = known.removeprefix("us.")
    assert (call.route, call.model, call.parameters["modelId"]) == (path, known, known)
    assert call.body is None


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("nothing", [{}, {"model": None}, {"model": ""}], ids=str)
def test_without_a_model_the_first_answers(path: str, nothing: Any) -> None:
    """As on ``/stream``: the deployment's choice."""
    assert call_of(path, {**BODY[path], **nothing}).model in {CLAUDE, CLAUDE.removeprefix("us.")}


def test_each_api_has_its_operation() -> None:
    """Anthropic's own models are asked in their own words, all others by Converse."""
    asked = {
        (path, model): call_of(path, {**BODY[path], "model": model}).operation
        for path in APIS
        for model in (CLAUDE, NOVA)
    }
    conversed = [path for path in APIS if path not in ANTHROPICS]
    assert asked == {
        **{(path, model): "ConverseStream" for path in conversed for model in (CLAUDE, NOVA)},
        ("/v1/messages", CLAUDE): "InvokeModel",
        ("/v1/messages", NOVA): "ConverseStream",
        ("/v1/messages/count_tokens", CLAUDE): "CountTokens",
        ("/v1/messages/count_tokens", NOVA): "CountTokens",
    }


@pytest.mark.parametrize("path", APIS)
def test_an_unknown_model_is_told_in_the_apis_own_shape(path: str) -> None:
    """A 404 that names ``model``, as callers of each API know errors."""
    headers, body = told(path, {**BODY[path], "model": "gpt-5"})
    error = _error(path, body)
    assert headers["x-should-retry"] == "false"
    message = (
        "model: expected a model that this deployment allows (GET /v1/models lists them), got gpt-5"
    )
    assert (error["message"], error["code"]) == (message, "model_not_found")
    if path in OPENAIS:
        assert body.keys() == {"error"}
        assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    elif path in ANTHROPICS:
        assert (body["type"], error["type"]) == ("error", "not_found_error")
        assert (body["request_id"], headers["request-id"]) == ("the-request", "the-request")
    else:
        assert (body.keys(), error["request_id"]) == ({"error"}, "the-request")
    assert refusal_of(path, {**BODY[path], "model": "gpt-5"}).status == 404


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("model", [5, True, ["gpt-4o"], {"id": "gpt-4o"}])
def test_a_models_name_is_text(path: str, model: Any) -> None:
    """Anything else names none."""
    error = refusal_of(path, {**BODY[path], "model": model})
    assert (error.status, error.field) == (400, "model")
    assert error.message.startswith("model: expected text, got ")


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize(
    ("request_", "status", "code", "type_"),
    [
        ({"method": "GET"}, 405, "method_not_allowed", "invalid_request_error"),
        ({"headers": {"content-type": "text/css"}}, 415, "unsupported_media_type", None),
        ({"body": b""}, 400, "invalid_request", None),
        ({"body": []}, 400, "invalid_request", None),
        ({"body": {}}, 400, "invalid_request", None),
        ({"body": {"quite": "new"}}, 400, "invalid_request", None),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_what_is_wrong_is_told_in_the_apis_own_shape(
    path: str, request_: Any, status: int, code: str, type_: str | None
) -> None:
    """Whatever is wrong with a request, whoever speaks an API is told in its words."""
    settings = Settings.from_environment({"RIVULET_MODEL_IDS": NOVA})
    error = refusal_of(path, **{"body": BODY[path], **request_}, settings=settings)
    assert (error.status, error.code) == (status, code)
    headers, body = told(path, **{"body": BODY[path], **request_}, settings=settings)
    assert _error(path, body)["code"] == code
    assert headers["x-should-retry"] == "false"
    if path != "/ui/chat":
        assert _error(path, body)["type"] == (type_ or "invalid_request_error")
    assert ("allow" in error.headers) == (status == 405)


def test_a_body_that_is_too_long_is_a_413_in_each_shape() -> None:
    """Before anything in it is looked at."""
    settings = Settings.from_environment(
        {"RIVULET_MODEL_IDS": NOVA, "RIVULET_MAX_REQUEST_BYTES": "10"}
    )
    types = {}
    for path in APIS:
        _, body = told(path, BODY[path], settings=settings)
        assert _error(path, body)["code"] == "payload_too_large"
        types[path] = _error(path, body).get("type")
    assert [types[path] for path in OPENAIS] == ["invalid_request_error"] * 2
    assert [types[path] for path in ANTHROPICS] == ["request_too_large"] * 2


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        ("/v1/chat/completions", {}, "openai"),
        ("/v1/chat/completions", ANTHROPIC, "openai"),
        ("/v1/messages", {}, "anthropic"),
        ("/v1/models", {}, "openai"),
        ("/v1/models", ANTHROPIC, "anthropic"),
        ("/v1/models/x", {}, "openai"),
        ("/v1/models/x", {"Anthropic-Version": "2023-06-01"}, "anthropic"),
        ("/v1/embeddings", {}, "openai"),
        ("/v1/messages/batches", ANTHROPIC, "anthropic"),
        ("//v1/messages", {}, "anthropic"),
        ("/v1/chat/completions/", {}, "openai"),
        ("/v1", {}, "plain"),
        ("/stream", {}, "plain"),
        ("/", ANTHROPIC, "plain"),
        ("/ui/chat", {}, "plain"),
        ("/model/x/converse", ANTHROPIC, "sdk"),
        ("/model/", {}, "sdk"),
        (None, {}, "plain"),
        (5, {}, "plain"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        RequestError(404, "not_found", "no"),
        bedrock_error("ThrottlingException", retry_after="17"),
        limit_error("timeout"),
    ],
    ids=lambda error: error.code,
)
def test_errors_are_told_in_the_shape_of_whoever_asks(
    path: Any, headers: dict[str, str], shape: str, error: Any
) -> None:
    """By the path, and where two APIs share one, by the header that Anthropic's clients send."""
    event = {**url_event("/x", {}, headers=headers), "rawPath": path}
    refusal = refuse(event, error, "the-request", {})
    body = json.loads(json.dumps(refusal.body))
    if shape == "openai":
        assert body.keys() == {"error"}
        assert {"message", "type", "param", "code"} <= body["error"].keys()
    elif shape == "anthropic":
        assert (body["type"], body["request_id"]) == ("error", "the-request")
    elif shape == "sdk":
        assert body["message"] == error.message
        assert re.fullmatch(r"[A-Z]\w+Exception", refusal.headers["x-amzn-errortype"])
    else:
        assert body.keys() == {"error"}
        assert body["error"] == {**error.told(), "request_id": "the-request"}
    if shape in {"openai", "anthropic"}:
        assert refusal.headers["x-should-retry"] == str(error.retryable).lower()


@pytest.mark.parametrize("headers", [None, [], "x", {5: "y"}, {"anthropic-version": None}])
def test_an_event_may_have_any_headers(headers: Any) -> None:
    """An error is told whatever the event is like."""
    event = {**url_event("/v1/models"), "headers": headers}
    refuse(event, RequestError(400, "invalid_event", "no"), "the-request", {})


@pytest.mark.parametrize(
    "event", [None, [], {}, {"prompt": 1}, {"requestContext": {"http": {}}, "rawPath": None}]
)
def test_any_event_is_refused_somehow(event: Any) -> None:
    """What is no HTTP request, too."""
    error = RequestError(400, "invalid_request", "no")
    assert refuse(event, error, "r", {}).body == {"error": {**error.told(), "request_id": "r"}}


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        *((path, "POST, OPTIONS") for path in APIS),
        ("/v1/models", "GET, OPTIONS"),
        ("/v1/models/gpt-4o", "GET, OPTIONS"),
        ("/model/x/converse", "POST, OPTIONS"),
        ("/health", "GET, OPTIONS"),
    ],
)
def test_options_are_told_without_a_body(path: str, allow: str) -> None:
    """No browser's preflight, which the function URL answers itself (fact 44)."""
    assert reply_to(path, method="OPTIONS") == Reply(status=204, headers={"allow": allow})


@pytest.mark.parametrize("path", ["/v1/other", "/ui/other", "/v1/models/", "/v2/models"])
def test_options_of_nothing_are_a_404(path: str) -> None:
    """What is not there has none."""
    assert refusal_of(path, method="OPTIONS").status == 404


# What the limits of a deployment do to each API's request for too many tokens.
TOO_MANY = {
    "/v1/chat/completions": {"max_completion_tokens": 101},
    "/v1/responses": {"max_output_tokens": 101},
    "/v1/messages": {"max_tokens": 101},
    "/ui/chat": {"maxOutputTokens": 101},
}


@pytest.mark.parametrize("path", TOO_MANY)
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_no_api_leads_past_the_limit_on_tokens(path: str, model: str) -> None:
    """What asks for more is refused; what does not say is given the limit."""
    error = refusal_of(path, {**BODY[path], **TOO_MANY[path], "model": model}, settings=LIMITED)
    assert error.status == 400
    assert "expected from 1 to 100, got the number 101" in error.message
    silent = {n: v for n, v in BODY[path].items() if n not in TOO_MANY[path]}
    call = call_of(path, {**silent, "model": model}, settings=LIMITED)
    if call.operation == "InvokeModel":
        assert json.loads(call.parameters["body"])["max_tokens"] == 100
    else:
        assert call.parameters["inferenceConfig"] == {"maxTokens": 100}


@pytest.mark.parametrize("path", TOO_MANY)
def test_the_limit_is_told_by_the_callers_own_name(path: str) -> None:
    """``inferenceConfig.maxTokens`` is nothing that a caller of these APIs has written."""
    error = refusal_of(path, {**BODY[path], **TOO_MANY[path], "model": NOVA}, settings=LIMITED)
    (name,) = TOO_MANY[path]
    assert error.field == name


def test_too_many_messages_are_told_by_the_callers_own_name() -> None:
    """The Responses API's are ``input``."""
    turns = [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")]
    assert refusal_of("/v1/responses", {"input": turns}, settings=LIMITED).field == "input"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": ""}]}),
        ("/v1/responses", {"input": [{"type": ""}]}),
        ("/v1/messages", {"system": [{"type": ""}], "model": NOVA}),
        ("/ui/chat", {"messages": [{"role": ""}]}),
    ],
)
def test_an_empty_word_is_told_as_such(path: str, asked: Any) -> None:
    """A message that ends in "got " leaves everyone to guess."""
    assert refusal_of(path, {**BODY[path], **asked}).message.endswith(", got empty text")


def test_a_schema_may_speak_of_tokens() -> None:
    """What an answer is to look like asks for none."""
    schema = {"type": "object", "properties": {"max_tokens": {"type": "integer"}}}
    form = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    call_of("/v1/messages", {**BODY["/v1/messages"], **form, "model": CLAUDE}, settings=LIMITED)


def _with(path: str, *steps: Any, value: Any) -> Any:
    """Return the body in which all is said, but for one value."""
    body = json.loads(json.dumps(BODIES[path][1]))
    within = body
    for step in steps[:-1]:
        within = within[step]
    within[steps[-1]] = value
    body.pop("top_k", None)
    return body


THOUGHT = ("messages", 1, "content", 1, "data")
CITED = ("messages", 1, "content", 2, "citations", 0, "document_index")
CITED_URL = ("messages", 1, "content", 2, "citations", 1, "url")
UI_THOUGHT = ("messages", 2, "parts", 1, "providerMetadata", "bedrock", "redactedContent")
UI_OUTPUT = ("messages", 2, "parts", 5, "output", 0, "text")


def _name(steps: tuple[Any, ...]) -> str:
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).removeprefix(".")


@pytest.mark.parametrize(
    ("path", "steps", "value"),
    [
        ("/v1/messages", THOUGHT, "no base64!"),
        ("/v1/messages", CITED, "5"),
        ("/v1/messages", CITED, -1),
        ("/v1/messages", CITED_URL, 5),
        ("/v1/messages/count_tokens", THOUGHT, "no base64!"),
        ("/v1/messages/count_tokens", CITED, 1.5),
        ("/ui/chat", UI_THOUGHT, "no base64!"),
        ("/ui/chat", UI_OUTPUT, 5),
    ],
)
def test_a_wrong_value_is_told_by_the_callers_own_path(
    path: str, steps: tuple[Any, ...], value: Any
) -> None:
    """Of the message that the caller wrote, not of what becomes of it."""
    error = refusal_of(path, {**_with(path, *steps, value=value), "model": NOVA})
    assert error.field == _name(steps)


def test_what_claude_is_sent_is_json() -> None:
    """Half a surrogate pair, which JSON's escapes can say, does not become bytes that no reader of JSON takes."""
    body = {**BODY["/v1/messages"], "messages": [{"role": "user", "content": "an otter: \ud83e"}]}
    call = call_of("/v1/messages", {**body, "model": CLAUDE})
    assert json.loads(call.parameters["body"].decode())["messages"] == body["messages"]


def test_what_claude_is_sent_is_what_was_asked() -> None:
    """All of it but what Bedrock is told elsewhere, with the version that Bedrock wants."""
    body = {**BODIES["/v1/messages"][1], "quite": {"new": [1.5, None, "ü\u2028🦦"]}}
    call = call_of("/v1/messages", {**body, "model": CLAUDE})
    sent = json.loads(call.parameters["body"].decode())
    expected = {n: v for n, v in body.items() if n not in {"model", "stream"}}
    assert sent == {"anthropic_version": "bedrock-2023-05-31", **expected}
    assert call.operation == "InvokeModelWithResponseStream"


@pytest.mark.parametrize("path", APIS)
def test_a_name_that_comes_twice_means_one_thing(path: str) -> None:
    """Bedrock is sent what was read, so that no limit is read past."""
    data = json.dumps({**BODY[path], "model": NOVA})
    twice = f'{{"model":"x",{data[1:]}'.encode()
    assert call_of(path, twice).parameters == call_of(path, data.encode()).parameters


def test_the_list_of_models_is_openais_or_anthropics() -> None:
    """By the header that only Anthropic's clients send; the names are those that callers may use."""
    names = ["gpt-4o", "ours", CLAUDE, NOVA]
    listed = reply_to("/v1/models", method="GET").body
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == names
    assert all(model["object"] == "model" for model in listed["data"])
    listed = reply_to("/v1/models", method="GET", headers=ANTHROPIC).body
    assert [model["id"] for model in listed["data"]] == names
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("gpt-4o", NOVA, False)
    assert all(model["type"] == "model" for model in listed["data"])


@pytest.mark.parametrize("headers", [{}, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("gpt-4o", "gpt-4o"),
        (NOVA, NOVA),
        (NOVA.replace(":", "%3A"), NOVA),
        (PROFILE, PROFILE),
        (PROFILE.replace(":", "%3a").replace("/", "%2F"), PROFILE),
    ],
)
def test_a_model_is_told_by_the_name_that_it_was_asked_by(
    path: str, name: str, headers: dict[str, str]
) -> None:
    """Percent-encoded or not."""
    assert reply_to(f"/v1/models/{path}", method="GET", headers=headers).body["id"] == name


@pytest.mark.parametrize("headers", [{}, ANTHROPIC], ids=["openai", "anthropic"])
def test_a_model_that_is_not_allowed_is_a_404_in_either_shape(headers: dict[str, str]) -> None:
    """Whoever looks for one is told in their API's words."""
    request: dict[str, Any] = {"method": "GET", "headers": headers}
    assert refusal_of("/v1/models/gpt-5", **request).status == 404
    _, body = told("/v1/models/gpt-5", **request)
    assert body["error"]["code"] == "model_not_found"
    assert ("type" in body) == bool(headers)


def test_nothing_is_asked_of_an_event_but_what_it_says() -> None:
    """The same event is the same request, however often it is read."""
    event = url_event("/v1/chat/completions", BODIES["/v1/chat/completions"][1])
    event["body"] = event["body"].replace('"a-model"', f'"{NOVA}"')
    before = json.dumps(event)
    shapes = BotocoreShapes()
    first, second = (read_request(event, SETTINGS, shapes) for _ in range(2))
    assert first == second
    assert json.dumps(event) == before

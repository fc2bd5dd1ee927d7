# ruff: noqa: TID251  # the shapes are botocore's

from __future__ import annotations

import json
import re
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import __version__, formats
from relay.errors import RequestError
from relay.http_request import is_http
from relay.model_call import ModelCall, Reply, Request
from relay.request import _ROUTES, read_request
from relay.settings import Settings

if TYPE_CHECKING:
    from relay.shapes import Shape

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
SETTINGS = Settings.from_environment(
    {"RIVULET_MODEL_IDS": f"{CLAUDE},{PROFILE}", "RIVULET_MAX_REQUEST_BYTES": "2000"}
)
MODEL = botocore.session.get_session().get_service_model("bedrock-runtime")
PROMPT = {"prompt": "hi"}
INVOKE_PATH = f"/model/{quote(CLAUDE, safe='')}/invoke-with-response-stream"


HEALTH = Reply(body={"status": "ok", "version": __version__})


class BotocoreShapes:
    def input_shape(self, operation: str) -> Shape:
        shape: Shape = MODEL.operation_model(operation).input_shape
        return shape


def _read(event: Any) -> Request:
    return read_request(event, SETTINGS, BotocoreShapes())


def _event(
    method: str = "POST",
    path: str = "/stream",
    body: Any = PROMPT,
    headers: dict[str, str] | None = None,
    **other: Any,
) -> dict[str, Any]:
    """Return an event as a function URL sends it."""
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", **(headers or {})},
        "requestContext": {"http": {"method": method, "path": path}},
        "body": body if isinstance(body, str | None) else json.dumps(body),
        "isBase64Encoded": False,
        **other,
    }


def _call(*args: Any, **kwargs: Any) -> ModelCall:
    call = _read(_event(*args, **kwargs))
    assert isinstance(call, ModelCall)
    return call


def _refusal(*args: Any, **kwargs: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        _read(_event(*args, **kwargs))
    assert 400 <= caught.value.status < 500
    return caught.value


def test_a_prompt_is_a_conversation_of_one() -> None:
    """``prompt`` becomes one message of the user's, to the first model where none is named."""
    call = _call()
    assert call == ModelCall(
        route="/stream",
        operation="ConverseStream",
        model=CLAUDE,
        parameters={
            "modelId": CLAUDE,
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        },
        format=formats.SSE,
    )


def test_converses_own_request_is_taken_as_it_is() -> None:
    """Bedrock's field names, all of them, and any of the allowed models."""
    body = {
        "modelId": PROFILE,
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {"maxTokens": 5},
    }
    assert _call(body=body).parameters == body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "the body: expected JSON, got nothing"),
        ("", "the body: expected JSON, got nothing"),
        ("{", "the body: expected JSON, got an error at character 1"),
        ("\ud800", "the body: expected Unicode text, got something else"),
        ('{"prompt": NaN}', "the body: expected JSON, got something that is no finite number"),
        ("[" * 1990, "the body: expected JSON, got "),
        ([], "the body: expected a JSON object, got a list of 0"),
        ("5", "the body: expected a JSON object, got the number 5"),
        ("null", "the body: expected a JSON object, got null"),
        ({}, "prompt, messages: expected one of the two, got neither"),
        ({"prompt": "a", "messages": []}, "prompt, messages: expected one of the two, got both"),
        ({"prompt": ""}, "prompt: expected text that is not blank, got empty text"),
        ({"prompt": " \n"}, "prompt: expected text that is not blank, got text of 2 characters"),
        ({"prompt": 5}, "prompt: expected text that is not blank, got the number 5"),
        ({"prompt": None}, "prompt: expected text that is not blank, got null"),
        ({"prompt": ["hi"]}, "prompt: expected text that is not blank, got a list of 1"),
        ({"messages": []}, "messages: expected a list of at least one message, got a list of 0"),
        ({"messages": None}, "messages: expected a list of at least one message, got null"),
        ({**PROMPT, "Prompt": "a"}, "Prompt: expected one of prompt, modelId, messages, system, "),
        ({"promt": "a"}, "promt: expected one of prompt, modelId, messages, system, "),
        ({"promt": "a"}, ", outputConfig, got an unknown field"),
        ({**PROMPT, "modelid": CLAUDE}, "modelid: expected one of prompt, modelId, messages, "),
        ({**PROMPT, "modelId": None}, "modelId: expected text, got null"),
        ({**PROMPT, "inferenceConfig": {"maxTokens": -1}}, "inferenceConfig.maxTokens: expected"),
    ],
)
def test_a_wrong_body_is_named(body: Any, message: str) -> None:
    """What is wrong with a body is a 400 that says what was expected and what came."""
    error = _refusal(body=body)
    assert (error.status, error.code) == (400, "invalid_request")
    assert message in error.message


@pytest.mark.parametrize("path", ["/stream", INVOKE_PATH])
def test_bodies_in_base64_are_decoded(path: str) -> None:
    """Lambda hands some bodies on in base64; they mean the same, and what is no base64 is said to be none."""
    encoded = b64encode('{"prompt":"Grüße"}'.encode()).decode()
    call = _call(path=path, body=encoded, isBase64Encoded=True)
    assert "Grüße" in str(call.parameters.get("messages") or call.parameters["body"].decode())
    error = _refusal(path=path, body='{"prompt":"hi"}', isBase64Encoded=True)
    assert error.message == "the body: expected base64, as the event says, got something else"
    error = _refusal(path=path, body=b64encode(b'"\xff"').decode(), isBase64Encoded=True)
    assert error.message == "the body: expected JSON, got what is no UTF-8 at byte 1"


@pytest.mark.parametrize("path", ["/stream", INVOKE_PATH])
@pytest.mark.parametrize("base64", [True, False])
def test_a_body_may_be_as_long_as_the_limit_and_no_longer(path: str, *, base64: bool) -> None:
    """The limit counts the body's own bytes, however it came."""

    def body(size: int) -> str:
        padded = '{"prompt":"hi"' + " " * (size - 15) + "}"
        return b64encode(padded.encode()).decode() if base64 else padded

    _call(path=path, body=body(2000), isBase64Encoded=base64)
    for size in (2001, 2003, 2010, 100_000):
        error = _refusal(path=path, body=body(size), isBase64Encoded=base64)
        assert (error.status, error.code) == (413, "payload_too_large")
        assert error.message == "the body: expected at most 2000 bytes, got more"
    wide = json.dumps({"prompt": "ü" * 995}, ensure_ascii=False)
    assert _refusal(path=path, body=wide).status == 413, "1000 characters, but 2000 bytes of UTF-8"


def test_a_model_that_is_not_allowed_does_not_exist() -> None:
    """A model outside of the list is a 404, on both routes, and is told apart from a path that is none."""
    for error in (
        _refusal(body={**PROMPT, "modelId": "other.model"}),
        _refusal(path="/model/other.model/invoke-with-response-stream"),
    ):
        assert (error.status, error.code) == (404, "model_not_found")
        assert error.message == (
            "modelId: expected a model that this deployment allows (GET /v1/models lists them), got other.model"
        )


def test_health_needs_nothing() -> None:
    """``GET /health`` is answered whatever else the request says."""
    assert _read(_event("GET", "/health", None, {"accept": "image/png"})) == HEALTH
    assert _read({"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}}) == HEALTH


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/streams",
        "/stream/",
        "/Stream",
        "/stream/x",
        "/health/",
        "/model/x",
        "/model//invoke-with-response-stream",
        "/model/x/invoked",
        "/v1/chat",
    ],
)
def test_an_unknown_path_is_a_404(path: str) -> None:
    """What is not there is not guessed."""
    error = _refusal(path=path)
    assert (error.status, error.code) == (404, "not_found")
    assert error.message == f"There is nothing at {path or '/'}."


def test_the_readme_has_every_route() -> None:
    """Each of its paths is one route, by the method that stands there, and there are no others."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| route | calls |")[2].partition("\n\n")[0]
    found = []
    for method, first, others in re.findall(r"^\| `([A-Z]+) (\S+)`(.*?) \|", table, re.MULTILINE):
        of_model = "/model/{modelId}" if first.startswith("/model/") else ""
        for path in (first, *(f"{of_model}{other}" for other in re.findall(r"`(\S+)`", others))):
            found += [r for r in _ROUTES if r[0] == method and r[1].fullmatch(path)]
    assert sorted(map(id, found)) == sorted(map(id, _ROUTES))


@pytest.mark.parametrize("path", ["/stream", INVOKE_PATH, "/v1/models"])
def test_options_are_answered_without_bedrock(path: str) -> None:
    """The methods are told; no header of CORS is, for those are the function URL's (fact 44)."""
    reply = _read(_event("OPTIONS", path, None))
    method = "GET" if path == "/v1/models" else "POST"
    assert reply == Reply(status=204, headers={"allow": f"{method}, OPTIONS"})


def test_a_base_url_may_end_with_a_slash() -> None:
    """Whoever joins it with a path that begins with one means the same."""
    assert _read(_event(path="//stream")) == _read(_event())


@pytest.mark.parametrize("path", ["/health", "/v1/models", f"/v1/models/{CLAUDE}"])
def test_head_is_answered_as_get(path: str) -> None:
    """Whoever watches whether the function is up may ask for the head alone."""
    assert _read(_event("HEAD", path, None)) == _read(_event("GET", path, None))
    assert _refusal("HEAD", "/stream").status == 405


@pytest.mark.parametrize(
    ("path", "allow"), [("/stream", "POST"), (INVOKE_PATH, "POST"), ("/health", "GET")]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "post"])
def test_a_wrong_method_is_a_405_with_allow(path: str, allow: str, method: str) -> None:
    """A path that is there says which methods it takes, to whoever tries another."""
    if method == allow:
        return
    error = _refusal(method, path)
    assert (error.status, error.code) == (405, "method_not_allowed")
    assert error.headers == {"allow": allow}
    assert error.message == f"{path} takes {allow}, got {method}."


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, formats.SSE),
        ("*/*", formats.SSE),
        ("text/event-stream", formats.SSE),
        ("application/x-ndjson", formats.NDJSON),
        ("text/plain", formats.TEXT),
        ("application/x-ndjson;q=0.5, text/plain;q=0.6", formats.TEXT),
    ],
)
def test_accept_chooses_the_format_of_a_conversation(
    accept: str | None, chosen: formats.Format
) -> None:
    """SSE where nothing else is wanted."""
    assert _call(headers={"accept": accept} if accept else {}).format is chosen


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, formats.INVOKE_FRAMES),
        ("*/*", formats.INVOKE_FRAMES),
        ("application/vnd.amazon.eventstream", formats.INVOKE_FRAMES),
        ("text/event-stream", formats.SSE),
        ("application/x-ndjson, */*;q=0.1", formats.NDJSON),
    ],
)
def test_accept_chooses_the_format_of_a_models_own_stream(
    accept: str | None, chosen: formats.Format
) -> None:
    """The AWS event stream where nothing else is wanted."""
    assert _call(path=INVOKE_PATH, headers={"accept": accept} if accept else {}).format is chosen


def test_nothing_to_offer_is_a_406() -> None:
    """The answer says what there is."""
    error = _refusal(headers={"accept": "image/png"})
    assert (error.status, error.code) == (406, "not_acceptable")
    assert error.message == (
        "accept: expected one of text/event-stream, application/x-ndjson, text/plain, got image/png"
    )


@pytest.mark.parametrize("accept", ["application/json", "text/plain", "image/png"])
def test_an_sdk_gets_bedrocks_stream_whatever_it_says_it_accepts(accept: str) -> None:
    """They name what is within the stream; on Bedrock's own route its own stream is the answer."""
    call = _call(path=INVOKE_PATH, body={}, headers={"accept": accept})
    assert call.format is formats.INVOKE_FRAMES


@pytest.mark.parametrize("path", ["/stream", INVOKE_PATH])
@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("application/octet-stream", True),  # of an AWS SDK that was not told
        ("", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("application/jsonp", False),
        ("multipart/form-data; boundary=x", False),
    ],
)
def test_what_does_not_come_in_json_is_a_415(path: str, content_type: str, *, taken: bool) -> None:
    """JSON by any of its names, or no name at all."""
    headers = {"content-type": content_type}
    if taken:
        _call(path=path, headers=headers)
    else:
        error = _refusal(path=path, headers=headers)
        assert (error.status, error.code) == (415, "unsupported_media_type")
        assert "expected application/json, got " in error.message


def test_header_names_have_no_case() -> None:
    """Function URLs send them in lower case; others may not."""
    event = _event(body=PROMPT)
    event["headers"] = {"Content-Type": "text/css", "ACCEPT": "text/plain"}
    with pytest.raises(RequestError, match="text/css"):
        _read(event)
    event["headers"] = {"Content-Type": "application/json", "ACCEPT": "text/plain"}
    call = _read(event)
    assert isinstance(call, ModelCall)
    assert call.format is formats.TEXT


@pytest.mark.parametrize("model", [CLAUDE, PROFILE])
@pytest.mark.parametrize("left_alone", ["", "/", ":/"])
def test_a_model_in_the_path_may_be_encoded(model: str, left_alone: str) -> None:
    """Ids and ARNs are the same, percent-encoded whole, in part, or not at all."""
    call = _call(path=f"/model/{quote(model, safe=left_alone)}/invoke-with-response-stream")
    assert (call.model, call.parameters["modelId"]) == (model, model)


def test_a_models_own_request_goes_through_unchanged() -> None:
    """The body is sent byte for byte; Bedrock's headers become boto3's parameters."""
    body = '{ "anthropic_version":\n"bedrock-2023-05-31", "x": 1.0, "x": 1e2 }'
    headers = {
        "X-Amzn-Bedrock-Accept": "application/json",
        "X-Amzn-Bedrock-Trace": "ENABLED",
        "X-Amzn-Bedrock-GuardrailIdentifier": "abc",
        "X-Amzn-Bedrock-GuardrailVersion": "DRAFT",
        "X-Amzn-Bedrock-PerformanceConfig-Latency": "optimized",
        "X-Amzn-Bedrock-Service-Tier": "flex",
        "X-Amzn-Bedrock-Request-Metadata": '{"team":"blue"}',
        "X-Amzn-Something-Else": "x",
    }
    call = _call(path=INVOKE_PATH, body=body, headers=headers)
    assert call == ModelCall(
        route="/model/{modelId}/invoke-with-response-stream",
        operation="InvokeModelWithResponseStream",
        model=CLAUDE,
        parameters={
            "modelId": CLAUDE,
            "body": body.encode(),
            "contentType": "application/json",
            "accept": "application/json",
            "trace": "ENABLED",
            "guardrailIdentifier": "abc",
            "guardrailVersion": "DRAFT",
            "performanceConfigLatency": "optimized",
            "serviceTier": "flex",
            "requestMetadata": '{"team":"blue"}',
        },
        format=formats.INVOKE_FRAMES,
    )


def test_every_parameter_of_invoke_has_its_way() -> None:
    """A parameter that a new botocore lists and the relay does not know is noticed here."""
    shape = MODEL.operation_model("InvokeModelWithResponseStream").input_shape
    headers = {
        member.serialization["name"].lower(): name
        for name, member in shape.members.items()
        if member.serialization.get("location") == "header"
    }
    assert headers.pop("content-type") == "contentType"
    sent = dict.fromkeys(headers, "x")
    call = _call(path=INVOKE_PATH, headers=sent)
    assert dict.fromkeys(headers.values(), "x").items() <= call.parameters.items()
    assert set(call.parameters) == set(shape.members)


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "ü", "a\x00", "\ud800"])
def test_a_header_that_bedrock_cannot_get_is_refused(value: str) -> None:
    """What could not be sent on as a header is the caller's mistake, not a failure of the connection."""
    error = _refusal(path=INVOKE_PATH, headers={"X-Amzn-Bedrock-Trace": value})
    assert (error.status, error.message[:30]) == (400, "trace: expected printable ASCI")


def test_a_models_own_request_must_be_json() -> None:
    """What is no JSON is refused here, any JSON goes through."""
    assert _refusal(path=INVOKE_PATH, body="{").message == (
        "the body: expected JSON, got an error at character 1"
    )
    assert _refusal(path=INVOKE_PATH, body="").message == "the body: expected JSON, got nothing"
    assert _call(path=INVOKE_PATH, body="[]").parameters["body"] == b"[]"


@pytest.mark.parametrize("event", [PROMPT, {"messages": [{"role": "user", "content": "hi"}]}])
def test_a_direct_invocation_is_the_body_itself(event: Any) -> None:
    """Not over HTTP: the event is the request, the answer NDJSON."""
    assert not is_http(event)
    call = _read(event)
    assert isinstance(call, ModelCall)
    assert (call.route, call.format) == ("direct", formats.NDJSON)
    assert call.parameters == _call(body=event).parameters


@pytest.mark.parametrize("event", [None, [], "hi", 5, {}, {"Records": []}, {"prompt": 1}])
def test_an_event_that_is_no_request_is_refused(event: Any) -> None:
    """Whatever else Lambda may be invoked with is told what was expected."""
    assert not is_http(event)
    with pytest.raises(RequestError):
        _read(event)


def test_a_direct_invocation_that_is_nested_too_deeply_is_refused() -> None:
    """Lambda parses it before we do, so its depth is looked at here."""
    event: Any = {}
    for _ in range(200):
        event = {"prompt": [event]}
    with pytest.raises(RequestError, match="expected JSON, got something that is nested too"):
        _read(event)


def test_a_direct_invocation_has_finite_numbers() -> None:
    """Lambda lets ``1e999`` pass, of which Python makes what JSON cannot say."""
    event = json.loads('{"prompt":"a","additionalModelRequestFields":{"k":[1e999]}}')
    with pytest.raises(RequestError, match="expected JSON, got something with no finite number"):
        _read(event)


@pytest.mark.parametrize(
    "event",
    [
        {"requestContext": {"http": None}, "rawPath": "/health"},
        {"requestContext": {"http": {}}, "rawPath": "/health"},
        {"requestContext": {"http": {"method": None}}, "rawPath": "/health"},
        {"requestContext": {"http": {"method": "GET"}}, "rawPath": ["/health"]},
        {"requestContext": {"http": {"method": "GET"}}, "headers": ["a"]},
        {"requestContext": {"http": {"method": "GET"}}, "headers": {"a": None}},
        {"requestContext": {"http": {"method": "POST"}}, "body": {"prompt": "hi"}},
        {"requestContext": {"httpMethod": "GET"}, "path": "/health"},
        {"requestContext": {"httpMethod": "GET"}, "httpMethod": "GET", "path": ["/health"]},
        {
            "requestContext": {"httpMethod": "GET"},
            "httpMethod": "GET",
            "multiValueHeaders": {"a": "b"},
        },
        {
            "requestContext": {"httpMethod": "GET"},
            "httpMethod": "GET",
            "multiValueHeaders": {"a": []},
        },
        {"requestContext": {"elb": {}}, "path": "/health"},
    ],
)
def test_another_kind_of_http_event_is_refused(event: Any) -> None:
    """What was made up is told by a status, as it is HTTP."""
    assert is_http(event)
    with pytest.raises(RequestError, match="expected a function URL's or a REST API's"):
        _read(event)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
HTTP_EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "requestContext": st.fixed_dictionaries(
            {},
            optional={
                "http": st.fixed_dictionaries(
                    {}, optional={"method": st.sampled_from(["GET", "POST", "X"]) | ANYTHING}
                )
                | ANYTHING
            },
        )
        | ANYTHING,
        "rawPath": st.sampled_from(
            ["/stream", "/health", INVOKE_PATH, "/model/%ff/invoke-with-response-stream"]
        )
        | ANYTHING,
        "headers": st.dictionaries(
            st.sampled_from(["accept", "Content-Type", "X-Amzn-Bedrock-Trace"])
            | st.text(max_size=3),
            st.sampled_from(["*/*", "application/json", "text/plain;q=0.1"]) | ANYTHING,
        )
        | ANYTHING,
        "body": st.sampled_from(['{"prompt":"hi"}', "{}", "eyJwcm9tcHQiOiJoaSJ9"]) | ANYTHING,
        "isBase64Encoded": st.booleans() | ANYTHING,
        "prompt": ANYTHING,
        "messages": ANYTHING,
    },
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HTTP_EVENTS | ANYTHING)
def test_any_event_is_a_request_or_refused(event: Any) -> None:
    """Whatever Lambda hands over, it is a request or a 4xx, and nothing else gets out."""
    try:
        request = _read(event)
    except RequestError as error:
        assert 400 <= error.status < 500  # noqa: PT017  # both ways out are right
        json.dumps(error.message)
    else:
        assert isinstance(request, Reply | ModelCall)


def test_a_direct_invocation_is_no_longer_than_a_body_may_be() -> None:
    """The limit on request bodies holds for the event that stands for one, too."""
    with pytest.raises(RequestError, match="expected at most 2000 bytes") as caught:
        _read({"prompt": "ü" * 1000})
    assert (caught.value.status, caught.value.code) == (413, "payload_too_large")

"""Attacks on the whole function: docs/security.md has them all in a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from access import Gate
from relay.errors import access_error
from relay.request import refuse
from relay.settings import Settings
from tests.unit.access.requests import rest_request
from tests.unit.handler.fakes import MODEL, WHOLE, Bedrock, Body, a_request
from tests.unit.relay.url_events import (
    CLAUDE,
    NOVA,
    PROFILE,
    call_of,
    refusal_of,
    reply_to,
    url_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.access.issuer import Issuer
    from tests.unit.access.json_server import SecretsManager

KEY = "the-key-of-the-web-0123456789"
GUESS = "a-guess-that-is-none-0123456789"
PATHS = (
    "/stream",
    "/model/m/converse-stream",
    "/model/m/converse",
    "/model/m/invoke-with-response-stream",
    "/model/m/invoke",
    "/model/m/count-tokens",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/ui/chat",
    "/v1/models",
    "/v1/models/m",
    "/health",
)
# What another server might take for a route, or for one that needs no credential.
ODD_PATHS = (
    "/stream/",
    "/stream//",
    "/STREAM",
    "/Stream",
    "/%73tream",
    "/stream%2f",
    "/stream%00",
    "/stream\0",
    "/stream\n",
    "/stream?x-api-key=1",
    "/stream;a=b",
    "/stream.json",
    "/./stream",
    "/x/../stream",
    "/health/../stream",
    "/health/..%2fstream",
    "/health%2f..%2fstream",
    "/health//stream",
    "/health/",
    "/v1//chat/completions",
    "/v1/chat%2fcompletions",
    "/v1/chat/completions/",
    "/V1/chat/completions",
    "/model//converse",
    "\\stream",
    "stream",
    "",
    "*",
    "http://elsewhere/stream",
)


@pytest.fixture
def guarded(
    handler: Any, secrets_manager: SecretsManager, monkeypatch: pytest.MonkeyPatch
) -> SecretsManager:
    """Guard the function with API keys."""
    secrets_manager.secret = json.dumps({"web": KEY})
    settings = Settings.from_environment(
        {"RIVULET_MODEL_IDS": MODEL, "RIVULET_AUTH": "api-key", "RIVULET_API_KEYS_SECRET": "keys"}
    )
    monkeypatch.setattr(handler, "gate", Gate(settings))
    return secrets_manager


def asked(
    ask: Callable[..., Body], path: str, method: str = "POST", **headers: str
) -> tuple[int, Bedrock]:
    """Ask the function; return the status, and the Bedrock that it may have asked."""
    bedrock = Bedrock(*WHOLE)
    event = a_request(path, method=method)
    event["headers"] |= {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(bedrock, event).status, bedrock


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("path", [*PATHS, *ODD_PATHS, "//stream", "/nothing"])
def test_no_path_leads_around_the_credential(ask: Callable[..., Body], path: str) -> None:
    """Whatever a path is, without a credential it is 401, and Bedrock is not asked."""
    status, bedrock = asked(ask, path)
    assert status == 401
    assert not bedrock.asked


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("path", ODD_PATHS)
def test_no_path_is_another_path(ask: Callable[..., Body], path: str) -> None:
    """Paths are compared as they come: none is folded, decoded or resolved to one that is there."""
    status, bedrock = asked(ask, path, x_api_key=KEY)
    assert status == 404
    assert not bedrock.asked


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("path", ["/stream", "//stream"])
def test_slashes_that_a_base_url_ends_with(ask: Callable[..., Body], path: str) -> None:
    """They are the one exception, and need a credential like all."""
    status, bedrock = asked(ask, path, x_api_key=KEY)
    assert (status, len(bedrock.asked)) == (200, 1)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "TRACE", "X"])
def test_no_method_leads_around_the_credential(ask: Callable[..., Body], method: str) -> None:
    """None of them is answered with anything but 401: what is there is told to callers alone."""
    assert asked(ask, "/stream", method)[0] == 401


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize(
    ("content", "is_base64"), [("{", False), ("x" * 7_000_000, False), ("!", True), (None, False)]
)
def test_nothing_else_is_looked_at_first(
    ask: Callable[..., Body], content: Any, is_base64: Any
) -> None:
    """A body that is none, or too large, is 401 without a credential: nobody reads it."""
    event = {**a_request(), "body": content, "isBase64Encoded": is_base64}
    assert ask(Bedrock(*WHOLE), event).status == 401


@pytest.mark.usefixtures("guarded")
def test_oversized_headers(ask: Callable[..., Body]) -> None:
    """A header of 100 KB is refused before it is compared with anything."""
    status, bedrock = asked(ask, "/stream", x_api_key="k" * 100_000)
    assert (status, bedrock.asked) == (401, [])


@pytest.mark.usefixtures("guarded")
def test_smuggled_headers(ask: Callable[..., Body]) -> None:
    """A good key beside another one, or behind a proxy's headers, lets nobody in."""
    for headers in (
        {"x_api_key": KEY, "authorization": f"Bearer {GUESS}"},
        {"x_api_key": GUESS, "authorization": f"Bearer {KEY}"},
        {"x_api_key": KEY, "X_Api_Key": GUESS},
        {"x_forwarded_authorization": f"Bearer {KEY}", "x_forwarded_for": "127.0.0.1"},
        {"x_original_url": "/health", "x_rewrite_url": "/health", "x_amzn_request_context": "{}"},
    ):
        status, bedrock = asked(ask, "/stream", **headers)
        assert (status, bedrock.asked) == (401, [])


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("path", PATHS)
def test_no_credential_is_told_or_logged(
    ask: Callable[..., Body], capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """Neither the answer nor the log repeats what was tried, nor what would have been right."""
    body = ask(
        Bedrock(*WHOLE), {**a_request(path), "headers": {"authorization": f"Bearer {GUESS}"}}
    )
    said = b"".join(body.pieces).decode() + str(body.headers) + str(body.failures)
    assert body.status == 401
    for text in (said, "".join(capsys.readouterr())):
        assert GUESS not in text
        assert KEY not in text


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("broken", ["keys", "code"])
def test_no_way_in_opens_when_it_breaks(
    handler: Any,
    ask: Callable[..., Body],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    """Keys that cannot be read are 503, a bug of ours is 500; Bedrock is asked by neither."""

    def fails(_: Any) -> None:
        raise access_error("access_unavailable") if broken == "keys" else ZeroDivisionError(KEY)

    monkeypatch.setattr(handler.gate, "_way", fails)
    status, bedrock = asked(ask, "/stream", x_api_key=KEY)
    assert status == (503 if broken == "keys" else 500)
    assert not bedrock.asked
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not [record for record in records if "caller" in record]


INJECTED = 'x\n{"level":"INFO","message":"stream","caller":"admin"}\r\n\x1b[2J\u2028'


def test_log_injection(
    handler: Any,
    issuer: Issuer,
    ask: Callable[..., Body],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A subject, a path, a model or a credential with line breaks makes no line of its own, and no other caller."""
    monkeypatch.setattr(handler, "gate", Gate(issuer.settings()))
    good = f"Bearer {issuer.token(sub=INJECTED)}"
    event = a_request(f"/v1/models/{INJECTED}", method="GET")
    for authorization in (good, f"Bearer {INJECTED}", INJECTED):
        event["headers"] = {"authorization": authorization, "accept": INJECTED}
        ask(Bedrock(*WHOLE), event)
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (known, *unknown) = [record for record in records if record.get("message") == "request"]
    assert known["caller"].startswith('x?{"level":"INFO"')
    assert known["caller"].isprintable()
    assert [record.get("caller") for record in unknown] == [None, None]
    assert not [record for record in records if record.get("message") == "stream"]


MESSAGES = [{"role": "user", "content": "hi"}]
PARTS = [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]
INVOKED = {"max_tokens": 5, "messages": MESSAGES, "anthropic_version": "bedrock-2023-05-31"}
CONVERSED = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
# Every route that takes a model: where it has its name, and a request that is right but for it.
IN_BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "/stream": ("modelId", {"prompt": "hi"}),
    "/v1/chat/completions": ("model", {"messages": MESSAGES}),
    "/v1/responses": ("model", {"input": "hi"}),
    "/v1/messages": ("model", {"max_tokens": 5, "messages": MESSAGES}),
    "/v1/messages/count_tokens": ("model", {"messages": MESSAGES}),
    "/ui/chat": ("model", {"id": "c", "trigger": "submit-message", "messages": PARTS}),
}
IN_PATHS: dict[str, dict[str, Any]] = {
    "/model/{}/converse-stream": CONVERSED,
    "/model/{}/converse": CONVERSED,
    "/model/{}/invoke-with-response-stream": INVOKED,
    "/model/{}/invoke": INVOKED,
    "/model/{}/count-tokens": {"input": {"converse": CONVERSED}},
}
BEHIND = CLAUDE.removeprefix("us.")
ESCAPES = (
    BEHIND,
    CLAUDE.replace("us.", "eu.", 1),
    CLAUDE.replace("us.", "global.", 1),
    "anthropic.claude-3-opus-20240229-v1:0",
    f"arn:aws:bedrock:us-east-1::foundation-model/{BEHIND}",
    f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}",
    PROFILE.replace("123456789012", "210987654321"),
    f"{PROFILE}/x",
    PROFILE.replace("arn:aws:", "ARN:AWS:"),
    CLAUDE.upper(),
    CLAUDE.title(),
    "GPT-4o",
    f" {CLAUDE}",
    f"{CLAUDE} ",
    f"{CLAUDE}\n",
    f"{CLAUDE}\t",
    f"{CLAUDE}\0",
    f"{CLAUDE}\0.jpg",
    f"\ufeff{CLAUDE}",
    f"{CLAUDE}\u200b",
    CLAUDE.replace("a", "\u0430"),
    CLAUDE.replace("-", "\u2010"),
    CLAUDE.replace(".", "\uff0e"),
    CLAUDE.replace(":", "\uff1a"),
    quote(CLAUDE, safe=""),
    CLAUDE.replace("c", "%63"),
    f"{CLAUDE}%00",
    f"{CLAUDE}%20",
    f"{CLAUDE}/",
    f"/{CLAUDE}",
    f"./{CLAUDE}",
    f"{CLAUDE}/../{BEHIND}",
    f"{CLAUDE}/converse/../../{BEHIND}",
    f"{CLAUDE}%2f..%2f{BEHIND}",
    f"{CLAUDE}?modelId={BEHIND}",
    f"{CLAUDE}#",
    f"{CLAUDE},{BEHIND}",
    f"{CLAUDE}={BEHIND}",
    CLAUDE.removesuffix(":0"),
    f"{CLAUDE}:48k",
    "*",
    "us.anthropic.*",
    "?",
    "__proto__",
)


@pytest.mark.parametrize("path", IN_BODIES)
def test_no_model_in_a_body_escapes_the_list(path: str) -> None:
    """A model is one of the deployment's by its exact name, or it is 404 on each route."""
    field, body = IN_BODIES[path]
    assert call_of(path, {**body, field: CLAUDE}).model in {CLAUDE, BEHIND}
    for name in ESCAPES:
        error = refusal_of(path, {**body, field: name})
        assert (error.status, error.code) == (404, "model_not_found"), name


@pytest.mark.parametrize("path", IN_PATHS)
def test_no_model_in_a_path_escapes_the_list(path: str) -> None:
    """So it is where its name is in the path, encoded once or twice; decoded once, as SDKs encode it."""
    body = IN_PATHS[path]
    for model in (CLAUDE, quote(CLAUDE, safe="")):
        assert call_of(path.format(model), body).model in {CLAUDE, BEHIND}
    for name in ESCAPES:
        once = quote(name, safe="")
        for spelled in (once, quote(once, safe="")):
            error = refusal_of(path.format(spelled), body)
            assert (error.status, error.code) == (404, "model_not_found"), spelled


def test_no_model_is_told_that_is_not_on_the_list() -> None:
    """Whether a model exists that a deployment does not allow is not to be learnt."""
    assert reply_to(f"/v1/models/{quote(NOVA, safe='')}", method="GET").body["id"] == NOVA
    for name in ESCAPES:
        error = refusal_of(f"/v1/models/{quote(name, safe='')}", method="GET")
        assert (error.status, error.code) == (404, "model_not_found"), name


@pytest.mark.parametrize("path", IN_PATHS)
def test_the_body_does_not_choose_another_model(path: str) -> None:
    """Where the path has the model, a name in the body changes nothing."""
    body = {**IN_PATHS[path], "modelId": "anthropic.claude-3-opus-20240229-v1:0", "model": "x"}
    assert call_of(path.format(CLAUDE), body).model in {CLAUDE, BEHIND}


@pytest.mark.parametrize(
    ("code", "status", "openais", "anthropics", "sdks"),
    [
        ("unauthenticated", 401, "authentication_error", "authentication_error", "AccessDenied"),
        ("forbidden", 403, "permission_error", "permission_error", "AccessDenied"),
        ("access_unavailable", 503, "server_error", "overloaded_error", "ServiceUnavailable"),
    ],
)
def test_each_api_tells_it_in_its_own_terms(
    code: str, status: int, openais: str, anthropics: str, sdks: str
) -> None:
    """Who is not let in learns it by the type, the code and the headers that their client looks at."""
    error = access_error(code)
    retried = "true" if status == 503 else "false"
    assert error.status == status
    for path in PATHS:
        refusal = refuse(url_event(path), error, "the-request", {})
        headers, told = refusal.headers, refusal.body
        if path.startswith("/v1/messages"):
            assert (told["type"], told["error"]["type"]) == ("error", anthropics)
            assert headers["x-should-retry"] == retried
        elif path.startswith("/v1/"):
            assert (told["error"]["type"], told["error"]["code"]) == (openais, code)
            assert headers["x-should-retry"] == retried
        elif path.startswith("/model/"):
            assert headers["x-amzn-errortype"] == f"{sdks}Exception"
            assert told["message"] == error.message
        else:
            assert told["error"]["code"] == code
        assert error.message in json.dumps(told)


@pytest.mark.usefixtures("guarded")
def test_a_rest_apis_callers_are_known_too(ask: Callable[..., Body]) -> None:
    """Behind a REST API the same credential counts, and a repeated header is as little one."""
    body = json.dumps({"prompt": "hi"})
    good = {**rest_request({"X-Api-Key": [KEY]}), "body": body}
    assert ask(Bedrock(*WHOLE), good).status == 200
    twice = {**rest_request({"X-Api-Key": [GUESS, KEY]}), "body": body}
    assert ask(Bedrock(*WHOLE), twice).status == 401

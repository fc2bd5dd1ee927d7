"""A Lambda event becomes one request: a value that says all, or a ``RequestError`` that says what is wrong with it.

Nothing downstream sees the event. An HTTP request's (a function URL's or a REST API's) is routed by its path; any other
event is a direct invocation, and is taken as the body of ``POST /stream`` itself, answered as NDJSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from relay import __version__, accept, bedrock_api, cors, formats, models, strict_json
from relay.errors import RequestError
from relay.formats import plain_errors
from relay.http_request import (
    check_content_type,
    headers_of,
    is_http,
    parse_json,
    parse_object,
    path_of,
    read_http,
    too_large,
)
from relay.limits import check_invoke, check_messages, limited_converse, to_json
from relay.model_call import ModelCall, Reply
from relay.shapes import check_names, convert, describe, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.errors import RelayError
    from relay.formats import Format, Refusal
    from relay.http_request import HttpRequest
    from relay.model_call import Request, Shapes
    from relay.settings import Settings


def read_request(event: Any, settings: Settings, shapes: Shapes) -> Request:
    """Return the request that an event makes.

    Raises:
        RequestError: it makes none; with a 4xx status and a message for the caller.
    """
    if not is_http(event):
        return _direct(event, settings, shapes)
    http = read_http(event)
    allowed = [method for method, pattern, _ in _ROUTES if pattern.fullmatch(http.path)]
    if http.method == "HEAD" and "GET" in allowed:
        # It has the head of that answer; Lambda sends no more of it.
        http = replace(http, method="GET")
    if not allowed:
        raise RequestError(404, "not_found", f"There is nothing at {http.path[:200]}.")
    if http.method == "OPTIONS":  # no browser's: the function URL answers those itself (fact 44)
        return Reply(status=204, headers={"allow": ", ".join([*allowed, "OPTIONS"])})
    if http.method not in allowed:
        allow = ", ".join(allowed)
        message = f"{http.path[:200]} takes {allow}, got {http.method[:200]}."
        raise RequestError(405, "method_not_allowed", message, headers={"allow": allow})
    match, route = next(
        (match, route)
        for method, pattern, route in _ROUTES
        if method == http.method and (match := pattern.fullmatch(http.path))
    )
    return route(http, match, settings, shapes)


def preflight(event: Any, settings: Settings) -> Reply | None:
    """Return the answer to a browser's question for what it may send; ``None`` where an event is none for us."""
    headers = _to_be_told(event, settings)
    if headers is None or not cors.is_preflight(event.get("httpMethod"), headers):
        return None
    return Reply(status=204, headers=cors.preflight(headers, settings.cors_origins))


def cross_origin(event: Any, settings: Settings) -> Mapping[str, str]:
    """Return the headers that let a browser on another origin read the answer to an event."""
    headers = _to_be_told(event, settings)
    return {} if headers is None else cors.answer(headers, settings.cors_origins)


def _to_be_told(event: Any, settings: Settings) -> Mapping[str, str] | None:
    """Return an event's headers where it is for the function to tell browsers: behind a REST API (fact 44)."""
    is_ours = settings.cors_origins and is_http(event) and "http" not in event["requestContext"]
    return headers_of(event) if is_ours else None


def refuse(event: Any, error: RelayError, request_id: str, counted: Mapping[str, Any]) -> Refusal:
    """Return how the caller is told an error before the first byte: in the shape of the API that is called.

    Args:
        event: the request.
        error: what the caller is told.
        request_id: the request's.
        counted: what Bedrock has counted by then, under its own names; mostly nothing.
    """
    path = path_of(event)
    if path in formats.APIS:
        return formats.APIS[path].refuse(error, request_id, counted)
    if path.startswith("/model/"):
        return plain_errors.refuse_for_sdk(error, request_id, counted)
    if path.startswith("/v1/"):
        sibling = (
            "/v1/messages" if _is_anthropics(headers_of(event) or {}) else "/v1/chat/completions"
        )
        return formats.APIS[sibling].refuse(error, request_id, counted)
    return plain_errors.refuse(error, request_id, counted)


def _health(_http: HttpRequest, _match: Any, _settings: Settings, _shapes: Shapes) -> Request:
    return Reply(body={"status": "ok", "version": __version__})


def _stream(http: HttpRequest, _match: Any, settings: Settings, shapes: Shapes) -> Request:
    chosen = accept.negotiate(http, formats.CONVERSE)
    body = parse_json(http.body(settings.max_request_bytes))
    return _conversation(body, chosen, "/stream", settings, shapes)


def _direct(event: Any, settings: Settings, shapes: Shapes) -> Request:
    try:
        strict_json.check_depth(event)
    except ValueError as error:
        raise invalid("", "JSON", f"something that is {error}") from None
    try:
        text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # Lambda's JSON is Python's here: 1e999 is infinity
        raise invalid("", "JSON", "something with no finite number") from None
    data = text.encode(errors="surrogatepass")
    if len(data) > settings.max_request_bytes:
        too_large(settings.max_request_bytes)
    return _conversation(event, formats.NDJSON, "direct", settings, shapes)


def _conversation(
    body: Any, chosen: Format, route: str, settings: Settings, shapes: Shapes
) -> ModelCall:
    """Read a ConverseStream request with its conveniences: ``prompt``, and no ``modelId``."""
    if not isinstance(body, dict):
        raise invalid("", "a JSON object", describe(body))
    shape = shapes.input_shape("ConverseStream")
    check_names(body, ("prompt", *shape.members), "")
    if ("prompt" in body) == ("messages" in body):
        got = "both" if "prompt" in body else "neither"
        raise invalid("prompt, messages", "one of the two", got)
    fields = {"modelId": settings.model_ids[0], **body}
    if "prompt" in body:
        prompt = fields.pop("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise invalid("prompt", "text that is not blank", describe(prompt))
        fields["messages"] = [{"role": "user", "content": [{"text": prompt}]}]
    elif not body["messages"]:
        raise invalid("messages", "a list of at least one message", describe(body["messages"]))
    converted = convert(fields, shape, "")
    model = models.resolve(converted["modelId"], settings)
    return ModelCall(
        route=route,
        operation="ConverseStream",
        model=model,
        parameters=limited_converse({**converted, "modelId": model}, settings),
        format=chosen,
    )


def _api(http: HttpRequest, _match: Any, settings: Settings, shapes: Shapes) -> Request:
    """Read a request to an API that is turned into Bedrock's."""
    check_content_type(http)
    body = parse_object(http.body(settings.max_request_bytes))
    name = body.get("model")
    if name is not None and not isinstance(name, str):
        raise invalid("model", "text", describe(name))
    model = models.resolve(name, settings, "model") if name else settings.model_ids[0]
    api = formats.APIS[http.path]
    named = {"max_tokens", api.max_tokens}
    if settings.max_tokens and api.max_tokens and all(body.get(name) is None for name in named):
        # Filled in here rather than later: how hard a model may think depends on it.
        body = {**body, api.max_tokens: settings.max_tokens}
    check_messages(body, settings)
    known_as = models.behind(model, settings)
    operation, request, chosen = api.read(body, known_as, http.headers)
    if operation == "CountTokens":
        model = models.foundation_model(known_as)
    if operation.startswith("InvokeModel"):
        data = to_json(request)
        check_invoke(known_as, request, data, settings)
        parameters = {"modelId": model, "body": data, "contentType": "application/json"}
    else:
        parameters = convert({**request, "modelId": model}, shapes.input_shape(operation), "")
        if operation != "CountTokens":
            parameters = limited_converse(parameters, settings, api.max_tokens)
    return ModelCall(
        route=http.path, operation=operation, model=model, parameters=parameters, format=chosen
    )


def _models(http: HttpRequest, _match: Any, settings: Settings, _shapes: Shapes) -> Request:
    listed = models.anthropic_list if _is_anthropics(http.headers) else models.openai_list
    return Reply(body=listed(settings))


def _model(http: HttpRequest, match: re.Match[str], settings: Settings, _shapes: Shapes) -> Request:
    name = unquote(match["model"])
    models.resolve(name, settings, "model")
    told = models.anthropic_model if _is_anthropics(http.headers) else models.openai_model
    return Reply(body=told(name))


def _no_stream(_http: HttpRequest, _match: Any, _settings: Settings, _shapes: Shapes) -> Request:
    """Answer the AI SDK's question for a stream to take up again: there is none, for nothing is kept."""
    return Reply(status=204)


def _is_anthropics(headers: Mapping[str, str]) -> bool:
    """Tell whose client asks, where two APIs have the same path: Anthropic's always says which version it speaks."""
    return "anthropic-version" in headers


_ROUTES: tuple[tuple[str, re.Pattern[str], Callable[..., Request]], ...] = (
    ("POST", re.compile(r"/stream"), _stream),
    *bedrock_api.ROUTES,
    *(("POST", re.compile(re.escape(path)), _api) for path in formats.APIS),
    ("GET", re.compile(r"/v1/models"), _models),
    ("GET", re.compile(r"/v1/models/(?P<model>.+)"), _model),
    ("GET", re.compile(r"/ui/chat/[^/]+/stream"), _no_stream),
    ("GET", re.compile(r"/health"), _health),
)

"""A Lambda event becomes one request: a value that says all, or a ``RequestError`` that says what is wrong with it.

Nothing downstream sees the event. A function URL's event (payload format 2.0) is routed by its path; any other event is
a direct invocation, and is taken as the body of ``POST /stream`` itself, answered as NDJSON.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import dataclass
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias
from urllib.parse import unquote

from relay import accept, formats, strict_json
from relay.errors import RequestError
from relay.limits import check_invoke, limited_converse
from relay.shapes import Shape, convert, describe, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.formats import Format
    from relay.settings import Settings


@dataclass(frozen=True, slots=True)
class Health:
    """Is the function up?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A call of one of Bedrock's streaming APIs.

    Attributes:
        route: the route it came by, for the records.
        operation: the API's name: ``ConverseStream`` or ``InvokeModelWithResponseStream``.
        model: the id of an allowed model.
        parameters: boto3's keyword arguments, ``modelId`` among them.
        format: the wire format of the answer.
    """

    route: str
    operation: str
    model: str
    parameters: Mapping[str, Any]
    format: Format


Request: TypeAlias = Health | ModelCall


class Shapes(Protocol):
    """Where the shapes of Bedrock's requests come from."""

    def input_shape(self, operation: str) -> Shape:
        """Return the shape of an operation's request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Http:
    method: str
    path: str
    headers: Mapping[str, str]
    body: str
    is_base64: bool

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()


def read_request(event: Any, settings: Settings, shapes: Shapes) -> Request:
    """Return the request that an event makes.

    Raises:
        RequestError: it makes none; with a 4xx status and a message for the caller.
    """
    if not is_http(event):
        return _direct(event, settings, shapes)
    http = _http(event)
    allowed = [method for method, pattern, _ in _ROUTES if pattern.fullmatch(http.path)]
    if not allowed:
        raise RequestError(404, "not_found", f"There is nothing at {http.path[:200]}.")
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


# What a request context holds: function URLs (payload 2.0), REST APIs (payload 1.0), load balancers.
_HTTP_KEYS = frozenset({"http", "httpMethod", "elb"})


def is_http(event: Any) -> bool:
    """Tell an HTTP request's event from a direct invocation, where there is no status to answer with."""
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and not _HTTP_KEYS.isdisjoint(context)


def is_for_sdk(event: Any) -> bool:
    """Tell whether the route is one of Bedrock's own, where an AWS SDK is to know what to raise."""
    return is_http(event) and str(event.get("rawPath")).startswith("/model/")


def _http(event: Mapping[str, Any]) -> _Http:
    http = event["requestContext"].get("http")
    method = http.get("method") if isinstance(http, dict) else None
    path = event.get("rawPath") or "/"
    headers = event.get("headers") or {}
    body = event.get("body") or ""
    if not (
        all(isinstance(value, str) for value in (method, path, body))
        and isinstance(headers, dict)
        and all(isinstance(value, str) for value in (*headers, *headers.values()))
    ):
        message = "the event: expected a function URL's (payload format 2.0), got another"
        raise RequestError(400, "invalid_event", message)
    return _Http(
        method=str(method),
        path=path,
        headers={name.lower(): value for name, value in headers.items()},
        body=body,
        is_base64=bool(event.get("isBase64Encoded")),
    )


def _health(_http: _Http, _match: re.Match[str], _settings: Settings, _shapes: Shapes) -> Request:
    return Health()


def _stream(http: _Http, _match: re.Match[str], settings: Settings, shapes: Shapes) -> Request:
    chosen = _negotiate(http, formats.CONVERSE)
    return _converse(_parse(_body(http, settings)), chosen, "/stream", settings, shapes)


def _direct(event: Any, settings: Settings, shapes: Shapes) -> Request:
    try:
        strict_json.check_depth(event)
    except ValueError as error:
        raise invalid("", "JSON", f"something that is {error}") from None
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode(
        errors="surrogatepass"
    )
    if len(data) > settings.max_request_bytes:
        _too_large(settings.max_request_bytes)
    return _converse(event, formats.NDJSON, "direct", settings, shapes)


def _converse(
    body: Any, chosen: Format, route: str, settings: Settings, shapes: Shapes
) -> ModelCall:
    """Read a ConverseStream request with its conveniences: ``prompt``, and no ``modelId``."""
    if not isinstance(body, dict):
        raise invalid("", "a JSON object", describe(body))
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
    converted = convert(fields, shapes.input_shape("ConverseStream"), "")
    parameters = limited_converse(converted, settings)
    return ModelCall(
        route=route,
        operation="ConverseStream",
        model=_allowed(parameters["modelId"], settings),
        parameters=parameters,
        format=chosen,
    )


# InvokeModelWithResponseStream's parameters that travel as headers, under the names of Bedrock's own API.
_INVOKE_HEADERS = {
    "x-amzn-bedrock-accept": "accept",
    "x-amzn-bedrock-trace": "trace",
    "x-amzn-bedrock-guardrailidentifier": "guardrailIdentifier",
    "x-amzn-bedrock-guardrailversion": "guardrailVersion",
    "x-amzn-bedrock-performanceconfig-latency": "performanceConfigLatency",
    "x-amzn-bedrock-service-tier": "serviceTier",
    "x-amzn-bedrock-request-metadata": "requestMetadata",
}


def _invoke(http: _Http, match: re.Match[str], settings: Settings, shapes: Shapes) -> Request:
    chosen = _negotiate(http, formats.INVOKE)
    # The SDKs percent-encode ids and ARNs into one segment; Lambda may hand the path on decoded.
    model = _allowed(unquote(match["model"]), settings)
    headers = {name: http.headers[h] for h, name in _INVOKE_HEADERS.items() if h in http.headers}
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):  # it goes to Bedrock as a header again
            raise invalid(name, "printable ASCII", describe(value))
    body = _body(http, settings)
    # Refused here rather than by Bedrock, but sent as it came.
    check_invoke(model, _parse(body), body, settings)
    shape = shapes.input_shape("InvokeModelWithResponseStream")
    parameters = {
        "modelId": model,
        "body": body,
        "contentType": "application/json",
        **{name: convert(value, shape.members[name], name) for name, value in headers.items()},
    }
    return ModelCall(
        route="/model/{modelId}/invoke-with-response-stream",
        operation="InvokeModelWithResponseStream",
        model=model,
        parameters=parameters,
        format=chosen,
    )


_ROUTES = (
    ("POST", re.compile(r"/stream"), _stream),
    ("POST", re.compile(r"/model/(?P<model>.+)/invoke-with-response-stream"), _invoke),
    ("GET", re.compile(r"/health"), _health),
)


def _negotiate(http: _Http, offered: Mapping[str, Format]) -> Format:
    """Return the wire format for the answer; check that the question comes in JSON."""
    # The last is what AWS SDKs call a body of which they were told nothing.
    is_json = http.content_type in {"", "application/json", "application/octet-stream"}
    if not is_json and not http.content_type.endswith("+json"):
        message = f"content-type: expected application/json, got {http.content_type[:100]}"
        raise RequestError(415, "unsupported_media_type", message)
    wanted = http.headers.get("accept")
    media_type = accept.choose(wanted, offered)
    if media_type is None:
        message = f"accept: expected one of {', '.join(offered)}, got {str(wanted)[:100]}"
        raise RequestError(406, "not_acceptable", message)
    return offered[media_type]


def _body(http: _Http, settings: Settings) -> bytes:
    limit = settings.max_request_bytes
    # Nothing shrinks on decoding but base64, to three quarters: what is far too long is not decoded first.
    if len(http.body) > limit * 4 // 3 + 4:
        _too_large(limit)
    try:
        body = b64decode(http.body, validate=True) if http.is_base64 else http.body.encode()
    except ValueError:
        expected = "base64, as the event says" if http.is_base64 else "Unicode text"
        raise invalid("", expected, "something else") from None
    if len(body) > limit:
        _too_large(limit)
    return body


def _too_large(limit: int) -> NoReturn:
    raise RequestError(
        413, "payload_too_large", f"the body: expected at most {limit} bytes, got more"
    )


def _parse(body: bytes) -> Any:
    try:
        return strict_json.parse(body)
    except JSONDecodeError as error:
        got = f"an error at character {error.pos}" if body else "nothing"
    except UnicodeDecodeError as error:
        got = f"what is no UTF-8 at byte {error.start}"
    except ValueError:
        got = "something else"
    raise invalid("", "JSON", got)


def _allowed(model: str, settings: Settings) -> str:
    if model not in settings.model_ids:
        message = f"modelId: expected a model that this deployment allows, got {model[:200]}"
        raise RequestError(404, "model_not_found", message)
    return model

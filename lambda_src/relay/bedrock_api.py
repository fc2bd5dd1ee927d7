"""Bedrock's own API: requests to it are checked, and sent on as they came."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from relay import accept, formats, models
from relay.http_request import check_content_type, parse_json, parse_object
from relay.limits import check_invoke, check_no_name_twice, check_reach, limited_json
from relay.model_call import ModelCall
from relay.shapes import convert, describe, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.http_request import HttpRequest
    from relay.model_call import Request, Shapes
    from relay.settings import Settings


def _converse(
    operation: str, http: HttpRequest, match: re.Match[str], settings: Settings, _shapes: Shapes
) -> Request:
    """Read a request to Bedrock's own Converse or ConverseStream; it is sent as it came."""
    check_content_type(http)
    model = models.resolve_encoded(match["model"], settings)
    data = http.body(settings.max_request_bytes)
    body = parse_object(data)
    return ModelCall(
        route=f"/model/{{modelId}}/{_PATHS[operation]}",
        operation=operation,
        model=model,
        parameters={"modelId": model},
        body=limited_json(data, body, settings),
        format=formats.CONVERSE_FRAMES if operation == "ConverseStream" else formats.DOCUMENT,
    )


# InvokeModel's parameters that travel as headers, under the names of Bedrock's own API.
_INVOKE_HEADERS = {
    "x-amzn-bedrock-trace": "trace",
    "x-amzn-bedrock-guardrailidentifier": "guardrailIdentifier",
    "x-amzn-bedrock-guardrailversion": "guardrailVersion",
    "x-amzn-bedrock-performanceconfig-latency": "performanceConfigLatency",
    "x-amzn-bedrock-service-tier": "serviceTier",
    "x-amzn-bedrock-request-metadata": "requestMetadata",
}
_INVOKE_STREAM_HEADERS = {"x-amzn-bedrock-accept": "accept", **_INVOKE_HEADERS}


def _invoke(
    operation: str, http: HttpRequest, match: re.Match[str], settings: Settings, shapes: Shapes
) -> Request:
    """Read a request to Bedrock's own InvokeModel; the body is the model's business, and sent as it came."""
    if operation == "InvokeModel":
        check_content_type(http)
        chosen, named = formats.DOCUMENT, _INVOKE_HEADERS
    else:
        # SDKs name the media type of the documents within rather than that of their stream.
        chosen = accept.negotiate(http, formats.INVOKE, formats.INVOKE_FRAMES)
        named = _INVOKE_STREAM_HEADERS
    model = models.resolve_encoded(match["model"], settings)
    headers = {name: http.headers[h] for h, name in named.items() if h in http.headers}
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):  # it goes to Bedrock as a header again
            raise invalid(name, "printable ASCII", describe(value))
    body = http.body(settings.max_request_bytes)
    # Refused here rather than by Bedrock, but sent as it came.
    check_invoke(models.behind(model, settings), parse_json(body), body, settings)
    shape = shapes.input_shape(operation)
    parameters = {
        "modelId": model,
        "body": body,
        "contentType": "application/json",
        **{name: convert(value, shape.members[name], name) for name, value in headers.items()},
    }
    return ModelCall(
        route=f"/model/{{modelId}}/{_PATHS[operation]}",
        operation=operation,
        model=model,
        parameters=parameters,
        format=chosen,
    )


def _count_tokens(
    http: HttpRequest, match: re.Match[str], settings: Settings, _shapes: Shapes
) -> Request:
    """Read a request to Bedrock's own CountTokens."""
    check_content_type(http)
    named = models.resolve_encoded(match["model"], settings)
    model = models.foundation_model(models.behind(named, settings))
    data = http.body(settings.max_request_bytes)
    body = parse_object(data)
    check_no_name_twice(data, ())
    check_reach(body, settings)
    return ModelCall(
        route=f"/model/{{modelId}}/{_PATHS['CountTokens']}",
        operation="CountTokens",
        model=model,
        parameters={"modelId": model, "input": {"converse": {}}},
        body=data,
        format=formats.DOCUMENT,
    )


# Bedrock's own paths, by operation.
_PATHS = {
    "ConverseStream": "converse-stream",
    "Converse": "converse",
    "InvokeModelWithResponseStream": "invoke-with-response-stream",
    "InvokeModel": "invoke",
    "CountTokens": "count-tokens",
}
_READERS: Mapping[str, Callable[..., Request]] = {
    "ConverseStream": partial(_converse, "ConverseStream"),
    "Converse": partial(_converse, "Converse"),
    "InvokeModelWithResponseStream": partial(_invoke, "InvokeModelWithResponseStream"),
    "InvokeModel": partial(_invoke, "InvokeModel"),
    "CountTokens": _count_tokens,
}
ROUTES = tuple(
    ("POST", re.compile(rf"/model/(?P<model>.+)/{path}"), _READERS[operation])
    for operation, path in _PATHS.items()
)
"""Method, path, and what reads a request to it."""

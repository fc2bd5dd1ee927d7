"""What Lambda may be invoked with, drawn at random: a function URL's events and direct ones, right and almost right."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hypothesis import strategies as st

from relay.limits import _MAX_TOKENS
from tests.strategies.mutants import ANY, LONG, mutants, spelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn

_IMAGE = {"image": {"format": "png", "source": {"bytes": "AAEC"}}}
_MESSAGE = {"role": "user", "content": [{"text": "hi"}, _IMAGE]}
_CONVERSE: list[dict[str, Any]] = [
    {"prompt": "hi"},
    {"prompt": "hi", "system": "Be brief.", "inferenceConfig": {"temperature": 0.5}},
    {
        "messages": [_MESSAGE],
        "toolConfig": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {}}}}]},
        "requestMetadata": {"a": "b"},
    },
    {"messages": [{"role": "user", "content": "hi"}], "additionalModelRequestFields": {"a": 1}},
]
_INVOKE: list[dict[str, Any]] = [
    {"anthropic_version": "bedrock-2023-05-31", "messages": [_MESSAGE]},
    {"schemaVersion": "messages-v1", "messages": [_MESSAGE], "inferenceConfig": {}},
    {"inputText": "hi", "textGenerationConfig": {"temperature": 0}},
]
_SEGMENTS = st.sampled_from(["/", "/model/", "/stream", "%", "%ff", ".."]) | st.text() | LONG
_HEADERS = {
    "accept": st.sampled_from(["*/*", "application/x-ndjson;q=0.5, */*;q=nan", ";", ""]) | LONG,
    "content-type": st.sampled_from(["application/json;", "a/b+json", "text/css"]) | LONG,
    "X-Amzn-Bedrock-Trace": st.sampled_from(["ENABLED", "a\r\nb", "ü", ""]) | LONG,
    "x-amzn-bedrock-request-metadata": st.text(),
}
_NAMES = st.sampled_from(sorted(_MAX_TOKENS)) | st.just("maxTokens")
_TOKENS = st.integers(1, 100) | st.sampled_from([0, -1, 101, 10**30, 50.0, "50", True, None])


@st.composite
def _bodies(draw: DrawFn, known: Sequence[dict[str, Any]]) -> Any:
    """Draw a body that asks for tokens, under any name in any place, and for messages."""
    body = dict(draw(st.sampled_from(known)))
    places = ["inferenceConfig", "additionalModelRequestFields", "", *body]
    for place in draw(st.lists(st.sampled_from(places), max_size=2)):
        if isinstance(body.get(place, {}), dict):
            body[place] = {**body.get(place, {}), draw(_NAMES): draw(_TOKENS)}
    body |= body.pop("", {})
    if "messages" in body:
        body["messages"] = body["messages"] * draw(st.sampled_from([1, 1, 1, 3, 4, 999, 0]))
    return body


@st.composite
def _url_events(draw: DrawFn, models: Sequence[str]) -> Any:
    """Draw an event of a function URL's, for one of these models."""
    path, known = "/stream", _CONVERSE
    if draw(st.booleans()):
        model = quote(draw(st.sampled_from(models)), safe=draw(st.sampled_from(["", ":/"])))
        path, known = f"/model/{model}/invoke-with-response-stream", _INVOKE
    body, in_base64 = draw(_bodies(known).flatmap(spelled)), draw(st.booleans())
    return {
        "rawPath": path,
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": path}},
        "body": b64encode(body.encode()).decode() if in_base64 else body,
        "isBase64Encoded": in_base64,
    }


@st.composite
def _spoiled_events(draw: DrawFn, models: Sequence[str]) -> Any:
    """Draw one in which something is not as it should be."""
    event = draw(_url_events(models))
    whats = ["path", "method", "health", "headers", "body", "body", "anything"]
    match draw(st.sampled_from(whats)):
        case "health":
            event |= {"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}}
        case "path":
            event["rawPath"] = "".join(draw(st.lists(_SEGMENTS)))
        case "method":
            event["requestContext"]["http"]["method"] = draw(st.sampled_from(["GET", ""]) | LONG)
        case "headers":
            event["headers"] = draw(st.fixed_dictionaries({}, optional=_HEADERS))
        case "body" if event["isBase64Encoded"]:
            cut = st.binary(max_size=9).map(lambda data: b64encode(data).decode()[1:])
            event["body"] = draw(cut)
        case "body":
            event["body"] = draw(mutants(json.loads(event["body"])).flatmap(spelled) | st.text())
        case _:
            event = draw(mutants(event))
    return event


@st.composite
def invocations(draw: DrawFn, models: Sequence[str]) -> Any:
    """Draw an event, for one of these models if it is for any."""
    match draw(st.integers(0, 7)):
        case 0:
            return draw(ANY)
        case 1:
            return draw(_bodies(_CONVERSE).flatmap(mutants))
        case 2:
            return draw(_bodies(_CONVERSE))
        case 3 | 4:
            return draw(_spoiled_events(models))
        case _:
            return draw(_url_events(models))

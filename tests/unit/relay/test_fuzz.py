"""Anything, and what is almost right, for the two that read what others write: Bedrock's bytes, and Lambda's events.

Some seconds of it; for some ten minutes: ``pytest tests/unit/relay/test_fuzz.py --hypothesis-profile long``.
"""

# ruff: noqa: TID251  # botocore is a judge, and the shapes are its own

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import botocore.session
from botocore.eventstream import DuplicateHeader, EventStreamBuffer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import bedrock
from relay.errors import RequestError
from relay.events import Done, Event, Failure, Start
from relay.eventstream import FrameError, read_frames
from relay.formats import EVENT_STREAM, NDJSON, SSE, TEXT
from relay.grammar import well_formed
from relay.lanes import LANES
from relay.limits import _MAX_TOKENS
from relay.request import Health, ModelCall, read_request
from relay.settings import Settings
from relay.watchdog import Watchdog
from streaming_runtime import ResponseClosed
from tests.readers import read_ndjson, read_sse, read_text
from tests.strategies.mutants import ANY, LONG, MARK, mutants, spelled
from tests.strategies.noise import noise
from tests.strategies.streams import Fault, Raw, Stream
from tests.strategies.values import SIZES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hypothesis.strategies import DrawFn

    from relay.shapes import Shape

fuzz = settings(
    deadline=None,
    max_examples=3 * settings().max_examples,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def relayed(operation: str, data: bytes, sizes: list[int]) -> list[Event]:
    """Return the events of what Bedrock is said to have sent."""
    raw = Raw(Stream(operation=operation, data=data, sizes=sizes, fault=Fault(), arrived=[]))
    frames = bedrock._frames(raw, Watchdog(deadline=math.inf, read_timeout=math.inf))
    usage: dict[str, Any] = {}
    events = LANES[operation](frames, Start("the.model", "the-request"), usage)
    return list(well_formed(events, usage, has_room=lambda: True, passing=ResponseClosed))


@fuzz
@given(operation=st.sampled_from(sorted(LANES)), data=noise(), sizes=SIZES)
def test_any_bytes_are_a_stream_with_one_end(operation: str, data: bytes, sizes: list[int]) -> None:
    """Whatever Bedrock sends, nothing is raised and no bug is met, and every format has bytes that others can read."""
    *events, end = whole = relayed(operation, data, sizes)
    assert isinstance(end, Done | Failure)
    assert not any(isinstance(event, Done | Failure) for event in events)
    assert [isinstance(event, Start) for event in events] == [n == 0 for n in range(len(events))]
    if isinstance(end, Failure):
        assert end.error.code != "internal"
        assert re.fullmatch("[a-z0-9_]{1,150}", end.error.code)
    told = read_ndjson(NDJSON.encode(whole))
    assert [said["type"] in {"done", "error"} for said in told] == [False] * len(events) + [True]
    assert read_sse(SSE.encode(whole)) == told
    assert read_text(TEXT.encode(whole)).endswith("]\n" if isinstance(end, Failure) else "")
    written = list(EVENT_STREAM.encode(whole))
    assert [frame.data for frame in read_frames(written)] == written


def until_damaged(frames: Iterable[Any]) -> tuple[list[Any], Exception | None]:
    """Return the frames before the first that is damaged, and what its reader says to that one."""
    read = []
    try:
        for frame in frames:
            read.append(frame)  # noqa: PERF402  # those before it count
    except Exception as error:  # noqa: BLE001  # botocore's has many names
        return read, error
    return read, None


@fuzz
@given(noise())
def test_botocore_reads_the_same_frames(data: bytes) -> None:
    """Headers and payloads are what botocore reads; only it minds a header that comes twice, and not one cut short."""
    judge = EventStreamBuffer()
    judge.add_data(data)
    ours, damage = until_damaged(read_frames([data]))
    theirs, complaint = until_damaged(judge)
    assert damage is None or isinstance(damage, FrameError)
    for frame, message in zip(ours, theirs, strict=False):
        strings = {n: value for n, value in message.headers.items() if isinstance(value, str)}
        assert (frame.headers, frame.payload) == (strings, message.payload)
    if not isinstance(complaint, DuplicateHeader):
        assert len(theirs) >= len(ours)
    if damage is None:
        assert len(ours) >= len(theirs)


MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
MOST_TOKENS, MOST_MESSAGES = 100, 3
_ENVIRONMENT = {
    "RIVULET_MODEL_IDS": f"{MODEL},{PROFILE}",
    "RIVULET_MAX_REQUEST_BYTES": "20000",
    "RIVULET_MAX_MESSAGES": str(MOST_MESSAGES),
}
UNLIMITED = Settings.from_environment(_ENVIRONMENT)
LIMITED = Settings.from_environment({**_ENVIRONMENT, "RIVULET_MAX_TOKENS": str(MOST_TOKENS)})

IMAGE = {"image": {"format": "png", "source": {"bytes": "AAEC"}}}
MESSAGE = {"role": "user", "content": [{"text": "hi"}, IMAGE]}
CONVERSE_BODIES: list[dict[str, Any]] = [
    {"prompt": "hi"},
    {"prompt": "hi", "system": "Be brief.", "inferenceConfig": {"temperature": 0.5}},
    {
        "modelId": PROFILE,
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {}}}}]},
        "requestMetadata": {"a": "b"},
    },
    {"messages": [{"role": "user", "content": "hi"}], "additionalModelRequestFields": {"a": 1}},
    {"messages": [MESSAGE]},
]
INVOKE_BODIES: list[dict[str, Any]] = [
    {"anthropic_version": "bedrock-2023-05-31", "messages": [MESSAGE]},
    {"schemaVersion": "messages-v1", "messages": [MESSAGE], "inferenceConfig": {}},
    {"inputText": "hi", "textGenerationConfig": {"temperature": 0}},
]
MODEL_PATHS = [
    f"/model/{model}/invoke-with-response-stream"
    for model in (MODEL, quote(MODEL, safe=""), PROFILE, quote(PROFILE, safe=""))
]
SEGMENTS = st.sampled_from(["/", "/model/", "%", "%ff", "..", MODEL]) | st.text() | LONG
HEADERS = {
    "accept": st.sampled_from(["*/*", "application/x-ndjson;q=0.5, */*;q=nan", ";", ""]) | LONG,
    "content-type": st.sampled_from(["application/json;", "a/b+json", "text/css"]) | LONG,
    "X-Amzn-Bedrock-Trace": st.sampled_from(["ENABLED", "a\r\nb", "ü", ""]) | LONG,
    "x-amzn-bedrock-request-metadata": st.text(),
}
TOKENS = st.sampled_from([5, 5, 5, MOST_TOKENS, MOST_TOKENS + 1, 10**30, -1, 1e2, "5", True, None])


@st.composite
def bodies(draw: DrawFn, known: list[dict[str, Any]]) -> Any:
    """Draw a body that asks for tokens, under any name in any place, and for messages."""
    body = dict(draw(st.sampled_from(known)))
    names = st.sampled_from(sorted(_MAX_TOKENS)) | st.just("maxTokens")
    places = ["inferenceConfig", "additionalModelRequestFields", "", *body]
    for place in draw(st.lists(st.sampled_from(places), max_size=2)):
        if isinstance(body.get(place, {}), dict):
            body[place] = {**body.get(place, {}), draw(names): draw(TOKENS)}
    body |= body.pop("", {})
    if "messages" in body:
        body["messages"] = body["messages"] * draw(st.sampled_from([1, 1, 0, 3, 4, 999]))
    return body


@st.composite
def url_events(draw: DrawFn) -> Any:
    """Draw an event of a function URL's."""
    path = draw(st.sampled_from(["/stream"] * 4 + MODEL_PATHS))
    known = CONVERSE_BODIES if path == "/stream" else INVOKE_BODIES
    body, in_base64 = draw(bodies(known).flatmap(spelled)), draw(st.booleans())
    return {
        "rawPath": path,
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": path}},
        "body": b64encode(body.encode()).decode() if in_base64 else body,
        "isBase64Encoded": in_base64,
    }


@st.composite
def spoiled_events(draw: DrawFn) -> Any:
    """Draw one in which something is not as it should be."""
    event = draw(url_events())
    match draw(st.sampled_from(["path", "method", "headers", "body", "body", "anything"])):
        case "path":
            event["rawPath"] = "".join(draw(st.lists(SEGMENTS)))
        case "method":
            event["requestContext"]["http"]["method"] = draw(st.sampled_from(["GET", ""]) | LONG)
        case "headers":
            event["headers"] = draw(st.fixed_dictionaries({}, optional=HEADERS))
        case "body" if event["isBase64Encoded"]:
            event["body"] = draw(st.binary(max_size=9).map(lambda b: b64encode(b)[1:].decode()))
        case "body":
            event["body"] = draw(mutants(json.loads(event["body"])).flatmap(spelled) | st.text())
        case _:
            event = draw(mutants(event))
    return event


class Shapes:
    """Botocore's shapes of requests."""

    model = botocore.session.get_session().get_service_model("bedrock-runtime")

    def input_shape(self, operation: str) -> Shape:
        shape: Shape = self.model.operation_model(operation).input_shape
        return shape


class Members(list[tuple[str, Any]]):
    """A JSON object's, those of the same name included."""


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the members of an object."""
    yield from (
        value.items() if isinstance(value, dict) else value if isinstance(value, Members) else ()
    )


def tokens(body: Any) -> Iterator[Any]:
    """Yield what a body asks for under any name for it, itself or in one of its objects."""
    for name, value in members(body):
        yield from (v for n, v in [(name, value), *members(value)] if n in _MAX_TOKENS)


def check_limits(call: ModelCall, settings: Settings) -> None:
    """Check what a request that was accepted asks for."""
    asked = dict(call.parameters)
    if call.operation == "ConverseStream":
        assert 0 < len(asked["messages"]) <= MOST_MESSAGES
        wanted = [*tokens(asked), *tokens(asked.get("additionalModelRequestFields"))]
    else:
        body = json.loads(asked["body"], object_pairs_hook=Members)
        messages = dict(members(body)).get("messages")
        assert not isinstance(messages, list) or isinstance(messages, Members) or len(messages) <= 3
        wanted = list(tokens(body))
    if settings is LIMITED:
        assert wanted
        assert all(type(value) is int and value <= MOST_TOKENS for value in wanted)


INVOCATIONS = [
    url_events(),
    url_events(),
    spoiled_events(),
    spoiled_events(),
    bodies(CONVERSE_BODIES),
    bodies(CONVERSE_BODIES).flatmap(mutants),
    ANY,
]


@fuzz
@given(
    event=st.sampled_from(INVOCATIONS).flatmap(lambda invocations: invocations),
    chosen=st.sampled_from([UNLIMITED, LIMITED]),
)
def test_any_event_is_a_request_within_the_limits_or_refused(event: Any, chosen: Settings) -> None:
    """Whatever Lambda hands over is a call that may be made, or a 4xx that repeats little of it."""
    try:
        request = read_request(event, chosen, Shapes())
    except RequestError as error:
        assert 400 <= error.status < 500  # noqa: PT017  # both ways out are right
        assert re.fullmatch("[a-z]+(_[a-z]+)*", error.code)  # noqa: PT017  # as above
        assert len(error.message) <= 1000  # noqa: PT017  # as above
        assert error.message.count(MARK) <= 200  # noqa: PT017  # as above
        assert all(len(value) < 100 for value in error.headers.values())  # noqa: PT017  # as above
        json.dumps(error.told(), allow_nan=False)
        return
    if isinstance(request, ModelCall):
        assert request.parameters["modelId"] == request.model
        assert request.model in chosen.model_ids
        check_limits(request, chosen)
    else:
        assert request == Health()

"""Anything, and what is almost right, for the two that read what others write: Bedrock's bytes, and Lambda's events.

Some seconds of it; for some ten minutes: ``pytest tests/unit/relay/test_fuzz.py --hypothesis-profile long``.
"""

# ruff: noqa: TID251  # botocore is a judge, and the shapes are its own

from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.eventstream import DuplicateHeader, EventStreamBuffer
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import bedrock
from relay.errors import RequestError
from relay.events import Done, Event, Failure, Start
from relay.eventstream import FrameError, read_frames
from relay.formats import CONVERSE_FRAMES, INVOKE_FRAMES, NDJSON, SSE, TEXT
from relay.grammar import well_formed
from relay.lanes import lane_of
from relay.limits import _MAX_TOKENS
from relay.model_call import ModelCall, Reply, Request
from relay.models import foundation_model
from relay.request import read_request, refuse
from relay.settings import Settings
from relay.watchdog import Watchdog
from streaming_runtime import ResponseClosed
from tests.readers import read_ndjson, read_sse, read_text
from tests.strategies.api_requests import BODIES, api_events
from tests.strategies.mutants import MARK
from tests.strategies.noise import noise
from tests.strategies.requests import invocations
from tests.strategies.streams import Fault, Raw, Stream
from tests.strategies.values import SIZES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.shapes import Shape

fuzz = settings(
    deadline=None,
    max_examples=3 * settings().max_examples,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def relayed(
    operation: str, data: bytes, sizes: list[int], *, is_bedrocks: bool = False
) -> list[Event]:
    """Return the events of what Bedrock is said to have sent."""
    raw = Raw(Stream(operation=operation, data=data, sizes=sizes, fault=Fault(), arrived=[]))
    frames = bedrock._frames(raw, Watchdog(deadline=math.inf, read_timeout=math.inf))
    usage: dict[str, Any] = {}
    lane = lane_of(operation, is_bedrocks=is_bedrocks)
    events = lane(frames, Start("the.model", "the-request"), usage)
    return list(well_formed(events, usage, has_room=lambda: True, passing=ResponseClosed))


@fuzz
@given(
    operation=st.sampled_from(["ConverseStream", "InvokeModelWithResponseStream"]),
    data=noise(),
    sizes=SIZES,
)
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
    whole = relayed(operation, data, sizes, is_bedrocks=True)
    assert isinstance(whole[-1], Done | Failure)
    chosen = CONVERSE_FRAMES if operation == "ConverseStream" else INVOKE_FRAMES
    written = list(chosen.encode(whole))
    assert b"".join(frame.data for frame in read_frames(written)) == b"".join(written)


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


MODELS = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
)
MOST_TOKENS, MOST_MESSAGES = 100, 3
_ENVIRONMENT = {
    "RIVULET_MODEL_IDS": ",".join(MODELS),
    "RIVULET_MAX_REQUEST_BYTES": "20000",
    "RIVULET_MAX_MESSAGES": str(MOST_MESSAGES),
}
UNLIMITED = Settings.from_environment(_ENVIRONMENT)
LIMITED = Settings.from_environment({**_ENVIRONMENT, "RIVULET_MAX_TOKENS": str(MOST_TOKENS)})


class Shapes:
    """Botocore's shapes of requests."""

    model = botocore.session.get_session().get_service_model("bedrock-runtime")

    def input_shape(self, operation: str) -> Shape:
        shape: Shape = self.model.operation_model(operation).input_shape
        return shape


class Members(list[tuple[str, Any]]):
    """The members of a JSON object, those of the same name included."""


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a JSON value's members, if it is an object."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, Members):
        yield from value


def tokens(body: Any) -> Iterator[Any]:
    """Yield what a body asks for under any name for it, itself or in one of its objects."""
    for name, value in members(body):
        yield from (v for n, v in [(name, value), *members(value)] if n in _MAX_TOKENS)


def asked_for(call: ModelCall) -> Any:
    """Return what is asked of Bedrock: the parameters, or what is sent in their place."""
    data = call.parameters.get("body") if call.body is None else call.body
    return dict(call.parameters) if data is None else json.loads(data, object_pairs_hook=Members)


def check_limits(call: ModelCall, chosen: Settings) -> None:
    """Check what a request that was accepted asks for."""
    if call.operation == "CountTokens":  # which makes none
        return
    asked = asked_for(call)
    of_all = dict(members(asked))
    for name in ("messages", "chat_history"):
        messages = of_all.get(name)
        assert type(messages) is not list or len(messages) <= chosen.max_messages
    if chosen.max_tokens is not None:
        if call.operation.startswith("Converse"):  # which knows no limit at its top
            asked = of_all.get("inferenceConfig")
        wanted = list(tokens(asked))
        if call.operation.startswith(
            "Converse"
        ):  # which reads it in one place, and what it hands on to the model
            inference = members(of_all.get("inferenceConfig"))
            wanted = [value for name, value in inference if name == "maxTokens"]
            assert len(wanted) == 1
            wanted += tokens(of_all.get("additionalModelRequestFields"))
        assert wanted
        assert all(type(value) is int and 1 <= value <= chosen.max_tokens for value in wanted)


def check_refusal(error: RequestError) -> None:
    """Check what is told of a request that was not: a 4xx that repeats little of it."""
    assert 400 <= error.status < 500
    assert re.fullmatch("[a-z]+(_[a-z]+)*", error.code)
    assert len(error.message) <= 1000
    assert error.message.count(MARK) <= 200
    assert all(len(value) < 100 for value in error.headers.values())
    json.dumps(error.told(), allow_nan=False)


def read(event: Any, chosen: Settings) -> Request | RequestError:
    """Return what becomes of an event, either way."""
    try:
        return read_request(event, chosen, Shapes())
    except RequestError as error:
        return error


@fuzz
@given(event=invocations(MODELS), chosen=st.sampled_from([UNLIMITED, LIMITED]))
def test_any_event_is_a_request_within_the_limits_or_refused(event: Any, chosen: Settings) -> None:
    """Whatever Lambda hands over is a call that may be made, or a 4xx that repeats little of it."""
    request = read(event, chosen)
    if isinstance(request, RequestError):
        check_refusal(request)
    elif isinstance(request, ModelCall):
        assert request.parameters["modelId"] == request.model
        assert request.model in MODELS
        check_limits(request, chosen)
    else:
        assert isinstance(request, Reply)


# The routes of all APIs: models of several families, for each is asked in its own way.
API_MODELS = (*MODELS, "us.amazon.nova-lite-v1:0", "openai.gpt-oss-20b-1:0")
_API_ENVIRONMENT = {
    **_ENVIRONMENT,
    "RIVULET_MODEL_IDS": ",".join(API_MODELS),
    "RIVULET_MODEL_ALIASES": f"a-model={MODELS[0]}",
    "RIVULET_MAX_MESSAGES": "6",
}
API_UNLIMITED = Settings.from_environment(_API_ENVIRONMENT)
API_LIMITED = Settings.from_environment({**_API_ENVIRONMENT, "RIVULET_MAX_TOKENS": "5000"})


def check_call(call: ModelCall) -> None:
    """Check that boto3 takes a call, and that what is sent as it is, is JSON."""
    shape = Shapes().input_shape(call.operation)
    assert not ParamValidator().validate(dict(call.parameters), shape).generate_report()
    assert call.parameters["modelId"] == call.model
    known = {foundation_model(model) for model in API_MODELS}
    assert foundation_model(call.model) in known
    asked_for(call)


@settings(fuzz, max_examples=2 * fuzz.max_examples)
@given(drawn=api_events(API_MODELS), chosen=st.sampled_from([API_UNLIMITED, API_LIMITED]))
def test_any_body_is_a_call_that_boto3_takes_or_refused(
    drawn: tuple[Any, dict[str, Any]], chosen: Settings
) -> None:
    """On every route: a call within the limits that boto3's own validator has nothing against, or a 4xx that names."""
    body, event = drawn
    request = read(event, chosen)
    if isinstance(request, RequestError):
        check_refusal(request)
        if request.status == 400:
            assert re.match(r".+: expected .+, got ", request.message, re.DOTALL)
        told = json.dumps(refuse(event, request, "the-request", {}).body)
        assert "the-request" in told
        return
    assert isinstance(request, ModelCall)
    check_call(request)
    check_limits(request, chosen)
    if request.body is not None and request.body != b64decoded(event):
        sent = json.loads(request.body)
        assert sent == {**body, "inferenceConfig": sent["inferenceConfig"]}


def b64decoded(event: Any) -> bytes:
    """Return the body of an event as it came."""
    data: str = event["body"]
    return b64decode(data) if event["isBase64Encoded"] else data.encode()


@pytest.mark.parametrize(
    ("path", "number"), [(path, n) for path, bodies in BODIES.items() for n in range(len(bodies))]
)
def test_what_is_spoiled_was_right(path: str, number: int) -> None:
    """The bodies that are drawn from are requests of Claude's callers', all of them."""
    event = {
        "rawPath": path.format(MODELS[0]),
        "requestContext": {"http": {"method": "POST"}},
        "body": json.dumps(BODIES[path][number]),
    }
    call = read(event, API_UNLIMITED)
    assert isinstance(call, ModelCall)
    check_call(call)

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.lanes import (
    converse_events,
    converse_frames,
    document_events,
    invoke_events,
    invoke_frames,
    lane_of,
)
from tests.frames import (
    LAST_CHUNK,
    MESSAGE_STOP,
    METADATA,
    chunk,
    delta,
    exception,
    frames,
    unmodelled_error,
)
from tests.unit.relay.lane_reader import START, code_of, converse, failure, invoke, members_of

# The exceptions of both streams, in the spelling of the stream: status, code, whether to retry.
EXCEPTIONS = {
    "internalServerException": (500, "internal_server", True),
    "modelStreamErrorException": (424, "model_stream_error", True),
    "validationException": (400, "validation", False),
    "throttlingException": (429, "throttling", True),
    "modelTimeoutException": (408, "model_timeout", True),
    "serviceUnavailableException": (503, "service_unavailable", True),
}
ACCOUNT = "123456789012"
ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/x"


def test_each_operation_has_its_lane() -> None:
    """The lanes are found by the name of the operation whose frames they read, and by whether these are wanted."""
    for operation, events, frames_as_they_are in (
        ("ConverseStream", converse_events, converse_frames),
        ("InvokeModelWithResponseStream", invoke_events, invoke_frames),
    ):
        assert lane_of(operation, is_bedrocks=False) is events
        assert lane_of(operation, is_bedrocks=True) is frames_as_they_are
    for operation in ("Converse", "InvokeModel", "CountTokens"):
        assert lane_of(operation, is_bedrocks=False) is document_events


@pytest.mark.parametrize("operation", ["ConverseStream", "InvokeModelWithResponseStream"])
def test_every_exception_of_bedrocks_model_is_listed(operation: str) -> None:
    """An exception that a new botocore lists and the relay does not know is noticed here."""
    listed = {n for n, s in members_of(operation).items() if s.metadata.get("exception")}
    assert listed <= EXCEPTIONS.keys()


@pytest.mark.parametrize("name", EXCEPTIONS)
@pytest.mark.parametrize("lane", [converse, invoke])
def test_an_exception_is_the_end(name: str, lane: Any) -> None:
    """Each listed exception ends the stream with its code and whether to retry, and keeps its frame (fact 10)."""
    status, code, retryable = EXCEPTIONS[name]
    data = exception(name, {"message": "it broke", "new": 1})
    piece = delta(text="x") if lane is converse else chunk({})
    start, _, end, *rest = lane(piece, data, MESSAGE_STOP, METADATA, LAST_CHUNK)
    assert (start, rest) == (START, [])
    assert (end.error.status, end.error.code, end.error.retryable) == (status, code, retryable)
    assert (end.frame, end.usage, end.error.original_status) == (data, {}, None)


@pytest.mark.parametrize("lane", [converse, invoke])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (exception("quiteNewException", {"message": "x"}), "quite_new"),
        (exception("quiteNewException", b"no JSON"), "quite_new"),
        (exception("validationException", {"message": None}), "validation"),
        (exception("validationException", b"[]"), "validation"),
        (exception("throttlingException", b""), "throttling"),
        (exception("", {}), "unknown"),
        (exception("no name/at all", {}), "unknown"),
        (unmodelled_error("InternalFailure", "it broke"), "internal_failure"),
        (unmodelled_error("500", "it broke"), "unknown"),
        (unmodelled_error("", ""), "unknown"),
    ],
)
def test_an_unlisted_exception_is_one_too(lane: Any, data: bytes, code: str) -> None:
    """An exception that nobody listed, and an error that is no exception, end the stream typed as well (fact 14)."""
    (end,) = lane(data)
    assert (code_of(end), end.frame) == (code, data)


def test_a_first_exception_is_not_preceded_by_a_start() -> None:
    """Where nothing was begun, the failure is all there is: a status can still tell of it."""
    (end,) = converse(exception("throttlingException", {"message": "slow down"}))
    assert code_of(end) == "throttling"


@pytest.mark.parametrize(
    ("said", "told"), [(503, 503), (None, None), ("503", None), ([], None), (1.5, None)]
)
@pytest.mark.parametrize("lane", [converse, invoke])
def test_the_models_own_status_is_told(lane: Any, said: Any, told: int | None) -> None:
    """What the model itself failed with behind Bedrock is kept, where it is a status (facts 10 and 13)."""
    body = {"message": "x", "originalStatusCode": said, "originalMessage": "y"}
    (end,) = lane(exception("modelStreamErrorException", body))
    assert failure(end).error.original_status == told


def test_validations_words_are_told_without_names() -> None:
    """What Bedrock says about the caller's own request is worth telling, but not the names of resources."""
    said = {"message": f"messages.1: unexpected role in {ARN}"}
    (end,) = converse(exception("validationException", said))
    assert failure(end).error.message == (
        "Bedrock refused the request. It says: messages.1: unexpected role in …"
    )


@pytest.mark.parametrize(
    "data",
    [
        exception("throttlingException", b'{ "message" :\n"Slow down, \\"please\\"." }'),
        exception("throttlingException", b"no JSON \xff"),
        exception("throttlingException", b""),
        unmodelled_error("InternalFailure", "it broke"),
    ],
)
@pytest.mark.parametrize("lane", [converse, invoke])
def test_a_frame_that_gives_nothing_away_is_kept_as_it_came(lane: Any, data: bytes) -> None:
    """Bedrock's own words about a failure go out byte for byte."""
    (end,) = lane(data)
    assert failure(end).frame == data


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"message": f"no {ARN}", "n": [1.5, None]}, {"message": "no …", "n": [1.5, None]}),
        ({"message": f'"{ARN}" and "{ACCOUNT}"'}, {"message": '"…" and "…"'}),
        ({"a": {"b": [f"({ARN})"]}, ARN: 1}, {"a": {"b": ["(…)"]}, "…": 1}),
        (
            rb'{"message":"no \u0061rn:aws:iam::123456789012:role\/x, \"y\""}',
            {"message": 'no …, "y"'},
        ),
        (b'{"message":"%b","message":"x"}' % ARN.encode(), {"message": "x"}),
        ([ARN], ["…"]),
    ],
)
@pytest.mark.parametrize("lane", [converse, invoke])
def test_a_frame_is_told_without_names(lane: Any, payload: Any, told: Any) -> None:
    """Names of resources and accounts are cut out of what JSON says, and the rest of the frame stays what it was."""
    data = exception("accessDeniedException", payload)
    (end,) = lane(data)
    (before,), (after,) = frames(data), frames(failure(end).frame or b"")
    assert json.loads(after.payload) == told
    assert after.headers == before.headers


def test_what_is_no_json_is_told_without_names() -> None:
    """Text that is no JSON, and an error's own headers, keep no name either."""
    (end,) = converse(exception("internalServerException", f"<b>{ARN} \xff".encode("latin-1")))
    (frame,) = frames(failure(end).frame or b"")
    assert frame.payload == "<b>… �".encode()
    (end,) = converse(unmodelled_error("InternalFailure", f"it broke: {ARN}"))
    assert failure(end).frame == unmodelled_error("InternalFailure", "it broke: …")


ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=12)


@given(ANY_TEXT, ANY_TEXT, st.booleans())
def test_whatever_is_around_a_name_stays_json(before: str, after: str, ascii_only: bool) -> None:  # noqa: FBT001
    """Quotes, backslashes, line ends, halves of pairs: a frame without its names is a frame of JSON still."""
    said = f"{before} {ARN} {after}"
    payload = json.dumps({"message": said}, ensure_ascii=ascii_only)
    data = exception("throttlingException", payload.encode(errors="surrogatepass"))
    (end,) = converse(data)
    (frame,) = frames(failure(end).frame or b"")
    assert ACCOUNT not in frame.payload.decode()
    if ascii_only or not _has_surrogate(said):  # what is no UTF-8 is no JSON
        told = json.loads(frame.payload)["message"]
        assert (told[: len(before)], told[len(told) - len(after) :]) == (before, after)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)

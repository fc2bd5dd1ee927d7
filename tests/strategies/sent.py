"""The frames that both of Bedrock's streams may bring, drawn at random, each with what it means."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from relay.eventstream import encode
from tests.frames import event, exception, unmodelled_error
from tests.strategies.values import JSON, NO_JSON, TEXT, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

SECRET = "123456789012"
ARN = f"arn:aws:bedrock:us-east-1:{SECRET}:inference-profile/x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A frame of Bedrock's, and what it means. This is noted where it is made, without a word from the relay.

    Attributes:
        data: the frame.
        told: what callers are told at its place in the stream, as a JSON object; ``None`` for nothing.
        brings: which halves of a complete answer's end it brings, ``stop`` and ``usage``, with what they say.
        counts: the tokens it counts, under the names that callers are told.
        recounts: whether these replace what was counted before.
        code: that of the error it ends the stream with, if it does.
        damaged: whether that is for what is wrong with it, rather than for what it says.
    """

    data: bytes
    told: Mapping[str, Any] | None = None
    brings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    recounts: bool = False
    code: str | None = None
    damaged: bool = False


@st.composite
def unknown(draw: DrawFn) -> Sent:
    """Draw an event that nobody has listed."""
    name = draw(st.sampled_from(["newEvent", "", "grüß", "chunks"]))
    if draw(st.booleans()):
        payload = draw(NO_JSON)
        told: Any = b64encode(payload).decode()
        data = event(name, payload)
    else:
        told = draw(JSON)
        data = event(name, draw(written(told)))
    return Sent(data=data, told={"type": "unknown", "name": name, "payload": told})


def damaged(names: Sequence[str], payload: SearchStrategy[bytes]) -> SearchStrategy[Sent]:
    """Draw a whole frame whose payload is not what its name says."""
    return st.builds(
        lambda name, data: Sent(data=event(name, data), code="corrupt", damaged=True),
        st.sampled_from(names),
        payload,
    )


_EXCEPTIONS = {
    "internalServerException": "internal_server",
    "modelStreamErrorException": "model_stream_error",
    "validationException": "validation",
    "throttlingException": "throttling",
    "modelTimeoutException": "model_timeout",
    "serviceUnavailableException": "service_unavailable",
    "quiteNewException": "quite_new",
    f"{'long' * 50}Exception": "unknown",
    "no name/at all": "unknown",
    "": "unknown",
}
_ERRORS = {
    unmodelled_error("InternalFailure", ARN): "internal_failure",
    unmodelled_error("", ""): "unknown",
    encode({":message-type": "error"}, b""): "unknown",
    encode({":message-type": "exception"}, b"{}"): "unknown",
    encode({":message-type": "quite-new"}, ARN.encode()): "unknown",
    encode({":event-type": "chunk"}, b"{}"): "unknown",
    encode({}, b""): "unknown",
}


@st.composite
def exceptions(draw: DrawFn) -> Sent:
    """Draw a frame in which Bedrock reports a failure; what it says has a resource's name in it."""
    if not draw(st.integers(0, 3)):
        data, code = draw(st.sampled_from(list(_ERRORS.items())))
        return Sent(data=data, code=code)
    name = draw(st.sampled_from(list(_EXCEPTIONS)))
    said = draw(st.sampled_from(["", "in\ntwo lines\x85or\u2028three:"]) | TEXT)
    body = {"message": f"{said} {ARN}", "originalStatusCode": draw(st.integers(400, 599))}
    others = st.sampled_from([b"", b"{}", ARN.encode(), b'{"message":null}'])
    payload = draw(written(body) | others)
    return Sent(data=exception(name, payload), code=_EXCEPTIONS[name])


@st.composite
def disturbed(
    draw: DrawFn, sent: list[Sent], rare: SearchStrategy[Sent], damage: SearchStrategy[Sent]
) -> list[Sent]:
    """Draw a stream with what else may come anywhere in it: what is rare, an exception, damage."""
    with_more = list(sent)
    for more in draw(st.lists(rare, max_size=2)):
        with_more.insert(draw(st.integers(0, len(with_more))), more)
    trouble = draw(st.sampled_from([None, None, exceptions(), damage]))
    if trouble is not None:
        with_more.insert(draw(st.integers(0, len(with_more))), draw(trouble))
    return with_more

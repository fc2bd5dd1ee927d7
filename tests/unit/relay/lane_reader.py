"""Reads the relay's lanes for their tests: frames in, events out."""

# ruff: noqa: TID251  # botocore's service model is the list to be complete against

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import botocore.session

from relay.events import Event, Failure, Start
from relay.lanes import converse_events, invoke_events
from tests.frames import frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.errors import RelayError
    from relay.eventstream import Frame

START = Start("the.model", "the-request")


def converse(*data: bytes, then: RelayError | None = None) -> list[Event]:
    """Return the events of a ConverseStream that ends, or breaks, after these frames."""
    return list(converse_events(stream(data, then), START, {}))


def invoke(*data: bytes, then: RelayError | None = None) -> list[Event]:
    """Return the events of an InvokeModelWithResponseStream that ends, or breaks, after these frames."""
    return list(invoke_events(stream(data, then), START, {}))


def stream(data: tuple[bytes, ...], then: RelayError | None = None) -> Iterator[Frame]:
    """Yield frames one by one, and raise in the end if so told."""
    yield from frames(*data)
    if then is not None:
        raise then


def failure(event: Event) -> Failure:
    """Return an event that is a failure."""
    assert isinstance(event, Failure)
    return event


def code_of(event: Event) -> str:
    """Return the code of an event that is a failure."""
    return failure(event).error.code


def members_of(operation: str) -> dict[str, Any]:
    """Return the union of an operation's events, as botocore knows them."""
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    listed: dict[str, Any] = model.operation_model(operation).get_event_stream_output().members
    return listed

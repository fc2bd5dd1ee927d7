"""Keeps a stream to its grammar (``relay.events``), whatever happens to what makes it.

Blocks that are open are closed before the end, an exception becomes the end, and there is exactly one. So a format need
not know how a stream can break.

A tool call without any input is either one that takes none, or one that the model was stopped in before it came to it
(fact 7). Only what comes next tells them apart: the end of such a block waits for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.errors import RelayError, internal_error, limit_error, transport_error
from relay.events import (
    BlockEnd,
    Chunk,
    Done,
    Event,
    Failure,
    Forwarded,
    Start,
    ToolInput,
    ToolStart,
    Unknown,
)
from relay.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ENDS = frozenset({Done, Failure})
_OUTSIDE_BLOCKS = frozenset({Start, Chunk, Unknown, Forwarded})
# Why a model stops that has said all it wanted to.
_OF_ITSELF = frozenset({None, "end_turn", "stop_sequence", "tool_use"})


def well_formed(
    events: Iterable[Event],
    usage: Mapping[str, Any],
    *,
    has_room: Callable[[], bool],
    passing: type[Exception],
) -> Iterator[Event]:
    """Yield the events up to their end, or to one that is made for them.

    Args:
        events: those of a lane.
        usage: what has been counted so far.
        has_room: whether the response can take more.
        passing: the exception that is let through, for it says that nobody reads any more.
    """
    open_blocks: dict[int, None] = {}
    latest: int | None = None
    end: Event = Failure(transport_error("truncated"), usage)
    try:
        for event in _calls_told_apart(events):
            kind = type(event)
            if kind in _ENDS:
                end = event
                break
            if not has_room():
                end = Failure(limit_error("response_too_large"), usage)
                break
            if kind is BlockEnd:
                latest = None
                open_blocks.pop(event.index, None)  # type: ignore[union-attr]  # it is a BlockEnd
            elif kind not in _OUTSIDE_BLOCKS and event.index != latest:  # type: ignore[union-attr]  # nor here
                latest = event.index  # type: ignore[union-attr]
                open_blocks[latest] = None
            yield event
    except passing:
        raise
    except RelayError as error:
        end = Failure(error, usage)
    except Exception as bug:  # noqa: BLE001  # whatever it is, the caller gets a typed end
        logger.exception("bug")
        end = Failure(internal_error(bug), usage)
    for index in open_blocks:
        yield BlockEnd(index, complete=isinstance(end, Done))
    yield end


def _calls_told_apart(events: Iterable[Event]) -> Iterator[Event]:
    """Yield the events, the end of a tool call without input once it is known whether the call is complete.

    A model that goes on has finished it, and so has one that stops of itself.
    """
    without_input: set[int] = set()
    held: BlockEnd | None = None
    for event in events:
        if held is not None and type(event) not in _OUTSIDE_BLOCKS:
            if not isinstance(event, Failure):  # or else the stream has failed within it
                stopped = isinstance(event, Done) and event.stop_reason not in _OF_ITSELF
                yield BlockEnd(held.index, complete=not stopped)
            held = None
        if isinstance(event, ToolInput):
            if event.input:
                without_input.discard(event.index)
        elif isinstance(event, ToolStart):
            without_input.add(event.index)
        elif isinstance(event, BlockEnd) and event.index in without_input:
            without_input.discard(event.index)
            held = event
            continue
        yield event

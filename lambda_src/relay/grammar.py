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
_OUTSIDE_BLOCKS = frozenset({Start, Chunk, Forwarded})
# What begins a block, ends one, or may be either.
_TURNS = frozenset({ToolStart, BlockEnd, Unknown})
_NAMES_OF_PIECES = frozenset({"contentBlockStart", "contentBlockDelta"})  # whatever is in them
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
    blocks = _Blocks()
    end: Event = Failure(transport_error("truncated"), usage)
    try:
        for event in events:
            kind = type(event)
            if kind in _ENDS:
                end = event
                break
            if not has_room():
                end = Failure(limit_error("response_too_large"), usage)
                break
            if kind in _OUTSIDE_BLOCKS or (
                kind not in _TURNS and event.index == blocks.going_on  # type: ignore[union-attr]  # it has one
            ):
                yield event
            else:
                yield from blocks.take(event)
    except passing:
        raise
    except RelayError as error:
        end = Failure(error, usage)
    except Exception as bug:  # noqa: BLE001  # whatever it is, the caller gets a typed end
        logger.exception("bug")
        end = Failure(internal_error(bug), usage)
    yield from blocks.close(end)
    yield end


class _Blocks:
    """The blocks that are open.

    Attributes:
        going_on: the one whose further deltas change nothing about that, if there is one.
    """

    def __init__(self) -> None:
        self.going_on: int | None = None
        self._open: dict[int, None] = {}
        self._without_input: set[int] = set()  # those that are tool calls and have had none
        self._held: list[int] = []  # those of them that have ended

    def take(self, event: Event) -> list[Event]:
        """Take an event; return what is to be told now."""
        if isinstance(event, Unknown):
            return [*self._end_held(), event] if event.name in _NAMES_OF_PIECES else [event]
        index: int = event.index  # type: ignore[union-attr]  # all others belong to a block
        if isinstance(event, BlockEnd):
            self.going_on = None
            if index not in self._without_input:
                self._open.pop(index, None)
                return [event]
            if index not in self._held:
                self._held.append(index)
            return []
        over = self._end_held()
        self._open[index] = None
        if isinstance(event, ToolStart):
            self._without_input.add(index)
        elif isinstance(event, ToolInput) and event.input.strip():
            self._without_input.discard(index)
        self.going_on = None if index in self._without_input else index
        return [*over, event]

    def close(self, end: Event) -> Iterator[BlockEnd]:
        """Yield the ends of the blocks that are still open."""
        is_done = isinstance(end, Done)
        of_itself = isinstance(end, Done) and end.stop_reason in _OF_ITSELF
        for index in self._open:
            is_whole = of_itself or index not in self._without_input
            yield BlockEnd(index, complete=is_done and is_whole)

    def _end_held(self) -> list[Event]:
        """End the tool calls whose ends were held: a model that goes on has finished them, and they take no input."""
        over: list[Event] = [BlockEnd(index) for index in self._held]
        for index in self._held:
            self._without_input.discard(index)
            self._open.pop(index, None)
        self._held.clear()
        return over

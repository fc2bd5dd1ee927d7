"""Keeps a stream to its grammar (``relay.events``), whatever happens to what makes it.

Blocks that are open are closed before the end, an exception becomes the end, and there is exactly one. So a format need
not know how a stream can break.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.errors import RelayError, internal_error, limit_error, transport_error
from relay.events import BlockEnd, Chunk, Done, Event, Failure, Forwarded, Start, Unknown
from relay.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ENDS = frozenset({Done, Failure})
_OUTSIDE_BLOCKS = frozenset({Start, Chunk, Unknown, Forwarded})


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
        for event in events:
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

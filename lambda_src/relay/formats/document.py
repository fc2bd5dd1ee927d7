"""The one document of an API that does not stream, as Bedrock sent it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.events import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.events import Event


def whole(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield the document."""
    for event in events:
        if isinstance(event, Chunk):
            yield event.document

"""Plain text: the answer's own words, for terminals and ``curl``.

Text alone: reasoning, tool calls and images are for the other formats. There is no room for a typed end, so a failure
is written as a last line in square brackets; the connection's own end is all that says "done".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.events import Failure, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.events import Event


def plain(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield the text of each piece, and a failure as a last line."""
    # Half a surrogate pair: JSON's escapes may be split between two pieces, UTF-8 cannot be.
    half = ""
    for event in events:
        if isinstance(event, Text):
            text = half + event.text
            half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
            yield _utf8(text[: len(text) - len(half)])
        elif isinstance(event, Failure):
            message = " ".join(event.error.message.split())  # Bedrock's own words may have lines
            yield _utf8(f"{half}\n[{event.error.code}: {message}]\n")
            half = ""
    if half:
        yield _utf8(half)


def _utf8(text: str) -> bytes:
    """Encode text, its surrogate pairs joined and those without a partner replaced."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()

"""Content negotiation: which of the offered media types a caller wants (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import RequestError
from relay.http_request import check_content_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.formats import Format
    from relay.http_request import HttpRequest


def negotiate(
    http: HttpRequest, offered: Mapping[str, Format], otherwise: Format | None = None
) -> Format:
    """Return the wire format for the answer; check that the question comes in JSON."""
    check_content_type(http)
    wanted = http.headers.get("accept")
    media_type = choose(wanted, offered)
    if media_type is None and otherwise is not None:
        return otherwise
    if media_type is None:
        message = f"accept: expected one of {', '.join(offered)}, got {str(wanted)[:100]}"
        raise RequestError(406, "not_acceptable", message)
    return offered[media_type]


def choose(accept: str | None, offered: Iterable[str]) -> str | None:
    """Return the offered media type that suits best, or ``None`` if none does.

    Args:
        accept: the header's value; ``None`` or blank means anything.
        offered: media types in lower case, the preferred one first.
    """
    ranges = [_parse(part) for part in (accept or "").split(",") if part.strip()]
    ranges = ranges or [("*/*", 1.0)]
    best, best_quality = None, 0.0
    for media_type in offered:
        quality = _quality(media_type, ranges)
        if quality > best_quality:
            best, best_quality = media_type, quality
    return best


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (p.strip().lower() for p in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                quality = 0.0
    return media_range, quality


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """Return the quality that the most specific matching range gives; 0 where none matches."""
    family = media_type.split("/", maxsplit=1)[0] + "/*"
    for wanted in (media_type, family, "*/*"):
        for media_range, quality in ranges:
            if media_range == wanted:
                return quality
    return 0.0

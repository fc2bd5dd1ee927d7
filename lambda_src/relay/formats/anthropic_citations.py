"""Citations, in Anthropic's terms and in Converse's: what an answer rests on, and where that stands.

The places are numbered alike. A page of the web has an ``encrypted_index`` with Anthropic, which belongs to its own
search; with Bedrock it is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from relay.shapes import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.formats.fields import Fields


class _Kind(NamedTuple):
    """A kind of place.

    Attributes:
        location: Converse's name of it.
        places: Anthropic's names of what says where it is, by Converse's.
        title: Anthropic's name of the title.
        more: what else Anthropic says, if the citation does not.
    """

    location: str
    places: Mapping[str, str]
    title: str = "document_title"
    more: Mapping[str, str] = {}


_KINDS: Mapping[str, _Kind] = {
    "char_location": _Kind(
        "documentChar",
        {
            "documentIndex": "document_index",
            "start": "start_char_index",
            "end": "end_char_index",
        },
    ),
    "page_location": _Kind(
        "documentPage",
        {
            "documentIndex": "document_index",
            "start": "start_page_number",
            "end": "end_page_number",
        },
    ),
    "content_block_location": _Kind(
        "documentChunk",
        {
            "documentIndex": "document_index",
            "start": "start_block_index",
            "end": "end_block_index",
        },
    ),
    "search_result_location": _Kind(
        "searchResultLocation",
        {
            "searchResultIndex": "search_result_index",
            "start": "start_block_index",
            "end": "end_block_index",
        },
        "title",
        {"source": ""},
    ),
    "web_search_result_location": _Kind("web", {"url": "url"}, "title", {"encrypted_index": ""}),
}


def to_anthropic(citation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return Anthropic's for a citation of Converse's; nothing, where it does not say a place that Anthropic has."""
    location = citation.get("location")
    for name, kind in _KINDS.items():
        place = location.get(kind.location) if isinstance(location, dict) else None
        if isinstance(place, dict) and place.keys() >= kind.places.keys():
            return {
                "type": name,
                "cited_text": _cited_text(citation),
                **{theirs: place[ours] for ours, theirs in kind.places.items()},
                kind.title: citation.get("title"),
                **{member: citation.get(member, value) for member, value in kind.more.items()},
            }
    return None


def _cited_text(citation: Mapping[str, Any]) -> str:
    content = citation.get("sourceContent")
    pieces = content if isinstance(content, list) else []
    return "".join(str(piece.get("text") or "") for piece in pieces if isinstance(piece, dict))


def to_converse(citation: Fields) -> dict[str, Any]:
    """Return Converse's for a citation that Anthropic's client sends back with the answer.

    Raises:
        RequestError: there is no such kind, or something is missing.
    """
    name = citation.need_text("type")
    kind = _KINDS.get(name)
    if kind is None:
        raise invalid(citation.name("type"), f"one of {', '.join(_KINDS)}", name[:100])
    places = {ours: _place(citation, theirs) for ours, theirs in kind.places.items()}
    said: dict[str, Any] = {"location": {kind.location: places}}
    text, title, source = (citation.text(m) for m in ("cited_text", kind.title, "source"))
    if text:
        said["sourceContent"] = [{"text": text}]
    if title:
        said["title"] = title
    if source:
        said["source"] = source
    citation.ignore("file_id", "encrypted_index")
    citation.end()
    return said


def _place(citation: Fields, member: str) -> str | int:
    if member == "url":
        return citation.need_text(member)
    place = citation.integer(member, 0)
    if place is None:
        raise invalid(citation.name(member), "a whole number of at least 0", "nothing")
    return place

from __future__ import annotations

from relay import formats
from relay.events import Start


def test_each_media_type_is_announced_as_itself() -> None:
    """The table's key, by which a format is asked for, is the content type that it announces."""
    for table in (formats.CONVERSE, formats.INVOKE):
        for media_type, chosen in table.items():
            assert chosen.headers["content-type"].partition(";")[0] == media_type
            assert media_type == media_type.lower()


def test_each_format_can_encode() -> None:
    """Every entry of the tables is a function from events to bytes."""
    for chosen in (*formats.CONVERSE.values(), *formats.INVOKE.values()):
        assert all(isinstance(piece, bytes) for piece in chosen.encode([Start("m", "r")]))

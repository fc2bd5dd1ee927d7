from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from relay.errors import bedrock_error, transport_error
from relay.events import BlockEnd, Done, Failure, Reasoning, Start, Text, ToolInput
from relay.formats.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.events import Event

FAILURE = Failure(transport_error("truncated"))
LAST_LINE = b"\n[truncated: Bedrock's stream ended before the answer was complete.]\n"


def _written(*events: Event) -> list[bytes]:
    return list(plain(events))


def test_only_the_answers_words_are_written() -> None:
    """Text piece by piece; what is not the answer is for other formats."""
    assert _written(
        Start("m", "r"),
        Reasoning(0, "hm"),
        Text(1, "Grüße"),
        ToolInput(2, "{}"),
        Text(1, ", 🦦\n"),
        BlockEnd(1),
        Done("end_turn", {}),
    ) == ["Grüße".encode(), ", 🦦\n".encode()]


def test_a_piece_is_written_when_it_comes() -> None:
    """Nothing waits for the next event."""

    def until_here() -> Iterable[Event]:
        yield Text(0, "a")
        pytest.fail("asked for more before the first piece was out")

    assert next(iter(plain(until_here()))) == b"a"


def test_a_failure_is_a_last_line() -> None:
    """The one format without a typed end says in words that the answer is not whole."""
    assert _written(Text(0, "a"), FAILURE) == [b"a", LAST_LINE]


def test_a_failure_is_one_line_however_many_bedrock_wrote() -> None:
    """What Bedrock says about the caller's request may have lines; the last line is one all the same."""
    failure = Failure(bedrock_error("ValidationException", "two\r\nlines\n\n  and more"))
    assert _written(Text(0, "a\nb"), failure) == [
        b"a\nb",
        b"\n[validation: Bedrock refused the request. It says: two lines and more]\n",
    ]


@pytest.mark.parametrize(
    ("pieces", "written"),
    [
        (["a\ud83e", "\udda6b"], ["a", "🦦b"]),
        (["\ud83e", "", "\udda6"], ["", "", "🦦"]),
        (["\ud83e", "b"], ["", "�b"]),
        (["\udda6b"], ["�b"]),
        (["\ud83e\ud83e", "\udda6"], ["�", "🦦"]),
        (["a\ud83e"], ["a", "�"]),
        (["a\ud83eb\udda6"], ["a�b�"]),
    ],
)
def test_surrogate_pairs_are_joined(pieces: list[str], written: list[str]) -> None:
    """A letter split between two pieces is written whole; half of one without the other is replaced."""
    assert _written(*(Text(0, p) for p in pieces)) == [w.encode() for w in written]


def test_the_end_of_a_cut_block_is_no_text() -> None:
    """Only the last line says that something is missing."""
    assert _written(Text(0, "a"), BlockEnd(0, complete=False), FAILURE) == [b"a", LAST_LINE]


def test_half_a_letter_comes_before_the_failure() -> None:
    """What was held back for its other half is not written after the end."""
    assert b"".join(_written(Text(0, "a\ud83e"), FAILURE)) == "a�".encode() + LAST_LINE

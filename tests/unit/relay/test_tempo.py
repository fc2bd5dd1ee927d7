from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import tempo
from relay.tempo import Tempo

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT = 3


def _tempo(times: Iterable[float], start: float = 64.0) -> Tempo:
    """Return the tempo of pieces with these times between them, in seconds."""
    now = [start]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempo, "time", SimpleNamespace(perf_counter=lambda: now[0]))
        found = Tempo()
        found.note_piece()
        for seconds in times:
            now[0] += seconds
            found.note_piece()
    assert found.latest == now[0]
    return found


@pytest.mark.parametrize("pieces", [0, 1])
def test_there_is_no_time_between_fewer_than_two_pieces(pieces: int) -> None:
    """What was not measured is not told."""
    found = Tempo()
    for _ in range(pieces):
        found.note_piece()
    assert (found.pieces, found.summary()) == (pieces, {})


def test_times_are_summed_up() -> None:
    """Half of the times, and 95 in a hundred, are no longer than told; a second and more is a stall."""
    found = _tempo([0.25] * 11 + [0.5] * 8 + [1.0])
    assert found.pieces == 21
    assert found.summary() == {
        "time_between_pieces_p50_ms": 250.0,
        "time_between_pieces_p95_ms": 500.0,
        "time_between_pieces_max_ms": 1000.0,
        "stalls": 1,
    }


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=200).map(sorted),
    st.sampled_from([50, 95]),
)
def test_a_percentile_is_the_nearest_rank(times: list[float], percent: int) -> None:
    """The least of the times that so many in a hundred do not exceed."""
    found = tempo._percentile(times, percent)
    assert found in times
    assert sum(t <= found for t in times) * 100 >= percent * len(times)
    assert sum(t < found for t in times) * 100 < percent * len(times)


def test_a_stream_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The percentiles are those of the first times; the longest one and the stalls are those of all."""
    monkeypatch.setattr(tempo, "_TIMES_KEPT", KEPT)
    found = _tempo([0.25, 0.5, 0.5, 4.0, 1.0])
    assert len(found._times) == KEPT
    assert found.pieces == 6
    assert found.summary() == {
        "time_between_pieces_p50_ms": 500.0,
        "time_between_pieces_p95_ms": 500.0,
        "time_between_pieces_max_ms": 4000.0,
        "stalls": 2,
    }

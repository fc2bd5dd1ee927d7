"""How evenly the pieces of a stream come: the times between them, as whoever reads along sees them."""

from __future__ import annotations

import time
from array import array

STALL = 1.0  # seconds between two pieces after which whoever reads along begins to wonder
# The percentiles are those of the first, and the longest and the stalls of all: a stream without end must not fill the
# memory, nor take long to sort.
_TIMES_KEPT = 100_000


class Tempo:
    """Takes the time of each piece.

    Attributes:
        pieces: how many have come.
        latest: when the latest came, in seconds of ``time.perf_counter``.
    """

    __slots__ = ("_longest", "_stalls", "_times", "latest", "pieces")

    def __init__(self) -> None:
        self.pieces = 0
        self.latest = 0.0
        self._times = array("d")
        self._longest = 0.0
        self._stalls = 0

    def note_piece(self) -> None:
        """Note that a piece has come."""
        now = time.perf_counter()
        if self.pieces:
            if self.pieces <= _TIMES_KEPT:
                self._times.append(now - self.latest)
            else:
                self._note_beyond(now - self.latest)
        self.latest = now
        self.pieces += 1

    def _note_beyond(self, seconds: float) -> None:
        self._longest = max(self._longest, seconds)
        self._stalls += seconds >= STALL

    def summary(self) -> dict[str, float]:
        """Return the times between pieces in milliseconds, and how many were stalls; nothing of fewer than two."""
        if not self._times:
            return {}
        times = sorted(self._times)
        return {
            "time_between_pieces_p50_ms": milliseconds(_percentile(times, 50)),
            "time_between_pieces_p95_ms": milliseconds(_percentile(times, 95)),
            "time_between_pieces_max_ms": milliseconds(max(times[-1], self._longest)),
            "stalls": self._stalls + sum(seconds >= STALL for seconds in times),
        }


def milliseconds(seconds: float) -> float:
    """Return seconds as the records tell them."""
    return round(seconds * 1000, 3)


def _percentile(times: list[float], percent: int) -> float:
    """Return a percentile of sorted values: the nearest rank."""
    return times[-(-len(times) * percent // 100) - 1]

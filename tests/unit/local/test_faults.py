from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.faults import after_bytes, after_frames, corrupt, insert, split
from local.script import Cut, Head, Pause, Send, Step

HONEST: list[Step] = [Pause(1), Head(200), Send(b"one"), Send(b"three"), Pause(2), Send(b"two")]


def body(script: list[Step]) -> bytes:
    return b"".join(step.data for step in script if isinstance(step, Send))


@given(st.integers(0, 12))
def test_an_answer_ends_after_any_byte(count: int) -> None:
    """Exactly so many bytes are sent, then the other steps are done."""
    script = list(after_bytes(HONEST, count, Cut()))
    assert body(script) == b"onethreetwo"[:count]
    assert script[-1] == Cut()
    assert script[:2] == HONEST[:2]
    assert all(step.data for step in script if isinstance(step, Send))


@pytest.mark.parametrize(
    ("count", "sent"), [(0, b""), (1, b"one"), (3, b"onethreetwo"), (9, b"onethreetwo")]
)
def test_an_answer_ends_after_any_frame(count: int, sent: bytes) -> None:
    """Exactly so many frames are sent, then the other steps are done."""
    script = list(after_frames(HONEST, count, Pause(9)))
    assert (body(script), script[-1]) == (sent, Pause(9))


def test_steps_are_inserted_between_frames() -> None:
    """The other steps come before the frame of that number, and nothing is lost."""
    script = list(insert(HONEST, 1, Pause(9)))
    assert script == [*HONEST[:3], Pause(9), *HONEST[3:]]


def test_one_byte_is_corrupted() -> None:
    """One byte of one frame differs, no other."""
    script = list(corrupt(HONEST, 1))
    assert body(script) == b"one" + bytes([ord("t") ^ 0xFF]) + b"hreetwo"


@given(st.integers(1, 6))
def test_frames_are_split(size: int) -> None:
    """Pieces are no longer than that, and together the same."""
    script = list(split(HONEST, size))
    assert body(script) == b"onethreetwo"
    assert max(len(step.data) for step in script if isinstance(step, Send)) <= size

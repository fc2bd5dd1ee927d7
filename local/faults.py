"""Faults: functions from a script to a script, so that an honest answer goes wrong exactly where it is to.

They work on any script and on each other's results; `Bedrock.answer` is where they drop in::

    bedrock.answer = lambda call: after_bytes(honest_answer(call), 100, Cut())            # a broken connection
    bedrock.answer = lambda call: after_bytes(honest_answer(call), 100)                   # a clean end, too early
    bedrock.answer = lambda call: after_frames(honest_answer(call), 3, Pause(120))        # a stall, and no end
    bedrock.answer = lambda call: insert(honest_answer(call), 3, Pause(5))                # a stall that passes
    bedrock.answer = lambda call: after_frames(honest_answer(call), 3, Send(exception_frame("throttlingException", {})))

What Bedrock sends comes frame by frame, one `Send` each; the bytes counted are those of the body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.script import Send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.script import Script, Step


def after_bytes(script: Script, count: int, *instead: Step) -> Iterator[Step]:
    """Send so many bytes, then do other steps instead of the rest."""
    for step in script:
        if isinstance(step, Send):
            if count == 0:
                break
            step = Send(step.data[:count])  # noqa: PLW2901  # the same, cut
            count -= len(step.data)
        yield step
    yield from instead


def after_frames(script: Script, count: int, *instead: Step) -> Iterator[Step]:
    """Send so many frames, then do other steps instead of the rest."""
    for step in script:
        if isinstance(step, Send):
            if count == 0:
                break
            count -= 1
        yield step
    yield from instead


def insert(script: Script, count: int, *steps: Step) -> Iterator[Step]:
    """Do other steps after so many frames, then the rest."""
    for step in script:
        if isinstance(step, Send):
            if count == 0:
                yield from steps
            count -= 1
        yield step


def corrupt(script: Script, frame: int, at: int = -5) -> Iterator[Step]:
    """Flip the bits of one byte of one frame, by default of its payload's last; frames count from 0."""
    for step in script:
        if isinstance(step, Send):
            if frame == 0:
                data = bytearray(step.data)
                data[at] ^= 0xFF
                step = Send(bytes(data))  # noqa: PLW2901  # the same, corrupted
            frame -= 1
        yield step


def split(script: Script, size: int) -> Iterator[Step]:
    """Send in pieces of so many bytes: a frame may be cut by the transport (fact 62)."""
    for step in script:
        if isinstance(step, Send):
            for at in range(0, len(step.data), size):
                yield Send(step.data[at : at + size])
        else:
            yield step

"""Faults: functions from a script to a script, so that an honest answer goes wrong exactly where it is to.

They work on any script and on each other's results; `Bedrock.answer` is where they drop in::

    bedrock.answer = lambda call: after_bytes(honest_answer(call), 100, Cut())            # a broken connection
    bedrock.answer = lambda call: after_bytes(honest_answer(call), 100)                   # a clean end, too early
    bedrock.answer = lambda call: after_frames(honest_answer(call), 3, Pause(120))        # a stall, and no end
    bedrock.answer = lambda call: insert(honest_answer(call), 3, Pause(5))                # a stall that passes
    bedrock.answer = lambda call: after_frames(honest_answer(call), 3, Send(exception_frame("throttlingException", {})))

What Bedrock sends comes frame by frame, one `Send` each, and a `Place` is between two of them. Where the answer is too
short for a place, its end is meant. The bytes counted are those of the body. A document is one `Send`, and has no place
within it until `cut_up` makes some.
"""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, TypeAlias

from local.bedrock import frame, refusal
from local.dialects import INVOCATION_METRICS, Event
from local.script import Cut, Head, Hold, Pause, Reset, Send
from relay.eventstream import read_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from local.prompts import BedrockError
    from local.script import Script, Step

# After so many frames, or after the first frame with an event of that name.
Place: TypeAlias = int | str


def delay(script: Script, seconds: float) -> Iterator[Step]:
    """Do nothing, for some time, before anything else."""
    return chain([Pause(seconds)], script)


def refuse(script: Script, error: BedrockError, *headers: tuple[str, str]) -> Iterator[Step]:
    """Send an error, with more headers if any, instead of the stream."""
    for step in script:
        if isinstance(step, Head):
            yield from refusal(error, dict(step.headers)["x-amzn-RequestId"], *headers)
            return
        yield step


def cut_up(script: Script, count: int) -> Iterator[Step]:
    """Send each `Send` as so many of about the same size, so that there are places within it."""
    for step in script:
        if not isinstance(step, Send):
            yield step
            continue
        borders = [len(step.data) * number // count for number in range(count + 1)]
        for begin, end in pairwise(borders):
            if begin < end:
                yield replace(step, data=step.data[begin:end])


def unmeasured(script: Script) -> Iterator[Step]:
    """Do not say how long the body is to be, so that it may end anywhere as HTTP wants it."""
    for step in script:
        if isinstance(step, Head):
            kept = [header for header in step.headers if header[0].lower() != "content-length"]
            yield replace(step, headers=tuple(kept))
        else:
            yield step


def after_bytes(script: Script, count: int, *instead: Step) -> Iterator[Step]:
    """Send so many bytes, then do other steps instead of the rest."""
    for step in script:
        if isinstance(step, Send):
            if count == 0:
                break
            step = replace(step, data=step.data[:count])  # noqa: PLW2901  # the same, cut
            count -= len(step.data)
        yield step
    yield from instead


def after_frames(script: Script, after: Place, *instead: Step) -> Iterator[Step]:
    """Do other steps instead of what comes after a place."""
    for is_after, step in _placed(script, after):
        if is_after:
            break
        yield step
    yield from instead


def insert(script: Script, after: Place, *steps: Step) -> Iterator[Step]:
    """Do other steps at a place, then the rest."""
    for is_after, step in _placed(script, after):
        if is_after:
            yield from steps
            steps = ()
        yield step
    yield from steps


def corrupt(script: Script, after: Place, byte: int = -5) -> Iterator[Step]:
    """Flip the bits of one byte of the frame after a place, by default of its payload's last.

    A byte that the frame has not is counted round and round.
    """

    def flipped(send: Send) -> Sequence[Step]:
        data = bytearray(send.data)
        data[byte % len(data)] ^= 0xFF
        return [replace(send, data=bytes(data))]

    return _instead_of_next(script, after, flipped)


def trickle(script: Script, after: Place, seconds: float) -> Iterator[Step]:
    """Send the frame after a place byte by byte, with some seconds between two of them."""
    return _instead_of_next(script, after, lambda send: [replace(send, piece=1, pause=seconds)])


def split(script: Script, size: int) -> Iterator[Step]:
    """Send in pieces of so many bytes: a frame may be cut by the transport (fact 62)."""
    for step in script:
        yield replace(step, piece=size) if isinstance(step, Send) else step


def join(script: Script) -> Iterator[Step]:
    """Send everything in one write, once all of it is there."""
    return chain([Hold()], script)


def say(script: Script, after: Place, *texts: str) -> Iterator[Step]:
    """Say more texts, a delta each, before the next delta of text after a place."""

    def with_texts(send: Send) -> Sequence[Step]:
        event = event_of(send)
        if event is None or "text" not in event.delta:
            return []
        more = [event.with_delta({**event.delta, "text": text}) for text in texts]
        return [*(Send(frame(one)) for one in more), send]

    return _instead_of_next(script, after, with_texts)


def unknown_delta(script: Script, after: Place) -> Iterator[Step]:
    """Send a delta with a member that nobody has listed before the next delta after a place."""

    def with_unknown(send: Send) -> Sequence[Step]:
        event = event_of(send)
        if event is None or not event.delta:
            return []
        # Anthropic names the kind of a delta in a member, Converse by the member that it has.
        unknown = {"type": "future_delta"} if "type" in event.delta else {"futureDelta": "?"}
        return [Send(frame(event.with_delta(unknown))), send]

    return _instead_of_next(script, after, with_unknown)


def drop(script: Script, event: str) -> Iterator[Step]:
    """Leave out the events of a name, or by the name ``metrics`` what Bedrock adds to a model's last chunk."""
    for step in script:
        sent = event_of(step)
        if sent is None or event not in {sent.name, "metrics"}:
            yield step
        elif event == "metrics":
            rest = {key: value for key, value in sent.body.items() if key != INVOCATION_METRICS}
            yield step if rest == sent.body else Send(frame(replace(sent, body=rest)))


def gap(script: Script, seconds: float, pieces: int) -> Iterator[Step]:
    """Be silent within a tool's input, each time after so many pieces of it (fact 8)."""
    sent = 0
    for step in script:
        event = event_of(step)
        if event is not None and _tool_input(event):
            if sent and sent % pieces == 0:
                yield Pause(seconds)
            sent += 1
        yield step


def event_of(step: Step) -> Event | None:
    """Return the event that a step sends a frame of, or ``None`` where it sends anything else."""
    if not isinstance(step, Send):
        return None
    try:
        (message,) = read_frames([step.data])
        kind = message.headers[":event-type"]
        body = json.loads(message.payload)
        return Event(kind, json.loads(b64decode(body["bytes"])) if kind == "chunk" else body)
    except (KeyError, ValueError):
        return None


def _placed(script: Script, after: Place) -> Iterator[tuple[bool, Step]]:
    """Yield each step with whether it comes after a place, which lasts until the next frame or a bad end."""
    is_after, is_next = False, after == 0
    count = 0
    for step in script:
        if isinstance(step, Send | Cut | Reset):
            is_after = is_next
        if isinstance(step, Send):
            count += 1
            event = event_of(step)
            is_next |= after in {count, event.name if event else None}
        yield is_after, step


def _instead_of_next(
    script: Script, after: Place, change: Callable[[Send], Sequence[Step]]
) -> Iterator[Step]:
    """Do other steps instead of the first frame after a place for which there are any."""
    instead: Sequence[Step] = ()
    for is_after, step in _placed(script, after):
        if is_after and not instead and isinstance(step, Send):
            instead = change(step)
            yield from instead or [step]
        else:
            yield step


def _tool_input(event: Event) -> str:
    piece = event.delta.get("toolUse", {}).get("input") or event.delta.get("partial_json")
    return str(piece or "")

"""What is almost right, drawn at random: values, JSON and frames of event streams with something changed in them."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

from hypothesis import strategies as st

from tests.strategies.values import JSON

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

MARK = "ж"  # what long texts are made of
LONG = st.integers(0, 5000).map(MARK.__mul__)
_DEEP = st.integers(90, 400).map(lambda depth: json.loads("[" * depth + "]" * depth))
_NUMBERS = st.sampled_from([0, -1, 1.5, 1e300, 10**400, True, float("nan"), float("-inf")])
ANY = JSON | LONG | _DEEP | _NUMBERS


@st.composite
def mutants(draw: DrawFn, value: Any) -> Any:
    """Draw a value that differs from another somewhere: something is lost, added, repeated or exchanged."""
    if not isinstance(value, dict | list) or not value or not draw(st.integers(0, 5)):
        return draw(ANY)
    mutant: Any = value.copy()
    at = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    match draw(st.sampled_from(["within", "within", "within", "lost", "more"])):
        case "within":
            mutant[at] = draw(mutants(value[at]))
        case "lost":
            del mutant[at]
        case _ if isinstance(value, dict):
            mutant[draw(st.sampled_from(list(value)) | st.text() | LONG)] = draw(ANY)
        case _:
            mutant += [value[at]] * draw(st.integers(1, 2000))
    return mutant


@st.composite
def spelled(draw: DrawFn, value: Any) -> str:
    """Draw a spelling of a JSON value: any character of a name may be an escape, and names may come twice."""
    if isinstance(value, list):
        return f"[{','.join(draw(spelled(item)) for item in value)}]"
    if not isinstance(value, dict):
        return json.dumps(value)
    members = list(value.items())
    if members and not draw(st.integers(0, 19)):
        members.append((draw(st.sampled_from(list(value))), draw(JSON)))
    pairs = []
    for name, member in members:
        written = json.dumps(name)
        if name.isascii() and name.isalpha() and not draw(st.integers(0, 4)):
            written = f'"\\u{ord(name[0]):04x}{name[1:]}"'
        pairs.append(f"{written}:{draw(spelled(member))}")
    return f"{{{','.join(pairs)}}}"


def repaired(frame: bytes) -> bytes:
    """Return bytes as long as a frame with lengths and checksums that are right, if not what they are right for."""
    head = frame[:8]
    message = head + struct.pack("!I", crc32(head)) + frame[12:-4]
    return message + struct.pack("!I", crc32(message))


@st.composite
def mutated_frames(draw: DrawFn, frame: bytes) -> bytes:
    """Draw a frame with some of its bytes changed, lost or added; its checksums may be right again."""
    mutant = bytearray(frame)
    for at in draw(st.lists(st.integers(0, len(frame) - 1), max_size=4)):
        mutant[at] = draw(st.integers(0, 255))
    match draw(st.sampled_from(["bytes", "bytes", "payload", "headers", "lengths", "spliced"])):
        case "payload":
            mutant[-4:-4] = draw(st.binary(max_size=20))
            mutant[:4] = struct.pack("!I", len(mutant))
        case "headers":
            more = draw(st.binary(max_size=20))
            mutant[12:12] = more
            headers = struct.unpack_from("!I", frame, 4)[0] + len(more)
            mutant[:8] = struct.pack("!II", len(mutant), headers)
        case "lengths":
            lengths = st.integers(0, 2 * len(frame)) | st.integers(0, 2**32 - 1)
            mutant[:8] = struct.pack("!II", draw(lengths), draw(lengths))
        case "spliced":
            mutant[draw(st.integers(0, len(frame))) :] = frame[draw(st.integers(0, len(frame))) :]
        case _:
            pass  # the bytes alone
    data = bytes(mutant)
    return repaired(data) if len(data) >= 16 and draw(st.integers(0, 3)) else data

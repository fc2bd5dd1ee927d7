"""Bedrock's answers as they reach the relay, drawn at random, each with all that callers are to be told of it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from urllib3.exceptions import IncompleteRead, ProtocolError, ReadTimeoutError

from relay.errors import bedrock_error, limit_error
from relay.watchdog import Interrupt
from tests.strategies import converse, invoke
from tests.strategies.sent import SECRET, Sent
from tests.strategies.values import SIZES, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hypothesis.strategies import DrawFn

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
START = {"type": "start", "model": MODEL, "request_id": "the-request"}
_OF_ITSELF = {
    None,
    "end_turn",
    "stop_sequence",
    "tool_use",
}  # why a model stops that was not stopped
_NAMES_OF_PIECES = {"contentBlockStart", "contentBlockDelta"}
_ANSWERS = {
    "ConverseStream": converse.answers(),
    "InvokeModelWithResponseStream": invoke.answers(),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a stream on its way: where nothing is raised, its connection is just closed.

    Attributes:
        code: that of the error it becomes, if an end is missing.
        raises: makes the exception that reading ends with.
        is_bug: whether that is the relay's own.
    """

    code: str = "truncated"
    raises: Callable[[], BaseException] | None = None
    is_bug: bool = False


_FAULTS = [
    Fault("read_timeout", partial(ReadTimeoutError, None, "/", SECRET)),  # type: ignore[arg-type]  # no pool
    Fault("connection_lost", partial(ProtocolError, SECRET)),
    Fault("connection_lost", partial(IncompleteRead, 5, 7)),
    Fault("connection_lost", partial(ConnectionResetError, 104, SECRET)),
    Fault("connection_lost", partial(ssl.SSLError, 1, SECRET)),
    Fault("timeout", lambda: Interrupt(limit_error("timeout"))),
    Fault("throttling", lambda: bedrock_error("throttlingException", SECRET)),
    Fault("internal", partial(KeyError, SECRET), is_bug=True),
    Fault("internal", partial(ValueError, SECRET), is_bug=True),
    Fault("internal", partial(StopIteration, SECRET), is_bug=True),
    Fault("internal", partial(RecursionError, SECRET), is_bug=True),
    Fault("internal", lambda: Interrupt(MemoryError(SECRET)), is_bug=True),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer of Bedrock's as it reaches the relay.

    Attributes:
        operation: the API it is an answer of.
        data: its bytes.
        sizes: those of the pieces that the transport cuts these into, over and over.
        fault: what happens to it on the way.
        arrived: the frames that arrive whole.
    """

    operation: str
    data: bytes
    sizes: Sequence[int]
    fault: Fault
    arrived: Sequence[Sent]

    @property
    def pieces(self) -> list[bytes]:
        """Its bytes, as they are handed over."""
        return list(cut(self.data, self.sizes))

    @property
    def ending(self) -> Sent | None:
        """The frame that ends the stream with an error, if one does."""
        return next((sent for sent in self.arrived if sent.code), None)

    @property
    def heard(self) -> list[Sent]:
        """The frames before that."""
        ending = self.ending
        return list(self.arrived[: self.arrived.index(ending)] if ending else self.arrived)

    @property
    def is_started(self) -> bool:
        """Whether Bedrock has begun to answer."""
        return bool(self.heard)

    @property
    def is_complete(self) -> bool:
        """Whether both halves of the end have come, and nothing that takes them back."""
        ending = self.ending
        taken_back = self.fault.is_bug if ending is None else not ending.damaged
        return self._brought.keys() == {"stop", "usage"} and not taken_back

    @property
    def code(self) -> str:
        """The code of the error that it ends with, where it is not complete."""
        ending = self.ending
        return (ending and ending.code) or self.fault.code

    @property
    def usage(self) -> dict[str, Any]:
        """What is counted by its end."""
        usage: dict[str, Any] = {}
        for sent in self.heard:
            usage = {**({} if sent.recounts else usage), **sent.counts}
        return usage

    @property
    def text(self) -> str:
        """The text of the answer, as far as it came."""
        return "".join(piece["text"] for piece in self._pieces if piece["type"] == "text")

    @property
    def told(self) -> list[Mapping[str, Any]]:
        """All that callers are to be told, from the start to the end, as JSON objects."""
        pieces, without_input, _ = self._told_apart
        left_open = self._left_open(pieces)
        cut = set(left_open)
        if self.is_complete:
            of_itself = self._brought["stop"].get("stop_reason") in _OF_ITSELF
            cut = set() if of_itself else without_input
        ends = ({"type": "block_end", "index": index} for index in left_open)
        return [
            *([START] if self.is_started else []),
            *pieces,
            *({**end, **({"complete": False} if end["index"] in cut else {})} for end in ends),
            self._end,
        ]

    @property
    def _pieces(self) -> list[Mapping[str, Any]]:
        return [sent.told for sent in self.heard if sent.told is not None]

    @property
    def _brought(self) -> dict[str, Mapping[str, Any]]:
        return {half: said for sent in self.heard for half, said in sent.brings.items()}

    @property
    def holds_an_end(self) -> bool:
        """Whether the end of a tool call without input is among the pieces, which waits for what comes next."""
        return self._told_apart[2]

    @property
    def _told_apart(self) -> tuple[list[Mapping[str, Any]], set[int], bool]:
        """The pieces but for the ends that wait, which tool calls are without input, and whether any has waited."""
        told: list[Mapping[str, Any]] = []
        without_input: set[int] = set()
        waits: list[int] = []
        has_waited = False
        for piece in self._pieces:
            if piece.get("name") in _NAMES_OF_PIECES or (
                "index" in piece and piece["type"] != "block_end"
            ):
                told += ({"type": "block_end", "index": index} for index in waits)
                without_input -= set(waits)
                waits = []
            match piece:
                case {"type": "tool_start", "index": index}:
                    without_input.add(index)
                case {"type": "tool_input", "index": index, "input": said} if said.strip():
                    without_input.discard(index)
                case {"type": "block_end", "index": index} if index in without_input:
                    waits = [*waits, *({index} - set(waits))]
                    has_waited = True
                    continue
            told.append(piece)
        return told, without_input, has_waited

    def _left_open(self, pieces: Sequence[Mapping[str, Any]]) -> list[int]:
        left_open: list[int] = []
        for piece in pieces:
            match piece:
                case {"type": "block_end", "index": index}:
                    left_open = [other for other in left_open if other != index]
                case {"index": index} if index not in left_open:
                    left_open.append(index)
        return left_open

    @property
    def _end(self) -> dict[str, Any]:
        """The end, but for what an error says of itself beyond its code."""
        usage = {"usage": self.usage}
        if self.is_complete:
            brought = self._brought
            return {**brought["usage"], **brought["stop"], "type": "done", **usage}
        counted = {**usage, "usage_partial": True} if self.usage else {}
        return {"type": "error", "code": self.code, **counted}


def known(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a caller is told as ``Stream.told`` has it: without what only an error knows of itself."""
    of_an_error = {"message", "retryable", "original_status"} if told["type"] == "error" else set()
    return {name: value for name, value in told.items() if name not in of_an_error}


class Raw:
    """Does for a stream what urllib3's response does.

    Attributes:
        read: how many bytes have been.
    """

    def __init__(self, stream: Stream) -> None:
        self.read = 0
        self._pieces = iter(stream.pieces)
        self._fault = stream.fault

    def read1(self, _size: int) -> bytes:
        """Return what has arrived, and nothing at the end, if that is not to be an exception."""
        piece = next(self._pieces, b"")
        self.read += len(piece)
        if not piece and self._fault.raises is not None:
            raise self._fault.raises()
        return piece


@st.composite
def streams(draw: DrawFn, *operations: str) -> Stream:
    """Draw an answer of one of these operations, or of any: whole, cut, damaged or broken off after any byte."""
    operation = draw(st.sampled_from(operations or list(_ANSWERS)))
    sent = draw(_ANSWERS[operation])
    data = b"".join(frame.data for frame in sent)
    sizes, fault = draw(SIZES), Fault()
    at = len(data)
    match draw(st.sampled_from(["whole", "whole", "cut", "broken", "damaged" if data else "cut"])):
        case "cut":
            at = draw(st.integers(0, len(data)))
            data = data[:at]
        case "broken":
            at = draw(st.sampled_from([len(data)]) | st.integers(0, len(data)))
            data, fault = data[:at], draw(st.sampled_from(_FAULTS))
        case "damaged":
            at = draw(st.integers(0, len(data) - 1))
            byte = data[at] ^ draw(st.integers(1, 255))
            data, fault = data[:at] + bytes([byte]) + data[at + 1 :], Fault("corrupt")
        case _:
            pass  # whole
    whole = sum(end <= at for end in accumulate(len(frame.data) for frame in sent))
    return Stream(
        operation=operation,
        data=data,
        sizes=sizes,
        fault=fault,
        arrived=list(islice(sent, whole)),
    )

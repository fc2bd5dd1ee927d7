"""All faults that a caller can choose, by name: what can be written, listed and documented stands here.

A fault changes what is asked of the model (`Fault.ask`) or how its answer is sent (`Fault.send`, the functions of
`faults.py`). Every argument has a default or may be left out, so that each name alone is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from local import faults
from local.bedrock import error_frame, exception_frame, frame
from local.dialects import Event
from local.fault_arguments import (
    COUNT,
    EVENT,
    NAME,
    PLACE,
    SECONDS,
    SIZE,
    WORD,
    Argument,
    number,
)
from local.prompts import BedrockError, Prompt, Tool
from local.script import Cut, Pause, Reset, Send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.faults import Place
    from local.script import Script, Step

# Before the stream, and the status of each (fact 11).
_STATUSES = {
    "AccessDeniedException": 403,
    "InternalServerException": 500,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelStreamErrorException": 424,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "ValidationException": 400,
}
_MESSAGE = "The stand-in was told to fail."
_WEATHER_INPUT = {"city": {"const": "Paris"}, "days": {"const": 3}, "unit": {"const": "°C"}}
_WEATHER = Tool("get_weather", {"type": "object", "properties": _WEATHER_INPUT})

_AFTER = {"after": PLACE.by_default("5")}
_AFTER_OR_BYTE = {**_AFTER, "byte": COUNT}


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault. Its functions take the arguments by name.

    Attributes:
        does: what it does, in a sentence or two.
        arguments: by name.
        ask: changes what is asked.
        send: changes how the answer is sent.
        of_events: whether it is about events, so that an answer that is one document cannot have it.
    """

    does: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    ask: Callable[..., Prompt] | None = None
    send: Callable[..., Script] | None = None
    of_events: bool = False


def _refuse(
    script: Script, name: str, status: int | None, message: str | None, retry_after: int | None
) -> Script:
    error = BedrockError(status or _STATUSES.get(name, 400), name, message or _MESSAGE)
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return faults.refuse(script, error, *headers)


def _exception(script: Script, name: str, message: str | None, after: Place) -> Script:
    body: dict[str, Any] = {"message": message or _MESSAGE}
    if name == "modelStreamErrorException":
        body |= {"originalStatusCode": 500, "originalMessage": "The model failed."}
    return faults.after_frames(script, after, Send(exception_frame(name, body)))


def _error(script: Script, code: str, message: str | None, after: Place) -> Script:
    return faults.after_frames(script, after, Send(error_frame(code, message or _MESSAGE)))


def _stall(script: Script, after: Place, seconds: float | None) -> Script:
    return faults.insert(script, after, Pause(float("inf") if seconds is None else seconds))


def _ending(*ending: Step) -> Callable[..., Script]:
    def end(script: Script, after: Place, byte: int | None) -> Script:
        if byte is None:
            return faults.after_frames(script, after, *ending)
        return faults.after_bytes(script, byte, *ending)

    return end


def _end(script: Script, after: Place, byte: int | None) -> Script:
    return _ending()(faults.unmeasured(script), after, byte)


def _call_a_tool(prompt: Prompt) -> Prompt:
    choice = "any" if prompt.tool_choice == "auto" else prompt.tool_choice
    tools = prompt.tools or (_WEATHER,)
    return replace(prompt, tools=tools, tool_choice=choice, tool_result=None)


# What every fault takes besides its own.
COMMON: Mapping[str, Argument] = {"times": SIZE, "model": WORD}

FAULTS: Mapping[str, Fault] = {
    "delay": Fault(
        "Nothing comes, not even the head, for so many more seconds.",
        {"seconds": SECONDS.by_default("5")},
        send=faults.delay,
    ),
    "refuse": Fault(
        "An error instead of the stream, with the status that belongs to its name.",
        {
            "name": NAME.by_default("ThrottlingException"),
            "status": number(400, 599),
            "message": WORD,
            "retry_after": COUNT,
        },
        send=_refuse,
    ),
    "exception": Fault(
        "An exception in mid-stream instead of the rest; any name, or none.",
        {**_AFTER, "name": NAME.by_default("throttlingException"), "message": WORD},
        send=_exception,
        of_events=True,
    ),
    "error": Fault(
        "An error that the service model does not list, in mid-stream instead of the rest.",
        {**_AFTER, "code": NAME.by_default("InternalFailure"), "message": WORD},
        send=_error,
        of_events=True,
    ),
    "stall": Fault(
        "Silence in mid-stream, for so many seconds or for ever; the connection stays open.",
        {**_AFTER, "seconds": SECONDS},
        send=_stall,
    ),
    "trickle": Fault(
        "The next frame comes byte by byte, with so many seconds between two of them.",
        {**_AFTER, "seconds": SECONDS.by_default("1")},
        send=faults.trickle,
    ),
    "gap": Fault(
        "Silence within a tool's input, each time after so many pieces of it.",
        {"seconds": SECONDS.by_default("5"), "pieces": SIZE.by_default("4")},
        send=faults.gap,
        of_events=True,
    ),
    "cut": Fault(
        "The connection is closed without the end of the answer.",
        _AFTER_OR_BYTE,
        send=_ending(Cut()),
    ),
    "reset": Fault(
        "The connection is reset, as by a crash; what was sent last may be lost.",
        _AFTER_OR_BYTE,
        send=_ending(Reset()),
    ),
    "end": Fault("The answer ends too early, but as HTTP wants it.", _AFTER_OR_BYTE, send=_end),
    "corrupt": Fault(
        "A byte of the next frame is flipped: -5 in the payload, 2 in the lengths, 9 in their checksum.",
        {**_AFTER, "byte": number(-(10**9), 10**9).by_default("-5")},
        send=faults.corrupt,
    ),
    "split": Fault(
        "Frames come in pieces of so many bytes.",
        {"size": SIZE.by_default("1")},
        send=faults.split,
    ),
    "join": Fault("Everything comes in one write, in the end.", send=faults.join),
    "text": Fault(
        "One more piece of text, of so many bytes; 0 makes an empty one.",
        {**_AFTER, "size": number(0, 20_000_000).by_default("100000")},
        send=lambda script, after, size: faults.say(script, after, "x" * size),
        of_events=True,
    ),
    "surrogates": Fault(
        "One more letter of text, 😀, each half of it (\\ud83d, \\ude00) in a piece of its own.",
        _AFTER,
        send=lambda script, after: faults.say(script, after, "\ud83d", "\ude00"),
        of_events=True,
    ),
    "drop": Fault(
        "The events of that name are left out, or amazon-bedrock-invocationMetrics by the name of metrics.",
        {"event": EVENT.by_default("metadata")},
        send=faults.drop,
        of_events=True,
    ),
    "unknown_event": Fault(
        "One more event, of a type that nobody has listed.",
        _AFTER,
        send=lambda script, after: faults.insert(
            script, after, Send(frame(Event("futureEvent", {"future": True})))
        ),
        of_events=True,
    ),
    "unknown_delta": Fault(
        "One more piece of a block, with a member that nobody has listed.",
        _AFTER,
        send=faults.unknown_delta,
        of_events=True,
    ),
    "unknown_block": Fault(
        "A block of a kind that nobody has listed comes first.",
        ask=lambda prompt: replace(prompt, unknown_block=True),
    ),
    "unknown_stop": Fault(
        "The stop reason is one that nobody has listed.",
        ask=lambda prompt: replace(prompt, stop_reason="future_reason"),
    ),
    "tool": Fault(
        "The answer calls a tool: one of the request's, or get_weather if it has none.",
        ask=_call_a_tool,
    ),
    "reasoning": Fault(
        "Reasoning with a signature comes first.",
        ask=lambda prompt: replace(prompt, reasoning=True),
    ),
    "redacted": Fault(
        "Redacted reasoning, which nobody may read, comes first.",
        ask=lambda prompt: replace(prompt, redacted=True),
    ),
    "cached": Fault(
        "Usage tells of tokens that were read from a cache and written to it.",
        {"read": COUNT.by_default("1000"), "write": COUNT.by_default("100")},
        ask=lambda prompt, read, write: replace(prompt, cache_read=read, cache_write=write),
    ),
}

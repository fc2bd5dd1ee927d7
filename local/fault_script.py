"""What goes wrong, chosen by the caller: ``NAME key=value …``, several separated by ``;``, one working on another.

It is read from the header ``x-rivulet-faults`` of a call, or from the text of the last message, so that it gets through
the function with any client::

    How does a token travel? [fault: cut after=9]

`FaultMachine.answer` drops in as `Bedrock.answer`. The names are those of `fault_table.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from local import faults
from local.bedrock import answer_to, prompt_of
from local.fault_table import COMMON, FAULTS
from local.prompts import BedrockError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.bedrock import Call
    from local.fault_arguments import Argument
    from local.fault_table import Fault
    from local.prompts import Prompt
    from local.script import Script

HEADER = "x-rivulet-faults"
_IN_TEXT = re.compile(r"\s*\[fault:([^\]]*)(\]?)")
# What is asked where the prompt is nothing but faults.
_DEFAULT_QUESTION = "How does a token travel?"
# A document of an operation that does not stream is cut up into so many pieces, each of which counts as a frame.
_PIECES = 10
# What such a document can have.
OF_DOCUMENTS = tuple(name for name, fault in FAULTS.items() if not fault.of_events)
_ABOUT_ARGUMENTS = f"""
after=N is after N frames of the event stream, after=NAME after the first event of that name, such as messageStop.
byte=N is after N bytes of the body instead, or which byte of a frame. Every fault takes two more arguments:
times=N for no more than N calls with the same script, model=WORD for models with that in their ids.

Where the answer is one document rather than an event stream, each tenth of it counts as a frame, and there can be
{", ".join(OF_DOCUMENTS)}."""


@dataclass(frozen=True, slots=True)
class ChosenFault:
    """A fault with its arguments.

    Attributes:
        name: its name.
        ask: changes what is asked.
        send: changes how the answer is sent.
        times: how many calls have it, or ``None`` for all.
        model: what is in the ids of the models that have it.
    """

    name: str
    ask: Callable[[Prompt], Prompt]
    send: Callable[[Script], Script]
    times: int | None
    model: str


class FaultMachine:
    """Answers each call honestly but for the faults that the call itself chooses."""

    def __init__(self) -> None:
        self._concerned: Counter[tuple[str, int]] = Counter()

    def answer(self, call: Call) -> Script:
        """Return the script of the answer.

        Raises:
            BedrockError: something is wrong with the request, or with what it says of faults.
        """
        prompt = prompt_of(call)
        text, scripts = take_out(prompt.text)
        if scripts:
            everything = _IN_TEXT.sub("", prompt.everything)
            prompt = replace(prompt, text=text or _DEFAULT_QUESTION, everything=everything)
        if HEADER in call.headers:
            scripts.insert(0, call.headers[HEADER])
        chosen = self._choose(";".join(scripts), call) if scripts else []
        for fault in chosen:
            prompt = fault.ask(prompt)
        script = answer_to(prompt, call)
        if chosen and not call.streams:
            script = faults.cut_up(script, _PIECES)
        for fault in chosen:
            script = fault.send(script)
        return script

    def _choose(self, script: str, call: Call) -> list[ChosenFault]:
        """Return the faults of a script that concern this call."""
        chosen = []
        for number, fault in enumerate(parse(script)):
            if fault.model in call.model_id:
                if not call.streams and fault.name not in OF_DOCUMENTS:
                    possible = f"one of {', '.join(OF_DOCUMENTS)}, for the answer is one document"
                    raise _malformed("fault", possible, fault.name)
                self._concerned[script, number] += 1
                if fault.times is None or self._concerned[script, number] <= fault.times:
                    chosen.append(fault)
        return chosen


def take_out(text: str) -> tuple[str, list[str]]:
    """Return a text without the fault scripts in it, and the scripts.

    Raises:
        BedrockError: one of them has no end.
    """
    found = list(_IN_TEXT.finditer(text))
    if not found:
        return text, []
    if not found[-1][2]:
        raise _malformed("the script of faults in the prompt", "a ] at its end", found[-1][1])
    return _IN_TEXT.sub("", text).strip(), [one[1] for one in found]


def parse(script: str) -> list[ChosenFault]:
    """Return the faults of a script, in order.

    Raises:
        BedrockError: it is malformed; the message says where, what was expected and what came.
    """
    return [_parse_one(part) for part in script.split(";")]


def listing() -> str:
    """Return all faults, each with its arguments and what it does."""
    entries = (f"{usage(name, fault)}\n    {fault.does}" for name, fault in FAULTS.items())
    return "\n".join((*entries, _ABOUT_ARGUMENTS))


def usage(name: str, fault: Fault) -> str:
    """Return how a fault is written: ``cut [after=5] [byte=N]``."""
    signs = (f"[{key}={one.default or one.sign}]" for key, one in fault.arguments.items())
    return " ".join((name, *signs))


def _parse_one(text: str) -> ChosenFault:
    name, *pairs = text.split() or [""]
    fault = FAULTS.get(name)
    if fault is None:
        raise _malformed("fault", f"one of {', '.join(FAULTS)}", name)
    arguments = {**fault.arguments, **COMMON}
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in arguments:
            raise _malformed(f"fault {name}", f"key=value with one of {', '.join(arguments)}", pair)
        if key in given:
            raise _malformed(f"fault {name}, {key}", "one value", f"{given[key]} and {value}")
        given[key] = value
    values = {
        key: _value(f"fault {name}, {key}", argument, given.get(key))
        for key, argument in arguments.items()
    }
    times, model = values.pop("times"), values.pop("model")
    ask, send = _bound(fault.ask, values), _bound(fault.send, values)
    return ChosenFault(name, ask, send, times, model or "")


def _value(where: str, argument: Argument, text: str | None) -> Any:
    text = argument.default if text is None else text
    if text is None:
        return None
    try:
        return argument.read(text)
    except ValueError:
        raise _malformed(where, argument.expected, text) from None


def _bound(function: Callable[..., Any] | None, values: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return a function of one argument, which it gives back as it is if there is no function."""
    return (lambda same: same) if function is None else partial(function, **values)


def _malformed(where: str, expected: str, got: str) -> BedrockError:
    got = got if len(got) <= 100 else f"{got[:99]}…"
    return BedrockError(400, "ValidationException", f"{where}; expected {expected}; got {got!r}")

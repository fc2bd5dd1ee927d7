"""Reads the members of a JSON object one by one: each has to be taken, and what nobody takes is refused.

So nothing that a caller asks for is passed over in silence. ``null`` is the same as nothing, as in the APIs that are
read with it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from relay.shapes import describe, invalid

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping


class Fields:
    """A JSON object, as a caller wrote it.

    Args:
        value: what came.
        path: what the caller knows it by, for messages; empty for the whole body.

    Raises:
        RequestError: it is no object. So does every method, where a member is not what it asks for.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise invalid(path, "an object", describe(value))
        self.path = path
        self._left: dict[str, Any] = dict(value)
        self._taken: dict[str, None] = {}

    def name(self, member: str) -> str:
        """Return the path of a member."""
        return f"{self.path}.{member}" if self.path else member

    def take(self, member: str) -> Any:
        """Return a member whatever it is; ``None`` where it is missing."""
        self._taken[member] = None
        return self._left.pop(member, None)

    def need(self, member: str, expected: str) -> Any:
        """Return a member that has to be there."""
        value = self.take(member)
        if value is None:
            raise invalid(self.name(member), expected, "nothing")
        return value

    def text(self, member: str) -> str | None:
        """Return a member that is text."""
        value: str | None = self._of(str, member, "text")
        return value

    def need_text(self, member: str) -> str:
        """Return a member that is text and has to be there."""
        value = self.need(member, "text")
        if not isinstance(value, str):
            raise invalid(self.name(member), "text", describe(value))
        return value

    def flag(self, member: str) -> bool | None:
        """Return a member that is true or false."""
        value: bool | None = self._of(bool, member, "true or false")
        return value

    def integer(self, member: str, low: int, high: int | None = None) -> int | None:
        """Return a member that is a whole number within bounds."""
        value = self.take(member)
        if value is None:
            return None
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or value < low
            or (high is not None and value > high)
        ):
            bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise invalid(self.name(member), f"a whole number {bounds}", describe(value))
        return value

    def number(self, member: str, low: float, high: float) -> float | None:
        """Return a member that is a number within bounds."""
        value = self.take(member)
        if value is None:
            return None
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not (low <= value <= high)
            or math.isnan(value)
        ):
            raise invalid(self.name(member), f"a number from {low:g} to {high:g}", describe(value))
        return value

    def items(self, member: str) -> list[Any]:
        """Return a member that is a list; an empty one where it is missing."""
        return self._of(list, member, "a list") or []

    def object(self, member: str) -> Fields | None:
        """Return a member that is an object."""
        value = self.take(member)
        return None if value is None else Fields(value, self.name(member))

    def need_object(self, member: str) -> Fields:
        """Return a member that is an object and has to be there."""
        return Fields(self.need(member, "an object"), self.name(member))

    def objects(self, member: str) -> Iterator[Fields]:
        """Yield the items of a member that is a list of objects."""
        for number, item in enumerate(self.items(member)):
            yield Fields(item, f"{self.name(member)}[{number}]")

    def choice(self, member: str, *choices: str) -> str | None:
        """Return a member that is one of a few words."""
        value = self.take(member)
        if value is not None and value not in choices:
            raise invalid(self.name(member), f"one of {', '.join(choices)}", describe(value))
        return None if value is None else str(value)

    def one_of(self, member: str, *choices: str) -> str:
        """Return a member that is one of a few words and has to be there; these words are no secrets."""
        expected = f"one of {', '.join(choices)}"
        value = self.need(member, expected)
        if value not in choices:
            got = value[:100] if isinstance(value, str) and value else describe(value)
            raise invalid(self.name(member), expected, got)
        return str(value)

    def fitting(self, member: str, pattern: re.Pattern[str]) -> str:
        """Return a member that is text in the letters that Bedrock takes, and has to be there."""
        value = self.need_text(member)
        if not pattern.fullmatch(value):
            raise invalid(self.name(member), f"text that fits {pattern.pattern}", describe(value))
        return value

    def only(self, member: str, *values: Any) -> None:
        """Take a member that asks for nothing with any of these values, or nothing; refuse what Bedrock cannot do."""
        value = self.take(member)
        if value is not None and not any(type(value) is type(v) and value == v for v in values):
            expected = " or ".join([*dict.fromkeys(map(_spelt, values)), "nothing"])
            got = f"{describe(value)}, which Bedrock has no way to honour"
            raise invalid(self.name(member), expected, got)

    def ignore(self, *members: str) -> None:
        """Take members that change nothing about the answer."""
        for member in members:
            self.take(member)

    def end(self) -> None:
        """Refuse members that nobody has taken. Nothing that is ``null`` asks for anything."""
        for member, value in self._left.items():
            if value is not None:
                known = ", ".join(self._taken)
                raise invalid(self.name(member), f"one of {known}", "an unknown field")

    def rest(self) -> Mapping[str, Any]:
        """Return the members that nobody has taken, and take them."""
        rest, self._left = self._left, {}
        return rest

    def _of(self, kind: type, member: str, expected: str) -> Any:
        value = self.take(member)
        if value is not None and not isinstance(value, kind):
            raise invalid(self.name(member), expected, describe(value))
        return value


def _spelt(value: Any) -> str:
    """Return a value as it stands in JSON; there, 0 and 0.0 are one."""
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)

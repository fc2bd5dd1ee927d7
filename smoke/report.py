"""The table, a row as soon as its check is made. No secret is ever in it, whoever said it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TextIO

from smoke.checks import FAIL, OK, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smoke.checks import Seen

_NAME, _SEEN, _VERDICT = 18, 78, 7
_WIDTH = _NAME + _SEEN + _VERDICT + 4
_SHORTEST_SECRET = 6


class Report:
    """Prints what was seen, and counts it.

    Args:
        out: where to.
        secrets: what must not be printed.
    """

    def __init__(self, out: TextIO, secrets: Iterable[str]) -> None:
        self._out = out
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._counts = dict.fromkeys((OK, FAIL, SKIPPED), 0)

    def head(self, url: str, auth: str) -> None:
        """Print what is checked."""
        self._say(f"{url}, auth {auth}\n")
        self._row("check", "what was seen", "verdict")
        self._row("-" * _NAME, "-" * _SEEN, "-" * _VERDICT)

    def add(self, seen: Seen) -> None:
        """Print a row."""
        self._counts[seen.verdict] += 1
        first, *others = textwrap.wrap(self._harmless(seen.seen), _SEEN) or [""]
        self._row(seen.check, first, seen.verdict)
        for line in others:
            self._row("", line, "")

    def end(self, hints: Iterable[str] = ()) -> int:
        """Print where to look, and the sum; return the exit status: 1 where something failed."""
        self._say("")
        for hint in hints:
            for line in textwrap.wrap(self._harmless(hint), _WIDTH, subsequent_indent="  "):
                self._say(line)
        self._say(", ".join(f"{count} {verdict}" for verdict, count in self._counts.items()))
        return int(self._counts[FAIL] > 0)

    def _row(self, name: str, seen: str, verdict: str) -> None:
        self._say(f"{name:{_NAME}}  {seen:{_SEEN}}  {verdict}".rstrip())

    def _harmless(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return "".join(letter if letter.isprintable() else " " for letter in text)

    def _say(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()

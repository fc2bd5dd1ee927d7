"""Ends the function's processes when whoever started them is gone, in whatever way it went.

`Lifeline` starts this file as a program of its own, whose standard input is a pipe that only the starter holds open.
A line ``+PID`` puts a process group in its care, ``-PID`` takes it out; when the pipe closes, the groups still in its
care are killed. Unlike Linux's parent death signal this works on macOS too, and whichever thread started a process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Lifeline:
    """The starter's end."""

    def __init__(self) -> None:
        # In a session of its own, so that Ctrl-C in the terminal does not end it first; without site packages, so that
        # it starts in a few milliseconds.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, start_new_session=True
        )

    def hold(self, group: int) -> None:
        """Put a process group in its care."""
        self._tell(f"+{group}")

    def release(self, group: int) -> None:
        """Take a process group out of its care, as it has ended."""
        self._tell(f"-{group}")

    def close(self) -> None:
        """End it, and all that is still in its care."""
        self._process.communicate()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  # for the type checker: it is a pipe
        with suppress(BrokenPipeError):  # someone ended it, so there is nothing left to hold on to
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()


def watch(lines: Iterable[str]) -> None:
    """Follow the lines to their end, then kill what is left."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(group)
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.stdin)

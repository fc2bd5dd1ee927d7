"""What another process holds, read from /proc: file descriptors, threads, memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

KIB = 1024


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds; its resident memory, now and at most so far, is in KiB."""

    descriptors: int = 0
    threads: int = 0
    memory: int = 0
    peak: int = 0

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Read it; nothing is known where there is no /proc."""
        process = Path(f"/proc/{pid}")
        if not process.exists():
            return cls()
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return cls(
            len(list((process / "fd").iterdir())),
            int(status["Threads"]),
            int(status["VmRSS"].split()[0]),
            int(status["VmHWM"].split()[0]),
        )

    def assert_within(self, before: Footprint, *, memory: int, descriptors: int = 0) -> None:
        """Assert that it is not above one taken before by more than so many KiB, and so many descriptors."""
        if self == Footprint():
            pytest.skip("the answers were right; what the process holds is unknown without /proc")
        print(before, self)
        assert self.descriptors <= before.descriptors + descriptors
        assert self.threads <= before.threads
        assert self.memory <= before.memory + memory
        assert self.peak <= before.peak + memory

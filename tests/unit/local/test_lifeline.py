from __future__ import annotations

import subprocess
import sys
import time

from local.lifeline import Lifeline


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )


def test_what_is_held_ends_with_the_pipe_and_what_was_released_does_not() -> None:
    """When the starter's end of the pipe closes, the process groups still in care are killed, and only those."""
    lifeline, held, released = Lifeline(), sleeper(), sleeper()
    try:
        lifeline.hold(held.pid)
        lifeline.hold(released.pid)
        lifeline.release(released.pid)
        lifeline.close()
        assert held.wait(5) == -9
        assert released.poll() is None
    finally:
        for process in (held, released):
            process.kill()
            process.wait()


def test_a_starter_that_is_killed_takes_them_along() -> None:
    """A starter that gets no chance to clean up leaves no process behind."""
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import subprocess, sys, time\n"
                "from local.lifeline import Lifeline\n"
                "child = subprocess.Popen([sys.executable, '-c', 'import time; print(flush=True); time.sleep(60)'],"
                " start_new_session=True)\n"
                "Lifeline().hold(child.pid)\n"
                "time.sleep(60)\n"
            ),
        ],
        stdout=subprocess.PIPE,
    )
    assert starter.stdout is not None
    with starter.stdout as child_says:
        assert child_says.readline() == b"\n"
        time.sleep(0.2)
        starter.kill()
        starter.wait()
        # The child holds the other end of this pipe: it ends when the child does.
        began = time.monotonic()
        assert child_says.read() == b""
    assert time.monotonic() - began < 10

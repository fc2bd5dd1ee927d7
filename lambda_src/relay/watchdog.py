"""What happens while Bedrock is waited for: heartbeats, the end of a stream that stalls, the deadline.

A wait for Bedrock is a system call that blocks the process's one thread. A timer's signal (``SIGALRM``) wakes it:
Python runs the handler there and then goes back to waiting, or stops, where the handler raises. So there is no second
thread, no lock, and nothing to hand over: a piece costs two assignments and a look at the clock. Outside a wait the
handler does nothing, so a heartbeat is never written within a piece.

Signals belong to the main thread, and so do Lambda's handlers. In any other, heartbeats stay away, and boto3's own
timeouts end a wait.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import limit_error, transport_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Seconds to the next look: never 0, which would mean none at all; some, where a write goes on past the deadline.
_SOONEST = 0.001
_OVERDUE = 0.5
_SECOND_LOOK = 0.1  # seconds until a silence that has been too long is believed
_LINGER = 1.0  # seconds for a connection to be closed once the answer on it is complete
_LATEST = 3600.0


class Interrupt(BaseException):
    """Ends a wait. No ``Exception``: the libraries that do the waiting would take it for a failure of theirs.

    Attributes:
        error: what the wait ended with.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Heartbeat(NamedTuple):
    """How a silence is broken.

    Attributes:
        send: does it. What it raises ends the wait.
        first: seconds from the beginning to the first one, as long as Bedrock has not answered.
        interval: seconds of silence before any other.
    """

    send: Callable[[], None]
    first: float
    interval: float


class Watchdog:
    """Watches over the waits for one answer of Bedrock's.

    Args:
        deadline: when the answer must be over, in seconds of ``time.monotonic``.
        read_timeout: how many seconds Bedrock may be silent, once it has accepted the call.
        heartbeat: ``None`` where nobody could hear it.
    """

    def __init__(
        self, *, deadline: float, read_timeout: float, heartbeat: Heartbeat | None = None
    ) -> None:
        self._deadline = deadline
        self._read_timeout = read_timeout
        self._heartbeat = heartbeat
        self._began = time.monotonic()
        self._waiting_since: float | None = None
        self._listening = False
        self._answering = False
        self._last_beat = -math.inf
        self._looked_at: float | None = None
        self._second_look = -math.inf
        self._on_duty = False

    @contextmanager
    def on_duty(self) -> Iterator[None]:
        """Keep the timer running; leave the signal as it was, with a timer that somebody else has set."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        began = time.monotonic()
        others_due, others_interval = signal.getitimer(signal.ITIMER_REAL)
        previous = signal.signal(signal.SIGALRM, self._on_alarm)
        self._on_duty = True
        self._set_timer()
        try:
            yield
        finally:
            self._on_duty = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            if others_due:
                left = max(others_due - (time.monotonic() - began), _SOONEST)
                signal.setitimer(signal.ITIMER_REAL, left, others_interval)

    def ask(self) -> None:
        """Note that an answer is waited for from now on: as ``wait``, before Bedrock has begun."""
        if self._listening:  # to a model that refused, and now it is another's turn
            self._listening = self._answering = False
            self._set_timer()
        self.wait()

    def listen(self) -> None:
        """Note that the answer's head has come: from now on Bedrock may be silent only for so long."""
        self._listening = True
        self._set_timer()

    def wait(self) -> None:
        """Note that Bedrock's next event is waited for from now on.

        Raises:
            Interrupt: there is no time left for that.
        """
        self._waiting_since = now = time.monotonic()
        if now >= self._deadline:
            self._waiting_since = None
            raise Interrupt(limit_error("timeout"))

    def rest(self) -> None:
        """Note that nothing is waited for any more."""
        self._waiting_since = None

    def hear(self) -> None:
        """Note that Bedrock's next event has come."""
        self._waiting_since = None
        if not self._answering:
            self._answering = True
            self._set_timer()  # from now on a silence may be shorter

    def expect_no_more(self) -> None:
        """Note that the answer is complete: its connection is to be closed soon, and is not worth waiting for."""
        self._read_timeout = min(self._read_timeout, _LINGER)
        self._set_timer()

    def _on_alarm(self, _number: int, _frame: object) -> None:
        waiting_since = self._waiting_since
        if waiting_since is not None:
            self._waiting_since = None  # what is done about it is no wait
            try:
                self._look(waiting_since)
            except Interrupt:
                # Raised in a finaliser it is lost, and has to be raised again; but not while the wait is being left.
                self._start_timer(_OVERDUE)
                raise
            finally:
                self._waiting_since = waiting_since
        self._set_timer()

    def _look(self, waiting_since: float) -> None:
        """Do what is due in a wait."""
        now = time.monotonic()
        if now >= self._deadline:
            raise Interrupt(limit_error("timeout"))
        if now >= self._stalled_at(waiting_since):
            if self._looked_at == waiting_since:
                raise Interrupt(transport_error("read_timeout"))
            # The silence may have been this process's own, which did not run: then the next event is there already.
            self._looked_at, self._second_look = waiting_since, now + _SECOND_LOOK
        if self._heartbeat is not None and now >= self._beat_at(waiting_since, self._heartbeat):
            try:
                self._heartbeat.send()
            except Exception as error:  # noqa: BLE001  # whatever it is, it must get through the libraries
                raise Interrupt(error) from None
            self._last_beat = now

    def _stalled_at(self, waiting_since: float) -> float:
        """Return when a wait has been too long. For the answer's head boto3 waits, and knows how often it tries."""
        if not self._listening:
            return math.inf
        return max(waiting_since + self._read_timeout, self._second_look)

    def _beat_at(self, waiting_since: float, heartbeat: Heartbeat) -> float:
        due = (
            waiting_since + heartbeat.interval if self._answering else self._began + heartbeat.first
        )
        return max(due, self._last_beat + heartbeat.interval)

    def _set_timer(self) -> None:
        """Let the alarm go off when something may be due next."""
        now = time.monotonic()
        waiting_since = now if self._waiting_since is None else self._waiting_since
        due = min(self._deadline, self._stalled_at(waiting_since))
        if self._heartbeat is not None:
            due = min(due, self._beat_at(waiting_since, self._heartbeat))
        # Due by now, it is so since the last look, and there is another at once; unless nothing is waited for.
        at_least = _OVERDUE if due <= now and self._waiting_since is None else _SOONEST
        self._start_timer(max(due - now, at_least))

    def _start_timer(self, seconds: float) -> None:
        if self._on_duty:
            # And again, for one that comes between the interpreter's last look and the system call wakes nobody.
            signal.setitimer(signal.ITIMER_REAL, min(seconds, _LATEST), _OVERDUE)

"""What is read from elsewhere and kept for a while: the keys that callers are known by."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from relay.errors import access_error
from relay.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")
Found = TypeVar("Found")

_BACKOFF = 30.0  # seconds between two tries to read anew what still serves: each lets a caller wait

# Not a monotonic clock: whether that goes on while an environment is frozen between two requests nobody promises.
_now = time.time


class Unreadable(Exception):
    """What is kept cannot be read.

    Attributes:
        cause: why, in words that are fit for a log.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Kept(Generic[Value]):
    """Something read from elsewhere, of which a caller asks whether something is in it.

    It is read anew when it has become too old, and when something is not in it, at most once in a while. Where that
    fails, it serves on for a time; after that nobody can tell any more. It never becomes less strict.

    Args:
        what: it is, for the log.
        read: reads it; raises ``Unreadable`` if it cannot.
        max_age: seconds for which it is taken as it was read.
        grace: seconds for which it serves on after that, while it cannot be read.
        pause: seconds between two readings at least; no longer than ``max_age``.
    """

    def __init__(
        self, what: str, read: Callable[[], Value], *, max_age: float, grace: float, pause: float
    ) -> None:
        self._what = what
        self._read = read
        self._max_age = max_age
        self._grace = grace
        self._pause = min(pause, max_age)
        self.forget()

    def forget(self) -> None:
        """Forget it, and the lock: a process that was copied may have taken both from another."""
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._read_at = self._tried_at = float("-inf")
        self._wait = 0.0
        self._error: Unreadable | None = None

    def refresh(self, read: Callable[[], Value] | None = None) -> None:
        """Read it, if that is due, or have it read so. Where that fails, whoever asks first tries again."""
        with self._lock:
            if not self._try_to_read(read):
                self._wait = 0.0

    def find(self, seek: Callable[[Value], Found | None]) -> Found | None:
        """Return what is found in it, or ``None`` if it is known not to be there.

        Raises:
            AccessError: that is not known at the moment; 503.
        """
        with self._lock:
            if not self._is_younger_than(self._max_age):
                self._try_to_read()
            found = self._found(seek)
            if found is None and self._try_to_read():  # perhaps it is new
                found = self._found(seek)
            if found is None and not self._is_younger_than(self._max_age):
                error = access_error("access_unavailable")
                left = self._tried_at + self._wait - _now()
                error.headers = {**error.headers, "retry-after": str(max(1, math.ceil(left)))}
                raise error from self._error
            return found

    def _found(self, seek: Callable[[Value], Found | None]) -> Found | None:
        if self._value is None or not self._is_younger_than(self._max_age + self._grace):
            return None
        return seek(self._value)

    def _is_younger_than(self, seconds: float) -> bool:
        # A clock that was put back makes nothing younger.
        return 0 <= _now() - self._read_at <= seconds

    def _try_to_read(self, read: Callable[[], Value] | None = None) -> bool:
        """Read it, unless it was read or tried to be just before; return whether that has worked."""
        if 0 <= _now() - self._tried_at < self._wait:
            return False
        began = _now()  # what is changed while it is read may be changed too late to be in it
        try:
            self._value = (read or self._read)()
        except Unreadable as error:
            self._error = error
            serves = self._is_younger_than(self._max_age + self._grace)
            tell = logger.warning if serves else logger.error
            tell(f"cannot read {self._what}", extra={"cause": error.cause})
            self._wait = max(self._pause, _BACKOFF) if serves else self._pause
            works = False
        else:
            self._wait = self._pause
            self._read_at = began
            works = True
        self._tried_at = _now()
        return works

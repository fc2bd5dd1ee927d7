"""Real signals, with short times: lower bounds are strict, upper ones generous, for the machine may be busy."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from relay import watchdog as watchdog_module
from relay.errors import LimitError, RelayError, UpstreamError
from relay.watchdog import Heartbeat, Interrupt, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0
NEVER = math.inf


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


class Beats:
    """Heartbeats that note when they were sent, and what they are told to do besides."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.times: list[float] = []
        self._act = act

    def __call__(self) -> None:
        self.times.append(time.monotonic())
        self._act()

    def every(self, interval: float, first: float | None = None) -> Heartbeat:
        return Heartbeat(self, interval if first is None else first, interval)


def _watchdog(
    *, within: float = NEVER, read_timeout: float = NEVER, heartbeat: Heartbeat | None = None
) -> Watchdog:
    deadline = time.monotonic() + within
    return Watchdog(deadline=deadline, read_timeout=read_timeout, heartbeat=heartbeat)


def _silence(until: Callable[[], bool] = lambda: False) -> None:
    """Block as a read does, until something has come; without it, the test waits in vain."""
    end = time.monotonic() + PATIENCE
    while not until():
        if time.monotonic() > end:
            pytest.fail("waited in vain")
        time.sleep(0.005)


def _hear(watchdog: Watchdog) -> None:
    """Let Bedrock begin to answer."""
    watchdog.ask()
    watchdog.listen()
    watchdog.wait()
    watchdog.hear()


def _ended(watchdog: Watchdog, *begin: Callable[[], None]) -> tuple[Exception, float]:
    """Return what a wait that never ends was ended with, and after how many seconds."""

    def wait() -> None:
        with watchdog.on_duty():
            for act in begin:
                act()
            _silence()

    began = time.monotonic()
    with pytest.raises(Interrupt) as caught:
        wait()
    return caught.value.error, time.monotonic() - began


def _as_told(error: Exception) -> tuple[type[Exception], str]:
    assert isinstance(error, RelayError)
    return type(error), error.code


TIMEOUT = (LimitError, "timeout")
STALL = (UpstreamError, "read_timeout")


def test_the_first_heartbeat_comes_late_and_the_others_at_their_interval() -> None:
    """As long as Bedrock has not answered: so many seconds after the beginning, and then again and again."""
    beats = Beats()
    began = time.monotonic()
    watchdog = _watchdog(heartbeat=beats.every(0.05, first=0.2))
    with watchdog.on_duty():
        watchdog.ask()
        _silence(until=lambda: len(beats.times) == 4)
    first, *others = beats.times
    assert first - began >= 0.2
    for earlier, later in zip(beats.times, others, strict=False):
        assert later - earlier >= 0.05


def test_an_interval_longer_than_the_first_wait_is_kept() -> None:
    """A heartbeat that came early does not bring the next one forward."""
    beats = Beats()
    watchdog = _watchdog(heartbeat=beats.every(0.3, first=0.01))
    with watchdog.on_duty():
        watchdog.ask()
        _silence(until=lambda: len(beats.times) == 2)
    assert beats.times[1] - beats.times[0] >= 0.3


def test_once_bedrock_answers_a_silence_is_broken_sooner() -> None:
    """After the first event it is the interval that counts, from the beginning of each wait."""
    beats = Beats()
    watchdog = _watchdog(heartbeat=beats.every(0.05, first=60.0))
    with watchdog.on_duty():
        _hear(watchdog)
        began = time.monotonic()
        watchdog.wait()
        _silence(until=lambda: len(beats.times) == 2)
    assert beats.times[0] - began >= 0.05
    assert beats.times[1] - beats.times[0] >= 0.05


def test_each_event_begins_the_silence_anew() -> None:
    """No heartbeat comes sooner after an event than its interval, however long the stream goes on."""
    beats = Beats()
    heard: list[float] = []
    watchdog = _watchdog(heartbeat=beats.every(0.08))
    with watchdog.on_duty():
        _hear(watchdog)
        for pause in [0.02] * 10 + [0.2] * 3 + [0.02] * 10:
            heard.append(time.monotonic())
            watchdog.wait()
            time.sleep(pause)
            watchdog.hear()
    assert len(beats.times) >= 3, "after each of the longer silences"
    for beat in beats.times:
        assert beat - max(at for at in heard if at < beat) >= 0.08


def test_a_system_call_goes_on_after_a_heartbeat() -> None:
    """What waits for Bedrock gets its bytes as if nothing had been."""
    beats = Beats()
    ours, theirs = os.pipe()

    def answer() -> None:
        _silence(until=lambda: len(beats.times) == 3)
        os.write(theirs, b"at last")

    answering = threading.Thread(target=answer)
    watchdog = _watchdog(heartbeat=beats.every(0.03))
    with watchdog.on_duty():
        answering.start()
        watchdog.ask()
        assert os.read(ours, 100) == b"at last"
        watchdog.hear()
    answering.join()
    os.close(ours)
    os.close(theirs)


def test_a_heartbeat_is_not_sent_within_another() -> None:
    """One that takes longer than its interval, since its reader is slow, is not interrupted by the next."""
    depth = deepest = 0

    def slowly() -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        time.sleep(0.1)
        depth -= 1

    beats = Beats(slowly)
    watchdog = _watchdog(heartbeat=beats.every(0.02))
    with watchdog.on_duty():
        watchdog.ask()
        _silence(until=lambda: len(beats.times) == 3)
    assert deepest == 1


class Counting(Watchdog):
    """A watchdog that counts its alarms."""

    alarms = 0

    def _on_alarm(self, number: int, frame: object) -> None:
        self.alarms += 1
        super()._on_alarm(number, frame)


@pytest.mark.parametrize("acts", [[], ["ask", "rest"], ["ask", "listen", "wait", "hear"]], ids=len)
def test_nothing_happens_outside_of_a_wait(acts: list[str]) -> None:
    """While a piece is written no heartbeat gets into it and nothing ends it, though the alarm goes off."""
    beats = Beats()
    watchdog = Counting(deadline=NEVER, read_timeout=0.1, heartbeat=beats.every(0.01))
    with watchdog.on_duty():
        for act in acts:
            getattr(watchdog, act)()
        sent = len(beats.times)
        began = time.monotonic()
        _silence(until=lambda: watchdog.alarms > 5 and time.monotonic() > began + 0.15)
    assert len(beats.times) == sent


def test_a_deadline_that_passes_outside_of_a_wait_ends_the_next_one() -> None:
    """A piece is written whole; then there is no more time to wait, and the wait does not even begin."""
    watchdog = Counting(deadline=time.monotonic() + 0.02, read_timeout=NEVER)
    with watchdog.on_duty():
        _silence(until=lambda: watchdog.alarms > 5)
        for wait in (watchdog.wait, watchdog.ask):
            with pytest.raises(Interrupt) as caught:
                wait()
            assert _as_told(caught.value.error) == TIMEOUT
        seen = watchdog.alarms
        _silence(until=lambda: watchdog.alarms > seen + 2)  # and it was none: nothing ends it again


def _begin_answering(watchdog: Watchdog) -> list[Callable[[], None]]:
    return [lambda: _hear(watchdog), watchdog.wait]


def _begin_listening(watchdog: Watchdog) -> list[Callable[[], None]]:
    return [watchdog.ask, watchdog.rest, watchdog.listen, watchdog.wait]


def _begin_asking(watchdog: Watchdog) -> list[Callable[[], None]]:
    return [watchdog.ask]


def _begin_asking_another(watchdog: Watchdog) -> list[Callable[[], None]]:
    return [lambda: _hear(watchdog), watchdog.ask]


Begin: TypeAlias = "Callable[[Watchdog], list[Callable[[], None]]]"
BEGINNINGS = [_begin_asking, _begin_listening, _begin_answering, _begin_asking_another]


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_the_deadline_ends_any_wait(begin: Begin) -> None:
    """Wherever Bedrock is with its answer: when the time is over it is over, and not sooner."""
    began = time.monotonic()
    watchdog = _watchdog(within=0.15)
    error, _ = _ended(watchdog, *begin(watchdog))
    assert _as_told(error) == TIMEOUT
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("begin", [_begin_listening, _begin_answering])
def test_a_stall_ends_a_wait(begin: Begin) -> None:
    """Once Bedrock has taken the call, a silence that is too long ends it, and not sooner."""
    watchdog = _watchdog(read_timeout=0.15)
    error, seconds = _ended(watchdog, *begin(watchdog))
    assert _as_told(error) == STALL
    assert seconds >= 0.15


def test_a_silence_of_the_process_itself_is_no_stall() -> None:
    """Where it did not run for too long, what has come meanwhile is heard; the next silence may be the last again."""
    watchdog = _watchdog(read_timeout=0.1)
    ours, theirs = os.pipe()
    with watchdog.on_duty():
        _hear(watchdog)
        for piece in (b"one", b"two"):
            watchdog.wait()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(0.15)
            os.write(theirs, piece)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
            assert os.read(ours, 100) == piece
            watchdog.hear()
        began = time.monotonic()
        watchdog.wait()
        with pytest.raises(Interrupt) as caught:
            os.read(ours, 100)
        watchdog.rest()
    assert _as_told(caught.value.error) == STALL
    assert time.monotonic() - began >= 0.1
    os.close(ours)
    os.close(theirs)


def test_an_answer_that_is_complete_is_not_waited_for() -> None:
    """Its connection has a moment to be closed, however long a silence may be otherwise."""
    for read_timeout, at_least in ((NEVER, 0.99), (0.05, 0.05)):
        watchdog = _watchdog(read_timeout=read_timeout, heartbeat=Beats().every(60.0))
        error, seconds = _ended(watchdog, *_begin_answering(watchdog), watchdog.expect_no_more)
        assert _as_told(error) == STALL
        assert at_least <= seconds < PATIENCE / 2


@pytest.mark.parametrize("begin", [_begin_asking, _begin_asking_another])
def test_a_call_may_take_longer(begin: Begin) -> None:
    """While a model is asked, the first or another one, boto3 waits, and knows how often it tries: that is no stall."""
    watchdog = _watchdog(within=0.3, read_timeout=0.05)
    error, _ = _ended(watchdog, *begin(watchdog))
    assert _as_told(error) == TIMEOUT


def test_another_model_is_waited_for_as_the_first_one_was() -> None:
    """After a refusal in a first event the first heartbeat has its own time again: it is not early, and not missed."""
    beats = Beats()
    began = time.monotonic()
    watchdog = _watchdog(heartbeat=beats.every(60.0, first=0.3))
    with watchdog.on_duty():
        _hear(watchdog)
        watchdog.ask()
        _silence(until=lambda: len(beats.times) == 1)
    assert beats.times[0] - began >= 0.3
    watchdog = _watchdog(within=0.3, heartbeat=beats.every(0.02, first=60.0))
    error, _ = _ended(watchdog, *_begin_asking_another(watchdog))
    assert _as_told(error) == TIMEOUT
    assert len(beats.times) == 1


@pytest.mark.parametrize(
    ("begin", "within", "end"),
    [(_begin_answering, NEVER, STALL), (_begin_asking, 0.5, TIMEOUT)],
    ids=["stall", "deadline"],
)
def test_heartbeats_do_not_put_off_the_end(begin: Begin, within: float, end: Any) -> None:
    """A silence is broken as long as it is borne, and ends when it would have without."""
    beats = Beats()
    began = time.monotonic()
    watchdog = _watchdog(within=within, read_timeout=0.5, heartbeat=beats.every(0.04))
    error, _ = _ended(watchdog, *begin(watchdog))
    seconds = time.monotonic() - began
    assert _as_told(error) == end
    assert 1 <= len(beats.times) <= seconds / 0.04
    assert 0.5 <= seconds < PATIENCE


class CallerGone(Exception):
    """What a heartbeat finds out."""


def test_a_heartbeat_that_fails_ends_the_wait() -> None:
    """With its very exception, once, and before anything else comes of the wait."""

    def fail() -> None:
        raise CallerGone

    beats = Beats(fail)
    watchdog = Counting(deadline=NEVER, read_timeout=NEVER, heartbeat=beats.every(0.02))
    with watchdog.on_duty():
        watchdog.ask()
        with pytest.raises(Interrupt) as caught:
            _silence()
        watchdog.rest()
        seen = watchdog.alarms
        _silence(until=lambda: watchdog.alarms > seen + 2)
    assert type(caught.value.error) is CallerGone
    assert len(beats.times) == 1


@pytest.mark.parametrize("within", [0.05, NEVER])
def test_no_library_takes_an_interrupt_for_its_own(within: float) -> None:
    """What catches every exception, to translate it or to try again, does not catch this."""

    def translated() -> None:
        try:
            _silence()
        except Exception as error:
            raise OSError("the connection broke") from error

    watchdog = _watchdog(within=within, read_timeout=0.05)
    error, _ = _ended(watchdog, *_begin_answering(watchdog), translated)
    assert isinstance(error, RelayError)


@pytest.mark.parametrize("error", [None, KeyError(), Interrupt(KeyError())], ids=repr)
def test_the_signal_is_left_as_it_was(error: BaseException | None) -> None:
    """Whoever used it before has the handler back, however it ended, and no alarm of ours."""
    rung: list[int] = []
    theirs = lambda number, _: rung.append(number)  # noqa: E731  # one of their own
    before = signal.signal(signal.SIGALRM, theirs)
    try:
        with suppress(KeyError, Interrupt), _watchdog(within=0.01).on_duty():
            assert signal.getsignal(signal.SIGALRM) is not theirs
            time.sleep(0.03)
            if error is not None:
                raise error
        assert signal.getsignal(signal.SIGALRM) is theirs
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        time.sleep(0.1)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung == []


@pytest.mark.parametrize("spent", [0.0, 0.3])
def test_another_timer_goes_on_where_it_was(spent: float) -> None:
    """One that somebody else has set goes off when it would have, or at once if that has passed, and then again."""
    rung: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.05)
    try:
        with _watchdog().on_duty():
            time.sleep(spent)
            assert rung == [], "it is ours meanwhile"
        _silence(until=lambda: len(rung) == 2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung[0] - began >= max(0.2, spent)
    assert rung[1] - rung[0] >= 0.04


@pytest.mark.parametrize("within", [-5.0, 0.0, 1e-9, 1e9, NEVER])
@pytest.mark.parametrize("read_timeout", [1e-9, NEVER])
def test_the_timer_always_runs(within: float, read_timeout: float) -> None:
    """Neither no time at all, which would stop it, nor more than a timer can take."""
    watchdog = _watchdog(within=within, read_timeout=read_timeout)
    with watchdog.on_duty():
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 3600
        watchdog.listen()
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 3600


def test_in_another_thread_there_is_no_signal() -> None:
    """There heartbeats and stalls stay away and the signal is not touched; a deadline still ends the next wait."""
    beats = Beats()
    seen: list[Any] = []

    def work() -> None:
        watchdog = _watchdog(within=0.2, read_timeout=0.01, heartbeat=beats.every(0.01))
        with watchdog.on_duty():
            seen.append(signal.getsignal(signal.SIGALRM))
            seen.append(signal.getitimer(signal.ITIMER_REAL))
            _hear(watchdog)
            watchdog.wait()
            time.sleep(0.3)
            watchdog.hear()
            try:
                watchdog.wait()
            except Interrupt as interrupt:
                seen.append(_as_told(interrupt.error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL, (0.0, 0.0), TIMEOUT]
    assert beats.times == []


def test_off_duty_nothing_is_watched() -> None:
    """Before and after its time the watchdog is a clock alone."""
    beats = Beats()
    watchdog = _watchdog(read_timeout=0.01, heartbeat=beats.every(0.01))
    for _ in range(2):
        _hear(watchdog)
        watchdog.wait()
        time.sleep(0.05)
        watchdog.rest()
        with watchdog.on_duty():
            pass
    assert beats.times == []


def test_an_interrupt_that_gets_lost_is_raised_again() -> None:
    """Raised in a finaliser it goes nowhere: the wait is ended all the same, a little later."""

    class Finalised:
        def __del__(self) -> None:
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                pass

    lost: list[Any] = []
    watchdog = Watchdog(deadline=time.monotonic() + 0.05, read_timeout=NEVER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lost.append)
        with watchdog.on_duty():
            watchdog.ask()
            Finalised()
            assert len(lost) == 1
            with pytest.raises(Interrupt):
                time.sleep(5)
            watchdog.rest()


@pytest.mark.parametrize("due", ["heartbeat", "stall", "deadline"])
def test_what_falls_due_while_the_timer_is_set_is_not_put_off(due: str) -> None:
    """The clock goes on between a look, which comes a moment too soon, and the next alarm: it is not far away."""
    now = 1000.0
    alarms: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(monotonic=lambda: now)
        patch.setattr(watchdog_module, "time", clock)
        patch.setattr(signal, "setitimer", lambda _, seconds, *__: alarms.append(seconds))
        watchdog = Watchdog(
            deadline=now + (5 if due == "deadline" else NEVER),
            read_timeout=5 if due == "stall" else NEVER,
            heartbeat=Heartbeat(lambda: None, 5, 5) if due == "heartbeat" else None,
        )
        with watchdog.on_duty():
            watchdog.listen()
            watchdog.wait()
            times = iter([1004.999999, 1005.000001])
            clock.monotonic = lambda: next(times)
            watchdog._on_alarm(signal.SIGALRM, None)
            assert alarms[-1] <= 0.001
            clock.monotonic = lambda: now
            watchdog.rest()

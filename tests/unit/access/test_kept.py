from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from access.kept import Kept, Unreadable
from relay.errors import AccessError

if TYPE_CHECKING:
    from tests.unit.access.conftest import Clock

MAX_AGE, GRACE, PAUSE = 60, 900, 5


class Source:
    """Where a set of words is read from; ``None`` for what cannot be read."""

    def __init__(self, *words: str) -> None:
        self.words: set[str] | None = set(words)
        self.readings = 0

    def read(self) -> frozenset[str]:
        self.readings += 1
        if self.words is None:
            raise Unreadable("Gone")
        return frozenset(self.words)


def has(kept: Kept[frozenset[str]], word: str) -> bool:
    return kept.find(lambda words: word if word in words else None) is not None


@pytest.fixture
def source() -> Source:
    return Source("old")


@pytest.fixture
def words(source: Source, clock: Clock, logged: list[Any]) -> Kept[frozenset[str]]:
    del clock, logged
    return Kept("the words", source.read, max_age=MAX_AGE, grace=GRACE, pause=PAUSE)


def test_it_is_read_once_while_it_is_young(
    words: Kept[frozenset[str]], source: Source, clock: Clock
) -> None:
    """What is in it is found in what was read before, until that is too old."""
    for _ in range(3):
        assert has(words, "old")
        clock.now += MAX_AGE / 3
    assert source.readings == 1
    clock.now += 1
    assert has(words, "old")
    assert source.readings == 2


def test_what_is_not_in_it_is_looked_for_anew_once_in_a_while(
    words: Kept[frozenset[str]], source: Source, clock: Clock
) -> None:
    """Something new is found at once, and whoever invents things causes no more than a reading a pause."""
    assert has(words, "old")
    clock.now += PAUSE
    source.words = {"old", "new"}
    assert has(words, "new")
    assert source.readings == 2
    for _ in range(100):
        assert not has(words, "invented")
    assert source.readings == 2
    clock.now += PAUSE
    assert not has(words, "invented")
    assert source.readings == 3


def test_what_is_taken_out_is_not_found_when_it_is_too_old(
    words: Kept[frozenset[str]], source: Source, clock: Clock
) -> None:
    """It is found no longer than the age for which it is kept."""
    assert has(words, "old")
    source.words = set()
    clock.now += MAX_AGE
    assert has(words, "old")
    clock.now += 0.1
    assert not has(words, "old")


def test_it_serves_on_for_a_time_while_it_cannot_be_read(
    words: Kept[frozenset[str]], source: Source, clock: Clock, logged: list[Any]
) -> None:
    """What was known goes on being known, what was not is not denied, and after the grace nobody can tell."""
    assert has(words, "old")
    source.words = None
    clock.now += MAX_AGE + 1
    assert has(words, "old")
    assert logged == [("cannot read the words", "Gone")]
    with pytest.raises(AccessError) as caught:
        has(words, "new")
    assert (caught.value.status, caught.value.code) == (503, "access_unavailable")
    assert caught.value.headers["retry-after"] == "30"  # when it is read again
    assert isinstance(caught.value.__cause__, Unreadable)
    clock.now += GRACE - 1
    assert has(words, "old")
    clock.now += 0.1
    with pytest.raises(AccessError) as caught:
        has(words, "old")
    assert caught.value.status == 503
    source.words = {"old"}
    clock.now += 30
    assert has(words, "old")


def test_what_is_young_denies_what_is_not_in_it_though_it_cannot_be_read(
    words: Kept[frozenset[str]], source: Source, clock: Clock
) -> None:
    """A failure to read it again makes nothing of what was read just before doubtful."""
    assert has(words, "old")
    source.words = None
    clock.now += PAUSE
    assert not has(words, "new")


def test_a_failure_keeps_few_waiting(
    words: Kept[frozenset[str]], source: Source, clock: Clock
) -> None:
    """While it serves, a reading that fails is tried again after half a minute; while it cannot, after a pause."""
    source.words = None
    for _ in range(3):
        with pytest.raises(AccessError):
            has(words, "old")
    assert source.readings == 1
    clock.now += PAUSE
    source.words = {"old"}
    assert has(words, "old")
    source.words = None
    clock.now += MAX_AGE + 1
    for _ in range(29):
        assert has(words, "old")
        clock.now += 1
    assert source.readings == 3
    clock.now += 2
    assert has(words, "old")
    assert source.readings == 4


def test_a_clock_that_is_put_back_makes_nothing_younger(
    words: Kept[frozenset[str]], source: Source, clock: Clock
) -> None:
    """What seems to be of the future is read anew."""
    assert has(words, "old")
    source.words = set()
    clock.now -= 1000
    assert not has(words, "old")


def test_an_age_that_is_shorter_than_the_pause_counts(source: Source, clock: Clock) -> None:
    """Nothing is taken for longer than it may be, because it was read just before."""
    words = Kept("the words", source.read, max_age=1, grace=GRACE, pause=PAUSE)
    assert has(words, "old")
    source.words = set()
    clock.now += 1.1
    assert not has(words, "old")


def test_it_is_forgotten(words: Kept[frozenset[str]], source: Source) -> None:
    """After that it is as new; a lock that somebody else held is not waited for."""
    assert has(words, "old")
    words._lock.acquire()
    words.forget()
    source.words = {"new"}
    assert not has(words, "old")
    assert source.readings == 2


def test_threads_that_ask_at_once_read_once(words: Kept[frozenset[str]], source: Source) -> None:
    """Whoever comes while it is read waits for that."""
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(has(words, "old"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 8
    assert source.readings == 1


def test_who_asks_first_after_a_failed_refresh_tries_again(
    words: Kept[frozenset[str]], source: Source
) -> None:
    """A start that came too early for what is read costs nobody an answer."""
    source.words = None
    words.refresh()
    source.words = {"old"}
    assert has(words, "old")

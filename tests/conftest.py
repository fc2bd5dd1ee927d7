"""What all tests share: for how long those at random go on, who keeps company with whom, what coverage may hold."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from _pytest.nodeid import NodeId
from hypothesis import settings

if TYPE_CHECKING:
    import pytest

# How long an example takes is the machine's business.
settings.register_profile("usual", deadline=None, max_examples=40)
settings.load_profile("usual")
settings.register_profile("quick", deadline=None, max_examples=20)
# `--hypothesis-profile long`: tests/unit/relay/test_fuzz.py then takes some ten minutes instead of some seconds.
settings.register_profile("long", deadline=None, max_examples=6_000, print_blob=True)


def pytest_configure() -> None:
    """Take coverage's lock away: taken when the watchdog interrupts a wait, it would never be given back."""
    coverage = sys.modules.get("coverage")
    measuring = coverage and coverage.Coverage.current()
    if measuring:
        measuring._collector.data_lock = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of an ``xdist_group`` run one after the other.

    pytest-xdist 3.8 says so in a name that pytest 9.2 does not read any more.
    """
    for item in items:
        for mark in item.iter_markers("xdist_group"):
            group = f"@{mark.args[0]}"
            if not item.nodeid.endswith(group):
                item._id = NodeId.parse(item.nodeid + group)

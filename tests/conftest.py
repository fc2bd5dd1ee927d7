"""What all tests share: how long those that draw their examples at random go on, and who keeps company with whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _pytest.nodeid import NodeId
from hypothesis import settings

if TYPE_CHECKING:
    import pytest

# How long an example takes is the machine's business.
settings.register_profile("usual", deadline=None, max_examples=60)
settings.load_profile("usual")
settings.register_profile("quick", deadline=None, max_examples=20)
# `--hypothesis-profile long`: tests/unit/relay/test_fuzz.py then takes some ten minutes instead of some seconds.
settings.register_profile("long", deadline=None, max_examples=6_000, print_blob=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of an ``xdist_group`` run one after the other.

    pytest-xdist 3.8 says so in a name that pytest 9.2 does not read any more.
    """
    for item in items:
        for mark in item.iter_markers("xdist_group"):
            group = f"@{mark.args[0]}"
            if not item.nodeid.endswith(group):
                item._id = NodeId.parse(item.nodeid + group)

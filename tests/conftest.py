"""What all tests share: how long those that draw their examples at random go on doing so."""

from __future__ import annotations

from hypothesis import settings

# `--hypothesis-profile long`: tests/unit/relay/test_fuzz.py then takes some ten minutes instead of some seconds.
settings.register_profile("long", max_examples=6_000, print_blob=True)

"""What all tests share: how long those that draw their examples at random go on doing so."""

from __future__ import annotations

from hypothesis import settings

# For `--hypothesis-profile long`: some ten minutes of fuzzing instead of some seconds.
settings.register_profile("long", max_examples=20_000, print_blob=True)

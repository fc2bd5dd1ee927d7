"""SnapStart: many environments are restored from one snapshot, each at some later time.

What they must not have in common, or is too old by then, is made anew in each, before its first request. Everything
else is made by a request for itself: ids come from Lambda or from the system's random numbers, times from the clocks.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def renew_after_restore(*renewals: Callable[[], None]) -> None:
    """Have these called, in this order, when an environment is restored from a snapshot; without SnapStart, never.

    One that fails ends the environment, and Lambda tells why. Python's own random numbers begin anew with them: they
    decide how long botocore waits before it tries again, and whole fleets should not do so at once.
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    # What awslambdaric finds its hooks in; without SnapStart it imports it as little.
    from snapshot_restore_py import register_after_restore  # noqa: PLC0415

    for renewal in (random.seed, *renewals):
        register_after_restore(renewal)

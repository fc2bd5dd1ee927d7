"""How a check ends: it returns what was seen where that is right, and raises one of these otherwise."""

from __future__ import annotations


class Wrong(Exception):
    """What was seen is not what should be."""


class Skipped(Exception):
    """The check could not be made; the message says why, and what it takes."""

"""What AWS fails with, in words that are fit for a log."""

# ruff: noqa: TID251  # botocore's errors

from __future__ import annotations

from botocore.exceptions import ClientError


def cause_of(error: BaseException | None) -> str:
    """Return what has failed, without its own words: they name the account and what is in it."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__

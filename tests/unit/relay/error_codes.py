"""Every code that the function can give an error, and an error of each that callers can be told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from botocore.exceptions import NoRegionError  # noqa: TID251  # a deployment's own fault

from relay import bedrock_errors, errors
from relay.errors import RelayError

_SOURCE = "".join(path.read_text() for path in Path(errors.__file__).parents[1].rglob("*.py"))
# What is wrong with a request, and a bug, have their codes where they are raised.
_RAISED = dict(re.findall(r'\w+Error\(\s*(?=\d{3},\s*"(\w+)")(\d{3})', _SOURCE))


def codes() -> set[str]:
    """Return those of the tables, and those in the source's words."""
    tables = {*errors._TRANSPORT, *errors._LIMITS, *errors._ACCESS, errors._NAMELESS}
    bedrocks = {errors.bedrock_error(name).code for name in errors._EXCEPTIONS}
    failures = {code for _, code in bedrock_errors._FAILURES}
    named = re.findall(r'\w+_error\(\s*"([a-z_]+)"', _SOURCE)
    return tables | bedrocks | failures | {*_RAISED, *named, "caller_gone"}


def told() -> dict[str, RelayError]:
    """Return an error of each code, as the function makes it; a caller that has gone is told none."""
    with pytest.raises(RelayError) as misconfigured, bedrock_errors.told_apart():
        raise NoRegionError
    made = [
        *map(errors.transport_error, errors._TRANSPORT),
        *map(errors.limit_error, errors._LIMITS),
        *map(errors.access_error, errors._ACCESS),
        *map(errors.bedrock_error, ("", *errors._EXCEPTIONS)),
        *(RelayError(int(status), code, "") for code, status in _RAISED.items()),
        misconfigured.value,
        errors.budget_error(1, "midnight", 1),
    ]
    return {error.code: error for error in made}

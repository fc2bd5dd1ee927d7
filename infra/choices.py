"""How a single choice is read: from what someone typed or what JSON wrote to a checked value.

A reader takes an object and returns the value, or raises a `ValueError` that says what it expected;
`infra.config` adds the key and what came.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from infra.cdk_tokens import ANY, is_list
from infra.shipped import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

# What CloudWatch Logs can keep, in days, by the names that CDK gives them.
RETENTION = {
    1: "ONE_DAY",
    3: "THREE_DAYS",
    5: "FIVE_DAYS",
    7: "ONE_WEEK",
    14: "TWO_WEEKS",
    30: "ONE_MONTH",
    60: "TWO_MONTHS",
    90: "THREE_MONTHS",
    120: "FOUR_MONTHS",
    150: "FIVE_MONTHS",
    180: "SIX_MONTHS",
    365: "ONE_YEAR",
    400: "THIRTEEN_MONTHS",
    545: "EIGHTEEN_MONTHS",
    731: "TWO_YEARS",
    1096: "THREE_YEARS",
    1827: "FIVE_YEARS",
    2192: "SIX_YEARS",
    2557: "SEVEN_YEARS",
    2922: "EIGHT_YEARS",
    3288: "NINE_YEARS",
    3653: "TEN_YEARS",
}


_settings = load("relay.settings")
Settings: Any = _settings.Settings
AUTH: tuple[str, ...] = _settings.AUTH
FRONT_DOORS = ("url", "cloudfront", "api-gateway")

# Of the function's settings those that are choices by themselves, or follow from one.
_CHOSEN_ELSEWHERE = {
    *("model_ids", "copied_from", "model_aliases", "fallback_model_ids", "log_content"),
    *("system_tools", "s3_uris"),
    *("auth", "api_keys_secret", "jwt_issuer", "jwt_audience", "jwt_scopes", "jwt_jwks_url"),
    *("daily_tokens", "budget_table", "cors_origins"),
}
SETTINGS = tuple(
    setting.name for setting in fields(Settings) if setting.name not in _CHOSEN_ELSEWHERE
)


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """Read a whole number within bounds."""

    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and value.isdecimal() else value
        if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
            return number
        raise ValueError(f"expected a whole number from {low} to {high}")

    return read


def number(above: float, high: float) -> Callable[[object], float]:
    """Read a number above a bound and at most another."""

    def read(value: object) -> float:
        with suppress(ValueError):
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                amount = float(value)
                if math.isfinite(amount) and above < amount <= high:
                    return amount
        raise ValueError(f"expected a number above {above:g} and at most {high:g}")

    return read


def one_of(*choices: T) -> Callable[[object], T]:
    """Read one of these, or its text."""
    by_text = {str(choice): choice for choice in choices}

    def read(value: object) -> T:
        if not isinstance(value, bool) and str(value) in by_text:
            return by_text[str(value)]
        raise ValueError(f"expected one of {', '.join(by_text)}")

    return read


def boolean(value: object) -> bool:
    """Read true or false, JSON's own or typed."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):  # Python writes True
        return value.lower() == "true"
    raise ValueError("expected true or false")


def text(pattern: str, expected: str, *, optional: bool = False) -> Callable[[object], str]:
    """Read a text that is all of one pattern, or nothing where that is a choice, too."""

    def read(value: object) -> str:
        if isinstance(value, str) and (re.fullmatch(pattern, value) or (optional and not value)):
            return value
        raise ValueError(f"expected {expected}")

    return read


def resource(pattern: str, expected: str) -> Callable[[object], str]:
    """Read a text as `text` does, nothing, or what CDK fills in: a resource may be made in the same app."""
    return text(rf"(?:{pattern})|(?:{ANY})+", expected, optional=True)


def texts(
    check: Callable[[str], object], *, least: int = 0, most: int = 1000
) -> Callable[[object], tuple[str, ...]]:
    """Read a list, typed as `a,b` or written as JSON's own, each of its items checked."""

    def read(value: object) -> tuple[str, ...]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ValueError("expected a list, or a text with commas between its items")  # noqa: TRY004  every wrong value is a ValueError here
        listed = tuple(str(item).strip() for item in items if str(item).strip())
        if len(listed) < least:
            raise ValueError(f"expected at least {least} item")
        if len(set(listed)) < len(listed):
            raise ValueError("expected no item twice")
        if len(listed) > most:
            raise ValueError(f"expected at most {most} items")
        for item in listed:
            if is_list(item):
                raise ValueError("expected items, not a list whose items only CDK will know")
            try:
                check(item)
            except ValueError as error:
                which = f", not {item!r}" if len(listed) > 1 else ""
                raise ValueError(f"{error}{which}") from None
        return listed

    return read


def setting(item: str) -> None:
    """Check one of the function's settings, written as `name=value`, as the function itself will."""
    name, equals, value = item.partition("=")
    if not equals or name not in SETTINGS:
        raise ValueError(f"expected name=value with a name out of {', '.join(SETTINGS)}")
    try:
        function_settings({name: value})
    except ValueError as error:
        _, _, said = str(error).partition(": ")
        raise ValueError(f"{name}: {said.rpartition(', got')[0]}") from None


def alias(item: str) -> None:
    """Check the form of an alias; whether its model is one of the deployment's is checked with those."""
    name, equals, model = item.partition("=")
    if not (name.strip() and equals and model.strip()):
        raise ValueError("expected name=model")


def audience(item: str) -> None:
    """Check an audience: the function is told them with commas in between."""
    if not re.fullmatch(r"[!-+\--~]{1,300}", item):
        raise ValueError("expected audiences without spaces and commas")


def scope(item: str) -> None:
    """Check a scope, which is RFC 6749's token less the comma."""
    if not re.fullmatch(r"[!#-+\--\[\]-~]{1,200}", item):
        raise ValueError("expected scopes without spaces, commas, quotes and backslashes")


def function_settings(chosen: Mapping[str, str]) -> Any:
    """Return the settings as the function will read them from its environment.

    Raises:
        ValueError: one is not what the function needs.
    """
    variables = {f"RIVULET_{name.upper()}": value for name, value in chosen.items()}
    return Settings.from_environment({"RIVULET_MODEL_IDS": "any", **variables})

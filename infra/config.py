"""The choices of a deployment: one frozen dataclass, its defaults safe, each value checked.

`app.py` reads them from CDK context (`cdk.json`, `-c key=value`), where a value is the string that
someone typed or JSON's own number, boolean or list. Someone who uses the construct in a stack of
their own makes a `Config` directly; the same checks run.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from infra import bedrock_access, cors
from infra.package import SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

# Amazon's own models need no subscription and no form, and a global profile is callable from
# regions all over the world: the least that can stand between a new account and its first answer.
# In return any commercial region may serve a request; docs/deploy.md says how to stay at home.
DEFAULT_MODEL_ID = "global.amazon.nova-2-lite-v1:0"

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


def _load_settings() -> Any:
    """Return the class that the function reads its settings with, although nothing here is on its path."""
    path = SOURCE / "relay" / "settings.py"
    spec = importlib.util.spec_from_file_location("rivulet_settings", path)
    assert spec is not None  # noqa: S101  # for the type checker: it is a file
    assert spec.loader is not None  # noqa: S101  # as above
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Settings


_Settings = _load_settings()
# Those that are no choices by themselves.
SETTINGS = tuple(
    setting.name
    for setting in fields(_Settings)
    if setting.name
    not in {"model_ids", "copied_from", "model_aliases", "fallback_model_ids", "log_content"}
)


class ConfigError(ValueError):
    """A choice that cannot be: which key, what was expected, what came."""


def _whole_number(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and value.isdecimal() else value
        if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
            return number
        raise ValueError(f"expected a whole number from {low} to {high}")

    return read


def _one_of(*choices: T) -> Callable[[object], T]:
    by_text = {str(choice): choice for choice in choices}

    def read(value: object) -> T:
        if not isinstance(value, bool) and str(value) in by_text:
            return by_text[str(value)]
        raise ValueError(f"expected one of {', '.join(by_text)}")

    return read


def _boolean(value: object) -> bool:
    if value in ("true", "false"):
        return value == "true"
    if isinstance(value, bool):
        return value
    raise ValueError("expected true or false")


def _name(pattern: str, expected: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return value
        raise ValueError(f"expected {expected}")

    return read


def _texts(check: Callable[[str], object], *, least: int) -> Callable[[object], tuple[str, ...]]:
    """Read a list, typed as `a,b` or written as JSON's own, each of its items checked."""

    def read(value: object) -> tuple[str, ...]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ValueError("expected a list, or a text with commas between its items")  # noqa: TRY004  every wrong value is a ValueError here
        texts = tuple(str(item).strip() for item in items if str(item).strip())
        if len(texts) < least or len(set(texts)) < len(texts):
            raise ValueError(f"expected at least {least}, none of them twice")
        for text in texts:
            try:
                check(text)
            except ValueError as error:
                raise ValueError(f"{error}, not {text!r}") from None
        return texts

    return read


def _setting(text: str) -> None:
    """Check one of the function's settings, written as `name=value`, as the function itself will."""
    name, equals, value = text.partition("=")
    if not equals or name not in SETTINGS:
        raise ValueError(f"expected name=value with a name out of {', '.join(SETTINGS)}")
    function_settings({name: value})


def _alias(text: str) -> None:
    """Check the form of an alias; whether its model is one of the deployment's is checked with those."""
    name, equals, model = text.partition("=")
    if not (name.strip() and equals and model.strip()):
        raise ValueError("expected name=model")


def function_settings(chosen: Mapping[str, str]) -> Any:
    """Return the settings as the function will read them from its environment.

    Raises:
        ValueError: one is not what the function needs.
    """
    variables = {f"RIVULET_{name.upper()}": text for name, text in chosen.items()}
    return _Settings.from_environment({"RIVULET_MODEL_IDS": "any", **variables})


def _choice(default: T, read: Callable[[object], T]) -> T:
    chosen: T = field(default=default, metadata={"read": read})
    return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A deployment's choices. docs/deploy.md explains each to the person who deploys.

    Raises:
        ConfigError: a value is not what its key needs.
    """

    stack_name: str = _choice(
        "Rivulet", _name(r"[A-Za-z][A-Za-z0-9-]{0,127}", "letters, digits and '-', a letter first")
    )
    # The first is what a request gets that names no model.
    model_ids: tuple[str, ...] = _choice((DEFAULT_MODEL_ID,), _texts(bedrock_access.model, least=1))
    # Names that clients insist on, written as `name=model`; a model is named as the function is called with it.
    model_aliases: tuple[str, ...] = _choice((), _texts(_alias, least=0))
    # They answer where the model that was asked for is busy. Callers need not be allowed to name them.
    fallback_model_ids: tuple[str, ...] = _choice((), _texts(bedrock_access.model, least=0))
    guardrail_ids: tuple[str, ...] = _choice((), _texts(bedrock_access.guardrail_arn, least=0))
    # Browsers on these may call the URL; on none, where it is empty.
    cors_origins: tuple[str, ...] = _choice((), _texts(cors.origin, least=0))
    architecture: str = _choice("arm64", _one_of("arm64", "x86_64"))
    # The work is waiting, and waiting is billed by memory. Lambda gives CPU in proportion to it:
    # 256 MB holds the process (about 55 MB) and makes its 0.3 s of start-up last 2 s at worst.
    memory_mb: int = _choice(256, _whole_number(128, 10_240))
    # Lambda's longest: only the model decides how long an answer is, and one that is cut short was
    # paid for all the same. What hangs is ended long before, by the relay's own watchdogs.
    timeout_seconds: int = _choice(900, _whole_number(10, 900))
    # The function's own, by their names there: `settings_by_name` is the same as a mapping.
    settings: tuple[str, ...] = _choice((), _texts(_setting, least=0))
    log_level: str = _choice("INFO", _one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    log_content: bool = _choice(default=False, read=_boolean)
    log_retention_days: int = _choice(30, _one_of(*RETENTION))
    retain_logs: bool = _choice(default=False, read=_boolean)
    service_name: str = _choice(
        "rivulet", _name(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, '_', '.' and '-'")
    )
    metrics_namespace: str = _choice(
        "Rivulet", _name(r"(?!AWS/)[A-Za-z0-9_./#:-]{1,255}", "a CloudWatch namespace outside AWS/")
    )

    def __post_init__(self) -> None:
        """Read every value, so that a `Config` made by hand is checked as one from context is."""
        for choice in fields(self):
            value = getattr(self, choice.name)
            try:
                object.__setattr__(self, choice.name, choice.metadata["read"](value))
            except ValueError as error:
                raise ConfigError(f"{choice.name}: {error}; got {value!r}") from None
        try:
            _Settings.from_environment(
                {
                    "RIVULET_MODEL_IDS": ",".join(self.called_model_ids),
                    "RIVULET_MODEL_ALIASES": ",".join(self.model_aliases),
                }
            )
        except ValueError as error:
            _, _, message = str(error).partition(": ")
            message = message.replace("RIVULET_MODEL_IDS", "model_ids")
            raise ConfigError(f"model_aliases: {message}") from None
        if len(self.settings_by_name) < len(self.settings):
            raise ConfigError(f"settings: expected each name once; got {self.settings!r}")
        margin = function_settings(self.settings_by_name).deadline_margin
        if margin > self.timeout_seconds / 2:
            raise ConfigError(
                "settings: expected a deadline_margin of at most half of timeout_seconds, "
                f"which is {self.timeout_seconds}; got {margin:g}"
            )

    @property
    def called_model_ids(self) -> tuple[str, ...]:
        """The models as Bedrock is called with them: without what an application profile was copied from."""
        return tuple(bedrock_access.model(text).model_id for text in self.model_ids)

    @property
    def settings_by_name(self) -> dict[str, str]:
        """The function's settings that were chosen; the others keep the function's defaults."""
        return dict(text.split("=", 1) for text in self.settings)

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Config:
        """Take the choices out of CDK's context, of which the rest belongs to CDK.

        CDK's own keys all have a ':' or a '/' in them, so any other is meant for this app, as is one
        that someone prefixed with its name; one that is not known is a slip, not to be passed over.

        Raises:
            ConfigError: a key is not known, or its value is not what it needs.
        """
        keys = [choice.name for choice in fields(cls)]
        theirs = re.compile(r"(?!rivulet).*[:/]")
        ours = {key: value for key, value in context.items() if not theirs.match(key)}
        for key in ours:
            if key not in keys:
                near = get_close_matches(key, keys, n=1)
                expected = (
                    f"did you mean {near[0]}?" if near else f"expected one of {', '.join(keys)}"
                )
                raise ConfigError(f"unknown context key; {expected}; got {key!r}")
        return cls(**ours)

"""How choices fit together: what one makes necessary, impossible or meaningless of the others.

A choice that another one would leave without any effect is refused rather than passed over: whoever
made it means it to do something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra import prices
from infra.cdk_tokens import LONGEST, TOKEN, longest
from infra.choices import Settings, function_settings
from infra.environment import LARGEST, environment, size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.config import Config


class ConfigError(ValueError):
    """A choice that cannot be: which key, what was expected, what came."""


# key: another key, and its values of which one has to be chosen for the first to do anything
_ONLY_WITH: Mapping[str, tuple[str, tuple[object, ...]]] = {
    "api_keys_secret": ("auth", ("api-key",)),
    "jwt_issuer": ("auth", ("jwt",)),
    "jwt_audience": ("auth", ("jwt",)),
    "jwt_scopes": ("auth", ("jwt",)),
    "jwt_jwks_url": ("auth", ("jwt",)),
    "domain_name": ("front_door", ("cloudfront", "api-gateway")),
    "certificate_arn": ("front_door", ("cloudfront", "api-gateway")),
    "web_acl_arn": ("front_door", ("cloudfront", "api-gateway")),
    "access_logs": ("front_door", ("api-gateway",)),
    "alarm_topic_arn": ("alarms", (True,)),
    "alarm_error_percent": ("alarms", (True,)),
    "alarm_first_token_seconds": ("alarms", (True,)),
    "alarm_spend_per_hour": ("alarms", (True,)),
}

# Seconds without a byte after which a front door gives a stream up: CloudFront's longest without a
# raised quota, and what a regional REST API has (facts 42 and 48).
LONGEST_SILENCE = {"cloudfront": 120, "api-gateway": 300}


def check(config: Config, defaults: Mapping[str, object]) -> None:
    """Check all choices against each other.

    Args:
        config: the choices, each of which is right by itself.
        defaults: what each key is if nobody chooses it.

    Raises:
        ConfigError: two of them do not go together, or one lacks another.
    """
    for key, (other, values) in _ONLY_WITH.items():
        if getattr(config, key) != defaults[key] and getattr(config, other) not in values:
            needed = " or ".join(f"{other}={_typed(value)}" for value in values)
            _refuse(key, f"it only with {needed}", getattr(config, key))
    _models(config)
    _settings(config)
    _ways_in(config)
    _front_door(config)
    _capacity(config)
    _environment(config)


def _models(config: Config) -> None:
    """Check what profiles were copied from, the names for models in the function's own words, and prices."""
    sources: dict[str, str] = {}
    for key in ("model_ids", "fallback_model_ids"):
        for model, _, source in (text.partition("=") for text in getattr(config, key)):
            if sources.setdefault(model, source) != source:
                expected = (
                    f"each profile with one model that it was copied from, not {model!r} with two"
                )
                _refuse(key, expected, getattr(config, key))
    called = ",".join(config.called_model_ids)
    try:
        Settings.from_environment(
            {
                "RIVULET_MODEL_IDS": called,
                "RIVULET_MODEL_ALIASES": ",".join(config.model_aliases),
            }
        )
    except ValueError as error:
        _, _, message = str(error).partition(": ")
        message = message.replace("RIVULET_MODEL_IDS", "model_ids")
        raise ConfigError(f"model_aliases: {message}") from None
    priced = [prices.price(item).model for item in config.prices]
    if len(set(priced)) < len(priced):
        _refuse("prices", "each model once", config.prices)


def _settings(config: Config) -> None:
    chosen = config.settings_by_name
    if len(chosen) < len(config.settings):
        _refuse("settings", "each name once", config.settings)
    margin = function_settings(chosen).deadline_margin
    if margin > config.timeout_seconds / 2:
        raise ConfigError(
            "settings: expected a deadline_margin of at most half of timeout_seconds, "
            f"which is {config.timeout_seconds}; got {margin:g}"
        )
    if "api_keys_max_age" in chosen and config.auth != "api-key":
        _refuse("settings", "api_keys_max_age only with auth=api-key", config.settings)
    if config.daily_tokens and "max_tokens" not in chosen:
        expected = (
            "a max_tokens among settings with it, or nobody knows what an answer may yet cost"
        )
        _refuse("daily_tokens", expected, config.daily_tokens)


def _ways_in(config: Config) -> None:
    if config.auth == "jwt":
        for key in ("jwt_issuer", "jwt_audience"):
            if not getattr(config, key):
                _refuse(key, "a value with auth=jwt", getattr(config, key))
    if config.auth == "iam" and config.front_door == "cloudfront":
        expected = "api-key, jwt or public with front_door=cloudfront, which signs the requests of everybody"
        _refuse("auth", expected, config.auth)


def _front_door(config: Config) -> None:
    door = config.front_door
    for key, other in (
        ("domain_name", "certificate_arn"),
        ("certificate_arn", "domain_name"),
    ):
        if getattr(config, key) and not getattr(config, other):
            _refuse(other, f"a value with {key}", "")
    if door == "cloudfront":
        if _lacks(config.certificate_arn, 3, "us-east-1"):
            expected = "a certificate in us-east-1, where CloudFront has its own"
            _refuse("certificate_arn", expected, config.certificate_arn)
        if _lacks(config.web_acl_arn, 5, "global"):
            _refuse("web_acl_arn", "one of CLOUDFRONT's scope (global)", config.web_acl_arn)
    if door == "api-gateway" and _lacks(config.web_acl_arn, 5, "regional"):
        _refuse("web_acl_arn", "one of REGIONAL scope", config.web_acl_arn)
    if door in LONGEST_SILENCE:
        settings = function_settings(config.settings_by_name)
        for name in ("commit_after", "heartbeat_interval"):
            seconds = getattr(settings, name)
            if seconds >= LONGEST_SILENCE[door]:
                raise ConfigError(
                    f"settings: expected a {name} below {LONGEST_SILENCE[door]} with "
                    f"front_door={door}, which gives up silent streams; got {seconds:g}"
                )


def _lacks(arn: str, number: int, part: str) -> bool:
    """Tell whether an ARN is there and has another part in this place; nobody can tell of one that CDK fills in."""
    parts = TOKEN.sub("*", arn).split(":")
    found = parts[number].partition("/")[0] if len(parts) > number else "*"
    return "*" not in found and found != part


def _capacity(config: Config) -> None:
    if config.snap_start and config.provisioned_concurrency:
        expected = "0 with snap_start, for Lambda has one or the other"
        _refuse("provisioned_concurrency", expected, config.provisioned_concurrency)
    if 0 < config.reserved_concurrency < config.provisioned_concurrency:
        expected = f"at most reserved_concurrency, which is {config.reserved_concurrency}"
        _refuse("provisioned_concurrency", expected, config.provisioned_concurrency)


def _environment(config: Config) -> None:
    variables = environment(
        config,
        api_keys_secret=LONGEST if config.auth == "api-key" else "",
        budget_table=LONGEST if config.daily_tokens else "",
    )
    variables = {name: longest(text) for name, text in variables.items()}
    if (taken := size(variables)) > LARGEST:
        raise ConfigError(
            f"model_ids: expected lists that fit, with model_aliases, fallback_model_ids and all else, "
            f"into the {LARGEST} bytes of a function's environment; got {taken}"
        )


def _refuse(key: str, expected: str, got: Any) -> None:
    raise ConfigError(f"{key}: expected {expected}; got {got!r}")


def _typed(value: object) -> str:
    """Write a value as someone types it."""
    return str(value).lower() if isinstance(value, bool) else str(value)

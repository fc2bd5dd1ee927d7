from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from infra.config import Config, ConfigError

NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
APPLICATION_PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc"


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        ("stack_name", "rivulet-dev", "rivulet-dev"),
        ("model_ids", f"{NOVA}, {CLAUDE}", (NOVA, CLAUDE)),
        ("model_ids", [NOVA, CLAUDE], (NOVA, CLAUDE)),
        ("model_ids", f"{APPLICATION_PROFILE}={CLAUDE}", (f"{APPLICATION_PROFILE}={CLAUDE}",)),
        ("fallback_model_ids", f"{NOVA},{CLAUDE}", (NOVA, CLAUDE)),
        ("settings", "max_tokens=4096, read_timeout=60", ("max_tokens=4096", "read_timeout=60")),
        ("settings", ["heartbeat_interval=2.5"], ("heartbeat_interval=2.5",)),
        ("guardrail_ids", "", ()),
        ("guardrail_ids", "abc123", ("abc123",)),
        ("cors_origins", "*", ("*",)),
        ("cors_origins", "https://a.b:8443", ("https://a.b:8443",)),
        ("architecture", "x86_64", "x86_64"),
        ("memory_mb", "1024", 1024),
        ("memory_mb", 1024, 1024),
        ("timeout_seconds", "900", 900),
        ("log_level", "DEBUG", "DEBUG"),
        ("log_content", "true", True),
        ("log_content", True, True),
        ("log_content", "false", False),
        ("log_retention_days", "7", 7),
        ("log_retention_days", 7, 7),
        ("retain_logs", "true", True),
        ("service_name", "chat.v2", "chat.v2"),
        ("metrics_namespace", "Shop/Chat", "Shop/Chat"),
    ],
    ids=repr,
)
def test_reads(key: str, given: Any, value: Any) -> None:
    """A value that someone typed and one that JSON wrote become the same choice."""
    config = Config.from_context({key: given})
    assert config == Config(**{key: given})
    assert config == dataclasses.replace(Config(), **{key: value})
    assert getattr(config, key) == value
    assert type(getattr(config, key)) is type(value)


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("stack_name", "1st", "letters, digits and '-'"),
        ("model_ids", "", "at least 1"),
        ("model_ids", [], "at least 1"),
        ("model_ids", 7, "a list"),
        ("model_ids", [NOVA, NOVA], "at least 1, none of them twice"),
        ("model_ids", f"{NOVA},nova", "a model id"),
        ("model_ids", [{}], "a model id"),
        ("guardrail_ids", "a*", "a guardrail's id"),
        ("cors_origins", "app.example.com", "an origin"),
        ("cors_origins", "https://app.example.com/", "an origin"),
        ("architecture", "arm", "one of arm64, x86_64"),
        ("memory_mb", "64", "a whole number from 128 to 10240"),
        ("memory_mb", 10_241, "a whole number from 128 to 10240"),
        ("memory_mb", "1e3", "a whole number"),
        ("memory_mb", 512.0, "a whole number"),
        ("memory_mb", True, "a whole number"),
        ("timeout_seconds", 901, "a whole number from 10 to 900"),
        ("log_level", "info", "one of DEBUG, INFO"),
        ("log_content", "yes", "true or false"),
        ("log_content", 1, "true or false"),
        ("log_retention_days", 2, "one of 1, 3, 5"),
        ("log_retention_days", True, "one of 1, 3, 5"),
        ("fallback_model_ids", "nova", "a model id"),
        ("settings", "max_tokens", "name=value with a name out of max_request_bytes, max_messages"),
        ("settings", "log_content=true", "name=value with a name out of max_request_bytes"),
        ("retain_logs", None, "true or false"),
        ("service_name", "a b", "1 to 64 letters"),
        ("metrics_namespace", "AWS/Lambda", "a CloudWatch namespace outside AWS/"),
    ],
)
def test_refuses(key: str, given: Any, expected: str) -> None:
    """A wrong value fails with its key, what was expected and what came."""
    with pytest.raises(ConfigError) as caught:
        Config.from_context({key: given})
    message = str(caught.value)
    assert message.startswith(f"{key}: expected {expected}")
    assert message.endswith(f"got {given!r}")


@pytest.mark.parametrize(
    ("aliases", "expected"),
    [
        (("gpt-4o",), "expected name=model"),
        (("gpt-4o=other.model",), "expected name=model, each name once and no model's, each model"),
        ((f"{NOVA}={NOVA}",), "expected name=model, each name once and no model's, each model"),
    ],
)
def test_an_alias_is_a_name_for_a_model_of_the_deployment(aliases: Any, expected: str) -> None:
    """A name for a model that callers may not use fails before it is deployed."""
    with pytest.raises(ConfigError, match=f"^model_aliases: {re.escape(expected)}"):
        Config(model_ids=(NOVA,), model_aliases=aliases)
    arn = APPLICATION_PROFILE
    config = Config(model_ids=(f"{arn}={CLAUDE}",), model_aliases=(f"claude={arn}",))
    assert config.model_aliases == (f"claude={arn}",)


def test_a_setting_is_checked_as_the_function_will() -> None:
    """A value that the function could not start with fails before it is deployed, in the function's own words."""
    expected = (
        "RIVULET_MAX_TOKENS: expected a whole number above 0 and at most 1000000000, got 'many'"
    )
    with pytest.raises(ConfigError, match=expected):
        Config(settings=("max_tokens=many",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("max_tokens=4096,max_tokens=1", "settings: expected each name once; got ('max_tokens"),
        ("deadline_margin=451", "at most half of timeout_seconds, which is 900; got 451"),
    ],
)
def test_settings_fit_together(settings: str, message: str) -> None:
    """One value a setting, and a stream that ends before Lambda ends it."""
    with pytest.raises(ConfigError) as caught:
        Config.from_context({"settings": settings})
    assert message in str(caught.value)


def test_names_the_item() -> None:
    """In a list the message names the item that is wrong."""
    with pytest.raises(ConfigError, match="not 'nova'; got"):
        Config(model_ids=(NOVA, "nova"))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("memory", "did you mean memory_mb?"),
        ("rivulet:memory_mb", "did you mean memory_mb?"),
        ("zzz", "expected one of stack_name, model_ids"),
    ],
)
def test_refuses_an_unknown_key(key: str, message: str) -> None:
    """A key that nobody reads is refused, with the nearest one that somebody does."""
    with pytest.raises(ConfigError) as caught:
        Config.from_context({key: "1"})
    assert message in str(caught.value)
    assert str(caught.value).endswith(f"got {key!r}")


def test_leaves_the_cdk_its_own_keys() -> None:
    """The CDK's own context keys, each with a colon or a slash, are none of our business."""
    theirs = {"aws:cdk:bundling-stacks": ["**"], "@aws-cdk/core:newStyleStackSynthesis": True}
    assert Config.from_context(theirs) == Config()


def test_cannot_change() -> None:
    """A configuration is a value."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().memory_mb = 128  # type: ignore[misc]  # this is what is tested

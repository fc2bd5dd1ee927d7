from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from infra.choices import SETTINGS, Settings
from infra.config import Config, ConfigError

NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
ACCOUNT = "123456789012"
CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/0a1b-2c3d"
WEB_ACL = f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/shop/0a1b"
REGIONAL_WEB_ACL = f"arn:aws:wafv2:eu-west-1:{ACCOUNT}:regional/webacl/shop/0a1b"
TOPIC = f"arn:aws:sns:eu-west-1:{ACCOUNT}:pager"
SECRET = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:shop/keys-AbC123"
ISSUER = "https://issuer.example.com/shop"
JWT = {"auth": "jwt", "jwt_issuer": ISSUER, "jwt_audience": ("rivulet",)}
CLOUDFRONT = {"auth": "api-key", "front_door": "cloudfront"}
# What else has to be chosen for a key to be chosen.
WITH: dict[str, dict[str, Any]] = {
    "api_keys_secret": {"auth": "api-key"},
    "jwt_issuer": JWT,
    "jwt_audience": JWT,
    "jwt_scopes": JWT,
    "jwt_jwks_url": JWT,
    "domain_name": CLOUDFRONT | {"certificate_arn": CERTIFICATE},
    "certificate_arn": CLOUDFRONT | {"domain_name": "chat.example.com"},
    "web_acl_arn": CLOUDFRONT,
    "daily_tokens": {"settings": "max_tokens=4096"},
}
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
        ("guardrail_ids", "abc123=us.guardrail.v1:0", ("abc123=us.guardrail.v1:0",)),
        ("system_tools", "nova_grounding", ("nova_grounding",)),
        ("s3_uris", "s3://shop, s3://docs/a/b", ("s3://shop", "s3://docs/a/b")),
        ("auth", "public", "public"),
        ("api_keys_secret", "shop/keys", "shop/keys"),
        ("api_keys_secret", SECRET, SECRET),
        ("jwt_issuer", "https://issuer.example.com:8443/a/", "https://issuer.example.com:8443/a/"),
        ("jwt_audience", "rivulet,https://a.b/c", ("rivulet", "https://a.b/c")),
        ("jwt_scopes", ["chat:read", "chat:write"], ("chat:read", "chat:write")),
        ("jwt_jwks_url", "https://issuer.example.com/k?v=1", "https://issuer.example.com/k?v=1"),
        ("front_door", "api-gateway", "api-gateway"),
        ("domain_name", "chat.shop.example.com", "chat.shop.example.com"),
        ("certificate_arn", CERTIFICATE, CERTIFICATE),
        ("web_acl_arn", WEB_ACL, WEB_ACL),
        ("reserved_concurrency", "10", 10),
        ("provisioned_concurrency", 5, 5),
        ("snap_start", "true", True),
        ("daily_tokens", "100000", 100_000),
        ("dashboard", "false", False),
        ("alarms", False, False),
        ("alarm_topic_arn", TOPIC, TOPIC),
        ("alarm_error_percent", "2.5", 2.5),
        ("alarm_error_percent", 2, 2.0),
        ("alarm_first_token_seconds", "30", 30.0),
        ("alarm_spend_per_hour", 0.5, 0.5),
        ("prices", f"{NOVA}=0.06/0.24", (f"{NOVA}=0.06/0.24",)),
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
    others = WITH.get(key, {})
    config = Config.from_context({**others, key: given})
    assert config == Config(**{**others, key: given})
    assert config == Config(**{**others, key: value})
    assert getattr(config, key) == value
    assert type(getattr(config, key)) is type(value)


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("stack_name", "1st", "letters, digits and '-'"),
        ("model_ids", "", "at least 1 item; got"),
        ("model_ids", [], "at least 1 item; got"),
        ("model_ids", 7, "a list"),
        ("model_ids", [NOVA, NOVA], "no item twice"),
        ("model_ids", f"{NOVA},nova", "a model id"),
        ("model_ids", [{}], "a model id"),
        ("guardrail_ids", "a*", "a guardrail's id"),
        ("guardrail_ids", "abc=us", "the guardrail's own cross-region profile"),
        ("system_tools", "grounding", "the name of a system tool ('nova_grounding')"),
        ("s3_uris", "s3://shop/*", "'s3://bucket' or 's3://bucket/prefix', without wildcards"),
        ("auth", "none", "one of iam, api-key, jwt, public"),
        ("auth", "", "one of iam"),
        ("api_keys_secret", "shop keys", "a secret's name or its ARN"),
        ("api_keys_secret", "arn:aws:secretsmanager:*:*:secret:a", "a secret's name or its ARN"),
        ("api_keys_secret", SECRET.replace("keys", "*"), "a secret's name or its ARN"),
        ("jwt_issuer", "http://issuer.example.com", "an https URL without query and fragment"),
        ("jwt_issuer", "https://issuer.example.com?a=b", "an https URL without query"),
        ("jwt_issuer", "https://me@issuer.example.com", "an https URL without query"),
        ("jwt_issuer", "issuer.example.com", "an https URL without query"),
        ("jwt_audience", ["a,b"], "audiences without spaces and commas"),
        ("jwt_audience", "a b", "audiences without spaces and commas"),
        ("jwt_scopes", 'a"', "scopes without spaces, commas, quotes and backslashes"),
        ("jwt_jwks_url", "http://issuer.example.com/keys", "an https URL"),
        ("front_door", "alb", "one of url, cloudfront, api-gateway"),
        ("domain_name", "https://chat.example.com", "a host name"),
        ("domain_name", "*.example.com", "a host name"),
        ("domain_name", "chat", "a host name"),
        ("certificate_arn", "0a1b", "the ARN of a certificate in ACM"),
        ("web_acl_arn", "shop", "the ARN of a web ACL in WAFv2"),
        ("reserved_concurrency", -1, "a whole number from 0"),
        ("provisioned_concurrency", "few", "a whole number from 0"),
        ("snap_start", "on", "true or false"),
        ("daily_tokens", "1e6", "a whole number from 0"),
        ("dashboard", "no", "true or false"),
        ("alarms", 0, "true or false"),
        ("alarm_topic_arn", "pager", "the ARN of an SNS topic"),
        ("alarm_error_percent", 0, "a number above 0 and at most 100"),
        ("alarm_error_percent", 101, "a number above 0 and at most 100"),
        ("alarm_first_token_seconds", "soon", "a number above 0 and at most 900"),
        ("alarm_spend_per_hour", "nan", "a number above 0"),
        ("alarm_spend_per_hour", True, "a number above 0"),
        ("prices", NOVA, "model=input/output"),
        ("cors_origins", "app.example.com", "an origin"),
        ("cors_origins", "https://app.example.com/", "an origin"),
        ("cors_origins", [f"https://a{n}.example.com" for n in range(101)], "at most 100 items"),
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
        ("metrics_namespace", "Shop:Chat", "a CloudWatch namespace outside AWS/"),
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
    """A value that the function could not start with fails before it is deployed, by the setting's name."""
    expected = "settings: max_tokens: expected a whole number above 0 and at most 1000000000"
    with pytest.raises(ConfigError) as caught:
        Config(settings=("max_tokens=many",))
    assert str(caught.value) == f"{expected}; got ('max_tokens=many',)"


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


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        # What another choice needs.
        ({"auth": "jwt"}, "jwt_issuer: expected a value with auth=jwt; got ''"),
        (
            {"auth": "jwt", "jwt_issuer": ISSUER},
            "jwt_audience: expected a value with auth=jwt; got ()",
        ),
        (
            {"daily_tokens": 9},
            (
                "daily_tokens: expected a max_tokens among settings with it, or nobody knows what an answer may yet "
                "cost; got 9"
            ),
        ),
        (
            CLOUDFRONT | {"domain_name": "chat.example.com"},
            "certificate_arn: expected a value with domain_name; got ''",
        ),
        (
            CLOUDFRONT | {"certificate_arn": CERTIFICATE},
            "domain_name: expected a value with certificate_arn; got ''",
        ),
        # What another choice makes impossible.
        (
            {"front_door": "cloudfront"},
            (
                "auth: expected api-key, jwt or public with front_door=cloudfront, which signs the requests of "
                "everybody; got 'iam'"
            ),
        ),
        (
            CLOUDFRONT
            | {
                "domain_name": "chat.example.com",
                "certificate_arn": CERTIFICATE.replace("us-east-1", "eu-west-1"),
            },
            "certificate_arn: expected a certificate in us-east-1, where CloudFront has its own; got 'arn:aws:acm:eu-",
        ),
        (
            CLOUDFRONT | {"web_acl_arn": REGIONAL_WEB_ACL},
            "web_acl_arn: expected one of CLOUDFRONT's scope (global); got 'arn:aws:wafv2:eu-west-1:",
        ),
        (
            {"front_door": "api-gateway", "web_acl_arn": WEB_ACL},
            "web_acl_arn: expected one of REGIONAL scope; got 'arn:aws:wafv2:us-east-1:",
        ),
        (
            {"snap_start": True, "provisioned_concurrency": 1},
            "provisioned_concurrency: expected 0 with snap_start, for Lambda has one or the other; got 1",
        ),
        (
            {"reserved_concurrency": 4, "provisioned_concurrency": 5},
            "provisioned_concurrency: expected at most reserved_concurrency, which is 4; got 5",
        ),
        (
            CLOUDFRONT | {"settings": "commit_after=120"},
            (
                "settings: expected a commit_after below 120 with front_door=cloudfront, which gives up silent "
                "streams; got 120"
            ),
        ),
        (
            {"front_door": "api-gateway", "settings": "heartbeat_interval=300"},
            (
                "settings: expected a heartbeat_interval below 300 with front_door=api-gateway, which gives up silent "
                "streams; got 300"
            ),
        ),
        (
            {"model_ids": tuple(f"amazon.{'nova' * 40}-{n}" for n in range(30))},
            (
                "model_ids: expected lists that fit, with model_aliases, fallback_model_ids and all else, into "
                "the 4096 bytes of a function's environment; got "
            ),
        ),
        (
            {
                "model_ids": (f"{APPLICATION_PROFILE}={NOVA}",),
                "fallback_model_ids": (f"{APPLICATION_PROFILE}={CLAUDE}",),
            },
            (
                "fallback_model_ids: expected each profile with one model that it was copied from, not "
                f"'{APPLICATION_PROFILE}' with two; got ('arn:aws:"
            ),
        ),
        (
            {"model_ids": (f"{APPLICATION_PROFILE}={NOVA}", f"{APPLICATION_PROFILE}={CLAUDE}")},
            "model_ids: expected each profile with one model that it was copied from, not 'arn:aws:",
        ),
        (
            {"prices": (f"{NOVA}=1/2", f"{NOVA}=1/3")},
            "prices: expected each model once; got ('amazon",
        ),
        # What would do nothing.
        (
            {"api_keys_secret": "shop/keys"},
            "api_keys_secret: expected it only with auth=api-key; got 'shop/keys'",
        ),
        (
            {"settings": "api_keys_max_age=9"},
            "settings: expected api_keys_max_age only with auth=api-key; got ('api_keys_max_age=9',)",
        ),
        ({"jwt_issuer": ISSUER}, f"jwt_issuer: expected it only with auth=jwt; got {ISSUER!r}"),
        ({"jwt_audience": "a"}, "jwt_audience: expected it only with auth=jwt; got ('a',)"),
        ({"jwt_scopes": "a"}, "jwt_scopes: expected it only with auth=jwt; got ('a',)"),
        ({"jwt_jwks_url": ISSUER}, "jwt_jwks_url: expected it only with auth=jwt; got 'https"),
        (
            {"domain_name": "chat.example.com"},
            "domain_name: expected it only with front_door=cloudfront or front_door=api-gateway; got 'chat",
        ),
        (
            {"certificate_arn": CERTIFICATE},
            "certificate_arn: expected it only with front_door=cloudfront or front_door=api-gateway; got 'arn",
        ),
        (
            {"web_acl_arn": WEB_ACL},
            "web_acl_arn: expected it only with front_door=cloudfront or front_door=api-gateway; got 'arn",
        ),
        (
            {"alarms": False, "alarm_topic_arn": TOPIC},
            "alarm_topic_arn: expected it only with alarms=true; got 'arn:aws:sns",
        ),
        (
            {"alarms": False, "alarm_error_percent": 1},
            "alarm_error_percent: expected it only with alarms=true; got 1.0",
        ),
        (
            {"alarms": False, "alarm_first_token_seconds": 1},
            "alarm_first_token_seconds: expected it only with alarms=true; got 1.0",
        ),
        (
            {"alarms": False, "alarm_spend_per_hour": 1},
            "alarm_spend_per_hour: expected it only with alarms=true; got 1.0",
        ),
    ],
)
def test_choices_fit_together(choices: dict[str, Any], message: str) -> None:
    """What does not go together fails with the key that is wrong, what it needs and what came."""
    with pytest.raises(ConfigError) as caught:
        Config(**choices)
    assert str(caught.value).startswith(message)


def test_a_default_that_is_typed_is_no_choice() -> None:
    """What is chosen as it is anyhow does not need what a choice would."""
    assert Config(jwt_issuer="", alarm_error_percent="5", alarms=False) == Config(alarms=False)  # type: ignore[arg-type]  # as typed


def test_every_setting_of_the_function_can_be_chosen_once() -> None:
    """Each of the function's settings is a choice by itself, or one among `settings`, and not both."""
    keys = {choice.name for choice in dataclasses.fields(Config)}
    function = {setting.name for setting in dataclasses.fields(Settings)}
    follow = {"copied_from", "budget_table"}  # from other choices
    assert keys & set(SETTINGS) == set()
    assert function - follow == (function & keys) | set(SETTINGS)


def test_names_the_item() -> None:
    """In a list the message names the item that is wrong."""
    with pytest.raises(ConfigError, match="not 'nova'; got"):
        Config(model_ids=(NOVA, "nova"))


def test_names_the_only_item_once() -> None:
    """Where there is but one, what came tells which."""
    with pytest.raises(ConfigError) as caught:
        Config.from_context({"settings": "foo=1"})
    assert str(caught.value).count("foo=1") == 1


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("memory", "did you mean memory_mb?"),
        ("rivulet:memory_mb", "did you mean memory_mb?"),
        ("model-ids", "did you mean model_ids?"),
        ("max_tokens", "it is one of the function's settings: -c settings=max_tokens=..."),
        ("RIVULET_HEARTBEAT_INTERVAL", "-c settings=heartbeat_interval=..."),
        ("zzz", "expected one of stack_name, model_ids"),
    ],
)
def test_refuses_an_unknown_key(key: str, message: str) -> None:
    """A key that nobody reads is refused, with the nearest one that somebody does."""
    with pytest.raises(ConfigError) as caught:
        Config.from_context({key: "1"})
    assert str(caught.value).startswith(f"unknown context key: got {key!r}; ")
    assert message in str(caught.value)


def test_leaves_the_cdk_its_own_keys() -> None:
    """The CDK's own context keys, each with a colon, a slash or a dash, are none of our business."""
    theirs = {
        "aws:cdk:bundling-stacks": ["**"],
        "@aws-cdk/core:newStyleStackSynthesis": True,
        "availability-zones:account=123456789012:region=eu-west-1": ["eu-west-1a"],
        # What `cdk cli-telemetry --disable` and `cdk acknowledge` write.
        "cli-telemetry": False,
        "acknowledged-issue-numbers": [34892],
    }
    assert Config.from_context(theirs) == Config()


def test_cannot_change() -> None:
    """A configuration is a value."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().memory_mb = 128  # type: ignore[misc]  # this is what is tested

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from infra.cdk_tokens import has_token, model_stood_in, restored, stood_in
from infra.config import Config, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

# As CDK writes one.
TOKEN = "${Token[TOKEN.12]}"
NOVA = "amazon.nova-lite-v1:0"
ISSUER = "https://issuer.example.com/shop"
JWT = {"auth": "jwt", "jwt_issuer": ISSUER, "jwt_audience": ("rivulet",)}
DOOR = {"auth": "api-key", "front_door": "cloudfront"}
# What else has to be chosen for a key to be chosen.
WITH: dict[str, dict[str, Any]] = {
    "api_keys_secret": {"auth": "api-key"},
    "jwt_issuer": JWT,
    "jwt_audience": JWT,
    "jwt_jwks_url": JWT,
    "certificate_arn": DOOR | {"domain_name": "chat.example.com"},
    "web_acl_arn": DOOR,
}


@pytest.mark.parametrize(
    ("stand_in", "text"),
    [
        (stood_in, "a"),
        (stood_in, TOKEN),
        (stood_in, f"s3://{TOKEN}/{TOKEN}ab"),
        (stood_in, "${Token[Shop.Bucket-1:Ref.7]}0"),
        (model_stood_in, NOVA),
        (model_stood_in, f"{TOKEN}={NOVA}"),
    ],
)
def test_gives_way_again(stand_in: Callable[[str], str], text: str) -> None:
    """What stands in for a token is told from all around it, and has no sign that a form would refuse."""
    assert not has_token(stand_in(text))
    assert restored(stand_in(text)) == text
    assert re.fullmatch(r"[a-z0-9]+", stood_in(TOKEN))


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("model_ids", f"{TOKEN}={NOVA}"),
        ("fallback_model_ids", f"{TOKEN}=eu.{NOVA}"),
        ("guardrail_ids", TOKEN),
        ("guardrail_ids", f"{TOKEN}=eu.guardrail.v1:0"),
        ("s3_uris", f"s3://{TOKEN}/in"),
        ("cors_origins", f"https://{TOKEN}"),
        ("api_keys_secret", TOKEN),
        ("jwt_issuer", TOKEN),
        ("jwt_audience", TOKEN),
        ("jwt_jwks_url", f"{TOKEN}/.well-known/jwks.json"),
        ("certificate_arn", TOKEN),
        ("web_acl_arn", TOKEN),
        ("alarm_topic_arn", f"arn:{TOKEN}:sns:eu-west-1:123456789012:pager"),
    ],
)
def test_takes_what_cdk_fills_in(key: str, given: str) -> None:
    """What names a resource of the same app has no form yet."""
    config = Config(**{**WITH.get(key, {}), key: given})
    assert getattr(config, key) in (given, (given,))


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("model_ids", TOKEN, "what the profile was copied from"),
        ("model_ids", f"{TOKEN}={TOKEN}", "a model id"),
        ("model_ids", f"amazon.{TOKEN}", "a model id"),
        ("model_ids", f"{TOKEN}=eu.{TOKEN}", "a model id"),
        ("model_ids", f"amazon.{TOKEN}=", "'=' only after an application inference profile's ARN"),
        ("guardrail_ids", f"{TOKEN}=eu", "the guardrail's own cross-region profile"),
        ("domain_name", TOKEN, "a host name"),
        ("service_name", TOKEN, "1 to 64 letters"),
        ("stack_name", TOKEN, "letters, digits and '-'"),
    ],
)
def test_refuses_what_cdk_fills_in(key: str, given: str, expected: str) -> None:
    """What is needed before anything is deployed cannot be filled in then."""
    with pytest.raises(ConfigError, match=f"^{key}: expected {re.escape(expected)}"):
        Config(**{key: given})  # type: ignore[arg-type]  # whatever it takes


def test_what_cdk_fills_in_is_as_long_as_it_will_be() -> None:
    """The environment is measured with ARNs in it, not with what stands for them."""
    tokens = [f"${{Token[TOKEN.{number}]}}={NOVA}" for number in range(30)]
    assert sum(map(len, tokens)) < 2000
    with pytest.raises(ConfigError, match="the 4096 bytes of a function's environment; got"):
        Config(model_ids=tuple(tokens))

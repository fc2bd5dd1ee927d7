from __future__ import annotations

import re
from typing import Any

import pytest

from infra.cdk_tokens import has_token, longest
from infra.config import Config, ConfigError

# As CDK writes one.
TOKEN = "${Token[TOKEN.12]}"
PARTITION = "${Token[AWS.Partition.3]}"
REGION = "${Token[AWS.Region.4]}"
ACCOUNT = "${Token[AWS.AccountId.5]}"
LIST = "#{Token[TOKEN.12]}"
BEDROCK = f"arn:{PARTITION}:bedrock:{REGION}:{ACCOUNT}"
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
    ("text", "length"),
    [
        ("a", 1),
        (TOKEN, 120),
        (f"s3://{TOKEN}/{TOKEN}ab", 5 + 120 + 1 + 120 + 2),
        ("${Token[Shop.Bucket-1:Ref.7]}0", 121),
        ("${Token[AWS.Partition.3]}:${AWS::Partition}", 9 + 1 + 9),
        ("${Token[AWS.Region.4]}:${AWS::Region}", 17 + 1 + 17),
        ("${Token[AWS.AccountId.5]}:${AWS::AccountId}", 12 + 1 + 12),
        ("${AWS::StackName}", 120),
    ],
)
def test_the_longest_that_is_filled_in(text: str, length: int) -> None:
    """What is computed of lengths takes each token, and each of CloudFormation's parameters, for as long as it gets."""
    assert len(longest(text)) == length
    assert not has_token(longest(text))


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("model_ids", f"{TOKEN}={NOVA}"),
        ("model_ids", f"{BEDROCK}:application-inference-profile/abc123=eu.{NOVA}"),
        ("model_ids", f"{BEDROCK}:application-inference-profile/{TOKEN}={NOVA}"),
        ("model_ids", f"{TOKEN}=arn:{PARTITION}:bedrock:{REGION}::foundation-model/{NOVA}"),
        ("model_ids", f"{TOKEN}={BEDROCK}:inference-profile/eu.{NOVA}"),
        ("model_ids", f"{BEDROCK}:inference-profile/eu.{NOVA}"),
        ("model_ids", f"arn:{PARTITION}:bedrock:eu-west-1:123456789012:provisioned-model/abc"),
        ("fallback_model_ids", f"{TOKEN}=eu.{NOVA}"),
        ("guardrail_ids", TOKEN),
        ("guardrail_ids", f"{TOKEN}=eu.guardrail.v1:0"),
        ("guardrail_ids", f"{BEDROCK}:guardrail/gr4f0x1abc2d"),
        ("guardrail_ids", f"{BEDROCK}:guardrail/{TOKEN}"),
        ("s3_uris", f"s3://{TOKEN}/in"),
        ("s3_uris", f"s3://{TOKEN}"),
        ("s3_uris", f"s3://{'documents-' * 5}{ACCOUNT}-{REGION}/in/{TOKEN}/"),
        ("cors_origins", TOKEN),
        ("cors_origins", f"https://{TOKEN}"),
        ("cors_origins", f"https://{TOKEN}.example.com:8443"),
        ("cors_origins", f"{TOKEN}:8443"),
        ("api_keys_secret", TOKEN),
        ("api_keys_secret", f"{TOKEN}/keys"),
        ("api_keys_secret", f"arn:{PARTITION}:secretsmanager:{REGION}:{ACCOUNT}:secret:shop/keys"),
        ("jwt_issuer", TOKEN),
        ("jwt_issuer", f"{TOKEN}{TOKEN}"),
        ("jwt_issuer", f"https://{TOKEN}/realms/{TOKEN}"),
        ("jwt_issuer", f"{TOKEN}.example.com/"),
        ("jwt_audience", TOKEN),
        ("jwt_jwks_url", f"{TOKEN}/.well-known/jwks.json"),
        ("jwt_jwks_url", f"https://{TOKEN}/keys?v={TOKEN}"),
        ("certificate_arn", TOKEN),
        ("certificate_arn", f"arn:{PARTITION}:acm:{REGION}:{ACCOUNT}:certificate/{TOKEN}"),
        ("certificate_arn", f"arn:{PARTITION}:acm:us-east-1:{ACCOUNT}:certificate/0a1b-2c3d"),
        ("web_acl_arn", TOKEN),
        ("web_acl_arn", f"arn:{PARTITION}:wafv2:us-east-1:{ACCOUNT}:global/webacl/shop/0a1b"),
        ("web_acl_arn", f"arn:{PARTITION}:wafv2:us-east-1:{ACCOUNT}:{TOKEN}/webacl/shop/0a1b"),
        ("alarm_topic_arn", f"arn:{TOKEN}:sns:eu-west-1:123456789012:pager"),
        ("model_ids", f"{BEDROCK}:provisioned-model/{TOKEN}"),
    ],
)
def test_takes_what_cdk_fills_in(key: str, given: str) -> None:
    """What names a resource of the same app has no form yet; an ARN of its own has one that CDK puts together."""
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
        ("model_ids", f"{BEDROCK}:inference-profile/{TOKEN}", "a model id"),
        ("model_ids", f"{TOKEN}-x={NOVA}", "'=' only after an application inference profile's ARN"),
        ("guardrail_ids", f"{TOKEN}*", "a guardrail's id"),
        ("guardrail_ids", f"arn:{PARTITION}:bedrock:{TOKEN} :1:guardrail/a", "a guardrail's id"),
        ("s3_uris", TOKEN, "'s3://bucket'"),
        ("s3_uris", f"s3://{TOKEN}*", "'s3://bucket'"),
        ("s3_uris", f"s3://Shop-{TOKEN}/in/", "'s3://bucket'"),
        ("s3_uris", f"s3://shop/{TOKEN}/*", "'s3://bucket'"),
        ("cors_origins", f"javascript:{TOKEN}", "an origin"),
        ("cors_origins", f"https://{TOKEN}/", "an origin"),
        ("api_keys_secret", f"shop keys {TOKEN}", "a secret's name or its ARN"),
        ("jwt_issuer", f"http://{TOKEN}", "an https URL without query and fragment"),
        ("jwt_issuer", f"https://{TOKEN}?a=b", "an https URL without query and fragment"),
        ("jwt_jwks_url", f"http://{TOKEN}", "an https URL"),
        ("certificate_arn", f"hello {TOKEN}", "the ARN of a certificate in ACM"),
        ("certificate_arn", f"arn:aws:acm:{REGION}:{TOKEN}:key/a", "the ARN of a certificate"),
        ("web_acl_arn", f"x{TOKEN}", "the ARN of a web ACL in WAFv2"),
        ("alarm_topic_arn", f"{TOKEN}:pager", "the ARN of an SNS topic"),
        ("jwt_audience", [LIST], "items, not a list whose items only CDK will know"),
        ("jwt_scopes", [LIST], "items, not a list whose items only CDK will know"),
        ("cors_origins", [LIST], "items, not a list whose items only CDK will know"),
        ("s3_uris", LIST, "items, not a list whose items only CDK will know"),
        ("guardrail_ids", f"{TOKEN}=eu", "the guardrail's own cross-region profile"),
        ("domain_name", TOKEN, "a host name"),
        ("service_name", TOKEN, "1 to 64 letters"),
        ("stack_name", TOKEN, "letters, digits and '-'"),
    ],
)
def test_refuses_what_cdk_fills_in(key: str, given: Any, expected: str) -> None:
    """What is needed before anything is deployed cannot be filled in then, and all around a token is as ever."""
    with pytest.raises(ConfigError, match=f"^{key}: expected {re.escape(expected)}"):
        Config(**{key: given})


def test_what_cdk_fills_in_is_as_long_as_it_will_be() -> None:
    """The environment is measured with ARNs in it, not with what stands for them."""
    tokens = [f"${{Token[TOKEN.{number}]}}={NOVA}" for number in range(30)]
    assert sum(map(len, tokens)) < 2000
    with pytest.raises(ConfigError, match="the 4096 bytes of a function's environment; got"):
        Config(model_ids=tuple(tokens))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            DOOR
            | {
                "domain_name": "chat.example.com",
                "certificate_arn": f"arn:{PARTITION}:acm:eu-west-1:{ACCOUNT}:certificate/{TOKEN}",
            },
            "certificate_arn: expected a certificate in us-east-1",
        ),
        (
            DOOR | {"web_acl_arn": f"arn:{PARTITION}:wafv2:{REGION}:{ACCOUNT}:regional/webacl/a/b"},
            "web_acl_arn: expected one of CLOUDFRONT's scope (global)",
        ),
        (
            {
                "front_door": "api-gateway",
                "web_acl_arn": f"arn:{PARTITION}:wafv2:{REGION}:{ACCOUNT}:global/webacl/a/b",
            },
            "web_acl_arn: expected one of REGIONAL scope",
        ),
        (
            {"model_ids": (f"{TOKEN}={NOVA}",), "fallback_model_ids": (f"{TOKEN}=eu.{NOVA}",)},
            "fallback_model_ids: expected each profile with one model that it was copied from, not",
        ),
    ],
)
def test_what_can_be_read_fits_together(choices: dict[str, Any], message: str) -> None:
    """What stands around a token goes with the other choices, too."""
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        Config(**choices)

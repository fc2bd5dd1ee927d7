"""The choices of a deployment: one frozen dataclass, its defaults safe, each value checked.

`app.py` reads them from CDK context (`cdk.json`, `-c key=value`), where a value is the string that
someone typed or JSON's own number, boolean or list. Someone who uses the construct in a stack of
their own makes a `Config` directly; the same checks run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from infra import bedrock_access, choices, config_rules, cors, prices
from infra.cdk_tokens import ACCOUNT, ANY, PARTITION, REGION, some
from infra.choices import RETENTION
from infra.config_rules import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

__all__ = ["DEFAULT_MODEL_ID", "DEFAULT_STACK_NAME", "RETENTION", "Config", "ConfigError"]

DEFAULT_STACK_NAME = "Rivulet"

# Amazon's own models need no subscription and no form, and a global profile is callable from
# regions all over the world: the least that can stand between a new account and its first answer.
# In return any commercial region may serve a request; docs/deploy.md says how to stay at home.
DEFAULT_MODEL_ID = "global.amazon.nova-2-lite-v1:0"

# Without user, query and fragment: RFC 8414, section 2.
_HOST = some("A-Za-z0-9.-")
_PATH = some("A-Za-z0-9._~!$&'()*+;=:@%/-")
_ISSUER = rf"(https://{_HOST}|{ANY}){_HOST}*(:(\d{{1,5}}|{ANY}))?(/{_PATH}*)?"
_HTTPS = rf"{_ISSUER}(\?({_PATH}|\?)*)?"
_WHERE = f"{REGION}:{ACCOUNT}"
_NAME = some("A-Za-z0-9/_+=.@-")
_SECRET = rf"{_NAME}{{1,512}}|arn:{PARTITION}:secretsmanager:{_WHERE}:secret:{_NAME}{{1,519}}"
_DOMAIN = r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
_ID = some("A-Za-z0-9-")
_WORD = some("A-Za-z0-9_-")
_CERTIFICATE = rf"arn:{PARTITION}:acm:{_WHERE}:certificate/{_ID}+"
_WEB_ACL = rf"arn:{PARTITION}:wafv2:{_WHERE}:(global|regional|{ANY})/webacl/{_WORD}+/{_ID}+"
_TOPIC = rf"arn:{PARTITION}:sns:{_WHERE}:{_WORD}{{1,256}}"


def _choice(default: T, read: Callable[[object], T]) -> T:
    chosen: T = field(default=default, metadata={"read": read})
    return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A deployment's choices. docs/deploy.md explains each to the person who deploys.

    Raises:
        ConfigError: a value is not what its key needs, or does not go with another.
    """

    stack_name: str = _choice(
        DEFAULT_STACK_NAME,
        choices.text(r"[A-Za-z][A-Za-z0-9-]{0,127}", "letters, digits and '-', a letter first"),
    )
    # The first is what a request gets that names no model.
    model_ids: tuple[str, ...] = _choice(
        (DEFAULT_MODEL_ID,), choices.texts(bedrock_access.model, least=1)
    )
    # Names that clients insist on, written as `name=model`; a model is named as the function is called with it.
    model_aliases: tuple[str, ...] = _choice((), choices.texts(choices.alias))
    # They answer where the model that was asked for is busy. Callers need not be allowed to name them.
    fallback_model_ids: tuple[str, ...] = _choice((), choices.texts(bedrock_access.model))
    guardrail_ids: tuple[str, ...] = _choice((), choices.texts(bedrock_access.guardrail))
    # Tools of Bedrock's own and files in S3 that requests may name: none, unless they are chosen.
    system_tools: tuple[str, ...] = _choice((), choices.texts(bedrock_access.system_tool))
    s3_uris: tuple[str, ...] = _choice((), choices.texts(bedrock_access.s3_uri))
    # How callers prove who they are. Only `public` lets in whoever comes.
    auth: str = _choice(choices.AUTH[0], choices.one_of(*choices.AUTH))
    # Of an existing secret, by name or ARN; without it the stack makes one.
    api_keys_secret: str = _choice("", choices.resource(_SECRET, "a secret's name or its ARN"))
    jwt_issuer: str = _choice(
        "", choices.resource(_ISSUER, "an https URL without query and fragment")
    )
    jwt_audience: tuple[str, ...] = _choice((), choices.texts(choices.audience))
    jwt_scopes: tuple[str, ...] = _choice((), choices.texts(choices.scope))
    jwt_jwks_url: str = _choice("", choices.resource(_HTTPS, "an https URL"))
    front_door: str = _choice(choices.FRONT_DOORS[0], choices.one_of(*choices.FRONT_DOORS))
    domain_name: str = _choice(
        "", choices.text(_DOMAIN, "a host name such as chat.example.com", optional=True)
    )
    certificate_arn: str = _choice(
        "", choices.resource(_CERTIFICATE, "the ARN of a certificate in ACM")
    )
    web_acl_arn: str = _choice("", choices.resource(_WEB_ACL, "the ARN of a web ACL in WAFv2"))
    # API Gateway's, whose role for them is a setting of the whole account and region.
    access_logs: bool = _choice(default=True, read=choices.boolean)
    # Browsers on these may call; on none, where it is empty.
    cors_origins: tuple[str, ...] = _choice((), choices.texts(cors.origin, most=100))  # Lambda's
    architecture: str = _choice("arm64", choices.one_of("arm64", "x86_64"))
    # The work is waiting, and waiting is billed by memory. Lambda gives CPU in proportion to it:
    # 256 MB holds the process (about 55 MB) and makes its 0.3 s of start-up last 2 s at worst.
    memory_mb: int = _choice(256, choices.whole_number(128, 10_240))
    # Lambda's longest: only the model decides how long an answer is, and one that is cut short was
    # paid for all the same. What hangs is ended long before, by the relay's own watchdogs.
    timeout_seconds: int = _choice(900, choices.whole_number(10, 900))
    # Streams at once, at most, which bounds the bill; 0 for the account's own limit.
    reserved_concurrency: int = _choice(0, choices.whole_number(0, 100_000))
    # Environments that are started before anybody calls; 0 for none.
    provisioned_concurrency: int = _choice(0, choices.whole_number(0, 100_000))
    snap_start: bool = _choice(default=False, read=choices.boolean)
    # Tokens that each caller may use in a day of UTC; 0 for any number.
    daily_tokens: int = _choice(0, choices.whole_number(0, 1_000_000_000))
    # The function's own, by their names there: `settings_by_name` is the same as a mapping.
    settings: tuple[str, ...] = _choice((), choices.texts(choices.setting))
    log_level: str = _choice(
        "INFO", choices.one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    )
    log_content: bool = _choice(default=False, read=choices.boolean)
    log_retention_days: int = _choice(30, choices.one_of(*RETENTION))
    retain_logs: bool = _choice(default=False, read=choices.boolean)
    # By it logs, traces and metrics, alarms with them, tell deployments apart: see `service`.
    service_name: str = _choice(
        "",
        choices.text(
            r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, '_', '.' and '-'", optional=True
        ),
    )
    metrics_namespace: str = _choice(
        "Rivulet",
        choices.text(r"(?!AWS/)[A-Za-z0-9_./#-]{1,255}", "a CloudWatch namespace outside AWS/"),
    )
    dashboard: bool = _choice(default=True, read=choices.boolean)
    alarms: bool = _choice(default=True, read=choices.boolean)
    # Whom alarms tell; without one they can be looked at only.
    alarm_topic_arn: str = _choice("", choices.resource(_TOPIC, "the ARN of an SNS topic"))
    alarm_error_percent: float = _choice(5.0, choices.number(0, 100))
    alarm_first_token_seconds: float = _choice(10.0, choices.number(0, 900))
    alarm_spend_per_hour: float = _choice(10.0, choices.number(0, 1_000_000))
    # Written as `model=input/output[/cache_read/cache_write]`, in USD for a million tokens.
    prices: tuple[str, ...] = _choice((), choices.texts(prices.price))

    def __post_init__(self) -> None:
        """Read every value, so that a `Config` made by hand is checked as one from context is."""
        for choice in fields(self):
            value = getattr(self, choice.name)
            try:
                object.__setattr__(self, choice.name, choice.metadata["read"](value))
            except ValueError as error:
                raise ConfigError(f"{choice.name}: {error}; got {value!r}") from None
        config_rules.check(self, {choice.name: choice.default for choice in fields(self)})

    @property
    def service(self) -> str:
        """The service's name: the stack's, unless another was chosen."""
        return self.service_name or self.stack_name

    @property
    def called_model_ids(self) -> tuple[str, ...]:
        """The models as Bedrock is called with them: without what an application profile was copied from."""
        return tuple(text.partition("=")[0] for text in self.model_ids)

    @property
    def settings_by_name(self) -> dict[str, str]:
        """The function's settings that were chosen; the others keep the function's defaults."""
        return dict(text.split("=", 1) for text in self.settings)

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Config:
        """Take the choices out of CDK's context, of which the rest belongs to CDK.

        CDK's own keys have a ':', a '/' or a '-' in them, and ours have none. So any other is meant for
        this app, and so is one of ours with dashes, or with this app's name before it; one that is not
        known is a slip, not to be passed over.

        Raises:
            ConfigError: a key is not known, or its value is not what it needs.
        """
        keys = [choice.name for choice in fields(cls)]
        ours = {key: value for key, value in context.items() if key in keys}
        for key in context.keys() - ours.keys():
            if hint := _hint(key, keys):
                raise ConfigError(f"unknown context key: got {key!r}; {hint}")
        return cls(**ours)


def _hint(key: str, keys: list[str]) -> str:
    """Return what was meant by a key that is none of ours; nothing where it is none of our business."""
    name = re.sub("^rivulet[:/._-]*", "", key, flags=re.IGNORECASE).lower()
    if name in choices.SETTINGS:
        return f"it is one of the function's settings: -c settings={name}=..."
    is_ours = name != key.lower() or not re.search("[-:/]", key)
    near = get_close_matches(name.replace("-", "_"), keys, n=1, cutoff=0.75 if is_ours else 0.9)
    if near:
        return f"did you mean {near[0]}?"
    return f"expected one of {', '.join(keys)}" if is_ours else ""

"""Which permissions models need, and what requests may name: text in, statements out, computed without AWS.

A model is configured by what Bedrock is called with: a foundation model's id, an inference profile's
id, or an ARN. What a role must be allowed differs by kind (facts 21, 22), so each is resolved to the
ARN that is invoked and the ARNs that a profile reaches behind it. ARNs are CloudFormation templates
(`${AWS::Partition}`), so that one synthesised stack is right in every account, region and partition,
and have CDK's tokens in them where something of the same app's was named.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.cdk_tokens import ACCOUNT, ANY, PARTITION, REGION, TOKEN, has_token, longest, some
from infra.shipped import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Converse needs the first and ConverseStream the second: neither has an action of its own (fact 21).
INVOKE_ACTIONS = ("bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream")
COUNT_ACTIONS = ("bedrock:CountTokens",)
GUARDRAIL_ACTIONS = ("bedrock:ApplyGuardrail",)
TOOL_ACTIONS = ("bedrock:InvokeTool",)
FILE_ACTIONS = ("s3:GetObject",)

# What a system-defined inference profile's id begins with; the function reads them, too.
GEOGRAPHIES: frozenset[str] = load("relay.geographies").GEOGRAPHIES

# What `modelId` may name by ARN and Bedrock invokes as it is: nothing else is reached through it.
DIRECT = frozenset(
    {
        "custom-model",
        "custom-model-deployment",
        "foundation-model",
        "imported-model",
        "provisioned-model",
    }
)
PROFILE = "inference-profile"
APPLICATION_PROFILE = "application-inference-profile"

# No `*` and no `?`: in a policy they would be wildcards.
_ID = re.compile(r"[A-Za-z0-9-]+\.[A-Za-z0-9-]+(?:[.:][A-Za-z0-9-]+)*")
_ARN = re.compile(
    rf"arn:(?P<partition>{PARTITION}):bedrock:(?P<region>{REGION}):(?P<account>{ACCOUNT})?:"
    rf"(?P<type>[a-z-]+)/(?P<id>[A-Za-z0-9-]+(?:[.:/][A-Za-z0-9-]+)*|{ANY})"
)
_GUARDRAIL_ID = re.compile(rf"{some('a-z0-9')}+")
_GUARDRAIL_PROFILE = re.compile(r"[a-z-]+\.guardrail\.v\d+:\d+")
# Amazon's, of whom all of them are: `nova_grounding`, `nova_code_interpreter`.
_SYSTEM_TOOL = re.compile(r"nova_[a-z0-9_]{1,59}")
# Of a bucket's name with a token in it nobody knows the length.
_BUCKET = rf"[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]|(?:[a-z0-9.-]*{ANY})+[a-z0-9.-]*"
_PREFIX = some("A-Za-z0-9!_.'()/=@:+&;~-")
_S3_URI = re.compile(rf"s3://(?P<bucket>{_BUCKET})(?:/(?P<prefix>{_PREFIX}*))?")
# Resources in one statement: CDK and `policies` part policies between statements only.
_MOST_RESOURCES = 10
LONGEST_POLICY = 6_144  # characters of a managed policy, spaces between words of JSON not counted

_HERE = "arn:${AWS::Partition}:bedrock:${AWS::Region}"
_MINE = _HERE + ":${AWS::AccountId}"


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model: what Bedrock is called with, and the ARNs that the call touches."""

    model_id: str
    arn: str
    reached: tuple[str, ...] = ()  # the foundation models that an inference profile routes to
    counted: tuple[
        str, ...
    ] = ()  # the foundation model that tokens are counted for, which no profile is


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A configured guardrail: its ARN, and that of the profile by which it reaches other regions."""

    arn: str
    reached: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One allowing statement of an IAM policy, its ARNs as `Fn::Sub` templates."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many characters of a policy it takes at most, wherever it is deployed."""
        written = {
            "Action": self.actions,
            "Condition": dict(self.conditions),
            "Effect": "Allow",
            "Resource": self.resources,
            "Sid": self.sid,
        }
        text = json.dumps(written, separators=(",", ":"))
        return len(longest(text)) + 1  # and the comma after it


def policies(parts: Iterable[Statement]) -> list[list[Statement]]:
    """Part statements into as many policies as it takes, each into the first that has room for it."""
    groups: list[list[Statement]] = []
    most = LONGEST_POLICY - len('{"Statement":[],"Version":"2012-10-17"}')
    for part in parts:
        for group in groups:
            if sum(other.size for other in group) + part.size <= most:
                group.append(part)
                break
        else:
            groups.append([part])
    return groups


def statements(
    models: Iterable[str],
    guardrails: Iterable[str] = (),
    system_tools: Iterable[str] = (),
    s3_uris: Iterable[str] = (),
) -> tuple[Statement, ...]:
    """Compute everything that a role needs to stream from these models, and nothing else."""
    resolved = [model(text) for text in models]
    applied = [guardrail(text) for text in guardrails]
    return (
        *_parted("InvokeModels", INVOKE_ACTIONS, (found.arn for found in resolved)),
        *_behind_profiles(found for found in resolved if found.reached),
        *_parted(
            "CountTokens", COUNT_ACTIONS, (arn for found in resolved for arn in found.counted)
        ),
        *_parted("ApplyGuardrails", GUARDRAIL_ACTIONS, (found.arn for found in applied)),
        # A guardrail with a profile is evaluated in any of the profile's regions. Of these AWS adds
        # more as time goes by, and no condition tells which guardrail came: the profile is one that
        # AWS has defined, in the account's own name, and it does nothing without a guardrail.
        *_parted(
            "ApplyGuardrailsAcrossRegions",
            GUARDRAIL_ACTIONS,
            (arn for found in applied for arn in found.reached),
        ),
        *_parted("InvokeSystemTools", TOOL_ACTIONS, map(system_tool, system_tools)),
        # Bedrock reads what a request names with the permissions of whoever calls it (fact 23).
        *_parted("ReadFiles", FILE_ACTIONS, map(s3_uri, s3_uris)),
    )


def _parted(sid: str, actions: tuple[str, ...], resources: Iterable[str]) -> Iterator[Statement]:
    for number, part in enumerate(_parts(_unique(resources)), 1):
        yield Statement(sid=_numbered(sid, number), actions=actions, resources=part)


def _behind_profiles(models: Iterable[Model]) -> Iterator[Statement]:
    """Allow what profiles reach only when the call came in through one of them.

    Without the condition this would also allow the models to be called directly, in any region. A
    profile routes to its own model alone, so that one statement for several is no wider than one for each.
    """
    behind: dict[str, tuple[str, ...]] = {}
    for found in models:
        if behind.setdefault(found.arn, found.reached) != found.reached:
            raise ValueError(f"expected one model behind a profile, got two behind {found.arn}")
    for number, profiles in enumerate(_parts(tuple(behind)), 1):
        yield Statement(
            sid=_numbered("InvokeModelsBehindProfiles", number),
            actions=INVOKE_ACTIONS,
            resources=_unique(arn for profile in profiles for arn in behind[profile]),
            conditions={"StringEquals": {"bedrock:InferenceProfileArn": profiles}},
        )


def _parts(texts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(texts), _MOST_RESOURCES):
        yield texts[start : start + _MOST_RESOURCES]


def _numbered(sid: str, number: int) -> str:
    return sid if number == 1 else f"{sid}{number}"


def model(text: str) -> Model:
    """Resolve one configured model.

    Raises:
        ValueError: it is none of the forms that Bedrock's `modelId` has.
    """
    model_id, copied, source = text.partition("=")
    arn = _ARN.fullmatch(model_id)
    # CloudFormation makes nothing else that can be a model here: what CDK fills in as a whole is one's ARN.
    if TOKEN.fullmatch(model_id) or (arn and arn["type"] == APPLICATION_PROFILE and arn["account"]):
        return _application_profile(model_id, source)
    if copied:
        raise ValueError("expected '=' only after an application inference profile's ARN")
    return _model(model_id)


def _model(model_id: str) -> Model:
    """Resolve a model whose id or ARN tells all."""
    arn = _ARN.fullmatch(model_id)
    if arn and arn["type"] == PROFILE and arn["account"] and not has_token(arn["id"]):
        return _profile(
            model_id, model_id, arn["id"], partition=arn["partition"], region=arn["region"]
        )
    if arn and arn["type"] in DIRECT:
        counted = (model_id,) if arn["type"] == "foundation-model" else ()
        return Model(model_id, model_id, counted=counted)
    if not _ID.fullmatch(model_id):
        raise ValueError(
            "expected a model id ('amazon.nova-lite-v1:0'), an inference profile id "
            "('eu.amazon.nova-lite-v1:0') or the ARN of something that Bedrock can invoke"
        )
    if model_id.partition(".")[0] in GEOGRAPHIES:
        return _profile(model_id, f"{_MINE}:{PROFILE}/{model_id}", model_id)
    here = f"{_HERE}::foundation-model/{model_id}"
    return Model(model_id, here, counted=(here,))


def guardrail(text: str) -> Guardrail:
    """Resolve one configured guardrail.

    Raises:
        ValueError: it is neither a guardrail's id nor its ARN, or not followed by a guardrail profile.
    """
    named, profiled, profile = text.partition("=")
    arn = _ARN.fullmatch(named)
    if arn and arn["type"] == "guardrail" and arn["account"]:
        partition, account = arn["partition"], arn["account"]
    elif _GUARDRAIL_ID.fullmatch(named):
        partition, account = "${AWS::Partition}", "${AWS::AccountId}"
    else:
        raise ValueError("expected a guardrail's id ('gr4f0x1abc2d') or its ARN")
    if profiled and not _GUARDRAIL_PROFILE.fullmatch(profile):
        raise ValueError(
            "expected the guardrail's own cross-region profile after '=' ('us.guardrail.v1:0')"
        )
    reached = (f"arn:{partition}:bedrock:*:{account}:guardrail-profile/{profile}",)
    return Guardrail(
        named if arn else f"{_MINE}:guardrail/{named}", reached=reached if profile else ()
    )


def system_tool(name: str) -> str:
    """Return the ARN of a tool of Bedrock's own, which is in no region (fact 23).

    Raises:
        ValueError: it is not the name of one.
    """
    if not _SYSTEM_TOOL.fullmatch(name):
        raise ValueError("expected the name of a system tool ('nova_grounding')")
    return f"arn:${{AWS::Partition}}:bedrock::${{AWS::AccountId}}:system-tool/amazon.{name}"


def s3_uri(text: str) -> str:
    """Return the ARN of all files in a bucket, or of those whose keys begin with a prefix.

    Raises:
        ValueError: it is neither a bucket nor a prefix in one, or IAM would read more into it.
    """
    found = _S3_URI.fullmatch(text)
    if not found:
        raise ValueError("expected 's3://bucket' or 's3://bucket/prefix', without wildcards")
    return f"arn:${{AWS::Partition}}:s3:::{found['bucket']}/{found['prefix'] or ''}*"


def _profile(
    model_id: str,
    arn: str,
    profile_id: str,
    *,
    partition: str = "${AWS::Partition}",
    region: str = "${AWS::Region}",
) -> Model:
    """Resolve a system-defined profile, whose id is its geography and the model's id."""
    geography, _, routed = profile_id.partition(".")
    # A global profile reaches the model at home and one without a region; a geographic one reaches
    # it in every destination region, of which AWS adds more as time goes by.
    regions = (region, "") if geography == "global" else ("*",)
    reached = tuple(
        f"arn:{partition}:bedrock:{name}::foundation-model/{routed}" for name in regions
    )
    # By a profile's id the function counts for its model at home; what has an ARN for a name, Bedrock does not count.
    counted = () if model_id.startswith("arn:") else (f"{_HERE}::foundation-model/{routed}",)
    return Model(model_id, arn, reached, counted)


def _application_profile(arn: str, source: str) -> Model:
    """Resolve an application profile, whose ARN does not tell what it was copied from."""
    if not source:
        raise ValueError(
            "expected what the profile was copied from, as '<its ARN>=<model id or ARN>'"
        )
    copied = _model(source)
    # Tokens are counted for the model itself: by a profile Bedrock knows none.
    return Model(arn, arn, copied.reached or (copied.arn,), copied.counted)


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))

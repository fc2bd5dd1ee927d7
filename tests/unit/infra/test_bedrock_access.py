from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.bedrock_access import (
    GEOGRAPHIES,
    LONGEST_POLICY,
    guardrail,
    model,
    policies,
    s3_uri,
    statements,
    system_tool,
)

HERE = "arn:${AWS::Partition}:bedrock:${AWS::Region}"
MINE = HERE + ":${AWS::AccountId}"
HOME = "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012"

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-2-lite-v1:0"
EVERYWHERE = "arn:${AWS::Partition}:bedrock:*::foundation-model"


@pytest.mark.parametrize(
    ("text", "model_id", "arn", "reached"),
    [
        pytest.param(CLAUDE, CLAUDE, f"{HERE}::foundation-model/{CLAUDE}", (), id="model id"),
        pytest.param(
            "deepseek.v3.2",
            "deepseek.v3.2",
            f"{HERE}::foundation-model/deepseek.v3.2",
            (),
            id="a dot in the model's name does not make the provider a geography",
        ),
        *(
            pytest.param(
                f"{geography}.{CLAUDE}",
                f"{geography}.{CLAUDE}",
                f"{MINE}:inference-profile/{geography}.{CLAUDE}",
                (f"{EVERYWHERE}/{CLAUDE}",),
                id=f"profile {geography}",
            )
            for geography in sorted(GEOGRAPHIES - {"global"})
        ),
        pytest.param(
            f"global.{NOVA}",
            f"global.{NOVA}",
            f"{MINE}:inference-profile/global.{NOVA}",
            (
                f"{HERE}::foundation-model/{NOVA}",
                f"arn:${{AWS::Partition}}:bedrock:::foundation-model/{NOVA}",
            ),
            id="global profile",
        ),
        pytest.param(
            f"{HOME}:inference-profile/xx.{CLAUDE}",
            f"{HOME}:inference-profile/xx.{CLAUDE}",
            f"{HOME}:inference-profile/xx.{CLAUDE}",
            (f"arn:aws-us-gov:bedrock:*::foundation-model/{CLAUDE}",),
            id="a profile by its ARN, of a geography that is not known yet",
        ),
        *(
            pytest.param(arn, arn, arn, (), id=arn.split(":")[-1])
            for arn in (
                f"arn:aws-cn:bedrock:cn-north-1::foundation-model/{NOVA}",
                f"{HOME}:provisioned-model/abcdef123456",
                f"{HOME}:imported-model/abcdef123456",
                f"{HOME}:custom-model-deployment/abcdef123456",
                f"{HOME}:custom-model/amazon.nova-lite-v1:0:300k/abcdef123456",
            )
        ),
        pytest.param(
            f"{HOME}:application-inference-profile/abc123def456={CLAUDE}",
            f"{HOME}:application-inference-profile/abc123def456",
            f"{HOME}:application-inference-profile/abc123def456",
            (f"{HERE}::foundation-model/{CLAUDE}",),
            id="application profile of one region",
        ),
        pytest.param(
            f"{HOME}:application-inference-profile/abc123def456=us.{CLAUDE}",
            f"{HOME}:application-inference-profile/abc123def456",
            f"{HOME}:application-inference-profile/abc123def456",
            (f"{EVERYWHERE}/{CLAUDE}",),
            id="application profile copied from a geographic one",
        ),
    ],
)
def test_resolves(text: str, model_id: str, arn: str, reached: tuple[str, ...]) -> None:
    """Each form of a model id becomes what is called, its ARN and the models behind it."""
    resolved = model(text)
    assert (resolved.model_id, resolved.arn, resolved.reached) == (model_id, arn, reached)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a model id"),
        ("claude", "a model id"),
        ("*", "a model id"),
        ("anthropic.*", "a model id"),
        ("anthropic.claude?", "a model id"),
        ("anthropic.claude v1", "a model id"),
        ("${AWS::Partition}.x", "a model id"),
        ("arn:aws:bedrock:*::foundation-model/amazon.nova", "a model id"),
        ("arn:aws:bedrock:us-east-1:123456789012:guardrail/abc", "a model id"),
        ("arn:aws:s3:::bucket", "a model id"),
        ("arn:aws:bedrock:us-east-1::inference-profile/us.amazon.nova", "a model id"),
        (f"{HOME}:application-inference-profile/abc", "what the profile was copied from"),
        (f"{HOME}:application-inference-profile/abc=", "what the profile was copied from"),
        (f"{HOME}:application-inference-profile/abc=nova", "a model id"),
        (
            f"{HOME}:application-inference-profile/abc={HOME}:application-inference-profile/d={NOVA}",
            "a model id",
        ),
        (f"{NOVA}={CLAUDE}", "'=' only after an application inference profile's ARN"),
    ],
)
def test_refuses(text: str, expected: str) -> None:
    """What is not a model, and above all what IAM would read as a wildcard, is refused."""
    with pytest.raises(ValueError, match=f"^expected {re.escape(expected)}"):
        model(text)


def test_statements_of_a_model() -> None:
    """A foundation model is allowed to be called, streaming and not, and counted for, in the stack's region."""
    statement, counting = statements([CLAUDE])
    assert statement.actions == ("bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream")
    assert counting.actions == ("bedrock:CountTokens",)
    assert (counting.resources, counting.conditions) == (statement.resources, {})
    assert statement.resources == (f"{HERE}::foundation-model/{CLAUDE}",)
    assert not statement.conditions


def test_statements_of_a_profile() -> None:
    """What lies behind a profile is allowed only when the call comes in through that profile."""
    invoked, behind, counting = statements([f"eu.{CLAUDE}"])
    assert counting.resources == (f"{HERE}::foundation-model/{CLAUDE}",)
    assert invoked.resources == (f"{MINE}:inference-profile/eu.{CLAUDE}",)
    assert behind.resources == (f"{EVERYWHERE}/{CLAUDE}",)
    assert behind.conditions == {"StringEquals": {"bedrock:InferenceProfileArn": invoked.resources}}


def test_one_model_is_behind_a_profile() -> None:
    """Of two, neither is passed over in silence."""
    profile = f"{HOME}:application-inference-profile/abc"
    with pytest.raises(
        ValueError, match=f"^expected one model behind a profile, got two behind {profile}"
    ):
        statements([f"{profile}={NOVA}", f"{profile}=us.{NOVA}"])


def test_what_cdk_fills_in_is_measured_as_long_as_it_may_become() -> None:
    """No policy becomes larger than IAM takes by what is filled in."""
    (files,) = (
        part
        for part in statements([CLAUDE], (), (), [f"s3://${{Token[T.{n}]}}/" for n in range(10)])
        if part.sid == "ReadFiles"
    )
    bare = [part for part in statements([CLAUDE], (), (), ["s3://abc/"]) if part.sid == "ReadFiles"]
    each = len("arn:aws-iso-b:s3:::/*") + 120
    assert files.size == bare[0].size - len("arn:aws-iso-b:s3:::abc/*") + 10 * each + 9 * len('"",')


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (
            f"{HOME}:application-inference-profile/abc123def456=us.{CLAUDE}",
            f"arn:${{AWS::Partition}}:bedrock:${{AWS::Region}}::foundation-model/{CLAUDE}",
        ),
        (f"{HOME}:inference-profile/us.{CLAUDE}", ()),
        (f"{HOME}:provisioned-model/abcdef123456", ()),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}",) * 2,
    ],
)
def test_tokens_are_counted_for_foundation_models_alone(text: str, counted: Any) -> None:
    """Bedrock counts for nothing else, so nothing else is allowed."""
    counted = (counted,) if isinstance(counted, str) else counted
    assert model(text).counted == counted


def test_statements_of_guardrails() -> None:
    """Guardrails are allowed by name, and only their use."""
    _, _, guardrails = statements([CLAUDE], ["abc123", f"{HOME}:guardrail/def456"])
    assert guardrails.actions == ("bedrock:ApplyGuardrail",)
    assert guardrails.resources == (f"{MINE}:guardrail/abc123", f"{HOME}:guardrail/def456")


def test_statements_of_guardrails_across_regions() -> None:
    """A guardrail's profile is allowed wherever it reaches, in the guardrail's own partition and account."""
    profiles = ["abc123=us.guardrail.v1:0", f"{HOME}:guardrail/def456=us-gov.guardrail.v1:0"]
    _, _, guardrails, across = statements([CLAUDE], profiles)
    assert guardrails.resources == (f"{MINE}:guardrail/abc123", f"{HOME}:guardrail/def456")
    assert across.actions == ("bedrock:ApplyGuardrail",)
    assert across.resources == (
        "arn:${AWS::Partition}:bedrock:*:${AWS::AccountId}:guardrail-profile/us.guardrail.v1:0",
        "arn:aws-us-gov:bedrock:*:123456789012:guardrail-profile/us-gov.guardrail.v1:0",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, "a guardrail's id") for text in ("", "*", "ABC", "=us.guardrail.v1:0")),
        *((f"{HOME}:{text}", "a guardrail's id") for text in ("guardrail/*", "agent/abc")),
        *(
            (f"abc123={text}", "the guardrail's own cross-region profile")
            for text in (
                "",
                "*",
                "us",
                "us.guardrail.v1",
                "us.guardrail.v1:*",
                "us.amazon.nova-lite-v1:0",
            )
        ),
    ],
)
def test_refuses_a_guardrail(text: str, expected: str) -> None:
    """What is not a guardrail, or not its profile, is refused."""
    with pytest.raises(ValueError, match=f"^expected {re.escape(expected)}"):
        guardrail(text)


def test_statements_of_what_requests_name() -> None:
    """Tools of Bedrock's own and files are allowed by name and prefix, each in one statement, and only their use."""
    *_, tools, files = statements(
        [CLAUDE], (), ["nova_grounding", "nova_code_interpreter"], ["s3://shop", "s3://docs/a/"]
    )
    assert (tools.sid, tools.actions) == ("InvokeSystemTools", ("bedrock:InvokeTool",))
    anywhere = "arn:${AWS::Partition}:bedrock::${AWS::AccountId}:system-tool/amazon."
    assert tools.resources == (f"{anywhere}nova_grounding", f"{anywhere}nova_code_interpreter")
    assert (files.sid, files.actions) == ("ReadFiles", ("s3:GetObject",))
    assert files.resources == (
        "arn:${AWS::Partition}:s3:::shop/*",
        "arn:${AWS::Partition}:s3:::docs/a/*",
    )
    assert not tools.conditions
    assert not files.conditions


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("s3://shop", "shop/*"),
        ("s3://shop/", "shop/*"),
        ("s3://shop.example.com/a", "shop.example.com/a*"),
        ("s3://shop/Year=2026/(a)_'b'-c.d!/", "shop/Year=2026/(a)_'b'-c.d!/*"),
    ],
)
def test_files_are_those_below_a_prefix(text: str, keys: str) -> None:
    """A bucket ends in a slash, or else another one's name could begin with its own."""
    assert s3_uri(text) == f"arn:${{AWS::Partition}}:s3:::{keys}"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "shop",
            "s3://",
            "s3:///a",
            "s3://a",
            "s3://Shop",
            "s3://*",
            "s3://shop*",
            "s3://-a-",
        ),
        *(
            "s3://shop/*",
            "s3://shop/a?",
            "s3://shop/${aws:username}/",
            "s3://shop/a b",
            "s3://shop/a\n",
        ),
        *("arn:aws:s3:::shop", "https://shop.s3.amazonaws.com/a", f"s3://{'a' * 64}"),
    ],
)
def test_refuses_files(text: str) -> None:
    """What is no bucket, or what IAM would read as a wildcard or a variable, is refused."""
    with pytest.raises(ValueError, match="expected 's3://bucket' or 's3://bucket/prefix', without"):
        s3_uri(text)


@pytest.mark.parametrize(
    "name", ["", "*", "nova_*", "nova_", "grounding", "amazon.nova_grounding", "nova_grounding\n"]
)
def test_refuses_a_system_tool(name: str) -> None:
    """What is none of Amazon's names is refused."""
    with pytest.raises(ValueError, match="expected the name of a system tool"):
        system_tool(name)


MANY = [f"apac.anthropic.claude-sonnet-4-5-202509{number:02}-v1:0" for number in range(60)]


def test_many_models() -> None:
    """Of many models no statement has more than ten resources, each has its own name, and no model is left out."""
    made = statements([*MANY, CLAUDE], [f"gr{number}=eu.guardrail.v1:0" for number in range(11)])
    assert len({statement.sid for statement in made}) == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", statement.sid) for statement in made)
    assert all(len(statement.resources) <= 10 for statement in made)
    by_kind: dict[str, list[str]] = {}
    for statement in made:
        by_kind.setdefault(statement.sid.rstrip("0123456789"), []).extend(statement.resources)
    resolved = [model(text) for text in (*MANY, CLAUDE)]
    assert by_kind["InvokeModels"] == [found.arn for found in resolved]
    assert by_kind["InvokeModelsBehindProfiles"] == [arn for m in resolved for arn in m.reached]
    assert by_kind["CountTokens"] == [*dict.fromkeys(arn for m in resolved for arn in m.counted)]
    assert len(by_kind["ApplyGuardrails"]) == 11


def test_each_part_has_its_own_profiles() -> None:
    """What lies behind some profiles is allowed through these alone, not through those of another statement."""
    behind = [part for part in statements(MANY) if "Behind" in part.sid]
    assert len(behind) == 6
    for number, part in enumerate(behind):
        profiles = MANY[number * 10 : number * 10 + 10]
        assert part.conditions["StringEquals"] == {
            "bedrock:InferenceProfileArn": tuple(model(text).arn for text in profiles)
        }
        assert part.resources == tuple(arn for text in profiles for arn in model(text).reached)


@pytest.mark.parametrize("count", [1, 20, 60])
@pytest.mark.parametrize("kind", ["apac", "global"])
def test_policies_are_small_enough(kind: str, count: int) -> None:
    """Filled in where names are longest, no policy is larger than IAM takes; each statement is in one of a few."""
    made = statements([text.replace("apac", kind) for text in MANY[:count]])
    groups = policies(made)
    parted = [part.sid for group in groups for part in group]
    assert sorted(parted) == sorted(part.sid for part in made)
    for group in groups:
        document = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": part.sid,
                    "Effect": "Allow",
                    "Action": part.actions,
                    "Resource": part.resources,
                    **({"Condition": part.conditions} if part.conditions else {}),
                }
                for part in group
            ],
        }
        text = json.dumps(document, separators=(",", ":"))
        text = text.replace("${AWS::Partition}", "aws-us-gov").replace(
            "${AWS::Region}", "ap-southeast-4"
        )
        assert len(text.replace("${AWS::AccountId}", "123456789012")) <= LONGEST_POLICY
    assert len(groups) <= 1 + count // 8


_PARTS = st.from_regex(r"[a-z0-9-]{1,8}", fullmatch=True)
_IDS = st.builds("{}.{}:{}".format, _PARTS, _PARTS, _PARTS)
_PROFILES = st.builds("{}.{}".format, st.sampled_from(sorted(GEOGRAPHIES)), _IDS)


@given(st.lists(_IDS | _PROFILES, min_size=1, max_size=6))
def test_no_statement_is_wide(texts: list[str]) -> None:
    """Whatever the models, no statement has a wildcard but the region, and that under its condition."""
    for statement in statements(texts):
        for resource in statement.resources:
            wide = "*" in resource
            assert not wide or resource.startswith(f"{EVERYWHERE}/")
            assert not wide or "bedrock:InferenceProfileArn" in statement.conditions["StringEquals"]
            assert "*" not in resource.removeprefix(EVERYWHERE)

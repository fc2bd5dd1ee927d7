"""cdk-nag's AwsSolutions: what it finds, and the reason that is given for each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy.own_stack import deploy
from tests.deploy.switches import OWN, SWITCHES

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_cdk import Stack

    from tests.deploy.conftest import Synthesised

pytestmark = pytest.mark.xdist_group("switches")

ROOT = Path(__file__).parents[2]
FULL = {
    **SWITCHES["auth"]["api-key"],
    **SWITCHES["capacity"]["provisioned"],
    **SWITCHES["watched"]["with-prices"],
    **SWITCHES["domain"]["own"],
    **SWITCHES["browsers"]["some"],
    **SWITCHES["budget"]["daily"],
    **SWITCHES["models"]["many"],
}


def rules(made: Synthesised) -> set[str]:
    """Return the names of the rules for which there are reasons, without what they were found in."""
    return {rule.removeprefix("AwsSolutions-").partition("[")[0] for rule, _ in made.reasons}


def test_defaults(synthesise_checked: Callable[..., Synthesised]) -> None:
    """The usual deployment breaks two rules, for the reasons that are given, and no other."""
    made = synthesise_checked()
    assert made.violations == []
    assert rules(made) == {"IAM5", "L1"}
    assert {rule for rule, _ in made.reasons if "IAM5" in rule} == {
        "AwsSolutions-IAM5[Resource::*]"
    }


@pytest.mark.parametrize(
    ("door", "found"),
    [
        ("cloudfront", {"CFR1", "CFR3"}),
        ("api-gateway", {"APIG2", "APIG4", "APIG6", "COG4", "IAM4"}),
    ],
)
def test_full(synthesise_checked: Callable[..., Synthesised], door: str, found: set[str]) -> None:
    """With everything chosen there are no more reasons than there are choices against AWS's usual advice."""
    made = synthesise_checked(**FULL, **OWN[door], front_door=door)
    assert made.violations == []
    assert rules(made) == {"IAM5", "L1", "SMG4", "DDB3"} | found


def test_without_access_logs(synthesise_checked: Callable[..., Synthesised]) -> None:
    """Without access logs there is a reason for that in place of the one for the role that writes them."""
    made = synthesise_checked(front_door="api-gateway", access_logs=False)
    assert made.violations == []
    assert "APIG1" in rules(made)
    assert "IAM4" not in rules(made)


def test_wildcards_are_told_one_by_one(synthesise_checked: Callable[..., Synthesised]) -> None:
    """No reason covers more than one wildcard: another one in the role would be found."""
    made = synthesise_checked(**SWITCHES["models"]["many"])
    wildcards = {rule for rule, _ in made.reasons if rule.startswith("AwsSolutions-IAM5")}
    assert wildcards == {
        "AwsSolutions-IAM5[Resource::*]",
        (
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:bedrock:*::foundation-model/"
            "amazon.nova-lite-v1:0]"
        ),
        (
            "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:bedrock:*:<AWS::AccountId>:"
            "guardrail-profile/eu.guardrail.v1:0]"
        ),
        "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::shop-documents/manuals/*]",
    }


def test_wildcards_of_what_the_same_app_makes(
    check: Callable[[Stack], Synthesised],
    stand_in: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A reason is told of the resource as cdk-nag calls it, whatever CDK fills in of its name."""
    from aws_cdk import App, Fn, Stack
    from aws_cdk import aws_s3 as s3

    monkeypatch.setattr("infra.package.build", stand_in)
    stack = Stack(App(outdir=str(tmp_path)), "Shop")
    bucket = s3.Bucket(stack, "Files")
    named = (
        f"s3://{bucket.bucket_name}/in/",
        f"s3://docs-{stack.account}-{stack.region}",
        f"s3://{bucket.bucket_arn}",  # whatever is filled in
        f"s3://{Fn.select(0, Fn.split('.', 'a.b'))}-{Fn.select(1, Fn.split('.', stack.stack_id))}",
    )
    deploy(stack, s3_uris=named)
    made = check(stack)
    assert {rule for rule in made.violations if "IAM5" in rule} == set()
    files = stack.resolve(bucket.bucket_name)["Ref"]
    head = "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::"
    wildcards = {rule for rule, _ in made.reasons if rule.startswith(head)}
    assert wildcards == {
        f"{head}<{files}>/in/*]",
        f"{head}docs-<AWS::AccountId>-<AWS::Region>/*]",
        f"{head}<{files}.Arn>/*]",
        f'{head}a-{{"Fn::Select":[1,{{"Fn::Split":[".",{{"Ref":"AWS::StackId"}}]}}]}}/*]',
    }


def test_deploying_does_without_it() -> None:
    """cdk-nag is a requirement of developers alone: nothing that deploys imports it."""
    pinned = (ROOT / "requirements" / "deploy.txt").read_text()
    assert not re.search(r"^cdk.nag", pinned, re.MULTILINE | re.IGNORECASE)
    program = "import sys; import app; print('cdk_nag' in sys.modules)"
    said = subprocess.check_output(
        [sys.executable, "-c", program], cwd=ROOT, text=True, timeout=120
    )
    assert json.loads(said.strip().lower()) is False

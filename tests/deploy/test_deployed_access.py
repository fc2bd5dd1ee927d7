"""Who may call a deployment, and what it may do: ministack checks the signatures and evaluates the policies."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from botocore import auth  # noqa: TID251  # its clock is set
from botocore.credentials import Credentials  # noqa: TID251  # callers'

from smoke.aws import Aws
from smoke.caller import Caller
from smoke.credentials import Nothing, Request, Signature, with_wrong_secret
from smoke.deployment import Deployment
from smoke.who_is_let_in import strangers
from tests.deploy.ministack import (
    ACCOUNT,
    DEPLOYS,
    HERE,
    PACKAGES,
    REGION,
    assembly,
    bedrock_stand_in,
    ministack,
)
from tests.integration.judges.judge import MINISTACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.stack import RivuletStack
    from smoke.credentials import Credential
    from tests.deploy.ministack import Cloud

pytestmark = [pytest.mark.xdist_group("deployment"), *DEPLOYS]

PROFILE_ID = "eu.amazon.nova-lite-v1:0"
MODEL_ID = "amazon.nova-micro-v1:0"
CHOICES = {**HERE, "model_ids": f"{PROFILE_ID},{MODEL_ID}", "guardrail_ids": "gr4f0x1abc2d"}
STREAM, WHOLE = "bedrock:InvokeModelWithResponseStream", "bedrock:InvokeModel"


class Deployed(NamedTuple):
    """A deployment, where it is called, and the keys of its callers by their names."""

    cloud: Cloud
    outputs: dict[str, str]
    url: str
    callers: dict[str, Credentials]

    def status(self, credential: Credential, path: str = "/health") -> int:
        """Return the status that a caller gets."""
        return Caller(self.url, credential, []).get(path).status


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A deployment on a ministack that checks: one user is granted to call it, two others are not."""
    home = tmp_path_factory.mktemp("checking")
    with bedrock_stand_in() as bedrock, ministack(home, bedrock=bedrock, auth=True) as cloud:
        # The one thing of `cdk bootstrap` that a deployment by the CLI's own credentials needs.
        where = {"LocationConstraint": REGION}
        cloud.client("s3").create_bucket(Bucket=PACKAGES, CreateBucketConfiguration=where)
        outputs = cloud.deploy(assembly(home / "app", CHOICES, add=_grant))
        cloud.run_bootstrap(outputs)
        iam, arn = cloud.client("iam"), outputs["FunctionArn"]
        iam.create_user(UserName="nobody")
        iam.create_user(UserName="half")
        half = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arn}
        document = json.dumps({"Version": "2012-10-17", "Statement": [half]})
        iam.put_user_policy(UserName="half", PolicyName="half", PolicyDocument=document)
        callers = {name: _keys(iam, name) for name in ("granted", "nobody", "half")}
        yield Deployed(cloud, outputs, cloud.url(outputs), callers)


def _grant(stack: RivuletStack) -> None:
    from aws_cdk import aws_iam as iam

    stack.stream.grant_invoke_url(iam.User(stack, "Granted", user_name="granted"))


def _keys(iam: Any, user: str) -> Credentials:
    made = iam.create_access_key(UserName=user)["AccessKey"]
    return Credentials(made["AccessKeyId"], made["SecretAccessKey"])


def signed(by: Credentials, **how: Any) -> Signature:
    return Signature(by, "lambda", REGION, **how)


class SignedForAnotherPath:
    """A signature that is right, of another request."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature

    def headers(self, request: Request) -> dict[str, str]:
        return self._signature.headers(request._replace(url=f"{request.url}/elsewhere"))


def test_a_granted_caller_is_let_in(deployed: Deployed) -> None:
    """Who is granted by `grant_invoke_url` and signs is answered; a prompt streams to its end."""
    caller = Caller(deployed.url, signed(deployed.callers["granted"]), [])
    assert caller.get("/health").json["status"] == "ok"
    answer = caller.post("/stream", {"prompt": "Why?"}, {"accept": "text/event-stream"})
    types = [event["type"] for _, event in answer.events()]
    assert (answer.status, types[0], types[-1]) == (200, "start", "done")


def test_wrong_signatures_are_refused(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signature, and one by a wrong secret, of another body or path, or of an hour ago, is a 403."""
    granted = deployed.callers["granted"]
    right = signed(granted)
    assert deployed.status(right) == 200
    assert deployed.status(Nothing()) == 403
    assert deployed.status(signed(with_wrong_secret(granted))) == 403
    assert deployed.status(SignedForAnotherPath(right)) == 403
    another_body = Caller(deployed.url, signed(granted, another_body=True), [])
    assert another_body.post("/stream", {}).status == 403
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_: an_hour_ago)
    assert deployed.status(right) == 403


def test_the_smoke_check_of_strangers_agrees(deployed: Deployed) -> None:
    """`make smoke` finds the same, with the credentials of a caller who may."""
    granted = deployed.callers["granted"]
    deployment = Deployment(
        url=deployed.url,
        auth="iam",
        credential=signed(granted),
        credentials=granted,
        aws=Aws(REGION),
    )
    assert strangers(deployment) == "with nothing 403, wrong secret 403, another body signed 403"


@pytest.mark.parametrize("name", ["nobody", "half"])
def test_callers_without_the_permission_are_refused(deployed: Deployed, name: str) -> None:
    """A right signature of somebody who is not granted, or may invoke the function but not its URL, is a 403."""
    assert deployed.status(signed(deployed.callers[name])) == 403


def test_the_grant_is_for_the_url_alone(deployed: Deployed) -> None:
    """Who is granted the URL may not invoke the function without it (fact 41)."""
    keys = deployed.callers["granted"]
    client = deployed.cloud.client("lambda", keys.access_key, keys.secret_key)
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.invoke(FunctionName=deployed.outputs["FunctionName"])


def bedrock_arn(resource: str, *, region: str = REGION, account: str = "") -> str:
    return f"arn:aws:bedrock:{region}:{account}:{resource}"


PROFILE = bedrock_arn(f"inference-profile/{PROFILE_ID}", account=ACCOUNT)
MODEL = bedrock_arn(f"foundation-model/{MODEL_ID}")
BEHIND = bedrock_arn("foundation-model/amazon.nova-lite-v1:0")


@pytest.mark.parametrize(
    ("action", "resource", "decision"),
    [
        (STREAM, PROFILE, "allowed"),
        (WHOLE, PROFILE, "allowed"),
        (STREAM, MODEL, "allowed"),
        ("bedrock:CountTokens", MODEL, "allowed"),
        ("bedrock:CountTokens", BEHIND, "allowed"),
        (
            "bedrock:ApplyGuardrail",
            bedrock_arn("guardrail/gr4f0x1abc2d", account=ACCOUNT),
            "allowed",
        ),
        # Everything else is not, however near.
        (STREAM, BEHIND, "implicitDeny"),
        (STREAM, MODEL.replace("micro", "pro"), "implicitDeny"),
        (STREAM, MODEL.replace(REGION, "us-east-1"), "implicitDeny"),
        (STREAM, PROFILE.replace("eu.", "us."), "implicitDeny"),
        (STREAM, PROFILE.replace(ACCOUNT, "210987654321"), "implicitDeny"),
        ("bedrock:CreateModelInvocationJob", MODEL, "implicitDeny"),
        (
            "bedrock:ApplyGuardrail",
            bedrock_arn("guardrail/another", account=ACCOUNT),
            "implicitDeny",
        ),
        ("s3:GetObject", "arn:aws:s3:::any/thing", "implicitDeny"),
        ("secretsmanager:GetSecretValue", "*", "implicitDeny"),
        ("dynamodb:UpdateItem", "*", "implicitDeny"),
        ("iam:PassRole", "*", "implicitDeny"),
        ("sts:AssumeRole", "*", "implicitDeny"),
    ],
)
def test_what_the_role_may_do(
    deployed: Deployed, action: str, resource: str, decision: str
) -> None:
    """The deployed role may call the configured models, count for them and apply the guardrail, and no more."""
    found = deployed.cloud.client("iam").simulate_principal_policy(
        PolicySourceArn=_role(deployed), ActionNames=[action], ResourceArns=[resource]
    )
    assert [one["EvalDecision"] for one in found["EvaluationResults"]] == [decision]


def test_what_the_role_may_do_through_a_profile(deployed: Deployed) -> None:
    """The model behind a profile may be called in any region, but only through that profile.

    ministack's simulation has no context; its evaluator, which is the one that it enforces with, takes it.
    """
    iam, role = deployed.cloud.client("iam"), _role(deployed).rpartition("/")[2]
    documents = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    abroad = BEHIND.replace(REGION, "eu-north-1")
    another = PROFILE.replace("eu.", "us.")
    asked = [
        (STREAM, BEHIND, PROFILE),
        (WHOLE, abroad, PROFILE),
        (STREAM, BEHIND, another),
        (STREAM, abroad, None),
        (STREAM, BEHIND.replace("lite", "pro"), PROFILE),
        ("bedrock:CountTokens", abroad, PROFILE),
    ]
    done = subprocess.run(
        [sys.executable, "-c", _EVALUATE],
        input=json.dumps([documents, asked]),
        env={"PYTHONPATH": str(MINISTACK)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ["Allow", "Allow", *["ImplicitDeny"] * 4]


_EVALUATE = """
import json, sys
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document
documents, asked = json.load(sys.stdin)
policies = [parse_policy_document(document) for document in documents]
def decide(action, resource, profile):
    context = {"bedrock:inferenceprofilearn": profile} if profile else {}
    return evaluate(EvalContext(
        principal_arn="arn:aws:sts::123456789012:assumed-role/a/b", principal_type="AssumedRole",
        principal_account="123456789012", action=action, resource_arn=resource, region="eu-west-1",
        source_ip="127.0.0.1", secure_transport=True, service_context=context), policies).decision
print(json.dumps([decide(*one) for one in asked]))
"""


def _role(deployed: Deployed) -> str:
    name = deployed.outputs["FunctionName"]
    found = deployed.cloud.client("lambda").get_function_configuration(FunctionName=name)
    return str(found["Role"])

"""A function among resources of the same app: what CDK fills in arrives where it belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from infra.cdk_tokens import has_token
from infra.config import Config, ConfigError
from tests.deploy.own_stack import deploy, resources, statements, template_of, variables
from tests.deploy.switches import NOVA

if TYPE_CHECKING:
    from aws_cdk import Stack

pytestmark = [pytest.mark.xdist_group("synth"), pytest.mark.usefixtures("node")]

COPIED = "amazon.nova-lite-v1:0"
PSEUDO = {name: {"Ref": f"AWS::{name}"} for name in ("Partition", "Region", "AccountId")}


@pytest.fixture(autouse=True)
def _quickly(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.package.build", stand_in)


@pytest.fixture
def stack() -> Stack:
    from aws_cdk import App, Stack

    return Stack(App(), "Shop")


def joined(*parts: Any) -> dict[str, Any]:
    return {"Fn::Join": ["", list(parts)]}


def guardrail_arn(resource: Any) -> dict[str, Any]:
    """Return the ARN of a guardrail of this account and region, as CDK joins it."""
    head = ["arn:", PSEUDO["Partition"], ":bedrock:", PSEUDO["Region"], ":", PSEUDO["AccountId"]]
    return joined(*head, ":guardrail/", resource)


def application_profile(stack: Stack, name: str = "Profile") -> Any:
    from aws_cdk import aws_bedrock as bedrock

    return bedrock.CfnApplicationInferenceProfile(stack, name, inference_profile_name=name)


def test_a_token_is_what_cdk_calls_one(stack: Stack) -> None:
    """What CDK has yet to fill in is known as such, alone and within a text, and nothing else is."""
    from aws_cdk import Aws, Fn, Token

    texts = (
        Aws.REGION,
        f"arn:{Aws.PARTITION}:s3",
        Fn.ref("Any"),
        stack.account,
        "${AWS::Region}",
        "a",
    )
    assert [has_token(text) for text in texts] == [Token.is_unresolved(text) for text in texts]
    assert [has_token(text) for text in texts] == [True, True, True, True, False, False]


def test_tokens_of_a_user_pool(stack: Stack) -> None:
    """The function is told the issuer, the client and the keys' address of a pool that is made with it."""
    from aws_cdk import aws_cognito as cognito

    pool = cognito.UserPool(stack, "Pool")
    client = pool.add_client("Web")
    deploy(
        stack,
        auth="jwt",
        jwt_issuer=pool.user_pool_provider_url,
        jwt_audience=(client.user_pool_client_id,),
        jwt_jwks_url=f"{pool.user_pool_provider_url}/.well-known/jwks.json",
    )
    told = variables(template_of(stack))
    issuer = stack.resolve(pool.user_pool_provider_url)
    assert list(issuer) == ["Fn::GetAtt"]
    assert told["RIVULET_JWT_ISSUER"] == issuer
    assert told["RIVULET_JWT_AUDIENCE"] == stack.resolve(client.user_pool_client_id)
    assert told["RIVULET_JWT_JWKS_URL"] == joined(issuer, "/.well-known/jwks.json")


def test_a_secret(stack: Stack) -> None:
    """A secret is read by its ARN, and by no other name."""
    from aws_cdk import aws_secretsmanager as secretsmanager

    from infra.function import BedrockStreamFunction

    secret = secretsmanager.Secret(stack, "Keys")
    stream = BedrockStreamFunction(
        stack, "Assistant", config=Config(auth="api-key", api_keys_secret=secret.secret_arn)
    )
    arn = stack.resolve(secret.secret_arn)
    template = template_of(stack)
    assert variables(template)["RIVULET_API_KEYS_SECRET"] == arn
    assert statements(template)["ReadApiKeys"]["Resource"] == [arn, joined(arn, "-??????")]
    assert stream.api_keys is not None
    command = stack.resolve(stream.api_keys.command)["Fn::Join"][1]
    assert command[1:4] == [PSEUDO["Region"], " --secret-id ", arn]


def test_a_secret_by_an_arn_that_is_put_together(stack: Stack) -> None:
    """An ARN without what Secrets Manager adds is one, whatever CDK fills in of it."""
    from aws_cdk import ArnFormat

    arn = stack.format_arn(
        service="secretsmanager",
        resource="secret",
        resource_name="shop/keys",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    deploy(stack, auth="api-key", api_keys_secret=arn)
    resource = flat(statements(template_of(stack))["ReadApiKeys"]["Resource"])
    assert resource.endswith(":<AWS::AccountId>:secret:shop/keys-??????")


def test_a_secret_by_a_name_that_is_put_together(stack: Stack) -> None:
    """A name is one, whatever CDK fills in of it."""
    from aws_cdk import Aws

    deploy(stack, auth="api-key", api_keys_secret=f"{Aws.STACK_NAME}/keys")
    template = template_of(stack)
    assert flat(variables(template)["RIVULET_API_KEYS_SECRET"]) == "<AWS::StackName>/keys"
    resource = flat(statements(template)["ReadApiKeys"]["Resource"])
    assert resource.endswith(":<AWS::AccountId>:secret:<AWS::StackName>/keys-??????")


def flat(value: Any) -> str:
    """Write what CloudFormation joins as one text."""
    if isinstance(value, str):
        return value
    if "Fn::Sub" in value:
        return str(value["Fn::Sub"]).replace("${", "<").replace("}", ">")
    return f"<{value['Ref']}>" if "Ref" in value else "".join(map(flat, value["Fn::Join"][1]))


def test_a_topic(stack: Stack) -> None:
    """Every alarm tells it, when it rings and when it is over."""
    from aws_cdk import aws_sns as sns

    topic = sns.Topic(stack, "Pager")
    deploy(stack, alarm_topic_arn=topic.topic_arn)
    alarms = resources(template_of(stack), "AWS::CloudWatch::Alarm")
    told = [stack.resolve(topic.topic_arn)]
    assert len(alarms) == 5
    assert all(alarm["AlarmActions"] == alarm["OKActions"] == told for alarm in alarms)


@pytest.mark.parametrize("front_door", ["cloudfront", "api-gateway"])
def test_a_certificate_and_a_web_acl(stack: Stack, front_door: str) -> None:
    """The front door gets both; nobody can tell here in which region they will be."""
    from aws_cdk import aws_certificatemanager as acm
    from aws_cdk import aws_wafv2 as wafv2

    certificate = acm.Certificate(stack, "Certificate", domain_name="chat.example.com")
    seen = wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=False, metric_name="acl", sampled_requests_enabled=False
    )
    web_acl = wafv2.CfnWebACL(
        stack,
        "WebAcl",
        default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
        scope="CLOUDFRONT" if front_door == "cloudfront" else "REGIONAL",
        visibility_config=seen,
    )
    deploy(
        stack,
        auth="api-key",
        front_door=front_door,
        domain_name="chat.example.com",
        certificate_arn=certificate.certificate_arn,
        web_acl_arn=web_acl.attr_arn,
    )
    template = template_of(stack)
    if front_door == "cloudfront":
        (distribution,) = resources(template, "AWS::CloudFront::Distribution")
        config = distribution["DistributionConfig"]
        found = (config["ViewerCertificate"]["AcmCertificateArn"], config["WebACLId"])
    else:
        (domain,) = resources(template, "AWS::ApiGateway::DomainName")
        (association,) = resources(template, "AWS::WAFv2::WebACLAssociation")
        found = (domain["RegionalCertificateArn"], association["WebACLArn"])
    assert found == (stack.resolve(certificate.certificate_arn), stack.resolve(web_acl.attr_arn))


@pytest.mark.parametrize("front_door", ["url", "api-gateway"])
def test_an_origin(stack: Stack, front_door: str) -> None:
    """Browsers may call from a site whose address CloudFormation makes."""
    from aws_cdk import aws_s3 as s3

    site = s3.Bucket(stack, "Site").bucket_website_domain_name
    deploy(stack, front_door=front_door, cors_origins=(f"https://{site}",))
    template = template_of(stack)
    origin = stack.resolve(f"https://{site}")
    if front_door == "url":
        (url,) = resources(template, "AWS::Lambda::Url")
        assert url["Cors"]["AllowOrigins"] == [origin]
    else:
        assert variables(template)["RIVULET_CORS_ORIGINS"] == origin


@pytest.mark.parametrize("attribute", ["attr_guardrail_id", "attr_guardrail_arn", "ref"])
def test_a_guardrail(stack: Stack, attribute: str) -> None:
    """It is allowed by the id in whatever names it, and so is its profile by its name."""
    from aws_cdk import aws_bedrock as bedrock

    made = bedrock.CfnGuardrail(
        stack,
        "Guardrail",
        name="shop",
        blocked_input_messaging="no",
        blocked_outputs_messaging="no",
    )
    named = getattr(made, attribute)
    deploy(stack, guardrail_ids=(f"{named}=eu.guardrail.v1:0", "abc123"))
    twice = joined(stack.resolve(named), ":guardrail/", stack.resolve(named))
    by_id = {"Fn::Select": [1, {"Fn::Split": [":guardrail/", twice]}]}
    allowed = statements(template_of(stack))
    assert allowed["ApplyGuardrails"]["Resource"] == [
        guardrail_arn(by_id),
        {
            "Fn::Sub": "arn:${AWS::Partition}:bedrock:${AWS::Region}:${AWS::AccountId}:guardrail/abc123"
        },
    ]
    assert allowed["ApplyGuardrailsAcrossRegions"]["Resource"] == {
        "Fn::Sub": "arn:${AWS::Partition}:bedrock:*:${AWS::AccountId}:guardrail-profile/eu.guardrail.v1:0"
    }


def test_a_guardrail_by_an_arn_that_is_put_together(stack: Stack) -> None:
    """Its id is known, and the rest as CloudFormation fills it in."""
    arn = stack.format_arn(service="bedrock", resource="guardrail", resource_name="gr4f0x1abc2d")
    deploy(stack, guardrail_ids=(f"{arn}=eu.guardrail.v1:0",))
    allowed = statements(template_of(stack))
    assert allowed["ApplyGuardrails"]["Resource"] == stack.resolve(arn)
    across = flat(allowed["ApplyGuardrailsAcrossRegions"]["Resource"])
    assert across == (
        "arn:<AWS::Partition>:bedrock:*:<AWS::AccountId>:guardrail-profile/eu.guardrail.v1:0"
    )


@pytest.mark.parametrize("choice", ["model_ids", "fallback_model_ids"])
def test_an_application_profile(stack: Stack, choice: str) -> None:
    """It may be called, the model behind it only through it; the function is told what it was copied from."""
    arn = application_profile(stack).attr_inference_profile_arn
    models: dict[str, Any] = {"model_ids": (COPIED,)} | {choice: (f"{arn}=eu.{COPIED}",)}
    deploy(stack, **models)
    template = template_of(stack)
    profile = stack.resolve(arn)
    assert list(profile) == ["Fn::GetAtt"]
    assert variables(template)[f"RIVULET_{choice.upper()}"] == joined(profile, f"=eu.{COPIED}")
    allowed = statements(template)
    invoked = allowed["InvokeModels"]["Resource"]
    assert profile in (invoked if isinstance(invoked, list) else [invoked])
    behind = allowed["InvokeModelsBehindProfiles"]
    assert behind["Condition"] == {"StringEquals": {"bedrock:InferenceProfileArn": [profile]}}
    assert behind["Resource"] == {
        "Fn::Sub": f"arn:${{AWS::Partition}}:bedrock:*::foundation-model/{COPIED}"
    }
    assert allowed["CountTokens"]["Resource"] == {
        "Fn::Sub": f"arn:${{AWS::Partition}}:bedrock:${{AWS::Region}}::foundation-model/{COPIED}"
    }


@pytest.mark.parametrize("attribute", ["attr_inference_profile_id", "ref"])
def test_an_application_profile_by_its_id(stack: Stack, attribute: str) -> None:
    """CloudFormation refers to it by its id; the role, the function and its metrics know it by its ARN."""
    named = getattr(application_profile(stack), attribute)
    deploy(
        stack,
        model_ids=(f"{named}={COPIED}",),
        model_aliases=(f"gpt={named}",),
        fallback_model_ids=(f"{named}={COPIED}",),
        prices=(f"{named}=1/2",),
    )
    template = template_of(stack)
    kind = ":application-inference-profile/"
    twice = joined(stack.resolve(named), kind, stack.resolve(named))
    by_id = {"Fn::Select": [1, {"Fn::Split": [kind, twice]}]}
    head = ["arn:", PSEUDO["Partition"], ":bedrock:", PSEUDO["Region"], ":", PSEUDO["AccountId"]]
    arn = joined(*head, kind, by_id)
    allowed = statements(template)
    assert allowed["InvokeModels"]["Resource"] == arn
    behind = allowed["InvokeModelsBehindProfiles"]
    assert behind["Condition"] == {"StringEquals": {"bedrock:InferenceProfileArn": [arn]}}
    told = variables(template)
    models = joined(*head, kind, by_id, f"={COPIED}")
    assert told["RIVULET_MODEL_IDS"] == told["RIVULET_FALLBACK_MODEL_IDS"] == models
    assert told["RIVULET_MODEL_ALIASES"] == joined("gpt=arn:", *head[1:], kind, by_id)
    queries = [query["Name"] for query in resources(template, "AWS::Logs::QueryDefinition")]
    assert "Shop/Cost by caller of gpt" in queries
    (dashboard,) = resources(template, "AWS::CloudWatch::Dashboard")
    resource = {"Fn::Select": [1, {"Fn::Split": ["/", arn]}]}
    assert resource in dashboard["DashboardBody"]["Fn::Join"][1]


def test_models_by_arns_that_are_put_together(stack: Stack) -> None:
    """They are what their ARNs say, whatever CloudFormation fills in; so is what a profile was copied from."""
    from aws_cdk import aws_bedrock as bedrock

    identifier = bedrock.FoundationModelIdentifier(COPIED)
    found = bedrock.FoundationModel.from_foundation_model_id(stack, "Model", identifier).model_arn
    abc, system = (
        stack.format_arn(service="bedrock", resource=kind, resource_name=name)
        for kind, name in (
            ("application-inference-profile", "abc123"),
            ("inference-profile", f"eu.{COPIED}"),
        )
    )
    deploy(stack, model_ids=(f"{abc}={found}", system, found), prices=(f"{abc}=1/2",))
    template = template_of(stack)
    allowed = statements(template)
    arns = [stack.resolve(text) for text in (abc, system, found)]
    assert allowed["InvokeModels"]["Resource"] == arns
    behind = allowed["InvokeModelsBehindProfiles"]
    assert [flat(arn) for arn in behind["Resource"]] == [
        flat(arns[2]),
        f"arn:<AWS::Partition>:bedrock:*::foundation-model/{COPIED}",
    ]
    told = flat(variables(template)["RIVULET_MODEL_IDS"])
    assert told == f"{flat(arns[0])}={flat(arns[2])},{flat(arns[1])},{flat(arns[2])}"
    queries = [query["Name"] for query in resources(template, "AWS::Logs::QueryDefinition")]
    assert "Shop/Cost by caller of abc123" in queries


def test_application_profiles_have_aliases_and_prices(stack: Stack) -> None:
    """What looks at them knows them by their alias, or what they were copied from, and by Bedrock's own name."""
    one, two, three = (
        application_profile(stack, name).attr_inference_profile_arn for name in ("P1", "P2", "P3")
    )
    deploy(
        stack,
        model_ids=(f"{one}={NOVA}", f"{two}={NOVA}", f"{three}={NOVA}"),
        model_aliases=(f"gpt={one}",),
        prices=(f"{one}=1/2", f"{two}=1/2", f"{three}=1/2"),
    )
    template = template_of(stack)
    assert variables(template)["RIVULET_MODEL_ALIASES"] == joined("gpt=", stack.resolve(one))
    costs = {
        query["Name"]: query["QueryString"]
        for query in resources(template, "AWS::Logs::QueryDefinition")
        if "Cost by" in query["Name"]
    }
    by_source = f"Shop/Cost by caller of profile of {NOVA.replace(':', '-')}"
    assert set(costs) == {"Shop/Cost by caller of gpt", by_source, f"{by_source} (2)"}
    assert 'filter model = "gpt"' in costs["Shop/Cost by caller of gpt"]
    assert costs[by_source]["Fn::Join"][1][:2] == ['filter model = "', stack.resolve(two)]
    (dashboard,) = resources(template, "AWS::CloudWatch::Dashboard")
    body = dashboard["DashboardBody"]["Fn::Join"][1]
    for arn in (one, two, three):
        resource = {"Fn::Select": [1, {"Fn::Split": ["/", stack.resolve(arn)]}]}
        assert resource in body, "the value of Bedrock's dimension ModelId"


def test_a_bucket(stack: Stack) -> None:
    """Requests may name files in a bucket that is made with the function."""
    from aws_cdk import aws_s3 as s3

    bucket = s3.Bucket(stack, "Files")
    deploy(stack, s3_uris=(bucket.s3_url_for_object("in/"),))
    template = template_of(stack)
    name = stack.resolve(bucket.bucket_name)
    assert variables(template)["RIVULET_S3_URIS"] == joined("s3://", name, "/in/")
    read = statements(template)["ReadFiles"]["Resource"]
    assert read == joined("arn:", PSEUDO["Partition"], ":s3:::", name, "/in/*")


def test_a_bucket_whose_name_is_put_together(stack: Stack) -> None:
    """The longest of names is one, whatever CDK calls what it fills in."""
    bucket = f"documents-of-the-shop-{stack.account}-{stack.region}"
    deploy(stack, s3_uris=(f"s3://{bucket}/in/",))
    template = template_of(stack)
    name = "documents-of-the-shop-<AWS::AccountId>-<AWS::Region>"
    assert flat(variables(template)["RIVULET_S3_URIS"]) == f"s3://{name}/in/"
    read = flat(statements(template)["ReadFiles"]["Resource"])
    assert read == f"arn:<AWS::Partition>:s3:::{name}/in/*"


def test_a_list(stack: Stack) -> None:
    """Nobody knows how many items a list will have: it is refused, and taken as the text that CDK makes of it."""
    from aws_cdk import CfnParameter, Fn

    audiences = CfnParameter(stack, "Audiences", type="CommaDelimitedList").value_as_list
    jwt = {"auth": "jwt", "jwt_issuer": "https://issuer.example.com"}
    with pytest.raises(ConfigError, match="jwt_audience: expected items, not a list"):
        deploy(stack, **jwt, jwt_audience=audiences)
    deploy(stack, **jwt, jwt_audience=Fn.join(",", audiences))
    told = variables(template_of(stack))["RIVULET_JWT_AUDIENCE"]
    assert told == {"Fn::Join": [",", {"Ref": "Audiences"}]}

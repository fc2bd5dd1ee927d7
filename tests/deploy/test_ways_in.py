"""Who may call, as a deployment chooses: the secret of the keys, the issuer of tokens, the budgets' table."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_cdk.assertions import Template

    from tests.deploy.conftest import Synthesised

    Synthesise = Callable[..., Template]

pytestmark = pytest.mark.xdist_group("synth")

JWT = {"auth": "jwt", "jwt_issuer": "https://issuer.example.com", "jwt_audience": ("rivulet",)}
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/keys"
BUDGET = {"daily_tokens": 100_000, "settings": ("max_tokens=4096",)}


def properties(template: Template, kind: str) -> dict[str, Any]:
    (resource,) = template.find_resources(kind).values()
    return dict(resource["Properties"])


def variables(template: Template) -> dict[str, Any]:
    return dict(properties(template, "AWS::Lambda::Function")["Environment"]["Variables"])


def statement(template: Template, sid: str) -> dict[str, Any] | None:
    """Return the statement of the function's role that has this name, if there is one."""
    document = properties(template, "AWS::IAM::Policy")["PolicyDocument"]
    named = {found.get("Sid"): found for found in document["Statement"]}
    return named.get(sid)


def test_a_secret_is_made(synthesise: Synthesise) -> None:
    """Without one of one's own the stack makes a secret with one generated key, which no output or template tells."""
    template = synthesise(auth="api-key")
    ((name, secret),) = template.find_resources("AWS::SecretsManager::Secret").items()
    generated = secret["Properties"]["GenerateSecretString"]
    assert generated["GenerateStringKey"] == "default"
    assert json.loads(generated["SecretStringTemplate"]) == {}
    assert generated["PasswordLength"] >= 40
    assert (
        generated["ExcludePunctuation"] is True
    )  # letters and digits, in JSON and in a header alike
    assert not generated.get("IncludeSpace")
    assert "Name" not in secret["Properties"]
    # To leave the way by keys once, by mistake, is not to lose the keys.
    assert secret["DeletionPolicy"] == secret["UpdateReplacePolicy"] == "Retain"
    assert variables(template)["RIVULET_API_KEYS_SECRET"] == {"Ref": name}
    allowed = statement(template, "ReadApiKeys")
    assert allowed == {
        "Sid": "ReadApiKeys",
        "Effect": "Allow",
        "Action": "secretsmanager:GetSecretValue",
        "Resource": {"Ref": name},
    }
    command = template.find_outputs("*")["ApiKeysCommand"]["Value"]["Fn::Join"][1]
    assert command == [
        "aws secretsmanager get-secret-value --region ",
        {"Ref": "AWS::Region"},
        " --secret-id ",
        {"Ref": name},
        " --query SecretString --output text",
    ]


@pytest.mark.parametrize(
    ("given", "allowed", "region"),
    [
        pytest.param(
            "shop/keys",
            [
                "arn:<AWS::Partition>:secretsmanager:<AWS::Region>:<AWS::AccountId>:secret:shop/keys-??????"
            ],
            "<AWS::Region>",
            id="by name",
        ),
        pytest.param(
            SECRET,
            [f"{SECRET}-??????"],
            "eu-west-1",
            id="by ARN without what was added to the name",
        ),
        pytest.param(
            f"{SECRET}-AbC123",
            [f"{SECRET}-AbC123", f"{SECRET}-AbC123-??????"],
            "eu-west-1",
            id="by ARN, or by one without what was added to a name like that",
        ),
    ],
)
def test_a_secret_that_is_there(
    synthesise: Synthesise, given: str, allowed: list[str], region: str
) -> None:
    """A secret of one's own is read by what names it, and no other of a similar name is."""
    template = synthesise(auth="api-key", api_keys_secret=given)
    assert not template.find_resources("AWS::SecretsManager::Secret")
    assert variables(template)["RIVULET_API_KEYS_SECRET"] == given
    found = statement(template, "ReadApiKeys")
    assert found is not None
    assert found["Action"] == "secretsmanager:GetSecretValue"
    resources = found["Resource"]
    assert [*map(flat, resources if isinstance(resources, list) else [resources])] == allowed
    command = flat(template.find_outputs("*")["ApiKeysCommand"]["Value"])
    assert f" --region {region} --secret-id {given} " in command


def flat(value: Any) -> str:
    """Write what CloudFormation joins as one text."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return f"<{value['Ref']}>"
    return "".join(map(flat, value["Fn::Join"][1]))


def test_tokens_need_no_permission(synthesise: Synthesise) -> None:
    """An issuer's keys are public: the function is told where from, and its role is the usual one."""
    template = synthesise(
        **JWT, jwt_scopes=("chat", "more"), jwt_jwks_url="https://a.example.com/k"
    )
    told = {
        name.removeprefix("RIVULET_"): value
        for name, value in variables(template).items()
        if name.startswith(("RIVULET_JWT", "RIVULET_AUTH"))
    }
    assert told == {
        "AUTH": "jwt",
        "JWT_ISSUER": "https://issuer.example.com",
        "JWT_AUDIENCE": "rivulet",
        "JWT_SCOPES": "chat,more",
        "JWT_JWKS_URL": "https://a.example.com/k",
    }
    assert properties(template, "AWS::IAM::Policy") == properties(synthesise(), "AWS::IAM::Policy")


def test_the_usual_way_needs_nothing(synthesise: Synthesise) -> None:
    """With signatures there is no secret, no table, and no word of them to the function."""
    template = synthesise()
    assert not template.find_resources("AWS::SecretsManager::Secret")
    assert not template.find_resources("AWS::DynamoDB::Table")
    assert set(variables(template)) & {"RIVULET_AUTH", "RIVULET_BUDGET_TABLE"} == set()
    assert statement(template, "ReadApiKeys") is None
    assert statement(template, "CountTokensOfCallers") is None


def test_budgets(synthesise: Synthesise) -> None:
    """What callers have used is counted in a table that is paid by the request and empties itself."""
    template = synthesise(**BUDGET)
    ((name, table),) = template.find_resources("AWS::DynamoDB::Table").items()
    assert table["Properties"] == {
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
    }
    assert table["DeletionPolicy"] == "Delete"
    assert statement(template, "CountTokensOfCallers") == {
        "Sid": "CountTokensOfCallers",
        "Effect": "Allow",
        "Action": "dynamodb:UpdateItem",
        "Resource": {"Fn::GetAtt": [name, "Arn"]},
    }
    told = variables(template)
    assert told["RIVULET_BUDGET_TABLE"] == {"Ref": name}
    assert told["RIVULET_DAILY_TOKENS"] == "100000"
    assert told["RIVULET_MAX_TOKENS"] == "4096"
    assert template.find_outputs("*")["BudgetTable"]["Value"] == {"Ref": name}


def test_public_is_warned_of(synthesise_checked: Callable[..., Synthesised]) -> None:
    """Whoever deploys a public address is told so, every time; nobody else is."""
    (warning,) = [
        text for text in synthesise_checked(auth="public").warnings if "rivulet:public" in text
    ]
    assert re.search(r"auth=public: whoever finds the address can spend", warning)
    assert not synthesise_checked().warnings


@pytest.mark.usefixtures("node")
def test_attributes(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The construct gives the secret and the table to whoever has a stack of their own."""
    monkeypatch.setattr("infra.package.build", stand_in)
    from aws_cdk import App, Stack

    from infra.config import Config
    from infra.function import BedrockStreamFunction

    stack = Stack(App(), "Shop")
    usual = BedrockStreamFunction(stack, "Usual")
    assert (usual.api_keys, usual.budgets, usual.alias) == (None, None, None)
    assert usual.called is usual.function
    full = BedrockStreamFunction(stack, "Full", config=Config(auth="api-key", **BUDGET))  # type: ignore[arg-type]
    assert full.api_keys is not None
    assert full.budgets is not None
    assert stack.resolve(full.api_keys.secret.secret_arn)["Ref"].startswith("FullApiKeys")
    assert stack.resolve(full.budgets.table.table_name)["Ref"].startswith("FullBudgets")

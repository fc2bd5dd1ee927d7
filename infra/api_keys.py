"""The secret that holds the callers' API keys: one that the stack makes, or one that is there already."""

from __future__ import annotations

import re

from aws_cdk import ArnFormat, Aws, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.cdk_tokens import TOKEN
from infra.nag import acknowledge

KEY_LENGTH = 48  # letters and digits: 285 bits
# What Secrets Manager adds to a name in an ARN, which whoever knows only the name cannot know.
_SUFFIX = re.compile(r".*-[A-Za-z0-9]{6}")
_ANY_SUFFIX = "-??????"


class ApiKeys(Construct):
    """A secret: a JSON object of names to a key each, or to a list of keys while one is being rotated.

    Args:
        existing: the name or ARN of a secret that is there; without it one is made, with one key. What CDK
            fills in as a whole is an ARN.

    Attributes:
        secret: the secret.
        secret_id: what the function asks Secrets Manager for: its name or ARN.
    """

    def __init__(self, scope: Construct, construct_id: str, *, existing: str = "") -> None:
        super().__init__(scope, construct_id)
        self.secret: secretsmanager.ISecret
        if not existing:
            self.secret = self._made()
            self.secret_id = self.secret.secret_arn
            self._arns = [self.secret_id]
            return
        self.secret_id = existing
        is_token = TOKEN.fullmatch(existing)
        if is_token or existing.startswith("arn:"):
            # Or its name ends like that, and this is the ARN without what was added: both are allowed.
            is_complete = is_token or _SUFFIX.fullmatch(existing)
            find = (
                secretsmanager.Secret.from_secret_complete_arn
                if is_complete
                else secretsmanager.Secret.from_secret_partial_arn
            )
            self.secret = find(self, "Secret", existing)
            self._arns = [*([existing] if is_complete else []), existing + _ANY_SUFFIX]
        else:
            self.secret = secretsmanager.Secret.from_secret_name_v2(self, "Secret", existing)
            arn = Stack.of(self).format_arn(
                service="secretsmanager",
                resource="secret",
                resource_name=existing + _ANY_SUFFIX,
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            )
            self._arns = [arn]

    @property
    def command(self) -> str:
        """The command that shows the keys to whoever may see them."""
        is_arn = self.secret_id.startswith("arn:")  # which has the region in it
        region = self.secret_id.split(":")[3] if is_arn else Aws.REGION
        return (
            f"aws secretsmanager get-secret-value --region {region} --secret-id {self.secret_id} "
            "--query SecretString --output text"
        )

    def grant_read(self, role: iam.Role) -> None:
        """Allow a role to read this secret, and to do nothing else with it."""
        role.add_to_principal_policy(
            iam.PolicyStatement(
                sid="ReadApiKeys",
                actions=["secretsmanager:GetSecretValue"],
                resources=self._arns,
            )
        )

    def _made(self) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            "Secret",
            description="API keys: a JSON object of names to a key, or to a list of keys",
            # Only what needs no escaping, neither in JSON nor in a header.
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template="{}",  # noqa: S106  the JSON that the key is put into
                generate_string_key="default",
                password_length=KEY_LENGTH,
                exclude_punctuation=True,
            ),
            # Deploying once without `auth=api-key` would destroy all callers' keys for good.
            removal_policy=RemovalPolicy.RETAIN,
        )
        acknowledge(
            secret,
            {
                "AwsSolutions-SMG4": "A key is in its callers' hands: it is rotated with them, by a "
                "list of the new one and the old one, not behind their backs.",
            },
        )
        return secret

"""The table in which the function counts each caller's tokens, a row a caller and day."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.nag import acknowledge


class BudgetTable(Construct):
    """What callers have used today. Paid by the request; rows expire by themselves.

    Attributes:
        table: the DynamoDB table: partition key `id`, expiry in `expires`.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.table = dynamodb.Table(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expires",
            removal_policy=RemovalPolicy.DESTROY,
        )
        acknowledge(
            self.table,
            {
                "AwsSolutions-DDB3": "Counts of a day, gone three days after: there is nothing to restore."
            },
        )

    def grant_count(self, role: iam.Role) -> None:
        """Allow a role to count, which is all that the function does here, and no more."""
        role.add_to_principal_policy(
            iam.PolicyStatement(
                sid="CountTokensOfCallers",
                actions=["dynamodb:UpdateItem"],
                resources=[self.table.table_arn],
            )
        )

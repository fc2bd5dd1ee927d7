"""The stack: it wires, the constructs build."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aws_cdk import CfnOutput, Fn, Stack

from infra.cloudfront import CloudFrontDoor
from infra.function import BedrockStreamFunction
from infra.observability import Observability
from infra.rest_api import RestApiDoor

if TYPE_CHECKING:
    from constructs import Construct

    from infra.config import Config


class RivuletStack(Stack):
    """One streaming function, its front door, what watches it, and what a caller needs to know of them.

    It names no account and no region, so that it is synthesised without asking AWS anything, and
    deployed wherever the CDK CLI's credentials point.
    """

    def __init__(self, scope: Construct, *, config: Config) -> None:
        super().__init__(
            scope,
            config.stack_name,
            description="Rivulet: Amazon Bedrock's streams through a Lambda function",
        )
        config = replace(config, stack_name=self.stack_name)  # in a stage, that is before it
        self.stream = BedrockStreamFunction(self, "Stream", config=config)
        url = self._front_door(config)
        Observability(
            self,
            "Observability",
            config=config,
            function=self.stream.function,
            log_group=self.stream.log_group,
        )
        CfnOutput(self, "Url", value=url, description="Where to POST /stream")
        CfnOutput(self, "FunctionName", value=self.stream.function.function_name)
        CfnOutput(self, "FunctionArn", value=self.stream.called.function_arn)
        if self.stream.api_keys:
            CfnOutput(
                self,
                "ApiKeysCommand",
                value=self.stream.api_keys.command,
                description="Shows the API keys",
            )
        if self.stream.budgets:
            CfnOutput(self, "BudgetTable", value=self.stream.budgets.table.table_name)

    def _front_door(self, config: Config) -> str:
        """Make the chosen front door, and return its address."""
        door: CloudFrontDoor | RestApiDoor
        match config.front_door:
            case "cloudfront":
                door = CloudFrontDoor(self, "FrontDoor", config=config, stream=self.stream)
            case "api-gateway":
                door = RestApiDoor(self, "FrontDoor", config=config, stream=self.stream)
            case _:
                # Lambda's own value ends in a slash, which "$URL/stream" would double.
                return f"https://{Fn.select(2, Fn.split('/', self.stream.existing_url().url))}"
        if door.domain_target:
            CfnOutput(
                self,
                "DomainTarget",
                value=door.domain_target,
                description=f"What the DNS of {config.domain_name} has to point at",
            )
        return door.url

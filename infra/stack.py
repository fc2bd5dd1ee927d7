"""The stack: it wires, the constructs build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import CfnOutput, Stack

from infra.function import BedrockStreamFunction

if TYPE_CHECKING:
    from constructs import Construct

    from infra.config import Config


class RivuletStack(Stack):
    """One streaming function and what a caller needs to know of it.

    It names no account and no region, so that it is synthesised without asking AWS anything, and
    deployed wherever the CDK CLI's credentials point.
    """

    def __init__(self, scope: Construct, *, config: Config) -> None:
        super().__init__(
            scope,
            config.stack_name,
            description="Rivulet: Amazon Bedrock's streams through a Lambda function URL",
        )
        stream = BedrockStreamFunction(self, "Stream", config=config)
        CfnOutput(self, "Url", value=stream.url.url, description="Where to POST /stream")
        CfnOutput(self, "FunctionName", value=stream.function.function_name)
        CfnOutput(self, "FunctionArn", value=stream.function.function_arn)

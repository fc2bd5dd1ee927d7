"""The stack: it wires, the constructs build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import CfnOutput, Fn, Stack

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
        # Lambda's own value ends in a slash, which "$URL/stream" would double.
        host = Fn.select(2, Fn.split("/", stream.url.url))
        CfnOutput(self, "Url", value=f"https://{host}", description="Where to POST /stream")
        CfnOutput(self, "FunctionName", value=stream.function.function_name)
        CfnOutput(self, "FunctionArn", value=stream.function.function_arn)

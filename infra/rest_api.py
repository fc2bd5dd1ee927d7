"""A REST API in front of the function: one's own domain, a web ACL, throttling, access logs, and streams.

API Gateway calls the function itself, by `InvokeWithResponseStream` (fact 48): there is no function
URL on the way, credentials pass as they are, and bodies need no hash.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from infra.config import RETENTION
from infra.nag import acknowledge

if TYPE_CHECKING:
    from infra.config import Config
    from infra.function import BedrockStreamFunction

STAGE = "live"
# Beyond these API Gateway answers 429 by itself, as well as it can: a bucket of so many tokens, of which
# every request takes one when it comes, however long its stream, and which fills at the rate. Lambda
# runs 1,000 streams at once in an account that asked for no more, and an answer that takes ten seconds
# leaves room for a hundred new ones a second.
REQUESTS_PER_SECOND = 100
BURST = 1000

# What is asked and how it went: no address, no credential, no ARN, and no path, which may hold one.
_ACCESS_LOG = {
    "requestId": "$context.requestId",
    "extendedRequestId": "$context.extendedRequestId",
    "time": "$context.requestTimeEpoch",
    "method": "$context.httpMethod",
    "resource": "$context.resourcePath",
    "protocol": "$context.protocol",
    "status": "$context.status",
    "bytes": "$context.responseLength",
    "refusedAs": "$context.error.responseType",
    "milliseconds": "$context.responseLatency",
    "functionStatus": "$context.integration.status",
    "functionRequestId": "$context.integration.requestId",
    "webAcl": "$context.waf.status",
}


class RestApiDoor(Construct):
    """A regional REST API that hands every request on to the function, and its answer back as it comes.

    Attributes:
        api: the REST API.
        url: where callers go.
        domain_target: what the chosen domain's DNS has to point at; None without one.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        stream: BedrockStreamFunction,
    ) -> None:
        super().__init__(scope, construct_id)
        self.domain_target: str | None = None
        self.api = self._make_api(config)
        self._hand_on_everything(config, stream)
        if config.cors_origins:
            self._let_browsers_read_refusals()
        self.api.node.try_remove_child("Endpoint")  # an output that would say the same again
        host = f"{self.api.rest_api_id}.execute-api.{Aws.REGION}.{Aws.URL_SUFFIX}"
        self.url = f"https://{host}/{STAGE}"
        if config.domain_name:
            self.url = f"https://{config.domain_name}"
            self.domain_target = self._make_domain(config)
        if config.web_acl_arn:
            wafv2.CfnWebACLAssociation(
                self,
                "WebAcl",
                resource_arn=self.api.deployment_stage.stage_arn,
                web_acl_arn=config.web_acl_arn,
            )
        acknowledge(self.api, _reasons(config))

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Allow `grantee` to call the API, where it asks for signatures (`auth=iam`)."""
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["execute-api:Invoke"],
            resource_arns=[self.api.arn_for_execute_api("*", "/*", STAGE)],
        )

    def _make_api(self, config: Config) -> apigateway.RestApi:
        return apigateway.RestApi(
            self,
            "Api",
            description="Amazon Bedrock's streams",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # The one address, where one was chosen.
            disable_execute_api_endpoint=bool(config.domain_name),
            # What API Gateway writes logs in is one role for all APIs of an account and region.
            cloud_watch_role=config.access_logs,
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                throttling_rate_limit=REQUESTS_PER_SECOND,
                throttling_burst_limit=BURST,
                tracing_enabled=True,
                **self._access_logs(config),
            ),
        )

    def _access_logs(self, config: Config) -> dict[str, Any]:
        """Return what a stage is told of its access logs: nothing where there are none."""
        if not config.access_logs:
            return {}
        log_group = logs.LogGroup(
            self,
            "AccessLogs",
            retention=logs.RetentionDays[RETENTION[config.log_retention_days]],
            removal_policy=RemovalPolicy.RETAIN if config.retain_logs else RemovalPolicy.DESTROY,
        )
        return {
            "access_log_destination": apigateway.LogGroupLogDestination(log_group),
            "access_log_format": apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG)),
        }

    def _hand_on_everything(self, config: Config, stream: BedrockStreamFunction) -> None:
        integration = apigateway.LambdaIntegration(
            stream.called,
            proxy=True,
            response_transfer_mode=apigateway.ResponseTransferMode.STREAM,
            timeout=Duration.seconds(config.timeout_seconds),
            allow_test_invoke=False,
        )
        signed = config.auth == "iam"
        asked = apigateway.AuthorizationType
        for resource in (self.api.root, self.api.root.add_resource("{proxy+}")):
            resource.add_method(
                "ANY", integration, authorization_type=asked.IAM if signed else asked.NONE
            )
            # Browsers ask without a signature; to anything but their question the function says no.
            if signed and config.cors_origins:
                resource.add_method("OPTIONS", integration, authorization_type=asked.NONE)

    def _let_browsers_read_refusals(self) -> None:
        """Let browsers see what API Gateway answers by itself, a 403 or a 429: without it they see no answer at all.

        It says nothing but its status, so that any origin may read it; which of several it is, only the function tells.
        """
        kinds = apigateway.ResponseType
        for name, kind in (("Refusals", kinds.DEFAULT_4_XX), ("Failures", kinds.DEFAULT_5_XX)):
            self.api.add_gateway_response(
                name, type=kind, response_headers={"Access-Control-Allow-Origin": "'*'"}
            )

    def _make_domain(self, config: Config) -> str:
        domain = apigateway.DomainName(
            self,
            "Domain",
            domain_name=config.domain_name,
            certificate=acm.Certificate.from_certificate_arn(
                self, "Certificate", config.certificate_arn
            ),
            endpoint_type=apigateway.EndpointType.REGIONAL,
            security_policy=apigateway.SecurityPolicy.TLS_1_2,
            mapping=self.api,
        )
        return domain.domain_name_alias_domain_name


_LOGS_POLICY = (
    "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
    "AmazonAPIGatewayPushToCloudWatchLogs]"
)


def _reasons(config: Config) -> dict[str, str]:
    reasons = {
        "AwsSolutions-APIG2": "The function checks requests, and says in each API's own words what "
        "is wrong with one.",
        "AwsSolutions-APIG6": "Logs of the execution would hold prompts.",
    }
    if config.access_logs:
        reasons[_LOGS_POLICY] = "API Gateway's own role for its logs, as AWS has it."
    else:
        reasons["AwsSolutions-APIG1"] = (
            "Access logs were chosen not to be: access_logs. The function records each request that "
            "reaches it."
        )
    if not config.web_acl_arn:
        reasons["AwsSolutions-APIG3"] = "A web ACL is a choice: web_acl_arn."
    if config.auth == "iam":
        reasons["AwsSolutions-COG4"] = "AWS's signatures tell who calls."
        if config.cors_origins:
            reasons["AwsSolutions-APIG4"] = "Browsers' preflights come without a credential."
    else:
        asks = "The function itself asks who calls, or whoever comes is let in, as chosen."
        reasons["AwsSolutions-COG4"] = reasons["AwsSolutions-APIG4"] = asks
    return reasons

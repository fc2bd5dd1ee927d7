"""CloudFront in front of the function URL: one's own domain, a web ACL, HTTP/3, an address near callers.

The URL stays closed to everybody else (`AWS_IAM`): CloudFront signs what it sends there. It signs in
the header `authorization`, in place of what the caller sent in it (fact 42), so a bearer's credential
is moved to `x-api-key` at the edge before, where the function looks for it as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aws_cdk import Aws, Duration, Names
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.config_rules import LONGEST_SILENCE
from infra.nag import acknowledge

if TYPE_CHECKING:
    from infra.config import Config
    from infra.function import BedrockStreamFunction

MOVE_CREDENTIAL = Path(__file__).parent / "move_credential.js"


class CloudFrontDoor(Construct):
    """A distribution whose only origin is the function URL.

    Attributes:
        distribution: the distribution.
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
        silence = LONGEST_SILENCE["cloudfront"]
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="Amazon Bedrock's streams",
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.FunctionUrlOrigin.with_origin_access_control(
                    stream.existing_url(),
                    origin_access_control=self._origin_access_control(),
                    # As long as it gets without a raised quota: heartbeats come sooner, and an
                    # answer that is no stream has none.
                    read_timeout=Duration.seconds(silence),
                    response_completion_timeout=Duration.seconds(
                        max(silence, config.timeout_seconds + 30)
                    ),
                ),
                allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
                cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
                # `Host` would be the distribution's, and what is signed is the URL's.
                origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
                # What is compressed is collected first.
                compress=False,
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
                function_associations=self._at_the_edge(config),
            ),
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            web_acl_id=config.web_acl_arn or None,
            **self._domain(config),
        )
        for permission in self.distribution.node.find_all():
            if isinstance(permission, lambda_.CfnPermission):
                # CDK names the ARN that the URL tells, of which nobody says that it has the alias.
                permission.function_name = stream.called.function_arn
        self.domain_target = (
            self.distribution.distribution_domain_name if config.domain_name else None
        )
        host = config.domain_name or self.distribution.distribution_domain_name
        self.url = f"https://{host}"
        acknowledge(self.distribution, _reasons(config))

    def _domain(self, config: Config) -> dict[str, Any]:
        """Return what a distribution is told of a domain; without one nobody chooses its TLS version."""
        if not config.domain_name:
            return {}
        certificate = acm.Certificate.from_certificate_arn(
            self, "Certificate", config.certificate_arn
        )
        return {
            "domain_names": [config.domain_name],
            "certificate": certificate,
            "minimum_protocol_version": cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
        }

    def _origin_access_control(self) -> cloudfront.FunctionUrlOriginAccessControl:
        return cloudfront.FunctionUrlOriginAccessControl(
            self,
            "OriginAccessControl",
            # Unique in the account, which has one CloudFront for all regions.
            origin_access_control_name=f"{Names.unique_resource_name(self, max_length=40)}-{Aws.REGION}",
            # The other way, which leaves `authorization` alone, is for Lambda Web Functions only (fact 47).
            signing=cloudfront.Signing.SIGV4_ALWAYS,
        )

    def _at_the_edge(self, config: Config) -> list[cloudfront.FunctionAssociation] | None:
        if config.auth == "public":
            return None
        move = cloudfront.Function(
            self,
            "MoveCredential",
            comment="Moves a bearer's credential to where a signature does not replace it",
            code=cloudfront.FunctionCode.from_file(file_path=str(MOVE_CREDENTIAL)),
            runtime=cloudfront.FunctionRuntime.JS_2_0,
        )
        return [
            cloudfront.FunctionAssociation(
                function=move, event_type=cloudfront.FunctionEventType.VIEWER_REQUEST
            )
        ]


def _reasons(config: Config) -> dict[str, str]:
    reasons = {
        "AwsSolutions-CFR1": "Who may call is decided by credential, not by country.",
        "AwsSolutions-CFR3": "The function records each request that reaches it; a bucket of "
        "access logs would cost what few look at.",
    }
    if not config.web_acl_arn:
        reasons["AwsSolutions-CFR2"] = "A web ACL is a choice: web_acl_arn."
    if not config.certificate_arn:
        reasons["AwsSolutions-CFR4"] = (
            "CloudFront's own certificate lets nobody choose the TLS version; a domain of one's own "
            "does: domain_name and certificate_arn."
        )
    return reasons

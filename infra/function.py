"""The streaming function: a function on the managed Python runtime, behind a URL that streams.

This is the construct to use in a stack of one's own. It owns all that the function needs and nothing
that it does not: its role, its log group, its package, its URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import AssetHashType, Duration, Fn, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import bedrock_access, cors, package
from infra.bytecode import CODE_ROOT
from infra.config import RETENTION, Config
from infra.dependencies import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

ARCHITECTURES = {
    "arm64": lambda_.Architecture.ARM_64,
    "x86_64": lambda_.Architecture.X86_64,
}


class BedrockStreamFunction(Construct):
    """A Lambda function that relays Bedrock's streams through its function URL.

    Attributes:
        function: the Lambda function.
        url: its function URL, which asks callers for AWS signatures (`AWS_IAM`).
        role: the role that the function runs in.
        log_group: where it writes its logs.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config | None = None
    ) -> None:
        super().__init__(scope, construct_id)
        config = config or Config()
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            retention=logs.RetentionDays[RETENTION[config.log_retention_days]],
            removal_policy=RemovalPolicy.RETAIN if config.retain_logs else RemovalPolicy.DESTROY,
        )
        self.role = self._make_role(config)
        self.function = self._make_function(config)
        self.url = self.function.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType.AWS_IAM,
            invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM,
            cors=_cors(config.cors_origins),
        )

    def grant_invoke_url(self, grantee: iam.IGrantable) -> iam.Grant:
        """Allow `grantee` to call the URL: both permissions that this takes (fact 41)."""
        return self.function.grant_invoke_url(grantee)

    def _make_role(self, config: Config) -> iam.Role:
        # Lambda's managed policy would allow every log group of the account; this one is enough.
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description="Streams from Amazon Bedrock and writes one log group",
        )
        self.log_group.grant_write(role)
        called = tuple(dict.fromkeys((*config.model_ids, *config.fallback_model_ids)))
        for statement in bedrock_access.statements(called, config.guardrail_ids):
            role.add_to_principal_policy(_policy_statement(statement))
        return role

    def _make_function(self, config: Config) -> lambda_.Function:
        built = package.build(Target(config.architecture))
        return lambda_.Function(
            self,
            "Function",
            description="Relays Amazon Bedrock's streaming APIs, token by token",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=ARCHITECTURES[config.architecture],
            handler="handler.handle",
            code=lambda_.Code.from_asset(
                str(built.path), asset_hash=built.digest, asset_hash_type=AssetHashType.CUSTOM
            ),
            environment=_environment(config),
            memory_size=config.memory_mb,
            timeout=Duration.seconds(config.timeout_seconds),
            role=self.role,
            tracing=lambda_.Tracing.ACTIVE,
            log_group=self.log_group,
            # The function's own lines are JSON by Powertools in either format. With Lambda's JSON
            # format they would also be filtered by Lambda's level, in place of POWERTOOLS_LOG_LEVEL,
            # and the metrics' lines, which have no level, would go with the informational ones.
            logging_format=lambda_.LoggingFormat.TEXT,
        )


def _cors(origins: tuple[str, ...]) -> lambda_.FunctionUrlCorsOptions | None:
    if not origins:
        return None
    return lambda_.FunctionUrlCorsOptions(
        allowed_origins=list(origins),
        allowed_methods=[lambda_.HttpMethod[name] for name in cors.METHODS],
        allowed_headers=list(cors.REQUEST_HEADERS),
        exposed_headers=list(cors.RESPONSE_HEADERS),
        max_age=Duration.seconds(cors.MAX_AGE_SECONDS),
    )


def _environment(config: Config) -> dict[str, str]:
    environment = {
        # Lambda starts this in place of its own runtime client (fact 40).
        "AWS_LAMBDA_EXEC_WRAPPER": f"{CODE_ROOT}/bootstrap",
        # With what application inference profiles were copied from: the function asks each model in its own words.
        "RIVULET_MODEL_IDS": ",".join(config.model_ids),
        **{f"RIVULET_{name.upper()}": text for name, text in config.settings_by_name.items()},
        "POWERTOOLS_SERVICE_NAME": config.service_name,
        "POWERTOOLS_METRICS_NAMESPACE": config.metrics_namespace,
        "POWERTOOLS_LOG_LEVEL": config.log_level,
    }
    if config.model_aliases:
        environment["RIVULET_MODEL_ALIASES"] = ",".join(config.model_aliases)
    if config.fallback_model_ids:
        environment["RIVULET_FALLBACK_MODEL_IDS"] = _model_ids(config.fallback_model_ids)
    if config.log_content:
        environment["RIVULET_LOG_CONTENT"] = "true"
    return environment


def _model_ids(texts: Iterable[str]) -> str:
    return ",".join(bedrock_access.model(text).model_id for text in texts)


def _policy_statement(statement: bedrock_access.Statement) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        sid=statement.sid,
        actions=list(statement.actions),
        resources=_filled_in(statement.resources),
        conditions={
            operator: {key: _filled_in(values) for key, values in keys.items()}
            for operator, keys in statement.conditions.items()
        },
    )


def _filled_in(templates: Iterable[str]) -> list[str]:
    """Let CloudFormation fill in the partition, region and account where a template asks for them."""
    return [Fn.sub(template) if "${" in template else template for template in templates]

"""The streaming function: a function on the managed Python runtime, behind a URL or an API that streams.

This is the construct to use in a stack of one's own. It owns all that the function needs and nothing
that it does not: its role, its log group, its package, its URL, and, where they are chosen, the
secret of its callers' keys, the table of their budgets and the version that is kept ready.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aws_cdk import Annotations, AssetHashType, Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import bedrock_access, cors, package
from infra.api_keys import ApiKeys
from infra.budget_table import BudgetTable
from infra.cdk_tokens import TOKEN, has_token
from infra.config import RETENTION, Config
from infra.dependencies import Target
from infra.environment import environment
from infra.nag import acknowledge, flat
from infra.naming import claim_service, id_of, settled

if TYPE_CHECKING:
    from collections.abc import Iterable

ARCHITECTURES = {
    "arm64": lambda_.Architecture.ARM_64,
    "x86_64": lambda_.Architecture.X86_64,
}
ALIAS = "live"


class BedrockStreamFunction(Construct):
    """A Lambda function that relays Bedrock's streams, and its function URL.

    Attributes:
        function: the Lambda function.
        alias: what points at its published version, with `snap_start` or `provisioned_concurrency`;
            otherwise None.
        called: what is to be called: the alias where there is one, or else the function.
        url: its function URL. It asks callers for AWS signatures (`AWS_IAM`) unless the function
            itself asks for something else, and the URL is the front door. None behind API Gateway,
            which does without it.
        role: the role that the function runs in.
        log_group: where it writes its logs.
        api_keys: the callers' keys and their `secret`, with `auth=api-key`; otherwise None.
        budgets: what callers have used, in their `table`, with `daily_tokens`; otherwise None.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config | None = None
    ) -> None:
        super().__init__(scope, construct_id)
        config = settled(config or Config(), self)
        claim_service(self, config.service)
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            retention=logs.RetentionDays[RETENTION[config.log_retention_days]],
            removal_policy=RemovalPolicy.RETAIN if config.retain_logs else RemovalPolicy.DESTROY,
        )
        self.api_keys = (
            ApiKeys(self, "ApiKeys", existing=config.api_keys_secret)
            if config.auth == "api-key"
            else None
        )
        self.budgets = BudgetTable(self, "Budgets") if config.daily_tokens else None
        self.role = self._make_role(config)
        self.function = self._make_function(config)
        self.alias = self._make_alias(config)
        self.called: lambda_.IFunction = self.alias or self.function
        self.url = None if config.front_door == "api-gateway" else self._make_url(config)
        if config.auth == "public":
            Annotations.of(self).add_warning_v2(
                "rivulet:public",
                "auth=public: whoever finds the address can spend this account's money on Bedrock",
            )

    def grant_invoke_url(self, grantee: iam.IGrantable) -> iam.Grant:
        """Allow `grantee` to call the URL: both permissions that this takes (fact 41).

        Raises:
            ValueError: there is no URL.
        """
        self.existing_url()
        return self.called.grant_invoke_url(grantee)

    def existing_url(self) -> lambda_.FunctionUrl:
        """Return the function URL where there has to be one.

        Raises:
            ValueError: there is none.
        """
        if self.url is None:
            raise ValueError(
                "expected a function URL, got front_door=api-gateway, behind which there is none: "
                "to let a role call that, use RestApiDoor.grant_invoke"
            )
        return self.url

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
        statements = bedrock_access.statements(
            called,
            map(_by_id, config.guardrail_ids),
            config.system_tools,
            config.s3_uris,
        )
        first, *others = bedrock_access.policies(statements)
        for statement in first:
            role.add_to_principal_policy(_policy_statement(statement))
        # CDK would move what is too much for a role's own policy, but takes what CloudFormation fills
        # in for shorter than it is.
        for number, more in enumerate(others, 2):
            iam.ManagedPolicy(
                role,
                f"Models{number}",
                description="More of the models that the function may call",
                statements=[_policy_statement(statement) for statement in more],
                roles=[role],
            )
        if self.api_keys:
            self.api_keys.grant_read(role)
        if self.budgets:
            self.budgets.grant_count(role)
        acknowledge(role, _reasons(statements, Stack.of(role)))
        return role

    def _make_function(self, config: Config) -> lambda_.Function:
        built = package.build(Target(config.architecture), package.extras(config))
        function = lambda_.Function(
            self,
            "Function",
            description="Relays Amazon Bedrock's streaming APIs, token by token",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=ARCHITECTURES[config.architecture],
            handler="handler.handle",
            code=lambda_.Code.from_asset(
                str(built.path), asset_hash=built.digest, asset_hash_type=AssetHashType.CUSTOM
            ),
            environment=environment(
                config,
                api_keys_secret=self.api_keys.secret_id if self.api_keys else "",
                budget_table=self.budgets.table.table_name if self.budgets else "",
            ),
            memory_size=config.memory_mb,
            timeout=Duration.seconds(config.timeout_seconds),
            reserved_concurrent_executions=config.reserved_concurrency or None,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if config.snap_start else None,
            role=self.role,
            tracing=lambda_.Tracing.ACTIVE,
            log_group=self.log_group,
            # The function's own lines are JSON by Powertools in either format. With Lambda's JSON
            # format they would also be filtered by Lambda's level, in place of POWERTOOLS_LOG_LEVEL,
            # and the metrics' lines, which have no level, would go with the informational ones.
            logging_format=lambda_.LoggingFormat.TEXT,
        )
        acknowledge(
            function,
            {
                "AwsSolutions-L1": "What ships is built, compiled and tested for Python 3.13, which "
                "is maintained; a newer one is a change of the package."
            },
        )
        return function

    def _make_alias(self, config: Config) -> lambda_.Alias | None:
        if not (config.snap_start or config.provisioned_concurrency):
            return None
        if config.snap_start:
            Annotations.of(self.function).acknowledge_warning(
                "@aws-cdk/aws-lambda:snapStartRequirePublish", "It is published here."
            )
        return lambda_.Alias(
            self,
            "Alias",
            alias_name=ALIAS,
            version=self.function.current_version,
            provisioned_concurrent_executions=config.provisioned_concurrency or None,
        )

    def _make_url(self, config: Config) -> lambda_.FunctionUrl:
        # Behind CloudFront the URL is reached through that alone, which signs.
        asks_itself = config.auth != "iam" and config.front_door == "url"
        auth_type = lambda_.FunctionUrlAuthType
        return self.called.add_function_url(
            auth_type=auth_type.NONE if asks_itself else auth_type.AWS_IAM,
            invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM,
            cors=_cors(config.cors_origins),
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


def _by_id(guardrail: str) -> str:
    """Return a guardrail that CDK fills in as a whole by its id."""
    named, profiled, profile = guardrail.partition("=")
    return id_of(named, "guardrail") + profiled + profile if TOKEN.fullmatch(named) else guardrail


def _filled_in(templates: Iterable[str]) -> list[str]:
    """Let CloudFormation fill in the partition, region and account where a template asks for them."""
    return [_fill_in(template) for template in templates]


def _fill_in(template: str) -> str:
    if has_token(template):  # for which `Fn::Sub` has no place
        return re.sub(r"\$\{(AWS::\w+)\}", lambda found: Fn.ref(found[1]), template)
    return Fn.sub(template) if "${" in template else template


def _reasons(statements: Iterable[bedrock_access.Statement], stack: Stack) -> dict[str, str]:
    """Say of each wildcard in the role why it is there."""
    reasons = {"AwsSolutions-IAM5[Resource::*]": "X-Ray's actions know no resources."}
    for statement in statements:
        for resource in statement.resources:
            if "*" in resource:
                found = flat(stack.resolve(_fill_in(resource)))
                reasons[f"AwsSolutions-IAM5[Resource::{found}]"] = (
                    "The files below a prefix, which callers name: only in the chosen bucket."
                    if statement.actions == bedrock_access.FILE_ACTIONS
                    else "A profile's regions, of which AWS adds more: only for what the profile names."
                )
    return reasons

"""What a deployment and what it names are called, wherever its function stands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aws_cdk import Annotations, Fn, Stack
from constructs import Construct

from infra.bedrock_access import APPLICATION_PROFILE
from infra.cdk_tokens import TOKEN
from infra.config import DEFAULT_STACK_NAME, ConfigError

if TYPE_CHECKING:
    from constructs import IConstruct

    from infra.config import Config


def outermost_stack(construct: IConstruct) -> Stack:
    """Return the stack that a construct is in; of nested ones, which have no name yet, the outermost."""
    stack = Stack.of(construct)
    while stack.nested_stack_parent:
        stack = stack.nested_stack_parent
    return stack


def settled(config: Config, construct: IConstruct) -> Config:
    """Return the choices with what only the stack of a construct can tell.

    That is its name, after which the service is called, and the ARNs of application inference profiles that
    the same app makes.

    Raises:
        ConfigError: another stack was named.
    """
    name = outermost_stack(construct).stack_name
    if config.stack_name not in {DEFAULT_STACK_NAME, name}:
        raise ConfigError(
            f"stack_name: expected {name!r}, the name of the function's stack, or none "
            f"(service_name is what calls a service differently); got {config.stack_name!r}"
        )
    arns = {
        token: _profile_arn(token, Stack.of(construct))
        for text in (*config.model_ids, *config.fallback_model_ids)
        if TOKEN.fullmatch(token := text.partition("=")[0])
    }

    def by_arn(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(TOKEN.sub(lambda found: arns.get(found[0], found[0]), text) for text in texts)

    return replace(
        config,
        stack_name=name,
        model_ids=by_arn(config.model_ids),
        model_aliases=by_arn(config.model_aliases),
        fallback_model_ids=by_arn(config.fallback_model_ids),
        prices=by_arn(config.prices),
    )


def claim_service(construct: Construct, service: str) -> None:
    """Have it fail where two functions of a stack, nested ones included, are one service: they would be told as one."""
    stack, claimed = outermost_stack(construct), f"RivuletService-{without_dots(service)}"
    if stack.node.try_find_child(claimed):
        Annotations.of(construct).add_error(
            f"service_name: expected another one for each function of a stack, got {service} for two"
        )
    else:
        Construct(stack, claimed)


def without_dots(service: str) -> str:
    """Return what a service is called in names that take no dot, as a dashboard's."""
    return service.replace(".", "-")


def id_of(named: str, kind: str) -> str:
    """Return the id of a resource that CDK fills in, for nobody can tell here whether by its id or its ARN."""
    # Of both, written twice, the second part is the id.
    return Fn.select(1, Fn.split(f":{kind}/", f"{named}:{kind}/{named}"))


def _profile_arn(token: str, stack: Stack) -> str:
    """Return the ARN of a profile: CloudFormation refers to it by its id, which neither IAM nor the function takes."""
    resolved = stack.resolve(token)
    if isinstance(resolved, dict) and "InferenceProfileArn" in resolved.get("Fn::GetAtt", ()):
        return token
    arn = stack.format_arn(
        service="bedrock",
        resource=APPLICATION_PROFILE,
        resource_name=id_of(token, APPLICATION_PROFILE),
    )
    return Fn.join("", [arn])  # one token, as it was

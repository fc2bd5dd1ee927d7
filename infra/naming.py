"""What a deployment is called, wherever its function stands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aws_cdk import Stack

if TYPE_CHECKING:
    from constructs import IConstruct

    from infra.config import Config


def named_after_stack(config: Config, construct: IConstruct) -> Config:
    """Return the choices with the name of the stack that a construct is in, after which its service is called.

    A nested stack has no name before it is deployed: the outermost one's stands for it.
    """
    stack = Stack.of(construct)
    while stack.nested_stack_parent:
        stack = stack.nested_stack_parent
    return replace(config, stack_name=stack.stack_name)

"""Why a rule of cdk-nag does not hold here, said next to what it is said of.

The words are CDK's own (`Validations`): cdk-nag reads them where a check runs it, and deploying does
without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import Acknowledgment, Validations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from constructs import IConstruct


def acknowledge(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Give the reason why each of some rules, by its name, does not hold for a construct and all in it."""
    rules = [
        Acknowledgment(id=f"AwsSolutions::{rule}", reason=why) for rule, why in reasons.items()
    ]
    Validations.of(construct).acknowledge(*rules)

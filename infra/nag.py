"""Why a rule of cdk-nag does not hold here, said next to what it is said of.

The words are CDK's own (`Validations`): cdk-nag reads them where a check runs it, and deploying does
without it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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


def flat(value: Any) -> str:
    """Write what CDK resolves a text to as cdk-nag writes it in the name of a finding."""
    match value:
        case str():
            return value.replace("${", "<").replace("}", ">")
        case {"Fn::Join": [delimiter, parts]}:
            return str(delimiter).join(map(flat, parts))
        case {"Fn::Sub": text} | {"Fn::ImportValue": text}:
            return flat(text)
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{flat(resource)}.{flat(attribute)}>"
        case {"Ref": name}:
            return f"<{flat(name)}>"
        case _:
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

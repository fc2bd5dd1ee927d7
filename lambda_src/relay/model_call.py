"""What a request comes to: an answer that needs no Bedrock, or a call of one of its APIs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.formats import Format
    from relay.shapes import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that needs no Bedrock: JSON, or nothing at all."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A call of one of Bedrock's APIs.

    Attributes:
        route: the route it came by, for the records.
        operation: the API's name, such as ``ConverseStream``.
        model: the id of an allowed model.
        parameters: boto3's keyword arguments, ``modelId`` among them.
        body: what is sent in place of the body that boto3 would make of its arguments, where the caller wrote Bedrock's
            own: what this boto3 has not heard of gets there, too.
        format: the wire format of the answer.
    """

    route: str
    operation: str
    model: str
    parameters: Mapping[str, Any]
    body: bytes | None = None
    format: Format


Request: TypeAlias = Reply | ModelCall


class Shapes(Protocol):
    """Where the shapes of Bedrock's requests come from."""

    def input_shape(self, operation: str) -> Shape:
        """Return the shape of an operation's request."""

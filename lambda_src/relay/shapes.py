"""Checks a JSON value against a shape of Bedrock's service model, and turns it into what boto3 takes.

The model that ships with boto3 knows every field, type and range of the request: nothing of it is written again here.
Two things differ between JSON and boto3: bytes come in base64, and, as a convenience, a plain string may stand where
Bedrock wants a content block or a list of them (``"system": "Be brief."``).

Enumerations are not enforced: Bedrock knows the latest values, a pinned model does not.
"""

from __future__ import annotations

import math
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Protocol

from relay.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Shape(Protocol):
    """Botocore's shapes: members are a structure's, ``member`` a list's, ``key`` and ``value`` a map's."""

    name: str
    type_name: str
    metadata: Mapping[str, Any]
    members: Mapping[str, Any]
    required_members: list[str]
    member: Any
    key: Any
    value: Any
    is_document_type: bool
    is_tagged_union: bool


def convert(value: Any, shape: Shape, field: str) -> Any:
    """Return ``value`` as boto3 takes it.

    Args:
        value: parsed JSON.
        shape: what it should be.
        field: its path, for messages; empty for the whole body.

    Raises:
        RequestError: it is something else; the message names the field, what was expected and what came.
    """
    if getattr(shape, "is_document_type", False):
        return value
    return _CONVERTERS[shape.type_name](value, shape, field)


def invalid(field: str, expected: str, got: str) -> RequestError:
    """Return the answer to a field that is not as it should be."""
    where = field[:200] if field else "the body"
    came = got or describe("")
    error = RequestError(400, "invalid_request", f"{where}: expected {expected}, got {came}")
    error.field = field[:200] or None
    return error


def check_names(value: Iterable[str], known: Iterable[str], field: str) -> None:
    """Refuse an object with a member that nobody knows."""
    known = tuple(known)
    for name in value:
        if name not in known:
            raise invalid(_join(field, name), f"one of {', '.join(known)}", "an unknown field")


def describe(value: Any) -> str:
    """Name a JSON value without repeating what may be long or private."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {str(value)[:40]}"
        case str():
            return f"text of {len(value)} characters" if value else "empty text"
        case list():
            return f"a list of {len(value)}"
        case _:
            return "an object"


def _structure(value: Any, shape: Shape, field: str) -> dict[str, Any]:
    if isinstance(value, str) and _is_content_block(shape):
        value = {"text": value}
    if not isinstance(value, dict):
        raise invalid(field, "an object", describe(value))
    check_names(value, shape.members, field)
    missing = next((name for name in shape.required_members if name not in value), None)
    if missing is not None:
        raise invalid(_join(field, missing), _NAMES[shape.members[missing].type_name], "nothing")
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        raise invalid(field, f"exactly one of {', '.join(shape.members)}", f"{len(value)} of them")
    return {
        name: convert(member, shape.members[name], _join(field, name))
        for name, member in value.items()
    }


def _list(value: Any, shape: Shape, field: str) -> list[Any]:
    if isinstance(value, str) and _is_content_block(shape.member):
        value = [value]
    if not isinstance(value, list):
        raise invalid(field, "a list", describe(value))
    _check_range(len(value), shape, field, "a list of {} elements", describe(value))
    return [convert(item, shape.member, f"{field}[{i}]") for i, item in enumerate(value)]


def _map(value: Any, shape: Shape, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(field, "an object", describe(value))
    _check_range(len(value), shape, field, "an object of {} members", f"{len(value)}")
    return {
        _string(name, shape.key, f"{field} (a name)"): convert(
            item, shape.value, _join(field, name)
        )
        for name, item in value.items()
    }


def _string(value: Any, shape: Shape, field: str) -> str:
    if not isinstance(value, str):
        raise invalid(field, "text", describe(value))
    _check_range(len(value), shape, field, "text of {} characters", describe(value))
    return value


def _blob(value: Any, shape: Shape, field: str) -> bytes:
    if not isinstance(value, str):
        raise invalid(field, "bytes in base64", describe(value))
    try:
        data = b64decode(value, validate=True)
    except ValueError:
        raise invalid(field, "bytes in base64", "text that is not base64") from None
    _check_range(len(data), shape, field, "{} bytes in base64", f"{len(data)}")
    return data


def _integer(value: Any, shape: Shape, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(field, "a whole number", describe(value))
    _check_range(value, shape, field, "a whole number {}", describe(value))
    return value


def _float(value: Any, shape: Shape, field: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not _is_finite(value):
        raise invalid(field, "a number", describe(value))
    _check_range(value, shape, field, "a number {}", describe(value))
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _boolean(value: Any, _shape: Shape, field: str) -> bool:
    if not isinstance(value, bool):
        raise invalid(field, "true or false", describe(value))
    return value


_CONVERTERS: dict[str, Callable[[Any, Any, str], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "blob": _blob,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "boolean": _boolean,
}
_NAMES = {
    "structure": "an object",
    "list": "a list",
    "map": "an object",
    "string": "text",
    "blob": "bytes in base64",
    "integer": "a whole number",
    "long": "a whole number",
    "float": "a number",
    "double": "a number",
    "boolean": "true or false",
}


def _check_range(size: float, shape: Shape, field: str, expected: str, got: str) -> None:
    """Refuse a size outside the shape's bounds; ``expected`` has a place for them."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        if high is None:
            bounds = f"at least {low}"
        elif low is None:
            bounds = f"at most {high}"
        else:
            bounds = f"from {low} to {high}"
        raise invalid(field, expected.format(bounds), got)


def _is_content_block(shape: Shape) -> bool:
    """Tell whether a plain string can stand for ``{"text": …}`` of this shape."""
    if not shape.name.endswith("ContentBlock"):
        return False
    text = shape.members.get("text")
    return text is not None and text.type_name == "string"


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name

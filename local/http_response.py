"""What a function answers, as HTTP: the prelude of a stream, or a buffered proxy response. Values in, values out."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"
_PRELUDE_END = bytes(8)
_PRELUDE_LIMIT = 16 * 1024
# Lambda frames the answer itself.
_NOT_PASSED_ON = {"connection", "content-length", "transfer-encoding"}


class BadResponse(Exception):
    """What the function answered is no HTTP response."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer.

    Attributes:
        status: the HTTP status.
        headers: cookies included, one header each.
    """

    status: int
    headers: tuple[tuple[str, str], ...]


class PreludeReader:
    """Finds the end of a prelude in the pieces of a stream, wherever they are cut (fact 32)."""

    def __init__(self) -> None:
        self._data = bytearray()

    def read(self, piece: bytes) -> tuple[Head, bytes] | None:
        """Return the head and what of the piece comes after it, or ``None`` while its end has not come.

        Raises:
            BadResponse: there is no prelude.
        """
        self._data += piece
        head, end, rest = self._data.partition(_PRELUDE_END)
        if end:
            return _head(_parsed(bytes(head))), bytes(rest)
        if len(self._data) > _PRELUDE_LIMIT:
            raise BadResponse(
                f"prelude; expected its end, 8 NULs, within {_PRELUDE_LIMIT} bytes; got none"
            )
        return None


def proxy_response(payload: bytes) -> tuple[Head, bytes]:
    """Return the answer that a buffered payload stands for: a proxy response, or JSON to be sent as it is.

    Raises:
        BadResponse: it is no JSON, or a proxy response that is none.
    """
    value = _parsed(payload)
    if not isinstance(value, dict) or "statusCode" not in value:
        return Head(200, (("content-type", "application/json"),)), payload
    body = value.get("body") or ""
    try:
        data = (
            b64decode(body, validate=True) if value.get("isBase64Encoded") else str(body).encode()
        )
    except ValueError as error:
        raise BadResponse(
            f"body; expected base64, as isBase64Encoded says; got {body[:100]!r}"
        ) from error
    return _head(
        {**value, "headers": {"content-type": "application/json", **_lower(value.get("headers"))}}
    ), data


def _head(value: Any) -> Head:
    try:
        headers = {"content-type": "application/octet-stream", **_lower(value.get("headers"))}
        cookies = [("set-cookie", str(cookie)) for cookie in value.get("cookies") or ()]
        status = int(value.get("statusCode", 200))
    except (AttributeError, TypeError, ValueError) as error:
        raise BadResponse(
            f"expected an object with statusCode, headers, cookies; got {str(value)[:200]}"
        ) from error
    return Head(
        status, (*(pair for pair in headers.items() if pair[0] not in _NOT_PASSED_ON), *cookies)
    )


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in (headers or {}).items()}


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise BadResponse(f"expected JSON; got {data[:200]!r}") from error

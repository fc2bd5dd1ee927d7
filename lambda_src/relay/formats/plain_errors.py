"""Errors before the first byte, where no other API says what they look like: Rivulet's own, and Bedrock's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.errors import sdk_exception
from relay.formats.format import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.errors import RelayError


def refuse(error: RelayError, request_id: str, counted: Mapping[str, Any]) -> Refusal:
    """Tell an error as Rivulet's own routes do."""
    usage = {"usage": counted, "usage_partial": True} if counted else {}
    return Refusal(error.headers, {"error": {**error.told(), "request_id": request_id, **usage}})


def refuse_for_sdk(error: RelayError, request_id: str, counted: Mapping[str, Any]) -> Refusal:
    """Tell an error so that an AWS SDK raises it.

    SDKs look for the exception's name in a header, and for the message beside the error.
    """
    headers = {"x-amzn-errortype": sdk_exception(error.status), **error.headers}
    return Refusal(headers, {**refuse(error, request_id, counted).body, "message": error.message})

"""Requests with credentials, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import AccessError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def request(**headers: Any) -> dict[str, Any]:
    """Return a function URL's event; ``_`` in the names of its headers stands for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"rawPath": "/stream", "headers": named, "requestContext": {"http": {"method": "POST"}}}


def rest_request(headers: Mapping[str, list[Any]] | None) -> dict[str, Any]:
    """Return a REST API's event, which has the last of what was sent several times apart."""
    last = None if headers is None else {name: values[-1] for name, values in headers.items()}
    context = {"httpMethod": "POST", "identity": {}}
    return {
        "httpMethod": "POST",
        "path": "/stream",
        "headers": last,
        "multiValueHeaders": headers,
        "requestContext": context,
    }


def bearer(credential: str) -> dict[str, Any]:
    """Return an event with a credential in the header that OpenAI's clients use."""
    return request(authorization=f"Bearer {credential}")


def refused(status: int, let_in: Callable[[Any], Any], event: Any) -> AccessError:
    """Return the error with which a request is refused."""
    with pytest.raises(AccessError) as caught:
        let_in(event)
    assert caught.value.status == status
    return caught.value

"""The one credential of a request: in ``Authorization: Bearer …`` or ``x-api-key: …``, and nowhere else.

The first is what OpenAI's clients send, and AWS SDKs with a Bedrock API key; the second is what Anthropic's send. Where
two programs could read a request differently, which of two headers counts or where one value ends, it is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from relay.errors import AccessError, access_error
from relay.http_request import headers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 8192  # characters
# RFC 6750, section 2.1: keys and JSON Web Tokens are written so, and nothing in it needs to be quoted anywhere.
SYNTAX = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def credential_of(event: Mapping[str, Any]) -> str:
    """Return the credential in the headers of an event, a function URL's (payload 2.0) or a REST API's (1.0).

    Raises:
        AccessError: there is none, or more than one, or what can be none; 401.
    """
    # What was sent several times is joined with commas here, and no credential any more.
    headers = headers_of(event) or {}
    offered = (_bearer(headers.get("authorization")), headers.get("x-api-key"))
    found = {credential.strip(" ") for credential in offered if credential is not None}
    if not found:
        raise _refusal("none")
    if len(found) > 1:
        raise _refusal("two different ones")
    (credential,) = found
    if len(credential) > _LONGEST:
        raise _refusal(f"one of more than {_LONGEST} characters")
    if not SYNTAX.fullmatch(credential):
        raise _refusal("what is malformed")
    return credential


def unauthenticated(message: str, challenge: str) -> AccessError:
    """Return the error for a credential that is refused, with the challenge of RFC 6750, section 3."""
    error = access_error("unauthenticated", message)
    error.headers = {**error.headers, "www-authenticate": challenge}
    return error


def _bearer(authorization: str | None) -> str | None:
    """Return the credential in an ``Authorization`` header; an AWS signature or a password is none of ours."""
    if authorization is None:
        return None
    scheme, _, credential = authorization.strip(" ").partition(" ")
    scheme = scheme.lower()
    if scheme == "bearer":
        return credential
    if scheme == "basic" or scheme.startswith("aws4-"):
        return None
    raise _refusal("an Authorization header of another scheme")


def _refusal(got: str) -> AccessError:
    where = "Authorization (Bearer) or x-api-key"
    return access_error("unauthenticated", f"Expected one credential, in {where}; got {got}.")

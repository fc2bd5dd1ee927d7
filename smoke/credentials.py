"""The ways to prove to a deployment who calls: nothing at all, a key or token, or AWS's signature."""
# ruff: noqa: TID251  # the signatures of callers are botocore's to make

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

PAYLOAD_HASH = "x-amz-content-sha256"


class Request(NamedTuple):
    """What is to be proved to be the caller's: a request, its headers by their names in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Credential(Protocol):
    """Makes the headers that prove who calls."""

    def headers(self, request: Request) -> dict[str, str]:
        """Return the headers for a request."""


class Nothing:
    """Proves nothing."""

    def headers(self, _request: Request) -> dict[str, str]:
        """Return none."""
        return {}


class Secret:
    """A key or a token, as it is.

    Args:
        value: the key or token.
        header: ``authorization``, as the SDKs of OpenAI and AWS send it, or ``x-api-key``, as Anthropic's does.
    """

    def __init__(self, value: str, header: str = "authorization") -> None:
        self._headers = {header: f"Bearer {value}" if header == "authorization" else value}

    def headers(self, _request: Request) -> dict[str, str]:
        """Return the one header."""
        return dict(self._headers)


class Signature:
    """AWS's signature, version 4.

    Args:
        credentials: whose.
        service: the name it is made for: ``lambda``, or ``execute-api`` behind API Gateway (fact 43).
        region: of the deployment.
        another_body: signs a body that is not the one that is sent, which is wrong on purpose.
    """

    def __init__(
        self, credentials: Credentials, service: str, region: str, *, another_body: bool = False
    ) -> None:
        self._credentials = credentials
        self._service = service
        self._region = region
        self._another_body = another_body

    def headers(self, request: Request) -> dict[str, str]:
        """Return the signature and what belongs to it."""
        # Nothing but the body's hash is signed of what is sent: what stands in between may change the rest.
        signed = (
            {}
            if self._another_body
            else {k: v for k, v in request.headers.items() if k == PAYLOAD_HASH}
        )
        data = request.body + b" " if self._another_body else request.body
        made = AWSRequest(request.method, request.url, headers=signed, data=data)
        SigV4Auth(self._credentials, self._service, self._region).add_auth(made)
        return {name.lower(): value for name, value in made.headers.items()}


def with_wrong_secret(credentials: Credentials) -> Credentials:
    """Return the same caller's credentials, but for a secret that is none of theirs."""
    return Credentials(
        credentials.access_key, credentials.secret_key[::-1] + "x", credentials.token
    )


def with_wrong_end(secret: str) -> str:
    """Return a key or token that differs in its last letters alone: of a token, the signature is wrong."""
    changed = "".join("A" if letter != "A" else "B" for letter in secret[-8:])
    return secret[:-8] + changed

"""Who is let in: those who may in every way they can prove it, and nobody else."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from smoke.credentials import (
    Credential,
    Secret,
    Signature,
    with_wrong_end,
    with_wrong_secret,
)
from smoke.verdicts import Skipped, Wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smoke.deployment import Deployment

_URL = "lambda:InvokeFunctionUrl"
_FUNCTION = "lambda:InvokeFunction"


def strangers(deployment: Deployment) -> str:
    """Whoever proves nothing, or something wrong, is refused."""
    if deployment.auth == "public":
        answer = deployment.stranger.get("/v1/models")
        if answer.status != 200:
            raise Wrong(f"auth is public, but a stranger got {answer.status} {answer.error}")
        return "anybody is let in, for auth is public"
    expected = 403 if deployment.auth == "iam" else 401
    seen = []
    for who, credential in _wrong(deployment):
        # Asks for no tokens: whoever is let in gets a 400.
        status = deployment.as_caller(credential).post("/stream", {}).status
        seen.append(f"{who} {status}")
        if status != expected:
            raise Wrong(f"{seen[-1]}, expected {expected}")
    unsigned = deployment.stranger.get("/v1/models").status
    if unsigned != expected:
        raise Wrong(f"GET with nothing {unsigned}, expected {expected}")
    return ", ".join([f"with nothing {unsigned}", *seen])


def callers(deployment: Deployment) -> str:
    """A caller is let in by each header that a credential may come in."""
    if not deployment.secret:
        raise Skipped(
            f"with auth {deployment.auth} there is one way in, which the other checks use"
        )
    seen = []
    for header in ("authorization", "x-api-key"):
        answer = deployment.as_caller(Secret(deployment.secret, header)).get("/v1/models")
        seen.append(f"by {header} {answer.status}")
        if answer.status != 200:
            raise Wrong(f"{seen[-1]} {answer.error}, expected 200")
    return ", ".join(seen)


def both_permissions(deployment: Deployment) -> str:
    """Either of the two permissions on a function URL alone is not enough (fact 41)."""
    if deployment.auth != "iam" or deployment.service != "lambda":
        raise Skipped("only callers who sign for a function URL need them")
    if not deployment.role_arn:
        raise Skipped("--role-arn: a role that may call the URL, and that you may assume")
    patience = deployment.patience  # sessions, too, take a moment to be known everywhere
    both = _status(deployment, (_URL, _FUNCTION), patience)
    if both != 200:
        raise Skipped(f"the role itself may not call the URL: a session of it got {both}")
    seen = [f"with both {both}"]
    for action in (_URL, _FUNCTION):
        status = _status(deployment, (action,))
        seen.append(f"with {action} alone {status}")
        if status != 403:
            raise Wrong(f"{seen[-1]}, expected 403")
    return ", ".join(seen)


def _status(deployment: Deployment, actions: tuple[str, ...], patience: float = 0.0) -> int:
    """Return what a session of the role gets that has these permissions and no others."""
    arn = ":".join(str(deployment.configuration["FunctionArn"]).split(":")[:7])
    session = deployment.aws.narrowed(deployment.role_arn, actions, (arn, f"{arn}:*"))
    signature = Signature(session, deployment.service, deployment.aws.region)
    return deployment.as_caller(signature, patience=patience).get("/v1/models").status


def _wrong(deployment: Deployment) -> Iterator[tuple[str, Credential]]:
    """Yield what does not prove who calls, by what is wrong with it."""
    secret, credentials = deployment.secret, deployment.credentials
    if deployment.auth == "iam" and credentials is not None:
        service, region = deployment.service, deployment.aws.region
        yield "wrong secret", Signature(with_wrong_secret(credentials), service, region)
        yield "another body signed", Signature(credentials, service, region, another_body=True)
    if secret:
        yield f"wrong {deployment.auth}", Secret(with_wrong_end(secret))
        yield "the same by x-api-key", Secret(with_wrong_end(secret), "x-api-key")
    if deployment.auth == "jwt" and secret.count(".") == 2:
        yield "token that says it needs no signature", Secret(_unsigned(secret))


def _unsigned(token: str) -> str:
    """Return a token with the same claims whose header says that nobody signed it."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    return f"{header.decode().rstrip('=')}.{token.split('.')[1]}."

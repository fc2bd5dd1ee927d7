"""Where to look for what an answer itself must not tell: its cause is in the function's log alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smoke.verdicts import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smoke.deployment import Deployment

_CREDENTIALS = {
    "api-key": "the API keys' secret: is it there, and may the function's role read it "
    "(secretsmanager:GetSecretValue, and kms:Decrypt with a key of your own)?",
    "jwt": "the issuer's keys: does the function reach RIVULET_JWT_JWKS_URL, or the issuer's "
    "/.well-known/openid-configuration?",
}
_BUDGETS = (
    "the budgets' table: is it there, and may the function's role use it (dynamodb:UpdateItem)?"
)


def hints(deployment: Deployment) -> Iterator[str]:
    """Yield a sentence for each thing that the function could not find out about its callers."""
    told = {
        answer.error
        for answer in deployment.answers
        if answer.status == 503 and "access_unavailable" in answer.error
    }
    if told:
        yield f"503 access_unavailable: its cause is in {_log(deployment)}. Look at"
    if any("Budgets" not in error for error in told):
        yield f"- {_CREDENTIALS.get(deployment.auth, 'the secret or the issuer')}"
    if any("Budgets" in error for error in told):
        yield f"- {_BUDGETS}"


def _log(deployment: Deployment) -> str:
    try:
        return f"the log group {deployment.known_log_group}"
    except Skipped:
        return "the function's log group"

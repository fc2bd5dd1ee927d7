"""Who makes a request, by the name that records and budgets know them by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_NAME = 200
_NAMELESS = "unknown"
_REPLACED = re.compile(r"~[0-9a-f]{16}$")


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller.

    Attributes:
        name: of their role or user, their key or their token's subject; never a secret and never an ARN. It is fit for
            a line of a log whatever was given: see ``clean``.
        way: how they are known: a value of ``RIVULET_AUTH``, or ``direct`` for an invocation without a URL.
    """

    name: str
    way: str

    def __post_init__(self) -> None:
        """Clean the name."""
        object.__setattr__(self, "name", clean(self.name))


def clean(name: str) -> str:
    """Return a name as it is, if it is printable, not blank and of at most 200 characters; or else one that is.

    What takes the place of others ends with their digest, and so does one that looks as if it did: no two of them are
    one to a budget.
    """
    is_fit = name.isprintable() and name.strip() and len(name) <= LONGEST_NAME
    if is_fit and not _REPLACED.search(name):
        return name
    if not name.strip():
        return _NAMELESS
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return f"{printable[: LONGEST_NAME - len(digest) - 1]}~{digest}"


def iam_caller(event: Mapping[str, Any]) -> Caller:
    """Return the caller whose AWS signature Lambda or API Gateway has checked.

    Who they are is told by ``requestContext.authorizer.iam.userArn`` behind a function URL (payload 2.0), and by
    ``requestContext.identity.userArn`` behind a REST API (payload 1.0).
    """
    context = event["requestContext"]
    authorizer, identity = context.get("authorizer"), context.get("identity")
    iam = authorizer.get("iam") if isinstance(authorizer, dict) else None
    told = iam or identity
    arn = told.get("userArn") if isinstance(told, dict) else None
    return Caller(_name(arn) if isinstance(arn, str) else _NAMELESS, "iam")


def _name(arn: str) -> str:
    """Return the name in an ARN of IAM or STS: of a role's session the role's, for it is the role that is granted."""
    kind, _, name = arn.rpartition(":")[2].partition("/")
    if kind in {"assumed-role", "federated-user"}:
        name = name.partition("/")[0]
    return name.rpartition("/")[2] or kind

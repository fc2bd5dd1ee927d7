"""API keys: a caller is known by the name under which a secret in AWS Secrets Manager has their key.

The secret is a JSON object of names to a key, or to a list of keys while one takes the place of another::

    {"web": "…", "batch": ["the new one", "the old one"]}

It is read by Powertools, and kept as the keys' digests. Imported only where it is the way in.
"""

# ruff: noqa: TID251  # Powertools makes its client of botocore's configuration

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from access.aws_errors import cause_of
from access.caller import LONGEST_NAME, Caller, clean
from access.credentials import SYNTAX, credential_of, unauthenticated
from access.kept import Kept, Unreadable
from relay import strict_json
from relay.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.settings import Settings

_GRACE = 900.0  # seconds for which known keys go on working while Secrets Manager cannot be read
_PAUSE = 5.0  # seconds: a new key is known this soon, and guessing is no load on Secrets Manager
_SHORTEST = 16  # characters
_EXPECTED = (
    f"expected a printable name of at most {LONGEST_NAME} characters, and keys, each once, of at least {_SHORTEST} "
    "characters, A-Z a-z 0-9 - . _ ~ + / with = only at the end; got something else"
)


class ApiKeys:
    """The keys of a deployment.

    Args:
        settings: which secret holds them, and for how long what was read of it is kept.
    """

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.api_keys_secret
        self._provider: SecretsProvider | None = None
        self._faults: list[str] = []
        self._keys = Kept(
            "the API keys",
            self._read,
            max_age=settings.api_keys_max_age,
            grace=_GRACE,
            pause=_PAUSE,
        )

    def caller(self, event: Mapping[str, Any]) -> Caller:
        """Return whose key a request has.

        Raises:
            AccessError: nobody's, or nobody can tell at the moment.
        """
        name = self._keys.find(partial(_owner, _digest(credential_of(event))))
        if name is None:
            message = "Expected an API key of this deployment, got another."
            raise unauthenticated(message, 'Bearer error="invalid_token"')
        return Caller(name, "api-key")

    def prepare(self) -> None:
        """Read the keys before somebody waits for it. Where that fails, the first request tries again."""
        self._keys.refresh()

    def renew(self) -> None:
        """Forget the keys and the connection."""
        self._provider = None
        self._keys.forget()

    def _read(self) -> Mapping[bytes, str]:
        try:
            if self._provider is None:
                self._provider = SecretsProvider(boto_config=_config())
            # Kept here and nowhere else.
            secret = self._provider.get(self._secret, max_age=0, force_fetch=True)
        except GetParameterError as error:
            raise Unreadable(cause_of(error.__context__)) from None
        except BotoCoreError as error:  # no region, no credentials, …
            raise Unreadable(cause_of(error)) from None
        keys, faults = _read_secret(secret)
        if faults != self._faults:  # once, not with each reading
            for fault in faults:
                logger.error("API keys that nobody is let in with", extra={"cause": fault})
            self._faults = faults
        return keys


def _config() -> Config:
    return Config(
        connect_timeout=1,  # twice both and a pause are within the 10 s that Lambda gives a restore
        read_timeout=2,
        retries={"mode": "standard", "total_max_attempts": 2},
    )


def _read_secret(secret: Any) -> tuple[Mapping[bytes, str], list[str]]:
    """Return whose keys a secret holds, by their digests, and what is wrong with the others."""
    try:
        named = strict_json.parse(secret if isinstance(secret, bytes) else str(secret).encode())
    except ValueError:
        named = None
    if not isinstance(named, dict):
        return {}, ["the secret: expected a JSON object of names to keys, got something else"]
    owners: dict[bytes, list[str]] = {}
    faults = []
    for name, value in named.items():
        listed = value if isinstance(value, list) else [value]
        keys = {_digest(key) for key in listed if _is_key(key)} if clean(name) == name else set()
        if len(keys) < max(1, len(listed)):
            faults.append(f"{clean(name)}: {_EXPECTED}")
        for digest in keys:
            owners.setdefault(digest, []).append(name)
    shared = {tuple(names) for names in owners.values() if len(names) > 1}
    faults += [f"{', '.join(names)}: expected a key each, got one for all" for names in shared]
    return {digest: names[0] for digest, names in owners.items() if len(names) == 1}, faults


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and len(key) >= _SHORTEST and SYNTAX.fullmatch(key) is not None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _owner(digest: bytes, keys: Mapping[bytes, str]) -> str | None:
    """Return whose key has this digest. The time that it takes tells nothing of any key."""
    owner = None
    for known, name in keys.items():
        if hmac.compare_digest(known, digest):
            owner = name
    return owner

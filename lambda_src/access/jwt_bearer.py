"""JSON Web Tokens of one issuer: signature, lifetime, audience and scopes decide; the subject is who calls.

PyJWT verifies. Imported only where tokens are the way in.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jwt

from access.caller import Caller
from access.credentials import credential_of, unauthenticated
from access.jwks import SigningKey, is_safe, read_keys
from access.kept import Kept
from relay.errors import access_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.errors import AccessError
    from relay.settings import Settings

_LEEWAY = 60.0  # seconds by which two clocks may differ
_MAX_AGE = 3600.0  # seconds for which the issuer's keys are kept
_GRACE = 4 * 3600.0  # seconds for which they serve on while they cannot be read
_PAUSE = 10.0  # seconds: a new key is known this soon, and invented ones are no load on the issuer
_LONGEST_PREPARATION = (
    3.0  # seconds for them in a start or a restore, for all of which Lambda gives 10
)

# RFC 9068 and RFC 7519. What an issuer signs for other ends (a logout, a proof of possession) says so here.
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_REASONS: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "one that has expired",
    jwt.ImmatureSignatureError: "one that is not valid yet",
    jwt.InvalidIssuerError: "one of another issuer",
}


class JwtBearer:
    """The tokens of an issuer.

    Args:
        settings: issuer, audience, scopes and where the issuer's keys are.

    Raises:
        ValueError: what they are read from is no URL that is safe to read them from.
    """

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.jwt_issuer
        self._audience = frozenset(settings.jwt_audience)
        self._scopes = settings.jwt_scopes
        name = "JWT_JWKS_URL" if settings.jwt_jwks_url else "JWT_ISSUER"
        url = settings.jwt_jwks_url or settings.jwt_issuer
        if not is_safe(url):
            raise ValueError(f"RIVULET_{name}: expected an https URL, got {url!r}")
        self._read = partial(read_keys, self._issuer, settings.jwt_jwks_url)
        self._keys = Kept(
            "the issuer's keys", self._read, max_age=_MAX_AGE, grace=_GRACE, pause=_PAUSE
        )

    def caller(self, event: Mapping[str, Any]) -> Caller:
        """Return whose token a request has.

        Raises:
            AccessError: nobody's, or of somebody who lacks a scope, or nobody can tell at the moment.
        """
        claims = self._verified(credential_of(event))
        if not self._is_for_us(claims):
            raise _refusal("one for another audience")
        name = next(filter(_is_text, map(claims.get, ("sub", "client_id", "azp"))), None)
        if name is None:
            raise _refusal("one without a subject")
        missing = [scope for scope in self._scopes if scope not in _scopes(claims)]
        if missing:
            message = f"Expected a token with the scopes {' '.join(self._scopes)}, got one without."
            error = access_error("forbidden", message)
            error.headers = {
                **error.headers,
                "www-authenticate": 'Bearer error="insufficient_scope"',
            }
            raise error
        return Caller(name, "jwt")

    def prepare(self) -> None:
        """Read the keys before somebody waits for it. Where that fails, the first request tries again."""
        self._keys.refresh(partial(self._read, longest_wait=_LONGEST_PREPARATION))

    def renew(self) -> None:
        """Forget the keys."""
        self._keys.forget()

    def _verified(self, token: str) -> Mapping[str, Any]:
        """Return what a token says, if the issuer says so, now."""
        try:
            header = jwt.get_unverified_header(token)
            if str(header.get("typ", "JWT")).lower() not in _TYPES:
                raise _refusal("one of another type")
            key = self._keys.find(partial(_signer, header))
            if key is None:
                raise _refusal("one of an unknown key or algorithm")
            return jwt.decode(
                token,
                key.public,
                algorithms=key.algorithms,
                issuer=self._issuer,
                leeway=_LEEWAY,
                # Its own check knows no `client_id`.
                options={"require": ["exp", "iss"], "verify_aud": False},
            )
        except jwt.PyJWTError as error:
            raise _refusal(_REASONS.get(type(error), "one that is not valid")) from None

    def _is_for_us(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether a token is for one of our audiences.

        Cognito's access tokens have no ``aud``: there the client that they were given to stands for it, as in API
        Gateway's authorizers.
        """
        audience = claims.get("aud") if "aud" in claims else claims.get("client_id")
        named = audience if isinstance(audience, list) else [audience]
        return any(isinstance(name, str) and name in self._audience for name in named)


def _signer(header: Mapping[str, Any], keys: Iterable[SigningKey]) -> SigningKey | None:
    """Return the key that a token says it is signed with; it need not say so where there is but one."""
    kid, algorithm = header.get("kid"), header.get("alg")
    fitting = [key for key in keys if algorithm in key.algorithms]
    if kid is not None:
        return next((key for key in fitting if key.id == kid), None)
    return fitting[0] if len(fitting) == 1 else None


def _scopes(claims: Mapping[str, Any]) -> set[Any]:
    """Return the scopes of a token: of RFC 9068's ``scope``, or of the ``scp`` that some issuers have."""
    scopes: set[Any] = set()
    for name in ("scope", "scp"):
        said = claims.get(name)
        words = said.split() if isinstance(said, str) else said
        if isinstance(words, list):
            scopes.update(word for word in words if isinstance(word, str))
    return scopes


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _refusal(got: str) -> AccessError:
    message = f"Expected a valid token of this deployment's issuer, got {got}."
    return unauthenticated(message, 'Bearer error="invalid_token"')

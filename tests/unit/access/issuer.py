"""An issuer of tokens, with its keys and its pages: PyJWT signs, a server on this machine publishes."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from relay.settings import Settings
from tests.unit.access.json_server import JsonServer, Said

if TYPE_CHECKING:
    from collections.abc import Mapping

AUDIENCE = "https://rivulet.example.com"
DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@cache
def private_key(algorithm: str = "RS256", which: str = "the issuer's") -> Any:
    """Return a key that signs with an algorithm; one for each name that it goes by."""
    del which
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: Any, kid: str | None = "one", **more: Any) -> dict[str, Any]:
    """Return the public half of a key, as it is published."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        published: dict[str, Any] = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        published = OKPAlgorithm.to_jwk(public, as_dict=True)
    else:
        published = ECAlgorithm.to_jwk(public, as_dict=True)
    published.pop("key_ops", None)
    return {**published, **({} if kid is None else {"kid": kid}), **more}


class Issuer(JsonServer):
    """An issuer with one key, whose id is ``one``."""

    def __init__(self) -> None:
        super().__init__()
        self.paths[DISCOVERY] = Said({"issuer": self.url, "jwks_uri": self.url + KEYS})
        self.publish(jwk(private_key()))

    def publish(self, *keys: Any) -> None:
        """Publish these keys, and no others."""
        self.paths[KEYS] = Said({"keys": list(keys)})

    def settings(self, **more: str) -> Settings:
        """Return the settings of a deployment that takes this issuer's tokens."""
        chosen = {
            "MODEL_IDS": "m",
            "AUTH": "jwt",
            "JWT_ISSUER": self.url,
            "JWT_AUDIENCE": f"other,{AUDIENCE}",
            **more,
        }
        return Settings.from_environment({f"RIVULET_{k}": v for k, v in chosen.items()})

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return the claims of a good token, less those that are to be ``None``."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "somebody",
            "iat": now,
            "exp": now + 300,
            **more,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        key: Any = None,
        algorithm: str = "RS256",
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a good token, but for what is given."""
        return jwt.encode(
            self.claims(**claims),
            private_key() if key is None else key,
            algorithm=algorithm,
            headers={"kid": "one", **(headers or {})},
        )

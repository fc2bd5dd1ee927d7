"""The keys that an issuer signs its tokens with, as it publishes them: a JSON Web Key Set (RFC 7517).

Where they are is configured, or told by the issuer's discovery document (OpenID Connect Discovery 1.0). Imported only
where tokens are the way in.
"""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt

from access.kept import Unreadable
from relay import strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TIMEOUT = 2.0  # seconds to connect, and for each piece of an answer
LONGEST_WAIT = 5.0  # seconds for all of it, as long as somebody waits
_LARGEST = 1_000_000  # bytes
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# What a key may have signed with, by its type and curve. None of these works with a secret that two sides share.
_ALGORITHMS = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}


class SigningKey(NamedTuple):
    """A key that tokens are signed with.

    Attributes:
        id: its ``kid``, if it has one.
        algorithms: those that it may have signed with.
        public: cryptography's public key.
    """

    id: str | None
    algorithms: tuple[str, ...]
    public: Any


def is_safe(url: str) -> bool:
    """Tell whether nobody on the way can change what comes from a URL: ``https``, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    )


def read_keys(issuer: str, url: str, longest_wait: float = LONGEST_WAIT) -> tuple[SigningKey, ...]:
    """Return the keys of an issuer.

    Args:
        issuer: as it calls itself.
        url: where its keys are; empty for what its discovery document says.
        longest_wait: seconds for both.

    Raises:
        Unreadable: they cannot be had.
    """
    until = time.monotonic() + longest_wait
    if not url:
        said = _fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration", until)
        if said.get("issuer") != issuer:
            raise Unreadable("the discovery document is of another issuer")
        named = str(said.get("jwks_uri"))
        if not _may_lead(issuer, named):
            raise Unreadable("InsecureAddress")
        url = named
    keys = _fetch(url, until).get("keys")
    found = tuple(_usable(keys if isinstance(keys, list) else ()))
    if not found:
        raise Unreadable("no key that tokens may be signed with")
    return found


def _usable(keys: Iterable[Any]) -> Iterator[SigningKey]:
    for key in keys:
        try:
            yield _signing_key(key)
        except Exception:  # noqa: BLE001, S112  # whatever ails it, it is passed over, and the others serve
            continue


def _signing_key(key: Any) -> SigningKey:
    """Return a key of the set.

    Raises:
        Exception: it is none that tokens may be signed with.
    """
    if "d" in key:
        raise ValueError("a private key that is published is anybody's")
    if key.get("use", "sig") != "sig" or "verify" not in key.get("key_ops", ["verify"]):
        raise ValueError("a key for other ends")
    algorithms = _ALGORITHMS[key.get("kty"), key.get("crv")]
    if "alg" in key:
        algorithms = (algorithms[algorithms.index(key["alg"])],)
    made = jwt.PyJWK(key, algorithms[0])
    if made.Algorithm.check_key_length(made.key):
        raise ValueError("a key that is too short")
    kid = key.get("kid")
    return SigningKey(kid if isinstance(kid, str) else None, algorithms, made.key)


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to where nobody on the way can change what comes."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not _may_lead(req.full_url, newurl):
            raise URLError("InsecureRedirect")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_open = build_opener(_Redirects).open


def _may_lead(url: str, to: str) -> bool:
    """Tell whether an address may name another: one of this machine only if it is on this machine, too."""
    return is_safe(to) and (urlsplit(to).scheme == "https" or urlsplit(url).hostname in _LOOPBACK)


def _fetch(url: str, until: float) -> dict[str, Any]:
    """Return the JSON object at an address, if it has come by a time of ``time.monotonic``.

    It is read in a thread, which is left behind if it takes too long: no timeout of a socket's bounds the looking up of
    a name, a head that comes line by line, or several redirects.
    """
    if not is_safe(url):
        raise Unreadable("InsecureAddress")
    outcome: list[bytes | Unreadable] = []
    reader = Thread(target=lambda: outcome.append(_read(url)), daemon=True)
    reader.start()
    reader.join(until - time.monotonic())
    if not outcome:
        raise Unreadable("TimeoutError")
    (body,) = outcome
    if isinstance(body, Unreadable):
        raise body
    try:
        document = strict_json.parse(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Unreadable("no JSON object")
    return document


def _read(url: str) -> bytes | Unreadable:
    request = Request(url, headers={"accept": "application/json", "user-agent": "rivulet"})  # noqa: S310  # it has a safe scheme
    body = b""
    try:
        with _open(request, timeout=_TIMEOUT) as answer:
            while piece := answer.read1(_LARGEST):
                body += piece
                if len(body) > _LARGEST:
                    return Unreadable("too long an answer")
    except HTTPError as error:
        error.close()
        return Unreadable(f"HTTP {error.code}")
    except URLError as error:
        said = error.reason
        return Unreadable(said if isinstance(said, str) else type(said).__name__)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is not read
        return Unreadable(type(error).__name__)
    return body

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access import jwks
from access.jwt_bearer import JwtBearer
from access.kept import Unreadable
from tests.unit.access.issuer import AUDIENCE, DISCOVERY, KEYS, Issuer, jwk, private_key
from tests.unit.access.json_server import Said
from tests.unit.access.requests import bearer, refused, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.access.conftest import Clock

FAR = 10_000  # seconds


@pytest.fixture
def way(issuer: Issuer, clock: Clock) -> JwtBearer:
    del clock
    return JwtBearer(issuer.settings())


def let_in(way: JwtBearer, token: str) -> str:
    """Return by which name a token is let in."""
    caller = way.caller(bearer(token))
    assert caller.way == "jwt"
    return caller.name


def unauthenticated(way: JwtBearer, token: str) -> str:
    """Return what is said of a token that is refused; that it is, and why, in the terms of RFC 6750."""
    error = refused(401, way.caller, bearer(token))
    assert error.code == "unauthenticated"
    assert error.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    expected = "Expected a valid token of this deployment's issuer, got "
    assert error.message.startswith(expected)
    return error.message.removeprefix(expected).rstrip(".")


def test_a_token_is_known_by_its_subject(way: JwtBearer, issuer: Issuer) -> None:
    """In either header; the keys are fetched once."""
    for event in (bearer(issuer.token()), request(x_api_key=issuer.token())):
        caller = way.caller(event)
        assert (caller.name, caller.way) == ("somebody", "jwt")
    assert issuer.asked == [DISCOVERY, KEYS]


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
)
def test_every_asymmetric_algorithm(way: JwtBearer, issuer: Issuer, algorithm: str) -> None:
    """RSA in both paddings, elliptic curves and Edwards'."""
    key = private_key(algorithm)
    issuer.publish(jwk(key))
    assert let_in(way, issuer.token(key, algorithm)) == "somebody"


def signed_with_a_secret(claims: Any, secret: bytes, algorithm: str = "HS256") -> str:
    """Return a token with a signature that the secret makes; PyJWT itself would not take a public key for one."""

    def encoded(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = {"alg": algorithm, "kid": "one", "typ": "JWT"}
    signed = b".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
    return (signed + b"." + encoded(hmac.digest(secret, signed, hashlib.sha256))).decode()


def test_a_token_without_a_signature(way: JwtBearer, issuer: Issuer) -> None:
    """``alg: none``, in any spelling, is no algorithm; nor is a good token whose signature was taken off."""
    claims = issuer.claims()
    assert unauthenticated(way, jwt.encode(claims, "", "none", {"kid": "one"})).endswith(
        "algorithm"
    )
    for name in ("none", "None", "NONE", "nOnE", ""):
        assert unauthenticated(way, signed_with_a_secret(claims, b"", name))
    head, body, _ = issuer.token().split(".")
    for token in (f"{head}.{body}.", f"{head}.{body}", f"{head}..", f"{head}.{body}.AAAA"):
        assert unauthenticated(way, token) == "one that is not valid"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "ES256K", "RSA", "dir"])
def test_a_token_signed_with_the_public_key(way: JwtBearer, issuer: Issuer, algorithm: str) -> None:
    """The issuer's public key is no secret: what is signed with it, in any form, is not signed by the issuer."""
    public = private_key().public_key()
    for form in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1):
        for encoding in (Encoding.PEM, Encoding.DER):
            secret = public.public_bytes(encoding, form)
            token = signed_with_a_secret(issuer.claims(), secret, algorithm)
            assert unauthenticated(way, token) == "one of an unknown key or algorithm"


def test_a_token_of_another_key_type(way: JwtBearer, issuer: Issuer) -> None:
    """A key signs with the algorithms of its type and curve, and with its own alone where it names one."""
    issuer.publish(jwk(private_key(), alg="RS256"), jwk(private_key("ES256"), "two"))
    assert unauthenticated(way, issuer.token(algorithm="PS256")).endswith("algorithm")
    es384 = issuer.token(private_key("ES384"), "ES384", {"kid": "two"})
    assert unauthenticated(way, es384).endswith("algorithm")
    es256 = issuer.token(private_key("ES256"), "ES256", {"kid": "one"})
    assert unauthenticated(way, es256).endswith("algorithm")


def test_a_token_of_somebody_elses_key(way: JwtBearer, issuer: Issuer) -> None:
    """Under the issuer's key id, too; a key that a token itself brings or points to is not looked at."""
    other = private_key("RS256", "another")
    assert unauthenticated(way, issuer.token(other)) == "one that is not valid"
    published = jwk(other)
    for headers in (
        {"jwk": published},
        {"jku": "https://evil.example.com/keys"},
        {"x5u": "https://evil.example.com/cert", "x5c": ["AAAA"]},
    ):
        assert unauthenticated(way, issuer.token(other, headers=headers)) == "one that is not valid"
    assert issuer.asked == [DISCOVERY, KEYS]


@pytest.mark.parametrize(
    ("claims", "got"),
    [
        ({"iss": "https://evil.example.com"}, "one of another issuer"),
        ({"iss": None}, "one that is not valid"),
        ({"iss": ["x"]}, "one of another issuer"),
        ({"aud": "https://other.example.com"}, "one for another audience"),
        ({"aud": None}, "one for another audience"),
        ({"aud": None, "client_id": "their-client"}, "one for another audience"),
        ({"aud": "their-client", "client_id": AUDIENCE}, "one for another audience"),
        ({"aud": [], "client_id": AUDIENCE}, "one for another audience"),
        ({"aud": "", "client_id": AUDIENCE}, "one for another audience"),
        ({"aud": [[AUDIENCE]]}, "one for another audience"),
        ({"aud": {AUDIENCE: 1}}, "one for another audience"),
        ({"aud": f"{AUDIENCE} other"}, "one for another audience"),
        ({"aud": AUDIENCE.upper()}, "one for another audience"),
        ({"sub": None}, "one without a subject"),
        ({"sub": ""}, "one without a subject"),
        ({"sub": " \n"}, "one without a subject"),
        ({"sub": 5}, "one that is not valid"),
        ({"sub": None, "client_id": 5, "azp": ""}, "one without a subject"),
    ],
)
def test_a_token_for_somebody_else(
    way: JwtBearer, issuer: Issuer, claims: dict[str, Any], got: str
) -> None:
    """Another issuer's, for another audience, or of nobody."""
    # PyJWT will not sign some of these.
    token = jwt.PyJWS().encode(
        json.dumps(issuer.claims(**claims)).encode(), private_key(), "RS256", {"kid": "one"}
    )
    assert unauthenticated(way, token) == got


@pytest.mark.parametrize(
    ("claims", "got"),
    [
        ({"exp": -FAR}, "one that has expired"),
        ({"exp": -61}, "one that has expired"),
        ({"nbf": FAR}, "one that is not valid yet"),
        ({"nbf": 90}, "one that is not valid yet"),
        ({"iat": FAR}, "one that is not valid yet"),
    ],
)
def test_a_token_out_of_its_time(
    way: JwtBearer, issuer: Issuer, claims: dict[str, Any], got: str
) -> None:
    """Expired, not valid yet, or issued in the future, by more than the minute that clocks may differ."""
    now = int(time.time())
    assert (
        unauthenticated(
            way, issuer.token(**{name: now + seconds for name, seconds in claims.items()})
        )
        == got
    )


@pytest.mark.parametrize("claims", [{"exp": -30}, {"nbf": 30}, {"iat": 30}])
def test_clocks_may_differ(way: JwtBearer, issuer: Issuer, claims: dict[str, Any]) -> None:
    """By less than a minute they may."""
    now = int(time.time())
    assert (
        let_in(way, issuer.token(**{name: now + seconds for name, seconds in claims.items()}))
        == "somebody"
    )


@pytest.mark.parametrize("claims", [{"exp": None}, {"exp": "soon"}, {"nbf": "x"}, {"exp": 1e400}])
def test_a_token_without_an_end(way: JwtBearer, issuer: Issuer, claims: dict[str, Any]) -> None:
    """A token says until when it is valid, in seconds."""
    payload = json.dumps(issuer.claims(**claims)).encode()
    token = jwt.PyJWS().encode(payload, private_key(), "RS256", {"kid": "one"})
    assert unauthenticated(way, token) == "one that is not valid"


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"aud": ["x", AUDIENCE]}, "somebody"),
        ({"aud": "other"}, "somebody"),
        ({"aud": None, "client_id": AUDIENCE}, "somebody"),
        ({"sub": None, "client_id": "a-client", "azp": "x"}, "a-client"),
        ({"sub": None, "azp": "a-party"}, "a-party"),
    ],
)
def test_what_issuers_do_differently(
    way: JwtBearer, issuer: Issuer, claims: dict[str, Any], name: str
) -> None:
    """Several audiences; Cognito's access tokens, whose client stands for it; programs without a subject."""
    assert let_in(way, issuer.token(**claims)) == name


@pytest.mark.parametrize(
    ("typ", "status"),
    [
        ("JWT", 0),
        ("at+jwt", 0),
        ("application/at+JWT", 0),
        (None, 0),
        ("logout+jwt", 401),
        ("dpop+jwt", 401),
        ("secevent+jwt", 401),
        (5, 401),
    ],
)
def test_a_token_says_what_it_is(way: JwtBearer, issuer: Issuer, typ: Any, status: int) -> None:
    """What the same issuer signs for other ends is no access token."""
    header = {"kid": "one", "typ": typ}
    token = jwt.encode(issuer.claims(), private_key(), "RS256", header)
    if status:
        assert unauthenticated(way, token) == "one of another type"
    else:
        assert let_in(way, token) == "somebody"


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({"scope": "models:read models:write"}, True),
        ({"scope": "models:write  x models:read"}, True),
        ({"scp": ["models:read", "models:write"]}, True),
        ({"scp": "models:read models:write"}, True),
        ({"scope": "models:read", "scp": ["models:write"]}, True),
        ({}, False),
        ({"scope": "models:read"}, False),
        ({"scope": ""}, False),
        ({"scope": "models:read,models:write"}, False),
        ({"scope": "MODELS:READ MODELS:WRITE"}, False),
        ({"scope": "models:readmodels:write models"}, False),
        ({"scope": {"models:read": 1, "models:write": 1}}, False),
        ({"scp": [["models:read", "models:write"]]}, False),
        ({"scp": 5}, False),
    ],
)
def test_a_token_without_a_scope(issuer: Issuer, claims: dict[str, Any], allowed: bool) -> None:  # noqa: FBT001
    """Each scope that is configured must be there, in either claim and either form; or else it is 403."""
    way = JwtBearer(issuer.settings(JWT_SCOPES="models:read,models:write"))
    event = bearer(issuer.token(**claims))
    if allowed:
        assert way.caller(event).name == "somebody"
        return
    error = refused(403, way.caller, event)
    assert error.code == "forbidden"
    assert error.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert "models:read models:write" in error.message


def test_an_unknown_key_id(way: JwtBearer, issuer: Issuer, clock: Clock) -> None:
    """Invented ones make the keys be fetched once in a while; a key that is new is found."""
    assert let_in(way, issuer.token()) == "somebody"
    clock.now += 10
    for number in range(50):
        token = issuer.token(headers={"kid": f"invented-{number}"})
        assert unauthenticated(way, token) == "one of an unknown key or algorithm"
    assert issuer.asked.count(KEYS) == 2
    new = private_key("ES256", "new")
    issuer.publish(jwk(private_key()), jwk(new, "two"))
    clock.now += 10
    assert let_in(way, issuer.token(new, "ES256", {"kid": "two"})) == "somebody"
    assert issuer.asked.count(KEYS) == 3


def test_a_key_that_is_withdrawn(way: JwtBearer, issuer: Issuer, clock: Clock) -> None:
    """It is taken for no longer than an hour after it was last read."""
    token = issuer.token(exp=int(time.time()) + FAR)
    assert let_in(way, token) == "somebody"
    issuer.publish(jwk(private_key("ES256"), "two"))
    clock.now += 3600.1
    assert unauthenticated(way, token) == "one of an unknown key or algorithm"


def test_a_token_without_a_key_id(way: JwtBearer, issuer: Issuer, clock: Clock) -> None:
    """It will do where one key fits; where several do, none is guessed."""
    token = jwt.encode(issuer.claims(), private_key(), "RS256")
    assert let_in(way, token) == "somebody"
    issuer.publish(jwk(private_key()), jwk(private_key("ES256"), "two"))
    clock.now += 3601
    assert let_in(way, token) == "somebody"
    issuer.publish(jwk(private_key()), jwk(private_key("RS256", "another"), "two"))
    clock.now += 3601
    assert unauthenticated(way, token) == "one of an unknown key or algorithm"


def test_the_issuers_keys_down(
    way: JwtBearer, issuer: Issuer, clock: Clock, logged: list[Any]
) -> None:
    """The last keys serve for four hours more; then, and for new ones, nobody can tell."""
    token = issuer.token()
    assert let_in(way, token) == "somebody"
    issuer.paths[DISCOVERY] = Said({}, 503)
    clock.now += 3601
    assert let_in(way, token) == "somebody"
    error = refused(503, way.caller, bearer(issuer.token(headers={"kid": "new"})))
    assert (error.code, error.retryable) == ("access_unavailable", True)
    clock.now += 4 * 3600
    refused(503, way.caller, bearer(token))
    assert set(logged) == {("cannot read the issuer's keys", "HTTP 503")}
    issuer.paths[DISCOVERY] = Said({"issuer": issuer.url, "jwks_uri": issuer.url + KEYS})
    clock.now += 30
    assert let_in(way, token) == "somebody"


def test_the_issuers_keys_were_never_read(issuer: Issuer, logged: list[Any]) -> None:
    """A function that starts without them starts, and lets nobody in."""
    issuer.paths.clear()
    way = JwtBearer(issuer.settings())
    way.prepare()
    refused(503, way.caller, bearer(issuer.token()))
    assert logged == [("cannot read the issuer's keys", "HTTP 404")] * 2


def test_a_start_does_not_wait_for_a_slow_issuer(
    issuer: Issuer, clock: Clock, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda gives a start or a restore 10 s for everything: the first request waits for the rest, and is let in."""
    del clock
    waits: list[float] = []

    def slow(name: str, url: str, longest_wait: float = jwks.LONGEST_WAIT) -> Any:
        waits.append(longest_wait)
        if longest_wait < 4:
            raise Unreadable("TimeoutError")
        return jwks.read_keys(name, url)

    monkeypatch.setattr("access.jwt_bearer.read_keys", slow)
    way = JwtBearer(issuer.settings())
    way.prepare()
    assert (waits, issuer.asked) == ([3.0], [])
    assert let_in(way, issuer.token()) == "somebody"
    assert (waits, issuer.asked) == ([3.0, 5.0], [DISCOVERY, KEYS])
    assert logged == [("cannot read the issuer's keys", "TimeoutError")]


def test_renewed_it_knows_no_key(way: JwtBearer, issuer: Issuer) -> None:
    """After a snapshot or a fork the keys are fetched anew."""
    way.caller(bearer(issuer.token()))
    issuer.publish(jwk(private_key("ES256"), "two"))
    way.renew()
    unauthenticated(way, issuer.token())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_ISSUER", "http://issuer.example.com"),
        ("JWT_ISSUER", "issuer.example.com"),
        ("JWT_JWKS_URL", "http://issuer.example.com/keys"),
        ("JWT_JWKS_URL", "file:///keys"),
    ],
)
def test_an_unsafe_address_fails_the_start(issuer: Issuer, name: str, value: str) -> None:
    """Keys are fetched from where nobody can change them, or the function says which variable is wrong."""
    message = f"RIVULET_{name}: expected an https URL, got '{value}'"
    with pytest.raises(ValueError, match=message):
        JwtBearer(issuer.settings(**{name: value}))


def test_no_name_of_a_token_injects_into_a_log(way: JwtBearer, issuer: Issuer) -> None:
    """A subject is told as what it is: one line, and no longer than a name."""
    name = way.caller(bearer(issuer.token(sub='evil\n{"level":"ERROR"}\u202e' + "x" * 500))).name
    assert name.startswith('evil?{"level":"ERROR"}?x')
    assert name.isprintable()
    assert len(name) == 200


@pytest.fixture(scope="module")
def lasting() -> Iterator[tuple[Issuer, JwtBearer]]:
    with Issuer() as issuer:
        yield issuer, JwtBearer(issuer.settings())


TOKEN_CHARACTERS = st.sampled_from("ABCXYZabcxyz0189-_.~+/=")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_token_that_is_tampered_with(
    lasting: tuple[Issuer, JwtBearer], data: st.DataObject
) -> None:
    """Wherever a token is changed, cut or added to, it is 401: never let in, never a bug."""
    issuer, way = lasting
    good = issuer.token()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    token = good[:start] + data.draw(st.text(TOKEN_CHARACTERS, max_size=12)) + good[end:]
    if token != good:
        refused(401, way.caller, bearer(token))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
HEADERS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("alg", "kid", "typ", "crit", "b64", "jwk", "enc", "zip"), JSON)
)


@given(head=JSON | HEADERS, claims=JSON, signature=st.binary(max_size=300))
def test_a_token_that_is_made_up(
    lasting: tuple[Issuer, JwtBearer], head: Any, claims: Any, signature: bytes
) -> None:
    """Whatever its parts say, without the issuer's signature it is 401."""
    _, way = lasting
    parts = [json.dumps(head).encode(), json.dumps(claims).encode(), signature]
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    refused(401, way.caller, bearer(token))


@given(
    claims=st.dictionaries(
        st.sampled_from(["exp", "iat", "nbf", "iss", "aud", "sub", "scope"]), JSON
    )
)
def test_a_token_with_any_claims(lasting: tuple[Issuer, JwtBearer], claims: Any) -> None:
    """What is signed may be any JSON: of another issuer it is 401, never a bug."""
    issuer, way = lasting
    payload = json.dumps({**issuer.claims(), **claims, "iss": "https://evil.example.com"}).encode()
    token = jwt.PyJWS().encode(payload, private_key(), "RS256", {"kid": "one"})
    refused(401, way.caller, bearer(token))

from __future__ import annotations

import socket  # noqa: TID251  # an issuer that is slow to the byte
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from access import jwks
from access.jwks import is_safe, read_keys
from access.kept import Unreadable
from tests.unit.access.issuer import DISCOVERY, KEYS, jwk, private_key
from tests.unit.access.json_server import Said

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.access.issuer import Issuer


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://issuer.example.com/keys", True),
        ("HTTPS://issuer.example.com", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://localhost/keys", True),
        ("http://[::1]:80/keys", True),
        ("http://issuer.example.com/keys", False),
        ("http://127.0.0.1.example.com/", False),
        ("http://127.0.0.1@example.com/", False),
        ("http://169.254.169.254/latest", False),
        ("ftp://localhost/keys", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https:///keys", False),
        ("//issuer.example.com", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_keys_come_from_where_nobody_can_change_them(url: str, safe: bool) -> None:  # noqa: FBT001
    """Only over https, or from this machine."""
    assert is_safe(url) is safe


def test_keys_are_found_by_the_discovery_document(issuer: Issuer) -> None:
    """Without a configured address the issuer tells where they are; with one it is not asked."""
    (key,) = read_keys(issuer.url, "")
    assert (key.id, key.algorithms[0]) == ("one", "RS256")
    assert issuer.asked == [DISCOVERY, KEYS]
    read_keys("https://issuer.example.com", issuer.url + KEYS)
    assert issuer.asked == [DISCOVERY, KEYS, KEYS]


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_issuer_may_end_with_a_slash(issuer: Issuer, slash: str) -> None:
    """It is the same with its name to the letter, and its document is where the standard has it."""
    name = issuer.url + slash
    issuer.paths[DISCOVERY] = Said({"issuer": name, "jwks_uri": issuer.url + KEYS})
    assert read_keys(name, "")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            Said({"issuer": "https://evil.example.com", "jwks_uri": "…"}),
            "the discovery document is",
        ),
        (Said({"jwks_uri": "…"}), "the discovery document is"),
        (Said([]), "no JSON object"),
        (Said(b"<html>"), "no JSON object"),
        (Said(b"\xff"), "no JSON object"),
        (Said({}, 500), "HTTP 500"),
        (Said({}, 404), "HTTP 404"),
    ],
)
def test_a_discovery_document_of_another_kind(issuer: Issuer, said: Said, cause: str) -> None:
    """One of another issuer, or none, says nothing of keys."""
    issuer.paths[DISCOVERY] = said
    with pytest.raises(Unreadable, match=cause):
        read_keys(issuer.url, "")
    assert issuer.asked == [DISCOVERY]


@pytest.mark.parametrize("address", ["http://keys.example.com/", "file:///etc/passwd", None, 5])
def test_a_discovery_document_leads_nowhere_unsafe(issuer: Issuer, address: Any) -> None:
    """Keys that could be changed on the way are not fetched."""
    issuer.paths[DISCOVERY] = Said({"issuer": issuer.url, "jwks_uri": address})
    with pytest.raises(Unreadable, match="InsecureAddress"):
        read_keys(issuer.url, "")


@pytest.mark.parametrize(
    "location", ["http://keys.example.com/", "file:///etc/passwd", "ftp://127.0.0.1/keys"]
)
def test_a_redirect_leads_nowhere_unsafe(issuer: Issuer, location: str) -> None:
    """Nor are those that a redirect is to, while one to somewhere safe is followed."""
    issuer.paths["/moved"] = issuer.paths[KEYS]
    issuer.paths[KEYS] = Said({}, 302, {"location": issuer.url + "/moved"})
    assert read_keys(issuer.url, "")
    issuer.paths[KEYS] = Said({}, 302, {"location": location})
    with pytest.raises(Unreadable, match=r"InsecureRedirect|HTTP 302"):
        read_keys(issuer.url, "")


def test_a_redirect_has_an_end(issuer: Issuer) -> None:
    """One that leads to itself is given up."""
    issuer.paths[KEYS] = Said({}, 302, {"location": issuer.url + KEYS})
    with pytest.raises(Unreadable, match="HTTP 302"):
        read_keys(issuer.url, "")


def test_an_answer_that_is_too_large(issuer: Issuer) -> None:
    """No more is read of it than any issuer's keys take."""
    issuer.paths[KEYS] = Said(b" " * 2_000_000)
    with pytest.raises(Unreadable, match="too long an answer"):
        read_keys(issuer.url, "")


def test_an_answer_that_takes_too_long(issuer: Issuer) -> None:
    """One that comes in drops is given up after some seconds, its head as well as its body."""
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_drops, args=(listener,))
        server.start()
        with pytest.raises(Unreadable, match="TimeoutError"):
            read_keys(issuer.url, f"http://127.0.0.1:{listener.getsockname()[1]}/keys", 0.2)
        for thread in set(threading.enumerate()) - before:
            thread.join(5)


def test_two_answers_have_the_time_of_one(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the discovery document has taken is not there for the keys."""
    untils: list[float] = []
    fetch = jwks._fetch

    def note(url: str, until: float) -> Any:
        untils.append(until)
        return fetch(url, until)

    monkeypatch.setattr(jwks, "_fetch", note)
    began = time.monotonic()
    assert read_keys(issuer.url, "", 60.0)
    first, second = untils
    assert first == second
    assert began + 60 <= first <= time.monotonic() + 60


def _drops(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(20):
            time.sleep(0.02)
            connection.sendall(b"x: y\r\n")


@pytest.mark.parametrize("target", ["http://127.0.0.1:9001/keys", "http://localhost/keys"])
def test_an_issuer_elsewhere_leads_nowhere_on_this_machine(target: str) -> None:
    """Lambda's own interfaces are on it."""
    assert not jwks._may_lead("https://issuer.example.com/", target)
    assert jwks._may_lead("http://127.0.0.1:8000/", target)
    assert jwks._may_lead("https://issuer.example.com/", "https://keys.example.com/")


def test_nobody_answers() -> None:
    """Where nothing listens the cause is told by its name."""
    with pytest.raises(Unreadable, match="ConnectionRefusedError"):
        read_keys("https://issuer.example.com", "http://127.0.0.1:9/keys")


def test_an_answer_that_is_no_http(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks within the answer is told by its name, too."""
    monkeypatch.setattr(jwks, "_open", _breaks)
    with pytest.raises(Unreadable, match="ConnectionResetError"):
        read_keys(issuer.url, "")


def _breaks(*_: Any, **__: Any) -> None:
    raise ConnectionResetError


def _private() -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(private_key(), as_dict=True), "key_ops": ["verify"]}


def _short() -> dict[str, Any]:
    return jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024))


# Made when they are needed: a key takes a while, and is another in each process.
UNUSABLE: dict[str, Callable[[], Any]] = {
    "a shared secret": lambda: {"kty": "oct", "k": "c2VjcmV0LXNlY3JldA", "alg": "HS256"},
    "a private key": _private,
    "a short key": _short,
    "for encryption": lambda: jwk(private_key(), use="enc"),
    "for nothing known": lambda: jwk(private_key(), use=5),
    "to encrypt": lambda: jwk(private_key(), key_ops=["encrypt"]),
    "to do nothing known": lambda: jwk(private_key(), key_ops=5),
    "for HS256": lambda: jwk(private_key(), alg="HS256"),
    "for none": lambda: jwk(private_key(), alg="none"),
    "for another type": lambda: jwk(private_key(), alg="ES256"),
    "without base64": lambda: jwk(private_key(), n="!"),
    "without text": lambda: jwk(private_key(), n=5),
    "without numbers": lambda: {"kty": "RSA", "kid": "one"},
    "of another curve": lambda: jwk(private_key("ES256"), crv="secp256k1"),
    "of a wrong curve": lambda: jwk(private_key("ES256"), crv="P-384"),
    "of several curves": lambda: jwk(private_key("ES256"), crv=["P-256"]),
    "to agree on keys": lambda: {"kty": "OKP", "crv": "X25519", "x": "AAAA"},
    "of several types": lambda: {"kty": ["RSA"]},
    "nothing": dict,
    "null": lambda: None,
    "text": lambda: "key",
    "a number": lambda: 5,
    "a list": list,
}


@pytest.mark.parametrize("which", UNUSABLE)
def test_a_key_that_may_not_sign_is_passed_over(issuer: Issuer, which: str) -> None:
    """Shared secrets, published private keys, short ones, those for other ends and broken ones; the others serve."""
    unusable = UNUSABLE[which]()
    issuer.publish(unusable, jwk(private_key(), "two"))
    assert [key.id for key in read_keys(issuer.url, "")] == ["two"]
    issuer.publish(unusable)
    with pytest.raises(Unreadable, match="no key that tokens may be signed with"):
        read_keys(issuer.url, "")


@pytest.mark.parametrize("keys", [None, {}, "keys", 5, []])
def test_a_set_without_keys(issuer: Issuer, keys: Any) -> None:
    """A document without a list of keys has none."""
    issuer.paths[KEYS] = Said({"keys": keys})
    with pytest.raises(Unreadable, match="no key that tokens may be signed with"):
        read_keys(issuer.url, "")


def test_what_a_key_may_have_signed_with(issuer: Issuer) -> None:
    """Its type and curve decide, and its own ``alg`` where it has one; no key works with a shared secret."""
    issuer.publish(
        jwk(private_key(), "rsa", use="sig", key_ops=["verify"]),
        jwk(private_key(), "one", alg="PS384"),
        jwk(private_key("ES256"), "p-256"),
        jwk(private_key("ES384"), "p-384"),
        jwk(private_key("ES512"), "p-521"),
        jwk(private_key("EdDSA"), None),
    )
    assert {key.id: " ".join(key.algorithms) for key in read_keys(issuer.url, "")} == {
        "rsa": "RS256 RS384 RS512 PS256 PS384 PS512",
        "one": "PS384",
        "p-256": "ES256",
        "p-384": "ES384",
        "p-521": "ES512",
        None: "EdDSA",
    }

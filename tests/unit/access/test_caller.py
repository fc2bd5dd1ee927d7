from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.caller import Caller, clean, iam_caller


@pytest.mark.parametrize(
    "name", ["web", "Jürgen Müller", "auth0|5f7c", "a" * 200, "someone@example.com"]
)
def test_a_name_stays_as_it_is(name: str) -> None:
    """What is printable and short enough is the caller's name."""
    assert Caller(name, "jwt").name == name


@pytest.mark.parametrize(
    "name",
    [
        'evil\n{"level": "INFO"}',
        "a\r\nb",
        "a\0b",
        "\x1b[2Jgone",
        "\u202egnirts",
        "a\u2028b",
        "\ud800x",
        "a" * 201,
    ],
)
def test_no_name_injects_into_a_log(name: str) -> None:
    """Line breaks, terminal's escapes, bidirectional controls and sheer length do not get into a record."""
    cleaned = Caller(name, "jwt").name
    assert cleaned != name
    assert cleaned.isprintable()
    assert len(cleaned) <= 200
    json.dumps(cleaned).encode()


@pytest.mark.parametrize("name", ["", " ", "\n\t"])
def test_no_name_is_told_as_unknown(name: str) -> None:
    """A blank name is nobody's."""
    assert Caller(name, "iam").name == "unknown"


@given(st.text(st.characters(), max_size=300), st.text(st.characters(), max_size=300))
def test_names_that_differ_stay_apart(one: str, other: str) -> None:
    """Two callers share no budget, whatever was taken out of their names."""
    same = one == other or not (one.strip() or other.strip())
    assert (clean(one) == clean(other)) == same
    assert clean(one).isprintable()
    assert len(clean(one)) <= 200
    clean(one).encode()


def test_names_that_differ_only_where_they_are_cleaned_stay_apart() -> None:
    """A line break in the place of another character, or a longer end, is another caller."""
    assert len({clean(name) for name in ("a\nb", "a\rb", "a?b")}) == 3
    assert clean("a" * 300) != clean("a" * 301)


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:sts::123456789012:assumed-role/Shop/session-1", "Shop"),
        ("arn:aws:sts::123456789012:federated-user/bob", "bob"),
        ("arn:aws:iam::123456789012:user/division/alice", "alice"),
        ("arn:aws:iam::123456789012:root", "root"),
    ],
)
def test_a_signature_is_known_by_role_or_user(arn: str, name: str) -> None:
    """Lambda tells whose signature it checked; of that ARN the record has the name alone, in either payload format."""
    url: dict[str, Any] = {"authorizer": {"iam": {"userArn": arn}}}
    rest: dict[str, Any] = {"identity": {"userArn": arn}}
    for context in (url, rest):
        assert iam_caller({"requestContext": context}) == Caller(name, "iam")


@pytest.mark.parametrize(
    "context", [{}, {"authorizer": {}}, {"identity": {"userArn": None}}, {"authorizer": 5}]
)
def test_a_signature_without_a_name_is_unknown(context: dict[str, Any]) -> None:
    """An emulator tells no ARN."""
    assert iam_caller({"requestContext": context}) == Caller("unknown", "iam")

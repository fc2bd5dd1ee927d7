"""The caller of the smoke checks: when lines came, what is whole, how an error reads."""

from __future__ import annotations

from typing import Any

import pytest

from smoke.caller import Answer
from smoke.credentials import Nothing, Request, Secret, with_wrong_end
from smoke.deployment import told_by_host
from smoke.streams import largest_share


def answer(*pieces: tuple[float, bytes], status: int = 200) -> Answer:
    return Answer(status=status, headers={}, cookies=0, head_at=0.0, pieces=pieces, whole=True)


def test_a_line_came_when_its_end_came() -> None:
    """A line in several pieces has the time of its last one, several in one piece have the same."""
    came = answer((1.0, b'data: {"a"'), (2.0, b": 1}\n\n: ping\n"), (3.0, b"data: [DONE]\nrest"))
    assert list(came.lines()) == [
        (2.0, 'data: {"a": 1}'),
        (2.0, ""),
        (2.0, ": ping"),
        (3.0, "data: [DONE]"),
    ]
    assert list(came.events()) == [(2.0, {"a": 1})]
    assert came.said() == ['{"a": 1}', "[DONE]"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": {"code": "a", "message": "b"}}', "a: b"),
        (b'{"type": "error", "error": {"type": "a", "message": "b"}}', "a: b"),
        (b'{"Message": "Forbidden"}', "Forbidden"),
        (b'{"message": "Missing Authentication Token"}', "Missing Authentication Token"),
        (b"<html>", "b'<html>'"),
        (b'["a"]', "b'[\"a\"]'"),
    ],
)
def test_an_error_reads_as_its_api_writes_it(body: bytes, told: str) -> None:
    """Whichever API an error is in, its code and message are told; anything else by its first bytes."""
    assert answer((0.0, body)).error == told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://abc.lambda-url.eu-west-1.on.aws", ("lambda", "eu-west-1")),
        ("https://abc.execute-api.eu-west-1.amazonaws.com/live", ("execute-api", "eu-west-1")),
        ("https://abc.execute-api.cn-north-1.amazonaws.com.cn/live", ("execute-api", "cn-north-1")),
        ("https://d1.cloudfront.net", ("", "")),
        ("https://chat.example.com", ("", "")),
        ("http://127.0.0.1:8080", ("", "")),
    ],
)
def test_a_host_tells_what_to_sign_for(url: str, told: tuple[str, str]) -> None:
    """AWS's own hosts name service and region, others neither."""
    assert told_by_host(url) == told


@pytest.mark.parametrize(
    ("times", "share"),
    [
        ([i / 100 for i in range(100)], 0.06),
        ([0.0] * 50 + [1.0] * 50, 0.5),
        ([0.0, *[0.99] * 9], 0.9),
        ([0.0, 1.0], 0.5),
    ],
)
def test_the_largest_share(times: list[float], share: float) -> None:
    """Evenly sent pieces are few in any twentieth of the time; what is gathered is many in one."""
    assert largest_share(times, (times[-1] - times[0]) / 20) == pytest.approx(share, abs=0.011)


@pytest.mark.parametrize(
    ("credential", "headers"),
    [
        (Nothing(), {}),
        (Secret("k"), {"authorization": "Bearer k"}),
        (Secret("k", "x-api-key"), {"x-api-key": "k"}),
    ],
)
def test_a_secret_goes_in_the_header_it_is_for(credential: Any, headers: dict[str, str]) -> None:
    """A key or token is sent as SDKs send it."""
    assert credential.headers(Request("GET", "http://x/", {}, b"")) == headers


def test_a_wrong_secret_has_the_right_length() -> None:
    """Only the end of it differs, in every letter, so that nothing but the whole is compared."""
    right = "header.claims.signAture"
    wrong = with_wrong_end(right)
    assert (len(wrong), wrong[:-8]) == (len(right), right[:-8])
    assert all(a != b for a, b in zip(right[-8:], wrong[-8:], strict=True))

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import INTERNAL, RelayError, RequestError, bedrock_error, transport_error

# What a call of Bedrock's can be refused with (fact 11): status, code, whether to retry.
EXCEPTIONS = {
    "AccessDeniedException": (403, "access_denied", False),
    "ThrottlingException": (429, "throttling", True),
    "ModelNotReadyException": (429, "model_not_ready", True),
    "ResourceNotFoundException": (404, "resource_not_found", False),
    "ValidationException": (400, "validation", False),
    "ServiceQuotaExceededException": (400, "service_quota_exceeded", False),
    "ModelTimeoutException": (408, "model_timeout", True),
    "ModelErrorException": (424, "model_error", True),
    "ModelStreamErrorException": (424, "model_stream_error", True),
    "InternalServerException": (500, "internal_server", True),
    "ServiceUnavailableException": (503, "service_unavailable", True),
}
ACCOUNT = "123456789012"


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_bedrocks_exceptions_keep_their_status(name: str) -> None:
    """Each listed exception has its status, its code in snake case, and says whether to retry; in both spellings."""
    status, code, retryable = EXCEPTIONS[name]
    for spelling in (name, name[0].lower() + name[1:]):
        error = bedrock_error(spelling, "its words", 599)
        assert (error.status, error.code, error.retryable) == (status, code, retryable)


@pytest.mark.parametrize(
    ("status", "told", "retryable"),
    [
        (403, 403, False),
        (429, 429, True),
        (500, 500, True),
        (599, 599, True),
        (None, 502, True),
        (200, 502, True),
        (302, 502, True),
        (600, 502, True),
    ],
)
def test_unlisted_exceptions_keep_a_status_that_is_an_error(
    status: int | None, told: int, *, retryable: bool
) -> None:
    """An exception that nobody listed keeps the status it came with, if that says that something failed."""
    error = bedrock_error("QuiteNewException", "words", status)
    assert (error.status, error.code, error.retryable) == (told, "quite_new", retryable)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ExpiredToken", "expired_token"),
        ("InternalFailure", "internal_failure"),
        ("", "unknown"),
        ("Exception", "unknown"),
        ("503", "unknown"),
        ("a b", "unknown"),
        ("arn:aws:x", "unknown"),
        ("Überlast", "unknown"),
        ("<html>", "unknown"),
    ],
)
def test_only_a_name_becomes_a_code(name: str, code: str) -> None:
    """A code is something to program against: what is no exception's name is ``unknown``."""
    error = bedrock_error(name)
    assert error.code == code
    assert error.headers == ({} if code == "unknown" else {"x-amzn-errortype": name})


@pytest.mark.parametrize(
    "secret",
    [
        f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.anthropic.claude",
        f"arn:aws-us-gov:iam::{ACCOUNT}:role/rivulet",
        f"ARN:AWS:IAM::{ACCOUNT}:role/rivulet",
        f"arn%3Aaws%3Abedrock%3Aus-east-1%3A{ACCOUNT}%3Ainference-profile%2Fx",
        ACCOUNT,
        f"account_{ACCOUNT}_x",
    ],
)
@pytest.mark.parametrize("around", ["{}", "({})", '"{}"', "in {}, and", "x={}; y", "[{}]"])
def test_no_name_of_a_resource_is_told(secret: str, around: str) -> None:
    """ARNs and account ids are cut out of Bedrock's words, and only they."""
    said = f"messages.0: too long {around.format(secret)} (limit 9876543210987 or 4096)"
    message = bedrock_error("ValidationException", said).message
    assert ACCOUNT not in message
    assert "rivulet" not in message
    assert "messages.0: too long" in message
    assert "(limit 9876543210987 or 4096)" in message


@given(st.sampled_from([*EXCEPTIONS, "QuiteNewException"]), st.text(min_size=9))
def test_only_validation_is_quoted(name: str, said: str) -> None:
    """Bedrock's words reach a caller only where they are about the caller's own request."""
    error = bedrock_error(name, f"»{said}«")
    assert ("»" in error.message) == (name == "ValidationException")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("connect_failed", 502),
        ("connect_timeout", 504),
        ("read_timeout", 504),
        ("connection_lost", 502),
        ("truncated", 502),
        ("corrupt", 502),
    ],
)
def test_failures_of_the_way_may_be_tried_again(code: str, status: int) -> None:
    """What the connection did is a gateway's error, and worth another try."""
    error = transport_error(code)
    assert (error.status, error.code, error.retryable) == (status, code, True)


def test_a_request_error_says_all() -> None:
    """Status, code, message and headers are what they were given as; nothing of it is worth another try."""
    error = RequestError(405, "method_not_allowed", "no", headers={"allow": "GET"})
    assert isinstance(error, RelayError)
    assert str(error) == "method_not_allowed: no"
    assert (error.status, error.retryable, error.headers) == (405, False, {"allow": "GET"})


def test_a_bug_is_told_in_one_word() -> None:
    """Nothing of a bug gets out but that there is one."""
    assert (INTERNAL.status, INTERNAL.code, INTERNAL.retryable) == (500, "internal", False)

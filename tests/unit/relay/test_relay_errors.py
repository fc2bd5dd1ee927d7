from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import (
    LimitError,
    RelayError,
    RequestError,
    UpstreamError,
    bedrock_error,
    internal_error,
    limit_error,
    transport_error,
)
from relay.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

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


# Where Bedrock itself does not say when to try again.
RETRY_AFTER = {
    "ThrottlingException": "5",
    "ServiceUnavailableException": "5",
    "ModelNotReadyException": "30",
}


@pytest.mark.parametrize("name", [*EXCEPTIONS, "QuiteNewException"])
def test_what_is_busy_says_when_to_try_again(name: str) -> None:
    """A model that is throttled, unavailable or not ready yet may be asked again after some seconds."""
    assert bedrock_error(name).headers.get("retry-after") == RETRY_AFTER.get(name)


@pytest.mark.parametrize("name", [*EXCEPTIONS, "QuiteNewException"])
def test_bedrocks_own_word_on_when_to_try_again_counts(name: str) -> None:
    """Bedrock's number of seconds goes before ours, unless trying again is in vain."""
    error = bedrock_error(name, "words", 503, retry_after="17")
    assert error.headers.get("retry-after") == ("17" if error.retryable else None)


@pytest.mark.parametrize(
    "said", [None, "", "-1", "1.5", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "٣", "1\r\nx: y"]
)
def test_a_retry_after_that_is_no_number_of_seconds_is_not_passed_on(said: str | None) -> None:
    """What else the header may say, ours is sent instead."""
    assert bedrock_error("ThrottlingException", retry_after=said).headers["retry-after"] == "5"
    assert "retry-after" not in bedrock_error("InternalServerException", retry_after=said).headers


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
        ("X" + "x" * 99, "x" * 100),
        ("X" + "x" * 100, "unknown"),  # it would become a header
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
    assert message == f"Bedrock refused the request. It says: {redact(said)}"
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


@pytest.mark.parametrize(
    ("code", "status", "retryable", "headers"),
    [
        ("timeout", 504, True, {}),
        ("response_too_large", 502, False, {}),
        ("too_many_streams", 429, True, {"retry-after": "1"}),
    ],
)
def test_limits_are_nobodys_fault(
    code: str, status: int, headers: dict[str, str], *, retryable: bool
) -> None:
    """What there is no more of has a status, and says whether it is worth another try, and when."""
    error = limit_error(code)
    assert isinstance(error, LimitError)
    assert (error.status, error.code, error.retryable) == (status, code, retryable)
    assert error.headers == headers


@pytest.mark.parametrize(
    "make",
    [
        lambda: limit_error("timeout"),
        lambda: transport_error("corrupt"),
        lambda: bedrock_error("ThrottlingException"),
        lambda: internal_error(KeyError()),
    ],
    ids=["limit", "transport", "bedrock", "internal"],
)
def test_each_error_is_one_of_its_own(make: Callable[[], RelayError]) -> None:
    """What is added to one request's error, such as a cause, is not in another's."""
    assert make() is not make()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RequestError(404, "not_found", "There is nothing.", headers={"x": "y"}),
            {"code": "not_found", "message": "There is nothing.", "retryable": False},
        ),
        (
            UpstreamError(424, "model_error", "No.", retryable=True, original_status=503),
            {"code": "model_error", "message": "No.", "retryable": True, "original_status": 503},
        ),
        (
            bedrock_error("ModelErrorException", "its words", 424, original_status=500),
            {
                "code": "model_error",
                "message": "The model failed on this request.",
                "retryable": True,
                "original_status": 500,
            },
        ),
        (
            bedrock_error("ModelErrorException", original_status="500"),
            {
                "code": "model_error",
                "message": "The model failed on this request.",
                "retryable": True,
            },
        ),
    ],
)
def test_what_a_caller_is_told(error: RelayError, told: dict[str, Any]) -> None:
    """Code, message, whether to retry, and the model's own status where there is one: nothing else."""
    assert error.told() == told


def test_a_request_error_says_all() -> None:
    """Status, code, message and headers are what they were given as; nothing of it is worth another try."""
    error = RequestError(405, "method_not_allowed", "no", headers={"allow": "GET"})
    assert isinstance(error, RelayError)
    assert str(error) == "method_not_allowed: no"
    assert (error.status, error.retryable, error.headers) == (405, False, {"allow": "GET"})


def test_a_bug_is_told_in_one_word() -> None:
    """Nothing of a bug gets out but that there is one; the records find it as the cause."""
    bug = KeyError("private words")
    error = internal_error(bug)
    assert (error.status, error.headers, error.__cause__) == (500, {}, bug)
    assert error.told() == {
        "code": "internal",
        "message": "Something went wrong.",
        "retryable": False,
    }
    assert "private" not in str(error)

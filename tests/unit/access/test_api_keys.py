from __future__ import annotations

import hmac
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config  # noqa: TID251  # shortens the wait

from access import api_keys
from access.api_keys import ApiKeys
from relay.settings import Settings
from tests.unit.access.json_server import Said
from tests.unit.access.requests import bearer, refused, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from access import Caller
    from tests.unit.access.conftest import Clock
    from tests.unit.access.json_server import SecretsManager

SECRET = "rivulet/keys"
WEB, BATCH, OLD, NEW = (f"{name}-key-{'0123456789' * 2}" for name in ("web", "batch", "old", "new"))
SETTINGS = Settings.from_environment(
    {"RIVULET_MODEL_IDS": "m", "RIVULET_AUTH": "api-key", "RIVULET_API_KEYS_SECRET": SECRET}
)


@pytest.fixture
def keys(secrets_manager: SecretsManager, clock: Clock) -> ApiKeys:
    del clock
    secrets_manager.secret = json.dumps({"web": WEB, "batch": [NEW, OLD]})
    return ApiKeys(SETTINGS)


def let_in(keys: ApiKeys, key: str) -> str:
    caller = keys.caller(bearer(key))
    assert caller.way == "api-key"
    return caller.name


def test_a_key_is_known_by_its_name(keys: ApiKeys, secrets_manager: SecretsManager) -> None:
    """Each of several keys, and each of a name's, in either header; the secret is read once, by its name."""
    assert [let_in(keys, key) for key in (WEB, NEW, OLD)] == ["web", "batch", "batch"]
    assert keys.caller(request(x_api_key=WEB)).name == "web"
    assert secrets_manager.asked == [SECRET]


@pytest.mark.parametrize(
    "wrong", [WEB[:-1], f"{WEB}0", WEB.upper(), WEB[::-1], "web", "rivulet/keys", "x" * 8192]
)
def test_a_wrong_key_is_refused(keys: ApiKeys, wrong: str) -> None:
    """What is only near to a key is none, and the answer repeats nothing of it."""
    error = refused(401, keys.caller, bearer(wrong))
    assert error.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert error.told() == {
        "code": "unauthenticated",
        "message": "Expected an API key of this deployment, got another.",
        "retryable": False,
    }


def test_every_key_is_compared(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length are compared in constant time, all of them, found or not."""
    compared: list[int] = []
    compare_digest = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one) + len(other))
        return compare_digest(one, other)

    let_in(keys, WEB)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    let_in(keys, WEB)
    assert compared == [64] * 3
    refused(401, keys.caller, bearer("wrong" * 5))
    assert compared == [64] * 6


def test_nothing_keeps_the_keys_themselves(keys: ApiKeys) -> None:
    """Neither this nor Powertools' own cache has them, once they are read."""
    let_in(keys, WEB)
    assert keys._provider is not None
    assert keys._provider.store == {}
    assert WEB not in repr(keys._keys._value)


def test_a_new_key_works_at_once(
    keys: ApiKeys, secrets_manager: SecretsManager, clock: Clock
) -> None:
    """A key that is not known is looked for in the secret as it is now, seconds after it was last read."""
    let_in(keys, WEB)
    secrets_manager.secret = json.dumps({"web": WEB, "added": "a-new-key-0123456789"})
    clock.now += 5
    assert let_in(keys, "a-new-key-0123456789") == "added"


def test_guessing_does_not_reach_secrets_manager(
    keys: ApiKeys, secrets_manager: SecretsManager, clock: Clock
) -> None:
    """A thousand wrong keys in five seconds are one reading more."""
    let_in(keys, WEB)
    clock.now += 5
    for guess in range(1000):
        refused(401, keys.caller, bearer(f"guess-number-{guess:08}"))
    assert len(secrets_manager.asked) == 2


def test_a_revoked_key_is_refused(
    keys: ApiKeys, secrets_manager: SecretsManager, clock: Clock
) -> None:
    """A key that was taken out works no longer than the age for which keys are kept; the others go on."""
    let_in(keys, OLD)
    secrets_manager.secret = json.dumps({"web": WEB, "batch": [NEW]})
    clock.now += SETTINGS.api_keys_max_age + 0.1
    refused(401, keys.caller, bearer(OLD))
    assert let_in(keys, NEW) == "batch"


@pytest.mark.parametrize(
    "answer",
    [
        Said(
            {"__type": "AccessDeniedException", "Message": "arn:aws:iam::123456789012:role/r"}, 400
        ),
        Said({"__type": "DecryptionFailure"}, 400),
        Said(b"<html>", 200),
        Said(b"", 400),
    ],
)
def test_secrets_manager_down(
    keys: ApiKeys,
    secrets_manager: SecretsManager,
    clock: Clock,
    logged: list[Any],
    answer: Said,
) -> None:
    """Known keys work for a quarter of an hour after they were last read; then, and for all others, nobody can tell."""
    let_in(keys, WEB)
    secrets_manager.paths["/"] = answer
    clock.now += SETTINGS.api_keys_max_age + 1
    assert let_in(keys, WEB) == "web"
    assert refused(503, keys.caller, bearer("wrong" * 5)).code == "access_unavailable"
    clock.now += 900
    assert refused(503, keys.caller, bearer(WEB)).retryable
    assert {message for message, _ in logged} == {"cannot read the API keys"}
    assert "123456789012" not in str(logged)
    del secrets_manager.paths["/"]
    clock.now += 30
    assert let_in(keys, WEB) == "web"


def test_secrets_manager_was_never_reached(
    secrets_manager: SecretsManager, logged: list[Any]
) -> None:
    """A function that starts without it starts, lets nobody in, and does once it is there."""
    keys = ApiKeys(SETTINGS)
    keys.prepare()
    for _ in range(3):
        refused(503, keys.caller, bearer(WEB))
    # Whoever asks first tries again, and nobody after them for a while.
    assert logged == [("cannot read the API keys", "ResourceNotFoundException")] * 2
    assert len(secrets_manager.asked) == 2


def test_no_connection(monkeypatch: pytest.MonkeyPatch, logged: list[Any]) -> None:
    """Where no client can be made, or nothing listens, the log says what failed, and nobody is let in."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    with monkeypatch.context() as without:
        without.setenv("AWS_PROFILE", "absent")
        refused(503, ApiKeys(SETTINGS).caller, bearer(WEB))
    config = Config(retries={"total_max_attempts": 1})
    monkeypatch.setattr(api_keys, "_config", lambda: config)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    refused(503, ApiKeys(SETTINGS).caller, bearer(WEB))
    assert [cause for _, cause in logged] == ["ProfileNotFound", "EndpointConnectionError"]


def test_no_answer_is_waited_for_for_long() -> None:
    """Two tries, of which each may take a second to connect and two for the answer."""
    config = api_keys._config()
    assert (config.connect_timeout, config.read_timeout) == (1, 2)
    assert config.retries["total_max_attempts"] == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        f'"{WEB}"',
        WEB,
        f'{{"web": "{WEB}"',
        f'["{WEB}"]',
        f'{{"web": NaN, "x": "{WEB}"}}',
    ],
)
def test_a_secret_that_is_no_object_lets_nobody_in(
    secrets_manager: SecretsManager, clock: Clock, logged: list[Any], content: str
) -> None:
    """It holds no keys; the log says what was expected, and not what is in it, and once."""
    secrets_manager.secret = content
    keys = ApiKeys(SETTINGS)
    for _ in range(3):
        refused(401, keys.caller, bearer(WEB))
        clock.now += 5
    ((message, cause),) = logged
    assert message == "API keys that nobody is let in with"
    assert cause == "the secret: expected a JSON object of names to keys, got something else"
    secrets_manager.secret = json.dumps({"web": WEB})
    assert let_in(keys, WEB) == "web"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("", "k"),
        ([], "k"),
        ([""], "k"),
        ("short-key-012345"[:15], "short-key-012345"[:15]),
        (None, "null"),
        (1234567890123456, "1234567890123456"),
        ({"key": "hidden-key-0123456789"}, "hidden-key-0123456789"),
        ([["hidden-key-0123456789"]], "hidden-key-0123456789"),
        ("a-key-with-no-end-,-0123", "a-key-with-no-end-,-0123"),
        ("schlüssel-0123456789", "schlüssel-0123456789"),
    ],
)
def test_an_entry_that_is_no_key_lets_nobody_in(
    secrets_manager: SecretsManager, logged: list[Any], value: Any, key: str
) -> None:
    """Empty, short and other values are no keys; the log says whose, and the others go on working."""
    secrets_manager.secret = json.dumps({"bad": value, "web": WEB})
    keys = ApiKeys(SETTINGS)
    refused(401, keys.caller, bearer(key))
    assert let_in(keys, WEB) == "web"
    ((_, cause),) = logged
    assert cause.startswith("bad: expected a printable name")
    assert len(key) < 2 or key not in cause


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a" * 201])
def test_a_name_that_is_no_name_lets_nobody_in(
    secrets_manager: SecretsManager, logged: list[Any], name: str
) -> None:
    """Records could not tell by it who called; the log shows what of it is printable."""
    secrets_manager.secret = json.dumps({name: NEW, "web": WEB})
    keys = ApiKeys(SETTINGS)
    refused(401, keys.caller, bearer(NEW))
    assert let_in(keys, WEB) == "web"
    ((_, cause),) = logged
    assert cause.isprintable()


def test_a_list_may_have_a_bad_key(secrets_manager: SecretsManager, logged: list[Any]) -> None:
    """Of a name's keys those work that are some, and the name is told for the others'."""
    secrets_manager.secret = json.dumps({"batch": [NEW, "short"], "twice": [WEB, WEB]})
    keys = ApiKeys(SETTINGS)
    assert [let_in(keys, key) for key in (NEW, WEB)] == ["batch", "twice"]
    assert [cause.partition(":")[0] for _, cause in logged] == ["batch", "twice"]


def test_a_key_of_two_names_lets_nobody_in(
    secrets_manager: SecretsManager, logged: list[Any]
) -> None:
    """Nobody could say whose it is; the log names the names, and their other keys go on working."""
    secrets_manager.secret = json.dumps({"one": [OLD, NEW], "other": OLD, "web": WEB})
    keys = ApiKeys(SETTINGS)
    refused(401, keys.caller, bearer(OLD))
    assert [let_in(keys, key) for key in (NEW, WEB)] == ["one", "web"]
    assert [cause for _, cause in logged] == ["one, other: expected a key each, got one for all"]


def test_a_secret_may_be_binary(secrets_manager: SecretsManager) -> None:
    """A secret that was put as bytes is read as well."""
    from base64 import b64encode

    content = b64encode(json.dumps({"web": WEB}).encode()).decode()
    secrets_manager.paths["/"] = Said({"Name": SECRET, "SecretBinary": content})
    assert let_in(ApiKeys(SETTINGS), WEB) == "web"


def test_renewed_it_knows_nothing(keys: ApiKeys, secrets_manager: SecretsManager) -> None:
    """After a snapshot or a fork neither a key nor a connection is taken from before."""
    let_in(keys, WEB)
    secrets_manager.secret = json.dumps({"batch": NEW})
    keys.renew()
    assert keys._provider is None
    refused(401, keys.caller, bearer(WEB))
    assert let_in(keys, NEW) == "batch"


def test_no_key_is_logged_at_any_level(
    secrets_manager: SecretsManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where Lambda's log level is DEBUG for all: neither a key nor what would let somebody ask for them."""
    secrets_manager.secret = json.dumps({"web": WEB, "bad": [NEW, NEW]})
    with caplog.at_level(logging.DEBUG):
        caplog.set_level(logging.DEBUG, "aws_lambda_powertools")
        keys = ApiKeys(SETTINGS)
        tell: Callable[[str], Caller] = lambda key: keys.caller(bearer(key))  # noqa: E731
        assert tell(WEB).name == "web"
        refused(401, keys.caller, bearer(OLD))
    assert caplog.records
    assert not [key for key in (WEB, NEW, OLD, "Signature=", "AWS4-HMAC") if key in caplog.text]

from __future__ import annotations

import pytest

from relay.settings import Settings

MODELS = {"RIVULET_MODEL_IDS": "a.model"}


def test_everything_but_the_models_has_a_default() -> None:
    """A deployment names its models; the rest is chosen for it."""
    settings = Settings.from_environment(MODELS)
    assert settings == Settings(
        model_ids=("a.model",),
        max_request_bytes=6 * 1024 * 1024,
        max_attempts=3,
        connect_timeout=5.0,
        read_timeout=180.0,
        log_content=False,
    )


def test_each_setting_is_read_from_its_variable() -> None:
    """Every setting has a variable of its name, and what is not Rivulet's is not read."""
    environment = {
        "RIVULET_MODEL_IDS": " a.model, arn:aws:bedrock:x:1:inference-profile/b ,,",
        "RIVULET_MAX_REQUEST_BYTES": "1000",
        "RIVULET_MAX_ATTEMPTS": " 1 ",
        "RIVULET_CONNECT_TIMEOUT": "0.5",
        "RIVULET_READ_TIMEOUT": "60",
        "RIVULET_LOG_CONTENT": "True",
        "READ_TIMEOUT": "1",
    }
    assert Settings.from_environment(environment) == Settings(
        model_ids=("a.model", "arn:aws:bedrock:x:1:inference-profile/b"),
        max_request_bytes=1000,
        max_attempts=1,
        connect_timeout=0.5,
        read_timeout=60.0,
        log_content=True,
    )


def test_blank_is_not_set() -> None:
    """An empty variable, as deployment tools like to leave them, is none."""
    blank = {f"RIVULET_{name.upper()}": " " for name in Settings.__slots__}
    assert Settings.from_environment({**blank, **MODELS}) == Settings.from_environment(MODELS)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MODEL_IDS", "", "at least one model id, got none"),
        ("MODEL_IDS", " , ", "at least one model id, got none"),
        ("MAX_REQUEST_BYTES", "0", "a whole number above 0, got '0'"),
        ("MAX_REQUEST_BYTES", "1.5", "a whole number above 0, got '1.5'"),
        ("MAX_ATTEMPTS", "-1", "a whole number above 0, got '-1'"),
        ("MAX_ATTEMPTS", "many", "a whole number above 0, got 'many'"),
        ("CONNECT_TIMEOUT", "0", "a number above 0, got '0'"),
        ("READ_TIMEOUT", "inf", "a number above 0, got 'inf'"),
        ("READ_TIMEOUT", "nan", "a number above 0, got 'nan'"),
        ("READ_TIMEOUT", "60s", "a number above 0, got '60s'"),
        ("LOG_CONTENT", "yes", "true or false, got 'yes'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(variable: str, value: str, message: str) -> None:
    """The function fails at its start, with the variable, what was expected and what came."""
    with pytest.raises(ValueError, match=message) as caught:
        Settings.from_environment({**MODELS, f"RIVULET_{variable}": value})
    assert str(caught.value).startswith(f"RIVULET_{variable}: expected ")

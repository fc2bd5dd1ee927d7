from __future__ import annotations

import pytest

from relay.settings import Settings

MODELS = {"RIVULET_MODEL_IDS": "a.model"}


def test_everything_but_the_models_has_a_default() -> None:
    """A deployment names its models; the rest is chosen for it."""
    settings = Settings.from_environment(MODELS)
    assert settings == Settings(
        model_ids=("a.model",),
        copied_from={},
        model_aliases={},
        fallback_model_ids=(),
        system_tools=(),
        s3_uris=(),
        max_request_bytes=6 * 1024 * 1024,
        max_messages=1000,
        max_tokens=None,
        max_response_bytes=160_000_000,
        max_concurrency=1,
        max_attempts=3,
        connect_timeout=5.0,
        read_timeout=180.0,
        commit_after=15.0,
        heartbeat_interval=10.0,
        deadline_margin=3.0,
        log_content=False,
        auth="iam",
        api_keys_secret="",
        api_keys_max_age=60.0,
        jwt_issuer="",
        jwt_audience=(),
        jwt_scopes=(),
        jwt_jwks_url="",
        daily_tokens=None,
        budget_table="",
        cors_origins=(),
    )


def test_each_setting_is_read_from_its_variable() -> None:
    """Every setting has a variable of its name, and what is not Rivulet's is not read."""
    environment = {
        "RIVULET_MODEL_IDS": " a.model, arn:aws:bedrock:x:1:inference-profile/b = eu.b.model ,,",
        "RIVULET_MODEL_ALIASES": "gpt-4o=a.model, b = arn:aws:bedrock:x:1:inference-profile/b",
        "RIVULET_FALLBACK_MODEL_IDS": "c.model , a.model, arn:aws:bedrock:x:1:inference-profile/d=d.model",
        "RIVULET_SYSTEM_TOOLS": "nova_grounding, nova_code_interpreter",
        "RIVULET_S3_URIS": "s3://bucket, s3://other/, s3://third/prefix",
        "RIVULET_MAX_REQUEST_BYTES": "1000",
        "RIVULET_MAX_MESSAGES": "20",
        "RIVULET_MAX_TOKENS": "4096",
        "RIVULET_MAX_RESPONSE_BYTES": "2000",
        "RIVULET_MAX_CONCURRENCY": "4",
        "RIVULET_MAX_ATTEMPTS": " 1 ",
        "RIVULET_CONNECT_TIMEOUT": "0.5",
        "RIVULET_READ_TIMEOUT": "60",
        "RIVULET_COMMIT_AFTER": "2.5",
        "RIVULET_HEARTBEAT_INTERVAL": "1e1",
        "RIVULET_DEADLINE_MARGIN": "0.25",
        "RIVULET_LOG_CONTENT": "True",
        "RIVULET_AUTH": "jwt",
        "RIVULET_API_KEYS_SECRET": "rivulet/keys",
        "RIVULET_API_KEYS_MAX_AGE": "30",
        "RIVULET_JWT_ISSUER": "https://issuer.example.com",
        "RIVULET_JWT_AUDIENCE": "rivulet, other",
        "RIVULET_JWT_SCOPES": "chat",
        "RIVULET_JWT_JWKS_URL": "https://issuer.example.com/keys",
        "RIVULET_DAILY_TOKENS": "100000",
        "RIVULET_BUDGET_TABLE": "budgets",
        "RIVULET_CORS_ORIGINS": "https://a.example.com,https://b.example.com",
        "READ_TIMEOUT": "1",
    }
    named = set(Settings.__slots__) - {"copied_from"}  # which is told with the models
    assert environment.keys() >= {f"RIVULET_{name.upper()}" for name in named}
    assert Settings.from_environment(environment) == Settings(
        model_ids=("a.model", "arn:aws:bedrock:x:1:inference-profile/b"),
        copied_from={
            "arn:aws:bedrock:x:1:inference-profile/b": "eu.b.model",
            "arn:aws:bedrock:x:1:inference-profile/d": "d.model",
        },
        model_aliases={"gpt-4o": "a.model", "b": "arn:aws:bedrock:x:1:inference-profile/b"},
        fallback_model_ids=("c.model", "a.model", "arn:aws:bedrock:x:1:inference-profile/d"),
        system_tools=("nova_grounding", "nova_code_interpreter"),
        s3_uris=("s3://bucket/", "s3://other/", "s3://third/prefix"),
        max_request_bytes=1000,
        max_messages=20,
        max_tokens=4096,
        max_response_bytes=2000,
        max_concurrency=4,
        max_attempts=1,
        connect_timeout=0.5,
        read_timeout=60.0,
        commit_after=2.5,
        heartbeat_interval=10.0,
        deadline_margin=0.25,
        log_content=True,
        auth="jwt",
        api_keys_secret="rivulet/keys",
        api_keys_max_age=30.0,
        jwt_issuer="https://issuer.example.com",
        jwt_audience=("rivulet", "other"),
        jwt_scopes=("chat",),
        jwt_jwks_url="https://issuer.example.com/keys",
        daily_tokens=100_000,
        budget_table="budgets",
        cors_origins=("https://a.example.com", "https://b.example.com"),
    )


def test_a_profile_in_both_lists_need_tell_its_source_once() -> None:
    """Whichever list says what it was copied from, and both may."""
    for first, second, source in (
        ("p", "p=a.b", "a.b"),
        ("p=a.b", "p", "a.b"),
        ("p=a.b", "p = a.b", "a.b"),
    ):
        told = {"RIVULET_MODEL_IDS": first, "RIVULET_FALLBACK_MODEL_IDS": second}
        settings = Settings.from_environment(told)
        assert (settings.model_ids, settings.fallback_model_ids) == (("p",), ("p",))
        assert settings.copied_from == {"p": source}


@pytest.mark.parametrize(
    ("models", "fallbacks", "variable"),
    [
        ("p=a.b", "p=a.c", "FALLBACK_MODEL_IDS"),
        ("p=a.b,p=a.c", "", "MODEL_IDS"),
    ],
)
def test_a_profile_has_one_source(models: str, fallbacks: str, variable: str) -> None:
    """Two that contradict each other are refused: nobody can tell which is right."""
    told = {"RIVULET_MODEL_IDS": models, "RIVULET_FALLBACK_MODEL_IDS": fallbacks}
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its whole message, below
        Settings.from_environment(told)
    expected = "expected each profile with one model that it was copied from (a.b), got 'p=a.c'"
    assert str(caught.value) == f"RIVULET_{variable}: {expected}"


@pytest.mark.parametrize("wrong", ["=a.b", "=", "p=a=b", "p==a"])
@pytest.mark.parametrize("name", ["MODEL_IDS", "FALLBACK_MODEL_IDS"])
def test_a_source_is_that_of_a_model(name: str, wrong: str) -> None:
    """A model without a name is none, and would be asked only where another one is busy."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its whole message, below
        Settings.from_environment({"RIVULET_MODEL_IDS": "m", f"RIVULET_{name}": f"m,{wrong}"})
    expected = "expected models, each perhaps with = and the one that it was copied from"
    assert str(caught.value) == f"RIVULET_{name}: {expected}, got {wrong!r}"


def test_blank_is_not_set() -> None:
    """An empty variable, as deployment tools like to leave them, is none."""
    blank = {f"RIVULET_{name.upper()}": " " for name in Settings.__slots__}
    assert Settings.from_environment({**blank, **MODELS}) == Settings.from_environment(MODELS)


@pytest.mark.parametrize(
    "alias",
    ["gpt-4o", "gpt-4o=", "=a.model", "gpt-4o=b.model", "a.model=a.model", "x=a.model,x=a.model"],
)
def test_an_alias_is_a_name_for_an_allowed_model(alias: str) -> None:
    """The allowed list rules: no name stands for another model, and none for two."""
    expected = "name=model, each name once and no model's, each model out of RIVULET_MODEL_IDS"
    with pytest.raises(ValueError, match="RIVULET_MODEL_ALIASES") as caught:
        Settings.from_environment({**MODELS, "RIVULET_MODEL_ALIASES": alias})
    got = alias.rpartition(",")[2]
    assert str(caught.value) == f"RIVULET_MODEL_ALIASES: expected {expected}, got {got!r}"


WHOLE_NUMBERS = [
    "MAX_REQUEST_BYTES",
    "MAX_MESSAGES",
    "MAX_TOKENS",
    "MAX_RESPONSE_BYTES",
    "MAX_CONCURRENCY",
    "MAX_ATTEMPTS",
    "DAILY_TOKENS",
]
NUMBERS = [
    "CONNECT_TIMEOUT",
    "READ_TIMEOUT",
    "COMMIT_AFTER",
    "HEARTBEAT_INTERVAL",
    "DEADLINE_MARGIN",
    "API_KEYS_MAX_AGE",
]


def _named(variable: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Settings.from_environment({**MODELS, f"RIVULET_{variable}": value})
    assert str(caught.value) == f"RIVULET_{variable}: expected {message}"


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "5s", "inf", "1000000001", "1" * 5000])
@pytest.mark.parametrize("variable", WHOLE_NUMBERS)
def test_what_is_no_whole_number_is_named(variable: str, value: str) -> None:
    """Where things are counted, the function fails at its start, with the variable and what came."""
    _named(variable, value, f"a whole number above 0 and at most 1000000000, got '{value}'")


@pytest.mark.parametrize("value", ["0", "-0.0", "-1", "inf", "nan", "1e12", "60s", "1,5"])
@pytest.mark.parametrize("variable", NUMBERS)
def test_what_is_no_number_is_named(variable: str, value: str) -> None:
    """So it does where seconds are."""
    _named(variable, value, f"a number above 0 and at most 1000000000, got '{value}'")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MODEL_IDS", "", "at least one model id, got none"),
        ("MODEL_IDS", " , ", "at least one model id, got none"),
        ("LOG_CONTENT", "yes", "true or false, got 'yes'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(variable: str, value: str, message: str) -> None:
    """And where there is no model, or no yes or no."""
    _named(variable, value, message)


def test_every_number_is_in_one_of_the_tables() -> None:
    """A new setting that is a number is held against what is none here, too."""
    numbers = {
        n for n, kind in Settings.__annotations__.items() if kind.startswith(("int", "float"))
    }
    assert {name.lower() for name in (*WHOLE_NUMBERS, *NUMBERS)} == numbers


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"AUTH": "open"}, "RIVULET_AUTH: expected one of iam, api-key, jwt, public, got 'open'"),
        ({"AUTH": "api-key"}, "RIVULET_API_KEYS_SECRET: expected a value, got none"),
        (
            {"AUTH": "jwt", "JWT_ISSUER": "https://a.example.com"},
            "RIVULET_JWT_AUDIENCE: expected a value, got none",
        ),
        ({"DAILY_TOKENS": "9", "MAX_TOKENS": "9"}, "RIVULET_BUDGET_TABLE: expected a value"),
        ({"DAILY_TOKENS": "9", "BUDGET_TABLE": "b"}, "RIVULET_MAX_TOKENS: expected a value"),
    ],
)
def test_a_way_in_has_all_that_it_needs(chosen: dict[str, str], message: str) -> None:
    """A way in, or a budget, that lacks something fails the start, not a request later."""
    variables = {f"RIVULET_{name}": value for name, value in chosen.items()}
    with pytest.raises(ValueError, match=message):
        Settings.from_environment({**MODELS, **variables})

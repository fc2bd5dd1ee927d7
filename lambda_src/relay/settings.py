"""What a deployment chooses, read once from the environment.

A value that cannot be used fails the function's initialisation, with the variable's name, rather than a request later.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AUTH = ("iam", "api-key", "jwt", "public")
"""How callers of the URL can prove who they are; ``public``: not at all."""

_NEEDED_FOR_AUTH = {"api-key": ("api_keys_secret",), "jwt": ("jwt_issuer", "jwt_audience")}
_LARGEST = 10**9  # beyond some of these no timer and no socket can count

Number = TypeVar("Number", int, float)
Default = TypeVar("Default", int, float, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The relay's settings. Each is named in the environment as here, in upper case, after ``RIVULET_``.

    Attributes:
        model_ids: the models that callers may use: model ids, inference profile ids or ARNs, separated by commas. The
            first is for requests that name none. An application inference profile's ARN may be followed by ``=`` and
            what it was copied from, which the ARN does not tell.
        copied_from: what those were, and those among the fallback models.
        model_aliases: the names by which callers may know some of these models, such as those that clients insist on;
            written as ``name=model``, separated by commas.
        fallback_model_ids: models that answer, in this order, where the one that was asked for is throttled, not
            ready or not available; written as the models that callers may use.
        system_tools: the tools of Bedrock's own that a request may name; the function's role must be allowed them.
        s3_uris: buckets (``s3://bucket``) and prefixes of keys (``s3://bucket/prefix``) whose files a request may name;
            the role must be allowed to read them.
        max_request_bytes: the longest request body. Lambda itself takes 6 MB, base64 and headers included.
        max_messages: how many messages a request may have.
        max_tokens: how many tokens a request may ask for; ``None`` for as many as the model gives.
        max_response_bytes: after how many an answer is ended. Lambda cuts it at 200 MB; the longest event that
            Bedrock may send and the stream's end have room in between.
        max_concurrency: how many requests a process answers at once. Lambda hands it one.
        max_attempts: how often a call is tried before its stream begins, the first time included.
        connect_timeout: seconds to reach Bedrock.
        read_timeout: seconds that Bedrock may be silent. Some models think for minutes between two pieces of a tool
            call (fact 8).
        commit_after: seconds to wait for Bedrock's first event before the caller gets its 200 and heartbeats. Until
            then an error still is an HTTP status.
        heartbeat_interval: seconds of silence before each heartbeat.
        deadline_margin: seconds before Lambda's deadline at which an answer is ended.
        log_content: whether prompts and answers are logged.
        auth: how callers of the URL prove who they are: one of ``AUTH``. With ``iam`` Lambda has seen to it.
        api_keys_secret: the name or ARN of the secret in Secrets Manager that holds the keys, for ``api-key``.
        api_keys_max_age: seconds for which the keys are kept, before the secret is read again.
        jwt_issuer: the ``iss`` of tokens, an ``https`` URL, for ``jwt``.
        jwt_audience: the audiences of which a token must name one.
        jwt_scopes: the scopes of which a token must have each.
        jwt_jwks_url: where the issuer publishes its keys; empty for what its discovery document says.
        daily_tokens: how many tokens a caller may use in a day of UTC; ``None`` for any number.
        budget_table: the DynamoDB table that counts them.
        cors_origins: origins whose browsers may call, where the function itself has to say so: behind API Gateway.
    """

    model_ids: tuple[str, ...]
    copied_from: Mapping[str, str]
    model_aliases: Mapping[str, str]
    fallback_model_ids: tuple[str, ...]
    system_tools: tuple[str, ...]
    s3_uris: tuple[str, ...]
    max_request_bytes: int
    max_messages: int
    max_tokens: int | None
    max_response_bytes: int
    max_concurrency: int
    max_attempts: int
    connect_timeout: float
    read_timeout: float
    commit_after: float
    heartbeat_interval: float
    deadline_margin: float
    log_content: bool
    auth: str
    api_keys_secret: str
    api_keys_max_age: float
    jwt_issuer: str
    jwt_audience: tuple[str, ...]
    jwt_scopes: tuple[str, ...]
    jwt_jwks_url: str
    daily_tokens: int | None
    budget_table: str
    cors_origins: tuple[str, ...]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            ValueError: a variable is missing or wrong; the message names it, what was expected and what came.
        """
        copied_from: dict[str, str] = {}
        model_ids = _models(environment, "model_ids", copied_from)
        fallback_model_ids = _models(environment, "fallback_model_ids", copied_from)
        if not model_ids:
            raise ValueError("RIVULET_MODEL_IDS: expected at least one model id, got none")
        settings = cls(
            model_ids=model_ids,
            copied_from=copied_from,
            model_aliases=_aliases(environment, model_ids),
            fallback_model_ids=fallback_model_ids,
            system_tools=_list(environment, "system_tools"),
            # A bucket with a slash after it, or else another one's name could begin with its own.
            s3_uris=tuple(
                uri if uri.count("/") > 2 else f"{uri}/" for uri in _list(environment, "s3_uris")
            ),
            max_request_bytes=_number(environment, "max_request_bytes", 6 * 1024 * 1024, int),
            max_messages=_number(environment, "max_messages", 1000, int),
            max_tokens=_number(environment, "max_tokens", None, int),
            max_response_bytes=_number(environment, "max_response_bytes", 160_000_000, int),
            max_concurrency=_number(environment, "max_concurrency", 1, int),
            max_attempts=_number(environment, "max_attempts", 3, int),
            connect_timeout=_number(environment, "connect_timeout", 5.0, float),
            read_timeout=_number(environment, "read_timeout", 180.0, float),
            commit_after=_number(environment, "commit_after", 15.0, float),
            heartbeat_interval=_number(environment, "heartbeat_interval", 10.0, float),
            deadline_margin=_number(environment, "deadline_margin", 3.0, float),
            log_content=_flag(environment, "log_content"),
            auth=_one_of(environment, "auth", AUTH),
            api_keys_secret=_read(environment, "api_keys_secret"),
            api_keys_max_age=_number(environment, "api_keys_max_age", 60.0, float),
            jwt_issuer=_read(environment, "jwt_issuer"),
            jwt_audience=_list(environment, "jwt_audience"),
            jwt_scopes=_list(environment, "jwt_scopes"),
            jwt_jwks_url=_read(environment, "jwt_jwks_url"),
            daily_tokens=_number(environment, "daily_tokens", None, int),
            budget_table=_read(environment, "budget_table"),
            cors_origins=_list(environment, "cors_origins"),
        )
        needed = [*_NEEDED_FOR_AUTH.get(settings.auth, ())]
        if settings.daily_tokens:
            needed += ["budget_table", "max_tokens"]  # or else nobody knows what a stream may cost
        for name in needed:
            if not getattr(settings, name):
                raise ValueError(f"RIVULET_{name.upper()}: expected a value, got none")
        return settings


def _read(environment: Mapping[str, str], name: str) -> str:
    return environment.get(f"RIVULET_{name.upper()}", "").strip()


def _list(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(item for item in map(str.strip, _read(environment, name).split(",")) if item)


def _models(
    environment: Mapping[str, str], name: str, copied_from: dict[str, str]
) -> tuple[str, ...]:
    """Read models, and add what those that are application inference profiles were copied from."""
    models = []
    for item in _list(environment, name):
        model, _, source = (part.strip() for part in item.partition("="))
        if not model or "=" in source:
            expected = "models, each perhaps with = and the one that it was copied from"
            raise ValueError(f"RIVULET_{name.upper()}: expected {expected}, got {item!r}")
        if source and copied_from.setdefault(model, source) != source:
            expected = f"each profile with one model that it was copied from ({copied_from[model]})"
            raise ValueError(f"RIVULET_{name.upper()}: expected {expected}, got {item!r}")
        models.append(model)
    return tuple(models)


def _aliases(environment: Mapping[str, str], model_ids: tuple[str, ...]) -> Mapping[str, str]:
    aliases: dict[str, str] = {}
    for item in _list(environment, "model_aliases"):
        name, _, model = (part.strip() for part in item.partition("="))
        if not name or model not in model_ids or name in aliases or name in model_ids:
            expected = (
                "name=model, each name once and no model's, each model out of RIVULET_MODEL_IDS"
            )
            raise ValueError(f"RIVULET_MODEL_ALIASES: expected {expected}, got {item!r}")
        aliases[name] = model
    return aliases


def _one_of(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = _read(environment, name) or choices[0]
    if text not in choices:
        expected = f"one of {', '.join(choices)}"
        raise ValueError(f"RIVULET_{name.upper()}: expected {expected}, got {text!r}")
    return text


def _number(
    environment: Mapping[str, str], name: str, default: Default, kind: Callable[[str], Number]
) -> Number | Default:
    text = _read(environment, name)
    if not text:
        return default
    with suppress(ValueError):
        value = kind(text)
        if 0 < value <= _LARGEST:
            return value
    what = "a whole number" if kind is int else "a number"
    raise ValueError(
        f"RIVULET_{name.upper()}: expected {what} above 0 and at most {_LARGEST}, got {text!r}"
    )


def _flag(environment: Mapping[str, str], name: str) -> bool:
    text = _read(environment, name).lower()
    if text not in {"", "true", "false"}:
        raise ValueError(f"RIVULET_{name.upper()}: expected true or false, got {text!r}")
    return text == "true"

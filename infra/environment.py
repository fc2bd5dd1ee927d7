"""The function's environment: what a deployment's choices are to the function that they are made for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.bytecode import CODE_ROOT

if TYPE_CHECKING:
    from infra.config import Config

LARGEST = 4096  # bytes: Lambda's limit for all names and values of a function together


def environment(
    config: Config, *, api_keys_secret: str = "", budget_table: str = ""
) -> dict[str, str]:
    """Return the function's variables.

    Args:
        config: the choices.
        api_keys_secret: the name or ARN of the secret that holds the keys, where there is one.
        budget_table: the name of the table that counts tokens, where there is one.
    """
    chosen = {
        **config.settings_by_name,
        # With what application inference profiles were copied from: the function asks each model in its own words,
        # and lets none stand in for a model that it is not.
        "model_ids": ",".join(config.model_ids),
        "model_aliases": ",".join(config.model_aliases),
        "fallback_model_ids": ",".join(config.fallback_model_ids),
        "system_tools": ",".join(config.system_tools),
        "s3_uris": ",".join(config.s3_uris),
        "auth": "" if config.auth == "iam" else config.auth,
        "api_keys_secret": api_keys_secret,
        "jwt_issuer": config.jwt_issuer,
        "jwt_audience": ",".join(config.jwt_audience),
        "jwt_scopes": ",".join(config.jwt_scopes),
        "jwt_jwks_url": config.jwt_jwks_url,
        "daily_tokens": str(config.daily_tokens or ""),
        "budget_table": budget_table,
        # Anywhere else the function URL answers browsers, and would double what the function says (fact 44).
        "cors_origins": ",".join(config.cors_origins) if config.front_door == "api-gateway" else "",
        "log_content": "true" if config.log_content else "",
    }
    return {
        # Lambda starts this in place of its own runtime client (fact 40).
        "AWS_LAMBDA_EXEC_WRAPPER": f"{CODE_ROOT}/bootstrap",
        **{f"RIVULET_{name.upper()}": text for name, text in chosen.items() if text},
        "POWERTOOLS_SERVICE_NAME": config.service,
        "POWERTOOLS_METRICS_NAMESPACE": config.metrics_namespace,
        "POWERTOOLS_LOG_LEVEL": config.log_level,
    }


def size(variables: dict[str, str]) -> int:
    """Return the bytes that Lambda counts."""
    return sum(len(name.encode()) + len(text.encode()) for name, text in variables.items())

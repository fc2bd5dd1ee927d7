"""Deployments that between them have every pair of choices: few enough to synthesise them all."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

from infra.config import DEFAULT_MODEL_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

Row: TypeAlias = "dict[str, str]"  # a switch's position, by the switch's name
Pair: TypeAlias = "frozenset[tuple[str, str]]"

ACCOUNT = "123456789012"
# What somebody has already, by the front door that it is for.
OWN = {
    "cloudfront": {
        "certificate_arn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/0a1b",
        "web_acl_arn": f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/shop/0a1b",
    },
    "api-gateway": {
        "certificate_arn": f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/0a1b",
        "web_acl_arn": f"arn:aws:wafv2:eu-west-1:{ACCOUNT}:regional/webacl/shop/0a1b",
    },
}
OWN["url"] = OWN["cloudfront"]  # which has no use for it
TOPIC = f"arn:aws:sns:eu-west-1:{ACCOUNT}:pager"
NOVA = "eu.amazon.nova-lite-v1:0"
PROFILE = f"arn:aws:bedrock:eu-west-1:{ACCOUNT}:application-inference-profile/abc123"

# Switches, their positions, and what is chosen for each; the first position is the default.
SWITCHES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "auth": {
        "iam": {},
        "api-key": {"auth": "api-key"},
        "own-keys": {"auth": "api-key", "api_keys_secret": "shop/keys"},
        "jwt": {
            "auth": "jwt",
            "jwt_issuer": "https://issuer.example.com/shop",
            "jwt_audience": ("rivulet", "https://chat.example.com"),
            "jwt_scopes": ("chat:stream",),
            "jwt_jwks_url": "https://issuer.example.com/keys?v=1",
        },
        "public": {"auth": "public"},
    },
    "capacity": {
        "usual": {},
        "reserved": {"reserved_concurrency": 20},
        "provisioned": {"reserved_concurrency": 20, "provisioned_concurrency": 5},
        "snap-start": {"snap_start": True},
    },
    "door": {
        "url": {},
        "cloudfront": {"front_door": "cloudfront"},
        "api-gateway": {"front_door": "api-gateway"},
    },
    "watched": {
        "usually": {},
        "with-prices": {
            "alarm_topic_arn": TOPIC,
            "prices": (f"{DEFAULT_MODEL_ID}=0.3/2.5/0.08/0",),
        },
        "not": {"dashboard": False, "alarms": False},
    },
    "domain": {"none": {}, "own": {"domain_name": "chat.example.com"}},
    "web-acl": {"none": {}, "own": {}},
    "browsers": {"none": {}, "some": {"cors_origins": ("https://app.example.com",)}},
    "budget": {
        "none": {},
        "daily": {"daily_tokens": 100_000, "settings": ("max_tokens=4096",)},
    },
    "models": {
        "default": {},
        "many": {
            "model_ids": (NOVA, f"{PROFILE}={NOVA}", "anthropic.claude-3-haiku-20240307-v1:0"),
            "model_aliases": (f"gpt-4o={NOVA}",),
            "fallback_model_ids": (DEFAULT_MODEL_ID,),
            "guardrail_ids": ("gr4f0x1abc2d=eu.guardrail.v1:0",),
            "system_tools": ("nova_grounding",),
            "s3_uris": ("s3://shop-documents/manuals/",),
        },
    },
    "machine": {
        "arm64": {},
        "x86_64": {"architecture": "x86_64", "memory_mb": 512, "timeout_seconds": 60},
    },
    "logs": {
        "usual": {},
        "kept": {"retain_logs": True, "log_retention_days": 365, "log_content": True},
        "not-at-the-door": {"access_logs": False},
    },
}

# What does not go together, which tests/unit/infra/test_config.py shows to be refused.
IMPOSSIBLE: frozenset[Pair] = frozenset(
    {
        frozenset({("auth", "iam"), ("door", "cloudfront")}),
        frozenset({("door", "url"), ("domain", "own")}),
        frozenset({("door", "url"), ("web-acl", "own")}),
        frozenset({("door", "url"), ("logs", "not-at-the-door")}),
        frozenset({("door", "cloudfront"), ("logs", "not-at-the-door")}),
    }
)


def choices(row: Mapping[str, str]) -> dict[str, Any]:
    """Return what a row stands for, as `Config` takes it."""
    chosen: dict[str, Any] = {}
    for switch, position in row.items():
        chosen |= SWITCHES[switch][position]
    own = OWN[row["door"]]
    if row["domain"] == "own":
        chosen["certificate_arn"] = own["certificate_arn"]
    if row["web-acl"] == "own":
        chosen["web_acl_arn"] = own["web_acl_arn"]
    return chosen


def pairs(row: Mapping[str, str]) -> set[Pair]:
    """Return every pair of positions in a row."""
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def all_pairs() -> set[Pair]:
    """Return every pair of positions that is possible."""
    positions = [(switch, position) for switch, ways in SWITCHES.items() for position in ways]
    found = {
        frozenset(pair) for pair in itertools.combinations(positions, 2) if pair[0][0] != pair[1][0]
    }
    return found - IMPOSSIBLE


def rows() -> list[Row]:
    """Return rows that between them have every possible pair, the row of all defaults being the first.

    Greedily: each row begins with a pair that no row has yet, and takes for each switch in turn the
    position that brings the most pairs that none has. The order is the tables', so that the rows are
    the same each time.
    """
    first = {switch: next(iter(ways)) for switch, ways in SWITCHES.items()}
    made, missing = [first], all_pairs() - pairs(first)
    while missing:
        begun = min(missing, key=sorted)
        row = _completed(dict(sorted(begun)), missing)
        made.append(row)
        missing -= pairs(row)
    return made


def _completed(row: Row, missing: set[Pair]) -> Row:
    for switch in sorted(SWITCHES, key=lambda name: -len(SWITCHES[name])):
        if switch not in row:
            fitting = [
                position
                for position in SWITCHES[switch]
                if IMPOSSIBLE.isdisjoint(_with(row, switch, position))
            ]
            row[switch] = max(
                fitting, key=lambda position: len(missing & _with(row, switch, position))
            )
    return {switch: row[switch] for switch in SWITCHES}


def _with(row: Row, switch: str, position: str) -> set[Pair]:
    return {frozenset({item, (switch, position)}) for item in row.items()}


def named(row: Mapping[str, str]) -> str:
    """Return a row's name: what in it is not the default."""
    changed = [
        f"{switch}={position}"
        for switch, position in row.items()
        if position != next(iter(SWITCHES[switch]))
    ]
    return " ".join(changed) or "defaults"

"""docs/security.md: the tests that it names are there, and so are the times that it tells."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import dropwhile, takewhile
from pathlib import Path

import pytest

from access import api_keys, credentials, jwks, jwt_bearer, kept
from relay.errors import access_error
from relay.settings import AUTH, Settings

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGE = (DOCS / "security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    lines = PAGE.partition(f"# {heading}\n")[2].splitlines()
    table = takewhile(is_row, dropwhile(lambda line: not is_row(line), lines))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table][2:]


def is_row(line: str) -> bool:
    return line.startswith("|")


@cache
def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_attack_has_a_test() -> None:
    """Every row of the table names tests, and each of them is there."""
    attacks = rows("Attacks")
    assert len(attacks) > 30
    for attack, outcome, proof in attacks:
        assert outcome
        named = TEST.findall(proof)
        assert proof == ", ".join(f"`{path}::{name}`" for path, name in named), attack
        assert named, attack
        for path, name in named:
            assert name in functions_in(path), attack


def test_the_times_are_those_of_the_code() -> None:
    """What the page says of how long things last is how long they do."""
    settings = Settings.from_environment({"RIVULET_MODEL_IDS": "m"})
    assert [float(seconds) for _, seconds in rows("How long things last")] == [
        settings.api_keys_max_age,
        api_keys._PAUSE,
        api_keys._GRACE,
        jwt_bearer._MAX_AGE,
        jwt_bearer._PAUSE,
        jwt_bearer._GRACE,
        kept._BACKOFF,
        jwt_bearer._LEEWAY,
    ]
    assert f"at most {credentials._LONGEST} characters" in PAGE
    assert f"at least {api_keys._SHORTEST} characters" in PAGE
    assert f"{jwks.LONGEST_WAIT:.0f} seconds of a request" in PAGE
    assert f"{jwt_bearer._LONGEST_PREPARATION:.0f} of a start or a restore" in PAGE


def test_the_ways_in_are_those_of_the_settings() -> None:
    """Each has a row, the closed ones first."""
    assert [way.strip("`") for way, *_ in rows("Ways in")] == list(AUTH)


def test_the_algorithms_are_those_of_the_code() -> None:
    """The page lists all that a token may be signed with, and no other."""
    known = {name for names in jwks._ALGORITHMS.values() for name in names}
    (listed,) = re.findall(r"`((?:[A-Z]{2}\d{3} )+EdDSA)`", PAGE)
    assert set(listed.split()) == known


@pytest.mark.parametrize("row", rows("What callers are told"), ids=lambda row: row[2])
def test_refusals_are_those_of_the_code(row: list[str]) -> None:
    """Status and code belong together as the page says."""
    status, code = row[0], row[1].strip("`")
    error = access_error(code)
    assert error.status == int(status)
    assert error.retryable == (error.status == 503)


def test_links_lead_somewhere() -> None:
    """Every link is to a file that is there, and to a heading in it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGE):
        name, _, anchor = link.partition("#")
        path = DOCS / name
        assert path.exists(), link
        heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert not anchor or anchor in anchors, link

"""docs/clients.md: its tables are whole, the tests that they name are there, each run with the client of its column."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.integration.clients.honest import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "clients.md").read_text(encoding="utf-8")
PAGES = ("clients.md", "openai.md", "anthropic.md", "ui-chat.md")
FEATURES = (
    "text streamed",
    "whole answer",
    "tools",
    "tools in parallel",
    "tool results back",
    "reasoning",
    "signatures kept over turns",
    "images in",
    "documents in",
    "structured output (`json_schema`)",
    "usage",
    "cached tokens in usage",
    "stop reasons",
    "error in mid-stream",
    "throttling",
    "unknown model",
    "bad field named",
    "token counting",
    "models listed",
    "heartbeats passed over",
    "aliases",
)
# By the head of a column: what its tests are parametrized with, where they are for several clients.
CLIENTS = {
    "boto3, `test_boto3.py`": "",
    "Go, `test_go.py`": "",
    "JavaScript, `test_node.py`": "",
    "`ChatBedrockConverse`": "ChatBedrockConverse",
    "`ChatBedrock`": "ChatBedrock",
    "`ChatOpenAI`": "ChatOpenAI",
    "Chat Completions, `test_openai_chat.py`": "",
    "Responses, `test_openai_responses.py`": "",
    "its own models": MODEL,
    "other models": "amazon.nova-lite-v1:0",
    "`openai.chat`": "openai.chat",
    "`openai.responses`": "openai.responses",
    "`anthropic`": "anthropic",
    "`useChat`": "transport",
    "curl": "",
}
# What a test may be parametrized with that is one of these clients.
CHOICES = {"client", "provider", "model"}
CELL = re.compile(
    r"works(, .+)?: `[\w.:]+`|refused, .+: `[\w.:]+`|not applicable: .+|not tried",
)


class Cell(NamedTuple):
    """What a table says of a feature of a client.

    Attributes:
        column: the head of the client's.
        feature: which.
        said: the text of the cell.
        file: where the tests are that it names.
    """

    column: str
    feature: str
    said: str
    file: str

    def tests(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Yield the tests that it names."""
        for file, name in re.findall(r"`(?:(test_\w+\.py)::)?(test_\w+)`", self.said):
            module = (file or self.file).removesuffix(".py")
            tests = importlib.import_module(f"tests.integration.clients.{module}")
            yield name, getattr(tests, name)


def _tables() -> Iterator[tuple[str, list[list[str]]]]:
    """Yield each table of the clients' features, and the text around it."""
    section = PAGE.partition("\n## What each client can do\n")[2].partition("\n## ")[0]
    for part in section.split("\n### ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        yield part, [rows[0], *rows[2:]]


def _cells() -> list[Cell]:
    cells = []
    for part, (heads, *rows) in _tables():
        for feature, *said in rows:
            for head, text in zip(heads[1:], said, strict=True):
                named = re.search(r"`(test_\w+\.py)`", head) or re.search(
                    r"In `(test_\w+\.py)`", part
                )
                assert named is not None
                cells.append(Cell(head, feature, text, named[1]))
    return cells


def test_the_tables_are_whole() -> None:
    """Every client has a column, and every feature a row in each table, in the same order."""
    heads = [head for _, (names, *_) in _tables() for head in names[1:]]
    assert heads == list(CLIENTS)
    for _, (_, *rows) in _tables():
        assert [row[0] for row in rows] == list(FEATURES)


@pytest.mark.parametrize("column", CLIENTS)
def test_a_column_names_tests_that_prove_it(column: str) -> None:
    """Each cell is of one of four kinds; the tests in it are there, and run with this client if with several."""
    for cell in _cells():
        if cell.column != column:
            continue
        assert CELL.fullmatch(cell.said), cell
        tests = list(cell.tests())
        assert tests or cell.said.startswith("not "), cell
        for name, test in tests:
            for choices in _clients_of(test):
                assert not CLIENTS[column] or CLIENTS[column] in choices, (cell, name)


def _clients_of(test: Callable[..., Any]) -> Iterator[list[Any]]:
    """Yield the clients that a test is parametrized with, if it is."""
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args[:2]
            names = [names] if isinstance(names, str) else list(names)
            for choice in CHOICES & set(names):
                place = names.index(choice)
                yield [value if len(names) == 1 else value[place] for value in values]


def test_other_tests_that_are_named_are_there() -> None:
    """So are those in the text around the tables."""
    found = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    for name in re.findall(r"`(?:test_\w+\.py::)?(test_\w+)`", PAGE):
        assert f"def {name}(" in found
    for name in re.findall(r"`(test_\w+\.py)`", PAGE):
        assert (HERE / name).exists()


def test_the_versions() -> None:
    """The versions that the page tells of are those that the tests are run with."""
    # LangChain's own come first, for it has a boto3 of its own that is not the judge.
    required = "".join(
        (ROOT / "requirements" / name).read_text(encoding="utf-8")
        for name in ("judges/langchain.txt", "dev.txt")
    )
    npm = json.loads((HERE / "node" / "package.json").read_text(encoding="utf-8"))
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", required, re.MULTILINE))
    pinned |= npm["dependencies"]
    go = (HERE / "go" / "go.mod").read_text(encoding="utf-8")
    (pinned["service/bedrockruntime"],) = re.findall(r"service/bedrockruntime v(\S+)", go)
    table = PAGE.partition("| client | version |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*?) \| ([\d.]+) \|$", table, re.MULTILINE)
    assert len(rows) == 11
    for client, version in rows:
        assert pinned[client.split(", ")[-1].strip("`")] == version


def _anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every link of the clients' pages is to a file that is there, and to a heading in it."""
    said = (DOCS / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", said):
        name, _, anchor = link.partition("#")
        path = (DOCS / name).resolve() if name else DOCS / page
        assert path.exists(), link
        if anchor:
            assert anchor in _anchors(path.read_text(encoding="utf-8")), link

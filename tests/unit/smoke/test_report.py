"""The table of the smoke checks, and the guide's list of them."""

from __future__ import annotations

import io
import re
from pathlib import Path

from smoke.__main__ import parser
from smoke.checks import CHECKS, FAIL, OK, SKIPPED, Seen
from smoke.report import Report

GUIDE = (Path(__file__).parents[3] / "docs" / "smoke.md").read_text()


def test_rows_are_wrapped_and_counted() -> None:
    """What is long goes on in the next line; the sum says how many of each, the status whether one failed."""
    out = io.StringIO()
    report = Report(out, [])
    report.add(Seen("health", "a " * 60, OK))
    report.add(Seen("strangers", "", SKIPPED))
    assert report.end() == 0
    report.add(Seen("callers", "x", FAIL))
    assert report.end() == 1
    lines = out.getvalue().splitlines()
    assert lines[0] == f"{'health':18}  {' '.join('a' * 39):78}  ok"
    assert lines[1] == " " * 20 + " ".join("a" * 21)
    assert lines[2] == f"{'strangers':18}{' ' * 82}skipped"
    assert lines[-1] == "1 ok, 1 FAIL, 1 skipped"


def test_short_words_are_no_secrets() -> None:
    """Secrets are replaced wherever they are; what is too short to be one would blot out words."""
    out = io.StringIO()
    report = Report(out, ["secret-key", "ok"])
    report.add(Seen("health", "it is ok with secret-key", OK))
    assert "it is ok with [secret]" in out.getvalue()


def test_the_guide_lists_every_check() -> None:
    """The table of checks and both samples' names are those of the checks, in their order."""
    (table,) = re.findall(r"## The checks\n(.*?)\n## ", GUIDE, re.DOTALL)
    cells = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`(.*?)`", cell)]
    names = [check.name for check in CHECKS]
    assert listed == names
    (sample,) = re.findall(r"```\nhttp(.*?)```", GUIDE, re.DOTALL)
    rows = re.findall(r"^(\S.{17})  .* (?:ok|FAIL|skipped)$", sample, re.MULTILINE)
    assert [row.strip() for row in rows] == names


def test_the_guide_lists_every_argument() -> None:
    """The table of arguments has all of them, with the defaults of those that are numbers."""
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \|", GUIDE, re.MULTILINE)
    listed = {name: default for cell, default in rows for name in re.findall(r"`(--.*?)`", cell)}
    actions = {action.option_strings[-1]: action for action in parser()._actions}
    assert set(listed) == set(actions) - {"--help"}
    for name, action in actions.items():
        if isinstance(action.default, float):
            assert listed[name] == f"{action.default:g}"

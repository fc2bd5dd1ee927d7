"""docs/failures.md: its table of codes has each that callers can be told, and what each is known by elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from relay.request import refuse
from tests.unit.relay.error_codes import codes, told
from tests.unit.relay.url_events import url_event

if TYPE_CHECKING:
    from relay.errors import RelayError

PAGE = (Path(__file__).parents[3] / "docs" / "failures.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| code | status |")[2].partition("\n\n")[0]


def row(error: RelayError) -> str:
    """Return an error's row, with what each API's clients are sent."""
    aws, openais, anthropics = (
        refuse(url_event(path), error, "", {})
        for path in ("/model/m/converse", "/v1/chat/completions", "/v1/messages")
    )
    again = "yes" if error.retryable else "no"
    known = [
        aws.headers["x-amzn-errortype"],
        openais.body["error"]["type"],
        anthropics.body["error"]["type"],
    ]
    names = " | ".join(f"`{name}`" for name in known)
    return f"| `{error.code}` | {error.status} | {again} | {names} |"


def test_every_code_is_in_the_table_once() -> None:
    """And nothing else is: a new code belongs there, with the row that this test prints."""
    rows = {code: row(error) for code, error in told().items()}
    assert rows.keys() == codes() - {"caller_gone"}
    print("\n".join(rows.values()))
    written = re.findall(r"^\| `.*$", TABLE, re.MULTILINE)
    assert sorted(written) == sorted(rows.values())

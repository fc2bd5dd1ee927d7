from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.accept import choose

SSE, NDJSON, TEXT = OFFERED = ("text/event-stream", "application/x-ndjson", "text/plain")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, SSE),
        ("", SSE),
        (" ", SSE),
        (",", SSE),
        ("*/*", SSE),
        ("text/event-stream", SSE),
        ("TEXT/Event-Stream", SSE),
        ("text/event-stream; charset=utf-8", SSE),
        ("application/x-ndjson", NDJSON),
        ("text/plain", TEXT),
        ("text/*", SSE),
        ("application/*", NDJSON),
        ("text/plain, */*", SSE),  # equal: ours decides
        ("text/plain, */*;q=0.1", TEXT),
        ("text/plain;q=0.5, application/x-ndjson;q=0.6", NDJSON),
        ("text/plain; q=0.5 ,application/x-ndjson; Q=0.4", TEXT),
        ("*/*, text/event-stream;q=0", NDJSON),  # the most specific range counts
        ("*/*, text/*;q=0", NDJSON),
        ("text/*;q=0.3, text/plain;q=0.9, */*;q=0.5", TEXT),
        ("*/*;q=0", None),
        ("text/event-stream;q=0", None),
        ("text/event-stream;q=0.0", None),
        ("text/event-stream;q=nan", None),
        ("text/event-stream;q=x", None),
        ("text/event-stream;q=-1", None),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", SSE),  # a browser
        ("application/json", None),
        ("image/png", None),
        ("text", None),
        ("*", None),
        ("/", None),
        (";;;=", None),
    ],
)
def test_the_best_offer_is_chosen(accept: str | None, chosen: str | None) -> None:
    """Quality first, then our own order; a more specific range counts before a wider one."""
    assert choose(accept, OFFERED) == chosen


@given(st.text() | st.text(alphabet="*/,;=q0.5 textplain"))
def test_any_header_has_an_answer(accept: str) -> None:
    """Whatever the header says, something offered is chosen, or nothing."""
    assert choose(accept, OFFERED) in {*OFFERED, None}

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from local.caller import ask
from local.http1 import Exchange, Server
from local.script import Cut, Head, Performance, Script, Send, perform

if TYPE_CHECKING:
    from typing import Any


def asked(script: Script) -> str | None:
    """Ask a server that does what the script says; return what `ask` says."""

    async def handler(exchange: Exchange) -> None:
        assert json.loads(await exchange.read(1000) or b"") == {"prompt": "why?"}
        assert exchange.request.header("accept") == "text/event-stream"
        await perform(script, exchange, Performance())

    async def main() -> str | None:
        async with Server(handler) as server:
            await server.listen()
            return await asyncio.to_thread(ask, f"http://127.0.0.1:{server.port}", "why?")

    return asyncio.run(main())


def sse(*events: dict[str, Any]) -> list[Send]:
    return [Send(f": ping\n\ndata: {json.dumps(event)}\n\n".encode()) for event in events]


DONE = {"type": "done", "stop_reason": "end_turn", "usage": {"outputTokens": 2}}


def test_an_answer_is_printed_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    """The text is printed as it is, then when its pieces came and the usage; nothing went wrong."""
    texts = sse({"type": "start"}, {"type": "text", "text": "Grü"}, {"type": "text", "text": "ße"})
    assert asked([Head(200), *texts, *sse(DONE)]) is None
    printed = capsys.readouterr().out
    assert printed.startswith("Grüße\n\n2 pieces: the first after 0.")
    assert "Stop reason end_turn" in printed


def test_an_answer_without_text_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no text came, there are no times to tell."""
    assert asked([Head(200), *sse(DONE)]) is None
    assert "no text came; stop reason: end_turn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (
            [Head(429), Send(b'{"error": {"code": "throttled", "message": "slow"}}')],
            "429 throttled: slow",
        ),
        ([Head(502), Send(b"Internal Server Error")], "502 Internal Server Error"),
        (
            [Head(200), *sse({"type": "error", "code": "stalled", "message": "silent"})],
            "stalled: silent",
        ),
        (
            [Head(200), *sse({"type": "text", "text": "half"})],
            "the stream ended without saying how",
        ),
        ([Cut()], "the connection broke"),
    ],
)
def test_what_goes_wrong_is_told(script: Script, problem: str) -> None:
    """Statuses, error events, ends without a word and broken connections are each told in one line."""
    told = asked(script)
    assert told is not None
    assert told.startswith(problem)


def test_nobody_there_is_told() -> None:
    """A server that does not listen is a broken connection."""
    told = ask("http://127.0.0.1:1", "why?")
    assert told is not None
    assert "refused" in told

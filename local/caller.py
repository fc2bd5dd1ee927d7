"""A caller of `POST /stream`: prints the answer while it comes, and at the end when its pieces came."""

from __future__ import annotations

import json
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException  # noqa: TID251  # all that a caller needs
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


def ask(url: str, prompt: str) -> str | None:
    """Ask a prompt and print the answer; return what went wrong, or ``None``."""
    asked = time.monotonic()
    with closing(_events(url, prompt)) as events:
        return _show(events, asked)


def _told(body: bytes) -> str:
    """Return what the body of an error tells, in one line if it is the function's."""
    try:
        error = json.loads(body)["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, LookupError, TypeError):
        return body.decode(errors="replace")


def _events(url: str, prompt: str) -> Generator[dict[str, Any]]:
    """Yield the JSON of each server-sent event, when its line is in, and what else became of the call as one more.

    What is caught here is the connection's own: whoever reads what is printed may hang up as well.
    """
    connection = HTTPConnection(urlsplit(url).netloc)
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    try:
        connection.request("POST", "/stream", json.dumps({"prompt": prompt}), headers)
        response = connection.getresponse()
        if response.status != 200:
            yield {"type": "failed", "why": f"{response.status} {_told(response.read())}"}
        for line in response:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])
    except (HTTPException, OSError) as error:
        yield {"type": "failed", "why": f"the connection broke: {error!r}"}
    finally:
        connection.close()


def _show(events: Iterable[dict[str, Any]], asked: float) -> str | None:
    times: list[float] = []
    for event in events:
        match event:
            case {"type": "text", "text": text}:
                times.append(time.monotonic() - asked)
                print(text, end="", flush=True)
            case {"type": "failed", "why": why}:
                return str(why)
            case {"type": "error"}:
                return f"{event.get('code')}: {event.get('message')}"
            case {"type": "done"}:
                print("\n")
                _summarise(times, event)
                return None
            case _:  # the start, pings, and what a prompt does not ask for
                pass
    return "the stream ended without saying how"


def _summarise(times: list[float], done: dict[str, Any]) -> None:
    if not times:
        print(f"no text came; stop reason: {done.get('stop_reason')}")
        return
    first, last = times[0], times[-1]
    usage = done.get("usage") or {}
    print(f"{len(times)} pieces: the first after {first:.2f} s, the last after {last:.2f} s.")
    print(
        f"A buffered call would have made you wait {last:.2f} s for the first word: {last - first:.2f} s longer."
    )
    print(f"Stop reason {done.get('stop_reason')}; usage {json.dumps(usage)}.")

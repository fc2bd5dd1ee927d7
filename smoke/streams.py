"""Streams: whether pieces arrive as they are made, and what a caller gets while there are none."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from smoke.answers import what_stands_in_between
from smoke.verdicts import Skipped, Wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smoke.caller import Answer
    from smoke.deployment import Deployment

_SSE = {"accept": "text/event-stream"}
_PROMPT = "Count from one to a hundred in words, without saying anything else."
# Short of what a usual buffer holds, so that one shows: 100 tokens are at most 100 events of about 80 bytes.
_TOKENS = 100
# As many pieces at most: the fewest that even a fast model takes a while for.
_FEWEST_TOKENS = 30
_LONG = 300  # tokens of an answer that is left

# An answer of fewer pieces, or whose pieces came within this many seconds, tells nothing of when they were sent.
_FEWEST = 8
_SHORTEST = 0.05
# Pieces that are sent evenly are a twentieth in any twentieth of the time. A third of them in one is a buffer.
_WINDOW = 1 / 20
_LARGEST_SHARE = 1 / 3
# A heartbeat that comes together with what it was to bridge the way to has bridged nothing.
_APART = 0.01


def piece_by_piece(deployment: Deployment) -> str:
    """Each piece of an answer arrives when the model has made it, rather than with others or all at the end."""
    answer = _ask(deployment, deployment.tokens(_TOKENS, _FEWEST_TOKENS))
    times = _times_of_pieces(answer)
    if len(times) < _FEWEST:
        raise Skipped(f"the answer has {len(times)} pieces, too few to tell")
    spread = times[-1] - times[0]
    seen = (
        f"{len(times)} pieces: head {answer.head_at:.2f} s, first byte {answer.pieces[0][0]:.2f} s, "
        f"first piece {times[0]:.2f} s, last {times[-1]:.2f} s"
    )
    if spread < _SHORTEST:
        raise Wrong(f"{seen}: all at once, so something holds them back")
    share = largest_share(times, spread * _WINDOW)
    if share > _LARGEST_SHARE:
        raise Wrong(
            f"{seen}: {share:.0%} of them in a twentieth of that time, so something gathers them"
        )
    longest = max(later - earlier for earlier, later in pairwise(times))
    return f"{seen}; longest gap {longest:.2f} s, at most {share:.0%} in a twentieth of the time"


def largest_share(times: Sequence[float], seconds: float) -> float:
    """Return the largest share of some moments, in order, that so many seconds have in them."""
    most = max(bisect_right(times, at + seconds) - i for i, at in enumerate(times))
    return most / len(times)


def heartbeats(deployment: Deployment) -> str:
    """Silences are broken for whoever waits, through whatever stands in between."""
    pings = [ping for answer in deployment.answers for ping in _pings(answer)]
    if not pings:
        raise Skipped(
            "no model was silent for long enough; they show with "
            "-c settings=commit_after=0.1,heartbeat_interval=0.1 deployed"
        )
    between = what_stands_in_between(deployment.answers[0].headers)
    late = sum(1 for apart in pings if apart < _APART)
    seen = f"{len(pings)} came" + (f" through {between}" if between else "")
    if late > len(pings) / 2:
        raise Wrong(
            f"{seen}, but {late} of them with the piece after them: something holds them back"
        )
    return f"{seen}, up to {max(pings):.2f} s before what they waited for"


def two_at_once(deployment: Deployment) -> str:
    """Two callers are answered at the same time."""
    told = ""
    # Two answers that are shorter may miss each other by how much longer one of them takes to begin.
    tokens = deployment.tokens(_TOKENS, _TOKENS)
    # At the first try a second environment may have to start, for longer than the first answer takes.
    for _ in range(2):
        with ThreadPoolExecutor(2) as callers:
            asked = [callers.submit(_span, deployment, tokens) for _ in range(2)]
        spans = [one.result() for one in asked]
        began = min(first for first, _ in spans)
        told = " and from ".join(f"{a - began:.2f} to {b - began:.2f} s" for a, b in spans)
        if max(first for first, _ in spans) < min(last for _, last in spans):
            return f"pieces of both from {told}"
    raise Wrong(f"one after the other, twice: from {told}")


def _span(deployment: Deployment, tokens: int) -> tuple[float, float]:
    """Return when the first and the last piece of an answer came, in seconds of `time.monotonic`."""
    began = time.monotonic()
    times = _times_of_pieces(_ask(deployment, tokens))
    if not times or times[-1] - times[0] < _SHORTEST:
        raise Skipped("the pieces of an answer come all at once, which tells nothing of when")
    return began + times[0], began + times[-1]


def a_caller_leaves(deployment: Deployment) -> str:
    """What becomes of an answer whose caller has gone: the function's own record tells (fact 36)."""
    group = deployment.known_log_group
    began = time.time()
    # One that is shorter may have come to its end before anybody can know that the caller has gone.
    body = _body(deployment.tokens(_LONG, _TOKENS))
    answer = deployment.caller.post("/stream", body, _SSE, until=lambda came: b'"text"' in came)
    if answer.status != 200:
        raise Skipped(f"no stream to leave: {answer.status} {answer.error}")
    request_id = answer.headers.get("x-request-id", "")
    left_at = answer.pieces[-1][0] if answer.pieces else answer.head_at
    line = deployment.aws.wait_for_line(
        group, (request_id, '"duration_ms"'), began - 60, deployment.log_seconds
    )
    record = json.loads(line[line.index("{") :])
    took = record["duration_ms"] / 1000
    end = record.get("error") or f"stop_reason {record.get('stop_reason')}"
    seen = f"left after {left_at:.2f} s; the record: {end} after {took:.2f} s"
    if b'"done"' in answer.body or took < left_at:  # with all of it on the way already
        raise Skipped(f"{seen}, but all had come at once")
    if record.get("error") == "caller_gone":
        return f"{seen}, so the function was told, and stopped"
    return f"{seen}, so the function ran on to the end"


def _ask(deployment: Deployment, tokens: int) -> Answer:
    """Return a whole answer of `POST /stream`.

    Raises:
        Wrong: it is none.
    """
    answer = deployment.caller.post("/stream", _body(tokens), _SSE)
    if answer.status != 200:
        raise Wrong(f"{answer.status} {answer.error}")
    ends = [event for _, event in answer.events() if event.get("type") in {"done", "error"}]
    if not ends:
        raise Wrong("the stream was cut: it has no end")
    if ends[-1]["type"] == "error":
        raise Wrong(f"the stream ended with {ends[-1].get('code')}: {ends[-1].get('message')}")
    return answer


def _body(tokens: int) -> dict[str, Any]:
    return {"prompt": _PROMPT, "inferenceConfig": {"maxTokens": tokens}}


def _times_of_pieces(answer: Answer) -> list[float]:
    return [at for at, event in answer.events() if event.get("type") in {"text", "reasoning"}]


def _pings(answer: Answer) -> list[float]:
    """Return, of each heartbeat in an answer, by how many seconds it came before the next piece."""
    lines = [(at, line) for at, line in answer.lines() if line]
    pings = [at for at, line in lines if line in {": ping", '{"type":"ping"}'}]
    others = [at for at, line in lines if line not in {": ping", '{"type":"ping"}'}]
    return [next((at for at in others if at >= ping), ping) - ping for ping in pings]

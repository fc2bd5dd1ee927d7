"""The checks, in the order in which they are made."""

from __future__ import annotations

import ssl
from http.client import HTTPException  # noqa: TID251  # what can go wrong with a caller's connection
from typing import TYPE_CHECKING, NamedTuple

from botocore.eventstream import ParserError  # noqa: TID251  # what an answer's frames may be

from smoke import answers, formats, lambda_side, streams, who_is_let_in
from smoke.verdicts import Skipped, Wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Final

    from smoke.deployment import Deployment

OK: Final = "ok"
FAIL: Final = "FAIL"
SKIPPED: Final = "skipped"


class Check(NamedTuple):
    """A check.

    Attributes:
        name: as the table has it, and ``--only`` takes it.
        make: returns what was seen, or raises `Wrong` or `Skipped`.
    """

    name: str
    make: Callable[[Deployment], str]


class Seen(NamedTuple):
    """What came of a check: a row of the table."""

    check: str
    seen: str
    verdict: str


CHECKS = (
    Check("health", answers.health),  # the first: without it there is no other
    Check("in between", answers.front_door),
    Check("strangers", who_is_let_in.strangers),
    Check("callers", who_is_let_in.callers),
    Check("both permissions", who_is_let_in.both_permissions),
    Check("statuses", answers.statuses),
    Check("piece by piece", streams.piece_by_piece),
    Check("server-sent events", formats.server_sent_events),
    Check("NDJSON", formats.ndjson),
    Check("plain text", formats.plain_text),
    Check("ConverseStream", formats.converse_stream),
    Check("Converse", formats.converse),
    Check("InvokeModel stream", formats.invoke_stream),
    Check("Chat Completions", formats.chat_completions),
    Check("Responses", formats.responses),
    Check("Messages", formats.messages),
    Check("UI messages", formats.ui_chat),
    Check("two at once", streams.two_at_once),
    Check("heartbeats", streams.heartbeats),  # in what came before
    Check("error trailers", lambda_side.error_trailers),
    Check("a caller leaves", streams.a_caller_leaves),
    Check("cold starts", lambda_side.cold_starts),
    Check("CORS", answers.preflight),
    Check("cookies", answers.cookies),  # in what came before
)


def make(check: Check, deployment: Deployment) -> Seen:
    """Make one check."""
    try:
        return Seen(check.name, check.make(deployment), OK)
    except Skipped as why:
        return Seen(check.name, str(why), SKIPPED)
    except Wrong as seen:
        return Seen(check.name, str(seen), FAIL)
    except ssl.SSLError as error:
        return Seen(check.name, f"no secure connection: {error.reason}", FAIL)
    except (ValueError, LookupError, TypeError, AttributeError, ParserError) as error:
        return Seen(check.name, f"an answer that cannot be read: {type(error).__name__}", FAIL)
    except (OSError, HTTPException) as error:
        return Seen(check.name, f"no answer: {type(error).__name__} {error}".strip(), FAIL)


def make_all(checks: Iterable[Check], deployment: Deployment) -> Iterator[Seen]:
    """Make the checks, each as its row is asked for; without the first there is no other."""
    first, *others = checks
    seen = make(first, deployment)
    yield seen
    for check in others:
        if seen.verdict == FAIL and first.make is answers.health:
            yield Seen(check.name, "it is not up", SKIPPED)
        else:
            yield make(check, deployment)

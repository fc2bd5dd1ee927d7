"""The AWS event stream, frame for frame as Bedrock sent it: unknown events, headers, padding and all.

A failure that Bedrock did not put into a frame itself, such as a stream that was cut, becomes an exception frame, which
the AWS SDKs raise as an error; its ``originalMessage`` is the error's code. A complete stream just ends, as Bedrock's
do.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from relay.events import Chunk, Failure, Unknown
from relay.eventstream import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.events import Event

# An event of a type that no service model lists: SDKs pass over it.
HEARTBEAT = encode(
    {":event-type": "ping", ":content-type": "application/json", ":message-type": "event"}, b"{}"
)

# Of the exceptions that an SDK expects in a stream (fact 10), the one for a failure that has this status.
_EXCEPTIONS = {
    400: "validationException",
    408: "modelTimeoutException",
    429: "throttlingException",
    500: "internalServerException",
    503: "serviceUnavailableException",
    504: "modelTimeoutException",
}


def forward(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each frame that came; events without one, such as the start, are for other formats."""
    for event in events:
        if isinstance(event, Chunk | Unknown):
            yield event.frame
        elif isinstance(event, Failure):
            yield event.frame or _exception(event)


def _exception(failure: Failure) -> bytes:
    """Return the frame that reports a failure which Bedrock did not put into one itself."""
    error = failure.error
    headers = {
        ":exception-type": _EXCEPTIONS.get(error.status, "modelStreamErrorException"),
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    body = {
        "message": error.message,
        "originalStatusCode": error.original_status or error.status,
        "originalMessage": error.code,
    }
    return encode(headers, json.dumps(body).encode())

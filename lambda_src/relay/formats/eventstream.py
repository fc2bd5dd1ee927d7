"""The AWS event stream, frame for frame as Bedrock sent it: unknown events, headers, padding and all.

Frames that have arrived together go out together: whoever reads them finds their borders in the frames.

A failure that Bedrock did not put into a frame itself, such as a stream that was cut, becomes an exception frame, which
the AWS SDKs raise as an error; its ``originalMessage`` is the error's code. A complete stream just ends, as Bedrock's
do.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from relay.events import Failure, Forwarded
from relay.eventstream import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.events import Event

# An event of a type that no service model lists: SDKs pass over it.
HEARTBEAT = encode(
    {":event-type": "ping", ":content-type": "application/json", ":message-type": "event"}, b"{}"
)

# Of the exceptions that an SDK expects in a stream (fact 10), the one for a failure that has this status.
_CONVERSE_EXCEPTIONS = {
    400: "validationException",
    429: "throttlingException",
    500: "internalServerException",
    503: "serviceUnavailableException",
}
_INVOKE_EXCEPTIONS = {
    **_CONVERSE_EXCEPTIONS,
    408: "modelTimeoutException",
    504: "modelTimeoutException",
}


def forward_converse(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each frame that came; events without one, such as the start, are for other formats."""
    return _forward(events, _CONVERSE_EXCEPTIONS)


def forward_invoke(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each frame that came, as ``forward_converse``."""
    return _forward(events, _INVOKE_EXCEPTIONS)


def _forward(events: Iterable[Event], exceptions: Mapping[int, str]) -> Iterator[bytes]:
    together: list[bytes] = []
    for event in events:
        if isinstance(event, Forwarded):
            together.append(event.frame)
            if event.more:
                continue
        elif isinstance(event, Failure):
            together.append(event.frame or _exception(event, exceptions))
        if together:
            yield b"".join(together)
            together.clear()


def _exception(failure: Failure, exceptions: Mapping[int, str]) -> bytes:
    """Return the frame that reports a failure which Bedrock did not put into one itself."""
    error = failure.error
    headers = {
        ":exception-type": exceptions.get(error.status, "modelStreamErrorException"),
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    body = {
        "message": error.message,
        "originalStatusCode": error.original_status or error.status,
        "originalMessage": error.code,
    }
    return encode(headers, json.dumps(body).encode())

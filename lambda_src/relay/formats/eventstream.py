"""The AWS event stream, frame for frame as Bedrock sent it: unknown events, headers, padding and all.

A failure that Bedrock did not put into a frame itself, such as a stream that was cut, becomes an exception frame, which
the AWS SDKs raise as an error. A complete stream just ends, as Bedrock's do.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from relay.events import Chunk, Failure, Unknown
from relay.eventstream import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.events import Event


def forward(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each frame that came; events without one, such as the start, are for other formats."""
    for event in events:
        if isinstance(event, Chunk | Unknown):
            yield event.frame
        elif isinstance(event, Failure):
            yield event.frame or _exception(event)


def _exception(failure: Failure) -> bytes:
    """Return the frame that reports a failure of the way: the closest of the exceptions that the SDKs know."""
    headers = {
        ":exception-type": "modelStreamErrorException",
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    body = {"message": failure.error.message, "originalStatusCode": failure.error.status}
    return encode(headers, json.dumps(body).encode())

"""One invocation at home: the event that goes in, and where its answer goes while it comes out.

`function_url.py` and `invoke_api.py` make invocations, `environments.py` finds each an execution environment, and
`runtime_api.py` hands it to the function and passes what the function sends straight on to the invocation's `Sink`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an invocation failed.

    Attributes:
        type: such as ``Runtime.ExitError`` or an exception's name.
        message: in one line.
        details: the whole error as the function told it, or as Lambda would tell it.
    """

    type: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Sink(Protocol):
    """Where an answer goes while it comes. It never fails: a caller that has gone is not the function's concern."""

    @property
    def caller_left(self) -> bool:
        """Whether nobody reads any more."""

    async def begin(self, content_type: str | None) -> None:
        """Take the content type that the function gave its answer."""

    async def write(self, piece: bytes) -> None:
        """Take a piece; wait while the caller is slower."""


class Throttled(Exception):
    """As many invocations run as are allowed."""


def new_trace_id(given: str | None = None) -> str:
    """Return an X-Ray header of Lambda's form, with the root of the one that the caller gave."""
    root = next((part for part in (given or "").split(";") if part.startswith("Root=")), None)
    root = root or f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}"
    return f"{root};Parent={secrets.token_hex(8)};Sampled=1"


@dataclass(slots=True, eq=False)
class Invocation:
    """An invocation.

    Attributes:
        event: the event as JSON.
        sink: where the answer goes.
        id: the request id.
        trace_id: the X-Ray header.
        client_context: the caller's, as JSON.
        tenant_id: the caller's.
        function_arn: of the function, with its qualifier.
        deadline_ms: when Lambda would kill the function, in milliseconds since 1970.
        outcome: done once the answer is whole: ``None``, or why it failed.
    """

    event: bytes
    sink: Sink
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    trace_id: str = field(default_factory=new_trace_id)
    client_context: str | None = None
    tenant_id: str | None = None
    function_arn: str = ""
    deadline_ms: int = 0
    outcome: asyncio.Future[Failure | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, failure: Failure | None = None) -> None:
        """Say how it ended; only the first word counts."""
        if not self.outcome.done():
            self.outcome.set_result(failure)


async def first_done(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncio.wait's own
    """Wait until one of the futures is done, or the time is over; none is cancelled."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

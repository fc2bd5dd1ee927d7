"""What can go wrong with a response stream, as the handler sees it.

::

    ResponseStreamError
    ├── ResponseStarted   what precedes the first byte was set after it: a bug in the handler
    └── ResponseClosed    nobody reads what is written from now on: the handler should stop
"""

from __future__ import annotations


class ResponseStreamError(Exception):
    """The response stream cannot do what was asked."""


class ResponseStarted(ResponseStreamError):
    """The status was set, or another response opened, once the first byte was written."""


class ResponseClosed(ResponseStreamError):
    """The stream was ended from the other side, or its invocation is over.

    Attributes:
        status: Lambda's early answer, such as 413 when the response grew too large or 400 when the caller left;
            ``None`` where there was none.
    """

    def __init__(self, status: int | None, reason: str = "the connection broke") -> None:
        """Say which answer ended the stream, or else what did."""
        self.status = status
        super().__init__(
            f"the response stream is closed: {reason if status is None else f'Lambda answered {status}'}"
        )

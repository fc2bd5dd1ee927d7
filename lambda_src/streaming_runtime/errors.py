"""What can go wrong with a response stream, as the handler sees it.

::

    ResponseStreamError
    ├── ResponseStarted   status, headers or cookies were set after the first byte: a bug in the handler
    └── ResponseClosed    Lambda or the caller ended the stream: nobody reads what is written from now on
"""

from __future__ import annotations


class ResponseStreamError(Exception):
    """The response stream cannot do what was asked."""


class ResponseStarted(ResponseStreamError):
    """Status, headers and cookies are settled once the first byte is written."""


class ResponseClosed(ResponseStreamError):
    """The stream was ended from the other side, and the handler should stop.

    Attributes:
        status: Lambda's early answer, such as 413 when the response grew too large or 400 when the caller left;
            ``None`` when the connection broke without one.
    """

    def __init__(self, status: int | None) -> None:
        """Say which answer ended the stream."""
        self.status = status
        reason = "the connection broke" if status is None else f"Lambda answered {status}"
        super().__init__(f"the response stream was closed early: {reason}")

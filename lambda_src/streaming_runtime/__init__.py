"""Response streaming for Python on AWS Lambda's managed runtime: awslambdaric, plus the part it lacks.

Decorate a handler that *writes*::

    from streaming_runtime import Response, stream_response

    @stream_response
    def handle(event, context, *, response: Response) -> None:
        response.headers["content-type"] = "text/plain; charset=utf-8"
        for piece in pieces():
            response.write(piece)

and start it with ``python -m streaming_runtime module.handle``, or name ``bootstrap`` in ``AWS_LAMBDA_EXEC_WRAPPER``.
Under a runtime that cannot stream, the same handler returns the usual ``{statusCode, headers, body}``.

The loop, the context, logging, init errors, SnapStart and managed instances are awslambdaric's own.
"""

from streaming_runtime.decorator import stream_response
from streaming_runtime.errors import ResponseClosed, ResponseStarted, ResponseStreamError
from streaming_runtime.response import Response

__all__ = [
    "Response",
    "ResponseClosed",
    "ResponseStarted",
    "ResponseStreamError",
    "stream_response",
]

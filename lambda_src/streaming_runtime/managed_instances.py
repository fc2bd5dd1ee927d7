"""Lambda managed instances: several workers in one environment, each a process with a loop of its own (fact 38)."""

# ruff: noqa: TID251  # it joins this package to awslambdaric, as client.py does

from __future__ import annotations

from awslambdaric import bootstrap
from awslambdaric.lambda_multi_concurrent_utils import MultiConcurrentRunner
from awslambdaric.lambda_runtime_client import LambdaMultiConcurrentRuntimeClient

from streaming_runtime.client import StreamingCalls
from streaming_runtime.decorator import set_response_opener


class StreamingWorkerClient(StreamingCalls, LambdaMultiConcurrentRuntimeClient):  # type: ignore[misc]  # awslambdaric is untyped
    """The client of one worker: it outlives what would end a standard environment."""


class StreamingWorkers(MultiConcurrentRunner):  # type: ignore[misc]  # awslambdaric is untyped
    """awslambdaric's workers, with a client that streams."""

    @classmethod
    def run_single(
        cls, handler: str, api_addr: str, _use_thread: object, socket_path: str | None
    ) -> None:
        """Run one worker's loop, in its own process."""
        if socket_path:
            cls._redirect_output(socket_path)
        client = StreamingWorkerClient(api_addr)
        set_response_opener(client)
        bootstrap.run(handler, client)

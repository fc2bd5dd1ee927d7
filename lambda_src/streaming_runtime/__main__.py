"""``python -m streaming_runtime module.handle``: start the loop, as ``python -m awslambdaric`` would."""

# ruff: noqa: TID251  # it starts awslambdaric's loop

from __future__ import annotations

import sys

from streaming_runtime.client import StreamingRuntimeClient  # first: it keeps a native module out

from awslambdaric import bootstrap  # isort: skip
from awslambdaric.lambda_config import LambdaConfigProvider  # isort: skip

from streaming_runtime.decorator import set_response_opener


def main(arguments: list[str]) -> None:
    """Run the handler named in the arguments until the environment ends.

    Raises:
        ValueError: no handler is named.
        KeyError: ``AWS_LAMBDA_RUNTIME_API`` is not set.
    """
    config = LambdaConfigProvider(arguments)
    if config.is_multi_concurrent:
        # Imported here: no other environment should pay for multiprocessing.
        from streaming_runtime.managed_instances import StreamingWorkers  # noqa: PLC0415

        StreamingWorkers.run_concurrent(
            config.handler,
            config.api_address,
            config.use_thread_polling,
            config.lmi_socket_path,
            int(config.max_concurrency),
        )
    else:
        # No thread is needed to poll: Python's own sockets let the main thread handle signals.
        client = StreamingRuntimeClient(config.api_address)
        set_response_opener(client)
        bootstrap.run(config.handler, client)


if __name__ == "__main__":
    main(sys.argv)

"""The whole function at home, for the command line and for tests.

Public surface::

    with LocalFunction(pace=Pace(0.1, 50), environment={"RIVULET_…": "…"}) as function:   # or: async with
        function.url          the function URL, "http://127.0.0.1:<port>"
        function.invoke_url   InvokeWithResponseStream: an SDK's endpoint_url; the function's name is "rivulet"
        function.bedrock      the stand-in (bedrock.py): .pace and .answer, which may be set at any time, .calls, .url
        function.log          the latest lines that the function's processes said; .wait_for_line(text) for a late one
        function.pids         its processes, one an execution environment

Everything that listens is on a loopback port, a free one by default, and every process has ended when the block is
left. The synchronous form lives in a thread of its own. `bedrock.calls[i].performance.sent[j].at` is in seconds of
`time.monotonic`, and so may be a caller's clock: the way of every piece can be timed. Timeout, concurrency, limits and
what else Lambda knows of a function are in `FunctionConfiguration`. Ways to go wrong are in `faults.py`; a caller may
choose among them, too (`fault_script.py`).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from local.bedrock import Bedrock, Call
from local.configuration import FunctionConfiguration
from local.environments import Environments
from local.fault_script import FaultMachine
from local.function_url import FunctionUrl
from local.invoke_api import InvokeApi
from local.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from local.script import Script

MODEL_IDS = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-3-haiku-20240307-v1:0",
    "amazon.nova-lite-v1:0",
)
# Names that clients insist on, such as those of the README.
MODEL_ALIASES = {"claude-sonnet-4-5": MODEL_IDS[0], "gpt-4o": MODEL_IDS[2]}
_LINES_KEPT = 10_000
# X-Ray has no daemon at home.
_POWERTOOLS = {
    "POWERTOOLS_METRICS_NAMESPACE": "Rivulet",
    "POWERTOOLS_SERVICE_NAME": "rivulet",
    "POWERTOOLS_TRACE_DISABLED": "true",
}


class StartError(Exception):
    """The function did not start.

    Attributes:
        log: what it said.
    """

    def __init__(self, message: str, log: tuple[str, ...]) -> None:
        super().__init__("\n".join((message, *log)))
        self.log = log


class LocalFunction:
    """A function at home; see the top of this file.

    Args:
        configuration: the function's.
        pace: the stand-in's.
        answer: the stand-in's, instead of a fitting essay and the faults that callers choose.
        environment: variables for the function, over those of the configuration.
        model_ids: those that callers may use, by the names of `MODEL_ALIASES`, too.
        real: no stand-in: the function talks to Bedrock with the credentials of whoever started it.
        port: of the function URL; 0 for a free one.
        on_log: takes each line that the function says.
    """

    def __init__(
        self,
        configuration: FunctionConfiguration | None = None,
        *,
        pace: Pace | None = None,
        answer: Callable[[Call], Script] | None = None,
        environment: Mapping[str, str] | None = None,
        model_ids: tuple[str, ...] = MODEL_IDS,
        real: bool = False,
        port: int = 0,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.url = ""
        self.invoke_url = ""
        self.bedrock = Bedrock(pace or Pace(), answer or FaultMachine().answer)
        self.log: deque[str] = deque(maxlen=_LINES_KEPT)
        self._configuration = configuration or FunctionConfiguration()
        self._environment = _allowed(model_ids, environment or {})
        self._real = real
        self._port = port
        self._on_log = on_log
        self._environments: Environments | None = None
        self._stack = AsyncExitStack()
        self._thread: threading.Thread | None = None
        self._leave: Callable[[], None] = lambda: None

    @property
    def pids(self) -> list[int]:
        """The function's processes."""
        return self._environments.pids if self._environments else []

    def wait_for_line(self, text: str, timeout: float = 5.0) -> str:
        """Return the first line of the log that contains a text: the last lines come after the answer.

        Raises:
            TimeoutError: there is none.
        """
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            found = next((line for line in tuple(self.log) if text in line), None)
            if found is not None:
                return found
            time.sleep(0.01)
        raise TimeoutError("\n".join((f"no line of the log contains {text!r}:", *self.log)))

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            StartError: the function does not start.
            OSError: the port is taken.
        """
        async with AsyncExitStack() as stack:
            if not self._real:
                await self.bedrock.start()
                stack.push_async_callback(self.bedrock.close)
            environments = self._environments = Environments(self._configured(), self._take_line)
            stack.push_async_callback(environments.close)
            function_url = FunctionUrl(environments)
            await function_url.start(self._port)
            stack.push_async_callback(function_url.close)
            invoke_api = InvokeApi(environments)
            await invoke_api.start()
            stack.push_async_callback(invoke_api.close)
            failure = await environments.provision()
            if failure is not None:
                raise StartError(f"{failure.type}: {failure.message}", tuple(self.log))
            self.url, self.invoke_url = function_url.url, invoke_api.url
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everything."""
        await self._stack.aclose()

    def __enter__(self) -> Self:
        """Start everything in a thread; raises what `__aenter__` raises."""
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._live, args=(started,), name="function at home", daemon=True
        )
        self._thread.start()
        started.result()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self._leave()
        if self._thread is not None:
            self._thread.join()

    def _live(self, started: Future[None]) -> None:
        async def live() -> None:
            left = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._leave = lambda: loop.call_soon_threadsafe(left.set)  # type: ignore[assignment]
            async with self:
                started.set_result(None)
                await left.wait()

        try:
            asyncio.run(live())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    def _configured(self) -> FunctionConfiguration:
        given = self._configuration
        at_home = _POWERTOOLS if self._real else {**_POWERTOOLS, **_stand_in(self.bedrock.url)}
        return replace(
            given,
            inherit=given.inherit or self._real,
            environment={**at_home, **given.environment, **self._environment},
        )

    def _take_line(self, line: str) -> None:
        self.log.append(line)
        if self._on_log is not None:
            self._on_log(line)


def _allowed(model_ids: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the function's own variables; whoever chooses the models there chooses the names for them as well."""
    if "RIVULET_MODEL_IDS" in environment:
        return {**environment}
    aliases = (f"{name}={model}" for name, model in MODEL_ALIASES.items() if model in model_ids)
    models = {
        "RIVULET_MODEL_IDS": ",".join(model_ids),
        "RIVULET_MODEL_ALIASES": ",".join(aliases),
    }
    return {**models, **environment}


def _stand_in(url: str) -> dict[str, str]:
    """Return the variables that lead an AWS SDK to the stand-in, and keep it from looking for credentials."""
    return {
        "AWS_ACCESS_KEY_ID": "stand-in",
        "AWS_SECRET_ACCESS_KEY": "stand-in",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
    }

"""One execution environment at home: a process of the real bootstrap, and a Runtime API of its own beside it.

It lives as in Lambda: it is started, asks for its first invocation, and then serves one at a time. An invocation is
over for the caller when its answer is whole, for the environment when the function asks for the next one; if that takes
longer than the timeout, the process is killed. Whatever kills it, the invocation in hand fails, and that was its last.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from local.invocation import Failure, Invocation, first_done
from local.runtime_api import RuntimeApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.configuration import FunctionConfiguration
    from local.lifeline import Lifeline

_LINE_LIMIT = 16 * 1024 * 1024  # a log record may be long, and is one line
_GRACE = 2.0  # seconds between asking a process to end and making it


class Environment:
    """An execution environment.

    Attributes:
        pid: its process, once started.
    """

    def __init__(
        self, function: FunctionConfiguration, log: Callable[[str], None], lifeline: Lifeline
    ) -> None:
        self.pid = 0
        self._function = function
        self._log = log
        self._lifeline = lifeline
        self._api = RuntimeApi(function.limits)
        self._process: asyncio.subprocess.Process | None = None
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._follower: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it can serve another invocation."""
        return self._process is not None and not self._exited.done()

    async def start(self) -> Failure | None:
        """Start the process and wait until it asks for its first invocation; return why it does not."""
        await self._api.start()
        try:
            self._process = await self._spawn()
        except OSError as error:
            return Failure("Runtime.InvalidEntrypoint", str(error))
        self.pid = self._process.pid
        self._lifeline.hold(self.pid)
        self._follower = asyncio.create_task(self._follow(self._process))
        await first_done(self._api.ready, self._exited, timeout=self._function.init_timeout)
        if self._api.ready.done():
            return self._api.ready.result()
        if self._exited.done():
            return Failure(
                "Runtime.ExitError",
                f"Runtime exited during its start: {_said(self._exited.result())}",
            )
        return Failure(
            "Sandbox.Timedout", f"Init timed out after {self._function.init_timeout:.2f} seconds"
        )

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._function.start_command,
            cwd=self._function.task_root,
            env=self._function.variables(self._api.address),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for whoever started it, who then ends it
            limit=_LINE_LIMIT,
        )

    async def invoke(self, invocation: Invocation) -> None:
        """Serve an invocation until the function asks for the next; it is settled then, one way or the other."""
        timeout = self._function.timeout
        invocation.function_arn = self._function.arn
        invocation.deadline_ms = int((time.time() + timeout) * 1000)
        asked_again = self._api.offer(invocation)
        await first_done(asked_again, self._exited, timeout=timeout)
        if asked_again.done():
            invocation.settle(
                Failure(
                    "Runtime.NoResponse", "the function asked for the next invocation unanswered"
                )
            )
        elif self._exited.done():
            self._fail(
                invocation,
                "Runtime.ExitError",
                f"Runtime exited with error: {_said(self._exited.result())}",
            )
        else:
            self._fail(
                invocation, "Sandbox.Timedout", f"Task timed out after {timeout:.2f} seconds"
            )
            self._signal(signal.SIGKILL)
            await first_done(self._exited)

    async def stop(self) -> None:
        """End the process: asked to at first, then made to."""
        if self._process is not None:
            self._signal(signal.SIGTERM)
            await first_done(self._exited, timeout=_GRACE)
            self._signal(signal.SIGKILL)
            await first_done(self._exited)
        await self._api.close()

    def _fail(self, invocation: Invocation, error_type: str, message: str) -> None:
        self._log(f"RequestId: {invocation.id} Error: {error_type}: {message}")
        details = {
            "errorType": error_type,
            "errorMessage": f"RequestId: {invocation.id} Error: {message}",
        }
        invocation.settle(Failure(error_type, message, details))

    def _signal(self, number: int) -> None:
        """Signal the process and those it has started, which are a group of their own."""
        if not self._exited.done():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what the process says, and note its end."""
        assert process.stdout is not None  # noqa: S101  # for the type checker: it is a pipe
        saying = asyncio.create_task(_pass_on(process.stdout, self._log))
        code = await process.wait()
        self._signal(signal.SIGKILL)  # what it started ends with it
        self._lifeline.release(self.pid)
        # What a crashed runtime said last tells why; a grandchild may hold the pipe open for longer.
        await first_done(saying, timeout=1)
        saying.cancel()
        self._exited.set_result(code)


async def _pass_on(stream: asyncio.StreamReader, log: Callable[[str], None]) -> None:
    async for line in stream:
        log(line.decode(errors="replace").rstrip("\n"))


def _said(code: int) -> str:
    """Return an exit code in Lambda's words."""
    return f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

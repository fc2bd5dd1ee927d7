"""The execution environments of one function: as many as there are invocations at once, up to a limit, as in Lambda."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from local.environment import Environment
from local.invocation import Failure, Invocation, Throttled
from local.lifeline import Lifeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.configuration import FunctionConfiguration

_FINISHING = 0.25  # seconds that an environment gets between its answer and asking for more


class Environments:
    """The environments.

    Attributes:
        function: what runs in them.
        log: takes each line that they say.
    """

    def __init__(self, function: FunctionConfiguration, log: Callable[[str], None]) -> None:
        self.function = function
        self.log = log
        self._lifeline = Lifeline()
        self._all: set[Environment] = set()
        self._idle: list[Environment] = []
        self._work: dict[asyncio.Task[None], Invocation] = {}

    @property
    def pids(self) -> list[int]:
        """The processes that live."""
        return [environment.pid for environment in tuple(self._all) if environment.alive]

    async def provision(self) -> Failure | None:
        """Start the environments that are to be there beforehand; return why one cannot be."""
        wanted = [self._new() for _ in range(self.function.provisioned_concurrency)]
        failures = await asyncio.gather(*(environment.start() for environment in wanted))
        for environment, failure in zip(wanted, failures, strict=True):
            await self._give_back(environment, failure)
        return next(filter(None, failures), None)

    async def invoke(self, invocation: Invocation) -> Failure | None:
        """Have an invocation served; return once its answer is whole, with why it failed if it did.

        Raises:
            Throttled: all environments are busy, and there may be no more of them.
        """
        environment = await self._take_idle() or await self._take_finishing() or self._new()
        work = asyncio.create_task(self._serve(environment, invocation))
        self._work[work] = invocation
        work.add_done_callback(self._work.pop)
        return await invocation.outcome

    async def close(self) -> None:
        """End all processes."""
        for work in self._work:
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await asyncio.gather(*(environment.stop() for environment in self._all))
        self._lifeline.close()

    async def _serve(self, environment: Environment, invocation: Invocation) -> None:
        failure = None if environment.pid else await environment.start()
        if failure is None:
            await environment.invoke(invocation)
        else:
            self.log(f"RequestId: {invocation.id} Error: {failure.type}: {failure.message}")
            invocation.settle(failure)
        await self._give_back(environment, failure)

    def _new(self) -> Environment:
        if len(self._all) >= self.function.concurrency:
            raise Throttled
        environment = Environment(self.function, self.log, self._lifeline)
        self._all.add(environment)
        return environment

    async def _take_idle(self) -> Environment | None:
        while self._idle:
            environment = self._idle.pop()
            if environment.alive:
                return environment
            await self._retire(environment)
        return None

    async def _take_finishing(self) -> Environment | None:
        """Take one that has answered and will ask for more in a moment, so that one caller in a row needs one."""
        finishing = [work for work, invocation in self._work.items() if invocation.outcome.done()]
        if finishing:
            await asyncio.wait(finishing, timeout=_FINISHING, return_when=asyncio.FIRST_COMPLETED)
        return await self._take_idle()

    async def _give_back(self, environment: Environment, failure: Failure | None) -> None:
        if failure is None and environment.alive:
            self._idle.append(environment)
        else:
            await self._retire(environment)

    async def _retire(self, environment: Environment) -> None:
        await environment.stop()
        self._all.discard(environment)

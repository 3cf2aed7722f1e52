"""Sees to it that the safety rules are asked again when something is due."""

import asyncio
from collections.abc import Awaitable, Callable

from hardware.clock import Clock


class Ticker:
    """Calls `tick` at the earliest of the times it was given.

    Args:
        tasks: Where the waiting is done; must be entered before `plan` is called with a time.
        tick: Asks the rules and does what they say; it plans the next tick itself.
    """

    def __init__(
        self, clock: Clock, tasks: asyncio.TaskGroup, tick: Callable[[], Awaitable[None]]
    ) -> None:
        self._clock = clock
        self._tasks = tasks
        self._tick = tick
        self._at = float("inf")
        self._waiting: asyncio.Task[None] | None = None
        self._closed = False

    def plan(self, at: float) -> None:
        """Tick at this time at the latest; infinity asks for nothing. Closed, it does nothing."""
        if not self._closed and at < self._at:
            self.cancel()
            self._at = at
            self._waiting = self._tasks.create_task(self._wait(at), name="reactor-tick")

    def cancel(self) -> None:
        """Forget what was planned; a tick that has begun is not disturbed."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._at = float("inf")

    def close(self) -> None:
        """Tick no more: whoever ends the tasks must not wait for one that is planned on the way."""
        self._closed = True
        self.cancel()

    async def _wait(self, at: float) -> None:
        await self._clock.sleep(max(0.0, at - self._clock.monotonic()))
        self._waiting = None
        self._at = float("inf")
        await self._tick()

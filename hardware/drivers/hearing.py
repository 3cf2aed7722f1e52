"""Whether a device answers what it is asked: the clock of its silence.

It starts when a question is asked that nobody had an answer to before, and ends at the next sound
answer, to that question or to another. Questions that are repeated meanwhile do not start it anew,
so it does not matter how often a driver asks before it gives up.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

_LAG: Final = 0.05
"""Seconds; an event loop that comes so late to a deadline first hears what came meanwhile."""


class Hearing:
    """Of one device; everything happens on the event loop.

    Args:
        within: Real seconds in which the device answers whatever a driver asks, one repetition
            included where there is time for it; it counts as silent after that. Infinity: nobody
            knows, it never does.
        every: Real seconds between two questions at most, while its silence must not go unnoticed.
            How soon it is noticed is the sum of both.
    """

    def __init__(self, within: float = math.inf, every: float = 1.0) -> None:
        self.within = within
        self.every = every
        self._silent = False
        self._due: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()

    @property
    def silent(self) -> bool:
        """Whether an answer is overdue."""
        return self._silent

    async def turned(self, *, silent: bool) -> None:
        """Return when it is so."""
        while self._silent is not silent:
            self._news.clear()
            await self._news.wait()

    def asked(self) -> bool:
        """Note that a question waits for its answer; return whether it is the first that does."""
        first = self._due is None and not self._silent
        if first and math.isfinite(self.within):
            self._wait(self.within, self._overdue)
        return first

    def answered(self) -> None:
        """Note a sound answer."""
        self.withdrawn()
        self._turn(silent=False)

    def withdrawn(self) -> None:
        """Note that nobody waits for the answer any more.

        A device that is silent stays so until it answers, also one that is unplugged and plugged
        in again: what rests for it does not go on meanwhile.
        """
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _wait(self, seconds: float, then: Callable[[float], None]) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        self._due = loop.call_at(at, then, at)

    def _overdue(self, at: float) -> None:
        if asyncio.get_running_loop().time() - at > _LAG:
            self._wait(_LAG, self._given_up)
        else:
            self._given_up(at)

    def _given_up(self, _at: float) -> None:
        self._due = None
        self._turn(silent=True)

    def _turn(self, *, silent: bool) -> None:
        if self._silent is not silent:
            self._silent = silent
            self._news.set()

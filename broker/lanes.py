"""Work in lanes: in order within one, concurrently between them, bounded for each owner."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field

Work = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests a principal may send, as a bucket of tokens.

    Attributes:
        per_second: Tokens that come in each second.
        burst: Tokens that the bucket holds.
    """

    per_second: float = 100.0
    burst: int = 500


class RateLimiter:
    """A bucket of tokens for each principal; full buckets are forgotten."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self.burst = rate.burst
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, principal: str) -> float:
        """Take a token; return what is left: below 0 the principal is too fast.

        The debt grows to at most one burst, so that a flood is told from a few requests too many.
        """
        now = self._clock()
        if len(self._buckets) > 1000:  # noqa: PLR2004  now and then, not at each call
            self._forget(now)
        left = max(self._filled(principal, now) - 1.0, -float(self._rate.burst))
        self._buckets[principal] = (left, now)
        return left

    def _filled(self, principal: str, now: float) -> float:
        left, then = self._buckets.get(principal, (float(self._rate.burst), now))
        return min(left + (now - then) * self._rate.per_second, float(self._rate.burst))

    def _forget(self, now: float) -> None:
        for principal in list(self._buckets):
            if self._filled(principal, now) >= self._rate.burst:
                del self._buckets[principal]


@dataclass(slots=True)
class _Load:
    count: int = 0
    size: int = 0


@dataclass(slots=True)
class _Lane:
    waiting: deque[tuple[Work, int]] = field(default_factory=deque)


class Lanes:
    """Runs work lane by lane; a lane lives only while it has work.

    Args:
        group: Where the tasks belong; its end ends the work.
        limit: The most pieces of work that wait or run for one owner.
        size_limit: The most bytes that these may hold.
    """

    def __init__(self, group: asyncio.TaskGroup, *, limit: int, size_limit: int) -> None:
        self._group = group
        self._limit = limit
        self._size_limit = size_limit
        self._lanes: dict[Hashable, _Lane] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._loads: dict[str, _Load] = {}

    @property
    def busy(self) -> bool:
        """Whether any work waits or runs."""
        return bool(self._lanes)

    async def idle(self) -> None:
        """Return when nothing waits or runs."""
        await self._idle.wait()

    def put(self, owner: str, lane: Hashable, work: Work, size: int) -> bool:
        """Queue work behind what waits in its lane; False if the owner has too much already."""
        load = self._loads.get(owner, _Load())
        if load.count >= self._limit or (load.count and load.size + size > self._size_limit):
            return False
        load.count += 1
        load.size += size
        self._loads[owner] = load
        key = (owner, lane)
        queue = self._lanes.get(key)
        if queue is None:
            queue = self._lanes[key] = _Lane()
            self._idle.clear()
            self._group.create_task(self._drive(owner, key, queue), name=f"lane {key}")
        queue.waiting.append((work, size))
        return True

    async def _drive(self, owner: str, key: Hashable, lane: _Lane) -> None:
        try:
            while lane.waiting:
                work, size = lane.waiting.popleft()
                try:
                    await work()
                finally:
                    self._release(owner, size)
        finally:
            del self._lanes[key]
            if not self._lanes:
                self._idle.set()

    def _release(self, owner: str, size: int) -> None:
        load = self._loads[owner]
        load.count -= 1
        load.size -= size
        if load.count == 0:
            del self._loads[owner]

"""The reactor's clock: wall time for records, reactor seconds for everything that is timed.

Reactor seconds run `speed` times as fast as real ones, so that a simulated culture can be watched
grow in minutes. Above speed 1 the clock waits for those who sleep on it: it never shows a time
later than the earliest sleeper that has not been woken yet. A control loop that falls behind
therefore misses no period; the clock slows down instead.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

_MAX_LAG: Final = 0.25
"""Real seconds that a fast clock may run late before it gives them up instead of catching up."""

_EARLY: Final = 1e-6
"""Real seconds that a timer may be early by rounding."""


def machine_boot() -> str:
    """Return the identity of the machine's current boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def uptime() -> float:
    """Return the seconds since the machine's boot, also those that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock(Protocol):
    """Time as the reactor sees it."""

    @property
    def speed(self) -> float:
        """Reactor seconds in one real second."""
        ...

    def now(self) -> datetime:
        """Return the wall clock's time in UTC; it may jump."""
        ...

    def monotonic(self) -> float:
        """Return reactor seconds since some start; never decreases."""
        ...

    async def sleep(self, reactor_seconds: float) -> None:
        """Return when so many reactor seconds have passed."""
        ...


@dataclass(order=True, slots=True)
class _Sleeper:
    at: float
    order: int
    woken: asyncio.Future[None]


class _Sleepers:
    """Who sleeps until when, earliest first; the cancelled ones are forgotten lazily."""

    def __init__(self) -> None:
        self._heap: list[_Sleeper] = []
        self._order = itertools.count()

    def add(self, at: float) -> asyncio.Future[None]:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, _Sleeper(at, next(self._order), woken))
        return woken

    def earliest(self) -> float | None:
        while self._heap and self._heap[0].woken.done():
            heapq.heappop(self._heap)
        return self._heap[0].at if self._heap else None

    def wake_earliest(self) -> None:
        """Wake those that sleep until the earliest instant, and nobody else."""
        at = self.earliest()
        while at is not None and self.earliest() == at:
            heapq.heappop(self._heap).woken.set_result(None)


class RealClock:
    """The machine's clock.

    At speed 1 reactor seconds are the machine's monotonic seconds. At other speeds the clock is
    for simulation only, see the module's docstring.

    Args:
        speed: Reactor seconds in one real second, above 0.
        real: Monotonic seconds; for tests.
    """

    def __init__(self, speed: float = 1.0, *, real: Callable[[], float] = time.monotonic) -> None:
        if not 0 < speed < float("inf"):
            raise ValueError(f"the clock's speed must be above 0, not {speed}")
        self._speed = float(speed)
        self._real = real
        self._origin = real()
        self._shown = 0.0
        self._held: float | None = None
        self._sleepers = _Sleepers()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    @property
    def speed(self) -> float:
        """Reactor seconds in one real second."""
        return self._speed

    def now(self) -> datetime:
        """Return the wall clock's time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return reactor seconds since the clock was made; never decreases."""
        seconds = (self._real() - self._origin) * self._speed
        if self._held is not None:
            seconds = self._held
        elif self._speed != 1.0 and (earliest := self._sleepers.earliest()) is not None:
            seconds = min(seconds, earliest)
        self._shown = max(self._shown, seconds)
        return self._shown

    async def sleep(self, reactor_seconds: float) -> None:
        """Return when so many reactor seconds have passed."""
        if self._speed == 1.0 or reactor_seconds <= 0:
            await asyncio.sleep(max(0.0, reactor_seconds))
            return
        at = self.monotonic() + reactor_seconds
        woken = self._sleepers.add(at)
        if at < self._timer_at:
            self._set_timer(at)
        await woken

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = at / self._speed - (self._real() - self._origin)
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        at = self._sleepers.earliest()
        if at is None:
            return
        late = (self._real() - self._origin) - at / self._speed
        if late >= -_EARLY:
            if late > _MAX_LAG:
                self._origin += late - _MAX_LAG
            self._held = max(self._shown, at)
            self._sleepers.wake_earliest()
            # Those just woken run at the time they asked for, and may sleep again, before time
            # goes on and the next ones are looked at.
            asyncio.get_running_loop().call_soon(self._look_again)
        else:
            self._set_timer(at)

    def _look_again(self) -> None:
        self._held = None
        at = self._sleepers.earliest()
        if at is not None and at < self._timer_at:
            self._set_timer(at)


class ManualClock:
    """A clock for tests that moves only when told to."""

    def __init__(self, start: datetime = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)) -> None:
        self._start = start
        self._seconds = 0.0
        self._sleepers = _Sleepers()

    @property
    def speed(self) -> float:
        """Reactor seconds in one second of `now`."""
        return 1.0

    def now(self) -> datetime:
        """Return the start plus what was advanced."""
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._seconds

    async def sleep(self, reactor_seconds: float) -> None:
        """Return when the clock was advanced so far."""
        if reactor_seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._sleepers.add(self._seconds + reactor_seconds)

    async def advance(self, seconds: float) -> None:
        """Move on, waking sleepers one instant after another and letting each run."""
        end = self._seconds + seconds
        await _let_run()
        while (at := self._sleepers.earliest()) is not None and at <= end:
            self._seconds = max(self._seconds, at)
            self._sleepers.wake_earliest()
            await _let_run()
        self._seconds = end
        await _let_run()


async def _let_run() -> None:
    """Let tasks that are ready run, with the few hand-overs between tasks that a step needs."""
    for _ in range(10):
        await asyncio.sleep(0)

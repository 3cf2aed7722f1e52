"""Who controls the reactor by hand, and until when.

A person who commands an idle reactor holds it: no experiment starts meanwhile. Nobody knows when
he has gone, so the hold ends by itself, with everything made safe, unless he commands again.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from broker.messages import Error, ErrorCode, EventRecord, ManualHold, Record
from hardware.announcements import ReactorEvent
from hardware.clock import Clock
from hardware.reactor import Reactor
from node_service.alarms import Alarms
from node_service.safety import make_safe

_SAFE: Final = frozenset({"safe", "estop"})


class Hands:
    """The hold of one node's reactor, if somebody has it.

    Args:
        seconds: Real ones, after the last command.
        changed: Called when the hold begins, moves or ends.
    """

    def __init__(
        self,
        *,
        reactor: Reactor,
        clock: Clock,
        alarms: Alarms,
        record: Callable[[Record], None],
        seconds: float,
        changed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._alarms = alarms
        self._record = record
        self._seconds = seconds
        self._changed = changed
        self._current: ManualHold | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ran_out = asyncio.Event()
        self._ending = False
        self._taken = 0

    @property
    def current(self) -> ManualHold | None:
        """Who holds the reactor."""
        return self._current

    @property
    def refusal(self) -> Error | None:
        """Why no experiment may start now."""
        if self._current is None:
            return None
        return Error(
            code=ErrorCode.REACTOR_BUSY,
            message=f"{self._current.by} controls the reactor by hand, until "
            f"{self._current.until:%H:%M:%S} UTC at the latest",
            hint="it goes on when manual control is ended",
        )

    def take(self, by: str) -> None:
        """Begin the hold, or have it end later."""
        now = self._clock.now()
        since = now if self._current is None else self._current.since
        until = now + timedelta(seconds=self._seconds)
        self._taken += 1
        self._current = ManualHold(by=by, since=since, until=until)
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._ran_out.set)
        self._changed()

    def drop(self) -> None:
        """End a hold under which nothing was commanded."""
        self._stop_timer()
        self._current = None
        self._changed()

    def hear(self, event: ReactorEvent) -> None:
        """Follow the reactor: where somebody else made everything safe, nothing is held."""
        if event.event in _SAFE and not self._ending:
            self._over("everything was made safe")

    async def end(self, why: str) -> None:
        """Make everything safe, and let go when it is, unless there was a command meanwhile."""
        taken = self._taken
        self._ending = True
        try:
            await make_safe(self._reactor, self._alarms)
        finally:
            self._ending = False
        if self._taken == taken:
            self._over(why)

    async def run(self) -> None:
        """End what nobody has renewed, until cancelled."""
        try:
            while True:
                await self._ran_out.wait()
                if not self._ran_out.is_set():
                    continue  # there was a command in the same instant
                self._ran_out.clear()
                await self.end(f"no command for {self._seconds:g} s")
        finally:
            self._stop_timer()

    def _stop_timer(self) -> None:
        self._ran_out.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self, why: str) -> None:
        if self._current is not None:
            self._tell(self._current.by, why)
            self.drop()

    def _tell(self, by: str, why: str) -> None:
        self._record(
            EventRecord(
                t=self._clock.now(),
                mono=self._clock.monotonic(),
                event="manual-ended",
                data={"by": by, "why": why},
            )
        )

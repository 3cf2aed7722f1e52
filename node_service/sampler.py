"""Reads the reactor on a steady schedule, always: during experiments and while idle.

The schedule is a multiple of the interval on the reactor's monotonic clock, so that it never
drifts and a jump of the wall clock moves no sample. A reading that was taken late is recorded with
the time at which it was taken; how late, and how many were left out, is said in a ``late`` event.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from broker.messages import EventRecord, Record, SampleRecord, Telemetry
from hardware.clock import Clock
from node_service.live import Screen
from node_service.runclock import RunClock
from node_service.runs import RunKey

LATE_EVENT_EVERY: Final = 60
"""Samples between two ``late`` events, so that a slow machine does not fill its own record."""


class Readable(Protocol):
    """The part of the reactor that is needed here."""

    async def read(self) -> Mapping[str, float | None]:
        """Read all channels; None where one gives nothing."""
        ...


class Current(Protocol):
    """The attempt that executes."""

    @property
    def key(self) -> RunKey:
        """Which attempt it is."""
        ...

    @property
    def clock(self) -> RunClock:
        """Its clock."""
        ...


def finite(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the values with NaN and infinities, which are no JSON, as None."""
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in values.items()
    }


class Sampler:
    """Samples until cancelled.

    Args:
        interval: Seconds of the reactor's clock between samples.
        record: Takes a record without waiting.
        current: Returns the attempt that executes, None while idle.
    """

    def __init__(
        self,
        reactor: Readable,
        clock: Clock,
        *,
        interval: float,
        record: Callable[[Record], None],
        live: Screen,
        current: Callable[[], Current | None],
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._interval = interval
        self._record = record
        self._live = live
        self._current = current
        self._late = 0
        self._missed = 0
        self._worst = 0.0
        self._until_told = 0
        self.latest: Mapping[str, float | None] = {}

    async def run(self) -> None:
        """Take a sample at each multiple of the interval."""
        begin = self._clock.monotonic()
        due = 0
        while True:
            await self._clock.sleep(begin + due * self._interval - self._clock.monotonic())
            lateness = self._clock.monotonic() - (begin + due * self._interval)
            missed = int(lateness // self._interval)
            await self._sample(lateness, missed)
            due += 1 + missed

    async def _sample(self, lateness: float, missed: int) -> None:
        values = finite(await self._reactor.read())
        self.latest = values
        current = self._current()
        sample = SampleRecord(
            t=self._clock.now(),
            mono=self._clock.monotonic(),
            experiment_id=current.key.experiment_id if current else None,
            attempt=current.key.attempt if current else None,
            elapsed=current.clock.elapsed if current else None,
            values=values,
        )
        self._record(sample)
        self._judge(lateness, missed, sample)
        await self._live.telemetry(
            Telemetry(
                t=sample.t,
                experiment_id=sample.experiment_id,
                elapsed=sample.elapsed,
                values=values,
            )
        )

    def _judge(self, lateness: float, missed: int, sample: SampleRecord) -> None:
        self._until_told -= 1
        if lateness > self._interval / 2:
            self._late += 1
            self._missed += missed
            self._worst = max(self._worst, lateness)
        if self._late == 0 or self._until_told > 0:
            return
        self._record(
            EventRecord(
                t=sample.t,
                mono=sample.mono,
                experiment_id=sample.experiment_id,
                attempt=sample.attempt,
                elapsed=sample.elapsed,
                event="late",
                value=round(self._worst, 3),
                data={"late": self._late, "missed": self._missed},
            )
        )
        self._late = self._missed = 0
        self._worst = 0.0
        self._until_told = LATE_EVENT_EVERY

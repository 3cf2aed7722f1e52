"""One device's sensors, read at the device's own pace and judged."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hardware.channels import Channel, Equipment
from hardware.clock import Clock
from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import Audible, Driver, DriverError, Pluggable
from hardware.interlocks import sound
from hardware.plausibility import Doubted, Policy, Watch, judge, sentence

LOOK: Final = 1.0
"""Real seconds between two looks at a device that must not be lost, whoever reads the reactor."""
_SENSORLESS: Final = 2.0
"""Seconds, as the period of a device that measures nothing: whether it is there is looked at."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fault:
    """A device that failed when it was last read.

    Attributes:
        message: One sentence.
        lost: It is unplugged, or failed before as well.
        policy: What is done when it is lost.
    """

    message: str
    lost: bool
    policy: Policy


class Polled:
    """One driver's readings, read again only when they are older than half a period.

    Args:
        driver: Of the device.
        equipment: Says which sensors it has and what their readings are like.
        clock: Of the reactor.
        patience: Real seconds after which a device that does not answer counts as silent.
        late: Real seconds that who asks waits for a reading.
    """

    def __init__(
        self, driver: Driver, equipment: Equipment, clock: Clock, patience: float, late: float
    ) -> None:
        self.driver = driver
        self.hearing = driver.hearing if isinstance(driver, Audible) else Hearing()
        self.fault: Fault | None = None
        self.policy = equipment.policy(driver.name)
        self._equipment = equipment
        self._names = tuple(
            name
            for name, channel in equipment.channels.items()
            if channel.info.driver == driver.name
            and channel.info.kind == "sensor"
            and not channel.output
        )
        self._clock = clock
        self._patience = patience
        self._late = late
        self._period = min((c.info.period for c in self.sensors.values()), default=_SENSORLESS)
        self._values: Mapping[str, float | None] = {}
        self._watches = {
            name: Watch() for name, c in self.sensors.items() if c.plausible is not None
        }
        self._at = -float("inf")
        self._told = True
        self._reading: asyncio.Task[None] | None = None
        self._began = self._ended = -float("inf")
        self._prompt = True

    @property
    def sensors(self) -> Mapping[str, Channel]:
        """The device's sensors, as they are calibrated now."""
        return {name: self._equipment.channels[name] for name in self._names}

    @property
    def due(self) -> bool:
        """Whether the readings are old."""
        return self._clock.monotonic() - self._at >= self._period / 2

    async def read(self) -> None:
        """Begin to read if it is due, and wait for what is under way; who asks meanwhile shares it.

        A reading is waited for until it is late, counted from its beginning, and not at all after
        one that was late: a device that is silent must not hold up the others at each reading.
        """
        self._collect()
        if self.due:
            self._start()
        if self._reading is not None and self._prompt and (left := self._late - self._age()) > 0:
            await asyncio.wait([self._reading], timeout=left)
            self._collect()

    @property
    def lost(self) -> bool:
        """Whether the device is unplugged, or failed twice in a row."""
        return self.fault is not None and self.fault.lost

    @property
    def _plugged_in(self) -> bool:
        return not isinstance(self.driver, Pluggable) or self.driver.plugged_in

    @property
    def silent(self) -> bool:
        """Whether an answer of the device is overdue, or it failed when it was last read."""
        return self.hearing.silent or self.fault is not None

    @property
    def _rested(self) -> float:
        """For how long it has not been read, real seconds."""
        return asyncio.get_running_loop().time() - self._ended

    @property
    def _every(self) -> float:
        return min(LOOK, self.hearing.every)

    async def trouble(self) -> None:
        """Return when the device is unplugged, or it is time to look at it, whoever reads it."""
        try:
            async with asyncio.timeout(max(0.0, self._every - self._rested)):
                if isinstance(self.driver, Pluggable):
                    await self.driver.unplugged()
                else:
                    await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return

    @property
    def wanted(self) -> bool:
        """Whether to look at the device at once.

        It was unplugged, it has failed once, or nobody has looked for too long.
        """
        failed_once = self.fault is not None and not self.lost
        unplugged = self.fault is None and not self._plugged_in
        return failed_once or unplugged or self._rested >= self._every

    async def look(self) -> None:
        """Read now, or wait for what is under way, however long that takes."""
        self._collect()
        await asyncio.wait([self._start()])
        self._collect()

    def forget(self) -> None:
        """Let it be due now."""
        self._at = -float("inf")

    def values(self) -> dict[str, float | None]:
        """Return the readings as they came; None where there is no sound or only an old one."""
        late = self._reading is not None and not self._reading.done()
        known = not late or self._clock.monotonic() - self._at < 2 * self._period
        return {
            name: sound(channel, self._values.get(name)) if known else None
            for name, channel in self.sensors.items()
        }

    def news(self) -> dict[str, float | None]:
        """Return what was read since this was last asked; None also for what is not believed."""
        if self._told:
            return {}
        self._told = True
        return {
            name: None
            if name in self._watches and self._watches[name].doubt is not None
            else sound(channel, self._values.get(name))
            for name, channel in self.sensors.items()
        }

    def doubts(self) -> dict[str, Doubted]:
        """Return the sensors that are not believed."""
        found = {}
        for name, watch in self._watches.items():
            channel = self.sensors[name]
            rule = channel.plausible
            if rule is not None and watch.doubt is not None and watch.value is not None:
                why = sentence(watch.doubt, watch.value, rule, channel.info.unit)
                found[name] = Doubted(rule, watch.doubt, f"{name}: {why}")
        return found

    async def close(self) -> None:
        """End what is under way."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])

    def _start(self) -> asyncio.Task[None]:
        """Return the reading that is under way."""
        if self._reading is None:
            self._began = asyncio.get_running_loop().time()
            self._reading = asyncio.create_task(self._read(), name=f"reading {self.driver.name}")
        return self._reading

    def _collect(self) -> None:
        reading = self._reading
        if reading is not None and reading.done():
            self._reading = None
            reading.result()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                self._values = self._calibrated(await self.driver.read())
        except (DriverError, OSError) as error:
            self._values = {}
            self._note_fault(str(error) or "it does not answer")
        else:
            if self.fault is not None:
                log.info("device %s answers again", self.driver.name)
            self.fault = None
        self._prompt = self._age() < self._late
        self._ended = asyncio.get_running_loop().time()
        self._at = self._clock.monotonic()
        self._told = False
        for name, watch in self._watches.items():
            rule = self.sensors[name].plausible
            if rule is not None:
                self._watches[name] = judge(rule, watch, self._values.get(name), self._at)

    def _age(self) -> float:
        """Return since when it is read, real seconds."""
        return asyncio.get_running_loop().time() - self._began

    def _calibrated(self, raw: Mapping[str, float | None]) -> Mapping[str, float | None]:
        """Return readings as their calibrations have them."""
        values = dict(raw)
        for name, channel in self.sensors.items():
            read = raw.get(name)
            if channel.curve is not None and read is not None:
                values[name] = channel.curve(read)
        return values

    def _note_fault(self, message: str) -> None:
        before = self.fault
        if before is None:
            log.warning("device %s: %s", self.driver.name, message)
        else:
            message = before.message
        lost = before is not None or not self._plugged_in
        self.fault = Fault(message, lost, self.policy)

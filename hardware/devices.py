"""The drivers of a reactor, seen as one: who serves which channel, what was read and written."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from hardware.channels import Equipment
from hardware.clock import Clock
from hardware.drivers.interface import MAX_PIECE_SECONDS, Driver, DriverError
from hardware.interlocks import sound

PATIENCE: Final = 10.0
"""Real seconds after which a device that does not answer counts as silent."""

log = logging.getLogger(__name__)


class _Polled:
    """One driver's readings, read again only when they are older than half a period."""

    def __init__(self, driver: Driver, equipment: Equipment) -> None:
        self.driver = driver
        self.sensors = [
            name
            for name, channel in equipment.channels.items()
            if channel.info.driver == driver.name
            and channel.info.kind == "sensor"
            and not channel.output
        ]
        periods = [equipment.channels[name].info.period for name in self.sensors]
        self.keep = min(periods, default=0.0) / 2
        self.values: Mapping[str, float | None] = {}
        self.at = -float("inf")
        self.lock = asyncio.Lock()


class Devices:
    """All drivers of a reactor.

    Args:
        patience: As `PATIENCE`.

    Raises:
        ValueError: A channel names a driver that is not there.
    """

    def __init__(
        self,
        equipment: Equipment,
        drivers: Sequence[Driver],
        clock: Clock,
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        self.drivers = tuple(drivers)
        self._equipment = equipment
        self._clock = clock
        self._by_name = {driver.name: driver for driver in drivers}
        for name, channel in equipment.channels.items():
            if channel.wired and channel.info.driver not in self._by_name:
                raise ValueError(f"channel {name} names the driver {channel.info.driver!r}")
        self._polled = [_Polled(driver, equipment) for driver in drivers]
        self._line: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.faults: dict[str, str] = {}

    async def read(self) -> tuple[Mapping[str, float | None], Mapping[str, float | None]]:
        """Return all sensors' values, None where there is no sound one, and those read just now."""
        if len(self._polled) == 1:
            fresh = [await self._read(self._polled[0])]
        else:
            fresh = list(await asyncio.gather(*(self._read(polled) for polled in self._polled)))
        values: dict[str, float | None] = {}
        new: dict[str, float | None] = {}
        for polled, is_new in zip(self._polled, fresh, strict=True):
            for name in polled.sensors:
                values[name] = sound(self._equipment.channels[name], polled.values.get(name))
                if is_new:
                    new[name] = values[name]
        return values, new

    def forget(self) -> None:
        """Let the next `read` ask every device again."""
        for polled in self._polled:
            polled.at = -float("inf")

    async def _read(self, polled: _Polled) -> bool:
        if self._clock.monotonic() - polled.at < polled.keep:
            return False
        async with polled.lock:
            if self._clock.monotonic() - polled.at < polled.keep:
                return False
            name = polled.driver.name
            try:
                async with asyncio.timeout(self._patience):
                    polled.values = await polled.driver.read()
            except (DriverError, OSError) as error:
                polled.values = {}
                self._fault(name, str(error) or "it does not answer")
            else:
                self._fault(name, None)
            polled.at = self._clock.monotonic()
            return True

    def _fault(self, driver: str, message: str | None) -> None:
        if message is None:
            self.faults.pop(driver, None)
        elif driver not in self.faults:
            log.warning("device %s: %s", driver, message)
            self.faults[driver] = message

    def _driver(self, channel: str) -> Driver:
        return self._by_name[self._equipment.channels[channel].info.driver]

    async def write(self, channel: str, value: float) -> None:
        """Set an output.

        Raises:
            DriverError: It is not known to be in force.
        """
        driver = self._driver(channel)
        try:
            async with self._line[channel], asyncio.timeout(self._patience):
                await driver.write(channel, value)
        except OSError as error:  # TimeoutError is one
            raise DriverError(f"{driver.name} does not answer") from error

    async def dose(self, channel: str, ml: float) -> float:
        """Pump one piece and return what was delivered, mL.

        Raises:
            DriverError: It is not known what was delivered.
        """
        driver = self._driver(channel)
        longest = self._patience + MAX_PIECE_SECONDS / self._clock.speed
        try:
            async with self._line[channel], asyncio.timeout(longest):
                return await driver.dose(channel, ml)
        except OSError as error:
            raise DriverError(f"{driver.name} does not answer") from error

    async def stop(self, channel: str) -> None:
        """Stop a pump, also while it doses.

        Raises:
            DriverError: It is not known to have stopped.
        """
        driver = self._driver(channel)
        try:
            async with asyncio.timeout(self._patience):
                await driver.stop(channel)
        except OSError as error:
            raise DriverError(f"{driver.name} does not answer") from error

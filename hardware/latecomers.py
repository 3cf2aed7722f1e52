"""Devices that only measure: one that is not there yet keeps nobody from working."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, NoReturn, Self

from hardware.channels import Equipment
from hardware.clock import Clock
from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import Audible, Driver, DriverError, Pluggable

_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 60.0
"""Real seconds between two tries to open a device."""

log = logging.getLogger(__name__)


def forgiving(equipment: Equipment, drivers: Sequence[Driver], clock: Clock) -> Sequence[Driver]:
    """Return the drivers, those of devices that can do no harm as latecomers.

    A device that moves or heats something must be there: nobody knows what it does otherwise.
    """
    return tuple(
        driver
        if driver.rescue is not None or equipment.acts(driver.name)
        else Latecomer(driver, clock)
        for driver in drivers
    )


class Latecomer:
    """A driver whose device may come later: reading it fails until then.

    Args:
        driver: Of a device that only measures.
        clock: Of the reactor.
    """

    rescue: None = None

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock
        self._missing: DriverError | None = DriverError("it was not opened")
        self._trying: asyncio.Task[None] | None = None
        self.hearing = driver.hearing if isinstance(driver, Audible) else Hearing()

    @property
    def name(self) -> str:
        """The driver's own."""
        return self._driver.name

    @property
    def plugged_in(self) -> bool:
        """Whether the device is connected, as far as its driver knows."""
        there = self._missing is None
        return there and (not isinstance(self._driver, Pluggable) or self._driver.plugged_in)

    async def unplugged(self) -> None:
        """Return when the device is not connected; never, where its driver does not know."""
        if self._missing is None and isinstance(self._driver, Pluggable):
            await self._driver.unplugged()
        else:
            await asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        """Open the device; one that is not there is tried again until it is."""
        await self._open()
        if self._missing is not None:
            self._trying = asyncio.create_task(self._keep_trying(), name=f"opening {self.name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the device if it came."""
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.cancel()
            await asyncio.wait([trying])
        if self._missing is None:
            self._missing = DriverError("it was closed")
            await self._driver.__aexit__(kind, error, trace)

    async def read(self) -> Mapping[str, float | None]:
        """Read the device's sensors.

        Raises:
            DriverError: Nothing could be read, or it is not there yet.
        """
        if self._trying is not None and self._trying.done():
            self._trying.result()
        if self._missing is not None:
            raise DriverError(str(self._missing))
        return await self._driver.read()

    async def write(self, channel: str, value: float) -> NoReturn:
        """Refuse: it only measures."""
        raise DriverError(f"{self.name} only measures: {channel} cannot be set to {value:g}")

    async def dose(self, channel: str, ml: float) -> NoReturn:
        """Refuse: it only measures."""
        raise DriverError(f"{self.name} only measures: {channel} cannot dose {ml:g} mL")

    async def stop(self, channel: str) -> NoReturn:
        """Refuse: it only measures."""
        raise DriverError(f"{self.name} only measures: {channel} cannot be stopped")

    async def begin_run(self) -> None:
        """Get ready for a new run, if it is there."""
        if self._missing is None:
            await self._driver.begin_run()

    async def _open(self) -> None:
        try:
            await self._driver.__aenter__()
        except DriverError as error:
            self._missing = error
        else:
            self._missing = None

    async def _keep_trying(self) -> None:
        delay = _FIRST_DELAY
        while self._missing is not None:
            await self._clock.sleep(delay * self._clock.speed)
            delay = min(2 * delay, _LONGEST_DELAY)
            await self._open()
        log.warning("device %s has come", self.name)

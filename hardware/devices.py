"""The drivers of a reactor, seen as one: who serves which channel, what was read and written."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

from hardware.channels import Equipment
from hardware.clock import Clock
from hardware.drivers.interface import MAX_PIECE_SECONDS, Audible, Driver, DriverError, Pluggable
from hardware.plausibility import Doubted
from hardware.polling import Fault, Polled

LATE: Final = 1.2
"""Real seconds that a reading waits for a device: the slowest probe takes one."""
PATIENCE: Final = 10.0
"""Real seconds after which a device that does not answer counts as silent."""

log = logging.getLogger(__name__)


class Devices:
    """All drivers of a reactor.

    Args:
        patience: As `PATIENCE`.
        late: As `LATE`.

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
        late: float = LATE,
    ) -> None:
        self._patience = patience
        self.drivers = tuple(drivers)
        self._equipment = equipment
        self._clock = clock
        self._by_name = {driver.name: driver for driver in drivers}
        for name, channel in equipment.channels.items():
            if channel.wired and channel.info.driver not in self._by_name:
                raise ValueError(f"channel {name} names the driver {channel.info.driver!r}")
        self._polled = [Polled(driver, equipment, clock, patience, late) for driver in drivers]
        self._line: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def faults(self) -> Mapping[str, Fault]:
        """What is wrong with which device, by driver."""
        return {p.driver.name: p.fault for p in self._polled if p.fault is not None}

    @property
    def guarded(self) -> tuple[Polled, ...]:
        """Those that must not be lost."""
        return tuple(p for p in self._polled if p.policy != "continue")

    @property
    def watched(self) -> tuple[Polled, ...]:
        """Those of them that know when they are unplugged, or when they owe an answer."""
        return tuple(p for p in self.guarded if isinstance(p.driver, Pluggable | Audible))

    @property
    def doubts(self) -> Mapping[str, Doubted]:
        """Which sensors are not believed."""
        return {name: doubt for p in self._polled for name, doubt in p.doubts().items()}

    async def read(self) -> tuple[Mapping[str, float | None], Mapping[str, float | None]]:
        """Return all sensors' values, and what was read just now as far as it is believed.

        Devices are read side by side, each at its own pace: one that is slow or silent is waited
        for `late` once, and tells later; it is waited for again when it was in time. A value is
        None where there is no sound one.
        """
        await asyncio.gather(*(polled.read() for polled in self._polled))
        values: dict[str, float | None] = {}
        new: dict[str, float | None] = {}
        for polled in self._polled:
            values |= polled.values()
            new |= polled.news()
        return values, new

    async def open(self, stack: AsyncExitStack) -> None:
        """Open every device side by side, and have the stack close those that are open.

        Raises:
            DriverError: One does not answer.
            ExceptionGroup: Of `DriverError`: several do not.
        """
        opened = await asyncio.gather(
            *(driver.__aenter__() for driver in self.drivers), return_exceptions=True
        )
        failed = [result for result in opened if isinstance(result, BaseException)]
        for driver, result in zip(self.drivers, opened, strict=True):
            if not isinstance(result, BaseException):
                stack.push_async_exit(driver)
        errors = [error for error in failed if isinstance(error, Exception)]
        if len(errors) == 1 or len(errors) < len(failed):
            raise failed[0]
        if errors:
            raise ExceptionGroup("several devices do not answer", errors)

    def forget(self) -> None:
        """Let the next `read` ask every device again."""
        for polled in self._polled:
            polled.forget()

    async def close(self) -> None:
        """End what is being read."""
        await asyncio.gather(*(polled.close() for polled in self._polled))

    def _driver(self, channel: str) -> Driver:
        return self._by_name[self._equipment.channels[channel].info.driver]

    async def write(self, channel: str, value: Callable[[], float]) -> float:
        """Set an output to what is asked for when it is its turn; return that.

        Raises:
            DriverError: It is not known to be in force.
        """
        driver = self._driver(channel)
        try:
            async with asyncio.timeout(self._patience), self._line[channel]:
                wanted = value()
                await driver.write(channel, wanted)
                return wanted
        except OSError as error:  # TimeoutError is one
            raise DriverError(f"{driver.name} does not answer") from error

    async def dose(self, channel: str, ml: float) -> float:
        """Pump one piece and return what was delivered, mL.

        Raises:
            DriverError: It is not known what was delivered.
        """
        driver = self._driver(channel)
        factor = self._equipment.channels[channel].volume_factor
        longest = self._patience + MAX_PIECE_SECONDS / self._clock.speed
        try:
            async with asyncio.timeout(longest), self._line[channel]:
                return factor * await driver.dose(channel, ml / factor)
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

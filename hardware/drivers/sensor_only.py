"""What drivers of devices that only measure have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import DriverError, Rescue
from hardware.drivers.transport import SerialPort


class SensorOnly:
    """Refuses what only outputs and pumps do, and needs nothing for a new run.

    Attributes:
        name: The driver's name, as in `ChannelInfo.driver`.
        rescue: None: a sensor can be left in no state that harms.
    """

    name: str
    rescue: Rescue | None = None

    async def write(self, channel: str, value: float) -> None:
        """Refuse: there is no output.

        Raises:
            DriverError: Always.
        """
        raise DriverError(f"{self.name} only measures: {channel} cannot be set to {value:g}")

    async def dose(self, channel: str, ml: float) -> float:
        """Refuse: there is no pump.

        Raises:
            DriverError: Always.
        """
        raise DriverError(f"{self.name} only measures: {channel} cannot dose {ml:g} mL")

    async def stop(self, channel: str) -> None:
        """Refuse: there is no pump.

        Raises:
            DriverError: Always.
        """
        raise DriverError(f"{self.name} only measures: there is no pump {channel}")

    async def begin_run(self) -> None:
        """Do nothing: a sensor has no run."""


class SerialSensor(SensorOnly, ABC):
    """A sensor alone on a serial port; a subclass reads it.

    Args:
        name: The driver's name.
        port: Where the sensor is; not entered yet.
    """

    def __init__(self, name: str, port: SerialPort) -> None:
        self.name = name
        self._port = port
        self._stack = AsyncExitStack()

    @property
    def hearing(self) -> Hearing:
        """Whether the sensor answers, as far as its port was told how long that takes."""
        return self._port.hearing

    @property
    def plugged_in(self) -> bool:
        """Whether the device's port is there."""
        return self._port.connected

    async def unplugged(self) -> None:
        """Return when the device's port is not there."""
        await self._port.lost()

    async def __aenter__(self) -> Self:
        """Open the port and see that the sensor answers.

        Raises:
            DriverError: It does not, or another device is there.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._port)
            await self._greet()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the port."""
        await self._stack.aclose()

    @abstractmethod
    async def read(self) -> Mapping[str, float | None]:
        """Read the sensor; see `Driver.read`."""

    async def _greet(self) -> None:
        """See that the sensor answers: unless a subclass knows better, by reading it."""
        await self.read()

"""The thermometer's driver."""

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hardware.drivers.interface import DriverError, Rescue
from hardware.drivers.transport import SerialPort

SECONDS: Final = 0.5
"""Within which the thermometer answers."""
_ANSWER: Final = re.compile(rb"T=(-?\d{1,3}\.\d{2})")


def parse(line: bytes) -> float:
    """Return the temperature in an answer, °C.

    Raises:
        DriverError: It is none, or not a whole one.
    """
    answer = _ANSWER.fullmatch(line)
    if answer is None:
        raise DriverError(f"{line[:20]!r} is no temperature")
    return float(answer[1])


class Thermometer:
    """One thermometer on one port.

    Args:
        name: The device's name, as in `reactor.toml`.
        path: The port.
        channel: The channel that it serves.
        offset: Added to what it says, °C.
    """

    rescue: Rescue | None = None  # it has no output that could be left on

    def __init__(self, name: str, path: Path, channel: str, *, offset: float = 0.0) -> None:
        self.name = name
        self._channel = channel
        self._offset = offset
        self._port = SerialPort(path)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the port and see that the thermometer answers.

        Raises:
            DriverError: It does not.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._port)
            await self.read()
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

    async def read(self) -> Mapping[str, float | None]:
        """Ask once.

        Raises:
            DriverError: No answer, or not one that can be understood.
        """
        async with self._port.exchange(SECONDS) as line:
            line.discard()  # what came late belongs to another question
            await line.write(b"T?\n")
            return {self._channel: parse(await line.read_line(b"\n")) + self._offset}

    async def write(self, channel: str, value: float) -> None:
        """Refuse: a thermometer has no output."""
        raise DriverError(f"{self.name} only measures: {channel} cannot be set to {value:g}")

    async def dose(self, channel: str, ml: float) -> float:
        """Refuse: a thermometer has no pump."""
        raise DriverError(f"{self.name} only measures: {channel} cannot dose {ml:g} mL")

    async def stop(self, channel: str) -> None:
        """Refuse: a thermometer has no pump."""
        raise DriverError(f"{self.name} only measures: there is no pump {channel}")

    async def begin_run(self) -> None:
        """Do nothing."""

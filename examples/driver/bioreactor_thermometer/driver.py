"""The thermometer's driver."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import DriverError
from hardware.drivers.sensor_only import SerialSensor
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


class Thermometer(SerialSensor):
    """One thermometer on one port; opening and closing it, and refusing, is done already.

    Args:
        name: The device's name, as in `reactor.toml`.
        path: The port.
        channel: The channel that it serves.
        offset: Added to what it says, °C.
    """

    def __init__(self, name: str, path: Path, channel: str, *, offset: float = 0.0) -> None:
        super().__init__(name, SerialPort(path, hearing=Hearing(SECONDS)))
        self._channel = channel
        self._offset = offset

    async def read(self) -> Mapping[str, float | None]:
        """Ask, and once more if the answer was not understood.

        Raises:
            DriverError: No answer, or not one that can be understood.
        """
        try:
            return await self._ask()
        except DriverError:
            return await self._ask()

    async def _ask(self) -> Mapping[str, float | None]:
        async with self._port.exchange(SECONDS) as line:
            line.discard()  # what came late belongs to another question
            await line.write(b"T?\n")
            return {self._channel: parse(await line.read_line(b"\n")) + self._offset}

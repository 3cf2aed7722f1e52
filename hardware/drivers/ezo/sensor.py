"""A driver for any EZO circuit that measures: one circuit, one port, one or more channels."""

import asyncio
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Final

from hardware.drivers.ezo.circuits import Circuit, Output
from hardware.drivers.ezo.device import EzoDevice
from hardware.drivers.ezo.lines import Answer, Code, Line, NoOutput, Values
from hardware.drivers.ezo.link import (
    SHORT,
    EzoError,
    EzoRefusedError,
    Pace,
)
from hardware.drivers.sensor_only import SensorOnly
from hardware.drivers.transport import Backoff

Temperature = Callable[[], float | None]
"""The temperature of what is measured, °C; None where it is not known just now."""

_LATEST: Final = 30.0
"""Seconds for which a reading may compensate another circuit's."""
_COMPENSATION: Final = (0.0, 100.0)
_AT_ONCE: Final = 0.05
"""Seconds between two readings where its silence must be noticed: one takes long enough."""
_STEP: Final = 0.05
"""°C that make a difference, where the temperature is told apart from the reading."""


class EzoSensor(SensorOnly, EzoDevice):
    """One circuit; subclasses say which, and how it is calibrated.

    Args:
        name: The driver's name, as in `ChannelInfo.driver`.
        path: The port, best one of ``/dev/serial/by-id/``.
        channels: Which output (`Circuit.outputs`) is which channel. Where outputs can be switched,
            exactly these are switched on.
        temperature: What compensates the reading; asked before each. Without a sound one (0 to
            100 °C) the circuit keeps the last, 25 °C after power-up (DO: 20 °C).
        pace: How long things take.
        backoff: Between tries to open the port again.
        open_within: Seconds that entering waits for the port to be there.

    Raises:
        ValueError: There is no such output, or the circuit takes no temperature.
    """

    circuit: ClassVar[Circuit]

    def __init__(
        self,
        name: str,
        path: Path,
        channels: Mapping[str, str],
        *,
        temperature: Temperature | None = None,
        pace: Pace | None = None,
        backoff: Backoff | None = None,
        open_within: float = 3.0,
    ) -> None:
        for key in channels:
            self.circuit.output(key)
        if not channels:
            raise ValueError(f"{name} serves no channel")
        if temperature is not None and not self.circuit.compensated:
            raise ValueError(f"an EZO-{min(self.circuit.names)} takes no temperature")
        super().__init__(
            name,
            path,
            names=self.circuit.names,
            pace=pace,
            seconds=self.circuit.seconds,
            every=_AT_ONCE,
            backoff=backoff,
            open_within=open_within,
        )
        self._channels = dict(channels)
        self._outputs = tuple(o for o in self.circuit.outputs if o.key in channels)
        self._temperature = temperature
        self._told: float | None = None
        self._at_once = True
        self._latest: tuple[float, float | None] = (-math.inf, None)

    async def read(self) -> Mapping[str, float | None]:
        """Read once; None where the circuit says that it has no value: no probe, warming up.

        Raises:
            DriverError: The circuit did not answer, or not in a way that can be understood.
        """
        self._latest = (-math.inf, None)
        await self._ready()
        line = await self._measured()
        values: dict[str, float | None] = dict.fromkeys(self._channels.values())
        if isinstance(line, Values):
            for output, text in zip(self._outputs, line.texts, strict=True):
                values[self._channels[output.key]] = output.value(text)
        elif isinstance(line, NoOutput):
            self._prepared = None
            raise EzoError(f"{self.name}: all its outputs are switched off")
        first = values[self._channels[self._outputs[0].key]]
        self._latest = (asyncio.get_running_loop().time(), first)
        return values

    def latest(self) -> float | None:
        """Return the first output as last read, unless that is long ago or failed since.

        Another circuit's `temperature`, for example.
        """
        at, value = self._latest
        return value if asyncio.get_running_loop().time() - at < _LATEST else None

    async def calibration_points(self) -> int:
        """Return how many points the circuit is calibrated with, 0 for not at all.

        Raises:
            DriverError: It does not say.
        """
        return int(await self._link.ask_number("Cal,?", "CAL"))

    async def clear_calibration(self) -> None:
        """Forget the calibration.

        Raises:
            DriverError: It is not known to be forgotten.
        """
        await self._calibrate("Cal,clear")

    async def sleep(self) -> None:
        """Let the circuit sleep; the next reading wakes it.

        Raises:
            DriverError: It is not known to sleep.
        """
        await self._link.order("Sleep")
        self._link.lost_step()

    async def _measured(self) -> Line:
        temperature = None if self._temperature is None else self._temperature()
        low, high = _COMPENSATION
        if temperature is None or not low <= temperature <= high:
            return await self._link.query("R", self.circuit.seconds, self._is_reading)
        if self._at_once:
            command = f"RT,{temperature:.2f}"
            try:
                return await self._link.query(
                    command, self.circuit.seconds, self._is_reading, acknowledged_first=True
                )
            except EzoRefusedError:  # firmware from before this command
                self._at_once = False
        if self._told is None or abs(self._told - temperature) > _STEP:
            self._told = None
            await self._link.order(f"T,{temperature:.2f}")
            self._told = temperature
        return await self._link.query("R", self.circuit.seconds, self._is_reading)

    async def _prepare(self) -> None:
        """Look who is there and have it say exactly what is wanted."""
        self._told = None
        await self._link.start()
        if self.circuit.selectable:
            on = {key.upper() for key in await self._outputs_on()}
            for output in self.circuit.outputs:
                wanted = output.key in self._channels
                if wanted != (output.key.upper() in on):
                    await self._link.order(f"O,{output.key},{int(wanted)}")

    async def _outputs_on(self) -> tuple[str, ...]:
        return (await self._link.ask("O,?", "O")).fields

    async def _calibrate(self, command: str) -> None:
        await self._link.order(command, self.circuit.calibration_seconds)

    async def _ask(self, command: str, name: str) -> Answer:
        return await self._link.ask(command, name, SHORT)

    def _is_reading(self, line: Line) -> bool:
        if isinstance(line, Values):
            return len(line.texts) == len(self._outputs) and all(
                output.takes(text) for output, text in zip(self._outputs, line.texts, strict=True)
            )
        return isinstance(line, NoOutput) or line == Code("WARM")


def within(what: str, value: float, low: float, high: float) -> None:
    """Refuse a calibration point that cannot be.

    Raises:
        EzoError: It is outside these bounds, or no number.
    """
    if not low <= value <= high:
        raise EzoError(f"{what} must be from {low:g} to {high:g}, not {value:g}")


__all__ = ["EzoSensor", "Output", "Temperature", "within"]

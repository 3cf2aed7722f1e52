"""A Senseair CO2 sensor as a driver."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pymodbus.pdu import ModbusPDU

from hardware.clock import Clock
from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import DriverError
from hardware.drivers.senseair.protocol import (
    ACKNOWLEDGEMENT,
    BACKGROUND,
    BACKGROUND_DONE,
    COMMAND,
    Frames,
    SenseairReplyError,
    Variant,
    acknowledged,
    measure,
    reading,
    sentences,
    write,
)
from hardware.drivers.sensor_only import SerialSensor
from hardware.drivers.transport import Backoff, LineSettings, PortError, SerialPort

log = logging.getLogger(__name__)

_TRIES: Final = 3
_LATEST: Final = 0.2
"""Seconds after which no answer comes any more; the sensor takes up to 0.18."""
_WITHIN: Final = 0.6
_EVERY: Final = 0.3
"""As in `Hearing`."""
_CALIBRATION: Final = 20.0
_LOOK: Final = 1.0


class SenseairCo2(SerialSensor):
    """One sensor, alone on its line.

    Args:
        name: The driver's name.
        path: Where the sensor is.
        channel: The channel of the CO2, ppm.
        variant: Which kind of sensor it is.
        clock: Seconds of the sensor's time.
        patience: Real seconds until an answer counts as missing; the sensor takes up to 0.18.
        backoff: Between tries to open the port again.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        channel: str,
        variant: Variant,
        clock: Clock,
        patience: float = 0.25,
        backoff: Backoff | None = None,
    ) -> None:
        port = SerialPort(
            path,
            LineSettings(stop_bits=variant.stop_bits),
            backoff=backoff,
            hearing=Hearing(_WITHIN, _EVERY),
        )
        super().__init__(name, port)
        self._channel = channel
        self._variant = variant
        self._clock = clock
        self._patience = patience
        self._frames = Frames()
        self._turn = asyncio.Lock()
        self._out_of_step = False

    async def read(self) -> Mapping[str, float | None]:
        """Read the CO2; None while the sensor warms up.

        Raises:
            DriverError: It does not answer, or says that its value is not sound.
        """
        found = reading(self._variant, await self._ask(measure(self._variant)))
        if found.trouble:
            raise DriverError(f"{self.name}: {'; '.join(sentences(found.trouble))}")
        return {self._channel: None if found.ppm is None else float(found.ppm)}

    async def calibrate_background(self) -> None:
        """Let the sensor take what it measures now for fresh air (400 ppm).

        It must have been in fresh air for some minutes.

        Raises:
            DriverError: The sensor cannot, or does not say that it has done it.
        """
        if self._variant.ram:
            raise DriverError(f"a {self._variant.name} is calibrated with its own tool")
        await self._ask(write(ACKNOWLEDGEMENT, 0))
        await self._ask(write(COMMAND, BACKGROUND))
        deadline = self._clock.monotonic() + _CALIBRATION
        while self._clock.monotonic() < deadline:
            await self._clock.sleep(_LOOK)
            (done,) = await self._ask(acknowledged())
            if done & BACKGROUND_DONE:
                return
        raise DriverError(f"{self.name} does not say that it is calibrated: do it again")

    async def _greet(self) -> None:
        await self._ask(measure(self._variant))  # what is wrong with it is no reason to be away

    async def _ask(self, request: ModbusPDU) -> tuple[int, ...]:
        """Return the registers of the answer; every request of ours may be repeated."""
        async with self._turn:
            for left in reversed(range(_TRIES)):
                try:
                    return await self._try(request)
                except (SenseairReplyError, PortError) as error:
                    if not left or not self._port.connected:
                        raise DriverError(f"the sensor on {self._port}: {error}") from error
                    log.debug("%s: %s; asking again", self._port, error)
            raise AssertionError

    async def _try(self, request: ModbusPDU) -> tuple[int, ...]:
        silence = 2 * _LATEST if self._out_of_step else 0.0
        async with self._port.exchange(self._patience + silence) as line:
            if self._out_of_step:
                # The answer to a former question may still come, and would pass for this one's.
                await line.quiet(_LATEST)
            self._out_of_step = True
            line.discard()
            await line.write(self._frames.request(request))
            came = b""
            while True:
                came += await line.read_some()
                if (registers := self._frames.answer(request, came)) is not None:
                    self._out_of_step = False
                    return registers

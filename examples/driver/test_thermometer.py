"""Driver and emulator pass the suites of all drivers, which are in a clone of the project.

There, with the driver installed: ``pytest PATH/test_thermometer.py --rootdir .``
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bioreactor_thermometer.emulator import EmulatedThermometer

from hardware.clock import RealClock
from hardware.configuration.build import Readings, configure
from hardware.emulators.emulator import Constant, Emulator
from tests.unit.hardware.drivers.contract import DriverContract
from tests.unit.hardware.drivers.faults import MeasuringFaults

CHANNEL = "bath-temperature"
FILE = """\
[devices.bath]
driver = "thermometer"
port = "{port}"
[channels.bath-temperature]
device = "bath"
"""


class Rig:
    """The driver, as the node makes it of a reactor.toml, on the emulator."""

    def __init__(self, folder: Path) -> None:
        self.source = Constant(37.25)
        self.emulator = Emulator(EmulatedThermometer(self.source), link=folder / "port")
        file = folder / "reactor.toml"
        file.write_text(FILE.format(port=folder / "port"))
        made = configure(file, clock=RealClock(), directory=folder, readings=Readings())
        (self.driver,) = made.drivers
        self.channels = made.equipment.channels

    async def value(self) -> float | None:
        """Read the quantity."""
        return (await self.driver.read())[CHANNEL]

    async def advance(self, seconds: float) -> None:
        """Let time pass: the thermometer has none of its own, so a moment will do."""
        await asyncio.sleep(seconds / 100)

    def actual(self, channel: str) -> float:
        """Return what an output really is; it has none."""
        raise AssertionError(f"{channel} is no output")


class TestThermometer(DriverContract, MeasuringFaults):
    """Each test of both suites."""

    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[Rig]:
        """Return a rig whose emulator runs."""
        rig = Rig(tmp_path)
        async with rig.emulator:
            yield rig

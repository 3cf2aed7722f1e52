"""The fault suite for drivers that measure: subclass it, give it a rig on an emulator.

Whatever happens on the line, a reading is the truth or an error: never an older value, never the
answer to something else. And it comes right by itself when the line does.
"""

import asyncio
from typing import Protocol

import pytest

from hardware.drivers.interface import Driver, DriverError
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.faults import Fault
from tests.support.waiting import eventually


class MeasuringRig(Protocol):
    """A driver on an emulator whose one quantity can be set."""

    @property
    def driver(self) -> Driver: ...

    @property
    def emulator(self) -> Emulator: ...

    @property
    def source(self) -> Constant: ...

    async def value(self) -> float | None:
        """Read the quantity."""
        ...


class MeasuringFaults:
    """Tests; a subclass provides the fixture `rig`, whose emulator runs, outside its driver."""

    READINGS = 3
    RECOVERY = 10.0
    """Real seconds in which it comes right."""
    LATE = 0.25
    """Real seconds that a slow answer is late: longer than the driver waits."""

    async def test_a_reading_is_the_truth_or_an_error(self, rig: MeasuringRig) -> None:
        for fault in sorted(rig.emulator.device.known_faults - {Fault.STUCK}):
            async with rig.driver:
                await self._misuse(rig, fault)
                rig.emulator.clear()
                await self._recovers(rig)

    async def test_a_fault_that_passes_is_not_even_noticed(self, rig: MeasuringRig) -> None:
        """One bad answer is asked again."""
        async with rig.driver:
            for fault in (Fault.GARBAGE, Fault.PARTIAL, Fault.SILENCE, Fault.REBOOT):
                await self._recovers(rig)
                rig.emulator.inject(fault, times=1)
                rig.source.value *= 1.01
                value = await rig.value()
                assert value == pytest.approx(rig.source.value, rel=1e-3)

    async def test_noise_at_any_moment(self, rig: MeasuringRig) -> None:
        async with rig.driver:
            await self._recovers(rig)
            making = asyncio.create_task(self._make_noise(rig))
            try:
                await self._read_truths(rig, self.READINGS * 4)
            finally:
                making.cancel()
            await self._recovers(rig)

    async def test_pulled_and_plugged_in_again(self, rig: MeasuringRig) -> None:
        async with rig.driver:
            for _ in range(3):
                rig.emulator.unplug()
                with pytest.raises(DriverError):
                    await rig.value()
                rig.source.value *= 1.01
                rig.emulator.plug()
                await self._recovers(rig)

    async def _misuse(self, rig: MeasuringRig, fault: Fault) -> None:
        rig.emulator.faults.slow_seconds = self.LATE * rig.emulator.speed
        rig.emulator.inject(fault)
        await self._read_truths(rig, self.READINGS)

    async def _read_truths(self, rig: MeasuringRig, times: int) -> None:
        for _ in range(times):
            rig.source.value *= 1.01
            try:
                value = await rig.value()
            except DriverError:
                continue
            if value is not None:
                assert value == pytest.approx(rig.source.value, rel=1e-3)

    async def _recovers(self, rig: MeasuringRig) -> None:
        async def true() -> bool:
            try:
                return await rig.value() == pytest.approx(rig.source.value, rel=1e-3)
            except DriverError:
                return False

        await eventually(true, within=self.RECOVERY)

    async def _make_noise(self, rig: MeasuringRig) -> None:
        number = 0
        while True:
            number += 1
            rig.emulator.send(bytes((number * 37 + at * 101) % 256 | 0x80 for at in range(9)))
            await asyncio.sleep(0.003)

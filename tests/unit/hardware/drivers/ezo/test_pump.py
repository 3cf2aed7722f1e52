import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hardware.drivers.ezo.link import EzoError, EzoWrongCircuitError
from hardware.drivers.ezo.pump import EzoPump
from hardware.drivers.ezo.rescue import stop_pump
from hardware.drivers.interface import DriverError, NotDosedError
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo_probes import EzoRtd
from hardware.emulators.faults import Fault
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.contract import DriverContract
from tests.unit.hardware.drivers.ezo.pump_rig import PumpRig
from tests.unit.hardware.drivers.ezo.rigs import BACKOFF, PACE, SPEED

Make = Callable[..., PumpRig]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make rigs whose emulators run."""
    async with AsyncExitStack() as stack:

        def make(**how: object) -> PumpRig:
            rig = PumpRig(tmp_path / "usb-pump", **how)  # type: ignore[arg-type]
            rig.emulator.plug()
            stack.push_async_exit(rig.emulator.__aexit__)
            rig.device.power_up()
            return rig

        yield make


@pytest.fixture
async def rig(make: Make) -> PumpRig:
    return make(speed=SPEED)


class TestContract(DriverContract):
    @pytest.fixture
    async def rig(self, make: Make) -> PumpRig:
        return make()


def moved(rig: PumpRig) -> float:
    return rig.device.pumped


async def test_pumps_slower_and_the_other_way(make: Make) -> None:
    rig = make(ml_per_minute=30.0, reverse=True, speed=20.0)
    async with rig.driver as driver:
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert await driver.dose("media", 1.0) == 1.0
        assert loop.time() - before >= 1.9 / rig.speed
        assert moved(rig) == pytest.approx(1.0)
        with pytest.raises(NotDosedError, match=r"0\.5 to 1 mL"):
            await driver.dose("media", 1.5)


async def test_a_dose_that_nobody_hears_the_end_of_is_looked_up(rig: PumpRig) -> None:
    async with rig.driver as driver:
        await driver.dose("media", 1.0)
        assert driver.totals.moved == pytest.approx(1.0)
        rig.emulator.inject(Fault.SILENCE)
        dose = asyncio.ensure_future(driver.dose("media", 2.0))
        await eventually(lambda: moved(rig) > 1.0)
        rig.emulator.clear()
        assert await dose == pytest.approx(2.0, abs=0.02)
        assert driver.totals.untold == 0.0


async def test_done_between_a_query_and_its_answer(rig: PumpRig) -> None:
    """It is heard for what it is, and the query is answered all the same."""
    async with rig.driver as driver:
        asked = asyncio.ensure_future(driver.motor_volts())
        rig.device.say("*DONE,10.00")
        rig.device.say("0.00")
        assert await asked == 12.0


@pytest.mark.parametrize(
    ("ml", "why"), [(0.2, "0.5 to 3.5 mL"), (5.0, "0.5 to 3.5 mL"), (float("nan"), "0.5 to")]
)
async def test_what_it_cannot_dose_is_refused_before(rig: PumpRig, ml: float, why: str) -> None:
    async with rig.driver as driver:
        with pytest.raises(NotDosedError, match=why):
            await driver.dose("media", ml)
        assert moved(rig) == 0.0


async def test_a_motor_without_power_says_so(rig: PumpRig) -> None:
    rig.device.volts = 0.05
    async with rig.driver as driver:
        assert await driver.motor_volts() == 0.05
        with pytest.raises(NotDosedError, match="switch its 12 V supply on"):
            await driver.dose("media", 1.0)
        rig.device.volts = 12.0
        assert await driver.dose("media", 1.0) == 1.0


async def test_one_that_starts_by_itself_is_not_used(rig: PumpRig) -> None:
    rig.device.starts_by_itself = True
    with pytest.raises(EzoError, match="pumps when it gets power"):
        async with rig.driver:
            pass


async def test_one_that_runs_is_stopped_at_the_start(rig: PumpRig) -> None:
    rig.device.receive(b"D,*\r")
    await eventually(lambda: rig.device.running)
    async with rig.driver:
        assert not rig.device.running


async def test_one_that_was_paused_is_stopped_at_the_start(rig: PumpRig) -> None:
    rig.device.receive(b"D,20\rP\r")
    await eventually(lambda: moved(rig) > 0)
    await rig.advance(1.0)
    async with rig.driver as driver:
        before = moved(rig)
        assert await driver.dose("media", 1.0) == 1.0
        assert moved(rig) == pytest.approx(before + 1.0)


async def test_a_probe_on_its_port_is_refused(tmp_path: Path) -> None:
    async with Emulator(EzoRtd(Constant(20.0)), link=tmp_path / "usb", speed=SPEED) as emulator:
        with pytest.raises(EzoWrongCircuitError, match="EZO-RTD on it and not an EZO-PMP"):
            async with EzoPump("ezo-pmp", emulator.path, "media", pace=PACE, backoff=BACKOFF):
                pass


async def test_a_dose_stopped_before_it_began_does_not_begin(rig: PumpRig) -> None:
    async with rig.driver as driver:
        asking = asyncio.ensure_future(driver.motor_volts())
        await asyncio.sleep(0)
        dose = asyncio.ensure_future(driver.dose("media", 2.0))  # waits for the line
        await asyncio.sleep(0)
        await driver.stop("media")
        assert await dose == 0.0
        await asking
        await rig.advance(3.0)
        assert moved(rig) == 0.0


@pytest.mark.parametrize("keeps_totals", [True, False])
async def test_power_lost_in_a_dose(make: Make, keeps_totals: bool) -> None:
    """What was pumped is told where the pump still knows it, else that it is not known."""
    rig = make(keeps_totals=keeps_totals, speed=20.0)
    async with rig.driver as driver:
        dose = asyncio.ensure_future(driver.dose("media", 3.0))
        await eventually(lambda: moved(rig) > 0.5, every=0.001)
        rig.emulator.reboot()
        if keeps_totals:
            assert await dose == pytest.approx(moved(rig), abs=0.02)
        else:
            with pytest.raises(DriverError, match="not known what it has pumped"):
                await dose
        before = moved(rig)
        assert await driver.dose("media", 1.0) == 1.0
        assert moved(rig) == pytest.approx(before + 1.0)


async def test_unplugged_in_a_dose_it_ends_by_itself(make: Make) -> None:
    rig = make(keeps_totals=True, speed=20.0)
    async with rig.driver as driver:
        dose = asyncio.ensure_future(driver.dose("media", 3.0))
        await eventually(lambda: moved(rig) > 0.3, every=0.001)
        rig.emulator.unplug()
        with pytest.raises(DriverError):
            await dose
        await rig.advance(3.0)
        assert moved(rig) == pytest.approx(3.0)
        rig.emulator.plug()
        await eventually(lambda: driver.counters.openings == 2)
        await driver.read()
        assert driver.totals.untold == pytest.approx(3.0, abs=0.02)


async def test_a_dose_cut_short_by_a_crash_is_accounted_for(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "pump.json"
    rig = make(keeps_totals=True, totals_file=file, speed=SPEED)
    async with rig.driver as driver:
        await driver.dose("media", 1.0)
    rig.device.receive(b"D,2.00\r")  # told by a node that died on the way
    await eventually(lambda: moved(rig) == pytest.approx(3.0))
    async with rig.driver as driver:
        assert driver.totals.untold == pytest.approx(2.0, abs=0.02)
        assert driver.totals.moved == pytest.approx(3.0, abs=0.02)
    rig.device.keeps_totals = False
    rig.emulator.reboot()  # loses its count
    async with rig.driver as driver:
        assert driver.totals.moved == pytest.approx(3.0, abs=0.02)
        await driver.dose("media", 1.0)
        assert driver.totals.moved == pytest.approx(4.0, abs=0.02)
    assert json.loads(file.read_text())["moved"] == pytest.approx(4.0, abs=0.02)


async def test_a_damaged_total_is_begun_anew(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "pump.json"
    file.write_text('{"counted": "much"}')
    rig = make(totals_file=file, speed=SPEED)
    async with rig.driver as driver:
        assert driver.totals.moved == 0.0


async def test_calibrates_by_weighing(rig: PumpRig) -> None:
    rig.device.error = 0.9
    async with rig.driver as driver:
        assert await driver.calibration() == 0
        assert await driver.dose("media", 2.0) == 2.0
        assert moved(rig) == pytest.approx(1.8)
        await driver.calibrate(1.8)
        assert await driver.calibration() == 1
        before = moved(rig)
        await driver.dose("media", 2.0)
        assert moved(rig) - before == pytest.approx(2.0)
        with pytest.raises(EzoError, match="cannot have been"):
            await driver.calibrate(-1.0)
        await driver.clear_calibration()


def test_a_rate_whose_least_dose_takes_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="can pump 15 to 105 mL/min"):
        EzoPump("ezo-pmp", Path("/dev/null"), "media", ml_per_minute=10.0)


async def test_one_that_is_slower_than_it_was_said_to_be_is_stopped(make: Make) -> None:
    """As soon as it should have ended; what it moved is told."""
    rig = make(speed=20.0, grace=0.05)
    rig.device.full_speed = 30.0
    async with rig.driver as driver:
        told = await driver.dose("media", 3.5)
        assert not rig.device.running
        assert told == pytest.approx(moved(rig), abs=0.02)
        assert told < 3.0
    slow = EzoPump("ezo-pmp", Path("/dev/null"), "media", full_speed=30.0)
    assert slow.flow == 0.5


class TestRescue:
    async def test_stops_what_somebody_started(self, rig: PumpRig) -> None:
        rig.device.receive(b"D,*\r")
        await eventually(lambda: rig.device.running)
        await asyncio.to_thread(stop_pump, path=str(rig.emulator.path), speed=SPEED)
        assert not rig.device.running

    async def test_half_a_command_of_the_dead_process_does_not_spoil_it(self, rig: PumpRig) -> None:
        rig.device.receive(b"D,*\r")
        await eventually(lambda: rig.device.running)
        rig.device.receive(b"D,2")
        await asyncio.to_thread(stop_pump, path=str(rig.emulator.path), speed=SPEED)
        assert not rig.device.running

    @pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.UNPLUG])
    async def test_says_when_it_does_not_know(self, rig: PumpRig, fault: Fault) -> None:
        rig.emulator.inject(fault)
        before = asyncio.get_running_loop().time()
        with pytest.raises(DriverError):
            await asyncio.to_thread(stop_pump, path=str(rig.emulator.path), speed=SPEED)
        assert asyncio.get_running_loop().time() - before < 2.0

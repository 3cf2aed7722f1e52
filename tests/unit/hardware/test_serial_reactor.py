"""A reactor of serial devices: the rules, the drivers and the lines together."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.messages import ContractError, ErrorCode
from hardware.channels import Equipment
from hardware.clock import ManualClock, RealClock
from hardware.drivers.interface import DriverError
from hardware.emulators.emulator import Emulator
from hardware.emulators.ezo_probes import EzoPh
from hardware.emulators.faults import Fault
from hardware.reactor import Reactor
from hardware.simulation.culture import ph
from hardware.simulation.organism import Medium
from hardware.simulation.vial import SimulatedVial
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.ezo.pump_rig import PumpRig
from tests.unit.hardware.drivers.ezo.rigs import SPEED, ProbeRig


@dataclass
class Bench:
    """A thermometer and a pump."""

    probe: ProbeRig
    pump: PumpRig
    reactor: Reactor

    def alarms(self) -> set[str]:
        return {alarm.id for alarm in self.reactor.alarms}

    async def has_alarm(self, name: str) -> bool:
        await self.reactor.read()
        return name in self.alarms()


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    probe = ProbeRig("ezo-rtd", tmp_path / "usb-probe")
    pump = PumpRig(tmp_path / "usb-pump", speed=SPEED)
    equipment = Equipment.of([*probe.channels.values(), *pump.channels.values()])
    clock = RealClock(20.0)
    async with probe.emulator, pump.emulator:
        bench = Bench(probe, pump, Reactor(equipment, [probe.driver, pump.driver], clock))
        async with bench.reactor:
            yield bench
            bench.probe.emulator.clear()
            bench.pump.emulator.clear()
            await eventually(lambda: pump.driver.dosing is False)


async def test_a_dose_comes_in_pieces_that_end_by_themselves(it: Bench) -> None:
    dose = await it.reactor.dose("media", 3.9)
    assert dose.delivered_ml == pytest.approx(3.9)
    assert it.pump.device.pumped == pytest.approx(3.9)
    assert (await it.reactor.read())["temperature"] == 25.104


async def test_a_refused_dose_counts_for_nothing(it: Bench) -> None:
    with pytest.raises(ContractError, match=r"can dose 0\.5 to 3\.5 mL") as caught:
        await it.reactor.dose("media", 0.3)
    assert caught.value.error.code is ErrorCode.HARDWARE
    assert caught.value.error.details["delivered_ml"] == 0.0
    assert (await it.reactor.read())["media"] == 0.0


async def test_a_pulled_cable_is_told_and_the_rest_goes_on(it: Bench) -> None:
    it.probe.emulator.inject(Fault.UNPLUG)
    await eventually(lambda: it.has_alarm("device-ezo-rtd"))
    assert (await it.reactor.read())["temperature"] is None
    assert (await it.reactor.dose("media", 1.0)).delivered_ml == 1.0
    it.probe.emulator.clear()

    async def well() -> bool:
        return (await it.reactor.read())["temperature"] == 25.104 and not it.alarms()

    await eventually(well)


async def test_making_safe_tries_everything_and_says_what_failed(it: Bench) -> None:
    dose = asyncio.ensure_future(it.reactor.dose("media", 20.0))
    await eventually(lambda: it.pump.device.running)
    it.pump.emulator.inject(Fault.UNPLUG)
    with pytest.raises(ExceptionGroup) as caught:
        await it.reactor.make_safe()
    assert all(isinstance(error, DriverError) for error in caught.value.exceptions)
    with pytest.raises(ContractError):
        await dose
    await eventually(lambda: not it.pump.device.running)
    assert it.pump.device.pumped <= 3.5  # what was pumped when the cable was pulled ended by itself
    it.pump.emulator.clear()
    await eventually(lambda: it.pump.driver.counters.openings == 2)
    await it.reactor.make_safe()


async def test_an_emulator_measures_a_simulated_vial(tmp_path: Path) -> None:
    clock = ManualClock()
    rig = ProbeRig("ezo-ph", tmp_path / "usb")
    async with SimulatedVial(clock, seed=1) as vial:
        device = EzoPh(lambda: ph(vial.culture, Medium()))
        async with Emulator(device, link=tmp_path / "usb", speed=SPEED), rig.driver:
            before = await rig.value()
            assert before == pytest.approx(ph(vial.culture, Medium()), abs=0.001)
            dose = asyncio.ensure_future(vial.dose("acid", 0.2))
            await clock.advance(2.0)
            await dose
            assert await rig.value() == pytest.approx(ph(vial.culture, Medium()), abs=0.001)
            assert before is not None
            assert ph(vial.culture, Medium()) < before - 0.001


async def test_a_probe_that_is_plugged_in_later_keeps_no_pump_waiting(tmp_path: Path) -> None:
    probe = ProbeRig("ezo-rtd", tmp_path / "usb-probe")
    pump = PumpRig(tmp_path / "usb-pump", speed=SPEED)
    equipment = Equipment.of([*probe.channels.values(), *pump.channels.values()])
    reactor = Reactor(equipment, [probe.driver, pump.driver], RealClock(20.0))
    bench = Bench(probe, pump, reactor)
    async with pump.emulator, reactor:
        await eventually(lambda: bench.has_alarm("device-ezo-rtd"))
        assert (await reactor.read())["temperature"] is None
        assert (await reactor.dose("media", 1.0)).delivered_ml == 1.0
        await reactor.begin_run()
        async with probe.emulator:

            async def well() -> bool:
                return (await reactor.read())["temperature"] == 25.104 and not reactor.alarms

            await eventually(well)


async def test_a_pump_must_be_there(tmp_path: Path) -> None:
    probe = ProbeRig("ezo-rtd", tmp_path / "usb-probe")
    pump = PumpRig(tmp_path / "usb-pump", speed=SPEED)
    equipment = Equipment.of([*probe.channels.values(), *pump.channels.values()])
    reactor = Reactor(equipment, [probe.driver, pump.driver], RealClock(20.0))
    with pytest.raises(DriverError, match="usb-pump is not there"):
        async with reactor:
            pass
    assert not reactor.safe

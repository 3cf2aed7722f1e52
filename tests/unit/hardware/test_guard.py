"""What a reactor does when it loses a device, as `on_fault` says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from broker.messages import ContractError, ErrorCode
from hardware.clock import ManualClock
from hardware.emulators.faults import Fault
from hardware.plausibility import Policy
from hardware.reactor import Reactor, ReactorEvent
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.broken import BrokenDevice
from tests.unit.hardware.equipment import bench
from tests.unit.hardware.test_bench_reactor import running


class Lab:
    """A reactor whose one device, which does everything, can be silenced."""

    def __init__(self, policy: Policy | None) -> None:
        self.clock = ManualClock()
        self.device = BrokenDevice(self.clock)
        on_fault = {} if policy is None else {"bench": policy}
        equipment = replace(bench(), on_fault=on_fault)
        self.reactor = Reactor(equipment, [self.device], self.clock)
        self.events: list[ReactorEvent] = []
        self.reactor.on_event(self.events.append)

    def of(self, event: str) -> list[ReactorEvent]:
        return [e for e in self.events if e.event == event]


@asynccontextmanager
async def lab(policy: Policy | None = None) -> AsyncIterator[Lab]:
    it = Lab(policy)
    async with it.reactor:
        await it.clock.advance(1.0)
        await it.reactor.set("setpoint", 37.0)
        await it.reactor.set("stirring", 100.0)
        await it.clock.advance(5.0)
        await it.reactor.set("light", 50.0, duration=90.0)
        assert it.device.written["heater"] > 0
        it.events.clear()
        yield it
        it.device.silent.clear()


async def refusal(it: Lab, channel: str, value: float) -> str | None:
    try:
        await it.reactor.set(channel, value, duration=10.0)
    except ContractError as error:
        return str(error) if error.error.code is ErrorCode.INTERLOCK else repr(error.error)
    return None


async def test_who_loses_a_device_that_acts_makes_everything_safe() -> None:
    async with lab() as it:
        it.device.silent.add("read")
        await it.clock.advance(11.0)
        assert it.reactor.safe
        assert it.device.written == {"heater": 0.0, "stirring": 0.0, "light": 0.0}
        (fault,) = it.of("fault")
        assert fault.data == {
            "device": "bench",
            "message": "read does not answer",
            "policy": "stop",
        }
        assert it.reactor.unfit == "bench: read does not answer"
        for channel in ("stirring", "light"):
            assert await refusal(it, channel, 60.0) == "bench: read does not answer"
        await it.reactor.set("stirring", 0.0)  # what is safe is always allowed
        with pytest.raises(ContractError, match="bench: read does not answer"):
            await it.reactor.dose("media", 1.0)

        it.device.silent.clear()  # it is back: nothing goes on by itself
        await it.clock.advance(11.0)
        assert it.reactor.alarms == ()
        assert it.reactor.safe
        assert not it.reactor.unfit
        assert await refusal(it, "light", 60.0) is None
        assert len(it.of("fault")) == 1


async def test_one_reading_that_fails_is_an_alarm_and_no_more() -> None:
    async with lab() as it:
        it.device.silent.add("read")
        await it.reactor.read()
        it.device.silent.clear()
        await it.clock.advance(11.0)
        assert [e.event for e in it.events] == ["alarm", "alarm-cleared"]
        assert it.device.written["light"] == 50.0
        assert it.device.written["heater"] > 0


async def test_held_is_what_acts_directly_while_a_device_is_lost() -> None:
    async with lab("hold") as it:
        it.device.silent.add("read")
        await it.clock.advance(11.0)
        assert it.device.written["light"] == 0.0
        assert it.device.written["stirring"] == 100.0
        assert it.reactor.setpoints() == {"setpoint": 37.0, "stirring": 100.0}
        assert it.reactor.unfit is None
        assert await refusal(it, "light", 60.0) == "bench: read does not answer"
        assert await refusal(it, "stirring", 120.0) is None
        it.device.silent.clear()
        await it.clock.advance(11.0)
        assert it.device.written["light"] == 0.0
        assert it.device.written["heater"] > 0
        assert await refusal(it, "light", 60.0) is None


async def test_a_lost_device_may_be_no_reason_to_stop() -> None:
    async with lab("continue") as it:
        it.device.silent.add("read")
        await it.clock.advance(11.0)
        assert it.device.written["light"] == 50.0
        assert [e.event for e in it.events if e.event != "off"] == ["alarm"]
        assert it.device.written["heater"] == 0.0  # nobody knows the temperature


async def test_a_pulled_cable_stops_the_pumps_and_the_heater_of_the_others(tmp_path: Path) -> None:
    async with running(tmp_path, devices=("board", "media", "acid")) as rig:
        reactor, media = rig.reactor, rig.bench.pumps["media"]
        events: list[str] = []
        reactor.on_event(lambda event: events.append(event.event))
        await rig.heat()
        dose = asyncio.ensure_future(reactor.dose("media", 2.5))
        await eventually(media.energized)
        rig.bench.emulators["acid"].inject(Fault.UNPLUG)
        await eventually(lambda: rig.heater() == 0 and not media.energized())
        assert (await dose).delivered_ml < 2.5
        assert events.count("fault") == 1
        assert {alarm.id for alarm in reactor.alarms} == {"device-acid"}
        rig.bench.emulators["acid"].clear()
        # Known to be safe when the pump that came back has been told to stop.
        await eventually(lambda: reactor.alarms == () and reactor.safe)
        assert (reactor.setpoints(), reactor.unfit) == ({}, None)
        assert (await reactor.dose("acid", 0.1)).delivered_ml == pytest.approx(0.1)

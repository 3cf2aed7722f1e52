import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from broker.messages import ContractError, ErrorCode
from hardware.channels import Equipment, Titration
from hardware.clock import ManualClock
from hardware.drivers.interface import DriverError
from hardware.plausibility import Plausible
from hardware.reactor import Dose, Reactor, ReactorEvent
from tests.unit.hardware.drivers.broken import BrokenDevice
from tests.unit.hardware.equipment import bench


@dataclass
class Bench:
    clock: ManualClock = field(default_factory=ManualClock)
    events: list[ReactorEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = BrokenDevice(self.clock)
        self.reactor = Reactor(bench(), [self.device], self.clock)
        self.reactor.on_event(self.events.append)

    def names(self) -> list[str]:
        return [event.event for event in self.events]

    def alarms(self) -> set[str]:
        return {alarm.id for alarm in self.reactor.alarms}


@pytest.fixture
async def it() -> AsyncIterator[Bench]:
    bench = Bench()
    async with bench.reactor:
        await bench.clock.advance(1.0)
        bench.events.clear()
        yield bench
        bench.device.silent.clear()
    assert bench.device.calls[-1] == "closed"


def test_knows_its_channels() -> None:
    it = Bench()
    assert it.reactor.channels["light"].kind == "actuator"
    assert it.reactor.channels["heater"].kind == "sensor"


async def test_opening_writes_every_safe_value() -> None:
    it = Bench()
    async with it.reactor:
        assert it.device.written == {"heater": 0.0, "stirring": 0.0, "light": 0.0}
        assert it.reactor.safe


async def test_it_is_not_known_to_be_safe_before_it_was_made_so() -> None:
    it = Bench()
    assert not it.reactor.safe
    for silent in ("light", "waste"):
        it.device.silent = {silent}
        with pytest.raises(ExceptionGroup):
            await it.reactor.__aenter__()
        assert not it.reactor.safe


async def test_commands_are_refused_while_it_is_switched_off() -> None:
    it = Bench()
    async with it.reactor:
        pass
    for command in (it.reactor.set("light", 1.0, duration=1.0), it.reactor.dose("media", 1.0)):
        with pytest.raises(ContractError) as caught:
            await command
        assert caught.value.error.code == ErrorCode.UNAVAILABLE


async def test_a_setpoint_heats_and_leaving_makes_safe() -> None:
    it = Bench()
    async with it.reactor:
        await it.clock.advance(1.0)
        assert await it.reactor.set("setpoint", 27.0) == 27.0
        await it.clock.advance(5.0)
        assert it.device.written["heater"] == pytest.approx(24.0, abs=0.5)
        assert it.reactor.setpoints() == {"setpoint": 27.0}
        assert not it.reactor.safe
    assert it.device.written["heater"] == 0.0


async def test_a_direct_output_goes_off_without_anybody(it: Bench) -> None:
    await it.reactor.set("light", 50.0, duration=12.5)
    await it.clock.advance(12.4)
    assert it.device.written["light"] == 50.0
    await it.clock.advance(0.1)
    assert it.device.written["light"] == 0.0
    assert it.names() == ["set", "off"]


async def test_a_shorter_duration_replaces_a_longer_one(it: Bench) -> None:
    await it.reactor.set("light", 50.0, duration=90.0)
    await it.reactor.set("light", 60.0, duration=2.0)
    await it.clock.advance(2.0)
    assert it.device.written["light"] == 0.0


async def test_stirring_is_ramped(it: Bench) -> None:
    assert await it.reactor.set("stirring", 450.0) == 450.0
    seen = []
    for _ in range(6):
        await it.clock.advance(1.0)
        seen.append(it.device.written["stirring"])
    assert seen == [150.0, 250.0, 350.0, 450.0, 450.0, 450.0]


async def test_a_refusal_is_told_and_reaches_no_device(it: Bench) -> None:
    before = dict(it.device.written)
    with pytest.raises(ContractError) as caught:
        await it.reactor.set("light", 101.0, duration=1.0)
    assert caught.value.error.code == ErrorCode.OUT_OF_RANGE
    assert caught.value.error.details == {"minimum": 0.0, "maximum": 100.0, "value": 101.0}
    assert it.device.written == before
    assert it.events == []


async def dose(it: Bench, channel: str, ml: float, seconds: float) -> Dose:
    task = asyncio.ensure_future(it.reactor.dose(channel, ml))
    await it.clock.advance(seconds)
    return await task


async def test_doses_in_pieces_and_counts(it: Bench) -> None:
    assert await dose(it, "media", 2.5, 10.0) == Dose(2.5, 2.5, 3.0)
    assert it.device.moved["media"] == 2.5
    assert (await it.reactor.read())["media"] == 2.5
    with pytest.raises(ContractError) as caught:
        await it.reactor.dose("media", 6.0)
    assert caught.value.error.details["limit"] == "max_dose_ml"
    await it.reactor.begin_run()
    assert (await it.reactor.read())["media"] == 0.0
    assert "new run" in it.device.calls


async def test_two_doses_of_one_pump_follow_each_other(it: Bench) -> None:
    tasks = [asyncio.ensure_future(it.reactor.dose("media", 1.0)) for _ in range(2)]
    await it.clock.advance(10.0)
    assert [(await task).delivered_ml for task in tasks] == [1.0, 1.0]


@pytest.mark.parametrize("stop", ["hold", "make_safe"])
async def test_a_dose_that_waits_for_its_pump_ends_with_the_one_before(
    it: Bench, stop: str
) -> None:
    first, second = (asyncio.ensure_future(it.reactor.dose("media", 2.5)) for _ in range(2))
    await it.clock.advance(0.5)
    await (it.reactor.hold() if stop == "hold" else it.reactor.make_safe())
    await it.clock.advance(10.0)
    assert (await first).delivered_ml == 1.0
    with pytest.raises(ContractError, match="was stopped") as caught:
        await second
    assert caught.value.error.details["limit"] == "stopped"
    assert it.device.moved["media"] == 1.0
    assert (await dose(it, "media", 0.5, 5.0)).delivered_ml == 0.5


async def test_holding_stops_a_dose_and_says_how_much_came(it: Bench) -> None:
    await it.reactor.set("setpoint", 30.0)
    await it.reactor.set("light", 50.0, duration=60.0)
    task = asyncio.ensure_future(it.reactor.dose("media", 2.5))
    await it.clock.advance(1.5)
    await it.reactor.hold()
    await it.clock.advance(5.0)
    assert await task == Dose(2.5, 2.0, 2.0)
    assert it.device.written["light"] == 0.0
    assert it.reactor.setpoints() == {"setpoint": 30.0}
    assert "stopped media" in it.device.calls


async def test_an_emergency_stop_ends_a_dose(it: Bench) -> None:
    task = asyncio.ensure_future(it.reactor.dose("media", 2.5))
    await it.clock.advance(0.5)
    await it.reactor.emergency_stop("smoke")
    await it.clock.advance(5.0)
    with pytest.raises(ContractError) as caught:
        await task
    assert caught.value.error.code == ErrorCode.ESTOP
    assert caught.value.error.details["delivered_ml"] == 1.0
    assert it.alarms() == {"estop"}
    it.reactor.release_emergency_stop()
    assert it.alarms() == set()
    await it.reactor.set("light", 1.0, duration=1.0)


async def test_a_cancelled_dose_counts_in_full(it: Bench) -> None:
    task = asyncio.ensure_future(it.reactor.dose("media", 2.5))
    await it.clock.advance(0.5)
    task.cancel()
    await asyncio.wait([task])
    assert (await it.reactor.read())["media"] == 2.5
    assert await dose(it, "media", 0.5, 5.0) == Dose(0.5, 0.5, 1.0)


async def test_a_pump_that_does_not_answer(it: Bench) -> None:
    it.device.silent.add("media")
    task = asyncio.ensure_future(it.reactor.dose("media", 2.0))
    await it.clock.advance(5.0)
    with pytest.raises(ContractError) as caught:
        await task
    assert caught.value.error.code == ErrorCode.HARDWARE
    assert (await it.reactor.read())["media"] == 2.0


async def test_make_safe_tries_every_channel(it: Bench) -> None:
    await it.reactor.set("light", 50.0, duration=60.0)
    await it.reactor.set("stirring", 100.0)
    await it.clock.advance(2.0)
    it.device.silent |= {"light", "base"}
    it.device.calls.clear()
    with pytest.raises(ExceptionGroup) as caught:
        await it.reactor.make_safe()
    assert caught.group_contains(DriverError, match="light")
    assert caught.group_contains(DriverError, match="base")
    assert len(caught.value.exceptions) == 2
    assert it.device.written["stirring"] == 0.0
    assert it.device.calls == ["stopped media", "stopped waste"]
    assert not it.reactor.safe
    it.device.silent.clear()
    await it.clock.advance(5.0)
    assert it.device.written["light"] == 0.0
    assert it.reactor.safe


@pytest.mark.parametrize("stop", ["hold", "make_safe", "emergency_stop"])
async def test_a_pump_that_does_not_stop_is_told_again(it: Bench, stop: str) -> None:
    it.device.silent.add("base")
    reactor = it.reactor
    stops = {"hold": reactor.hold, "make_safe": reactor.make_safe}
    with pytest.raises(ExceptionGroup):
        await stops.get(stop, lambda: reactor.emergency_stop("smoke"))()
    it.device.calls.clear()
    await it.clock.advance(10.0)
    assert not reactor.safe
    it.device.silent.clear()
    await it.clock.advance(10.0)
    assert it.device.calls == ["stopped base"]  # until it obeys, and the others not again
    assert reactor.safe


async def test_what_does_not_obey_is_complained_of_once(
    it: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told again every few seconds for as long as it takes; the log need not grow by that."""
    await it.reactor.set("light", 50.0, duration=60.0)
    it.device.silent |= {"light", "base"}
    with pytest.raises(ExceptionGroup):
        await it.reactor.make_safe()
    with caplog.at_level(logging.WARNING, "hardware.obedience"):
        await it.clock.advance(30.0)
        assert caplog.text.count("light is not known to be set") == 1
        assert caplog.text.count("base is not known to have stopped") == 1
        it.device.silent.clear()
        await it.clock.advance(10.0)
        assert it.reactor.safe
        it.device.silent.add("base")
        with pytest.raises(ExceptionGroup):
            await it.reactor.hold()
        await it.clock.advance(30.0)
    assert caplog.text.count("base is not known to have stopped") == 2


async def test_a_pump_that_is_to_stop_doses_only_when_it_has(it: Bench) -> None:
    it.device.silent.add("media")
    with pytest.raises(ExceptionGroup):
        await it.reactor.hold()
    with pytest.raises(ContractError, match="does not answer") as caught:
        await it.reactor.dose("media", 1.0)
    assert caught.value.error.code == ErrorCode.HARDWARE
    assert caught.value.error.details["delivered_ml"] == 0.0
    assert (await it.reactor.read())["media"] == 0.0
    it.device.silent.clear()
    assert (await dose(it, "media", 1.0, 20.0)).delivered_ml == 1.0
    assert it.device.calls.count("stopped media") == 2  # as the reactor was opened, and now


async def test_an_output_that_does_not_obey_is_made_safe_when_it_answers(it: Bench) -> None:
    it.device.silent.add("light")
    with pytest.raises(ContractError) as caught:
        await it.reactor.set("light", 50.0, duration=60.0)
    assert caught.value.error.code == ErrorCode.HARDWARE
    it.device.silent.clear()
    it.device.written.clear()
    await it.clock.advance(5.0)
    assert it.device.written["light"] == 0.0


@pytest.mark.parametrize("odd", [None, float("nan"), 1000.0])
async def test_a_thermometer_that_fails_turns_the_heater_off(it: Bench, odd: float | None) -> None:
    await it.reactor.set("setpoint", 37.0)
    await it.clock.advance(6.0)
    assert it.device.written["heater"] == 70.0
    it.device.values["temperature"] = odd
    await it.clock.advance(5.0)
    assert it.device.written["heater"] == 0.0
    assert (await it.reactor.read())["temperature"] is None
    await it.clock.advance(40.0)
    assert it.alarms() == {"temperature-unknown"}
    it.device.values["temperature"] = 25.0
    await it.clock.advance(10.0)
    assert it.device.written["heater"] == 70.0
    assert it.alarms() == set()
    assert it.names()[-2:] == ["alarm", "alarm-cleared"]


async def test_a_device_that_is_away_reads_as_nothing_and_alarms() -> None:
    it = Bench()
    equipment = replace(bench(), on_fault={"bench": "continue"})
    it.reactor = Reactor(equipment, [it.device], it.clock)
    async with it.reactor:
        await it.clock.advance(1.0)
        await it.reactor.set("setpoint", 37.0)
        await it.clock.advance(6.0)
        it.device.silent.add("read")
        await it.clock.advance(6.0)
        values = await it.reactor.read()
        assert values["temperature"] is None
        assert values["volume"] is None
        assert it.device.written["heater"] == 0.0
        assert "device-bench" in it.alarms()
        it.device.silent.clear()
        await it.clock.advance(6.0)
        assert it.alarms() == set()
        assert it.device.written["heater"] == 70.0


async def test_over_temperature_is_an_alarm_and_no_heat(it: Bench) -> None:
    await it.reactor.set("setpoint", 42.0)
    it.device.values["temperature"] = 45.5
    await it.clock.advance(6.0)
    assert it.alarms() == {"over-temperature"}
    it.device.values["temperature"] = 42.5
    await it.clock.advance(30.0)
    assert it.device.written["heater"] == 0.0


async def test_a_listener_that_fails_or_left_does_no_harm(it: Bench) -> None:
    heard: list[str] = []

    def fail(_: ReactorEvent) -> None:
        raise RuntimeError("a listener's own mistake")

    stop = it.reactor.on_event(fail)
    forget = it.reactor.on_event(lambda event: heard.append(event.event))
    await it.reactor.set("light", 1.0, duration=1.0)
    stop()
    forget()
    forget()
    await it.reactor.set("light", 2.0, duration=1.0)
    assert heard == ["set"]


def holding(equipment: Equipment) -> Equipment:
    """A reactor that holds the temperature with base, too, and holds while it doubts the volume."""
    channels = dict(equipment.channels)
    channels["volume"] = replace(channels["volume"], plausible=Plausible(high=20.0, policy="hold"))
    titration = Titration("temperature", "setpoint", "base", None, band=1.0, dose_ml=0.1, every=5.0)
    return replace(equipment, channels=channels, titrations=(titration,))


class SlowToStop(BrokenDevice):
    """Its pumps say only when they are let that they have stopped."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.may_stop = asyncio.Event()
        self.may_stop.set()

    async def stop(self, channel: str) -> None:
        await self.may_stop.wait()
        await super().stop(channel)


async def test_a_doubt_ends_no_pause_that_began_meanwhile() -> None:
    clock = ManualClock()
    device = SlowToStop(clock)
    async with Reactor(holding(bench()), [device], clock) as reactor:
        await reactor.set("setpoint", 30.0)
        await clock.advance(6.0)
        assert device.moved["base"] > 0
        device.may_stop.clear()
        device.values["volume"] = 25.0
        await clock.advance(6.0)
        pausing = asyncio.ensure_future(reactor.hold())
        await clock.advance(1.0)
        device.may_stop.set()
        await pausing
        device.values["volume"] = 15.0
        before = device.moved["base"]
        await clock.advance(60.0)
        assert device.moved["base"] == before
        reactor.go_on()
        await clock.advance(10.0)
        assert device.moved["base"] > before


async def test_leaving_ends_at_once_while_a_controller_doses() -> None:
    it = Bench()
    it.reactor = Reactor(holding(bench()), [it.device], it.clock)
    it.reactor.on_event(it.events.append)
    async with it.reactor:
        await it.reactor.set("setpoint", 30.0)
        await it.reactor.set("light", 50.0, duration=90.0)
        await it.clock.advance(0.5)
        leaving = asyncio.ensure_future(it.reactor.__aexit__(None, None, None))
        await asyncio.wait([leaving], timeout=0.5)
        assert leaving.done()
        assert it.device.written == {"heater": 0.0, "stirring": 0.0, "light": 0.0}
        assert it.reactor.safe
    assert it.device.moved["base"] == 0
    assert "dose" in it.names()  # it was under way, and counts


def test_every_wired_channel_needs_its_driver() -> None:
    with pytest.raises(ValueError, match="bench"):
        Reactor(bench(), [], ManualClock())


async def test_a_temperature_that_lies_switches_the_heater_off_and_is_told() -> None:
    it = Bench()
    equipment = bench()
    channels = dict(equipment.channels)
    channels["temperature"] = replace(
        channels["temperature"], plausible=Plausible(frozen_after=60.0, policy="stop")
    )
    it.reactor = Reactor(replace(equipment, channels=channels), [it.device], it.clock)
    it.reactor.on_event(it.events.append)
    async with it.reactor:
        await it.reactor.set("setpoint", 37.0)
        await it.clock.advance(20.0)
        assert it.device.written["heater"] > 0
        await it.clock.advance(60.0)
        assert it.device.written["heater"] == 0.0
        assert "doubt-temperature" in it.alarms()
        (alarm,) = (e for e in it.events if e.data.get("id") == "doubt-temperature")
        assert (alarm.channel, alarm.data["doubt"], alarm.data["policy"]) == (
            "temperature",
            "frozen",
            "stop",
        )
        assert (await it.reactor.read())["temperature"] == 25.0  # shown as it came
        it.device.values["temperature"] = 25.1
        await it.clock.advance(10.0)
        assert "doubt-temperature" not in it.alarms()
        assert it.device.written["heater"] > 0


async def test_a_doubted_sensor_holds_the_pumps_if_that_is_its_policy() -> None:
    it = Bench()
    equipment = bench()
    channels = dict(equipment.channels)
    channels["volume"] = replace(channels["volume"], plausible=Plausible(high=20.0, policy="hold"))
    it.reactor = Reactor(replace(equipment, channels=channels), [it.device], it.clock)
    it.reactor.on_event(it.events.append)
    async with it.reactor:
        await it.reactor.set("light", 50.0, duration=90.0)
        await it.reactor.set("stirring", 100.0)
        await it.clock.advance(4.5)
        dose = asyncio.ensure_future(it.reactor.dose("waste", 5.0))
        await it.clock.advance(0.1)
        it.device.values["volume"] = 25.0
        await it.clock.advance(10.0)
        assert (await dose).delivered_ml < 5.0
        assert (it.device.written["light"], it.device.written["stirring"]) == (0.0, 100.0)
        for refused in (
            it.reactor.dose("waste", 1.0),
            it.reactor.set("light", 50.0, duration=10.0),
        ):
            with pytest.raises(ContractError, match="cannot be: look at the probe") as caught:
                await refused
            assert caught.value.error.code == ErrorCode.INTERLOCK
        await it.reactor.set("light", 0.0)
        it.events.clear()
        await it.reactor.begin_run()
        assert "alarm" in it.names()  # told again: another run has to know it too
        it.device.values["volume"] = 15.0
        await it.clock.advance(10.0)
        await it.reactor.set("light", 50.0, duration=10.0)
        dose = asyncio.ensure_future(it.reactor.dose("waste", 1.0))
        await it.clock.advance(2.0)
        assert (await dose).delivered_ml == 1.0

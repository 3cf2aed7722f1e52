"""What a reactor does when it loses a device, as `on_fault` says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from broker.messages import ContractError, ErrorCode
from hardware.channels import Equipment
from hardware.clock import Clock, ManualClock, RealClock
from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import NotDosedError, TooLittleError
from hardware.drivers.tic.pump import TicPump
from hardware.emulators.emulator import EmulatedDevice, Emulator
from hardware.emulators.faults import Fault
from hardware.emulators.tic import EmulatedTic
from hardware.plausibility import Policy
from hardware.reactor import Reactor, ReactorEvent
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.broken import BrokenDevice
from tests.unit.hardware.drivers.test_tic_pump import ML_PER_STEP, sound_settings
from tests.unit.hardware.equipment import bench, channel
from tests.unit.hardware.test_bench_reactor import running


class Lab:
    """A reactor whose one device, which does everything, can be silenced."""

    def __init__(self, policy: Policy | None, make: Callable[[Clock], BrokenDevice]) -> None:
        self.clock = ManualClock()
        self.device = make(self.clock)
        on_fault = {} if policy is None else {"bench": policy}
        equipment = replace(bench(), on_fault=on_fault)
        self.reactor = Reactor(equipment, [self.device], self.clock)
        self.events: list[ReactorEvent] = []
        self.reactor.on_event(self.events.append)

    def of(self, event: str) -> list[ReactorEvent]:
        return [e for e in self.events if e.event == event]


@asynccontextmanager
async def lab(
    policy: Policy | None = None, make: Callable[[Clock], BrokenDevice] = BrokenDevice
) -> AsyncIterator[Lab]:
    it = Lab(policy, make)
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


async def test_one_reading_that_fails_lets_everything_rest_until_the_next() -> None:
    async with lab() as it:
        before = dict(it.device.written)
        dose = asyncio.ensure_future(it.reactor.dose("media", 2.0))
        await it.clock.advance(0.6)
        it.device.silent.add("read")
        await it.reactor.read()
        await eventually(lambda: set(it.device.written.values()) == {0.0})
        waiting = asyncio.ensure_future(it.reactor.dose("waste", 0.5))
        lit = asyncio.ensure_future(it.reactor.set("light", 60.0, duration=90.0))
        await it.reactor.set("stirring", 120.0)  # a setpoint: in force when it goes on
        await it.clock.advance(1.0)
        assert it.device.moved["media"] == 1.0  # the piece that was under way
        assert not dose.done()
        assert not waiting.done()
        assert not lit.done()
        assert set(it.device.written.values()) == {0.0}
        assert not it.reactor.safe  # it has not forgotten what it goes on with
        it.device.silent.clear()
        await it.reactor.read()
        await it.clock.advance(3.0)
        assert (await dose).delivered_ml == 2.0
        assert (await waiting).delivered_ml == 0.5
        assert await lit == 60.0
        assert it.device.written == before | {"light": 60.0, "stirring": 120.0}
        kinds = [e.event for e in it.events if e.event not in {"dose", "set"}]
        assert kinds == ["silence", "alarm", "answers", "alarm-cleared"]
        assert it.of("silence")[0].data == {"device": "bench", "count": 1}


async def test_what_waits_for_a_silent_device_is_refused_when_it_is_lost() -> None:
    async with lab() as it:
        it.device.silent.add("read")
        await it.reactor.read()
        waiting = [
            asyncio.ensure_future(it.reactor.dose("waste", 0.5)),
            asyncio.ensure_future(it.reactor.set("light", 60.0, duration=90.0)),
        ]
        await it.clock.advance(11.0)
        for refused in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(refused, ContractError)
            assert refused.error.code is ErrorCode.INTERLOCK
            assert refused.error.details["limit"] == "fault"
        assert it.device.moved["waste"] == 0.0


async def test_what_waits_for_a_silent_device_is_not_done_after_a_stop() -> None:
    async with lab() as it:
        it.device.silent.add("read")
        await it.reactor.read()
        waiting = [
            asyncio.ensure_future(it.reactor.dose("waste", 0.5)),
            asyncio.ensure_future(it.reactor.set("light", 60.0, duration=90.0)),
        ]
        await asyncio.sleep(0)
        await it.reactor.make_safe()
        it.device.silent.clear()
        await it.clock.advance(1.0)
        await it.reactor.read()
        for refused in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(refused, ContractError)
            assert refused.error.details["limit"] == "stopped"
        await it.clock.advance(6.0)
        assert it.reactor.safe
        assert set(it.device.written.values()) == {0.0}


async def test_a_dose_that_rests_does_not_go_on_after_a_stop() -> None:
    async with lab() as it:
        dose = asyncio.ensure_future(it.reactor.dose("media", 2.0))
        await it.clock.advance(0.6)
        it.device.silent.add("read")
        await it.reactor.read()
        await it.clock.advance(1.0)
        assert it.device.moved["media"] == 1.0
        assert not dose.done()
        await it.reactor.emergency_stop("somebody saw smoke")
        it.reactor.release_emergency_stop()
        it.device.silent.clear()
        await it.reactor.read()
        await it.clock.advance(6.0)
        with pytest.raises(ContractError) as caught:
            await dose
        assert caught.value.error.code is ErrorCode.ESTOP
        assert caught.value.error.details["delivered_ml"] == 1.0
        assert it.device.moved["media"] == 1.0
        assert (await it.reactor.read())["media"] == 1.0
        assert it.reactor.safe


class Cut(BrokenDevice):
    """A pump that is stopped half-way through its first piece, and refuses the next."""

    why: type[NotDosedError] = NotDosedError

    async def dose(self, channel: str, ml: float) -> float:
        if self.moved[channel]:
            raise self.why("it does not pump")
        return await super().dose(channel, ml / 2)


class CutShort(Cut):
    why = TooLittleError


@pytest.mark.parametrize("make", [Cut, CutShort])
async def test_what_is_left_of_a_cut_dose_may_be_too_little_and_nothing_else(
    make: type[Cut],
) -> None:
    async with lab(make=make) as it:
        dose = asyncio.ensure_future(it.reactor.dose("media", 1.0))
        await it.clock.advance(0.6)
        it.device.silent.add("read")
        await it.reactor.read()
        await it.clock.advance(1.0)
        it.device.silent.clear()
        await it.reactor.read()
        if make is CutShort:
            assert (await dose).delivered_ml == 0.5
        else:
            with pytest.raises(ContractError, match="it does not pump") as caught:
                await dose
            assert caught.value.error.details["delivered_ml"] == 0.5


class Heard(BrokenDevice):
    """It knows when it owes an answer, and nothing of cables."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.hearing = Hearing(within=0.01)


async def test_who_knows_of_no_cable_is_heard_as_well() -> None:
    async with lab(make=Heard) as it:
        assert isinstance(it.device, Heard)
        it.device.hearing.asked()
        await eventually(lambda: set(it.device.written.values()) == {0.0})
        it.device.hearing.answered()
        await eventually(lambda: it.device.written["heater"] > 0)


async def test_nothing_is_safe_before_the_devices_were_told() -> None:
    async with lab() as it:
        stopping = asyncio.ensure_future(it.reactor.make_safe())
        await asyncio.sleep(0)
        assert not it.reactor.safe
        await stopping
        assert it.reactor.safe


async def test_what_waits_is_not_done_after_a_later_command_to_the_same_output() -> None:
    async with lab() as it:
        it.device.silent.add("read")
        await it.reactor.read()
        first = asyncio.ensure_future(it.reactor.set("light", 60.0, duration=90.0))
        await asyncio.sleep(0)
        await it.reactor.set("light", 0.0)  # somebody wants it off
        later = asyncio.ensure_future(it.reactor.set("light", 70.0, duration=90.0))
        last = asyncio.ensure_future(it.reactor.set("light", 80.0, duration=90.0))
        await asyncio.sleep(0)
        it.device.silent.clear()
        await it.clock.advance(1.0)
        await it.reactor.read()
        with pytest.raises(ContractError) as caught:
            await first
        assert caught.value.error.code is ErrorCode.INTERLOCK
        assert caught.value.error.details["limit"] == "superseded"
        assert await later == 70.0
        assert await last == 80.0
        assert it.device.written["light"] == 80.0


async def test_a_setpoint_of_a_silent_device_is_set_when_it_answers() -> None:
    async with lab() as it:
        it.device.silent |= {"read", "stirring"}
        await it.reactor.read()
        assert await it.reactor.set("stirring", 120.0) == 120.0
        with pytest.raises(ContractError) as caught:  # who switches off is told that it may run
            await it.reactor.set("stirring", 0.0)
        assert caught.value.error.code is ErrorCode.HARDWARE
        await it.reactor.set("stirring", 130.0)
        it.device.silent.clear()
        await it.clock.advance(1.0)
        await it.reactor.read()
        await it.clock.advance(1.0)  # its speed is slewed
        await eventually(lambda: it.device.written["stirring"] == 130.0)


async def test_what_is_over_while_it_rests_is_told() -> None:
    async with lab() as it:
        await it.reactor.set("light", 50.0, duration=2.0)
        it.device.silent.add("read")
        await it.reactor.read()
        await eventually(lambda: it.device.written["light"] == 0.0)
        await it.clock.advance(3.0)
        assert [(e.channel, e.value) for e in it.of("off")] == [("light", 0.0)]


async def test_nothing_goes_on_and_off_with_a_device_that_comes_and_goes() -> None:
    async with lab("hold") as it:
        for _ in range(8):
            it.device.silent.add("read")
            await it.clock.advance(1.0)
            await it.reactor.read()
            it.device.silent.clear()
            await it.clock.advance(1.0)
            await it.reactor.read()
        assert [e.data["count"] for e in it.of("silence")] == [1, 2]  # it went on once between
        assert len(it.of("answers")) == 1
        assert it.device.written["light"] == 0.0
        assert it.device.written["stirring"] == 100.0  # policy "hold": setpoints stay
        assert [alarm.id for alarm in it.reactor.alarms] == ["device-bench"]
        assert len(it.of("alarm")) == 2


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


class Overheard(EmulatedDevice):
    """A device on a line; somebody is told whenever it has heard something."""

    def __init__(self, device: EmulatedDevice, then: Callable[[], None]) -> None:
        self._device = device
        self._then = then

    def power_up(self) -> None:
        self._device.power_up()

    def receive(self, data: bytes) -> None:
        self._device.receive(data)
        self._then()


@pytest.mark.parametrize("silent", ["acid", "waste", "ezo-do"])
async def test_a_device_that_falls_silent_lets_heater_and_pumps_of_the_others_rest(
    tmp_path: Path, silent: str
) -> None:
    """Its cable is in: after one answer that is missed they rest, and go on when it answers."""
    on_fault = {"ezo-do": "stop"}
    async with running(tmp_path, devices=("board", "media", silent), on_fault=on_fault) as rig:
        reactor, media = rig.reactor, rig.bench.pumps["media"]
        device = rig.bench.emulators[silent]
        events: list[ReactorEvent] = []
        rested: set[str] = set()

        def hear(event: ReactorEvent) -> None:
            events.append(event)
            if event.event == "silence":
                device.clear()  # on a busy machine anything later may be one missed answer too late

        def look() -> None:
            if ("silence", silent) in told():
                rested.update({"heater"} if rig.heater() == 0 else ())
                rested.update({"media"} if not media.energized() else ())

        def told() -> list[tuple[str, object]]:
            return [(e.event, e.data.get("device")) for e in events]

        await rig.heat()
        dose = asyncio.ensure_future(reactor.dose("media", 2.5))
        await eventually(media.energized)
        for name in ("board", "media"):
            rig.bench.emulators[name].device = Overheard(rig.bench.emulators[name].device, look)
        reactor.on_event(hear)
        device.inject(Fault.SILENCE)
        assert (await dose).delivered_ml == pytest.approx(2.5, abs=0.001)
        assert rested == {"heater", "media"}
        assert media.steps() == pytest.approx(5000, abs=2)  # of 0.0005 mL
        await eventually(lambda: rig.heater() > 0)
        assert (await reactor.dose("media", 0.1)).delivered_ml == pytest.approx(0.1)
        kinds = [event for event, _ in told()]
        assert kinds.index("silence") < kinds.index("answers") < kinds.index("dose")
        assert reactor.setpoints() == {"temperature-setpoint": 37.0}
        assert "fault" not in kinds
        await eventually(lambda: reactor.alarms == ())


async def test_one_lost_answer_of_a_pump_that_is_asked_again_stops_nothing(tmp_path: Path) -> None:
    """The pump has long to answer: what a busy machine takes beside that does not matter."""
    clock = RealClock()
    async with Emulator(EmulatedTic(sound_settings()), link=tmp_path / "usb") as emulator:
        pump = TicPump(
            "bench",
            emulator.path,
            channel="media",
            ml_per_microstep=ML_PER_STEP,
            flow=0.5,
            clock=clock,
            patience=4.0,
        )
        media = channel("media", "pump", flow=0.5, direction="in")
        async with Reactor(Equipment.of([media]), [pump], clock) as reactor:
            events: list[str] = []
            reactor.on_event(lambda event: events.append(event.event))
            emulator.inject(Fault.SILENCE, times=1)
            await eventually(lambda: Fault.SILENCE not in emulator.faults)
            assert (await reactor.dose("media", 0.1)).delivered_ml == pytest.approx(0.1)
            assert set(events) == {"dose"}


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

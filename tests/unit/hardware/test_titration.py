"""The simulated reactor holds its pH by itself."""

import asyncio
from dataclasses import replace

import pytest

from hardware.clock import ManualClock
from hardware.reactor import Reactor, ReactorEvent
from hardware.simulation.culture import Plant, inoculated
from hardware.simulation.equipment import EQUIPMENT
from hardware.simulation.organism import PRESETS
from hardware.simulation.vial import SimulatedVial

COLI = PRESETS["e-coli"]


def dense(clock: ManualClock) -> SimulatedVial:
    """Return a vial whose culture sours its medium within hours."""
    fresh = inoculated(COLI.organism, COLI.medium, Plant(), 15.0)
    weak = replace(COLI, medium=replace(COLI.medium, buffer=20.0))
    grown = replace(fresh, biomass=0.4, temperature=37.0, readiness=1e6)
    return SimulatedVial(clock, seed=1, preset=weak, culture=grown)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def live(reactor: Reactor, clock: ManualClock, hours: float) -> None:
    for _ in range(round(hours * 720)):
        await clock.advance(5.0)
        await reactor.read()


async def test_ph_is_held_with_base_while_the_culture_sours(clock: ManualClock) -> None:
    vial = dense(clock)
    async with Reactor(EQUIPMENT, [vial], clock) as reactor:
        for channel, value in (
            ("temperature-setpoint", 37.0),
            ("stirring", 1000.0),
            ("ph-setpoint", 7.0),
        ):
            await reactor.set(channel, value)
        await live(reactor, clock, 2.0)
        values = await reactor.read()
        assert values["ph"] == pytest.approx(7.0, abs=0.15)
        assert (values["base"] or 0.0) > 0.1


async def test_a_pause_stops_the_doses_and_going_on_starts_them_again(clock: ManualClock) -> None:
    async with Reactor(EQUIPMENT, [dense(clock)], clock) as reactor:
        await reactor.set("ph-setpoint", 9.0)
        await live(reactor, clock, 0.1)
        await reactor.hold()
        await live(reactor, clock, 0.01)  # what was under way has ended
        before = (await reactor.read())["base"]
        assert before
        await live(reactor, clock, 0.2)
        assert (await reactor.read())["base"] == before
        assert (await reactor.read())["ph-setpoint"] == 9.0
        reactor.go_on()
        await live(reactor, clock, 0.2)
        assert ((await reactor.read())["base"] or 0.0) > before


async def test_made_safe_nothing_is_dosed_any_more(clock: ManualClock) -> None:
    async with Reactor(EQUIPMENT, [dense(clock)], clock) as reactor:
        await reactor.set("ph-setpoint", 9.0)
        await live(reactor, clock, 0.1)
        await reactor.make_safe()
        await live(reactor, clock, 0.01)  # what was under way has ended
        before = (await reactor.read())["base"]
        await live(reactor, clock, 0.3)
        assert (await reactor.read())["base"] == before
        assert reactor.safe


async def test_a_refused_dose_is_tried_again_before_a_dose_would_have_mixed(
    clock: ManualClock,
) -> None:
    async with Reactor(EQUIPMENT, [dense(clock)], clock) as reactor:
        full = asyncio.create_task(reactor.dose("media", 3.0))
        await live(reactor, clock, 0.01)
        await full
        await reactor.set("ph-setpoint", 11.0)  # no base fits in yet
        await live(reactor, clock, 0.01)
        assert (await reactor.read())["base"] == 0.0
        emptied = asyncio.create_task(reactor.dose("waste", 2.0))
        await live(reactor, clock, 0.01)
        await emptied
        await live(reactor, clock, 0.01)  # a dose in itself needs 120 s to mix
        assert ((await reactor.read())["base"] or 0.0) > 0


async def test_a_pump_at_its_limit_is_told_and_the_loop_goes_on(clock: ManualClock) -> None:
    told: list[ReactorEvent] = []
    async with Reactor(EQUIPMENT, [dense(clock)], clock) as reactor:
        reactor.on_event(told.append)
        await reactor.set("ph-setpoint", 11.0)  # 0.1 mL each 2 min are 3 mL an hour: the limit
        by_hand = asyncio.create_task(reactor.dose("base", 0.5))
        await live(reactor, clock, 0.01)
        await by_hand
        await live(reactor, clock, 1.0)
        assert ((await reactor.read())["base"] or 0.0) <= 3.0 + 1e-6
        assert (await reactor.read())["temperature"] is not None
    refused = [event for event in told if event.event == "dose-refused"]
    assert refused
    assert refused[0].data["code"] == "LIMIT"
    assert len(refused) < 5  # tried again every few seconds, told when something has changed

"""The simulated vial behaves as the recorded one: warm-up, holding, noise."""

import random
import statistics
from dataclasses import replace

import pytest

from hardware.clock import ManualClock
from hardware.reactor import Reactor
from hardware.simulation.culture import Culture, Plant, inoculated
from hardware.simulation.equipment import EQUIPMENT
from hardware.simulation.organism import Medium, Organism
from hardware.simulation.sensors import observe, scatter_noise
from hardware.simulation.vial import SimulatedVial
from hardware.simulation.wear import Wear
from tests.unit.hardware.simulation.recording import CSV, StartUp, columns, noise, start_up

RECORDED = pytest.mark.skipif(not CSV.exists(), reason="the recorded runs are not beside the code")


def within_recorded_ranges(run: StartUp) -> None:
    """Check against the ranges over seven recorded runs (hardware facts, section 7)."""
    assert 100 <= run.seconds_to_90 < 141
    assert 30.0 <= run.peak <= 31.5
    assert 29.25 <= run.trough <= 29.5
    assert 560 <= run.settled <= 1260
    assert 9.3 <= run.duty <= 12.0
    assert 0.017 <= run.steady <= 0.034
    assert run.inside >= 0.997


async def simulated(seed: int) -> StartUp:
    clock = ManualClock()
    plant = Plant(ambient=23.5)
    cold = inoculated(Organism(), Medium(), plant, 15.0)
    vial = SimulatedVial(
        clock, seed=seed, plant=plant, culture=replace(cold, temperature=25.45, biomass=0.0)
    )
    times, temperatures, duties = [], [], []
    async with Reactor(EQUIPMENT, [vial], clock) as reactor:
        await reactor.set("temperature-setpoint", 30.0)
        for _ in range(361):
            values = await reactor.read()
            temperature, duty = values["temperature"], values["heater"]
            assert temperature is not None
            assert duty is not None
            times.append(clock.monotonic())
            temperatures.append(temperature)
            duties.append(duty)
            await clock.advance(20.0)
    return start_up(times, temperatures, duties)


@RECORDED
def test_the_recording_is_within_the_ranges_of_all_recordings() -> None:
    times, temperatures, duties = columns("elapsed_time", "temperature_C", "peltier_duty", rows=361)
    within_recorded_ranges(start_up(times, temperatures, duties))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_simulated_start_up_is_too(seed: int) -> None:
    within_recorded_ranges(await simulated(seed))


@RECORDED
async def test_the_simulated_start_up_follows_the_recorded_one() -> None:
    """Root mean square over 45 min as good as the fits to the recordings: 0.06 to 0.15 °C."""
    times, temperatures = columns("elapsed_time", "temperature_C", rows=136)
    clock = ManualClock()
    vial = SimulatedVial(
        clock,
        seed=1,
        culture=replace(inoculated(Organism(), Medium(), Plant(), 15.0), temperature=25.45),
    )
    errors = []
    async with Reactor(EQUIPMENT, [vial], clock) as reactor:
        await reactor.set("temperature-setpoint", 30.0)
        for at, recorded in zip(times, temperatures, strict=True):
            await clock.advance(at - clock.monotonic())
            errors.append((vial.culture.temperature - recorded) ** 2)
    assert statistics.fmean(errors) ** 0.5 < 0.15


@RECORDED
def test_the_density_is_as_noisy_as_recorded() -> None:
    """Scattered light at 135°: the same noise at the same light, from blank to dense."""
    (light,) = columns("OD_135_V")
    blank = statistics.fmean(light[:500])
    for start in range(0, 7500, 500):
        window = light[start : start + 500]
        od = statistics.fmean(window) / blank - 1  # the light of OD 1 doubles the blank's
        recorded = noise(window) / blank
        assert scatter_noise(od) == pytest.approx(recorded, rel=0.3), f"OD {od:.2f}"


def test_the_sensors_are_as_noisy_as_the_model_says() -> None:
    chance = random.Random(5)  # noqa: S311 - a simulation
    culture = Culture(
        volume=15.0,
        biomass=0.235,
        glucose=4.0,
        oxygen=5.0,
        acidity=2.0,
        temperature=37.01,
        readiness=10.0,
    )
    readings = [observe(culture, Medium(), Wear(), chance) for _ in range(4000)]
    spread = {name: statistics.pstdev(r[name] for r in readings) for name in readings[0]}
    assert spread["od"] == pytest.approx(scatter_noise(0.5), rel=0.1)
    assert statistics.fmean(r["od"] for r in readings) == pytest.approx(0.5, abs=0.002)
    assert {round(r["temperature"] / 0.0625, 6) % 1 for r in readings} == {0.0}
    assert spread["temperature"] < 0.034
    assert spread["ph"] < 0.01
    assert spread["volume"] < 0.05


async def test_a_seed_gives_the_same_reactor() -> None:
    async def readings(seed: int) -> list[object]:
        clock = ManualClock()
        async with SimulatedVial(clock, seed=seed) as vial:
            found: list[object] = []
            for _ in range(5):
                await clock.advance(10.0)
                found.append(await vial.read())
            return found

    assert await readings(3) == await readings(3)
    assert await readings(3) != await readings(4)

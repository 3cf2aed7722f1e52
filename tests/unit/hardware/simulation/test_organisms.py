"""Each organism lives as it is known to."""

import itertools
import math
from dataclasses import replace

import pytest

from hardware.simulation.carbonate import ppm_of
from hardware.simulation.culture import OD_PER_GRAM, Culture, Drive, Plant, inoculated, ph, step
from hardware.simulation.organism import ACETATE, PRESETS, Organism, Preset


def grow(
    preset: Preset, hours: float, *, light: float = 0.0, stirring: float = 800.0
) -> list[Culture]:
    """Return the culture of every half hour, at a degree below its best temperature."""
    plant = Plant(gas=preset.gas, humidity=preset.humidity)
    celsius = preset.organism.best - 1.0
    drive = Drive(duty=(celsius - plant.ambient) / 0.6, stirring=stirring, light=light)
    fresh = inoculated(preset.organism, preset.medium, plant, 15.0)
    found = [replace(fresh, temperature=celsius)]
    for _ in range(round(hours * 2)):
        culture = found[-1]
        for _ in range(180):
            culture = step(culture, preset.organism, preset.medium, plant, drive, 10.0)
        found.append(culture)
    return found


def fastest(cultures: list[Culture]) -> float:
    """Return the fastest growth between two half hours, 1/h."""
    return max(2 * math.log(b.biomass / a.biomass) for a, b in itertools.pairwise(cultures))


def test_coli_overflows_a_tenth_of_its_carbon_and_eats_it_again() -> None:
    """About 9 % of the carbon goes to acetate at full speed (Xu 1999)."""
    coli = PRESETS["e-coli"]
    cultures = grow(coli, 14.0, stirring=1500.0)
    early = next(c for c in cultures if c.biomass > 0.3)
    acetate = early.product / ACETATE.carbon_g
    sugar = (coli.medium.glucose - early.glucose) / 30.03
    assert acetate / sugar == pytest.approx(0.09, abs=0.02)
    assert max(c.product for c in cultures) > 10 * cultures[-1].product


def test_slow_growth_burns_everything() -> None:
    slow = Preset("", replace(Organism(), growth=0.4), PRESETS["e-coli"].medium)
    assert all(c.product == 0.0 for c in grow(slow, 10.0))


def test_yeast_ferments_first_and_breathes_the_ethanol_later() -> None:
    cultures = grow(PRESETS["yeast"], 36.0)
    assert 0.35 <= fastest(cultures) <= 0.46
    sugar_gone = next(i for i, c in enumerate(cultures) if c.glucose < 0.05)
    most = cultures[sugar_gone]
    assert 0.25 <= most.product / 10.0 <= 0.45  # g ethanol of g glucose
    late = cultures[sugar_gone:]
    assert late[-1].product < 0.1 * most.product
    assert late[-1].biomass > 1.4 * most.biomass
    assert fastest(late) < 0.15


def test_yeast_grows_without_oxygen_and_coli_does_not() -> None:
    plant = replace(Plant(), transfer_still=0.0, transfer_stirred=0.0)
    gained = {}
    for name in ("yeast", "e-coli"):
        preset = PRESETS[name]
        culture = replace(
            inoculated(preset.organism, preset.medium, plant, 15.0),
            temperature=32.0,
            readiness=1e6,
            oxygen=0.0,
        )
        begun = culture.biomass
        for _ in range(360):
            culture = step(culture, preset.organism, preset.medium, plant, Drive(duty=14.6), 10.0)
        gained[name] = culture.biomass / begun
    assert gained["yeast"] > 1.15
    assert gained["e-coli"] < 1.03


def test_an_alga_needs_light_takes_up_carbon_dioxide_and_makes_the_medium_basic() -> None:
    alga = PRESETS["microalga"]
    lit, dark = grow(alga, 48.0, light=80.0), grow(alga, 48.0)
    assert 0.03 <= fastest(lit) <= 0.08
    assert dark[-1].biomass < dark[0].biomass
    assert ph(lit[-1], alga.medium) > ph(dark[-1], alga.medium) + 0.1
    assert ppm_of(lit[-1].gas) < ppm_of(dark[-1].gas)


def test_carbon_dioxide_rises_as_in_the_recorded_run() -> None:
    """The recorded vial rose from 600 ppm to 16 000 ppm while its culture became dense."""
    cultures = grow(PRESETS["e-coli"], 6.0)
    assert ppm_of(cultures[0].gas) == pytest.approx(420.0)
    assert 5_000 < max(ppm_of(c.gas) for c in cultures) < 66_000
    assert all(c.biomass * OD_PER_GRAM < 15 for c in cultures)

"""What goes in comes out: carbon, electrons and volume, over a life of growth and pumping."""

from dataclasses import dataclass, replace

import pytest

from hardware.simulation import carbonate
from hardware.simulation.culture import (
    Culture,
    Drive,
    Plant,
    evaporation,
    inoculated,
    oxygen_saturation,
    oxygen_transfer,
    step,
)
from hardware.simulation.organism import (
    BIOMASS_ELECTRONS,
    BIOMASS_G,
    GLUCOSE_ELECTRONS,
    GLUCOSE_G,
    PRESETS,
    Organism,
    Preset,
)

ONE_IN_A_THOUSAND = 1e-3
STEP = 5.0


@dataclass
class Account:
    """Carbon (µmol), electrons (µmol) and volume (mL) that went in and out."""

    carbon: float = 0.0
    electrons: float = 0.0
    volume: float = 0.0


def organic(culture: Culture, preset: Preset) -> tuple[float, float]:
    """Return organic carbon and its electrons, mmol/L."""
    biomass = culture.biomass / BIOMASS_G * 1000
    glucose = culture.glucose / GLUCOSE_G * 1000
    carbon = biomass + glucose
    electrons = biomass * BIOMASS_ELECTRONS + glucose * GLUCOSE_ELECTRONS
    if (product := preset.organism.product) is not None:
        overflown = culture.product / product.carbon_g * 1000
        carbon += overflown
        electrons += overflown * product.electrons
    return carbon, electrons


def contents(culture: Culture, preset: Preset, plant: Plant) -> Account:
    carbon, electrons = organic(culture, preset)
    return Account(
        (carbon + culture.carbon) * culture.volume + culture.gas * (plant.vessel - culture.volume),
        (electrons - 4 * culture.oxygen / 32.0) * culture.volume,
        culture.volume,
    )


def lived(
    preset: Preset, plant: Plant, drives: list[Drive], culture: Culture
) -> tuple[Account, Account, Account, Culture]:
    """Return what was there, what came in less what went out, what is there, and the culture."""
    before, flows = contents(culture, preset, plant), Account()
    for drive in drives:
        was = culture
        culture = step(was, preset.organism, preset.medium, plant, drive, STEP)
        steam = evaporation(plant, was.temperature) * STEP
        fed, titrated = drive.media * STEP, (drive.acid + drive.base) * STEP
        out = was.volume + fed + titrated - steam - culture.volume
        fresh = inoculated(preset.organism, preset.medium, plant, 1.0)
        bought = organic(replace(fresh, biomass=0.0), preset)
        spent = organic(culture, preset)
        rise = culture.volume - was.volume
        left = plant.gas * 1000 / 60 * STEP
        headspace = plant.vessel - was.volume
        # The gas at the step's end before the liquid's rise or fall, as the exchange is implicit.
        gas = culture.gas
        if rise < 0:
            gas = (culture.gas * (headspace - rise) + rise * carbonate.AIR) / headspace
        flows.carbon += (bought[0] + fresh.carbon) * fed - (spent[0] + culture.carbon) * out
        flows.carbon += (carbonate.AIR - gas) * left
        flows.carbon -= gas * rise if rise > 0 else carbonate.AIR * rise
        filled = was.volume + fed + titrated
        transfer = oxygen_transfer(plant, drive.stirring) * STEP / 3600
        dissolved = transfer * (oxygen_saturation(was.temperature) - culture.oxygen) / 32.0 * filled
        flows.electrons += bought[1] * fed - spent[1] * out - 4 * dissolved
        flows.electrons -= 4 * (fresh.oxygen * fed - culture.oxygen * out) / 32.0
        flows.volume += fed + titrated - steam - out
    return before, flows, contents(culture, preset, plant), culture


def chemostat(hours: float, organism: Organism) -> list[Drive]:
    """Stirred and warm; every ten minutes medium, acid and base in and waste out."""
    duty = (organism.best - 1.0 - 23.25) / 0.6
    warm = Drive(duty=duty, stirring=900.0, light=60.0)
    media = 0.2 * organism.growth * 14.0 / 6 / STEP  # a fifth of the fastest growth
    cycle = [
        replace(warm, media=media),
        replace(warm, acid=0.001),
        replace(warm, base=0.001),
        replace(warm, waste=1.0),
        *[warm] * 116,
    ]
    return cycle * round(hours * 6)


@pytest.mark.parametrize("name", PRESETS)
def test_carbon_electrons_and_volume_balance(name: str) -> None:
    preset = PRESETS[name]
    plant = Plant(gas=preset.gas, humidity=preset.humidity)
    fresh = inoculated(preset.organism, preset.medium, plant, 15.0)
    begun = replace(fresh, temperature=30.0, readiness=1e6, biomass=0.3)
    before, flows, after, culture = lived(preset, plant, chemostat(12.0, preset.organism), begun)
    assert culture.biomass > begun.biomass
    turned_over = abs(before.carbon) + abs(after.carbon)
    assert after.carbon - before.carbon == pytest.approx(
        flows.carbon, abs=ONE_IN_A_THOUSAND * turned_over
    )
    assert after.volume - before.volume == pytest.approx(flows.volume, abs=1e-6)
    if preset.organism.light_half is None:
        turned_over = abs(before.electrons) + abs(after.electrons)
        assert after.electrons - before.electrons == pytest.approx(
            flows.electrons, abs=5 * ONE_IN_A_THOUSAND * turned_over
        )

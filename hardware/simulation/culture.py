"""A culture in a stirred vial: growth, gases, pH, heat and volume, as differential equations.

Pure: no clock, no noise. Numbers are from the hardware facts (recorded runs, tables, textbook);
times in the equations are seconds, rates in `Organism` are per hour as people know them. Carbon
and volume balance: what leaves one account arrives in another, whatever the step.
"""

import math
from dataclasses import dataclass
from typing import Final

from hardware.simulation import carbonate
from hardware.simulation.metabolism import Rates, grown, potential
from hardware.simulation.organism import Medium, Organism

_HOUR: Final = 3600.0
_KELVIN_J: Final = 110.0
"""Heat capacity of vial and block, J/K."""
_DRY: Final = 1.0
"""mL below which nothing evaporates any more: a film of culture stays."""
_WATER_J: Final = 4.18
"""Heat capacity of 1 mL of medium, J/K."""
_OXYGEN_G: Final = 32.0
_OXYGEN_J: Final = 500.0
"""Heat of respiration, J/mmol oxygen."""
OD_PER_GRAM: Final = 1 / 0.47
"""OD600 of 1 g dry biomass a litre."""
_OXYGEN_HELD: Final = 40.0
"""mg/L beyond which oxygen bubbles out."""


@dataclass(frozen=True, slots=True)
class Plant:
    """The vial around the culture.

    Attributes:
        ambient: °C.
        heat_gain: °C of steady rise for 1 % duty.
        heat_time: Time constant of the block, s; the middle of what was fitted to recorded runs.
        transfer_still: Oxygen transfer (kLa) without stirring, 1/h.
        transfer_stirred: Oxygen transfer at 800 rpm, 1/h.
        gas: Through the headspace, L/min; carries water and CO2 away.
        humidity: Of that gas, 0 is dry.
        straw: mL where the waste pump begins to draw air.
        capacity: mL where the vial spills.
        vessel: mL with all of the headspace.
        titrant: Acid and base, mmol/mL.
    """

    ambient: float = 23.25
    heat_gain: float = 0.60
    heat_time: float = 460.0
    transfer_still: float = 4.0
    transfer_stirred: float = 50.0
    gas: float = 0.002
    humidity: float = 0.0
    straw: float = 14.0
    capacity: float = 20.0
    vessel: float = 40.0
    titrant: float = 0.1


@dataclass(frozen=True, slots=True)
class Drive:
    """What acts on the culture during a step: % duty, rpm, % light, flows in mL/s."""

    duty: float = 0.0
    stirring: float = 0.0
    light: float = 0.0
    media: float = 0.0
    waste: float = 0.0
    acid: float = 0.0
    base: float = 0.0


@dataclass(frozen=True, slots=True)
class Culture:
    """The state of the vial.

    Attributes:
        volume: mL.
        biomass: g/L.
        glucose: g/L.
        oxygen: mg/L.
        acidity: Protons set free or added minus base, mmol/L; 0 is fresh medium.
        temperature: °C.
        readiness: Baranyi's physiological state; grows until the lag is over.
        product: What overflowed, g/L.
        carbon: Dissolved CO2 and bicarbonate, mmol/L.
        gas: CO2 in the headspace, mmol/L.
    """

    volume: float
    biomass: float
    glucose: float
    oxygen: float
    acidity: float
    temperature: float
    readiness: float
    product: float = 0.0
    carbon: float = 0.04
    gas: float = carbonate.AIR


def inoculated(organism: Organism, medium: Medium, plant: Plant, volume: float) -> Culture:
    """Return a fresh vial: OD 0.05 in fresh, aerated medium at ambient temperature."""
    return Culture(
        volume=volume,
        biomass=0.05 / OD_PER_GRAM,
        glucose=medium.glucose,
        oxygen=oxygen_saturation(plant.ambient),
        acidity=0.0,
        temperature=plant.ambient,
        readiness=1 / math.expm1(organism.lag),
        carbon=carbonate.fresh(medium, plant.ambient),
    )


def oxygen_saturation(temperature: float) -> float:
    """Return the oxygen in water below air, mg/L: 9.09, 8.26, 7.56, 6.9 at 20, 25, 30, 35 °C."""
    t = min(max(temperature, 0.0), 60.0)
    return 14.19 - 0.3265 * t + 0.00382 * t**2 - 0.0000107 * t**3


def ph(culture: Culture, medium: Medium) -> float:
    """Return the pH."""
    return carbonate.ph(medium, culture.acidity, culture.carbon)


def oxygen_transfer(plant: Plant, stirring: float) -> float:
    """Return kLa, 1/h."""
    gain = plant.transfer_stirred - plant.transfer_still
    return plant.transfer_still + gain * math.pow(max(stirring, 0.0) / 800.0, 1.5)


def evaporation(plant: Plant, temperature: float) -> float:
    """Return the water that the gas carries away, mL/s: 30 mg/L at 30 °C, 44 at 37 °C."""
    dryness = 1.0 - plant.humidity
    return (
        dryness
        * plant.gas
        * 30.0e-3
        * math.exp(math.log(44 / 30) / 7 * (temperature - 30.0))
        / 60.0
    )


def step(  # noqa: PLR0917 - the six things a step depends on
    culture: Culture,
    organism: Organism,
    medium: Medium,
    plant: Plant,
    drive: Drive,
    seconds: float,
) -> Culture:
    """Return the vial after a step during which everything that acts on it stays as it is.

    Stable at any step: heat and biomass are solved exactly, the gases implicitly (oxygen's demand
    is stiff when it runs out).
    """
    c, hours = culture, seconds / _HOUR
    inflow = drive.media + drive.acid + drive.base
    filled = c.volume + inflow * seconds
    kept, fresh = c.volume / filled, drive.media * seconds / filled  # parts of the mixture
    value = ph(c, medium)
    free = 1.0 - carbonate.bicarbonate(value)
    pot = potential(
        organism,
        Rates(
            temperature=c.temperature,
            ph=value,
            glucose=c.glucose,
            product=c.product,
            dissolved=c.carbon * free,
            light=drive.light,
            readiness=c.readiness,
        ),
    )
    transfer = oxygen_transfer(plant, drive.stirring) * hours
    biomass = c.biomass * kept
    meanwhile = biomass * math.exp(pot.growth * hours / 2.0) * hours * _OXYGEN_G
    oxygen = _implicit_oxygen(
        c.oxygen * kept + oxygen_saturation(plant.ambient) * fresh,
        pot.oxygen_made * meanwhile,
        transfer,
        oxygen_saturation(c.temperature),
        pot.oxygen_wanted * meanwhile,
        organism.oxygen_half,
    )
    after = grown(
        organism,
        pot,
        aerated=oxygen / (organism.oxygen_half + oxygen),
        biomass=biomass,
        glucose=c.glucose * kept + medium.glucose * fresh,
        product=c.product * kept,
        hours=hours,
    )
    inorganic = c.carbon * kept + carbonate.fresh(medium, plant.ambient) * fresh
    headspace = plant.vessel - c.volume
    carbon, gas = carbonate.exchange(
        inorganic + after.carbon_dioxide,
        c.gas,
        free,
        carbonate.Exchange(
            filled,
            headspace,
            transfer,
            plant.gas * 1000.0 / 60.0 * seconds / headspace,
            c.temperature,
        ),
    )
    steam = min(evaporation(plant, c.temperature) * seconds, filled / 2) if filled > _DRY else 0.0
    volume = _drained(filled - steam, plant, drive.waste * seconds)
    thicker = filled / (filled - steam)
    titrated = (drive.acid - drive.base) * plant.titrant * 1000.0 * seconds / filled
    heat = max(after.oxygen_used, 0.0) * filled / 1000.0 * _OXYGEN_J / seconds if seconds else 0.0
    return Culture(
        volume=volume,
        biomass=after.biomass * thicker,
        glucose=after.glucose * thicker,
        oxygen=min(oxygen, _OXYGEN_HELD),
        acidity=(c.acidity * kept + titrated + after.protons) * thicker,
        temperature=_warmed(c, plant, drive, heat, seconds),
        readiness=min(c.readiness * math.exp(organism.growth * hours), 1e6),
        product=after.product * thicker,
        carbon=max(carbon, 0.0) * thicker,
        gas=_breathed(gas, c.volume, volume, plant),
    )


def _drained(volume: float, plant: Plant, pumped: float) -> float:
    """Return what stays after the waste pump and the rim."""
    if pumped:
        volume = max(volume - pumped, min(volume, plant.straw))
    return min(volume, plant.capacity)


def _breathed(gas: float, before: float, volume: float, plant: Plant) -> float:
    """Return the headspace's CO2 when the liquid rose or fell; what comes in is air."""
    old, new = plant.vessel - before, plant.vessel - volume
    return gas if new <= old else (gas * old + carbonate.AIR * (new - old)) / new


def _implicit_oxygen(  # noqa: PLR0917 - the terms of one equation
    before: float, made: float, gain: float, saturation: float, use: float, half: float
) -> float:
    """Solve ``x = before + made + gain (saturation - x) - use x / (half + x)`` for x > 0."""
    total = max(before, 0.0) + made + gain * saturation
    a, b = 1.0 + gain, half * (1.0 + gain) + use - total
    return (-b + math.sqrt(b * b + 4.0 * a * half * total)) / (2.0 * a)


def _warmed(c: Culture, plant: Plant, drive: Drive, heat: float, seconds: float) -> float:
    loss = _KELVIN_J / plant.heat_time  # W/K
    pouring = (drive.media + drive.acid + drive.base) * _WATER_J  # W/K towards ambient
    rate = (loss + pouring) / _KELVIN_J
    settled = plant.ambient + (loss * plant.heat_gain * drive.duty + heat) / (loss + pouring)
    return settled + (c.temperature - settled) * math.exp(-rate * seconds)

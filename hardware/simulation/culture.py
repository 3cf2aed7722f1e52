"""A culture in a stirred vial: growth, oxygen, pH, heat and volume, as differential equations.

Pure: no clock, no noise. Numbers are from the hardware facts (recorded runs, tables, textbook);
times in the equations are seconds, rates in `Organism` are per hour as people know them.
"""

import math
from dataclasses import dataclass
from typing import Final

_HOUR: Final = 3600.0
_KELVIN_J: Final = 110.0
"""Heat capacity of vial and block, J/K."""
_DRY: Final = 1.0
"""mL below which nothing evaporates any more: a film of culture stays."""
_WATER_J: Final = 4.18
"""Heat capacity of 1 mL of medium, J/K."""
OD_PER_GRAM: Final = 1 / 0.47
"""OD600 of 1 g dry biomass a litre."""


@dataclass(frozen=True, slots=True)
class Organism:
    """How it grows; the default is E. coli on glucose and ammonium.

    Attributes:
        growth: Highest specific growth rate, 1/h.
        substrate_half: Glucose at half the growth rate, g/L.
        oxygen_half: Oxygen at half the growth rate, mg/L.
        biomass_yield: Biomass of glucose, g/g.
        maintenance: Glucose used without growing, g/g/h (Pirt).
        oxygen_yield: Biomass of oxygen, g/g.
        acid: Acid set free, mmol/g biomass.
        death: Loss when there is nothing left to live on, 1/h.
        lag: Work to be done before the first division (Baranyi's h0).
        coldest, best, hottest: Cardinal temperatures, °C.
        sourest, neutral, most_basic: Cardinal pH.
        light_harm: Part of the growth rate that full light takes.
    """

    growth: float = 0.80
    substrate_half: float = 0.01
    oxygen_half: float = 0.10
    biomass_yield: float = 0.5
    maintenance: float = 0.04
    oxygen_yield: float = 1.0
    acid: float = 9.5
    death: float = 0.01
    lag: float = 0.7
    coldest: float = 8.0
    best: float = 38.5
    hottest: float = 46.0
    sourest: float = 4.4
    neutral: float = 7.0
    most_basic: float = 9.5
    light_harm: float = 0.2


@dataclass(frozen=True, slots=True)
class Medium:
    """What fresh medium is: glucose g/L, pH, buffer mmol/L per pH."""

    glucose: float = 5.0
    ph: float = 7.2
    buffer: float = 57.0


@dataclass(frozen=True, slots=True)
class Plant:
    """The vial around the culture.

    Attributes:
        ambient: °C.
        heat_gain: °C of steady rise for 1 % duty.
        heat_time: Time constant of the block, s; the middle of what was fitted to recorded runs.
        transfer_still: Oxygen transfer (kLa) without stirring, 1/h.
        transfer_stirred: Oxygen transfer at 800 rpm, 1/h.
        gas: Dry gas through the headspace, L/min; carries water away.
        straw: mL where the waste pump begins to draw air.
        capacity: mL where the vial spills.
        titrant: Acid and base, mmol/mL.
    """

    ambient: float = 23.25
    heat_gain: float = 0.60
    heat_time: float = 460.0
    transfer_still: float = 4.0
    transfer_stirred: float = 50.0
    gas: float = 0.002
    straw: float = 14.0
    capacity: float = 20.0
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
        acidity: Acid set free or added minus base, mmol/L; 0 is fresh medium.
        temperature: °C.
        readiness: Baranyi's physiological state; grows until the lag is over.
    """

    volume: float
    biomass: float
    glucose: float
    oxygen: float
    acidity: float
    temperature: float
    readiness: float


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
    )


def oxygen_saturation(temperature: float) -> float:
    """Return the oxygen in water below air, mg/L: 9.09, 8.26, 7.56, 6.9 at 20, 25, 30, 35 °C."""
    t = min(max(temperature, 0.0), 60.0)
    return 14.19 - 0.3265 * t + 0.00382 * t**2 - 0.0000107 * t**3


def ph(culture: Culture, medium: Medium) -> float:
    """Return the pH; beyond the buffer's capacity it saturates softly."""
    drift = culture.acidity / medium.buffer
    return medium.ph - 4.0 * math.tanh(drift / 4.0)


def oxygen_transfer(plant: Plant, stirring: float) -> float:
    """Return kLa, 1/h."""
    gain = plant.transfer_stirred - plant.transfer_still
    return plant.transfer_still + gain * math.pow(max(stirring, 0.0) / 800.0, 1.5)


def warmth(organism: Organism, temperature: float) -> float:
    """Return the part of the growth rate at a temperature (Rosso's cardinal model)."""
    low, best, high = organism.coldest, organism.best, organism.hottest
    if not low < temperature < high:
        return 0.0
    above: float = (temperature - high) * (temperature - low) * (temperature - low)
    inner = (best - low) * (temperature - best) - (best - high) * (best + low - 2 * temperature)
    return above / ((best - low) * inner)


def sourness(organism: Organism, value: float) -> float:
    """Return the part of the growth rate at a pH (cardinal model)."""
    low, best, high = organism.sourest, organism.neutral, organism.most_basic
    if not low < value < high:
        return 0.0
    both = (value - low) * (value - high)
    return both / (both - (value - best) ** 2)


def aerobic_growth(organism: Organism, medium: Medium, culture: Culture, light: float) -> float:
    """Return the specific growth rate that oxygen would allow without limit, 1/h."""
    c, o = culture, organism
    return (
        o.growth
        * warmth(o, c.temperature)
        * sourness(o, ph(c, medium))
        * c.glucose
        / (o.substrate_half + c.glucose)
        * c.readiness
        / (1.0 + c.readiness)
        * (1.0 - o.light_harm * light / 100.0)
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

    Stable at any step: heat and biomass are solved exactly, oxygen implicitly (its demand is
    stiff when it runs out). Accurate to 0.1 % an hour at 5 s.
    """
    c, hours = culture, seconds / _HOUR
    inflow = drive.media + drive.acid + drive.base
    filled = c.volume + inflow * seconds
    kept, fresh = c.volume / filled, drive.media * seconds / filled  # parts of the mixture
    fed = c.glucose / (organism.substrate_half + c.glucose)
    growth = aerobic_growth(organism, medium, c, drive.light)
    upkeep = organism.maintenance * fed
    demand = 1000.0 * c.biomass * (growth / organism.oxygen_yield + upkeep)  # mg/L/h
    transfer = oxygen_transfer(plant, drive.stirring)
    saturation = oxygen_saturation(c.temperature)
    oxygen = _implicit_oxygen(
        c.oxygen * kept + oxygen_saturation(plant.ambient) * fresh,
        transfer * hours,
        saturation,
        demand * hours,
        organism.oxygen_half,
    )
    aerated = oxygen / (organism.oxygen_half + oxygen)
    made = growth * aerated
    biomass = c.biomass * kept * math.exp((made - organism.death * (1 - fed)) * hours)
    eaten = (made / organism.biomass_yield + upkeep * aerated) * c.biomass * hours
    steam = evaporation(plant, c.temperature) * seconds if c.volume > _DRY else 0.0
    pumped_out = drive.waste * seconds
    volume = filled - steam
    volume = max(volume - pumped_out, min(volume, plant.straw)) if pumped_out else volume
    titrated = (drive.acid - drive.base) * plant.titrant * 1000.0 * seconds / filled
    thicker = 1.0 + steam / c.volume
    heat = demand * aerated * c.volume / 1000.0 / 32.0 * 500.0 / _HOUR  # W, 0.5 kJ/mmol oxygen
    return Culture(
        volume=min(volume, plant.capacity),
        biomass=biomass * thicker,
        glucose=max(c.glucose * kept + medium.glucose * fresh - eaten, 0.0) * thicker,
        oxygen=oxygen,
        acidity=c.acidity * kept + titrated + organism.acid * max(made, 0.0) * c.biomass * hours,
        temperature=_warmed(c, plant, drive, heat, seconds),
        readiness=min(c.readiness * math.exp(organism.growth * hours), 1e6),
    )


def evaporation(plant: Plant, temperature: float) -> float:
    """Return the water that the gas carries away, mL/s: 30 mg/L at 30 °C, 44 at 37 °C."""
    return plant.gas * 30.0e-3 * math.exp(math.log(44 / 30) / 7 * (temperature - 30.0)) / 60.0


def _implicit_oxygen(
    before: float, gain: float, saturation: float, use: float, half: float
) -> float:
    """Solve ``x = before + gain (saturation - x) - use x / (half + x)`` for x > 0."""
    total = max(before, 0.0) + gain * saturation
    a, b = 1.0 + gain, half * (1.0 + gain) + use - total
    return (-b + math.sqrt(b * b + 4.0 * a * half * total)) / (2.0 * a)


def _warmed(c: Culture, plant: Plant, drive: Drive, heat: float, seconds: float) -> float:
    loss = _KELVIN_J / plant.heat_time  # W/K
    pouring = (drive.media + drive.acid + drive.base) * _WATER_J  # W/K towards ambient
    rate = (loss + pouring) / _KELVIN_J
    settled = plant.ambient + (loss * plant.heat_gain * drive.duty + heat) / (loss + pouring)
    return settled + (c.temperature - settled) * math.exp(-rate * seconds)

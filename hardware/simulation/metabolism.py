"""What the cells do in a step: grow, burn, overflow, eat what overflowed, die away.

Amounts of carbon and electrons decide: CO2 is the carbon that is in neither biomass nor product,
oxygen takes the electrons that neither took. Growth on light turns both around.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from hardware.simulation.organism import (
    BIOMASS_ELECTRONS,
    BIOMASS_G,
    GLUCOSE_ELECTRONS,
    GLUCOSE_G,
    Organism,
    sourness,
    warmth,
)


@dataclass(frozen=True, slots=True)
class Rates:
    """What growth depends on: °C, pH, g/L, mmol/L of CO2, % light, Baranyi's state."""

    temperature: float
    ph: float
    glucose: float
    product: float
    dissolved: float
    light: float
    readiness: float


@dataclass(frozen=True, slots=True)
class Pathway:
    """One way to grow.

    Attributes:
        growth: With all oxygen, 1/h.
        eaten: Food for 1 g of biomass, g.
        made: Product for 1 g of biomass, g.
        oxygen: For 1 g of biomass, mmol; below 0: set free.
        carbon_dioxide: From 1 g of biomass, mmol; below 0: taken up.
        breathes: Without oxygen it stands still.
    """

    growth: float
    eaten: float
    made: float
    oxygen: float
    carbon_dioxide: float
    breathes: bool


_NONE = Pathway(0.0, 0.0, 0.0, 0.0, 0.0, breathes=True)


@dataclass(frozen=True, slots=True)
class Potential:
    """What the cells would do with all oxygen.

    Attributes:
        burning: Growth on sugar that is burnt.
        overflow: Growth on sugar that overflows.
        product: Growth on what overflowed.
        light: Growth on light.
        upkeep: Sugar burnt without growth, g/g/h.
        death: Biomass that burns away for want of food, 1/h.
    """

    burning: Pathway
    overflow: Pathway
    product: Pathway
    light: Pathway
    upkeep: float
    death: float

    @property
    def growth(self) -> float:
        """All growth together, 1/h."""
        return sum(path.growth for path in self.pathways)

    @property
    def pathways(self) -> tuple[Pathway, Pathway, Pathway, Pathway]:
        """All ways to grow: burning, overflow, product, light."""
        return self.burning, self.overflow, self.product, self.light

    @property
    def oxygen_wanted(self) -> float:
        """Oxygen that would be used, mmol/g/h."""
        grown = (path.growth * path.oxygen for path in self.pathways if path.breathes)
        kept = self.upkeep / GLUCOSE_G * 1000.0 * GLUCOSE_ELECTRONS / 4.0
        return sum(grown) + kept + self.death * _BURNT

    @property
    def oxygen_made(self) -> float:
        """Oxygen set free in the light, mmol/g/h."""
        return -self.light.growth * self.light.oxygen


@dataclass(frozen=True, slots=True)
class Grown:
    """What is there after a step, per litre.

    Attributes:
        biomass: g/L.
        glucose: g/L.
        product: g/L.
        carbon_dioxide: Set free (taken up: below 0), mmol/L.
        oxygen_used: mmol/L.
        protons: Set free, mmol/L.
    """

    biomass: float
    glucose: float
    product: float
    carbon_dioxide: float
    oxygen_used: float
    protons: float


_CARBON = 1000.0 / BIOMASS_G
"""Carbon in biomass, mmol/g."""
_BURNT = _CARBON * BIOMASS_ELECTRONS / 4.0
"""Oxygen that burns biomass, mmol/g."""


def potential(organism: Organism, at: Rates) -> Potential:
    """Return what the cells would do with all the oxygen they want."""
    o = organism
    fit = warmth(o, at.temperature) * sourness(o, at.ph) * at.readiness / (1.0 + at.readiness)
    fit *= 1.0 - o.light_harm * at.light / 100.0
    if o.light_half is not None:
        bright = at.light / (o.light_half + at.light)
        rate = o.growth * fit * bright * at.dissolved / (o.carbon_half + at.dissolved)
        light = Pathway(rate, 0.0, 0.0, -_BURNT, -_CARBON, breathes=False)
        return Potential(_NONE, _NONE, _NONE, light, 0.0, o.death)
    fed = at.glucose / (o.substrate_half + at.glucose)
    hindered = 1.0 if o.product is None else 1.0 / (1.0 + at.product / o.product.inhibition)
    growth = o.growth * fit * fed * hindered
    burnt = min(growth, o.burning)
    return Potential(
        burning=_on_sugar(o, burnt, o.biomass_yield, 0.0, breathes=True),
        overflow=_on_sugar(
            o, growth - burnt, o.overflow_yield, o.overflow_carbon, breathes=not o.ferments
        ),
        product=_on_product(o, fit * (1.0 - fed), at.product),
        light=_NONE,
        upkeep=o.maintenance * fed,
        death=o.death * (1.0 - fed),
    )


def _on_sugar(
    o: Organism, growth: float, biomass_yield: float, overflow: float, *, breathes: bool
) -> Pathway:
    eaten = 1.0 / biomass_yield
    carbon = 1000.0 * eaten / GLUCOSE_G
    kept = carbon * overflow if o.product is not None else 0.0
    electrons, weight = (
        (0.0, 0.0) if o.product is None else (o.product.electrons, o.product.carbon_g)
    )
    used = carbon * GLUCOSE_ELECTRONS - _CARBON * BIOMASS_ELECTRONS - kept * electrons
    return Pathway(
        growth,
        eaten,
        kept * weight / 1000.0,
        used / 4.0,
        carbon - _CARBON - kept,
        breathes=breathes,
    )


def _on_product(o: Organism, fit: float, there: float) -> Pathway:
    p = o.product
    if p is None:
        return _NONE
    eaten = 1.0 / p.biomass_yield
    carbon = 1000.0 * eaten / p.carbon_g
    used = (carbon * p.electrons - _CARBON * BIOMASS_ELECTRONS) / 4.0
    rate = p.growth * fit * there / (p.half + there)
    return Pathway(rate, eaten, 0.0, used, carbon - _CARBON, breathes=True)


def grown(  # noqa: PLR0917 - the amounts a step begins with
    organism: Organism,
    pot: Potential,
    aerated: float,
    biomass: float,
    glucose: float,
    product: float,
    hours: float,
) -> Grown:
    """Return what is there after a step; nobody eats more than there is.

    Args:
        organism: Whose acids they are.
        pot: What the cells would do with all oxygen.
        aerated: The part of its oxygen that it gets.
        biomass: At the start, g/L.
        glucose: g/L.
        product: g/L.
        hours: Length of the step.
    """
    rates = [path.growth * (aerated if path.breathes else 1.0) for path in pot.pathways]
    total = sum(rates)
    # Over the step the cells multiply; each pathway has its part of what came to be.
    added = biomass * math.expm1(total * hours)
    burnt, overflown, regained, lit = (added * rate / total if total else 0.0 for rate in rates)
    upkeep = pot.upkeep * aerated * biomass * hours
    eaten = burnt * pot.burning.eaten + overflown * pot.overflow.eaten + upkeep
    enough = min(1.0, glucose / eaten) if eaten else 1.0
    burnt, overflown, upkeep = burnt * enough, overflown * enough, upkeep * enough
    wanted = regained * pot.product.eaten
    regained *= min(1.0, product / wanted) if wanted else 1.0
    parts = (burnt, overflown, regained, lit)
    alive = biomass + sum(parts)
    lost = alive * -math.expm1(-pot.death * aerated * hours)
    made = overflown * pot.overflow.made - regained * pot.product.eaten
    kept = upkeep / GLUCOSE_G * 1000.0
    acid = 0.0 if organism.product is None else organism.product.acid

    def over_all(of: Callable[[Pathway], float]) -> float:
        return sum(part * of(path) for part, path in zip(parts, pot.pathways, strict=True))

    return Grown(
        biomass=alive - lost,
        glucose=max(glucose - eaten * enough, 0.0),
        product=max(product + made, 0.0),
        carbon_dioxide=over_all(lambda path: path.carbon_dioxide) + kept + lost * _CARBON,
        oxygen_used=over_all(lambda path: path.oxygen)
        + kept * GLUCOSE_ELECTRONS / 4.0
        + lost * _BURNT,
        protons=organism.acid * sum(parts) + acid * made,
    )

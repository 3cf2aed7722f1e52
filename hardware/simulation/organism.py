"""What may grow in the vial, and in what: the numbers of each organism."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

BIOMASS_G: Final = 24.6
"""Dry biomass with 1 mol of carbon, CH1.8 O0.5 N0.2, g."""
GLUCOSE_G: Final = 30.03
"""Glucose with 1 mol of carbon, g."""
BIOMASS_ELECTRONS: Final = 4.2
"""Electrons that 1 mol of carbon in biomass gives to oxygen, nitrogen from ammonium."""
GLUCOSE_ELECTRONS: Final = 4.0


@dataclass(frozen=True, slots=True)
class Product:
    """What is set free when there is more sugar than can be burnt, and eaten when it is gone.

    Attributes:
        carbon_g: Product with 1 mol of carbon, g.
        electrons: That 1 mol of its carbon gives to oxygen.
        acid: Protons it sets free, mmol/g; 0 for an alcohol.
        inhibition: Product at half the growth rate, g/L.
        growth: Highest specific growth rate on it, 1/h.
        half: Product at half of that, g/L.
        biomass_yield: Biomass of it, g/g.
    """

    carbon_g: float
    electrons: float
    acid: float
    inhibition: float
    growth: float
    half: float
    biomass_yield: float


ACETATE: Final = Product(
    carbon_g=30.03,
    electrons=4.0,
    acid=16.7,
    inhibition=9.0,
    growth=0.15,
    half=0.1,
    biomass_yield=0.3,
)
"""Of E. coli; Ki of Xu 1999, the rest common values."""
ETHANOL: Final = Product(
    carbon_g=23.03,
    electrons=6.0,
    acid=0.0,
    inhibition=40.0,
    growth=0.10,
    half=0.1,
    biomass_yield=0.6,
)
"""Of yeast; common values."""


@dataclass(frozen=True, slots=True)
class Organism:
    """How it grows; the default is E. coli on glucose and ammonium.

    Sugar that feeds growth faster than `burning` takes the overflow's way: less biomass of it, and
    a product. What is neither in biomass nor in the product leaves as CO2, and oxygen takes the
    electrons that are left: carbon and electrons balance by construction.

    Attributes:
        growth: Highest specific growth rate, 1/h.
        burning: The fastest growth that burns all sugar, 1/h; faster growth overflows.
        substrate_half: Glucose at half the growth rate, g/L.
        oxygen_half: Oxygen at half the growth rate, mg/L.
        biomass_yield: Biomass of burnt glucose, g/g.
        overflow_yield: Biomass of glucose that overflows, g/g.
        overflow_carbon: Part of that glucose's carbon that becomes product.
        product: What overflows; None: nothing does.
        ferments: Overflow needs no oxygen.
        light_half: Light at half the growth rate, %, of what lives on light; None: on sugar.
        carbon_half: Dissolved CO2 at half the growth rate, mmol/L, of what lives on it.
        maintenance: Glucose used without growing, g/g/h (Pirt).
        acid: Protons set free by nitrogen uptake, mmol/g biomass; below 0 for nitrate.
        death: Loss when there is nothing left to live on, 1/h.
        lag: Work to be done before the first division (Baranyi's h0).
        coldest, best, hottest: Cardinal temperatures, °C.
        sourest, neutral, most_basic: Cardinal pH.
        light_harm: Part of the growth rate that full light takes.
    """

    growth: float = 0.80
    burning: float = 0.50
    substrate_half: float = 0.01
    oxygen_half: float = 0.10
    biomass_yield: float = 0.5
    overflow_yield: float = 0.4
    overflow_carbon: float = 0.22
    product: Product | None = ACETATE
    ferments: bool = False
    light_half: float | None = None
    carbon_half: float = 0.01
    maintenance: float = 0.04
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
    """What fresh medium is.

    Attributes:
        glucose: g/L.
        ph: In equilibrium with air, or as its carbonate makes it.
        buffer: mmol/L per pH, without what carbonate buffers.
        carbonate: Inorganic carbon beyond what air dissolves, mmol/L.
    """

    glucose: float = 5.0
    ph: float = 7.2
    buffer: float = 57.0
    carbonate: float = 0.0


@dataclass(frozen=True, slots=True)
class Preset:
    """An organism with the medium it is grown in and how it is aerated.

    Attributes:
        label: For people.
        gas: Through the headspace, L/min.
        humidity: Of that gas, 0 is dry.
    """

    label: str
    organism: Organism
    medium: Medium
    gas: float = 0.002
    humidity: float = 0.0


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "e-coli": Preset("Escherichia coli on glucose", Organism(), Medium()),
        # Growth: BioNumbers; overflow: all of the reduced carbon that no oxygen takes is ethanol;
        # cardinal temperatures: Salvadó 2011.
        "yeast": Preset(
            "Saccharomyces cerevisiae on glucose",
            Organism(
                growth=0.46,
                burning=0.25,
                substrate_half=0.10,
                overflow_yield=0.10,
                overflow_carbon=0.581,
                product=ETHANOL,
                ferments=True,
                maintenance=0.02,
                acid=7.0,
                death=0.004,
                lag=0.8,
                coldest=2.8,
                best=32.3,
                hottest=45.4,
                sourest=2.2,
                neutral=5.5,
                most_basic=8.5,
                light_harm=0.05,
            ),
            Medium(glucose=10.0, ph=5.5, buffer=30.0),
        ),
        # Growth: common values. Nitrate uptake consumes about a proton for each nitrogen:
        # 0.2 mol in 24.6 g.
        "microalga": Preset(
            "Chlorella on light and nitrate",
            Organism(
                growth=0.08,
                burning=0.08,
                product=None,
                light_half=20.0,
                maintenance=0.0,
                acid=-8.1,
                death=0.002,
                lag=0.4,
                coldest=5.0,
                best=30.0,
                hottest=39.0,
                sourest=4.5,
                neutral=7.5,
                most_basic=10.8,
                light_harm=0.0,
            ),
            Medium(glucose=0.0, ph=7.5, buffer=5.0, carbonate=5.0),
            gas=0.05,
            humidity=0.95,
        ),
    }
)
"""By name, as in the node's settings."""


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

"""CO2 between the culture and the gas above it, and the pH that carbonic acid shares in.

Inorganic carbon in the liquid is CO2 and bicarbonate (pKa 6.35; carbonate above pH 9 is left out).
The medium's buffer and bicarbonate take up the same protons, so that pH is one equation.
"""

import math
from dataclasses import dataclass
from typing import Final

from hardware.simulation.organism import Medium

_PKA: Final = 6.35
_MOLAR_L: Final = 25.0
"""Volume of 1 mol of gas near room temperature, L."""
AIR_PPM: Final = 420.0
_TRANSFER: Final = 0.91
"""kLa of CO2 over that of oxygen: the root of their diffusion coefficients' ratio."""
_EXACT: Final = 1e-9
_REACH: Final = 4.0
"""pH units beyond which the buffer is used up and the pH hardly moves any more."""


def in_gas(ppm: float) -> float:
    """Return the CO2 in a gas, mmol/L."""
    return ppm * 1e-3 / _MOLAR_L


def ppm_of(gas: float) -> float:
    """Return the parts per million of a gas with so much CO2, mmol/L."""
    return gas * _MOLAR_L * 1e3


AIR: Final = in_gas(AIR_PPM)
"""CO2 in air, mmol/L."""


def solubility(temperature: float) -> float:
    """Return CO2 in water over CO2 in the gas, both mmol/L: 0.83, 0.74, 0.63 at 25, 30, 37 °C."""
    return 0.83 * math.exp(-0.0235 * (temperature - 25.0))


def bicarbonate(ph: float) -> float:
    """Return the part of inorganic carbon that is bicarbonate."""
    return 1.0 / (1.0 + math.pow(10.0, _PKA - ph))


def fresh(medium: Medium, temperature: float) -> float:
    """Return the inorganic carbon of fresh medium, mmol/L: what air dissolves, what was added."""
    return solubility(temperature) * AIR / (1.0 - bicarbonate(medium.ph)) + medium.carbonate


def ph(medium: Medium, acidity: float, carbon: float) -> float:
    """Return the pH; beyond the buffer's reach it saturates softly.

    Args:
        medium: Its buffer, and the pH it has fresh at 25 °C.
        acidity: Protons set free or added, minus base, mmol/L; 0 is fresh medium.
        carbon: Inorganic carbon, mmol/L.
    """
    at_rest = fresh(medium, 25.0) * bicarbonate(medium.ph)
    value = medium.ph
    low, high = medium.ph - _REACH, medium.ph + _REACH
    for _ in range(60):
        ionised = bicarbonate(value)
        bend = math.tanh((acidity + carbon * ionised - at_rest) / medium.buffer / _REACH)
        miss = medium.ph - _REACH * bend - value  # falls as the value rises: one root
        if abs(miss) < _EXACT:
            break
        low, high = (value, high) if miss > 0 else (low, value)
        slope = -1.0 - (1.0 - bend * bend) * carbon * math.log(10.0) * ionised * (1.0 - ionised) / (
            medium.buffer
        )
        value -= miss / slope
        if not low < value < high:
            value = (low + high) / 2.0
    return value


@dataclass(frozen=True, slots=True)
class Exchange:
    """What liquid and gas share during a step.

    Attributes:
        liquid: mL.
        headspace: mL.
        transfer: Oxygen transfer times the step, of no unit.
        flushed: Headspaces of fresh gas that come during the step.
        temperature: °C.
    """

    liquid: float
    headspace: float
    transfer: float
    flushed: float
    temperature: float


def exchange(carbon: float, gas: float, free: float, between: Exchange) -> tuple[float, float]:
    """Return inorganic carbon and the gas's CO2 after a step, mmol/L.

    Implicit, so stable at any step; what leaves the one arrives in the other, to the last digit.

    Args:
        carbon: Before, with what the culture made, mmol/L.
        gas: CO2 of the headspace before, mmol/L.
        free: The part of inorganic carbon that is dissolved CO2.
        between: How fast.
    """
    speed = _TRANSFER * between.transfer
    ratio = between.liquid / between.headspace
    a, b = 1.0 + speed * free, -speed * solubility(between.temperature)
    c, d = -speed * free * ratio, 1.0 + between.flushed - b * ratio
    known = gas + between.flushed * AIR
    whole = a * d - b * c
    return (carbon * d - b * known) / whole, (a * known - c * carbon) / whole

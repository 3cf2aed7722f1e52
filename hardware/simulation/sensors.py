"""What the simulated sensors show of the culture: noise, steps and drift are those recorded."""

import random
from collections.abc import Mapping
from typing import Final

from hardware.simulation.carbonate import ppm_of
from hardware.simulation.culture import OD_PER_GRAM, Culture, oxygen_saturation, ph
from hardware.simulation.organism import Medium
from hardware.simulation.wear import Wear

_DS18B20_STEP: Final = 0.0625
_TEMPERATURE_NOISE: Final = 0.02
_PH_NOISE: Final = 0.004
_OXYGEN_NOISE: Final = 0.005
_VOLUME_NOISE: Final = 0.03
_CO2_STEP: Final = 10.0
_CO2_NOISE: Final = 0.015
_CO2_HIGHEST: Final = 65_000.0
"""ppm; infrared sensors show no more."""


def scatter_noise(od: float) -> float:
    """Return the standard deviation of a density reading.

    Scattered light at 135° is a background as strong as the light of OD 1, plus the culture's;
    its noise was recorded as 0.5 % of the signal at the start and 2 % in a dense culture.
    """
    od = max(od, 0.0)
    return (1.0 + od) * (0.0052 + 0.0165 * od / (od + 0.85))


def observe(
    culture: Culture, medium: Medium, wear: Wear, chance: random.Random
) -> Mapping[str, float]:
    """Return one reading of every sensor."""
    od = culture.biomass * OD_PER_GRAM
    temperature = culture.temperature + chance.gauss(0.0, _TEMPERATURE_NOISE)
    saturation = 100.0 * culture.oxygen / oxygen_saturation(culture.temperature)
    ppm = ppm_of(culture.gas) * (1.0 + chance.gauss(0.0, _CO2_NOISE))
    drift = wear.drift
    return {
        "od": od * (1.0 + drift.get("od", 0.0)) + chance.gauss(0.0, scatter_noise(od)),
        "temperature": _stepped(temperature, _DS18B20_STEP),
        "ph": ph(culture, medium) + drift.get("ph", 0.0) + chance.gauss(0.0, _PH_NOISE),
        "do": max(
            0.0,
            saturation * (1.0 + drift.get("do", 0.0)) * (1.0 + chance.gauss(0.0, _OXYGEN_NOISE)),
        ),
        "co2": min(_stepped(ppm, _CO2_STEP), _CO2_HIGHEST),
        "volume": culture.volume + chance.gauss(0.0, _VOLUME_NOISE),
    }


def _stepped(value: float, step: float) -> float:
    return round(value / step) * step

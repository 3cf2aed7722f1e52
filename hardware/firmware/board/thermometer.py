"""The culture's temperature: a thermistor, averaged, and unknown when it cannot be right."""

import math

from . import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hardware.firmware.pins import Adc, Ticks

_PERIOD = 100
_READINGS = 32
_FULL = 65535.0
_OPEN, _SHORT = 0.98, 0.02
"""Parts of the supply beyond which the thermistor is broken off or short."""
_KELVIN = 273.15
_NOMINAL = 25.0 + _KELVIN


class Thermometer:
    """Measures ten times a second."""

    def __init__(self, adc: "Adc", ticks: "Ticks") -> None:
        self._adc = adc
        self._ticks = ticks
        self._due = ticks.ticks_ms()
        self.celsius: float | None = None

    def step(self) -> None:
        """Measure if it is time to."""
        now = self._ticks.ticks_ms()
        if self._ticks.ticks_diff(now, self._due) >= 0:
            self._due = self._ticks.ticks_add(now, _PERIOD)
            self.measure()

    def measure(self) -> None:
        """Measure now."""
        total = 0
        for _ in range(_READINGS):
            total += self._adc.read_u16()
        self.celsius = celsius(total / _READINGS / _FULL)


def celsius(part: float) -> "float | None":
    """Return the temperature from the part of the supply at the pin (the beta equation)."""
    if not _SHORT < part < _OPEN:
        return None
    ohm = settings.DIVIDER_OHM * part / (1.0 - part)
    inverse = 1.0 / _NOMINAL + math.log(ohm / settings.THERMISTOR_OHM) / settings.THERMISTOR_BETA
    return 1.0 / inverse - _KELVIN

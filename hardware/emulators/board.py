"""Our controller board: its firmware, as it is, on an emulated chip."""

import math
from collections.abc import Callable
from typing import ClassVar, Final

from hardware.emulators.chip import Chip
from hardware.emulators.emulator import Constant, EmulatedDevice, Source
from hardware.emulators.faults import ANYWHERE, Fault
from hardware.firmware.board import settings
from hardware.firmware.board.controller import Controller
from hardware.firmware.board.line import sealed

_TICK: Final = 0.005
"""Seconds between two looks of the emulated chip at its pins …"""
_PASS: Final = 0.001
"""Seconds that the real one waits between two; what a busy host keeps this one from is made up."""
_WRAP: Final = 2**30
_OUTPUTS: Final = {
    settings.HEATER_PIN: ("heater", 100.0),
    settings.STIRRER_PIN: ("stirring", settings.STIRRER_FULL),
    settings.LIGHT_PIN: ("light", 100.0),
}


class EmulatedBoard(EmulatedDevice):
    """The board and what it is wired to.

    Args:
        temperature: °C at the thermistor; NaN where it is broken off.
        signal: mV at the culture's photodiode in the measuring light.
        reference: mV at the reference photodiode in the measuring light.
        dark: mV of both in the dark.
        driven: Told of each output that is driven otherwise: its name and its value.
    """

    known_faults: ClassVar[frozenset[Fault]] = ANYWHERE | {Fault.CORRUPT, Fault.UNSOLICITED}
    chatter: ClassVar[bytes] = sealed("<65535 ok state=live temperature=99.000C")

    def __init__(
        self,
        *,
        temperature: Source | None = None,
        signal: Source | None = None,
        reference: Source | None = None,
        dark: float = 12.0,
        driven: Callable[[str, float], None] = lambda _output, _value: None,
    ) -> None:
        self.temperature = Constant(25.0) if temperature is None else temperature
        self._diodes = {
            settings.OD_SIGNAL_ADC: Constant(800.0) if signal is None else signal,
            settings.OD_REFERENCE_ADC: Constant(1500.0) if reference is None else reference,
        }
        self._dark = dark
        self._driven = driven
        self._coming = b""
        self._chip = Chip(self._analog, self._changed)
        self._controller: Controller | None = None
        self._stepped = 0.0

    def power_up(self) -> None:
        """Start the firmware."""
        self._coming = b""
        self._chip = Chip(self._analog, self._changed)
        self._controller = Controller(self._chip, self, self)
        self._stepped = self.line.now()
        self._tick()

    def receive(self, data: bytes) -> None:
        """Hear bytes."""
        self._coming += data
        if self._controller is not None:
            self._controller.step()

    def output(self, name: str) -> float:
        """Return what an output really is, in its unit."""
        for pin, (output, full) in _OUTPUTS.items():
            if output == name:
                return self._chip.driven[pin] * full
        raise ValueError(f"the board has no output {name}")

    # The chip's time and line, as the firmware sees them.

    def ticks_ms(self) -> int:
        """Return now in ms."""
        return int(self.line.now() * 1000.0) % _WRAP

    def ticks_add(self, ticks: int, delta: int) -> int:
        """Return an instant some ms after another."""
        return (ticks + delta) % _WRAP

    def ticks_diff(self, end: int, start: int) -> int:
        """Return the ms from one instant to another."""
        return (end - start + _WRAP // 2) % _WRAP - _WRAP // 2

    def read(self) -> bytes:
        """Return what the host has sent."""
        data, self._coming = self._coming, b""
        return data

    def write(self, data: bytes) -> None:
        """Send to the host."""
        self.line.send(data)

    # What the chip is wired to.

    def _tick(self) -> None:
        passes = max(1, round((self.line.now() - self._stepped) / _PASS))
        self._stepped = self.line.now()
        if self._controller is not None:
            self._controller.step()
            while passes > 1 and self._controller.parts.optics.busy:
                self._controller.step()
                passes -= 1
        self.line.later(_TICK, self._tick)

    def _analog(self, number: int) -> float:
        if number == settings.THERMISTOR_ADC:
            return thermistor(self.line.sense(self.temperature))
        lit = self._chip.driven.get(settings.OD_LED_PIN, 0.0)
        light = self.line.sense(self._diodes[number]) if lit else 0.0
        return (self._dark + light) / settings.SUPPLY

    def _changed(self, number: int, driven: float) -> None:
        if number in _OUTPUTS:
            name, full = _OUTPUTS[number]
            self._driven(name, driven * full)


def thermistor(temperature: float) -> float:
    """Return the part of the supply at the thermistor's pin at a temperature."""
    if math.isnan(temperature):
        return 1.0
    ratio = settings.THERMISTOR_BETA * (1.0 / (temperature + 273.15) - 1.0 / 298.15)
    ohm = settings.THERMISTOR_OHM * math.exp(ratio)
    return ohm / (ohm + settings.DIVIDER_OHM)

"""The firmware on a chip whose voltages and time a test sets."""

from collections.abc import Mapping

from hardware.emulators.chip import Chip
from hardware.firmware.board import settings
from hardware.firmware.board.controller import Controller
from hardware.firmware.board.line import sealed

WRAP = 2**30
ROOM = 0.5
"""Part of the supply at the thermistor at 25 °C."""


class Ticks:
    """MicroPython's milliseconds, which wrap around."""

    def __init__(self, start: int = WRAP - 500) -> None:
        self.now = start

    def ticks_ms(self) -> int:
        return self.now % WRAP

    def ticks_add(self, ticks: int, delta: int) -> int:
        return (ticks + delta) % WRAP

    def ticks_diff(self, end: int, start: int) -> int:
        return (end - start + WRAP // 2) % WRAP - WRAP // 2


class Wire:
    """The line to the host, in a test's hands."""

    def __init__(self) -> None:
        self.coming = b""
        self.said = b""

    def read(self) -> bytes:
        data, self.coming = self.coming, b""
        return data

    def write(self, data: bytes) -> None:
        self.said += data


class Bench:
    """A board that was just switched on."""

    def __init__(self) -> None:
        self.ticks = Ticks()
        self.wire = Wire()
        self.thermistor = ROOM
        self.signal = 0.4
        self.reference = 0.6
        self.chip = Chip(self._analog)
        self.controller = Controller(self.chip, self.ticks, self.wire)
        self._number = 100

    def _analog(self, number: int) -> float:
        lit = self.chip.driven.get(settings.OD_LED_PIN, 0.0) > 0
        return {
            settings.THERMISTOR_ADC: self.thermistor,
            settings.OD_SIGNAL_ADC: 0.01 + lit * self.signal,
            settings.OD_REFERENCE_ADC: 0.02 + lit * self.reference,
        }[number]

    def run(self, milliseconds: int) -> None:
        for _ in range(milliseconds):
            self.ticks.now += 1
            self.controller.step()

    def send(self, data: bytes, *, wait: int = 5) -> list[str]:
        """Send bytes and return the lines that the board says within some ms, ends cut off."""
        self.wire.said = b""
        self.wire.coming = data
        self.run(wait)
        return self.wire.said.decode().splitlines()

    def ask(self, text: str, *, wait: int = 5) -> str:
        """Send a request and return what the reply says after its number."""
        self._number += 1
        (line,) = self.send(sealed(f">{self._number} {text}"), wait=wait)
        assert sealed(line[:-5]) == line.encode() + b"\n"
        assert line.startswith(f"<{self._number} ")
        return line.partition(" ")[2][:-5]

    def fields(self, text: str, *, wait: int = 5) -> Mapping[str, str]:
        reply = self.ask(text, wait=wait)
        status, *words = reply.split(" ")
        assert status == "ok", reply
        return dict(word.split("=", 1) for word in words)

    def driven(self) -> dict[str, float]:
        pins = {
            "heater": settings.HEATER_PIN,
            "stirring": settings.STIRRER_PIN,
            "light": settings.LIGHT_PIN,
            "led": settings.OD_LED_PIN,
        }
        return {name: round(self.chip.driven[pin], 3) for name, pin in pins.items()}

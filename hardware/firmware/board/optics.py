"""Optical density: the measuring light on, settle, average; off, settle, average the dark.

A measurement goes on over many steps of the board, so that nothing else waits for it.
"""

from . import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hardware.firmware.pins import Adc, Pin, Ticks

    from .outputs import Output

_FULL = 65535.0
_CLIPPED = 0.98


class Optics:
    """The measuring light and its two photodiodes."""

    def __init__(
        self, led: "Pin", signal: "Adc", reference: "Adc", light: "Output", ticks: "Ticks"
    ) -> None:
        self._led = led
        self._diodes = (signal, reference)
        self._light = light
        self._ticks = ticks
        self._running: Iterator[None] | None = None
        self._bright = (0.0, 0.0)
        self._dark = (0.0, 0.0)
        self._clipped = False
        led.value(0)

    @property
    def busy(self) -> bool:
        """Whether a measurement is under way."""
        return self._running is not None

    def start(self) -> None:
        """Begin a measurement."""
        self._running = self._measure()

    def step(self) -> "list[str] | None":
        """Go on; return the fields of the result when it is complete."""
        if self._running is None:
            return None
        for _ in self._running:
            return None
        self.stop()
        return self._fields()

    def stop(self) -> None:
        """End a measurement, complete or not."""
        self._running = None
        self._led.value(0)
        self._light.blank(False)

    def _measure(self) -> "Iterator[None]":
        self._clipped = False
        self._light.blank(True)
        self._led.value(1)
        yield from self._settle()
        self._bright = yield from self._average()
        self._led.value(0)
        yield from self._settle()
        self._dark = yield from self._average()

    def _settle(self) -> "Iterator[None]":
        begun = self._ticks.ticks_ms()
        while self._ticks.ticks_diff(self._ticks.ticks_ms(), begun) < settings.SETTLE:
            yield

    def _average(self) -> "Generator[None, None, tuple[float, float]]":
        sums = [0, 0]
        for _ in range(settings.SAMPLES):
            for index, diode in enumerate(self._diodes):
                count = diode.read_u16()
                self._clipped = self._clipped or count > _CLIPPED * _FULL
                sums[index] += count
            yield
        scale = settings.SUPPLY / _FULL / settings.SAMPLES
        return sums[0] * scale, sums[1] * scale

    def _fields(self) -> "list[str]":
        (signal, reference), (signal_dark, reference_dark) = self._bright, self._dark
        return [
            f"signal={signal - signal_dark:.3f}mV",
            f"reference={reference - reference_dark:.3f}mV",
            f"dark={signal_dark:.3f}mV",
            f"reference-dark={reference_dark:.3f}mV",
            f"samples={settings.SAMPLES}",
            f"clipped={int(self._clipped)}",
        ]

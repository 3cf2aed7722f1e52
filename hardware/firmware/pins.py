"""What the firmware asks of MicroPython, for those that stand in for it.

Never on the board: the firmware names these types in its annotations alone, and MicroPython does
not know all of their syntax.
"""

from typing import Protocol


class Pin(Protocol):
    """A digital pin."""

    def value(self, level: int, /) -> None:
        """Drive the pin."""
        ...


class Pwm(Protocol):
    """A pin that is on for part of the time."""

    def duty_u16(self, duty: int, /) -> None:
        """Set the part of the time, 0 to 65535."""
        ...


class Adc(Protocol):
    """A pin whose voltage is measured."""

    def read_u16(self) -> int:
        """Return the voltage, 65535 being the reference voltage."""
        ...


class Watchdog(Protocol):
    """It resets the chip unless it is fed in time."""

    def feed(self) -> None:
        """Begin its time anew."""
        ...


class PinMaker(Protocol):
    """The class `machine.Pin`."""

    OUT: int

    def __call__(self, number: int, mode: int, /, *, value: int = 0) -> Pin:
        """Return a pin."""
        ...


class PwmMaker(Protocol):
    """The class `machine.PWM`."""

    def __call__(self, pin: Pin, /, *, freq: int, duty_u16: int) -> Pwm:
        """Return a pin that is driven so."""
        ...


class AdcMaker(Protocol):
    """The class `machine.ADC`."""

    def __call__(self, number: int, /) -> Adc:
        """Return a pin that is measured."""
        ...


class WatchdogMaker(Protocol):
    """The class `machine.WDT`."""

    def __call__(self, *, timeout: int) -> Watchdog:
        """Start the watchdog; timeout in ms."""
        ...


class Machine(Protocol):
    """The module `machine`, as much of it as the firmware uses."""

    WDT_RESET: int

    @property
    def Pin(self) -> PinMaker:  # noqa: N802 - MicroPython's name
        """Digital pins."""
        ...

    @property
    def PWM(self) -> PwmMaker:  # noqa: N802 - MicroPython's name
        """Pins that are driven for part of the time."""
        ...

    @property
    def ADC(self) -> AdcMaker:  # noqa: N802 - MicroPython's name
        """Pins that are measured."""
        ...

    @property
    def WDT(self) -> WatchdogMaker:  # noqa: N802 - MicroPython's name
        """The watchdog."""
        ...

    def reset_cause(self) -> int:
        """Return why the chip started."""
        ...

    def unique_id(self) -> bytes:
        """Return the chip's own number."""
        ...

    def idle(self) -> None:
        """Wait for about a millisecond."""
        ...


class Ticks(Protocol):
    """The module `time`, as much of it as the firmware uses: milliseconds that wrap around."""

    def ticks_ms(self) -> int:
        """Return now."""
        ...

    def ticks_add(self, ticks: int, delta: int, /) -> int:
        """Return an instant some ms after another."""
        ...

    def ticks_diff(self, end: int, start: int, /) -> int:
        """Return the ms from one instant to another, less than six days apart."""
        ...


class Port(Protocol):
    """The line to the host."""

    def read(self) -> bytes:
        """Return what has come, empty if nothing has."""
        ...

    def write(self, data: bytes, /) -> None:
        """Send."""
        ...


class Source(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes | None:
        """Return some bytes."""
        ...


class Sink(Protocol):
    """A stream of bytes."""

    def write(self, data: bytes, /) -> int | None:
        """Send."""
        ...


class Poll(Protocol):
    """Knows whether a source has something."""

    def poll(self, timeout: int, /) -> list[tuple[int, int]]:
        """Return what is ready."""
        ...

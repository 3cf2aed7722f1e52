"""An RP2040 as far as the board's firmware touches it: MicroPython's module `machine`.

Written in what MicroPython and Python share, so that the tests can put it below the firmware on
either. Pins are numbered as on the chip; voltages are parts of the supply, 0 to 1.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hardware.firmware.pins import Pin

_FULL = 65535


class ChipPin:
    """A digital pin."""

    def __init__(self, chip: "Chip", number: int, level: int) -> None:
        self._chip = chip
        self.number = number
        self.value(level)

    def value(self, level: int) -> None:
        """Drive the pin."""
        self._chip.drive(self.number, float(level))


class ChipPwm:
    """A pin that is on for part of the time."""

    def __init__(self, chip: "Chip", number: int, duty: int) -> None:
        self._chip = chip
        self._number = number
        self.duty_u16(duty)

    def duty_u16(self, duty: int) -> None:
        """Set the part of the time."""
        self._chip.drive(self._number, duty / _FULL)


class ChipAdc:
    """A pin whose voltage is measured, with the 12 bits that the chip has."""

    def __init__(self, chip: "Chip", number: int) -> None:
        self._chip = chip
        self._number = number

    def read_u16(self) -> int:
        """Return the voltage."""
        part = min(max(self._chip.analog(self._number), 0.0), 1.0)
        count = int(part * 4095 + 0.5)
        return count << 4 | count >> 8


class ChipWatchdog:
    """It counts how often it was fed; whoever emulates power decides what its end means."""

    def __init__(self, timeout: int) -> None:
        self.timeout = timeout
        self.fed = 0

    def feed(self) -> None:
        """Begin its time anew."""
        self.fed += 1


class Pins:
    """The class `machine.Pin`."""

    OUT = 1

    def __init__(self, chip: "Chip") -> None:
        self._chip = chip

    def __call__(self, number: int, _mode: int, *, value: int = 0) -> ChipPin:
        """Return a pin."""
        return ChipPin(self._chip, number, value)


class Chip:
    """The module `machine`.

    Args:
        analog: The voltage at a pin.
        changed: Told of each pin that is driven otherwise, with the part of the time it is on.
        idle: Waits for about a millisecond.
        cause: Why the chip started.
    """

    PWRON_RESET = 1
    WDT_RESET = 3

    def __init__(
        self,
        analog: "Callable[[int], float]",
        changed: "Callable[[int, float], None] | None" = None,
        idle: "Callable[[], None] | None" = None,
        cause: int = PWRON_RESET,
    ) -> None:
        self.analog = analog
        self.driven: dict[int, float] = {}
        self._changed = changed
        self._idle = idle
        self._cause = cause
        self.watchdog: ChipWatchdog | None = None
        self.Pin = Pins(self)

    def PWM(self, pin: "Pin", *, freq: int, duty_u16: int) -> ChipPwm:  # noqa: ARG002, N802
        """Return a pin that is driven so; what it drives is too slow to see the frequency."""
        if not isinstance(pin, ChipPin):
            raise TypeError("a pin of this chip is wanted")
        return ChipPwm(self, pin.number, duty_u16)

    def ADC(self, number: int) -> ChipAdc:  # noqa: N802
        """Return a pin that is measured."""
        return ChipAdc(self, number)

    def WDT(self, *, timeout: int) -> ChipWatchdog:  # noqa: N802
        """Start the watchdog."""
        self.watchdog = ChipWatchdog(timeout)
        return self.watchdog

    def reset_cause(self) -> int:
        """Return why the chip started."""
        return self._cause

    def unique_id(self) -> bytes:
        """Return the chip's own number."""
        return b"\xe6\x60\x38\xb7\x13\x4c\x2a\x31"

    def idle(self) -> None:
        """Wait for about a millisecond."""
        if self._idle is not None:
            self._idle()

    def drive(self, number: int, part: float) -> None:
        """Drive a pin; for the pins."""
        if self.driven.get(number) != part:
            self.driven[number] = part
            if self._changed is not None:
                self._changed(number, part)

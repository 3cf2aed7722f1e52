"""Outputs: off when they are made, in physical units, 0 is off for each of them."""

from . import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hardware.firmware.pins import Machine, Pin, Pwm

_FULL = 65535


class Output:
    """A pin that is driven for part of the time.

    `least` and `most` bound what may be set beside 0; `full` is the value at 100 % duty.
    """

    def __init__(  # noqa: PLR0917 - read as the rows of a table
        self, pwm: "Pwm", unit: str, decimals: int, least: float, most: float, full: float
    ) -> None:
        self._pwm = pwm
        self.unit = unit
        self.decimals = decimals
        self._least = least
        self._most = most
        self._full = full
        self._blanked = False
        self.value = 0.0
        self._drive()

    def allows(self, value: float) -> bool:
        """Whether the value is within the limits."""
        return value == 0.0 or self._least <= value <= self._most

    def set(self, value: float) -> None:
        """Drive the pin; the value was found to be allowed."""
        self.value = value
        self._drive()

    def off(self) -> None:
        """Switch off."""
        self.set(0.0)

    def blank(self, blanked: bool) -> None:
        """Keep the pin dark for a moment, whatever the value is."""
        self._blanked = blanked
        self._drive()

    def _drive(self) -> None:
        part = 0.0 if self._blanked else abs(self.value) / self._full
        self._pwm.duty_u16(min(_FULL, int(part * _FULL + 0.5)))


class Peltier(Output):
    """An output with two directions: negative values cool."""

    def __init__(self, pwm: "Pwm", direction: "Pin") -> None:
        self._direction = direction
        self._cooling = False
        super().__init__(pwm, "%", 1, -settings.COOLER_MOST, settings.HEATER_MOST, 100.0)

    def set(self, value: float) -> None:
        """Drive the bridge, which is never switched over under current."""
        cooling = value < 0
        if cooling != self._cooling:
            super().set(0.0)
            self._direction.value(int(cooling))
            self._cooling = cooling
        super().set(value)


def make(
    machine: "Machine", direction: "int | None" = settings.HEATER_DIRECTION_PIN
) -> "dict[str, Output]":
    """Return the board's outputs, all of them off."""

    def pwm(number: int, hertz: int) -> "Pwm":
        pin = machine.Pin(number, machine.Pin.OUT, value=0)
        return machine.PWM(pin, freq=hertz, duty_u16=0)

    drive = pwm(settings.HEATER_PIN, settings.HEATER_HZ)
    if direction is None:
        heater = Output(drive, "%", 1, 0.0, settings.HEATER_MOST, 100.0)
    else:
        turn = machine.Pin(direction, machine.Pin.OUT, value=0)
        heater = Peltier(drive, turn)
    return {
        "heater": heater,
        "stirring": Output(
            pwm(settings.STIRRER_PIN, settings.STIRRER_HZ),
            "rpm",
            0,
            settings.STIRRER_LEAST,
            settings.STIRRER_MOST,
            settings.STIRRER_FULL,
        ),
        "light": Output(
            pwm(settings.LIGHT_PIN, settings.LIGHT_HZ), "%", 1, 0.0, settings.LIGHT_MOST, 100.0
        ),
    }

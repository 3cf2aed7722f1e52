"""Controllers that hold a setpoint without script, broker or hub."""

from dataclasses import dataclass
from typing import Final

PERIOD: Final = 5.0
"""Seconds between two steps of a controller, as in the recorded runs."""


@dataclass(frozen=True, slots=True)
class Gains:
    """A thermostat's tuning, from the recorded runs.

    Attributes:
        proportional: % duty a °C.
        integral: % duty a °C and second.
        highest: The most duty, %.
    """

    proportional: float = 12.0
    integral: float = 0.015
    highest: float = 70.0


class Thermostat:
    """Proportional-integral control of a heater that cannot cool.

    The integral is held while the duty is at its end and the error would drive it further
    (anti-windup), and starts from zero whenever heating was off.
    """

    def __init__(self, gains: Gains | None = None) -> None:
        self._gains = Gains() if gains is None else gains
        self._integral = 0.0

    def reset(self) -> None:
        """Forget the past: heating was off."""
        self._integral = 0.0

    def step(self, setpoint: float, temperature: float, seconds: float) -> float:
        """Return the duty in %, 0 to the highest.

        Args:
            setpoint: °C.
            temperature: °C, finite.
            seconds: Since the last step.
        """
        gains, error = self._gains, setpoint - temperature
        integral = self._integral + gains.integral * error * seconds
        duty = gains.proportional * error + integral
        if 0.0 <= duty <= gains.highest or (duty > gains.highest) == (error < 0):
            self._integral = integral
        else:
            duty = gains.proportional * error + self._integral
        return min(max(duty, 0.0), gains.highest)

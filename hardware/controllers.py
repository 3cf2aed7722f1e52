"""Controllers that hold a setpoint without script, broker or hub."""

from dataclasses import dataclass
from typing import Final

from hardware.channels import Equipment
from hardware.events import Event, Set, Tick
from hardware.interlocks import believed
from hardware.safety import State

PERIOD: Final = 5.0
"""Seconds between two steps of a controller, as in the recorded runs."""
LEASE: Final = 3 * PERIOD
"""Seconds that a controller's output stays in force without being renewed."""


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


class HeatControl:
    """Follows the temperature setpoint of a reactor; the heater is off without a temperature."""

    def __init__(self, equipment: Equipment, thermostat: Thermostat) -> None:
        self._equipment = equipment
        self._thermostat = thermostat
        self._stepped_at: float | None = None

    def follow(self, state: State, now: float) -> Event:
        """Return the next command to the heater; call it each `PERIOD`."""
        heating = self._equipment.heating
        if heating is None:
            return Tick()
        setpoint = state.outputs[heating.setpoint].value
        if setpoint == self._equipment.channels[heating.setpoint].safe:
            self._thermostat.reset()
            self._stepped_at = None
            return Set(heating.output, 0.0, by_controller=True)
        temperature = state.readings[heating.sensor].value
        if temperature is None or not believed(
            self._equipment, state.readings, heating.sensor, now
        ):
            return Set(heating.output, 0.0, by_controller=True)
        # The first step integrates little, as in the recorded runs; a late one no more than two.
        seconds = 1.0 if self._stepped_at is None else min(now - self._stepped_at, 2 * PERIOD)
        self._stepped_at = now
        duty = self._thermostat.step(setpoint, temperature, seconds)
        return Set(heating.output, duty, LEASE, by_controller=True)

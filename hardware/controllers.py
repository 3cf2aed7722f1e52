"""Controllers that hold a setpoint without script, broker or hub."""

from typing import Final

from broker.messages import Error
from hardware.channels import Equipment, Gains, Titration
from hardware.events import Event, Set, Tick
from hardware.interlocks import believed
from hardware.safety import State, rests

PERIOD: Final = 5.0
"""Seconds between two steps of a controller, as in the recorded runs."""
LEASE: Final = 3 * PERIOD
"""Seconds that a controller's output stays in force without being renewed."""


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
        if rests(self._equipment.channels[heating.output], state.rests):
            seconds = 0.0  # what it commands does not heat: nothing to learn from
        duty = self._thermostat.step(setpoint, temperature, seconds)
        return Set(heating.output, duty, LEASE, by_controller=True)


MOST_BANDS: Final = 5.0
"""A dose grows with the error up to so many times its volume at one band, if its pump may."""


class TitrationControl:
    """Doses when a value is off, then waits until the vessel has mixed.

    It bounds nothing in the long run: what may be dosed is up to the safety rules.
    """

    def __init__(self, equipment: Equipment, titration: Titration) -> None:
        self.titration = titration
        self._equipment = equipment
        self._dosed_at: float | None = None
        self._refused: tuple[str, str, object] | None = None

    def follow(self, state: State, now: float) -> tuple[str, float] | None:
        """Return the pump and the volume that are due, mL; call it each `PERIOD`.

        Nothing is due without a sound and fresh value.
        """
        rule = self.titration
        setpoint = state.outputs[rule.setpoint].value
        if setpoint == self._equipment.channels[rule.setpoint].safe:
            self._dosed_at = None
            return None
        value = state.readings[rule.sensor].value
        if value is None or not believed(self._equipment, state.readings, rule.sensor, now):
            return None
        if self._dosed_at is not None and now < self._dosed_at + rule.every:
            return None
        error = setpoint - value
        pump = rule.raising if error > 0 else rule.lowering
        bands = abs(error) / rule.band
        if pump is None or bands < 1.0:
            return None
        self._dosed_at = now
        most = self._equipment.channels[pump].info.limits.max_dose_ml
        ml = rule.dose_ml * min(bands, MOST_BANDS)
        return pump, ml if most is None else min(ml, most)

    def dosed(self) -> None:
        """Note that what was due was dosed."""
        self._refused = None

    def not_dosed(self, pump: str, why: Error | None = None) -> bool:
        """Note that nothing of it was dosed: there is nothing to mix, and it stays due.

        Args:
            pump: Which was to dose.
            why: It was refused; None: it was stopped.

        Returns:
            Whether this refusal is another than the one before: it is due again each `PERIOD`.
        """
        self._dosed_at = None
        if why is None:
            return False
        before = self._refused
        self._refused = (pump, why.code, why.details.get("limit"))
        return self._refused != before

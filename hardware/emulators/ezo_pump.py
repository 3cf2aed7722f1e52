"""The EZO-PMP dosing pump. See HARDWARE.md 1: it has no host timeout."""

from dataclasses import dataclass
from typing import ClassVar, Final

from hardware.emulators.emulator import Timer
from hardware.emulators.ezo import EzoCircuit, Firmware, Reply

FASTEST: Final = 105.0
"""mL/min."""
SMALLEST: Final = 0.5
"""mL of a dose."""
_POWERED: Final = 10.8
"""Volts that the motor needs."""


@dataclass(slots=True)
class _Dose:
    asked: float
    rate: float  # mL/s, as the pump believes
    begun: float | None  # None while paused
    before: float = 0.0  # moved before the pause


class EzoPump(EzoCircuit):
    """The pump.

    Args:
        error: What it truly moves of a millilitre.
        keeps_totals: Whether its totals survive a loss of power.
        full_speed: mL/min as fast as it can.
        firmware: Which one.
    """

    name: ClassVar[str] = "PMP"

    def __init__(
        self,
        *,
        error: float = 1.0,
        keeps_totals: bool = False,
        full_speed: float = FASTEST,
        firmware: Firmware | None = None,
    ) -> None:
        super().__init__(firmware)
        self.error = error
        self.keeps_totals = keeps_totals
        self.full_speed = full_speed
        self.volts = 12.0
        self.starts_by_itself = False
        self._total = self._absolute = 0.0
        self._dose: _Dose | None = None
        self._last = 0.0
        self._pumped = 0.0
        self._end: Timer | None = None

    @property
    def pumped(self) -> float:
        """What was truly moved since it was made, mL, either way."""
        return self._pumped + self.error * abs(self._so_far())

    @property
    def running(self) -> bool:
        """Whether the motor turns."""
        return self._dose is not None and self._dose.begun is not None

    def volatile(self) -> None:
        """Stop: without power nothing turns."""
        self._finish()
        if not self.keeps_totals:
            self._total = self._absolute = 0.0
        if self.starts_by_itself:
            self._begin(float("inf"), self.full_speed / 60.0)

    def reading(self) -> str:
        """Return what this dose, or the last one, has moved."""
        return f"{self._last if self._dose is None else self._so_far():.2f}"

    def perform(self, words: list[str]) -> Reply | None:
        """Dose, stop, tell."""
        match words:
            case ["R"]:
                return Reply((self.reading(),))
            case ["D" | "DC", *rest]:
                return self._perform_dose(words[0], rest)
            case ["X"]:
                self._finish()
                return Reply((f"*DONE,{self._last:.2f}",), code="")
            case ["P"]:
                self._pause()
                return Reply()
            case ["CLEAR"]:
                self._total, self._absolute = -self._so_far(), -abs(self._so_far())
                return Reply()
            case ["CAL", "CLEAR"]:
                self.settings.calibration.clear()
                return Reply()
            case ["CAL", text] if text != "?":
                return self._calibrate(text)
            case [what, "?"]:
                return self._tell(what)
            case _:
                return None

    def _tell(self, what: str) -> Reply | None:
        paused = self._dose is not None and self._dose.begun is None
        answers = {
            "P": ("P", str(int(paused))),
            "TV": ("TV", f"{self._total + self._so_far():.2f}"),
            "ATV": ("ATV", f"{self._absolute + abs(self._so_far()):.2f}"),
            "CAL": ("Cal", str(len(self.settings.calibration))),
            "PV": ("PV", f"{self.volts:.2f}"),
            "DSTART": ("Dstart", str(int(self.starts_by_itself))),
        }
        return Reply((self.answer(*answers[what]),)) if what in answers else None

    def _perform_dose(self, kind: str, rest: list[str]) -> Reply | None:
        asked = self._last if self._dose is None else self._dose.asked
        match kind, rest:
            case "D", ["?"]:
                return Reply((self.answer("D", f"{asked:.2f}", str(int(self.running))),))
            case "DC", ["?"]:
                return Reply((self.answer("MAXRATE", "58.5"),))
            case "D", ["*" | "-*" as way]:
                return self._dosing(float(f"{way.replace('*', '')}inf"), self.full_speed)
            case "D", [text]:
                return self._dosing(_number(text), self.full_speed)
            case "D", [text, minutes]:
                volume, time = _number(text), _number(minutes)
                return self._dosing(volume, abs(volume or 0.0) / time if time else FASTEST + 1.0)
            case "DC", [text, "*"]:
                rate = _number(text) or 0.0
                return self._dosing(rate * float("inf") if rate else None, abs(rate))
            case "DC", [text, minutes]:
                rate, time = _number(text) or 0.0, _number(minutes) or 0.0
                return self._dosing(rate * time, abs(rate))
            case _:
                return None

    def _dosing(self, ml: float | None, per_minute: float) -> Reply | None:
        if ml is None:
            return None
        if self.volts < _POWERED:
            return Reply((f"*UV,PUMPPWR,{self.volts:.2f}",), code="*ER")
        if abs(ml) < SMALLEST:
            return Reply(("*MINVOL",), code="*ER")
        if per_minute > self.full_speed:
            return Reply(("*TOOFAST",), code="*ER")
        self._finish()
        self._begin(ml, per_minute / 60.0)
        return Reply()

    def _calibrate(self, text: str) -> Reply | None:
        measured = _number(text)
        if measured is None or measured <= 0 or self._last == 0:
            return None
        self.settings.calibration["volume"] = measured
        self.error *= abs(self._last) / measured
        return Reply()

    def _begin(self, ml: float, rate: float) -> None:
        self._dose = _Dose(ml, rate, self.line.now())
        self._plan(abs(ml) / rate)

    def _plan(self, seconds: float) -> None:
        if seconds < 1e9:  # noqa: PLR2004 - endless
            self._end = self.line.later(seconds, self._ended)

    def _ended(self) -> None:
        dose = self._dose
        if dose is not None:
            dose.before, dose.begun = abs(dose.asked), None  # exactly what was asked for
        self._finish()
        self.say(f"*DONE,{self._last:.2f}")

    def _so_far(self) -> float:
        dose = self._dose
        if dose is None:
            return 0.0
        since = 0.0 if dose.begun is None else self.line.now() - dose.begun
        moved = min(abs(dose.asked), dose.before + since * dose.rate)
        return moved if dose.asked > 0 else -moved

    def _finish(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._dose is None:
            return
        moved = self._so_far()
        self._dose = None
        self._last = moved
        self._total += moved
        self._absolute += abs(moved)
        self._pumped += self.error * abs(moved)

    def _pause(self) -> None:
        dose = self._dose
        if dose is None:
            return
        if dose.begun is None:
            dose.begun = self.line.now()
            self._plan((abs(dose.asked) - dose.before) / dose.rate)
        else:
            dose.before, dose.begun = abs(self._so_far()), None
            if self._end is not None:
                self._end.cancel()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e5 else None  # noqa: PLR2004 - also keeps out NaN

"""The EZO circuits that measure: what each calls itself, how it writes its readings, how long.

Source: HARDWARE.md 1. The form of a reading is checked to the digit where the source is clear: a
digit that got lost then does not pass for a value.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Output:
    """One number of a reading.

    Attributes:
        key: As the circuit names it: pH, mg, %, EC, …
        form: What it looks like.
        low: The least that the circuit can give …
        high: … and the most, in its unit.
        none: The number that stands for "no probe".
    """

    key: str
    form: re.Pattern[str]
    low: float
    high: float
    none: float | None = None

    def takes(self, text: str) -> bool:
        """Whether a number can be one of this output."""
        if self.form.fullmatch(text) is None:
            return False
        value = float(text)
        return value == self.none or self.low <= value <= self.high

    def value(self, text: str) -> float | None:
        """Return the number; None where it says that there is none."""
        value = float(text)
        return None if value == self.none else value


@dataclass(frozen=True, slots=True)
class Circuit:
    """One kind of circuit.

    Attributes:
        names: What it calls itself, in capitals and without dots.
        outputs: In the order in which a reading has them.
        seconds: A reading takes.
        calibration_seconds: A calibration takes.
        compensated: It takes a temperature.
        selectable: Its outputs are switched on and off one by one.
    """

    names: frozenset[str]
    outputs: tuple[Output, ...]
    seconds: float
    calibration_seconds: float = 0.9
    compensated: bool = False
    selectable: bool = False

    def output(self, key: str) -> Output:
        """Return an output.

        Raises:
            ValueError: It has none of that name.
        """
        for output in self.outputs:
            if output.key == key:
                return output
        known = ", ".join(output.key for output in self.outputs)
        raise ValueError(f"an EZO-{min(self.names)} has no output {key!r}; it has {known}")


def _form(decimals: str) -> re.Pattern[str]:
    return re.compile(rf"-?\d{{1,7}}{decimals}")


_THREE: Final = _form(r"\.\d{3}")
_TWO: Final = _form(r"\.\d{2}")
_ONE: Final = _form(r"\.\d")
_ANY: Final = _form(r"(\.\d{1,3})?")

PH: Final = Circuit(
    frozenset({"PH"}), (Output("pH", _THREE, 0.0, 14.0),), seconds=0.9, compensated=True
)
DO: Final = Circuit(
    frozenset({"DO"}),
    (Output("mg", _TWO, 0.0, 100.0), Output("%", _form(r"\.\d{1,2}"), 0.0, 400.0)),
    seconds=0.6,
    calibration_seconds=1.3,
    compensated=True,
    selectable=True,
)
RTD: Final = Circuit(
    frozenset({"RTD"}),
    (Output("T", re.compile(r"-1023(\.000)?|-?\d{1,4}\.\d{3}"), -126.0, 1254.0, none=-1023.0),),
    seconds=0.6,
    calibration_seconds=0.6,
)
ORP: Final = Circuit(frozenset({"ORP"}), (Output("ORP", _ONE, -1020.0, 1020.0),), seconds=1.0)
EC: Final = Circuit(
    frozenset({"EC"}),
    (
        Output("EC", _ANY, 0.0, 500_000.0),
        Output("TDS", _ANY, 0.0, 500_000.0),
        Output("S", _ANY, 0.0, 100.0),
        Output("SG", _THREE, 0.9, 1.5),
    ),
    seconds=0.6,
    calibration_seconds=0.6,
    compensated=True,
    selectable=True,
)
CO2: Final = Circuit(
    frozenset({"CO2"}), (Output("CO2", re.compile(r"\d{1,5}"), 0.0, 10_000.0),), seconds=1.0
)
PUMP_NAMES: Final = frozenset({"PMP"})

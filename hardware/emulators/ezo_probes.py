"""The EZO circuits that measure."""

from dataclasses import replace
from typing import ClassVar, Final

from hardware.emulators.emulator import Constant, Source
from hardware.emulators.ezo import SHORT, EzoCircuit, Firmware, Reply

_KELVIN: Final = 273.15
_NEUTRAL: Final = 7.0
_WARM_UP: Final = 10.0


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e6 else None  # noqa: PLR2004 - also keeps out NaN


class EzoProbe(EzoCircuit):
    """A circuit with one quantity.

    Args:
        source: What is measured, in the circuit's unit.
        firmware: Which one.
    """

    seconds: ClassVar[float]
    calibration_seconds: ClassVar[float]
    compensation: ClassVar[float | None] = None

    def __init__(self, source: Source, firmware: Firmware | None = None) -> None:
        super().__init__(firmware)
        self.source = source
        self.temperature = 25.0

    def volatile(self) -> None:
        """Forget the compensation."""
        self.temperature = self.compensation or 25.0

    def perform(self, words: list[str]) -> Reply | None:
        """Read, compensate, calibrate."""
        match words:
            case ["R"]:
                return self._read()
            case ["RT", text] if self.firmware.compensates_at_once and self._compensate(text):
                return replace(self._read(), code_first=self.firmware.acknowledges_first)
            case ["T", "?"] if self.compensation is not None:
                return Reply((self.answer("T", f"{self.temperature:.1f}"),))
            case ["T", text] if self._compensate(text):
                return Reply()
            case ["CAL", "?"]:
                return Reply((self.answer("Cal", str(len(self.settings.calibration))),))
            case ["CAL", "CLEAR"]:
                self.settings.calibration.clear()
                return Reply()
            case ["CAL", *points] if self.calibrate(points):
                return Reply(seconds=self.calibration_seconds)
            case _:
                return self.own(words)

    def own(self, words: list[str]) -> Reply | None:  # noqa: ARG002 - for subclasses
        """Do a command that only this circuit has; None if it does not know it."""
        return None

    def calibrate(self, points: list[str]) -> bool:
        """Take a calibration point; False if it cannot be."""
        match points:
            case [text] if (value := _number(text)) is not None:
                self.point("one", value)
                return True
            case _:
                return False

    def point(self, name: str, value: float) -> None:
        """Remember a point."""
        self.settings.calibration[name] = value

    def _read(self) -> Reply:
        reading = self.reading()
        code = "" if reading.startswith("*") else "*OK"
        return Reply((reading,), code=code, seconds=self.seconds)

    def _compensate(self, text: str) -> bool:
        value = _number(text)
        if self.compensation is None or value is None:
            return False
        self.temperature = value
        return True


class EzoPh(EzoProbe):
    """pH. Its electrode's slope follows the true temperature, as a real one's does.

    Args:
        source: pH.
        firmware: Which one.
        true_temperature: Of what is measured, °C.
    """

    name: ClassVar[str] = "pH"
    seconds: ClassVar[float] = 0.9
    calibration_seconds: ClassVar[float] = 0.9
    compensation: ClassVar[float | None] = 25.0

    def __init__(
        self,
        source: Source,
        firmware: Firmware | None = None,
        true_temperature: Source | None = None,
    ) -> None:
        super().__init__(source, firmware)
        self.true_temperature = true_temperature or Constant(25.0)

    def reading(self) -> str:
        """Return the pH as it seems with the compensation that was set."""
        slope = (self.true_temperature() + _KELVIN) / (self.temperature + _KELVIN)
        ph = _NEUTRAL + (self.line.sense(self.source) - _NEUTRAL) * slope
        return f"{min(max(ph, 0.0), 14.0):.3f}"

    def calibrate(self, points: list[str]) -> bool:
        """Take mid, low or high; mid forgets the others."""
        match points:
            case ["MID" | "LOW" | "HIGH" as point, text] if (value := _number(text)) is not None:
                if point == "MID":
                    self.settings.calibration.clear()
                self.point(point, value)
                return True
            case _:
                return False

    def own(self, words: list[str]) -> Reply | None:
        """Tell the slope."""
        if words != ["SLOPE", "?"]:
            return None
        fields = ("99.7", "100.3", "-0.89")
        return Reply((self.answer("Slope", *fields[: 3 if self.firmware.slope_offset else 2]),))


class EzoDo(EzoProbe):
    """Dissolved oxygen, mg/L; % are of 9.09 mg/L, air at 20 °C."""

    name: ClassVar[str] = "DO"
    seconds: ClassVar[float] = 0.6
    calibration_seconds: ClassVar[float] = 1.3
    compensation: ClassVar[float | None] = 20.0

    def __init__(self, source: Source, firmware: Firmware | None = None) -> None:
        super().__init__(source, firmware)
        self.outputs = {"MG": True, "%": False}
        self.salinity = "0.00,uS"
        self.pressure = 101.3

    def reading(self) -> str:
        """Return what is switched on."""
        mg = self.line.sense(self.source)
        texts = {"MG": f"{mg:.2f}", "%": f"{100 * mg / 9.09:.1f}"}
        shown = [texts[key] for key, on in self.outputs.items() if on]
        return ",".join(shown) or "no output"

    def calibrate(self, points: list[str]) -> bool:
        """Take air or zero."""
        if points not in ([], ["0"]):
            return False
        self.point("zero" if points else "air", 0.0)
        return True

    def own(self, words: list[str]) -> Reply | None:
        """Switch outputs; take salinity and pressure."""
        match words:
            case ["O", "?"]:
                on = [key.lower() for key in ("%", "MG") if self.outputs[key]]
                return Reply((",".join(["?", "O", *on]),))
            case ["O", "MG" | "%" as key, "0" | "1" as on]:
                self.outputs[key] = on == "1"
                return Reply()
            case ["S", text, "US" | "PPT"] if _number(text) is not None:
                self.salinity = ",".join(words[1:])
                return Reply()
            case ["P", "?"]:
                return Reply((f"?,P,{self.pressure:.1f}",))
            case ["P", text] if (value := _number(text)) is not None:
                self.pressure = value
                return Reply()
            case _:
                return None


class EzoRtd(EzoProbe):
    """Temperature, °C; minus 1023 where there is no probe."""

    name: ClassVar[str] = "RTD"
    seconds: ClassVar[float] = 0.6
    calibration_seconds: ClassVar[float] = 0.6

    def __init__(self, source: Source, firmware: Firmware | None = None) -> None:
        super().__init__(source, firmware)
        self.scale = "c"
        self.probe = True

    def reading(self) -> str:
        """Return the temperature in the scale that was set."""
        if not self.probe:
            return "-1023.000"
        celsius = self.line.sense(self.source)
        scaled = {"c": celsius, "k": celsius + _KELVIN, "f": celsius * 1.8 + 32.0}
        return f"{scaled[self.scale]:.3f}"

    def own(self, words: list[str]) -> Reply | None:
        """Take and tell the scale."""
        match words:
            case ["S", "?"]:
                return Reply((self.answer("S", self.scale),))
            case ["S", "C" | "K" | "F" as scale]:
                self.scale = scale.lower()
                return Reply()
            case _:
                return None


class EzoOrp(EzoProbe):
    """Redox potential, mV."""

    name: ClassVar[str] = "ORP"
    seconds: ClassVar[float] = 1.0
    calibration_seconds: ClassVar[float] = 0.9

    def reading(self) -> str:
        """Return the potential."""
        return f"{min(max(self.line.sense(self.source), -1020.0), 1020.0):.1f}"


class EzoEc(EzoProbe):
    """Conductivity, µS/cm, and what is reckoned from it."""

    name: ClassVar[str] = "EC"
    seconds: ClassVar[float] = 0.6
    calibration_seconds: ClassVar[float] = 0.6
    compensation: ClassVar[float | None] = 25.0

    def __init__(self, source: Source, firmware: Firmware | None = None) -> None:
        super().__init__(source, firmware)
        self.outputs = {"EC": True, "TDS": True, "S": True, "SG": True}
        self.cell = 1.0

    def reading(self) -> str:
        """Return what is switched on, in this order."""
        ec = self.line.sense(self.source)
        texts = {
            "EC": f"{ec:.2f}" if ec < 100 else f"{ec:.1f}" if ec < 1000 else f"{ec:.0f}",  # noqa: PLR2004
            "TDS": f"{0.54 * ec:.0f}",
            "S": f"{ec / 1800.0:.2f}",
            "SG": f"{1.0 + ec * 4e-7:.3f}",
        }
        return ",".join(texts[key] for key, on in self.outputs.items() if on) or "no output"

    def calibrate(self, points: list[str]) -> bool:
        """Take dry, one, low or high."""
        match points:
            case ["DRY"]:
                self.point("dry", 0.0)
                return True
            case ["LOW" | "HIGH" as point, text] if (value := _number(text)) is not None:
                self.point(point, value)
                return True
            case _:
                return super().calibrate(points)

    def own(self, words: list[str]) -> Reply | None:
        """Switch outputs; take the cell constant."""
        match words:
            case ["O", "?"]:
                return Reply((",".join(["?O", *(k for k, on in self.outputs.items() if on)]),))
            case ["O", key, "0" | "1" as on] if key in self.outputs:
                self.outputs[key] = on == "1"
                return Reply()
            case ["K", "?"]:
                return Reply((self.answer("K", f"{self.cell:.1f}"),))
            case ["K", text] if (value := _number(text)) is not None:
                self.cell = value
                return Reply()
            case _:
                return None


class EzoCo2(EzoProbe):
    """CO2 in gas, ppm; warms up for ten seconds."""

    name: ClassVar[str] = "CO2"
    seconds: ClassVar[float] = 1.0
    calibration_seconds: ClassVar[float] = SHORT

    def __init__(self, source: Source, firmware: Firmware | None = None) -> None:
        super().__init__(source, firmware)
        self._warm_at = 0.0

    def volatile(self) -> None:
        """Begin to warm up."""
        super().volatile()
        self._warm_at = self.line.now() + _WARM_UP

    def reading(self) -> str:
        """Return the concentration."""
        if self.line.now() < self._warm_at:
            return "*WARM"
        return f"{min(max(self.line.sense(self.source), 0.0), 10_000.0):.0f}"

    def calibrate(self, points: list[str]) -> bool:  # noqa: ARG002 - no point is taken
        """Refuse: it was calibrated in the factory."""
        return False

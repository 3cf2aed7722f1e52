"""The six EZO circuits that measure, each with the calibration that it knows."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from hardware.drivers.ezo.circuits import CO2, DO, EC, ORP, PH, RTD, Circuit
from hardware.drivers.ezo.lines import number
from hardware.drivers.ezo.link import EzoError, EzoGarbledError
from hardware.drivers.ezo.sensor import EzoSensor, within

PhPoint = Literal["mid", "low", "high"]


@dataclass(frozen=True, slots=True)
class PhSlope:
    """How the probe compares with an ideal one.

    Attributes:
        acid: % of the ideal slope below pH 7.
        base: % of the ideal slope above.
        offset_mv: mV at pH 7; None where the firmware does not say.
    """

    acid: float
    base: float
    offset_mv: float | None


class EzoPh(EzoSensor):
    """pH; its output is ``pH``."""

    circuit: ClassVar[Circuit] = PH

    async def calibrate(self, point: PhPoint, ph: float) -> None:
        """Take the present reading for a point; `mid` comes first and forgets the others.

        Raises:
            DriverError: The point cannot be, or is not known to be taken.
        """
        low, high = {"mid": (6.0, 8.0), "low": (0.5, 6.0), "high": (8.0, 13.5)}[point]
        within(f"the {point} point", ph, low, high)
        if point != "mid" and await self.calibration_points() == 0:
            raise EzoError("calibrate the mid point first: it forgets all others")
        await self._calibrate(f"Cal,{point},{ph:.2f}")

    async def slope(self) -> PhSlope:
        """Return how good the probe is.

        Raises:
            DriverError: The circuit does not say.
        """
        fields = [number(field) for field in (await self._ask("Slope,?", "SLOPE")).fields]
        match fields:
            case [float() as acid, float() as base]:
                return PhSlope(acid, base, None)
            case [float() as acid, float() as base, float() as offset]:
                return PhSlope(acid, base, offset)
            case _:
                raise EzoGarbledError(f"{self.name} does not say its slope")


class EzoDo(EzoSensor):
    """Dissolved oxygen; its outputs are ``mg`` (mg/L) and ``%`` (of air)."""

    circuit: ClassVar[Circuit] = DO

    async def calibrate_air(self) -> None:
        """Take the present reading for that in air.

        Raises:
            DriverError: It is not known to be taken.
        """
        await self._calibrate("Cal")

    async def calibrate_zero(self) -> None:
        """Take the present reading for that without oxygen; after the one in air.

        Raises:
            DriverError: It is not known to be taken.
        """
        if await self.calibration_points() == 0:
            raise EzoError("calibrate in air first")
        await self._calibrate("Cal,0")

    async def set_salinity(self, value: float, unit: Literal["uS", "ppt"]) -> None:
        """Tell the salinity of what is measured.

        Raises:
            DriverError: It cannot be, or is not known to be taken.
        """
        within("the salinity", value, 0.0, 500_000.0 if unit == "uS" else 100.0)
        await self._link.order(f"S,{value:.2f},{unit}")

    async def set_pressure(self, kpa: float) -> None:
        """Tell the air pressure.

        Raises:
            DriverError: It cannot be, or is not known to be taken.
        """
        within("the pressure", kpa, 50.0, 120.0)
        await self._link.order(f"P,{kpa:.2f}")


class EzoRtd(EzoSensor):
    """Temperature; its output is ``T``, always °C."""

    circuit: ClassVar[Circuit] = RTD

    async def calibrate(self, celsius: float) -> None:
        """Take the present reading for this temperature.

        Raises:
            DriverError: The point cannot be, or is not known to be taken.
        """
        within("the temperature", celsius, -126.0, 1254.0)
        await self._calibrate(f"Cal,{celsius:.2f}")

    async def _prepare(self) -> None:
        await super()._prepare()
        if [f.lower() for f in (await self._ask("S,?", "S")).fields] != ["c"]:
            await self._link.order("S,c")


class EzoOrp(EzoSensor):
    """Redox potential; its output is ``ORP``, mV."""

    circuit: ClassVar[Circuit] = ORP

    async def calibrate(self, millivolts: float) -> None:
        """Take the present reading for this potential.

        Raises:
            DriverError: The point cannot be, or is not known to be taken.
        """
        within("the potential", millivolts, -1019.9, 1019.9)
        await self._calibrate(f"Cal,{millivolts:.0f}")


class EzoEc(EzoSensor):
    """Conductivity; its outputs are ``EC`` (µS/cm), ``TDS`` (mg/L), ``S`` (g/kg) and ``SG``."""

    circuit: ClassVar[Circuit] = EC

    async def calibrate_dry(self) -> None:
        """Take the present reading for that of a dry probe; comes first.

        Raises:
            DriverError: It is not known to be taken.
        """
        await self._calibrate("Cal,dry")

    async def calibrate(
        self, microsiemens: float, point: Literal["only", "low", "high"] = "only"
    ) -> None:
        """Take the present reading for this conductivity, µS/cm.

        Raises:
            DriverError: The point cannot be, or is not known to be taken.
        """
        within("the conductivity", microsiemens, 0.07, 500_000.0)
        which = "" if point == "only" else f"{point},"
        await self._calibrate(f"Cal,{which}{microsiemens:.2f}")

    async def set_cell_constant(self, k: float) -> None:
        """Tell the probe's cell constant.

        Raises:
            DriverError: It cannot be, or is not known to be taken.
        """
        within("the cell constant", k, 0.1, 10.0)
        await self._link.order(f"K,{k:.1f}")


class EzoCo2(EzoSensor):
    """CO2 in gas, ppm; its output is ``CO2``. Calibrated in the factory."""

    circuit: ClassVar[Circuit] = CO2

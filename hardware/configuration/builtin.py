"""The kinds of devices that come with the project; named in `pyproject.toml`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field

from broker.messages import Name, Quantity
from hardware.configuration.kinds import Kind, Offer, Order, SerialOptions, Step
from hardware.drivers.board.driver import ControllerBoard, Density
from hardware.drivers.ezo.link import Pace
from hardware.drivers.ezo.probes import EzoCo2, EzoDo, EzoEc, EzoOrp, EzoPh, EzoRtd
from hardware.drivers.ezo.pump import FASTEST_ML_MIN, LEAST_ML, EzoPump
from hardware.drivers.ezo.sensor import EzoSensor
from hardware.drivers.interface import Driver
from hardware.drivers.senseair.protocol import VARIANTS
from hardware.drivers.senseair.sensor import SenseairCo2
from hardware.drivers.tic.pump import TicPump

Positive = Annotated[float, Field(gt=0)]


class EzoOptions(SerialOptions):
    """Of an Atlas EZO circuit.

    Attributes:
        speed: Seconds of the circuit's time in a real one; only an emulator's is not 1.
    """

    speed: Positive = 1.0


class CompensatedOptions(EzoOptions):
    """Of one that takes a temperature.

    Attributes:
        temperature: The channel that compensates the reading; 25 °C if left out (DO: 20 °C).
    """

    temperature: Name | None = None

    def channels_named(self) -> Mapping[str, str]:
        """Return the channels that options name, by key."""
        return {} if self.temperature is None else {"temperature": self.temperature}


D = TypeVar("D", bound=Driver)


def _step(
    prompt: str,
    usual: float | None,
    driver: type[D],
    take: Callable[[D, float], Awaitable[None]],
    *,
    optional: bool = False,
) -> Step:
    """Return a step that a driver of this class takes."""

    async def tell(device: Driver, true: float) -> None:
        if not isinstance(device, driver):
            raise TypeError(f"{device.name} is no {driver.__name__}")
        await take(device, true)

    return Step(prompt, usual, tell, optional)


def _ezo(
    label: str,
    driver: type[EzoSensor],
    offers: Mapping[str, Offer],
    options: type[EzoOptions] = EzoOptions,
    steps: Sequence[Step] = (),
) -> Kind[Any]:
    outputs = {
        offer: output.key for offer, output in zip(offers, driver.circuit.outputs, strict=True)
    }

    def make(order: Order, chosen: EzoOptions) -> Driver:
        by = chosen.channels_named().get("temperature")
        return driver(
            order.name,
            chosen.port,
            {outputs[what]: channel for what, channel in order.channels.items()},
            temperature=None if by is None else _reading(order, by),
            pace=Pace(speed=chosen.speed),
        )

    return Kind(label, options, offers, make, dict.fromkeys(offers, tuple(steps)) if steps else {})


def _reading(order: Order, channel: str) -> Callable[[], float | None]:
    return lambda: order.reading(channel)


def _sensor(  # noqa: PLR0917 - read as the rows of a table
    quantity: Quantity,
    unit: str,
    label: str,
    span: tuple[float, float],
    precision: int,
    period: float = 1.0,
) -> Offer:
    return Offer("sensor", quantity, unit, label, span, precision, period)


EZO_PH: Final = _ezo(
    "Atlas EZO pH",
    EzoPh,
    {"ph": _sensor(Quantity.PH, "pH", "pH", (0.0, 14.0), 3)},
    CompensatedOptions,
    (
        _step(
            "Rinse the probe and put it into the buffer near pH 7. This forgets earlier points.",
            7.0,
            EzoPh,
            lambda probe, true: probe.calibrate("mid", true),
        ),
        _step(
            "Rinse it and put it into the acid buffer.",
            4.0,
            EzoPh,
            lambda probe, true: probe.calibrate("low", true),
            optional=True,
        ),
        _step(
            "Rinse it and put it into the basic buffer.",
            10.0,
            EzoPh,
            lambda probe, true: probe.calibrate("high", true),
            optional=True,
        ),
    ),
)
EZO_DO: Final = _ezo(
    "Atlas EZO dissolved oxygen",
    EzoDo,
    {
        "mg": _sensor(Quantity.DISSOLVED_OXYGEN, "mg/L", "Dissolved oxygen", (0.0, 100.0), 2),
        "percent": _sensor(Quantity.DISSOLVED_OXYGEN, "%", "Dissolved oxygen", (0.0, 400.0), 1),
    },
    CompensatedOptions,
    (
        _step(
            "Hold the wet probe into air until it is steady.",
            None,
            EzoDo,
            lambda probe, _: probe.calibrate_air(),
        ),
        _step(
            "Put it into water without oxygen (sodium sulphite).",
            None,
            EzoDo,
            lambda probe, _: probe.calibrate_zero(),
            optional=True,
        ),
    ),
)
EZO_RTD: Final = _ezo(
    "Atlas EZO temperature",
    EzoRtd,
    {"temperature": _sensor(Quantity.TEMPERATURE, "°C", "Temperature", (-126.0, 1254.0), 2)},
    steps=(
        _step(
            "Put the probe beside a thermometer that you trust.",
            100.0,
            EzoRtd,
            lambda probe, true: probe.calibrate(true),
        ),
    ),
)
EZO_ORP: Final = _ezo(
    "Atlas EZO redox potential",
    EzoOrp,
    {"orp": _sensor(Quantity.OTHER, "mV", "Redox potential", (-1020.0, 1020.0), 1)},
    steps=(
        _step(
            "Put the probe into the standard solution.",
            225.0,
            EzoOrp,
            lambda probe, true: probe.calibrate(true),
        ),
    ),
)
EZO_EC: Final = _ezo(
    "Atlas EZO conductivity",
    EzoEc,
    {
        "ec": _sensor(Quantity.OTHER, "µS/cm", "Conductivity", (0.0, 500_000.0), 1),
        "tds": _sensor(Quantity.OTHER, "ppm", "Dissolved solids", (0.0, 500_000.0), 1),
        "salinity": _sensor(Quantity.OTHER, "PSU", "Salinity", (0.0, 100.0), 2),
        "gravity": _sensor(Quantity.OTHER, "", "Specific gravity", (0.9, 1.5), 3),
    },
    CompensatedOptions,
)
EZO_CO2: Final = _ezo(
    "Atlas EZO CO2",
    EzoCo2,
    {"co2": _sensor(Quantity.CO2, "ppm", "CO2", (0.0, 10_000.0), 0)},
)


class EzoPumpOptions(EzoOptions):
    """Of an EZO-PMP.

    Attributes:
        reverse: It pumps the other way.
    """

    reverse: bool = False


def _make_ezo_pump(order: Order, options: EzoPumpOptions) -> Driver:
    channel = order.channels["pump"]
    per_minute = order.flows[channel] * 60.0
    return EzoPump(
        order.name,
        options.port,
        channel,
        ml_per_minute=None if per_minute >= FASTEST_ML_MIN else per_minute,
        reverse=options.reverse,
        totals_file=order.directory / f"{order.name}.totals.json",
        pace=Pace(speed=options.speed),
    )


def _pump(
    label: str, *, fastest: float | None = None, least_ml: float = 0.0
) -> Mapping[str, Offer]:
    return {
        "pump": Offer(
            "pump",
            Quantity.VOLUME,
            "mL",
            label,
            flow=fastest,
            fastest=fastest,
            least_ml=least_ml,
        )
    }


EZO_PMP: Final = Kind(
    "Atlas EZO-PMP pump",
    EzoPumpOptions,
    _pump("Pump", fastest=FASTEST_ML_MIN / 60.0, least_ml=LEAST_ML),
    _make_ezo_pump,
)


class TicOptions(SerialOptions):
    """Of a pump on a Pololu Tic.

    Attributes:
        ml_per_microstep: From the pump's calibration.
        backwards: The motor turns to negative positions when it doses.
        crc_for_responses: As it is set in the Tic.
        baudrate: As it is set in the Tic.
    """

    ml_per_microstep: Positive
    backwards: bool = False
    crc_for_responses: bool = True
    baudrate: Annotated[int, Field(ge=200, le=115_385)] = 9600


def _make_tic(order: Order, options: TicOptions) -> Driver:
    channel = order.channels["pump"]
    return TicPump(
        order.name,
        options.port,
        channel=channel,
        ml_per_microstep=options.ml_per_microstep,
        flow=order.flows[channel],
        clock=order.clock,
        backwards=options.backwards,
        crc_for_responses=options.crc_for_responses,
        baudrate=options.baudrate,
    )


TIC: Final = Kind("Pump on a Pololu Tic", TicOptions, _pump("Pump"), _make_tic)


class SenseairOptions(SerialOptions):
    """Of a Senseair CO2 sensor.

    Attributes:
        variant: Which one it is.
    """

    variant: Literal["s8", "sunrise", "k30", "k33"]


def _make_senseair(order: Order, options: SenseairOptions) -> Driver:
    return SenseairCo2(
        order.name,
        options.port,
        channel=order.channels["co2"],
        variant=VARIANTS[options.variant],
        clock=order.clock,
    )


SENSEAIR: Final = Kind(
    "Senseair CO2",
    SenseairOptions,
    {"co2": _sensor(Quantity.CO2, "ppm", "CO2", (0.0, 100_000.0), 0, 2.0)},
    _make_senseair,
)


class BoardOptions(SerialOptions):
    """Of our own controller board.

    Attributes:
        timeout: Seconds without the node after which it switches everything off.
        blank_mv: The photodiode's signal in fresh medium.
        mv_per_od: What an optical density of 1 adds to it; below 0 where light is lost.
    """

    timeout: Annotated[float, Field(ge=0.2, le=2.0)] = 1.5
    blank_mv: float | None = None
    mv_per_od: float | None = None


def _make_board(order: Order, options: BoardOptions) -> Driver:
    density = None
    if options.blank_mv is not None and options.mv_per_od is not None:
        density = Density(options.blank_mv, options.mv_per_od)
    return ControllerBoard(
        order.name, options.port, order.channels, density=density, timeout=options.timeout
    )


BOARD: Final = Kind(
    "Controller board",
    BoardOptions,
    {
        "temperature": _sensor(Quantity.TEMPERATURE, "°C", "Temperature", (-55.0, 125.0), 2),
        "density": _sensor(Quantity.OPTICAL_DENSITY, "OD", "Optical density", (-1.0, 20.0), 3),
        "signal": _sensor(Quantity.OTHER, "mV", "Photodiode", (0.0, 5000.0), 1),
        "reference": _sensor(Quantity.OTHER, "mV", "Reference photodiode", (0.0, 5000.0), 1),
        "heater": Offer("actuator", Quantity.POWER, "%", "Heater", (0.0, 70.0), 1, heats=True),
        "stirring": Offer("setpoint", Quantity.SPEED, "rpm", "Stirring", (50.0, 1000.0), 0),
        "light": Offer("actuator", Quantity.LIGHT, "%", "Light", (0.0, 100.0), 1),
    },
    _make_board,
)

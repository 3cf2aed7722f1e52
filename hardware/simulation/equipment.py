"""The simulated reactor's channels, limits and safe states: a stirred 20 mL vial."""

from typing import Final, Literal

from broker.messages import ChannelInfo, ChannelLimits, Quantity
from hardware.channels import Channel, Equipment, Heating, Titration, Vessel

DRIVER: Final = "simulated-vial"

VESSEL: Final = Vessel(sensor="volume", filled=15.0, low=5.0, high=18.0, straw=14.0)
CAPACITY_ML: Final = 20.0


def _sensor(  # noqa: PLR0917 - read as the rows of a table
    name: str,
    quantity: Quantity,
    unit: str,
    label: str,
    span: tuple[float, float],
    precision: int,
) -> Channel:
    return Channel(
        ChannelInfo(
            name=name,
            kind="sensor",
            quantity=quantity,
            unit=unit,
            label=label,
            driver=DRIVER,
            period=1.0,
            limits=ChannelLimits(minimum=span[0], maximum=span[1]),
            precision=precision,
        )
    )


def _output(  # noqa: PLR0917 - read as the rows of a table
    name: str,
    kind: Literal["actuator", "setpoint", "sensor"],
    quantity: Quantity,
    unit: str,
    label: str,
    limits: ChannelLimits,
) -> Channel:
    info = ChannelInfo(
        name=name,
        kind=kind,
        quantity=quantity,
        unit=unit,
        label=label,
        driver=DRIVER,
        period=1.0,
        limits=limits,
        safe_value=0.0,
        precision=1,
    )
    return Channel(info, wired=not name.endswith("-setpoint"), controlled=kind == "sensor")


def _pump(
    name: str,
    direction: Literal["in", "out"],
    label: str,
    flow: float,
    volumes: tuple[float, float, float],
) -> Channel:
    info = ChannelInfo(
        name=name,
        kind="pump",
        quantity=Quantity.VOLUME,
        unit="mL",
        label=label,
        driver=DRIVER,
        period=1.0,
        limits=ChannelLimits(
            max_on_time=60.0,
            max_dose_ml=volumes[0],
            max_hourly_ml=volumes[1],
            max_total_ml=volumes[2],
        ),
        safe_value=0.0,
        precision=2,
    )
    return Channel(info, flow=flow, direction=direction)


EQUIPMENT: Final = Equipment.of(
    [
        _sensor("od", Quantity.OPTICAL_DENSITY, "OD", "Optical density (600 nm)", (-1.0, 20.0), 3),
        _sensor(
            "temperature", Quantity.TEMPERATURE, "°C", "Culture temperature", (-20.0, 110.0), 2
        ),
        _sensor("ph", Quantity.PH, "pH", "pH", (0.0, 14.0), 2),
        _sensor("do", Quantity.DISSOLVED_OXYGEN, "%", "Dissolved oxygen", (0.0, 500.0), 1),
        _sensor("co2", Quantity.CO2, "ppm", "CO2 above the culture", (0.0, 100_000.0), 0),
        _sensor("volume", Quantity.VOLUME, "mL", "Volume in the vial", (-1.0, 25.0), 2),
        _output(
            "temperature-setpoint",
            "setpoint",
            Quantity.TEMPERATURE,
            "°C",
            "Temperature setpoint (0 is off)",
            ChannelLimits(minimum=15.0, maximum=42.0),
        ),
        _output(
            "ph-setpoint",
            "setpoint",
            Quantity.PH,
            "pH",
            "pH setpoint (0 is off)",
            ChannelLimits(minimum=3.0, maximum=11.0),
        ),
        _output(
            "heater",
            "sensor",
            Quantity.POWER,
            "%",
            "Heater duty",
            ChannelLimits(minimum=0.0, maximum=70.0),
        ),
        _output(
            "stirring",
            "setpoint",
            Quantity.SPEED,
            "rpm",
            "Stirring speed (0 is off)",
            ChannelLimits(minimum=50.0, maximum=1000.0, slew_per_s=100.0),
        ),
        _output(
            "light",
            "actuator",
            Quantity.LIGHT,
            "%",
            "Light",
            ChannelLimits(minimum=0.0, maximum=100.0),
        ),
        _pump("media", "in", "Fresh medium", 0.5, (5.0, 60.0, 1000.0)),
        _pump("waste", "out", "Waste, through the straw", 1.0, (10.0, 120.0, 2000.0)),
        _pump("acid", "in", "Acid (0.1 mol/L)", 0.1, (0.5, 3.0, 30.0)),
        _pump("base", "in", "Base (0.1 mol/L)", 0.1, (0.5, 3.0, 30.0)),
    ],
    vessel=VESSEL,
    heating=Heating(
        sensor="temperature",
        setpoint="temperature-setpoint",
        output="heater",
        trip=45.0,
        reset=42.0,
    ),
    titrations=[
        Titration(
            sensor="ph",
            setpoint="ph-setpoint",
            raising="base",
            lowering="acid",
            band=0.05,
            dose_ml=0.02,
            every=120.0,
        )
    ],
)

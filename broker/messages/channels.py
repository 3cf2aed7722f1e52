"""What a node has: sensors and actuators, their limits and calibrations."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from broker.messages.base import Count, Name, Payload, Seconds, Time


class Quantity(StrEnum):
    """What a channel measures or moves; the unit stands beside it."""

    OPTICAL_DENSITY = "optical_density"
    TEMPERATURE = "temperature"
    PH = "ph"
    DISSOLVED_OXYGEN = "dissolved_oxygen"
    CO2 = "co2"
    VOLUME = "volume"
    FLOW = "flow"
    SPEED = "speed"
    POWER = "power"
    LIGHT = "light"
    OTHER = "other"


class ChannelLimits(Payload):
    """Limits that every command obeys, whoever sent it; absent means none."""

    minimum: float | None = None
    maximum: float | None = None
    slew_per_s: float | None = Field(default=None, gt=0)
    max_on_time: Seconds | None = None
    max_dose_ml: float | None = Field(default=None, gt=0)
    max_hourly_ml: float | None = Field(default=None, gt=0)
    max_total_ml: float | None = Field(default=None, gt=0)


class CalibrationInfo(Payload):
    """How good a calibration is, and by what it was made.

    Attributes:
        way: ``curve``: readings are brought onto a curve; ``volume``: a pump's volumes are scaled;
            ``device``: the device keeps it itself, and this is the record of it.
        unit: Of `error`.
        points: How many standards it was made of.
        error: By how much the worst of them is off, in `unit`; absent where nothing tells.
        note: Who made it, with which standards.
    """

    way: Literal["curve", "volume", "device"]
    unit: str = ""
    points: Count = 0
    error: float | None = Field(default=None, ge=0)
    note: Annotated[str, StringConstraints(max_length=200)] = ""


class ChannelInfo(Payload):
    """A sensor or an actuator.

    Attributes:
        kind: ``sensor`` is read; ``actuator`` is set directly and its command carries a duration;
            ``setpoint`` is set and held by a controller of the node; ``pump`` doses volumes.
        safe_value: What the channel is set to when nobody is in control.
        period: Seconds between samples.
        calibration: Which one its values are brought to truth with; absent: none is known.
        calibrated_at: When that was made.
        calibration_info: How good that is.
    """

    name: Name
    kind: Literal["sensor", "actuator", "setpoint", "pump"]
    quantity: Quantity
    unit: str
    label: str
    driver: str
    period: Seconds
    limits: ChannelLimits = ChannelLimits()
    safe_value: float | None = None
    precision: int = Field(default=3, ge=0, le=9)
    calibration: Annotated[str, StringConstraints(max_length=80)] | None = None
    calibrated_at: Time | None = None
    calibration_info: CalibrationInfo | None = None


class Channels(Payload):
    """The node's channels, retained at `nodes/{node}/channels`.

    Attributes:
        simulated: Whether no real reactor stands behind it.
        speed: Seconds of the reactor's clock in one second; 1 unless simulated.
        packages: What the images offer, for checks at submission: import name → distribution.
    """

    node: Name
    label: str
    simulated: bool = False
    speed: float = Field(default=1.0, gt=0)
    channels: tuple[ChannelInfo, ...]
    images: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)

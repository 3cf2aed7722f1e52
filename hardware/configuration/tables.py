"""The tables of `reactor.toml`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.messages import Label, Name
from hardware.plausibility import Policy

Positive = Annotated[float, Field(gt=0)]


class Table(BaseModel):
    """Base of every table: closed and finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DeviceTable(Table):
    """`[devices.NAME]`: a device; its kind says what else may stand here.

    Attributes:
        driver: The kind of device.
        on_fault: What is done when it is unplugged or fails twice in a row: ``stop`` makes
            everything safe and ends the run, ``hold`` stops pumps and direct outputs until it
            answers again. With either, the same rests from the first answer that is missed until
            the next comes. Left out: ``stop`` if it moves or heats something, else ``continue``.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    driver: Name
    on_fault: Policy | None = None


class PlausibleTable(Table):
    """`[channels.NAME.plausible]`: what a sound reading of this sensor is like.

    Attributes:
        low: The least there can be in this vessel; left out: the channel's range says enough.
        high: The most.
        frozen_after: Seconds for which a value may be the same to the last digit.
        fastest: The fastest change, units a second; left out: any.
        step: A change that is always possible between two readings: noise, and the resolution.
        policy: What the run does while the sensor is doubted.
    """

    low: float | None = None
    high: float | None = None
    frozen_after: Positive | None = None
    fastest: Positive | None = None
    step: Annotated[float, Field(ge=0)] = 0.0
    policy: Policy = "continue"


class ChannelTable(Table):
    """`[channels.NAME]`: what a device serves.

    Attributes:
        device: Its name.
        what: Which of the things it offers; needed where it offers several.
        label: For people.
        minimum: The least that may be set, or that the sensor can give.
        maximum: The most.
        period: Seconds between samples.
        precision: Decimals.
        stale_after: Seconds after which a reading is not believed any more.
        slew_per_s: How fast an output may change, in its unit.
        max_on_time: Seconds that an output or a pump may be on at a stretch.
        rest: Seconds of pause before that counts from zero.
        safe: An output's value when nobody is in control: 0, or one in its range; a heater's is 0.
        direction: Of a pump: into the vessel or out of it.
        flow: Of a pump, mL/s.
        max_dose_ml: mL a dose.
        max_hourly_ml: mL in any hour.
        max_total_ml: mL a run.
        plausible: What a sensor's readings are like; what is not is doubted.
    """

    device: Name
    what: str | None = None
    label: Label | None = None
    minimum: float | None = None
    maximum: float | None = None
    period: Annotated[float, Field(ge=0.02, le=3600)] | None = None
    precision: Annotated[int, Field(ge=0, le=9)] | None = None
    stale_after: Annotated[float, Field(gt=0, le=3600)] = 30.0
    slew_per_s: Positive | None = None
    max_on_time: Positive | None = None
    rest: Annotated[float, Field(ge=0)] = 1.0
    safe: float = 0.0
    direction: Literal["in", "out"] | None = None
    flow: Positive | None = None
    max_dose_ml: Positive | None = None
    max_hourly_ml: Positive | None = None
    max_total_ml: Positive | None = None
    plausible: PlausibleTable | None = None


class VesselTable(Table):
    """`[vessel]`: what the vessel holds, in mL; pumps are refused what would leave its bounds.

    Attributes:
        sensor: The channel that measures the volume; left out: it is counted from doses.
        filled: The volume at the start.
        low: Nothing is pumped out and nothing is heated below it.
        high: Nothing is pumped in above it.
        straw: The waste pump draws air when the volume is down to this.
    """

    sensor: Name | None = None
    filled: Positive
    low: Annotated[float, Field(ge=0)]
    high: Positive
    straw: Annotated[float, Field(ge=0)] = 0.0


class ThermostatTable(Table):
    """A controller of `kind = "thermostat"`; the table's name is that of the setpoint's channel.

    Attributes:
        kind: Which controller.
        sensor: The temperature that is held.
        output: The heater; nobody else may set it.
        label: For people.
        minimum: The least setpoint, °C.
        maximum: The highest.
        trip: The heater goes off at this temperature, °C …
        reset: … and stays off until it is below this one.
        proportional: % duty a °C.
        integral: % duty a °C and second.
        highest: The most duty, %.
    """

    kind: Literal["thermostat"]
    sensor: Name
    output: Name
    label: Label = "Temperature setpoint (0 is off)"
    minimum: Positive = 15.0
    maximum: Positive = 42.0
    trip: Positive
    reset: Positive
    proportional: Positive = 12.0
    integral: Annotated[float, Field(ge=0)] = 0.015
    highest: Annotated[float, Field(gt=0, le=100)] = 70.0


class TitrationTable(Table):
    """A controller of `kind = "titration"`; the table's name is that of the setpoint's channel.

    Attributes:
        kind: Which controller.
        sensor: What is held, for example pH.
        label: For people.
        minimum: The least setpoint, in the sensor's unit.
        maximum: The highest.
        raising: The pump whose liquid raises it.
        lowering: The pump whose liquid lowers it.
        band: How far off the value may be without a dose, in the sensor's unit.
        dose_ml: What is dosed when it is one band off; at most five times that.
        every: Seconds between two doses, in which the vessel mixes.
    """

    kind: Literal["titration"]
    sensor: Name
    label: Label | None = None
    minimum: Positive
    maximum: Positive
    raising: Name | None = None
    lowering: Name | None = None
    band: Positive
    dose_ml: Positive
    every: Annotated[float, Field(ge=5)]


Controller = Annotated[ThermostatTable | TitrationTable, Field(discriminator="kind")]


class ReactorTable(Table):
    """The whole file."""

    label: Label | None = None
    devices: Annotated[Mapping[Name, DeviceTable], Field(min_length=1)]
    channels: Annotated[Mapping[Name, ChannelTable], Field(min_length=1)]
    vessel: VesselTable | None = None
    controllers: Mapping[Name, Controller] = Field(default_factory=dict)

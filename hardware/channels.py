"""What a reactor consists of: channels, the vessel and what heats it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from broker.messages import ChannelInfo
from hardware.calibration.curve import Curve
from hardware.plausibility import Plausible, Policy


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as the node handles it.

    Attributes:
        info: What everybody may know of it.
        flow: Of a pump: mL/s.
        direction: Of a pump: into or out of the vessel.
        wired: A driver is told the value. A setpoint that only a controller follows is not wired.
        controlled: Commanded by a controller of the node and by nobody else; people see a sensor.
        rest: Seconds that an output must be off before its continuous on-time counts from zero.
        stale_after: Seconds after which a sensor's reading is no longer believed.
        plausible: What a sensor's readings are like; None: whatever is in its range is believed.
        curve: Brings what a sensor's device reads to what is true; None: it is true.
        volume_factor: Of a pump: what it moves of what its driver believes to move.
        least_ml: Of a pump: the least that it can move at a time, mL.
    """

    info: ChannelInfo
    flow: float = 0.0
    direction: Literal["in", "out"] | None = None
    wired: bool = True
    controlled: bool = False
    rest: float = 1.0
    stale_after: float = 30.0
    plausible: Plausible | None = None
    curve: Curve | None = None
    volume_factor: float = 1.0
    least_ml: float = 0.0

    @property
    def output(self) -> bool:
        """Whether the channel has a value that is set."""
        return self.controlled or self.info.kind in {"actuator", "setpoint"}

    @property
    def safe(self) -> float:
        """The value when nobody is in control."""
        return self.info.safe_value or 0.0


@dataclass(frozen=True, slots=True)
class Vessel:
    """The vessel's limits, mL.

    Attributes:
        sensor: The channel that measures the volume; None if nothing does.
        filled: The volume at the start.
        low: Nothing is pumped out and nothing is heated below it.
        high: Nothing is pumped in above it.
        straw: The waste pump draws air when the volume is down to this.
    """

    sensor: str | None
    filled: float
    low: float
    high: float
    straw: float


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


@dataclass(frozen=True, slots=True)
class Heating:
    """What heats and what watches it, °C.

    Attributes:
        sensor: The channel that measures the temperature.
        setpoint: The channel that says which temperature is wanted; its safe value means off.
        output: The channel of the heater's duty, %.
        trip: The heater goes off at this temperature …
        reset: … and stays off until the temperature is below this one.
        gains: How the thermostat is tuned.
    """

    sensor: str
    setpoint: str
    output: str
    trip: float
    reset: float
    gains: Gains = field(default_factory=Gains)


@dataclass(frozen=True, slots=True)
class Titration:
    """What holds a sensor's value by dosing: pH with acid and base, oxygen with feed.

    Attributes:
        sensor: The channel that is held.
        setpoint: The channel that says at which value; its safe value means off.
        raising: The pump that makes the value rise; None: nothing does.
        lowering: The pump that makes it fall; None: nothing does.
        band: How far off the value may be without a dose, in the sensor's unit.
        dose_ml: What is dosed when it is one band off; at most five times that.
        every: Seconds between two doses, in which the vessel mixes.
    """

    sensor: str
    setpoint: str
    raising: str | None
    lowering: str | None
    band: float
    dose_ml: float
    every: float


@dataclass(frozen=True, slots=True)
class Equipment:
    """All of a reactor; the safety rules' configuration.

    Attributes:
        on_fault: What is done when a device is lost, where its kind does not say enough.
    """

    channels: Mapping[str, Channel]
    vessel: Vessel | None = None
    heating: Heating | None = None
    titrations: tuple[Titration, ...] = ()
    on_fault: Mapping[str, Policy] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        channels: Iterable[Channel],
        *,
        vessel: Vessel | None = None,
        heating: Heating | None = None,
        titrations: Iterable[Titration] = (),
        on_fault: Mapping[str, Policy] | None = None,
    ) -> "Equipment":
        """Index channels by name."""
        by_name = {channel.info.name: channel for channel in channels}
        return cls(by_name, vessel, heating, tuple(titrations), dict(on_fault or {}))

    def outputs(self) -> tuple[str, ...]:
        """Names of the channels that have a value to be set."""
        return tuple(name for name, channel in self.channels.items() if channel.output)

    def pumps(self) -> tuple[str, ...]:
        """Names of the pumps."""
        return tuple(name for name, channel in self.channels.items() if channel.info.kind == "pump")

    def recalibrate(self, channels: Iterable[Channel]) -> None:
        """Let channels be calibrated anew, for all who know this equipment.

        Nothing else of a reactor ever changes; only `Reactor.refresh` does this.
        """
        if not isinstance(self.channels, dict):
            raise TypeError("this equipment is not to be changed")
        self.channels.update({channel.info.name: channel for channel in channels})

    def acts(self, device: str) -> bool:
        """Whether a device moves or heats something; others only measure."""
        return any(
            channel.wired and (channel.output or channel.info.kind == "pump")
            for channel in self.channels.values()
            if channel.info.driver == device
        )

    def policy(self, device: str) -> Policy:
        """Return what is done when a device is lost.

        Without one that acts nobody knows what the rest leads to. Whoever needs one that measures
        is made safe by its silence: heater and titration, each for itself.
        """
        return self.on_fault.get(device) or ("stop" if self.acts(device) else "continue")

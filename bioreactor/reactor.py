"""The reactor that is lent to this experiment: read it, set it, dose with it.

    from bioreactor import reactor

    reactor.set("temperature-setpoint", 37.0)
    if reactor.read("od") > 0.5:
        reactor.dose("waste", ml=1.2)  # more than comes in: the straw sets the level
        reactor.dose("media", ml=1.0)

What is on when the experiment ends is switched off. What a channel allows is in `channels()`;
a command beyond it raises, and nothing is changed.
"""

import math
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Literal

from bioreactor._gateway import (
    BioreactorError,
    DoseLimitError,
    EmergencyStop,
    HardwareError,
    InterlockError,
    LeaseEnded,
    LimitError,
    NoReactorError,
    NotAnActuator,
    OutOfRangeError,
    OutputsReset,
    UnavailableError,
    UnknownChannel,
    gateway,
)

__all__ = [
    "BioreactorError", "Channel", "Dose", "DoseLimitError", "EmergencyStop", "HardwareError",
    "InterlockError", "LeaseEnded", "LimitError", "Limits", "NoReactorError", "NotAnActuator",
    "OutOfRangeError", "OutputsReset", "UnavailableError", "UnknownChannel", "channels", "dose",
    "read", "read_all", "set",
]  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a channel allows; None is no limit.

    Attributes:
        minimum: Lowest value, in the channel's unit.
        maximum: Highest value.
        slew_per_s: Fastest change in a second.
        max_on_time: Longest time on at a stretch, s.
        max_dose_ml: Most in one dose, mL.
        max_hourly_ml: Most in any hour, mL.
        max_total_ml: Most in this experiment, mL.
    """

    minimum: float | None = None
    maximum: float | None = None
    slew_per_s: float | None = None
    max_on_time: float | None = None
    max_dose_ml: float | None = None
    max_hourly_ml: float | None = None
    max_total_ml: float | None = None


@dataclass(frozen=True)
class Channel:
    """A sensor or an actuator.

    Attributes:
        name: For `read`, `set` and `dose`.
        kind: ``sensor`` is read; ``setpoint`` is set and held; ``actuator`` is set for some
            seconds; ``pump`` doses volumes.
        unit: Of its values.
        label: For people.
        limits: What it allows.
    """

    name: str
    kind: Literal["sensor", "actuator", "setpoint", "pump"]
    unit: str
    label: str
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Dose:
    """What a pump did: volumes in mL, and the seconds it took on the reactor's clock."""

    requested_ml: float
    delivered_ml: float
    seconds: float


def channels() -> dict[str, Channel]:
    """Return the reactor's channels by name."""
    answer = gateway().get("/channels")
    return {item["name"]: _channel(item) for item in answer["channels"]}


def read(channel: str) -> float:
    """Return what a channel says now.

    A sensor is measured; an output or setpoint says what it is set to; a pump says how many mL
    it has moved in this experiment. ``nan`` where the sensor gives no sound value, so a
    comparison with it is false; ask with ``math.isnan``.

    Raises:
        UnknownChannel: There is no such channel.
    """
    return _number(gateway().get(f"/channels/{_quoted(channel)}")["value"])


def read_all() -> dict[str, float]:
    """Return what every channel says now, all measured together; ``nan`` as in `read`."""
    values = gateway().get("/readings")["values"]
    return {name: _number(value) for name, value in values.items()}


def set(channel: str, value: float, *, seconds: float | None = None) -> float:  # noqa: A001 - used as reactor.set
    """Set a setpoint or an output.

    Args:
        channel: Its name.
        value: In the channel's unit.
        seconds: Of the reactor's clock, after which it goes to its safe value by itself. A
            direct output, for example the light, needs it: give a little more than the time
            until you set it again. Setpoints last until the experiment ends.

    Returns:
        The value that is in force.

    Raises:
        UnknownChannel: There is no such channel.
        NotAnActuator: It can only be read, or is a pump.
        OutOfRangeError: The value is outside the channel's range.
        LimitError: The output would be on for too long.
        OutputsReset: The node restarted; this call did nothing, see there.
        EmergencyStop: The reactor was stopped.
        LeaseEnded: The reactor is no longer lent to this experiment.
        HardwareError: The device did not obey.
    """
    body: dict[str, float] = {"value": float(value)}
    if seconds is not None:
        body["duration"] = float(seconds)
    _finite(channel, *body.values())
    return float(gateway().post(f"/channels/{_quoted(channel)}/set", body)["value"])


def dose(channel: str, *, ml: float) -> Dose:
    """Pump a volume, and return when it is delivered.

    Args:
        channel: A pump.
        ml: mL, above 0.

    Returns:
        What was delivered; less than asked for if the experiment was paused meanwhile, or if a
            device did not answer for a moment and less was left than the pump can move.

    Raises:
        DoseLimitError: The dose, the hour's or the experiment's volume would be too much; nothing
            was pumped. ``error.details["left"]`` is what is left in mL, and
            ``error.details["retry_after"]`` when to try again, where that helps.
        InterlockError: The vessel would run over or dry, or a device does not answer; nothing more
            was pumped.
        UnknownChannel: There is no such channel.
        NotAnActuator: It is no pump.
        OutputsReset: The node restarted; nothing was pumped, unless ``error.details`` have a
            ``delivered_ml``: the dose was under way, up to so much came, and all of it counts.
        EmergencyStop: The reactor was stopped.
        LeaseEnded: The reactor is no longer lent to this experiment.
        HardwareError: The pump does not answer; how much it delivered is not known.
    """
    _finite(channel, float(ml))
    answer = gateway().post(f"/channels/{_quoted(channel)}/dose", {"ml": float(ml)})
    return Dose(answer["requested_ml"], answer["delivered_ml"], answer["seconds"])


def _channel(item: dict[str, Any]) -> Channel:
    known = Limits.__dataclass_fields__
    limits = {name: value for name, value in item.get("limits", {}).items() if name in known}
    return Channel(item["name"], item["kind"], item["unit"], item["label"], Limits(**limits))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _quoted(channel: str) -> str:
    return urllib.parse.quote(channel, safe="")


def _finite(channel: str, *values: float) -> None:
    if not all(math.isfinite(value) for value in values):
        raise OutOfRangeError(
            f"{channel} cannot be given {values[0]}",
            code="OUT_OF_RANGE",
            hint="a finite number is wanted; read() gives nan where a sensor is silent",
        )

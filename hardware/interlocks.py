"""What the readings forbid: temperature and volume, and the alarms that say so. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from hardware.channels import Channel, Equipment
from hardware.events import Measured


@dataclass(frozen=True, slots=True)
class Reading:
    """A sensor's last reading.

    Attributes:
        value: None if the sensor gave no sound value.
        at: When it was read.
        good_at: When it last gave a sound value.
    """

    value: float | None
    at: float
    good_at: float


@dataclass(frozen=True, slots=True)
class Note:
    """An alarm: `since` is in reactor seconds."""

    severity: Literal["warning", "critical"]
    message: str
    channel: str | None
    since: float


def sound(channel: Channel, value: float | None) -> float | None:
    """Return the value unless it is missing, not finite or outside what the sensor can give."""
    if value is None or not math.isfinite(value):
        return None
    limits = channel.info.limits
    if limits.minimum is not None and value < limits.minimum:
        return None
    if limits.maximum is not None and value > limits.maximum:
        return None
    return value


def believed(equipment: Equipment, readings: Mapping[str, Reading], name: str, now: float) -> bool:
    """Whether the sensor's last reading is sound and fresh."""
    reading = readings[name]
    return (
        reading.value is not None and now < reading.good_at + equipment.channels[name].stale_after
    )


def measure(
    equipment: Equipment,
    readings: Mapping[str, Reading],
    volume: float | None,
    event: Measured,
    now: float,
) -> tuple[Mapping[str, Reading], float | None, bool | None]:
    """Take readings in.

    Returns:
        The readings, the vessel's volume, and whether it is too hot (None: as before, for
        between trip and reset the past decides, and so it does when the sensor is silent).
    """
    known = dict(readings)
    for name, raw in event.values.items():
        before = known.get(name)
        if before is None:
            continue
        value = sound(equipment.channels[name], raw)
        known[name] = Reading(value, now, before.good_at if value is None else now)
    hot: bool | None = None
    heating, vessel = equipment.heating, equipment.vessel
    if heating is not None:
        temperature = known[heating.sensor].value
        if temperature is not None and temperature >= heating.trip:
            hot = True
        elif temperature is not None and temperature < heating.reset:
            hot = False
    if vessel is not None and vessel.sensor is not None and vessel.sensor in event.values:
        measured = known[vessel.sensor].value
        volume = volume if measured is None else measured
    return known, volume, hot


def heating_allowed(
    equipment: Equipment,
    readings: Mapping[str, Reading],
    volume: float | None,
    *,
    hot: bool,
    now: float,
) -> bool:
    """Whether the heater may be on."""
    heating, vessel = equipment.heating, equipment.vessel
    if heating is None:
        return True
    dry = vessel is not None and volume is not None and volume < vessel.low
    return not hot and not dry and believed(equipment, readings, heating.sensor, now)


def judge(
    equipment: Equipment,
    readings: Mapping[str, Reading],
    volume: float | None,
    *,
    hot: bool,
    spent: Iterable[str],
    estop: str | None,
    before: Mapping[str, Note],
    now: float,
) -> Mapping[str, Note]:
    """Return the alarms that stand now; those that stood before keep their time."""
    found = dict(_conditions(equipment, readings, volume, hot, now))
    for name in spent:
        found[f"on-time-{name}"] = Note(
            "warning", f"{name} was switched off: its longest time on is over", name, now
        )
    if estop is not None:
        found["estop"] = Note("critical", f"emergency stop: {estop}", None, now)
    if found.keys() == before.keys():
        return before
    return {name: before.get(name, note) for name, note in found.items()}


def _conditions(
    equipment: Equipment,
    readings: Mapping[str, Reading],
    volume: float | None,
    hot: bool,
    now: float,
) -> Iterator[tuple[str, Note]]:
    heating, vessel = equipment.heating, equipment.vessel
    if heating is not None:
        if hot:
            message = f"{heating.trip:g} °C was reached: the heater is off until it is below "
            yield (
                "over-temperature",
                Note("critical", f"{message}{heating.reset:g} °C", heating.sensor, now),
            )
        if _silent(equipment, readings, heating.sensor, now):
            yield (
                "temperature-unknown",
                Note("critical", "no sound temperature: the heater is off", heating.sensor, now),
            )
    if vessel is None or volume is None:
        return
    if vessel.sensor is not None and _silent(equipment, readings, vessel.sensor, now):
        message = "the volume is not measured: what is pumped out is not counted"
        yield "volume-unknown", Note("warning", message, vessel.sensor, now)
    if volume >= vessel.high:
        message = f"the vessel holds {volume:.1f} mL: nothing is pumped in above {vessel.high:g} mL"
        yield "vessel-high", Note("critical", message, vessel.sensor, now)
    elif volume < vessel.low:
        message = f"the vessel holds {volume:.1f} mL: nothing is heated below {vessel.low:g} mL"
        yield "vessel-low", Note("warning", message, vessel.sensor, now)


def _silent(equipment: Equipment, readings: Mapping[str, Reading], name: str, now: float) -> bool:
    return now >= readings[name].good_at + equipment.channels[name].stale_after

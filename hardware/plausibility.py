"""Whether a sensor may be believed: a device can lie without failing. Pure.

Seen in recorded runs: a CO2 probe that rose to 65 802 ppm and then read 0 for 31 hours, another
that jumped by thousands, a thermometer whose first value was an old one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from broker.messages import Quantity

Policy = Literal["continue", "hold", "stop"]
"""What a run does while a sensor is doubted, or a device is lost; applied by `hardware.guard`."""

SETTLED: Final = 3
"""Readings that agree with one another until a value that was jumped to is believed."""


class Doubt(StrEnum):
    """Why a value is not believed."""

    OUT_OF_RANGE = "out-of-range"
    FROZEN = "frozen"
    JUMPING = "jumping"


@dataclass(frozen=True, slots=True)
class Plausible:
    """What a sensor's values are like, as configured for its channel, in its unit.

    Attributes:
        low: The least there can be in this vessel; None: the channel's range says enough.
        high: The most.
        frozen_after: Seconds for which a value may be the same to the last digit; None: for ever.
        fastest: The fastest change, a second; None: any.
        step: A change that is always possible between two readings: noise, and the resolution.
        policy: What the run does.
    """

    low: float | None = None
    high: float | None = None
    frozen_after: float | None = None
    fastest: float | None = None
    step: float = 0.0
    policy: Policy = "continue"


_POSSIBLE: Final[Mapping[tuple[Quantity, str], tuple[float, float]]] = MappingProxyType(
    {
        (Quantity.TEMPERATURE, "°C"): (-5.0, 130.0),
        (Quantity.PH, "pH"): (0.0, 14.0),
        (Quantity.DISSOLVED_OXYGEN, "%"): (0.0, 500.0),
        (Quantity.DISSOLVED_OXYGEN, "mg/L"): (0.0, 100.0),
        (Quantity.CO2, "ppm"): (0.0, 1e6),
        (Quantity.OPTICAL_DENSITY, "OD"): (-2.0, 200.0),
    }
)
"""What there can be in a vessel with a culture, an autoclaved one included, and some more: wide
enough never to be wrong. A thermometer that lost its wire reads -55 °C, and would be heated for."""


def usual(quantity: Quantity, unit: str) -> Plausible | None:
    """Return what is known of a quantity whatever the reactor; None: nothing."""
    bounds = _POSSIBLE.get((quantity, unit))
    return None if bounds is None else Plausible(*bounds)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of a sensor.

    Attributes:
        value: The last reading, believed or not …
        at: … and when that was.
        since: Since when it has been the same.
        good: The last reading that was believed …
        good_at: … and when that was.
        agreeing: Readings in a row that agree with the one before.
        doubt: Why the last reading is not believed; None: it is.
    """

    value: float | None = None
    at: float = -math.inf
    since: float = -math.inf
    good: float | None = None
    good_at: float = -math.inf
    agreeing: int = 0
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True)
class Doubted:
    """A sensor that is not believed.

    Attributes:
        rule: What its readings should be like.
        doubt: What is wrong with them.
        why: The same in a sentence.
    """

    rule: Plausible
    doubt: Doubt
    why: str


def judge(rule: Plausible, before: Watch, value: float | None, now: float) -> Watch:
    """Take a reading in.

    Args:
        rule: What the sensor's values are like.
        before: What is remembered.
        value: The reading as it came; None if there is none, which is no lie.
        now: Reactor seconds.
    """
    if value is None or not math.isfinite(value):
        return replace(before, value=None, agreeing=0, doubt=None)
    agrees = _possible(rule, before.value, before.at, value, now)
    watch = replace(
        before,
        value=value,
        at=now,
        since=before.since if value == before.value else now,
        agreeing=before.agreeing + 1 if agrees else 1,
    )
    doubt = _doubt(rule, watch, now)
    if doubt is None:
        return replace(watch, good=value, good_at=now, doubt=None)
    return replace(watch, doubt=doubt)


def _doubt(rule: Plausible, watch: Watch, now: float) -> Doubt | None:
    value = watch.value
    if value is None:
        return None
    if (rule.low is not None and value < rule.low) or (rule.high is not None and value > rule.high):
        return Doubt.OUT_OF_RANGE
    if rule.frozen_after is not None and now - watch.since >= rule.frozen_after:
        return Doubt.FROZEN
    if watch.agreeing < SETTLED and not _possible(rule, watch.good, watch.good_at, value, now):
        return Doubt.JUMPING
    return None


def _possible(rule: Plausible, earlier: float | None, at: float, value: float, now: float) -> bool:
    """Whether a value can have come from an earlier one."""
    if rule.fastest is None or earlier is None:
        return True
    return abs(value - earlier) <= rule.step + rule.fastest * (now - at)


def sentence(doubt: Doubt, value: float, rule: Plausible, unit: str) -> str:
    """Say to people what is wrong, and what to look at."""
    match doubt:
        case Doubt.OUT_OF_RANGE:
            return f"{value:g} {unit} cannot be: look at the probe and its calibration"
        case Doubt.FROZEN:
            return (
                f"exactly {value:g} {unit} for {rule.frozen_after:g} s: is the probe in the medium "
                "and its cable in the device?"
            )
        case Doubt.JUMPING:
            return f"it jumps, now {value:g} {unit}: look at the probe and its cable"

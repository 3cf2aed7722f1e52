"""The rules for pumps: what may be dosed, piece by piece. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from broker.messages import Error, ErrorCode
from hardware.budget import Budget
from hardware.channels import Channel, Vessel
from hardware.events import DoseAsked, DoseEnded, DosePiece, PieceEnded, refuse

_EPSILON: Final = 1e-9
_SIGN: Final[Mapping[str | None, float]] = MappingProxyType({"in": -1.0, "out": 1.0})
"""What becomes of the vessel's volume when something was not pumped after all."""


@dataclass(frozen=True, slots=True)
class Pump:
    """A pump's state.

    Attributes:
        budget: What it has moved.
        pending: What is reserved for the dose under way, mL.
        left: What of that may still be pumped; 0 after the dose was stopped.
        piece: What was granted last, and may be granted again as far as it is not delivered
            because the pump had to rest; 0 after the dose was stopped.
        rested: It had to rest since then.
        busy: A dose is under way.
        on_since: When it started, short rests included.
        off_since: When it last stopped, as far as that is known.
    """

    budget: Budget = field(default_factory=Budget)
    pending: float = 0.0
    left: float = 0.0
    piece: float = 0.0
    rested: bool = False
    busy: bool = False
    on_since: float = -math.inf
    off_since: float = -math.inf


@dataclass(frozen=True, slots=True)
class Content:
    """The vessel as the rules believe it to be.

    Attributes:
        volume: mL.
        coming: What granted doses will still pump in, mL.
    """

    vessel: Vessel
    volume: float
    coming: float


def ask(
    channel: Channel, pump: Pump, event: DoseAsked, content: Content | None, now: float
) -> tuple[Pump, Error | None]:
    """Reserve a dose, or say which limit it would break and what is left of it."""
    refusal = (
        _refuse_volume(channel, pump, event.ml)
        or _refuse_budget(channel, pump, event.ml, now)
        or _refuse_vessel(channel, event.ml, content)
    )
    if refusal is not None:
        return pump, refusal
    on_since = _on_since(channel, pump, now)
    refusal = _refuse_on_time(channel, event.ml, now - on_since)
    if refusal is not None:
        return pump, refusal
    granted = Pump(
        pump.budget,
        pending=event.ml,
        left=event.ml,
        busy=True,
        on_since=on_since,
        off_since=pump.off_since,
    )
    return granted, None


def piece(
    channel: Channel, pump: Pump, event: DosePiece, content: Content | None, now: float
) -> tuple[Pump, float | None, Error | None]:
    """Allow the next piece of a dose.

    Returns:
        The pump, the vessel's volume after it, and why the piece was refused.
    """
    volume = None if content is None else content.volume
    if not (math.isfinite(event.ml) and 0 < event.ml <= pump.left + _EPSILON):
        return pump, volume, refuse_stopped(channel)
    if content is not None and channel.direction == "in":
        content = replace(content, coming=max(0.0, content.coming - pump.left))
    on_since = _on_since(channel, pump, now)  # it stood while the disk took the dose
    refusal = _refuse_vessel(channel, event.ml, content) or _refuse_on_time(
        channel, event.ml, now - on_since
    )
    if refusal is not None:
        return stopped(pump), volume, refusal
    if content is not None:
        volume = _after(channel, event.ml, content)
    left = max(0.0, pump.left - event.ml)
    granted = replace(pump, left=left, piece=event.ml, rested=False, on_since=on_since)
    return granted, volume, None


def give_back(
    channel: Channel, pump: Pump, event: PieceEnded, content: Content | None, now: float
) -> tuple[Pump, float | None]:
    """Let what a pump that had to rest has not delivered be pumped later.

    Returns:
        The pump, and the vessel's volume as it is without that, or with what came beyond it.
    """
    volume = None if content is None else content.volume
    if content is not None and content.vessel.sensor is None and channel.direction == "in":
        # A pump rounds up to the least that it can move: a little each time, and soon a vessel.
        more = event.delivered - pump.piece
        if pump.piece and _EPSILON < more < math.inf:
            volume = content.volume + more
    if not pump.rested:
        return replace(pump, piece=0.0, off_since=now), volume
    # Whether one that does not answer has stopped is not known: its rest counts as running.
    missing = pump.piece - event.delivered
    if not _EPSILON < missing <= pump.piece:
        return replace(pump, piece=0.0, rested=False), volume
    if content is not None and content.vessel.sensor is None:
        # What it holds is reckoned; a sensor may have shown it already.
        volume = max(0.0, content.volume + _SIGN.get(channel.direction, 0.0) * missing)
    return replace(pump, left=pump.left + missing, piece=0.0, rested=False), volume


def stopped(pump: Pump) -> Pump:
    """Return the pump, which may not begin another piece of its dose."""
    return replace(pump, left=0.0, piece=0.0)


def resting(pump: Pump) -> Pump:
    """Return the pump, which must not deliver all of the piece that is under way."""
    return replace(pump, rested=pump.piece > 0.0)


def refuse_stopped(channel: Channel) -> Error:
    """Return the refusal of what was asked for before everything was stopped."""
    return refuse(
        ErrorCode.LIMIT,
        f"the dose of {channel.info.name} was stopped",
        "dose again when the reactor may be used",
        limit="stopped",
    )


def end(pump: Pump, event: DoseEnded, now: float) -> Pump:
    """Count what a dose delivered; all that was reserved if that is not known."""
    if not pump.busy:
        return pump
    delivered = event.delivered
    if delivered is None or not math.isfinite(delivered) or delivered < 0:
        delivered = pump.pending
    return replace(
        pump,
        budget=pump.budget.moved(now, delivered),
        pending=0.0,
        left=0.0,
        piece=0.0,
        busy=False,
        off_since=now,
    )


def _on_since(channel: Channel, pump: Pump, now: float) -> float:
    return now if now - pump.off_since >= channel.rest else pump.on_since


def _refuse_volume(channel: Channel, pump: Pump, ml: float) -> Error | None:
    name, most = channel.info.name, channel.info.limits.max_dose_ml
    if pump.busy:
        return refuse(
            ErrorCode.REACTOR_BUSY, f"{name} is dosing already", "wait until that dose has ended"
        )
    if not (math.isfinite(ml) and ml > 0):
        return refuse(
            ErrorCode.OUT_OF_RANGE,
            "a dose must be more than 0 mL",
            "give millilitres, for example 0.5",
        )
    if most is not None and ml > most + _EPSILON:
        return refuse(
            ErrorCode.LIMIT,
            f"{name} may dose {most:g} mL at a time, {ml:g} mL were asked for",
            "dose several times",
            limit="max_dose_ml",
            allowed=most,
            left=most,
            asked=ml,
        )
    return None


def _refuse_budget(channel: Channel, pump: Pump, ml: float, now: float) -> Error | None:
    limits, budget = channel.info.limits, pump.budget
    left = math.inf if limits.max_total_ml is None else limits.max_total_ml - budget.total
    if ml > left + _EPSILON:
        return refuse(
            ErrorCode.LIMIT,
            f"{channel.info.name} has {max(0.0, left):.3g} mL left of {limits.max_total_ml:g} mL "
            f"for this run, {ml:g} mL were asked for",
            "end the run, or have an administrator raise the limit",
            limit="max_total_ml",
            allowed=limits.max_total_ml,
            left=max(0.0, left),
            asked=ml,
        )
    if limits.max_hourly_ml is None:
        return None
    left = limits.max_hourly_ml - budget.hourly(now)
    if ml <= left + _EPSILON:
        return None
    wait = max(0.0, budget.free_at(now, ml, limits.max_hourly_ml) - now)
    return refuse(
        ErrorCode.LIMIT,
        f"{channel.info.name} has {max(0.0, left):.3g} mL left of {limits.max_hourly_ml:g} mL an "
        f"hour, {ml:g} mL were asked for",
        f"dose less, or wait {wait:.0f} s",
        limit="max_hourly_ml",
        allowed=limits.max_hourly_ml,
        left=max(0.0, left),
        asked=ml,
        retry_after=wait,
    )


def _refuse_on_time(channel: Channel, ml: float, used: float) -> Error | None:
    longest = channel.info.limits.max_on_time
    if longest is None or channel.flow <= 0 or used + ml / channel.flow <= longest + _EPSILON:
        return None
    left = max(0.0, longest - used)
    return refuse(
        ErrorCode.LIMIT,
        f"{channel.info.name} may run for {longest:g} s at a stretch, {left:.3g} s are left",
        f"dose less, or wait {channel.rest:g} s",
        limit="max_on_time",
        allowed=longest,
        left=left,
        retry_after=channel.rest,
    )


def _refuse_vessel(channel: Channel, ml: float, content: Content | None) -> Error | None:
    if content is None or channel.direction is None:
        return None
    vessel, volume = content.vessel, content.volume
    if channel.direction == "in" and volume + content.coming + ml > vessel.high + _EPSILON:
        left = max(0.0, vessel.high - volume - content.coming)
        return refuse(
            ErrorCode.INTERLOCK,
            f"the vessel holds {volume:.2f} mL: {left:.2f} mL fit in up to {vessel.high:g} mL, "
            f"{ml:g} mL were asked for",
            "pump waste out first",
            limit="vessel_high",
            allowed=vessel.high,
            left=left,
            asked=ml,
        )
    if channel.direction == "out" and _lowest(ml, content) < vessel.low - _EPSILON:
        left = max(0.0, volume - vessel.low)
        return refuse(
            ErrorCode.INTERLOCK,
            f"the vessel holds {volume:.2f} mL and must keep {vessel.low:g} mL",
            "pump medium in first",
            limit="vessel_low",
            allowed=vessel.low,
            left=left,
            asked=ml,
        )
    return None


def _lowest(ml: float, content: Content) -> float:
    """Return the volume after pumping out: the straw draws air below its end."""
    return max(content.volume - ml, min(content.volume, content.vessel.straw))


def _after(channel: Channel, ml: float, content: Content) -> float:
    if channel.direction == "in":
        return content.volume + ml
    if channel.direction == "out" and content.vessel.sensor is None:
        return _lowest(ml, content)
    # What was pumped out counts when the sensor shows it: a straw in air pumps nothing.
    return content.volume

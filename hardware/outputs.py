"""The rules for outputs: range, duration, slew and continuous on-time. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Final

from broker.messages import Error, ErrorCode
from hardware.channels import Channel
from hardware.events import Set, refuse

_RAMP_STEP: Final = 1.0
"""Seconds between two steps of an output whose slew is limited."""


@dataclass(frozen=True, slots=True)
class Output:
    """An output's state.

    Attributes:
        value: In force.
        target: Where the value is going; differs while it is slewed.
        at: When the value was set.
        until: When it goes to its safe value by itself.
        on_since: When it left its safe value, short rests included.
        off_since: When it last came back to it.
        spent: The continuous on-time was used up and the output has not been set since.
    """

    value: float
    target: float
    at: float
    until: float | None = None
    on_since: float | None = None
    off_since: float = -math.inf
    spent: bool = False


def command(
    channel: Channel, output: Output | None, event: Set, now: float
) -> tuple[Output | None, Error | None]:
    """Command an output, or say why not.

    Args:
        channel: The channel.
        output: Its state; None if it is no output.
        event: The command.
        now: Reactor seconds.
    """
    if output is None or channel.controlled != event.by_controller:
        name, pump = channel.info.name, channel.info.kind == "pump"
        use = "dose millilitres with it" if pump else "it can only be read"
        return None, refuse(ErrorCode.NOT_AN_ACTUATOR, f"{name} cannot be set", use)
    refusal = _refuse_value(channel, event) or (
        None
        if event.by_controller
        else _refuse_duration(channel, event) or _refuse_on_time(channel, output, event, now)
    )
    if refusal is not None:
        return None, refusal
    value = _clamped(channel, event.value) if event.by_controller else event.value
    until = None
    if event.duration is not None and value != channel.safe:
        until = now + event.duration
    on_since = output.on_since
    if value != channel.safe and output.value == channel.safe:
        rested = now - output.off_since >= channel.rest
        on_since = now if rested or on_since is None else on_since
    changed = replace(
        output,
        target=value,
        at=now if output.value == output.target else output.at,
        until=until,
        on_since=on_since,
        spent=False,
    )
    return changed, None


def output_due(channel: Channel, output: Output, now: float) -> float:
    """Return when the output must be settled again at the latest."""
    instants = [math.inf]
    longest = channel.info.limits.max_on_time
    if output.until is not None:
        instants.append(output.until)
    if longest is not None and output.on_since is not None and output.value != channel.safe:
        instants.append(output.on_since + longest)
    if output.value != output.target:
        instants.append(now + _RAMP_STEP)
    return min(instants)


def settle(channel: Channel, output: Output, *, forced: bool, rests: bool, now: float) -> Output:
    """Return the output as it is allowed to be now.

    Args:
        channel: Its channel.
        output: Its state.
        forced: It goes to its safe value and stays there until it is commanded.
        rests: It has its safe value as long as this is so, then goes to its target again.
        now: Reactor seconds.
    """
    safe, limits = channel.safe, channel.info.limits
    longest = limits.max_on_time
    spent = (
        longest is not None
        and output.on_since is not None
        and output.target != safe
        and now >= output.on_since + longest
    )
    over = output.until is not None and now >= output.until
    target = safe if forced or spent or over else output.target
    value = safe if rests else target
    if limits.slew_per_s is not None and value != safe:
        step = limits.slew_per_s * (now - output.at)
        # What is off begins at the least that the device takes: 10 of 50 to 1000 rpm is no speed.
        start = _clamped(channel, output.value)
        value = min(max(target, start - step), start + step)
    return replace(
        output,
        value=value,
        target=target,
        at=now,
        until=None if target == safe else output.until,
        off_since=now if value == safe and output.value != safe else output.off_since,
        spent=output.spent or spent,
    )


def _clamped(channel: Channel, value: float) -> float:
    low, high = channel.info.limits.minimum, channel.info.limits.maximum
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)


def _refuse_value(channel: Channel, event: Set) -> Error | None:
    info, limits, value = channel.info, channel.info.limits, event.value
    if not math.isfinite(value):
        return refuse(ErrorCode.OUT_OF_RANGE, f"{info.name} must be a number", "give a number")
    low, high = limits.minimum, limits.maximum
    inside = (low is None or value >= low) and (high is None or value <= high)
    if inside or value == channel.safe or event.by_controller:
        return None
    return refuse(
        ErrorCode.OUT_OF_RANGE,
        f"{info.name} cannot be set to {value:g} {info.unit}",
        f"choose from {low:g} to {high:g} {info.unit}"
        if low is not None and high is not None
        else "stay inside the channel's range",
        minimum=low,
        maximum=high,
        value=value,
    )


def _refuse_duration(channel: Channel, event: Set) -> Error | None:
    info = channel.info
    if event.duration is None:
        if info.kind != "actuator" or event.value == channel.safe:
            return None
        return refuse(
            ErrorCode.MALFORMED,
            f"{info.name} is a direct output: say for how long it shall be {event.value:g}",
            "add a duration in seconds; it goes off by itself after that",
            field="duration",
        )
    if not (math.isfinite(event.duration) and event.duration > 0):
        return refuse(
            ErrorCode.OUT_OF_RANGE, "a duration must be above 0 s", "give seconds, for example 60"
        )
    return None


def _refuse_on_time(channel: Channel, output: Output, event: Set, now: float) -> Error | None:
    info, longest = channel.info, channel.info.limits.max_on_time
    if longest is None or event.value == channel.safe:
        return None
    running = output.value != channel.safe or now - output.off_since < channel.rest
    used = now - output.on_since if running and output.on_since is not None else 0.0
    if used < longest and (event.duration or 0.0) <= longest:
        return None
    return refuse(
        ErrorCode.LIMIT,
        f"{info.name} may be on for {longest:g} s at a stretch, {max(0.0, longest - used):g} s "
        "are left",
        f"give a shorter duration, or leave it off for {channel.rest:g} s first",
        limit="max_on_time",
        allowed=longest,
        left=max(0.0, longest - used),
        retry_after=channel.rest,
    )

"""The safety rules: readings and commands in, allowed commands and alarms out.

Pure: no clock, no device, no waiting. `decide` takes a state, an event and the time, and returns
the next state, what is to be written to the devices, and why a command was refused. Every command
passes here, whoever sent it. Whatever the events: a value stays inside its range, an output and a
pump inside their on-time, a pump inside its volumes, and the heater is off when the temperature
is too high, not known, or the vessel is empty.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from broker.messages import Error, ErrorCode
from hardware.channels import Channel, Equipment
from hardware.doses import Content, Pump, ask, end, piece
from hardware.events import (
    DoseAsked,
    DoseEnded,
    DosePiece,
    EstopEngaged,
    EstopReleased,
    Event,
    Hold,
    MakeSafe,
    Measured,
    RunBegun,
    Set,
    Tick,
    refuse,
    refuse_estop,
)
from hardware.interlocks import Note, Reading, heating_allowed, judge, measure

_RAMP_STEP: Final = 1.0


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


@dataclass(frozen=True, slots=True)
class State:
    """Everything the rules remember."""

    now: float
    outputs: Mapping[str, Output]
    pumps: Mapping[str, Pump]
    readings: Mapping[str, Reading]
    volume: float | None = None
    hot: bool = False
    estop: str | None = None
    alarms: Mapping[str, Note] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an event.

    Attributes:
        writes: Outputs whose value the devices must be told now.
        stops: Pumps that must be stopped now.
        refusal: Why a command was not allowed; nothing was changed by it then.
    """

    state: State
    writes: Mapping[str, float] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    refusal: Error | None = None


def initial(equipment: Equipment, now: float) -> State:
    """Return the state of a reactor that was just switched on: everything safe, nothing known."""
    return State(
        now=now,
        outputs={
            name: Output(channel.safe, channel.safe, now)
            for name, channel in equipment.channels.items()
            if channel.output
        },
        pumps={name: Pump() for name in equipment.pumps()},
        readings={
            name: Reading(None, now, now)
            for name, channel in equipment.channels.items()
            if channel.info.kind == "sensor" and not channel.controlled
        },
        volume=None if equipment.vessel is None else equipment.vessel.filled,
    )


def decide(equipment: Equipment, state: State, event: Event, now: float) -> Decision:
    """Apply the rules to one event at a time in reactor seconds, which never goes back."""
    now = max(now, state.now) if math.isfinite(now) else state.now
    after = replace(state, now=now)
    refusal: Error | None = None
    stops: tuple[str, ...] = ()
    everything = False
    match event:
        case Measured():
            readings, volume, hot = measure(equipment, after.readings, after.volume, event, now)
            after = replace(
                after, readings=readings, volume=volume, hot=after.hot if hot is None else hot
            )
        case Set():
            after, refusal = _set(equipment, after, event)
        case DoseAsked() | DosePiece() | DoseEnded():
            after, refusal = _dose(equipment, after, event)
        case Hold():
            direct = [n for n in after.outputs if equipment.channels[n].info.kind == "actuator"]
            after, stops = _release(equipment, after, direct)
        case MakeSafe():
            after, stops = _release(equipment, after, after.outputs)
            everything = True
        case EstopEngaged():
            after, stops = _release(equipment, after, after.outputs)
            after = replace(after, estop=event.reason)
            everything = True
        case EstopReleased():
            after = replace(after, estop=None)
        case RunBegun():
            after = replace(
                after,
                pumps={
                    name: replace(pump, budget=pump.budget.new_run())
                    for name, pump in after.pumps.items()
                },
            )
        case Tick():
            pass
        case _:
            assert_never(event)
    after = _enforce(equipment, after)
    writes = {
        name: output.value
        for name, output in after.outputs.items()
        if equipment.channels[name].wired
        and (everything or output.value != state.outputs[name].value)
    }
    return Decision(after, writes, stops, refusal)


def due(equipment: Equipment, state: State) -> float:
    """Return when the next `Tick` is due at the latest, if no other event comes before."""
    instants = [math.inf]
    for name, output in state.outputs.items():
        longest = equipment.channels[name].info.limits.max_on_time
        if output.until is not None:
            instants.append(output.until)
        on = output.value != equipment.channels[name].safe
        if on and output.on_since is not None and longest is not None:
            instants.append(output.on_since + longest)
        if output.value != output.target:
            instants.append(state.now + _RAMP_STEP)
    heating = equipment.heating
    if heating is not None and state.outputs[heating.output].value > 0:
        reading = state.readings[heating.sensor]
        instants.append(reading.good_at + equipment.channels[heating.sensor].stale_after)
    return min(instants)


def _set(equipment: Equipment, state: State, event: Set) -> tuple[State, Error | None]:
    channel = equipment.channels.get(event.channel)
    refusal = _refuse_set(state, channel, event)
    if channel is None or refusal is not None:
        return state, refusal
    limits, output, value = channel.info.limits, state.outputs[event.channel], event.value
    if event.by_controller:
        low, high = limits.minimum, limits.maximum
        value = max(value if low is None else max(value, low), channel.safe)
        value = value if high is None else min(value, high)
    until = None if event.duration is None else state.now + event.duration
    on_since = output.on_since
    if value != channel.safe and output.value == channel.safe:
        rested = state.now - output.off_since >= channel.rest
        on_since = state.now if rested or on_since is None else on_since
    changed = replace(
        output,
        target=value,
        at=state.now if output.value == output.target else output.at,
        until=until,
        on_since=on_since,
        spent=False,
    )
    return replace(state, outputs={**state.outputs, event.channel: changed}), None


def _refuse_set(state: State, channel: Channel | None, event: Set) -> Error | None:
    if channel is None:
        return _unknown(event.channel)
    info = channel.info
    if not channel.output or channel.controlled != event.by_controller:
        use = "dose millilitres with it" if info.kind == "pump" else "it can only be read"
        return refuse(ErrorCode.NOT_AN_ACTUATOR, f"{info.name} cannot be set", use)
    if state.estop is not None:
        return refuse_estop(state.estop)
    if not math.isfinite(event.value):
        return refuse(ErrorCode.OUT_OF_RANGE, f"{info.name} must be a number", "give a number")
    if event.by_controller:
        return None
    return (
        _refuse_value(channel, event.value)
        or _refuse_duration(channel, event)
        or _refuse_on_time(channel, state.outputs[info.name], event, state.now)
    )


def _unknown(name: str) -> Error:
    return refuse(
        ErrorCode.UNKNOWN_CHANNEL, f"there is no channel {name!r}", "look at the list of channels"
    )


def _refuse_value(channel: Channel, value: float) -> Error | None:
    info, limits = channel.info, channel.info.limits
    low, high = limits.minimum, limits.maximum
    if value == channel.safe or ((low is None or value >= low) and (high is None or value <= high)):
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


def _dose(
    equipment: Equipment, state: State, event: DoseAsked | DosePiece | DoseEnded
) -> tuple[State, Error | None]:
    channel, pump = equipment.channels.get(event.channel), state.pumps.get(event.channel)
    if channel is None:
        return state, _unknown(event.channel)
    if pump is None:
        return state, refuse(
            ErrorCode.NOT_AN_ACTUATOR, f"{event.channel} is not a pump", "only pumps can dose"
        )
    if state.estop is not None and not isinstance(event, DoseEnded):
        return state, refuse_estop(state.estop)
    refusal: Error | None = None
    volume = state.volume
    content = _content(equipment, state)
    match event:
        case DoseAsked():
            pump, refusal = ask(channel, pump, event, content, state.now)
        case DosePiece():
            pump, volume, refusal = piece(channel, pump, event, content, state.now)
        case DoseEnded():
            pump = end(pump, event, state.now)
        case _:
            assert_never(event)
    return replace(state, pumps={**state.pumps, event.channel: pump}, volume=volume), refusal


def _content(equipment: Equipment, state: State) -> Content | None:
    if equipment.vessel is None or state.volume is None:
        return None
    coming = sum(
        pump.left
        for name, pump in state.pumps.items()
        if equipment.channels[name].direction == "in"
    )
    return Content(equipment.vessel, state.volume, coming)


def _release(
    equipment: Equipment, state: State, names: Iterable[str]
) -> tuple[State, tuple[str, ...]]:
    outputs = dict(state.outputs)
    for name in names:
        outputs[name] = replace(outputs[name], target=equipment.channels[name].safe, until=None)
    pumps = {name: replace(pump, left=0.0) for name, pump in state.pumps.items()}
    return replace(state, outputs=outputs, pumps=pumps), tuple(pumps)


def _enforce(equipment: Equipment, state: State) -> State:
    """Bring every output to what is allowed at this instant, and judge the alarms."""
    now, heating = state.now, equipment.heating
    outputs = dict(state.outputs)
    for name, output in state.outputs.items():
        channel = equipment.channels[name]
        if output.value == output.target == channel.safe:
            continue
        forced = state.estop is not None or (
            heating is not None
            and name == heating.output
            and not heating_allowed(equipment, state.readings, state.volume, hot=state.hot, now=now)
        )
        outputs[name] = _settle(channel, output, forced=forced, now=now)
    alarms = judge(
        equipment,
        state.readings,
        state.volume,
        hot=state.hot,
        spent=[name for name, output in outputs.items() if output.spent],
        estop=state.estop,
        before=state.alarms,
        now=now,
    )
    return replace(state, outputs=outputs, alarms=alarms)


def _settle(channel: Channel, output: Output, *, forced: bool, now: float) -> Output:
    safe, limits = channel.safe, channel.info.limits
    longest = limits.max_on_time
    spent = (
        longest is not None
        and output.on_since is not None
        and output.target != safe
        and now - output.on_since >= longest
    )
    over = output.until is not None and now >= output.until
    target = safe if forced or spent or over else output.target
    value = target
    if limits.slew_per_s is not None and target != safe:
        step = limits.slew_per_s * (now - output.at)
        value = min(max(target, output.value - step), output.value + step)
    return replace(
        output,
        value=value,
        target=target,
        at=now,
        until=None if target == safe else output.until,
        off_since=now if value == safe and output.value != safe else output.off_since,
        spent=output.spent or spent,
    )

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
from typing import assert_never

from broker.messages import Error, ErrorCode
from hardware.budget import Budget
from hardware.channels import Channel, Equipment
from hardware.doses import (
    Content,
    Pump,
    ask,
    end,
    give_back,
    piece,
    refuse_stopped,
    resting,
    stopped,
)
from hardware.events import (
    DoseAsked,
    DoseEnded,
    DosePiece,
    EstopEngaged,
    EstopReleased,
    Event,
    GoOn,
    Hold,
    MakeSafe,
    Measured,
    PieceEnded,
    Rest,
    RunBegun,
    Scope,
    Set,
    Tick,
    VialChanged,
    refuse,
    refuse_estop,
)
from hardware.interlocks import Note, Reading, heating_allowed, judge, measure
from hardware.outputs import Output, command, output_due, settle


@dataclass(frozen=True, slots=True)
class State:
    """Everything the rules remember.

    Attributes:
        rests: What has its safe value for now, because a device does not answer.
        stops: How often everything was stopped: what was asked for before is not done after.
    """

    now: float
    outputs: Mapping[str, Output]
    pumps: Mapping[str, Pump]
    readings: Mapping[str, Reading]
    volume: float | None = None
    hot: bool = False
    held: bool = False
    rests: Scope | None = None
    estop: str | None = None
    stops: int = 0
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


def initial(
    equipment: Equipment,
    now: float,
    moved: Mapping[str, Budget] | None = None,
    volume: float | None = None,
) -> State:
    """Return the state of a reactor that was just switched on: everything safe, nothing known.

    Args:
        equipment: The reactor.
        now: Reactor seconds.
        moved: What each pump has moved before.
        volume: What the vessel held before, mL; None: not known, it is taken as `Vessel.filled`.
    """
    moved = moved or {}
    vessel = equipment.vessel
    return State(
        now=now,
        outputs={
            name: Output(channel.safe, channel.safe, now)
            for name, channel in equipment.channels.items()
            if channel.output
        },
        pumps={name: Pump(moved.get(name, Budget())) for name in equipment.pumps()},
        readings={
            name: Reading(None, now, now)
            for name, channel in equipment.channels.items()
            if channel.info.kind == "sensor" and not channel.controlled
        },
        volume=None if vessel is None else vessel.filled if volume is None else volume,
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
        case DoseAsked() | DosePiece() | PieceEnded() | DoseEnded():
            after, refusal = _dose(equipment, after, event)
        case Hold() | GoOn() | Rest():
            after, stops = _hold(equipment, after, event)
        case MakeSafe() | EstopEngaged():
            after, stops = _release(equipment, after, after.outputs)
            estop = event.reason if isinstance(event, EstopEngaged) else after.estop
            after = replace(after, held=False, estop=estop)
            everything = True
        case EstopReleased():
            after = replace(after, estop=None)
        case RunBegun() | VialChanged():
            after = _anew(equipment, after, event)
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


def fullest(equipment: Equipment, state: State) -> float | None:
    """Return what the vessel holds at most when all that was granted is pumped, mL."""
    content = _content(equipment, state)
    return None if content is None else content.volume + content.coming


def rests(channel: Channel, scope: Scope | None) -> bool:
    """Whether an output has its safe value for now, whatever it was commanded."""
    direct = channel.info.kind == "actuator"
    return channel.wired and (scope == "all" or (scope == "direct" and direct))


def due(equipment: Equipment, state: State) -> float:
    """Return when the next `Tick` is due at the latest, if no other event comes before."""
    instants = [
        output_due(equipment.channels[name], output, state.now)
        for name, output in state.outputs.items()
    ]
    heating = equipment.heating
    if heating is not None and state.outputs[heating.output].value > 0:
        reading = state.readings[heating.sensor]
        instants.append(reading.good_at + equipment.channels[heating.sensor].stale_after)
    return min(instants, default=math.inf)


def _anew(equipment: Equipment, state: State, event: RunBegun | VialChanged) -> State:
    """Begin to count again: what the pumps move in a run, or what the vessel holds."""
    if isinstance(event, VialChanged):
        return replace(state, volume=None if equipment.vessel is None else event.ml)
    pumps = {n: replace(pump, budget=pump.budget.new_run()) for n, pump in state.pumps.items()}
    return replace(state, pumps=pumps)


def _set(equipment: Equipment, state: State, event: Set) -> tuple[State, Error | None]:
    channel = equipment.channels.get(event.channel)
    if channel is None:
        return state, _unknown(event.channel)
    if channel.output and state.estop is not None:
        return state, refuse_estop(state.estop)
    before = state.outputs.get(event.channel)
    output, refusal = command(channel, before, event, state.now)
    if output is None or refusal is not None:
        return state, refusal
    return replace(state, outputs={**state.outputs, event.channel: output}), None


def _unknown(name: str) -> Error:
    return refuse(
        ErrorCode.UNKNOWN_CHANNEL, f"there is no channel {name!r}", "look at the list of channels"
    )


def _dose(
    equipment: Equipment, state: State, event: DoseAsked | DosePiece | PieceEnded | DoseEnded
) -> tuple[State, Error | None]:
    channel, pump = equipment.channels.get(event.channel), state.pumps.get(event.channel)
    if channel is None:
        return state, _unknown(event.channel)
    if pump is None:
        return state, refuse(
            ErrorCode.NOT_AN_ACTUATOR, f"{event.channel} is not a pump", "only pumps can dose"
        )
    content = _content(equipment, state)
    if isinstance(event, PieceEnded | DoseEnded):
        return _ended(channel, state, event, content), None
    if state.estop is not None:
        return state, refuse_estop(state.estop)
    refusal: Error | None = None
    volume = state.volume
    match event:
        case DoseAsked(by_controller=True) if state.held:
            refusal = refuse(
                ErrorCode.REACTOR_BUSY,
                "the reactor holds: the experiment is paused",
                "it is dosed again when the experiment goes on",
            )
        case DoseAsked(stops=stops) if stops is not None and stops != state.stops:
            refusal = refuse_stopped(channel)
        case DoseAsked() | DosePiece() if state.rests is not None and (pump.left or not pump.busy):
            refusal = refuse(
                ErrorCode.INTERLOCK,
                "a device of the reactor does not answer",
                "dose again when it does",
                limit="silence",
            )
        case DoseAsked():
            pump, refusal = ask(channel, pump, event, content, state.now)
        case DosePiece():
            pump, volume, refusal = piece(channel, pump, event, content, state.now)
        case _:
            assert_never(event)
    return replace(state, pumps={**state.pumps, event.channel: pump}, volume=volume), refusal


def _ended(
    channel: Channel, state: State, event: PieceEnded | DoseEnded, content: Content | None
) -> State:
    """Count what a dose, or a piece of it, has delivered."""
    pump, volume = state.pumps[event.channel], state.volume
    match event:
        case PieceEnded():
            pump, volume = give_back(channel, pump, event, content, state.now)
        case DoseEnded():
            pump = end(pump, event, state.now)
        case _:
            assert_never(event)
    return replace(state, pumps={**state.pumps, event.channel: pump}, volume=volume)


def _content(equipment: Equipment, state: State) -> Content | None:
    if equipment.vessel is None or state.volume is None:
        return None
    coming = sum(
        pump.left
        for name, pump in state.pumps.items()
        if equipment.channels[name].direction == "in"
    )
    return Content(equipment.vessel, state.volume, coming)


def _hold(
    equipment: Equipment, state: State, event: Hold | GoOn | Rest
) -> tuple[State, tuple[str, ...]]:
    """Begin or end a pause, or the rest for a device that does not answer."""
    match event:
        case Hold(pause=pause):
            direct = [n for n in state.outputs if equipment.channels[n].info.kind == "actuator"]
            state, stops = _release(equipment, state, direct)
            return replace(state, held=state.held or pause), stops
        case GoOn():
            return replace(state, held=False), ()
        case Rest(scope=None):
            return replace(state, rests=None), ()
        case Rest(scope=scope):
            busy = tuple(name for name, pump in state.pumps.items() if pump.busy)
            pumps = {name: resting(pump) for name, pump in state.pumps.items()}
            return replace(state, rests=scope, pumps=pumps), busy
        case _:
            assert_never(event)


def _release(
    equipment: Equipment, state: State, names: Iterable[str]
) -> tuple[State, tuple[str, ...]]:
    outputs = dict(state.outputs)
    for name in names:
        outputs[name] = replace(outputs[name], target=equipment.channels[name].safe, until=None)
    pumps = {name: stopped(pump) for name, pump in state.pumps.items()}
    after = replace(state, outputs=outputs, pumps=pumps, stops=state.stops + 1)
    return after, tuple(pumps)


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
        outputs[name] = settle(
            channel, output, forced=forced, rests=rests(channel, state.rests), now=now
        )
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

"""When those that wait will start: the dispatch, played on with what is known of lengths.

It is played three times, with the least, the likely and the most that each run may take. Where a
length is not known, the reactor stays occupied for ever in that play, and nothing is said of who
depends on it. All times are fixed by starts that happened, so that a forecast changes only with
what it rests on, not with each look at the clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

from broker.messages import Posture, StartForecast
from hub_service.queue.durations import BASES, Basis, Durations, Length
from hub_service.queue.settle import may_run, ready
from hub_service.queue.state import Entry, NodeState, QueueState, Stage

_Choose = Callable[[Length], float | None]
_CHOICES: Final[Sequence[_Choose]] = (attrgetter("least"), attrgetter("likely"), attrgetter("most"))


@dataclass(frozen=True, slots=True, order=True)
class _Free:
    """When a reactor is free, and by which of `BASES`."""

    at: datetime
    rank: int = 0


def forecasts(
    state: QueueState, now: datetime, durations: Durations
) -> Mapping[str, StartForecast]:
    """Return when queued experiments will start, where anything can be said honestly.

    Several reactors, needs, order and pauses are taken into account: a paused experiment is passed
    over, one that is paused on its reactor holds it for nobody knows how long.
    """
    least, likely, most = _plays(state, now, durations)
    return {
        i: _forecast(least.get(i), likely.get(i), most.get(i)) for i in {**least, **likely, **most}
    }


def forecast(
    state: QueueState, now: datetime, durations: Durations, experiment_id: str
) -> StartForecast | None:
    """Return when one of them will start; costs less than asking for all."""
    known = [play.get(experiment_id) for play in _plays(state, now, durations)]
    return None if not any(known) else _forecast(*known)


def _plays(state: QueueState, now: datetime, durations: Durations) -> Sequence[Mapping[str, _Free]]:
    """Return who starts when with the least, the likely and the most that each takes."""
    if state.posture is not Posture.RUNNING or not state.order:
        return {}, {}, {}
    frees = [_first_free(state, now, durations, choose) for choose in _CHOICES]
    if not any(at for free in frees for at in free.values()):
        return {}, {}, {}
    queued = [entry for entry in state.waiting() if not entry.held]
    suitable = _suitable(state, queued)
    lengths = {entry.id: Length.of(entry.plan, durations) for entry in queued}
    return [
        _play(state, queued, suitable, lengths, free, choose)
        for free, choose in zip(frees, _CHOICES, strict=True)
    ]


def _forecast(least: _Free | None, likely: _Free | None, most: _Free | None) -> StartForecast:
    """Join the three plays; they may cross where reactors differ, so the range is widened."""
    ats = [_whole(free.at) for free in (least, likely, most) if free is not None]
    return StartForecast(
        earliest=None if least is None else min(ats),
        likely=None if likely is None else _whole(likely.at),
        latest=None if most is None else max(ats),
        basis=None if likely is None else BASES[likely.rank],
    )


def _whole(at: datetime) -> datetime:
    return at.replace(microsecond=0)


def _suitable(state: QueueState, queued: Sequence[Entry]) -> Mapping[str, Sequence[str]]:
    """Return for each experiment the reactors that satisfy it; alike ones are judged once."""
    judged: dict[tuple[object, ...], Sequence[str]] = {}
    found: dict[str, Sequence[str]] = {}
    for entry in queued:
        plan = entry.plan
        key = (plan.node, entry.pinned, plan.image, plan.packages, plan.needs)
        if key not in judged:
            judged[key] = [n for n, node in state.nodes.items() if may_run(entry, n, node)]
        found[entry.id] = judged[key]
    return found


def _play(  # noqa: PLR0917  the board and the pieces
    state: QueueState,
    queued: Sequence[Entry],
    suitable: Mapping[str, Sequence[str]],
    lengths: Mapping[str, Length],
    free: dict[str, _Free | None],
    choose: _Choose,
) -> Mapping[str, _Free]:
    starts: dict[str, _Free] = {}
    for entry in queued:
        if not any(free.values()):
            break
        known = [(at, n) for n in suitable[entry.id] if (at := free.get(n)) is not None]
        if not known:
            # It takes one of them at an unknown time, so nobody behind it can rely on any.
            free.update(dict.fromkeys(suitable[entry.id]))
            continue
        start, name = min(known)
        starts[entry.id] = start
        length = lengths[entry.id]
        free[name] = _after(start.at, choose(length), length.basis, state.nodes[name], start.rank)
    return starts


def _first_free(
    state: QueueState, now: datetime, durations: Durations, choose: _Choose
) -> dict[str, _Free | None]:
    occupied = state.occupants()
    return {
        name: _free_at(node, occupied.get(name), now, durations, choose)
        for name, node in state.nodes.items()
        if node.offer is not None
    }


def _free_at(
    node: NodeState,
    occupant: Entry | None,
    now: datetime,
    durations: Durations,
    choose: _Choose,
) -> _Free | None:
    if node.withheld is not None:
        return None
    if occupant is None:
        return _Free(now) if ready(node) else None
    uncertain = occupant.stage is Stage.FROZEN or occupant.want != "run"
    if not node.online or node.offer is None or uncertain:
        return None
    held = timedelta(seconds=_frozen(node, occupant) / node.offer.speed)
    began = (occupant.started_at or occupant.since) + held
    ran = max((now - began).total_seconds(), 0.0) * node.offer.speed
    length = Length.of(occupant.plan, durations, ran)
    return _after(began, choose(length), length.basis, node)


def _frozen(node: NodeState, occupant: Entry) -> float:
    """Return for how many seconds of the reactor's clock a run was paused so far."""
    activity = None if node.report is None else node.report.activity
    if activity is None or (activity.experiment_id, activity.attempt) != occupant.run:
        return 0.0
    return activity.frozen_for


def _after(
    start: datetime, seconds: float | None, basis: Basis | None, node: NodeState, rank: int = 0
) -> _Free | None:
    if seconds is None or node.offer is None:
        return None
    own = 0 if basis is None else BASES.index(basis)
    return _Free(start + timedelta(seconds=seconds / node.offer.speed), max(rank, own))

"""When those that wait will start: the dispatch, played on with what is known of lengths.

It is played three times, with the least, the likely and the most that each run may take. Where a
length is not known, the reactor stays occupied for ever in that play, and nothing is said of who
depends on it; nor of what would lie years ahead, which only a faulty record can mean. All times are
fixed by starts that happened, so that a forecast changes only with what it rests on, not with each
look at the clock.

It is played at every change of the queue, so within it a time is a number of seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from operator import attrgetter
from typing import Final

from broker.messages import Posture, StartForecast
from hub_service.queue.durations import BASES, Durations, Length
from hub_service.queue.settle import breadth, may_run, ready
from hub_service.queue.state import Entry, NodeState, QueueState, Stage

_Free = tuple[float, int]
"""When a reactor is free, in seconds of the Unix epoch, and by which of `BASES`."""
_NEVER: Final[_Free] = (inf, 0)
HORIZON_S: Final = 10 * 365.25 * 86400
"""What lies farther ahead is as good as never."""
_Choose = Callable[[Length], float | None]
_CHOICES: Final[Sequence[_Choose]] = (attrgetter("least"), attrgetter("likely"), attrgetter("most"))


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
    first = _first_free(state, now, durations)
    if all(at == _NEVER for ends in first.values() for at in ends):
        return {}, {}, {}
    queued = [entry for entry in state.waiting() if not entry.held]
    suitable = _suitable(state, queued)
    lengths = _lengths(queued, durations)
    speeds = {n: k.offer.speed for n, k in state.nodes.items() if k.offer is not None}
    return [
        _play(
            queued,
            suitable,
            lengths,
            {n: ends[i] for n, ends in first.items()},
            speeds,
            choose,
            now.timestamp() + HORIZON_S,
        )
        for i, choose in enumerate(_CHOICES)
    ]


def _forecast(least: _Free | None, likely: _Free | None, most: _Free | None) -> StartForecast:
    """Join the three plays; they may cross where reactors differ, so the range is widened."""
    ats = [free[0] for free in (least, likely, most) if free is not None]
    return StartForecast(
        earliest=None if least is None else _time(min(ats)),
        likely=None if likely is None else _time(likely[0]),
        latest=None if most is None else _time(max(ats)),
        basis=None if likely is None else BASES[likely[1]],
    )


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), UTC)


def _suitable(state: QueueState, queued: Sequence[Entry]) -> Mapping[str, Sequence[str]]:
    """Return for each experiment the reactors that satisfy it, in the order of the dispatch.

    Experiments that need the same are judged once.
    """
    nodes = sorted(state.nodes.items(), key=lambda item: (breadth(item[1]), item[0]))
    judged: dict[tuple[object, ...], Sequence[str]] = {}
    found: dict[str, Sequence[str]] = {}
    for entry in queued:
        plan = entry.plan
        key = (plan.node, entry.pinned, plan.image, plan.packages, plan.needs)
        if key not in judged:
            judged[key] = [name for name, node in nodes if may_run(entry, name, node)]
        found[entry.id] = judged[key]
    return found


def _lengths(queued: Sequence[Entry], durations: Durations) -> Mapping[str, Length]:
    known: dict[tuple[object, ...], Length] = {}
    found: dict[str, Length] = {}
    for entry in queued:
        plan = entry.plan
        key = (plan.script_sha256, plan.user, plan.duration, plan.max_duration)
        if key not in known:
            known[key] = Length.of(plan, durations)
        found[entry.id] = known[key]
    return found


def _play(  # noqa: PLR0917  the board and the pieces
    queued: Sequence[Entry],
    suitable: Mapping[str, Sequence[str]],
    lengths: Mapping[str, Length],
    free: dict[str, _Free],
    speeds: Mapping[str, float],
    choose: _Choose,
    horizon: float,
) -> Mapping[str, _Free]:
    starts: dict[str, _Free] = {}
    left = sum(at < _NEVER for at in free.values())
    for entry in queued:
        if not left:
            break
        names = suitable[entry.id]
        if not names:
            continue
        name = min(names, key=free.__getitem__)
        start, rank = free[name]
        if start == inf:
            continue  # so are all others that satisfy it
        starts[entry.id] = (start, rank)
        length = lengths[entry.id]
        after = _after(start, choose(length), length, speeds[name], rank)
        free[name] = after if after[0] < horizon else _NEVER
        left -= free[name] == _NEVER
    return starts


def _first_free(
    state: QueueState, now: datetime, durations: Durations
) -> Mapping[str, Sequence[_Free]]:
    """Return when each reactor is free, in each of the plays."""
    occupied = state.occupants()
    return {
        name: _free_at(node, occupied.get(name), now, durations)
        for name, node in state.nodes.items()
        if node.offer is not None
    }


def _free_at(
    node: NodeState, occupant: Entry | None, now: datetime, durations: Durations
) -> Sequence[_Free]:
    never = [_NEVER] * len(_CHOICES)
    if node.withheld is not None:
        return never
    if occupant is None:
        return [(now.timestamp(), 0)] * len(_CHOICES) if ready(node) else never
    uncertain = occupant.stage is Stage.FROZEN or occupant.want != "run"
    if not node.online or node.offer is None or uncertain:
        return never
    held = _frozen(node, occupant) / node.offer.speed
    began = (occupant.started_at or occupant.since).timestamp() + held
    ran = max(now.timestamp() - began, 0.0) * node.offer.speed
    length = Length.of(occupant.plan, durations, ran)
    ends = [_after(began, choose(length), length, node.offer.speed) for choose in _CHOICES]
    return [end if end[0] < now.timestamp() + HORIZON_S else _NEVER for end in ends]


def _frozen(node: NodeState, occupant: Entry) -> float:
    """Return for how many seconds of the reactor's clock a run was paused so far."""
    activity = None if node.report is None else node.report.activity
    if activity is None or (activity.experiment_id, activity.attempt) != occupant.run:
        return 0.0
    return activity.frozen_for


def _after(
    start: float, seconds: float | None, length: Length, speed: float, rank: int = 0
) -> _Free:
    if seconds is None:
        return _NEVER
    own = 0 if length.basis is None else BASES.index(length.basis)
    return start + seconds / speed, max(rank, own)

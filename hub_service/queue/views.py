"""What others see of the queue: positions, public payloads."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice

from broker.messages import (
    MAX_REACTORS,
    Experiment,
    Queue,
    QueueEntry,
    StartForecast,
    Status,
)
from hub_service.queue.reasons import detail, since, unreachable_since
from hub_service.queue.settle import may_run
from hub_service.queue.state import Entry, QueueState, Stage

MAX_LISTED = 300
"""How many waiting experiments the retained queue lists; its totals count all."""


CLOCKS_APART = timedelta(minutes=1)
"""What clocks of different machines may differ by before their times are called wrong."""
_OUTLINE = (
    "experiment_id", "name", "user", "owner", "status", "revision", "phase", "phase_detail",
    "phase_since", "queue_position", "estimated_start", "forecast", "attempt", "node",
    "unreachable_since", "wanted_node", "created_at", "started_at", "completed_at", "edition",
    "script_sha256",
)  # fmt: skip
MAX_RESULTS = 2000
"""How many result files an experiment's retained state names; the export has all of them."""


def positions(state: QueueState) -> dict[str, int]:
    """Return the position of each queued experiment: 1 + the number of queued ones in front."""
    queued = (entry.id for entry in state.waiting() if not entry.held)
    return {experiment_id: n for n, experiment_id in enumerate(queued, start=1)}


def experiment(
    state: QueueState,
    entry: Entry,
    position: int | None = None,
    forecast: StartForecast | None = None,
) -> Experiment:
    """Return an experiment as everybody may see it."""
    told = entry.finish
    return Experiment(
        experiment_id=entry.id,
        name=entry.plan.name,
        user=entry.plan.user,
        owner=entry.plan.owner,
        status=entry.status,
        revision=state.revision,
        phase=entry.phase,
        phase_detail=detail(state, entry),
        phase_since=None if entry.phase is None else since(entry),
        queue_position=position,
        estimated_start=likely(forecast),
        forecast=forecast,
        attempt=entry.attempt,
        node=entry.node,
        unreachable_since=unreachable_since(state, entry),
        wanted_node=entry.pinned or entry.plan.node,
        created_at=entry.created_at,
        started_at=entry.started_at,
        completed_at=entry.completed_at,
        max_duration=entry.granted or entry.plan.max_duration,
        exit_code=None if told is None else told.exit_code,
        error=None if told is None or entry.outcome is None else told.error,
        parameters=entry.plan.parameters,
        needs=entry.plan.needs,
        script_sha256=entry.plan.script_sha256,
        image=entry.image or entry.plan.image,
        isolation=entry.isolation,
        warnings=_warnings(entry),
        results=() if told is None else told.files[:MAX_RESULTS],
        gaps=entry.gaps,
        note=entry.note,
        edition=entry.edition,
    )


def outline(whole: Experiment) -> Experiment:
    """Return of an experiment what the queue says of it: where it is, and whose."""
    return Experiment(**{name: getattr(whole, name) for name in _OUTLINE})


def _warnings(entry: Entry) -> tuple[str, ...]:
    """Return the warnings, also that the times of a run cannot be."""
    told = [at for at in (entry.started_at, entry.completed_at) if at is not None]
    if entry.node is None or all(entry.created_at - at <= CLOCKS_APART for at in told):
        return entry.plan.warnings
    wrong = (
        f"the clock of {entry.node} was wrong, or the hub's: the run is dated before its "
        "submission; the times of what it recorded are wrong alike"
    )
    return (*entry.plan.warnings, wrong)


def likely(forecast: StartForecast | None) -> datetime | None:
    """Return a forecast's likely start, for those who want one figure."""
    return None if forecast is None else forecast.likely


def queue(
    state: QueueState,
    starts: Mapping[str, StartForecast],
    places: Mapping[str, int],
    *,
    everybody: bool = True,
) -> Queue:
    """Return the queue as everybody may see it; `waiting` lists at most `MAX_LISTED`.

    Args:
        state: The durable one.
        starts: When each may start.
        places: Of those that are queued.
        everybody: Whether everybody may see and change every experiment.
    """
    live = [e for e in state.entries.values() if e.stage is not Stage.ENDED]
    on_reactor = sorted(
        (e for e in live if e.stage is not Stage.WAITING),
        key=lambda e: (e.started_at or e.since, e.number),
    )
    counts = [e.status for e in live]

    def line(entry: Entry) -> QueueEntry:
        return QueueEntry(
            experiment_id=entry.id,
            name=entry.plan.name,
            owner=entry.plan.owner,
            user=entry.plan.user,
            status=entry.status,
            position=places.get(entry.id),
            phase=entry.phase,
            detail=detail(state, entry),
            node=entry.node,
            unreachable_since=unreachable_since(state, entry),
            created_at=entry.created_at,
            started_at=entry.started_at,
            estimated_start=likely(starts.get(entry.id)),
            forecast=starts.get(entry.id),
            reactors=_suitable(state, entry),
        )

    return Queue(
        posture=state.posture,
        posture_reason=state.posture_reason,
        revision=state.revision,
        total_queued=counts.count(Status.QUEUED),
        total_running=counts.count(Status.RUNNING),
        total_paused=counts.count(Status.PAUSED),
        limits=state.limits,
        moved=state.moved,
        running=tuple(line(e) for e in on_reactor),
        waiting=tuple(line(state.entries[i]) for i in state.order[:MAX_LISTED]),
        withheld={n: k.withheld for n, k in state.nodes.items() if k.withheld is not None},
        open=everybody,
    )


def _suitable(state: QueueState, entry: Entry) -> tuple[str, ...]:
    """Return the reactors that satisfy one that waits, as many as its line names."""
    if entry.stage is not Stage.WAITING:
        return ()
    names = (name for name, node in sorted(state.nodes.items()) if may_run(entry, name, node))
    return tuple(islice(names, MAX_REACTORS))

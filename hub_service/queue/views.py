"""What others see of the queue: positions, estimated starts, public payloads."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from broker.messages import Experiment, Phase, Posture, Queue, QueueEntry, Status
from hub_service.queue.settle import may_run, ready
from hub_service.queue.state import Entry, NodeState, QueueState, Stage

MAX_LISTED = 300
"""How many waiting experiments the retained queue lists; its totals count all."""


MAX_RESULTS = 2000
"""How many result files an experiment's retained state names; the export has all of them."""


def positions(state: QueueState) -> dict[str, int]:
    """Return the position of each queued experiment: 1 + the number of queued ones in front."""
    queued = (entry.id for entry in state.waiting() if not entry.held)
    return {experiment_id: n for n, experiment_id in enumerate(queued, start=1)}


def estimates(state: QueueState, now: datetime) -> dict[str, datetime]:
    """Return when queued experiments will start, where that can be said honestly.

    A reactor is free when its occupant has run as long as its script took last time, or else as
    long as it may run by its own declaration. Nothing is said where neither is known, where the
    occupant has outlived it, or while the queue starts nothing.
    """
    if state.posture is not Posture.RUNNING:
        return {}
    occupied = state.occupants()
    free: dict[str, datetime | None] = {
        name: _free_at(state, node, occupied.get(name), now)
        for name, node in state.nodes.items()
        if node.offer is not None
    }
    starts: dict[str, datetime] = {}
    for entry in state.waiting():
        if not any(free.values()):
            break
        if entry.held:
            continue
        suitable = [n for n in free if may_run(entry, n, state.nodes[n])]
        known = [(at, n) for n in suitable if (at := free[n]) is not None]
        if not known:
            # It takes one of them at an unknown time, so nobody behind it can rely on any.
            free.update(dict.fromkeys(suitable))
            continue
        at, name = min(known)
        starts[entry.id] = at
        seconds = _duration(state, entry, state.nodes[name])
        free[name] = None if seconds is None else at + timedelta(seconds=seconds)
    return starts


def _free_at(
    state: QueueState, node: NodeState, occupant: Entry | None, now: datetime
) -> datetime | None:
    if occupant is None:
        return now if ready(node) else None
    seconds = _duration(state, occupant, node)
    if not node.online or seconds is None or occupant.stage is Stage.FROZEN:
        return None
    if occupant.want == "stop":
        return None
    end = (occupant.started_at or occupant.since) + timedelta(seconds=seconds)
    return end if end > now else None


def _duration(state: QueueState, entry: Entry, node: NodeState) -> float | None:
    """Return how many real seconds an experiment will take, None if nothing says so."""
    last = state.durations.get(entry.plan.script_sha256)
    if last is not None:
        return last
    if entry.plan.max_duration is None or node.offer is None:
        return None
    return entry.plan.max_duration / node.offer.speed


def experiment(
    state: QueueState,
    entry: Entry,
    position: int | None = None,
    estimated_start: datetime | None = None,
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
        phase_since=None if entry.phase is None else _since(entry),
        queue_position=position,
        estimated_start=estimated_start,
        attempt=entry.attempt,
        node=entry.node,
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
        warnings=entry.plan.warnings,
        results=() if told is None else told.files[:MAX_RESULTS],
        gaps=entry.gaps,
    )


def detail(state: QueueState, entry: Entry) -> str:
    """Return one sentence on what an experiment waits for, empty where there is nothing to say."""
    if entry.stage is Stage.WAITING:
        return "" if entry.held else _why_waiting(state, entry)
    if entry.stage is Stage.RELEASED:
        return "the script has ended, results are on their way"
    awaited = (
        entry.stage is Stage.ASSIGNED
        or entry.phase in {Phase.PAUSING, Phase.RESUMING}
        or (entry.want == "stop" and entry.stage is not Stage.STOPPING)
    )
    if entry.stage is Stage.ENDED or not awaited:
        return ""
    return f"waiting for the reactor since {_since(entry):%H:%M} UTC"


def _since(entry: Entry) -> datetime:
    """Return when the phase began: with the wish where the node has not followed it yet."""
    wish = entry.want_since
    following = entry.phase in {Phase.PAUSING, Phase.RESUMING, Phase.STOPPING}
    if wish is None or not following or entry.stage is Stage.STOPPING:
        return entry.since
    return wish


def _why_waiting(state: QueueState, entry: Entry) -> str:
    if state.posture is not Posture.RUNNING:
        return f"the queue is {state.posture}"
    suitable = {n: k for n, k in state.nodes.items() if may_run(entry, n, k)}
    if not suitable:
        return "no reactor that satisfies it is known now"
    if not any(node.online for node in suitable.values()):
        return "its reactor is offline" if len(suitable) == 1 else "its reactors are offline"
    return ""


def queue(state: QueueState, starts: Mapping[str, datetime], places: Mapping[str, int]) -> Queue:
    """Return the queue as everybody may see it; `waiting` lists at most `MAX_LISTED`."""
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
            node=entry.node,
            created_at=entry.created_at,
            started_at=entry.started_at,
            estimated_start=starts.get(entry.id),
        )

    return Queue(
        posture=state.posture,
        posture_reason=state.posture_reason,
        revision=state.revision,
        total_queued=counts.count(Status.QUEUED),
        total_running=counts.count(Status.RUNNING),
        total_paused=counts.count(Status.PAUSED),
        limits=state.limits,
        running=tuple(line(e) for e in on_reactor),
        waiting=tuple(line(state.entries[i]) for i in state.order[:MAX_LISTED]),
    )

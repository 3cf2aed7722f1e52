"""What the hub desires of the reactors, settled anew after every event."""

from dataclasses import replace
from datetime import datetime

from broker.messages import Error, ErrorCode, Posture
from hub_service.queue.state import Attempt, Entry, Intent, NodeState, QueueState, Stage


def settle(state: QueueState, now: datetime) -> QueueState:
    """Give idle reactors their next experiment and bring every node's intent up to date."""
    if state.listening and all(node.known for node in state.nodes.values()):
        state = replace(state, listening=False)
    if state.posture is Posture.RUNNING and state.order and not state.listening:
        state = _place(state, now)
    return _intend(state)


def ready(node: NodeState) -> bool:
    """Whether a node says now that it would start an experiment."""
    return (
        node.known
        and node.online
        and node.offer is not None
        and node.report is not None
        and node.report.accepts
        and node.activity is None
        and node.withheld is None
    )


def may_run(entry: Entry, name: str, node: NodeState) -> bool:
    """Whether a reactor satisfies an experiment, be it busy or not."""
    return (
        entry.plan.node in {None, name}
        and entry.pinned in {None, name}
        and node.offer is not None
        and node.offer.suits(entry.plan)
    )


def _place(state: QueueState, now: datetime) -> QueueState:
    occupied = state.occupants()
    idle = {n: node for n, node in state.nodes.items() if n not in occupied and ready(node)}
    for experiment_id in state.order:
        if not idle:
            break
        entry = state.entries[experiment_id]
        choices = [name for name, node in idle.items() if may_run(entry, name, node)]
        if entry.held or not choices:
            continue
        # The one that offers least, so that the others stay free for who needs more.
        name = min(choices, key=lambda n: (breadth(idle[n]), n))
        del idle[name]
        state = _assign(state, entry, name, now)
    return state


def breadth(node: NodeState) -> int:
    """Return how much a reactor offers: of two that do, the one with less is taken."""
    return 0 if node.offer is None else len(node.offer.channels)


def _assign(state: QueueState, entry: Entry, name: str, now: datetime) -> QueueState:
    limit = state.limits.max_duration
    declared = entry.plan.max_duration
    assigned = replace(
        entry,
        stage=Stage.ASSIGNED,
        since=now,
        attempt=entry.attempt + 1,
        node=name,
        pinned=None,
        want="run",
        granted=limit if declared is None else min(declared, limit),
    )
    return replace(
        state.put(assigned),
        order=tuple(i for i in state.order if i != entry.id),
        dispatched=state.dispatched + 1,
    )


def _intend(state: QueueState) -> QueueState:
    occupied = state.occupants()
    changed: dict[str, NodeState] = {}
    for name, node in state.nodes.items():
        if not node.known or node.report is None:
            continue  # nothing is desired of a node whose present report was not read
        wanted = _intent(state, node, occupied.get(name))
        seen = node.report.seen_revision
        if wanted is not None and (wanted != node.intent or seen > node.revision):
            changed[name] = replace(node, revision=max(node.revision, seen) + 1, intent=wanted)
        elif wanted is None and seen > node.revision and state.posture is not Posture.RECOVERY:
            # What the node was told by a later life of this store is known now, and is no doubt.
            changed[name] = replace(node, revision=seen, intent=None)
    return replace(state, nodes={**state.nodes, **changed}) if changed else state


def _intent(state: QueueState, node: NodeState, occupant: Entry | None) -> Intent | None:
    """Return what is desired; None is no opinion, which leaves the node to what it does."""
    recovering = state.posture is Posture.RECOVERY
    activity = node.activity
    if activity is not None:
        run = Attempt(activity.experiment_id, activity.attempt)
        if occupant is None or occupant.run != run:
            return None if recovering else stop_stray(run)
    if occupant is None:
        return None if recovering else Intent("idle")
    if (
        occupant.want_since is None
        and (recovering or occupant.adopted)
        and (node.intent is None or not node.intent.about(occupant.run))
    ):
        return None  # found running: its script may be unknown here, and it needs no word
    return Intent(
        occupant.want,
        occupant.id,
        occupant.attempt,
        occupant.plan.parameters,
        occupant.stop_error if occupant.want == "stop" else None,
    )


def stop_stray(run: Attempt) -> Intent:
    """Return the wish that an attempt which nobody wants to run is stopped."""
    reason = Error(
        code=ErrorCode.CANCELLED,
        message=f"attempt {run.attempt} is not one that the hub wants to run",
        hint="its data is kept",
    )
    return Intent("stop", run.experiment_id, run.attempt, reason=reason)

"""The order of those that wait: move and run-now. Order is global; a move changes nothing else."""

from dataclasses import replace
from datetime import datetime

from broker.messages import Error, ErrorCode, Moved, Posture
from hub_service.queue.commands import found, stop
from hub_service.queue.events import Answered, Decision, MoveAsked, RunNowAsked, refuse
from hub_service.queue.settle import ready
from hub_service.queue.state import Entry, QueueState, Stage


def move(state: QueueState, event: MoveAsked, now: datetime) -> Decision:
    """Move one that waits to a position, or before or after another one that waits.

    Refused where somebody changed the order since the asker saw it: what they mean to change may
    be what another one has just arranged.
    """
    given = [p for p in (event.position, event.before, event.after) if p is not None]
    if len(given) != 1:
        return refuse(
            state,
            ErrorCode.MALFORMED,
            "a move wants exactly one of position, before and after",
            "give one of the three",
        )
    entry = _found_waiting(state, event.experiment_id, "moved")
    if isinstance(entry, Decision):
        return entry
    if event.known is not None and event.known != state.moves:
        return _refuse_stale(state)
    rest = [i for i in state.order if i != entry.id]
    if event.position is not None:
        place = _index_of_position(state, rest, event.position)
    else:
        other_id = event.before or event.after or ""
        if other_id == entry.id:
            return Decision(state, (Answered("unchanged", "it stands there already", entry.id),))
        other = _found_waiting(state, other_id, "a mark for a move")
        if isinstance(other, Decision):
            return other
        place = rest.index(other.id) + (event.after is not None)
    order = (*rest[:place], entry.id, *rest[place:])
    if event.user is not None and _puts_back_others(state, entry, order, event.user):
        return refuse(
            state,
            ErrorCode.FORBIDDEN,
            "only an administrator may move an experiment ahead of other people's",
            "move it behind them, or among your own",
        )
    outcome = Answered("unchanged", "it stands there already", entry.id)
    after = _ordered(state, order, entry, event.by, now)
    if order != state.order:
        position = after.position(entry.id)
        told = "it has a new rank" if position is None else f"its position is {position}"
        outcome = Answered("done", told, entry.id)
    return Decision(after, (outcome,))


def run_now(state: QueueState, event: RunNowAsked, now: datetime) -> Decision:
    """Put one that waits first; cancel what runs on its reactor if told to, for good."""
    entry = _found_waiting(state, event.experiment_id, "run now")
    if isinstance(entry, Decision):
        return entry
    node = event.node
    if node is not None:
        refusal = _refuse_node(state, entry, node)
        if refusal is not None:
            return refusal
    victim: Entry | None = None
    if event.stop_running:
        chosen = _victim(state, entry, node)
        if isinstance(chosen, Decision):
            return chosen
        if chosen is not None and event.stops not in {None, chosen.id}:
            return _refuse_other(state, chosen)
        if chosen is not None:
            node, victim = chosen.node, chosen
    first = replace(entry, held=False, since=now if entry.held else entry.since, pinned=node)
    order = (entry.id, *(i for i in state.order if i != entry.id))
    after = _ordered(state.put(first), order, entry, event.by, now)
    told = "it is first" if node is None else f"it is first, on {node}"
    if victim is not None and victim.want != "stop":
        reason = Error(
            code=ErrorCode.CANCELLED,
            message=f"stopped by {event.by} to run another experiment now",
            hint="submit it again to run it again",
        )
        after = stop(after, victim, reason, now)
        told += ", when what runs there has stopped"
    if state.posture is not Posture.RUNNING:
        told += f"; the queue is {state.posture}, it starts when the queue is resumed"
    return Decision(after, (Answered("done", told, entry.id),))


def _ordered(
    state: QueueState, order: tuple[str, ...], entry: Entry, by: str, now: datetime
) -> QueueState:
    """Return the state in this order, with who changed it if it is another one."""
    if order == state.order:
        return state
    moved = Moved(
        count=state.moves + 1, experiment_id=entry.id, name=entry.plan.name, by=by, at=now
    )
    return replace(state, order=order, moved=moved)


def _refuse_stale(state: QueueState) -> Decision:
    last = state.moved
    told = "" if last is None else f": {last.by or 'somebody'} moved “{last.name}”"
    return refuse(
        state,
        ErrorCode.CHANGED_MEANWHILE,
        f"the order was changed meanwhile{told}",
        "look at the new order; if you still want your move, repeat it",
        known=state.moves,
    )


def _refuse_other(state: QueueState, running: Entry) -> Decision:
    return refuse(
        state,
        ErrorCode.CHANGED_MEANWHILE,
        f"another experiment runs on {running.node} by now: “{running.plan.name}” of "
        f"{running.plan.owner}",
        "nothing was stopped; look what runs there, then ask again",
        experiment_id=running.id,
        node=running.node,
    )


def _found_waiting(state: QueueState, experiment_id: str, what: str) -> Entry | Decision:
    entry = found(state, experiment_id)
    if isinstance(entry, Decision) or entry.stage is Stage.WAITING:
        return entry
    return refuse(
        state,
        ErrorCode.WRONG_STATE,
        f"experiment {experiment_id} is {entry.status} on {entry.node} and cannot be {what}",
        "only what waits has a place in the queue",
        status=entry.status,
    )


def _index_of_position(state: QueueState, rest: list[str], position: int) -> int:
    """Return where in `rest` an experiment has position - 1 queued ones in front."""
    queued = 0
    for index, other in enumerate(rest):
        if not state.entries[other].held:
            queued += 1
            if queued == position:
                return index
    return len(rest)


def _puts_back_others(state: QueueState, entry: Entry, order: tuple[str, ...], user: str) -> bool:
    """Whether the move brings it in front of somebody else's experiment."""
    in_front = set(state.order[: state.order.index(entry.id)])
    behind = order[order.index(entry.id) + 1 :]
    return any(i in in_front and state.entries[i].plan.user != user for i in behind)


def _refuse_node(state: QueueState, entry: Entry, name: str) -> Decision | None:
    node = state.nodes.get(name)
    if node is None or node.offer is None:
        return refuse(
            state,
            ErrorCode.NOT_FOUND,
            f"there is no reactor {name}",
            "known are: " + (", ".join(sorted(state.nodes)) or "none yet"),
        )
    if node.withheld is not None:
        return refuse(
            state,
            ErrorCode.WRONG_STATE,
            f"{name} is {node.withheld.reason}: nothing is started there",
            "give it back to the queue first, or name another reactor",
        )
    if entry.plan.node not in {None, name} or not node.offer.suits(entry.plan):
        wanted = "" if entry.plan.node is None else f"; its script names {entry.plan.node}"
        return refuse(
            state,
            ErrorCode.NO_SUITABLE_REACTOR,
            f"the experiment cannot run on {name}{wanted}",
            "name a reactor that has its channels and packages",
        )
    return None


def _victim(state: QueueState, entry: Entry, node: str | None) -> Entry | Decision | None:
    """Return who is to be stopped: nobody where a reactor is free."""
    occupants = state.occupants()
    if node is not None:
        return occupants.get(node)
    suitable = [
        name
        for name, known in state.nodes.items()
        if entry.plan.node in {None, name}
        and known.offer is not None
        and known.offer.suits(entry.plan)
        and known.withheld is None
    ]
    if any(name not in occupants and ready(state.nodes[name]) for name in suitable):
        return None
    if len(suitable) == 1:
        return occupants.get(suitable[0])
    return refuse(
        state,
        ErrorCode.MALFORMED,
        "it is not clear on which reactor the running experiment is to be stopped",
        "name the reactor: " + (", ".join(sorted(suitable)) or "none suits this experiment"),
    )

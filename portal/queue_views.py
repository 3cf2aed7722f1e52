"""What the queue's page shows besides the queue itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.messages import Queue, QueueEntry
from portal.known import NodeView


@dataclass(frozen=True, slots=True)
class LateMove:
    """A move that came after somebody else's, with what it is about as it stands now."""

    entries: tuple[QueueEntry, ...]
    where: str
    target: QueueEntry | None


@dataclass(frozen=True, slots=True)
class Place:
    """A reactor on which a waiting experiment could run now.

    Attributes:
        runs: What would be stopped for it.
        elapsed: For how many seconds that has run, by the reactor's word.
        free: It would start there at once.
        why: Where it neither runs anything nor is free.
    """

    node: NodeView
    runs: QueueEntry | None
    elapsed: float | None
    free: bool
    why: str = ""


def late_move(
    queue: Queue | None, wanted: Sequence[str], where: str, target: str | None
) -> LateMove | None:
    """Return the move, None if nothing of it can be repeated."""
    if queue is None:
        return None
    waiting = {entry.experiment_id: entry for entry in queue.waiting}
    entries = tuple(waiting[one] for one in wanted if one in waiting)
    mark = waiting.get(target or "")
    if not entries or (where in {"before", "after"} and mark is None):
        return None
    return LateMove(entries, where, mark)


def places_of(entry: QueueEntry, queue: Queue, nodes: Sequence[NodeView]) -> list[Place]:
    """Return the reactors that satisfy it and may be given something, those that are free first."""
    places = [
        _place(node, queue) for node in nodes if node.id in entry.reactors and node.withheld is None
    ]
    return sorted(places, key=lambda place: (not place.free, place.runs is not None))


def _place(node: NodeView, queue: Queue) -> Place:
    # what has ended and only collects its results does not hold the reactor
    runs = next((e for e in queue.running if e.node == node.id and e.phase != "collecting"), None)
    activity = node.report.activity if node.report is not None else None
    elapsed = None
    if runs and activity and activity.experiment_id == runs.experiment_id:
        elapsed = activity.elapsed
    return Place(node, runs, elapsed, node.free and runs is None, _why(node))


def _why(node: NodeView) -> str:
    if not node.online:
        return "it is offline"
    refusal = node.report.refusal if node.report is not None else None
    return refusal.message if refusal is not None else "it takes no experiment now"

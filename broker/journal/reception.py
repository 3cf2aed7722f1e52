"""What a batch means for what the hub has, and what it acknowledges. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from broker.messages import JournalAck

MAX_ACK_EPOCHS: Final = 100
"""An acknowledgement names the newest epochs, so many at most, and besides those whose batches came
just now. Where it names so many, it is silent about older ones; of every other epoch that it does
not name it says that the hub has nothing."""

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a batch.

    Attributes:
        skip: So many of its entries are there already.
        take: So many of the ones after those are new and follow without a hole.
        gap: First and last number of what the node no longer has and the hub never got.
        first: The number of the first entry to take.
        upto: What the hub has after this, gap included.
    """

    skip: int
    take: int
    gap: tuple[int, int] | None
    first: int
    upto: int

    @property
    def changes(self) -> bool:
        """Whether anything is to be committed; if not, it was a duplicate or follows a hole."""
        return self.take > 0 or self.gap is not None


def judge(upto: int, floor: int, first: int, count: int) -> Verdict:
    """Compare a batch with what the hub has.

    Args:
        upto: The hub has all entries of the epoch up to here.
        floor: The oldest number that the node has.
        first: The number of the batch's first entry.
        count: How many it has.
    """
    gap = (upto + 1, floor - 1) if floor - 1 > upto else None
    base = max(upto, floor - 1)
    last = first + count - 1
    if last <= base:
        return Verdict(count, 0, gap, base + 1, base)
    if first > base + 1:
        return Verdict(0, 0, gap, base + 1, base)
    skip = base + 1 - first
    return Verdict(skip, count - skip, gap, base + 1, last)


@dataclass(frozen=True, slots=True)
class Arrived(Generic[E]):
    """A batch as it came."""

    epoch: str
    order: int
    floor: int
    first: int
    entries: Sequence[E]


@dataclass(frozen=True, slots=True)
class Commit(Generic[E]):
    """Entries to make durable with the cursor in one go.

    Attributes:
        first: The number of the first entry; what precedes it is there, or in the gap.
    """

    epoch: str
    order: int
    first: int
    entries: Sequence[E]
    gap: tuple[int, int] | None


def plan(cursors: Mapping[str, int], batches: Iterable[Arrived[E]]) -> list[Commit[E]]:
    """Return what to commit of batches in the order of their arrival, neighbours joined."""
    upto = dict(cursors)
    commits: list[Commit[E]] = []
    for batch in batches:
        had = upto.get(batch.epoch, 0)
        verdict = judge(had, batch.floor, batch.first, len(batch.entries))
        if not verdict.changes:
            continue
        upto[batch.epoch] = verdict.upto
        new = batch.entries[verdict.skip : verdict.skip + verdict.take]
        previous = commits[-1] if commits else None
        if previous is not None and previous.epoch == batch.epoch and verdict.gap is None:
            commits[-1] = Commit(
                batch.epoch,
                batch.order,
                previous.first,
                [*previous.entries, *new],
                previous.gap,
            )
        else:
            commits.append(Commit(batch.epoch, batch.order, verdict.first, new, verdict.gap))
    return commits


def acknowledgement(
    applied: Mapping[str, int], heard: Iterable[str], most: int = MAX_ACK_EPOCHS
) -> JournalAck:
    """Return what to tell the node.

    Args:
        applied: By epoch what may be acknowledged, in the order in which the epochs first came.
        heard: Epochs of the batches that came just now.
        most: So many epochs are named in any case, if there are so many.
    """
    epochs = dict(list(applied.items())[-most:])
    for epoch in heard:
        epochs.setdefault(epoch, applied.get(epoch, 0))
    return JournalAck(epochs=epochs)


def acknowledged(
    ack: JournalAck, epochs: Sequence[str], most: int = MAX_ACK_EPOCHS
) -> dict[str, int]:
    """Return up to where the hub has each epoch, those left out of which nothing is said.

    Args:
        ack: The hub's word.
        epochs: All of the node's, the oldest first.
        most: As for `acknowledgement`.
    """
    named = [place for place, epoch in enumerate(epochs) if epoch in ack.epochs]
    silent_before = named[-most:][0] if named and len(ack.epochs) >= most else 0
    return {
        epoch: ack.epochs.get(epoch, 0)
        for place, epoch in enumerate(epochs)
        if place >= silent_before or epoch in ack.epochs
    }

"""What the queue knows: experiments, their order, and the reactors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, NamedTuple, Self

from broker.messages import (
    Activity,
    Error,
    Moved,
    NodeReport,
    Outcome,
    Parameters,
    Phase,
    Posture,
    QueueLimits,
    ResultFile,
    Status,
    Withheld,
)

MAX_ATTEMPTS: Final = 3
"""How often an experiment is started at most, where its author asked for repetition."""
MAX_LIVE: Final = 1000
"""How many unfinished experiments the queue takes; it is one snapshot and one retained message."""
NO_SCRIPT: Final = "0" * 64
"""The script's hash of an experiment that was found running and whose script is unknown."""
MAX_OVER: Final = 100
"""How many that left the queue are remembered by their id."""
MAX_ABANDONED: Final = 20
"""Of how many attempts given up on a reactor the return is awaited."""

Want = Literal["run", "pause", "stop"]


class Stage(StrEnum):
    """How far an experiment came, by durable evidence."""

    WAITING = "waiting"
    ASSIGNED = "assigned"  # a node was asked; it has not said that it accepted
    ACCEPTED = "accepted"
    EXECUTING = "executing"
    FROZEN = "frozen"
    STOPPING = "stopping"
    RELEASED = "released"  # the reactor is free; results are on their way
    ENDED = "ended"  # final; stays until the archive has it


HOLDING: Final = frozenset(
    {Stage.ASSIGNED, Stage.ACCEPTED, Stage.EXECUTING, Stage.FROZEN, Stage.STOPPING}
)
"""Stages that hold a reactor."""


class Attempt(NamedTuple):
    """One attempt of one experiment; started at most once, ever."""

    experiment_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What the author asked for; fixed at submission but for name and parameters.

    Attributes:
        packages: Import names that the image must offer.
        node: The reactor that the script names.
        max_duration: Declared, in seconds of the experiment's clock.
    """

    experiment_id: str
    name: str
    user: str
    owner: str
    script_sha256: str
    image: str = "standard"
    needs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    node: str | None = None
    duration: float | None = None
    max_duration: float | None = None
    max_silence: float | None = None
    on_interruption: Literal["fail", "requeue"] = "fail"
    parameters: Parameters = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """How an attempt ended, as the node told.

    Attributes:
        files_upto: ``(epoch, n)`` of the last entry of the files stream that belongs to it.
        told: False if it is concluded from the node's ledger, which knows no more than the outcome.
    """

    outcome: Outcome
    at: datetime
    exit_code: int | None = None
    error: Error | None = None
    files: tuple[ResultFile, ...] = ()
    files_upto: tuple[str, int] | None = None
    told: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """An experiment that is not archived yet.

    Attributes:
        number: The hub's own counter at submission.
        since: When `stage` was reached: by the node's clock where it is evidence.
        held: Paused while it waits.
        want: What people want of an attempt that holds a reactor.
        pinned: The reactor that run-now named.
        attempt: The last one that was assigned; 0 if none.
        granted: Seconds that the attempt may run.
        adopted: The hub found it running; it may not have its script.
        frozen_at: When the hub learned that it is paused on its reactor: nodes' clocks may be off.
        edition: How often name and note were changed.
        ledger_since: Since when the node has nothing more to tell, and yet its end is not complete.
    """

    plan: Plan
    number: int
    created_at: datetime
    since: datetime
    stage: Stage = Stage.WAITING
    held: bool = False
    want: Want = "run"
    want_since: datetime | None = None
    stop_error: Error | None = None
    pinned: str | None = None
    attempt: int = 0
    node: str | None = None
    granted: float | None = None
    adopted: bool = False
    started_at: datetime | None = None
    released_at: datetime | None = None
    image: str | None = None
    isolation: str | None = None
    finish: Finish | None = None
    frozen_at: datetime | None = None
    ledger_since: datetime | None = None
    outcome: Outcome | None = None
    completed_at: datetime | None = None
    gaps: int = 0
    note: str = ""
    edition: int = 0

    @property
    def id(self) -> str:
        """The experiment's id."""
        return self.plan.experiment_id

    @property
    def run(self) -> Attempt:
        """The attempt that was assigned last."""
        return Attempt(self.id, self.attempt)

    @property
    def holds(self) -> bool:
        """Whether it holds a reactor."""
        return self.stage in HOLDING

    @property
    def status(self) -> Status:
        """One of the six states."""
        if self.outcome is not None:
            return Status(self.outcome)
        if self.stage is Stage.WAITING:
            return Status.PAUSED if self.held else Status.QUEUED
        return Status.PAUSED if self.stage is Stage.FROZEN else Status.RUNNING

    @property
    def phase(self) -> Phase | None:
        """What it is doing while it is neither waiting nor over."""
        if self.stage in {Stage.WAITING, Stage.ENDED}:
            return None
        if self.stage is Stage.RELEASED:
            return Phase.COLLECTING
        if self.want == "stop" or self.stage is Stage.STOPPING:
            return Phase.STOPPING
        if self.stage is Stage.FROZEN:
            return Phase.FROZEN if self.want == "pause" else Phase.RESUMING
        if self.want == "pause":
            return Phase.PAUSING
        return {
            Stage.ASSIGNED: Phase.ASSIGNED,
            Stage.ACCEPTED: Phase.PREPARING,
            Stage.EXECUTING: Phase.EXECUTING,
        }[self.stage]


@dataclass(frozen=True, slots=True)
class Intent:
    """What the hub desires of a node; a change of it is a new revision."""

    desired: Literal["idle", "run", "pause", "stop"]
    experiment_id: str | None = None
    attempt: int | None = None
    parameters: Parameters = field(default_factory=dict)
    reason: Error | None = None

    def about(self, run: Attempt) -> bool:
        """Whether it speaks of this attempt."""
        return (self.experiment_id, self.attempt) == run


@dataclass(frozen=True, slots=True)
class Offer:
    """What a node offers: its channels, and for each image import name → distribution.

    Attributes:
        speed: Seconds of the reactor's clock in one second.
    """

    channels: frozenset[str] = frozenset()
    images: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    speed: float = 1.0

    def suits(self, plan: Plan) -> bool:
        """Whether an experiment finds here what it needs."""
        packages = self.images.get(plan.image)
        return (
            packages is not None
            and set(plan.packages) <= packages.keys()
            and set(plan.needs) <= self.channels
        )


@dataclass(frozen=True, slots=True)
class NodeState:
    """A reactor.

    Attributes:
        revision: Of the last intent; only grows. Durable, as is all down to `abandoned`.
        last: The attempt that last gave the reactor back.
        withheld: Why nothing new is started there.
        abandoned: Attempts given up when it was declared dead, of whose end it has not told yet.
        boot_id: Of the presence that was read last. From here on nothing outlives the hub.
        online: By its presence.
        since: What its presence says; of a last will it is when the node connected.
        heard_at: When it said something last, by the hub's clock.
        report: Read in this life of the hub.
    """

    revision: int = 0
    intent: Intent | None = None
    last: Attempt | None = None
    withheld: Withheld | None = None
    abandoned: tuple[Attempt, ...] = ()
    boot_id: str | None = None
    online: bool = False
    since: datetime | None = None
    heard_at: datetime | None = None
    report: NodeReport | None = None
    offer: Offer | None = None

    @property
    def kept(self) -> tuple[object, ...]:
        """The durable part."""
        return self.revision, self.intent, self.last, self.withheld, self.abandoned

    @property
    def heard(self) -> datetime | None:
        """When it last said something, by its own clock; None if that is not known."""
        reported = None if self.report is None else self.report.at
        return max((t for t in (self.since, reported) if t is not None), default=None)

    @property
    def known(self) -> bool:
        """Whether its report was read in this life of the hub and is of its present boot."""
        return self.report is not None and self.report.boot_id == self.boot_id

    @property
    def activity(self) -> Activity | None:
        """What holds the reactor by its own word; not what only collects or gave it back."""
        activity = None if self.report is None else self.report.activity
        if activity is None or activity.phase is Phase.COLLECTING:
            return None
        if (activity.experiment_id, activity.attempt) == self.last:
            return None  # a report from before it was released, read late
        return activity


@dataclass(frozen=True, slots=True)
class QueueState:
    """The whole queue.

    Attributes:
        generation: Grows with every start of the hub on this store, and when a recovery is ended.
        revision: Grows with every durable change.
        counter: Experiments ever submitted.
        dispatched: Attempts ever assigned.
        order: Ids of those that wait, paused ones included, first to last.
        accepted_stores: Other stores whose nodes an administrator has taken over.
        seen_generation: The highest of this store that a node reported.
        recovered: The generation that began when the last recovery of this store was ended.
        listening: The hub has just started, and nothing is dispatched before every node that it
            knows was heard, or had the time for it: one of them may prove that this store is not
            the whole history. Not durable.
        moved: The last change that somebody made to the order.
        over: The last ones that left the queue, so that a command that crossed their end is told
            so. Not durable.
    """

    store_id: str
    generation: int
    revision: int = 0
    counter: int = 0
    dispatched: int = 0
    posture: Posture = Posture.RUNNING
    posture_reason: str = ""
    limits: QueueLimits = field(default_factory=QueueLimits)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    accepted_stores: tuple[str, ...] = ()
    seen_generation: int = 0
    recovered: int = 0
    listening: bool = False
    moved: Moved | None = None
    over: Mapping[str, Status] = field(default_factory=dict)

    def put(self, entry: Entry) -> Self:
        """Return the state with this entry in place of the one with its id."""
        return replace(self, entries={**self.entries, entry.id: entry})

    def put_node(self, name: str, node: NodeState) -> Self:
        """Return the state with this node in place of the one with its name."""
        return replace(self, nodes={**self.nodes, name: node})

    def node(self, name: str) -> NodeState:
        """Return a node; one that was never heard of has revision 0."""
        return self.nodes.get(name) or NodeState()

    def waiting(self) -> Iterator[Entry]:
        """Iterate over those that wait, in order, paused ones included."""
        return (self.entries[i] for i in self.order)

    def occupants(self) -> dict[str, Entry]:
        """Return who holds which reactor.

        Only a restored store can find two on one: then the one that the node accepted holds it,
        and the other is asked for when that one is gone.
        """
        holders: dict[str, Entry] = {}
        for entry in self.entries.values():
            if entry.node is not None and entry.holds:
                other = holders.get(entry.node)
                if other is None or other.stage is Stage.ASSIGNED:
                    holders[entry.node] = entry
        return holders

    def count(self, user: str) -> int:
        """Return how many experiments of a user are not over."""
        return sum(
            1 for e in self.entries.values() if e.plan.user == user and e.stage is not Stage.ENDED
        )

    def position(self, experiment_id: str) -> int | None:
        """Return 1 + the number of queued ones in front, None unless it is queued."""
        position = 0
        for entry in self.waiting():
            position += not entry.held
            if entry.id == experiment_id:
                return None if entry.held else position
        return None

    @property
    def moves(self) -> int:
        """How often somebody changed the order."""
        return 0 if self.moved is None else self.moved.count

    @property
    def durable(self) -> tuple[object, ...]:
        """Everything that a snapshot holds but the revision; equal means nothing to write."""
        return (
            self.store_id,
            self.generation,
            self.counter,
            self.dispatched,
            self.posture,
            self.posture_reason,
            self.limits,
            self.entries,
            self.order,
            {name: node.kept for name, node in self.nodes.items() if node.kept != _UNHEARD},
            self.accepted_stores,
            self.seen_generation,
            self.recovered,
            self.moved,
        )


_UNHEARD: Final = NodeState().kept

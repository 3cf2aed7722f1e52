"""What the node knows of one attempt, as ledger, reconciliation and life cycle share it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple, Self

from broker.messages import (
    Assignment,
    ContractError,
    Error,
    ErrorCode,
    LedgerEntry,
    Outcome,
    Payload,
    ResultFile,
)


class RunKey(NamedTuple):
    """Names one attempt of one experiment. Started at most once, on one node, ever."""

    experiment_id: str
    attempt: int

    @classmethod
    def of(cls, assignment: Assignment) -> Self | None:
        """Return the attempt that an assignment speaks of, None if it names none."""
        if assignment.experiment_id is None or assignment.attempt is None:
            return None
        return cls(assignment.experiment_id, assignment.attempt)

    def __str__(self) -> str:
        return f"{self.experiment_id}-{self.attempt}"


Recorded = Mapping[RunKey, Mapping[str, int]]
"""How many records the journal has, by id, of calls that scripts may repeat."""


class Stage(StrEnum):
    """How far an attempt came on this node. Only ever moves down this list.

    The contract's ledger states are coarser: all before `RELEASED` are told as ``accepted``.
    """

    ACCEPTED = "accepted"  # durable here; no container exists or was asked for
    STARTING = "starting"  # a container may exist from now on
    RUNNING = "running"  # the container was started
    ENDED = "ended"  # how it ended is known and never changes; the container may still be there
    RELEASED = "released"  # container gone, reactor safe; results may still be on their way
    FINISHED = "finished"  # everything is in the journal

    @property
    def holds_reactor(self) -> bool:
        """Whether nothing else may run on the reactor."""
        return self not in {Stage.RELEASED, Stage.FINISHED}


class Ending(Payload):
    """How an attempt ended.

    Attributes:
        interrupted: The container was lost: the journal says ``interrupted`` for ``finished``.
    """

    outcome: Outcome
    exit_code: int | None = None
    error: Error | None = None
    interrupted: bool = False


class ClockAnchor(Payload):
    """Where an experiment's clock stood, so that a restarted node goes on counting.

    Attributes:
        elapsed: Seconds of the experiment's clock when the anchor was taken.
        frozen_for: Seconds that it had stood still in all.
        frozen: Whether it stood still then.
        stopped: Whether it stands for good.
        monotonic: The machine's monotonic clock then, in seconds.
        machine_boot: Which boot of the machine that clock counts from.
    """

    elapsed: float = 0.0
    frozen_for: float = 0.0
    frozen: bool = False
    stopped: bool = False
    monotonic: float = 0.0
    machine_boot: str = ""


class PackedFile(ResultFile):
    """A result file that is whole in the files stream, with the place of its last chunk."""

    epoch: str
    n: int


class LogPosition(Payload):
    """How far the console was taken into the journal; kept before and after each write there.

    After a crash during a write the journal may hold lines beyond `n`. If `writing` is ``chunks``,
    they are the next pieces of output after the cursor; as many are skipped when it is read again.

    Attributes:
        cursor: The runner's cursor in its own encoding; None: from the beginning.
        skip: Pieces of output after the cursor that are in the journal already.
        n: Number of the last log line before the write.
        writing: What was being written when the position was kept: pieces of output, or
            something else; None: nothing.
        order: Of the journal's epoch in which it was written.
        after: Number of that epoch's last record before the write.
        bytes: Of the run's log budget, spent so far.
        dropped_lines: Lines beyond the budget.
        dropped_bytes: Bytes beyond the budget, counted in the same way.
    """

    cursor: str | None = None
    skip: int = 0
    n: int = 0
    writing: Literal["chunks", "other"] | None = None
    order: int = 0
    after: int = 0
    bytes: int = 0
    dropped_lines: int = 0
    dropped_bytes: int = 0

    def recovered(self, last_n: int) -> Self:
        """Return where to go on if the journal's last line of the attempt has number `last_n`."""
        beyond = max(0, last_n - self.n)
        return self.model_copy(
            update={
                "n": self.n + beyond,
                "skip": self.skip + (beyond if self.writing == "chunks" else 0),
                "writing": None,
            }
        )


_NOTHING_LOGGED = LogPosition()


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the ledger.

    Attributes:
        assignment: As accepted, with the latest parameters; None once finished.
        container_id: None until a container was started.
        started_at: When the script began.
        setpoints: Of the reactor's controllers, as the script last set them.
        ending: How it ended; before the stage `ENDED`, how it is to end because of an order.
    """

    key: RunKey
    stage: Stage
    assignment: Assignment | None
    accepted_at: datetime
    container_id: str | None = None
    image: str | None = None
    started_at: datetime | None = None
    clock: ClockAnchor | None = None
    log: LogPosition = _NOTHING_LOGGED
    setpoints: tuple[tuple[str, float], ...] = ()
    ending: Ending | None = None

    @property
    def entry(self) -> LedgerEntry:
        """The row as the contract tells it."""
        state = {Stage.RELEASED: "released", Stage.FINISHED: "finished"}.get(self.stage, "accepted")
        return LedgerEntry.model_validate(
            {
                "experiment_id": self.key.experiment_id,
                "attempt": self.key.attempt,
                "state": state,
                "outcome": self.ending.outcome
                if self.ending and self.stage is Stage.FINISHED
                else None,
            }
        )


def wanted(run: Run) -> Assignment:
    """Return the assignment of an unfinished run.

    Raises:
        ContractError: INTERNAL, the run is finished and its assignment was let go.
    """
    if run.assignment is None:
        raise ContractError(ErrorCode.INTERNAL, f"attempt {run.key} keeps no assignment any more")
    return run.assignment

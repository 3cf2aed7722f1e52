"""Everything that can happen to the queue, and what follows from it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pydantic import JsonValue

from broker.messages import (
    Error,
    ErrorCode,
    NodeReport,
    Parameters,
    PhaseRecord,
    Posture,
)
from hub_service.queue.state import Offer, Plan, QueueState

# What people ask for. Whether they may is checked before; `by` is a handle that others may see.


@dataclass(frozen=True, slots=True)
class Submitted:
    """A checked experiment comes in."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Cancel, wherever it is."""

    experiment_id: str
    by: str


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """Pass it over while it waits; freeze it while it runs."""

    experiment_id: str


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """Take a pause back."""

    experiment_id: str


@dataclass(frozen=True, slots=True)
class MoveAsked:
    """Move one that waits; exactly one of position, before and after is given.

    Attributes:
        user: Whose move it is, where it may not put others back; None: it may.
        by: Who asks.
        known: Up to which change of the order they know it; None: it does not matter.
    """

    experiment_id: str
    position: int | None = None
    before: str | None = None
    after: str | None = None
    user: str | None = None
    by: str = ""
    known: int | None = None


@dataclass(frozen=True, slots=True)
class RunNowAsked:
    """Put one that waits first, on a named reactor if given.

    Attributes:
        stops: The only one that may be stopped for it; None: whichever runs there.
    """

    experiment_id: str
    by: str
    node: str | None = None
    stop_running: bool = False
    stops: str | None = None


@dataclass(frozen=True, slots=True)
class SendAsked:
    """Change parameters of one that runs, if the expected ones are as expected."""

    experiment_id: str
    parameters: Parameters
    expected: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnnotateAsked:
    """Change name and note; what is None stays.

    Attributes:
        edition: The one that the asker saw, None where that does not matter.
    """

    experiment_id: str
    name: str | None = None
    note: str | None = None
    edition: int | None = None


@dataclass(frozen=True, slots=True)
class PostureAsked:
    """Pause, resume or drain the queue."""

    posture: Literal[Posture.RUNNING, Posture.PAUSED, Posture.DRAINING]
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LimitsAsked:
    """Change limits; what is None stays.

    Attributes:
        user: Whose limit `per_user` is; None: everybody's. With None for `per_user`, this user has
            everybody's limit again.
    """

    per_user: int | None = None
    max_duration: float | None = None
    max_pause: float | None = None
    max_script: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class RetentionAsked:
    """Keep finished experiments for so many days; None: for ever."""

    days: int | None


@dataclass(frozen=True, slots=True)
class DrainNodeAsked:
    """Start nothing more on a reactor; what runs there is finished."""

    node: str
    by: str


@dataclass(frozen=True, slots=True)
class ResumeNodeAsked:
    """Give a drained or dead reactor back to the queue."""

    node: str
    by: str


@dataclass(frozen=True, slots=True)
class DeclareDeadAsked:
    """Give up a reactor and what it holds.

    Attributes:
        power_is_off: Whoever asks has confirmed it.
    """

    node: str
    by: str
    power_is_off: bool


# What the hub learns.


@dataclass(frozen=True, slots=True)
class NodePresence:
    """A node's retained presence was read; `since` as it says."""

    node: str
    boot_id: str
    online: bool
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class NodeOffered:
    """A node's channels and images were read."""

    node: str
    offer: Offer


@dataclass(frozen=True, slots=True)
class NodeReported:
    """A node's report was read."""

    node: str
    report: NodeReport


@dataclass(frozen=True, slots=True)
class Evidence:
    """A phase record is committed in the archive. May come again; later ones never come first."""

    node: str
    record: PhaseRecord


@dataclass(frozen=True, slots=True)
class Collected:
    """The files of an ended attempt are committed up to its mark."""

    experiment_id: str
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class Archived:
    """The archive has the finished experiment; it leaves the queue."""

    experiment_id: str


@dataclass(frozen=True, slots=True)
class Identified:
    """The archive's audit says what an experiment that was found running is."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class StoreDoubted:
    """Something says that this store does not hold the whole history."""

    reason: str


@dataclass(frozen=True, slots=True)
class Listened:
    """After its start the hub has listened long enough for every node that can be heard."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed.

    Attributes:
        leap: By how much the clock was set forward meanwhile, or back.
    """

    leap: timedelta = timedelta(0)


Command = (
    CancelAsked
    | PauseAsked
    | ResumeAsked
    | MoveAsked
    | RunNowAsked
    | SendAsked
    | AnnotateAsked
    | PostureAsked
    | LimitsAsked
    | RetentionAsked
    | DrainNodeAsked
    | ResumeNodeAsked
    | DeclareDeadAsked
)
Event = (
    Submitted
    | Command
    | NodePresence
    | NodeOffered
    | NodeReported
    | Evidence
    | Collected
    | Archived
    | Identified
    | StoreDoubted
    | Listened
    | Ticked
)

# What follows.


@dataclass(frozen=True, slots=True)
class Answered:
    """A command's outcome, for whoever asked."""

    outcome: Literal["done", "accepted", "unchanged"]
    message: str
    experiment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The command changed nothing; why, for whoever asked."""

    error: Error


@dataclass(frozen=True, slots=True)
class Ended:
    """An experiment reached its final state: it is to be archived."""

    experiment_id: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something the hub did of itself, for the audit."""

    what: str
    detail: str
    experiment_id: str | None = None
    node: str | None = None


Effect = Answered | Refused | Ended | Noted


@dataclass(frozen=True, slots=True)
class Decision:
    """The state after an event, and what follows from it.

    The state must be durable before any effect is told to anyone.
    """

    state: QueueState
    effects: tuple[Effect, ...] = ()

    @property
    def refusal(self) -> Error | None:
        """Why the command was refused, if it was."""
        return next((e.error for e in self.effects if isinstance(e, Refused)), None)

    @property
    def answer(self) -> Answered | None:
        """The answer to the command, if it was one and was not refused."""
        return next((e for e in self.effects if isinstance(e, Answered)), None)


def refuse(
    state: QueueState, code: ErrorCode, message: str, hint: str = "", **details: JsonValue
) -> Decision:
    """Return the state unchanged with the reason."""
    error = Error(code=code, message=message, hint=hint, details=details)
    return Decision(state, (Refused(error),))

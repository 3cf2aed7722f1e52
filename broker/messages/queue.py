"""The queue, its limits, and what changes them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from broker.messages.base import (
    MAX_SCRIPT_BYTES,
    Count,
    Label,
    Name,
    Ordinal,
    Payload,
    Quota,
    Reason,
    Seconds,
    Time,
    Ulid,
    UserId,
)
from broker.messages.experiments import Phase, StartForecast, Status
from broker.messages.requests import Request

MAX_EXCEPTIONS: Final = 200
"""The most users that have a limit of their own: all of them stand in the retained queue."""
MAX_REACTORS: Final = 12
"""How many reactors that satisfy an experiment its line in the queue names at most."""
MAX_KEEP_DAYS: Final = 36500
"""The longest that finished experiments are kept before they are deleted, if they are at all."""


class Posture(StrEnum):
    """How the hub dispatches."""

    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    RECOVERY = "recovery"


class QueueEntry(Payload):
    """One experiment in the queue's order; `detail` is the experiment's `phase_detail`.

    Attributes:
        reactors: Of one that waits: reactors that satisfy it, busy or not, `MAX_REACTORS` at most.
    """

    experiment_id: Ulid
    name: Label
    owner: str
    user: str
    status: Status
    position: int | None = None
    phase: Phase | None = None
    detail: str = ""
    node: Name | None = None
    unreachable_since: Time | None = None
    created_at: Time
    started_at: Time | None = None
    estimated_start: Time | None = None
    forecast: StartForecast | None = None
    reactors: tuple[Name, ...] = ()


class QueueLimits(Payload):
    """Limits that an administrator may change while the hub runs.

    Attributes:
        exceptions: Users who may have another number of unfinished experiments than `per_user`.
        max_script: Bytes of a script in UTF-8.
        keep_days: Finished experiments are deleted so long after their end; absent: never.
    """

    per_user: Quota = 5
    exceptions: Annotated[Mapping[UserId, Quota], Field(max_length=MAX_EXCEPTIONS)] = Field(
        default_factory=dict
    )
    max_duration: Seconds = 14 * 86400.0
    max_pause: Seconds = 86400.0
    max_script: int = Field(default=MAX_SCRIPT_BYTES, ge=1, le=MAX_SCRIPT_BYTES)
    keep_days: int | None = Field(default=None, ge=1, le=MAX_KEEP_DAYS)

    def of(self, user: str) -> int:
        """Return how many unfinished experiments a user may have."""
        return self.exceptions.get(user, self.per_user)


class Withheld(Payload):
    """Why a reactor is given nothing new, until an administrator gives it back to the queue.

    Attributes:
        reason: ``drained``: what runs there is finished. ``dead``: an administrator said that its
            power is off; what ran there has failed.
        by: A handle for people.
    """

    reason: Literal["drained", "dead"]
    by: str
    since: Time


class Moved(Payload):
    """The last change that somebody made to the order of those that wait.

    Attributes:
        count: How often the order was changed; only grows. Who moves something says up to which
            change they know the order, so that nobody undoes what they have not seen.
        by: A handle for people.
    """

    count: Ordinal
    experiment_id: Ulid
    name: Label
    by: str
    at: Time


class Queue(Payload):
    """The queue, retained at `queue`.

    Attributes:
        moved: Absent as long as nobody has changed the order.
        running: Those on a reactor (running, or paused there), oldest start first.
        waiting: Those that wait, in order; paused ones keep their rank without a position.
        withheld: Reactors that are given nothing new, by name.
        open: Everybody may see and change every experiment; false: its owner and administrators,
            and others see of it what stands in the queue.
    """

    posture: Posture
    posture_reason: str = ""
    revision: Count
    total_queued: Count
    total_running: Count
    total_paused: Count
    limits: QueueLimits
    moved: Moved | None = None
    running: tuple[QueueEntry, ...] = ()
    waiting: tuple[QueueEntry, ...] = ()
    withheld: Mapping[Name, Withheld] = Field(default_factory=dict)
    open: bool = True


class Move(Request):
    """Move a waiting experiment; exactly one of the three says where. Requires an id.

    Attributes:
        known: The `count` of the last change of the order that the asker has seen, 0 for none. If
            there was a later one, nothing is moved. Absent: moved in any case.
    """

    experiment_id: Ulid
    position: Ordinal | None = None
    before: Ulid | None = None
    after: Ulid | None = None
    known: Count | None = None


class RunNow(Request):
    """Put a waiting experiment first, on a named reactor if given. Requires an id.

    Attributes:
        stops: What the asker has agreed to stop; if another one holds the reactor, nothing is
            done. Absent: with `stop_running`, whatever runs there is stopped.
    """

    experiment_id: Ulid
    node: Name | None = None
    stop_running: bool = False
    stops: Ulid | None = None


class Limits(Request):
    """Change limits of the queue; what is absent stays.

    Attributes:
        user: Whose limit `per_user` is, in place of everybody's; without `per_user` the exception
            made for this user ends.
    """

    user: UserId | None = None
    per_user: Quota | None = None
    max_duration: Seconds | None = None
    max_pause: Seconds | None = None
    max_script: int | None = Field(default=None, ge=1, le=MAX_SCRIPT_BYTES)


class Retention(Request):
    """Delete finished experiments some days after their end; absent: keep them for ever."""

    days: int | None = Field(default=None, ge=1, le=MAX_KEEP_DAYS)


class Halt(Request):
    """Pause or drain the queue, and say why."""

    reason: Reason = ""

"""An experiment, its states, and what is asked of one or of many."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from broker.messages.base import (
    Count,
    FileName,
    Label,
    Name,
    Note,
    Parameters,
    Payload,
    Seconds,
    Sha256,
    Time,
    Ulid,
    Whole,
)
from broker.messages.errors import Error
from broker.messages.requests import Request
from broker.messages.scripts import ScriptInfo


class Status(StrEnum):
    """The six states of an experiment."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"

    @property
    def finished(self) -> bool:
        """Whether the state never changes again."""
        return self in {Status.COMPLETED, Status.FAILED, Status.CANCELLED}


Outcome = Literal["completed", "failed", "cancelled"]


class Phase(StrEnum):
    """What a running experiment is doing."""

    ASSIGNED = "assigned"  # the node was asked, has not answered yet
    PREPARING = "preparing"  # the node accepted; image and container are made ready
    EXECUTING = "executing"
    PAUSING = "pausing"
    FROZEN = "frozen"
    RESUMING = "resuming"
    STOPPING = "stopping"
    COLLECTING = "collecting"  # the container is gone, results are on their way


class ResultFile(Payload):
    """One file of the results."""

    name: FileName
    size: Count
    sha256: Sha256


class StartForecast(Payload):
    """When a waiting experiment starts, as far as the length of what is in front of it is known.

    It holds while nobody pauses, moves or cancels anything in front, and no reactor comes or goes.

    Attributes:
        earliest: Absent where nothing says how short a run may be. May be past: any moment now.
        likely: Absent where a length in front is unknown, or longer already than it ever was.
        latest: Absent where nothing says how long a run may be.
        basis: The weakest ground of `likely`: a reactor is ``free`` now, the author ``declared`` a
            duration, or earlier runs of the same ``script``, or of the same ``user``, tell it.
    """

    earliest: Time | None = None
    likely: Time | None = None
    latest: Time | None = None
    basis: Literal["free", "declared", "script", "user"] | None = None


class Experiment(Payload):
    """An experiment as everybody may see it, retained at `experiments/{id}`.

    Attributes:
        owner: A handle for people; never the secret behind it.
        user: `mqtt:{principal}` or `web:{keyed hash}`.
        queue_position: 1 is next; absent unless queued.
        estimated_start: The forecast's likely one.
        phase_detail: One sentence, for example "waiting for the reactor since 14:02", or why
            nothing starts it: "needs co2: no reactor has it".
        node: The reactor that runs or ran it.
        unreachable_since: When its reactor was last heard of, while that is away. It may well be
            running on: what is said of it is as old as this.
        exit_code: Of the script; negative is the signal that ended it.
        error: Why it failed or was cancelled.
        results: Manifest of what the script saved; telemetry, log and series come with the export.
        revision: Grows with each change, so that the later one is known.
        note: What people keep with it.
        edition: How often name and note were changed: who changes them says which they saw.
    """

    experiment_id: Ulid
    name: Label
    note: Note = ""
    edition: Count = 0
    user: str
    owner: str
    status: Status
    revision: Count
    phase: Phase | None = None
    phase_detail: str = ""
    phase_since: Time | None = None
    queue_position: int | None = None
    estimated_start: Time | None = None
    forecast: StartForecast | None = None
    attempt: Count = 0
    node: Name | None = None
    unreachable_since: Time | None = None
    wanted_node: Name | None = None
    created_at: Time
    started_at: Time | None = None
    completed_at: Time | None = None
    max_duration: Seconds | None = None
    exit_code: Whole | None = None
    error: Error | None = None
    parameters: Parameters = Field(default_factory=dict)
    needs: tuple[Name, ...] = ()
    script_sha256: Sha256
    image: str | None = None
    isolation: str | None = None
    warnings: tuple[str, ...] = ()
    results: tuple[ResultFile, ...] = ()
    gaps: Count = 0


class Annotate(Request):
    """Change an experiment's name, its note, or both; what is absent stays.

    Attributes:
        edition: The `edition` that the asker saw: where it is another one by now, nothing is
            changed and the refusal's details have what stands there. Absent: whatever stands there.
    """

    experiment_id: Ulid
    name: Label | None = None
    note: Note | None = None
    edition: Count | None = None


class SortKey(StrEnum):
    """What a list of experiments can be ordered by."""

    CREATED = "created"
    STARTED = "started"
    FINISHED = "finished"
    DURATION = "duration"  # from start to end
    NAME = "name"


class List(Request):
    """List experiments, newest first unless told otherwise.

    Attributes:
        mine: Only the asker's.
        search: Part of name, note, owner, reactor or id; case does not matter.
        node: Only those that ran, or run, on this reactor.
        since: Only those created then or later; with `until`, before that.
        sort: What is not known (the start of one that waits) comes last in either direction.
        before: The `next` of the page before, asked for with the same sort.
    """

    mine: bool = False
    status: tuple[Status, ...] = ()
    search: Annotated[str, StringConstraints(max_length=100)] = ""
    node: Name | None = None
    since: Time | None = None
    until: Time | None = None
    sort: SortKey = SortKey.CREATED
    ascending: bool = False
    before: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-]{1,1000}$")] | None = None
    limit: int = Field(default=50, ge=1, le=200)


class Send(Request):
    """Change parameters of a running experiment.

    Attributes:
        expected: What some of them are now; where they are not, nothing is changed. So nobody
            overwrites what somebody else has changed meanwhile.
    """

    experiment_id: Ulid
    parameters: Parameters
    expected: Parameters = Field(default_factory=dict)


class Milestone(Payload):
    """Something rare in the life of an experiment, for its timeline.

    Attributes:
        attempt: 0 where it concerns none.
        what: As phase records and events call it, or a gap in the record.
        elapsed: Seconds of the experiment's clock; absent before that began.
        detail: One sentence, or nothing.
        parameters: What changed.
        revision: Of the parameters; the script has seen them where it is told as seen.
        simulated: With executing: whether no real reactor stood behind it.
        speed: With executing: seconds of the reactor's clock in one second.
    """

    attempt: Count
    node: Name | None = None
    what: Literal[
        "accepted", "executing", "paused", "resumed", "stopping", "released", "finished",
        "interrupted", "adopted", "parameters", "parameters-seen", "gap",
    ]  # fmt: skip
    t: Time
    elapsed: float | None = None
    detail: str = ""
    parameters: Parameters = Field(default_factory=dict)
    revision: int | None = None
    simulated: bool | None = None
    speed: float | None = Field(default=None, gt=0)


class Got(Payload):
    """One experiment; the script only for those who may see it.

    Attributes:
        info: What the script says of itself; for whom the script is.
        milestones: In order; of all attempts, the last few hundred.
    """

    kind: Literal["experiment"] = "experiment"
    experiment: Experiment
    script: str | None = None
    info: ScriptInfo | None = None
    milestones: tuple[Milestone, ...] = ()


class Listed(Payload):
    """A page of experiments in the order asked for; `next` is the `before` of the next page."""

    kind: Literal["experiments"] = "experiments"
    experiments: tuple[Experiment, ...]
    total: int
    next: str | None = None

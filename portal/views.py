"""What REST answers: the shapes that laboratory scripts read, and how old the answer is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from broker.messages import (
    MAX_KEEP_DAYS,
    MAX_SCRIPT_BYTES,
    Error,
    Experiment,
    Milestone,
    Moved,
    Name,
    Parameters,
    Posture,
    Queue,
    QueueEntry,
    QueueLimits,
    Quota,
    Role,
    ScriptInfo,
    Seconds,
    StartForecast,
    Status,
    Token,
    Withheld,
)
from portal.known import HubState
from portal.selection import MAX_SELECTED, SelectionVerb
from portal.state import State


class Freshness(BaseModel):
    """How current an answer is.

    Attributes:
        age_seconds: 0 if current; otherwise for how long the hub or the broker has been away.
    """

    age_seconds: float
    hub: HubState
    broker_connected: bool


class ExperimentView(Experiment):
    """An experiment, with its error once more as one line."""

    error_message: str | None = None


class Started(BaseModel):
    """The experiment is durable in the queue."""

    experiment_id: str
    status: Status
    queue_position: int | None
    message: str
    estimated_start: datetime | None = None
    forecast: StartForecast | None = None
    warnings: tuple[str, ...] = ()


class StatusOf(BaseModel):
    """Where an experiment is."""

    experiment: ExperimentView
    freshness: Freshness


class ExperimentOf(BaseModel):
    """An experiment, with its script, and what that says of itself, if the asker may see it."""

    experiment: ExperimentView
    script: str | None = None
    info: ScriptInfo | None = None
    milestones: tuple[Milestone, ...] = ()
    freshness: Freshness


class Mine(BaseModel):
    """A page of experiments; `next` is the `before` of the next page in the same order."""

    experiments: tuple[ExperimentView, ...]
    total: int
    next: str | None = None
    freshness: Freshness


class AnnotateRequest(BaseModel):
    """A new name, a new note, or both; what is absent stays.

    Attributes:
        edition: The experiment's `edition` that was seen: where somebody changed it meanwhile, 409
            tells what stands there now, and nothing is changed.
    """

    name: str | None = None
    note: str | None = None
    edition: Annotated[int, Field(ge=0)] | None = None


class TokenRequest(BaseModel):
    """A token to make."""

    name: str
    role: Role = Role.USER
    expires_on: datetime | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Plate reader", "role": "user"}]}
    )


class TokenMade(Token):
    """A token, with the text that is shown this once: `Authorization: Bearer {token}`."""

    token: str


class TokensOf(BaseModel):
    """The tokens that are admitted, the oldest first."""

    tokens: tuple[Token, ...]
    freshness: Freshness


class Commanded(BaseModel):
    """What became of a command.

    Attributes:
        outcome: `accepted` means that the reactor's answer is still awaited.
        known: After a move: what the next one is to bring as `known`.
        edition: Of the experiment, after its name or note was changed.
        undo_seconds: For how long a deletion can be taken back.
    """

    success: bool = True
    message: str
    outcome: str
    status: Status | None = None
    queue_position: int | None = None
    known: int | None = None
    edition: int | None = None
    undo_seconds: float | None = None


class QueueOf(BaseModel):
    """The queue; `queue` holds those that wait, in order.

    Attributes:
        open: Everybody may see and change every experiment.
    """

    total_queued: int
    total_running: int
    total_paused: int
    queue: tuple[QueueEntry, ...]
    running: tuple[QueueEntry, ...]
    posture: Posture
    posture_reason: str
    limits: QueueLimits
    moved: Moved | None
    withheld: Mapping[str, Withheld]
    revision: int
    open: bool
    freshness: Freshness


Script = Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": MAX_SCRIPT_BYTES})]
"""Documented here, judged by the hub: it says SCRIPT_EMPTY or SCRIPT_TOO_LARGE."""


class StartRequest(BaseModel):
    """An experiment to queue.

    Attributes:
        config: Older scripts send it: taken for `parameters` where that is absent.
    """

    script_content: Script
    name: str | None = None
    parameters: Parameters | None = None
    config: Parameters | None = None
    filename: Annotated[str, Field(max_length=200)] | None = None


class CheckRequest(BaseModel):
    """A script to check."""

    script_content: Script
    parameters: Parameters = Field(default_factory=dict)


class ParametersRequest(BaseModel):
    """Parameters to change in a running experiment.

    Attributes:
        expected: What some of them are now: where they are not, nothing is changed.
    """

    parameters: Parameters
    expected: Parameters = Field(default_factory=dict)


class RunNowRequest(BaseModel):
    """Where to run, and whether what runs there may be cancelled for it.

    Attributes:
        stops: The only experiment that may be cancelled; absent: whichever runs there.
    """

    node: Name | None = None
    stop_running: bool = False
    stops: str | None = None


class HaltRequest(BaseModel):
    """Why nothing shall start; shown to everybody."""

    reason: str = ""


class SelectionRequest(BaseModel):
    """What is to be done to several experiments, in the order in which they wait.

    Attributes:
        target: With `before` and `after`: next to which experiment they are moved.
        known: The last change of the order that the asker has seen: after a later one nothing is
            moved.
    """

    verb: SelectionVerb
    ids: Annotated[list[str], Field(min_length=1, max_length=MAX_SELECTED)]
    target: str | None = None
    known: int | None = None


class SelectionDone(BaseModel):
    """What became of one of several; `error` in place of `message` if it was refused."""

    experiment_id: str
    name: str
    message: str | None = None
    error: Error | None = None


class Selected(BaseModel):
    """What became of each."""

    success: bool
    message: str
    done: tuple[SelectionDone, ...]
    known: int | None = None


class LimitsRequest(BaseModel):
    """Limits to change; what is absent stays. Seconds, and bytes of a script.

    Attributes:
        user: Whose limit `per_user` is, in place of everybody's; without `per_user` that exception
            ends.
    """

    per_user: Quota | None = None
    user: str | None = None
    max_duration: Seconds | None = None
    max_pause: Seconds | None = None
    max_script: Annotated[int, Field(ge=1, le=MAX_SCRIPT_BYTES)] | None = None


class RetentionRequest(BaseModel):
    """After how many days finished experiments are deleted; null: never."""

    days: Annotated[int, Field(ge=1, le=MAX_KEEP_DAYS)] | None

    @field_validator("days", mode="before")
    @classmethod
    def _absent(cls, value: object) -> object:
        """Take a form's empty field for absent."""
        return None if value == "" else value


def experiment_view(experiment: Experiment) -> ExperimentView:
    """Return the experiment for REST."""
    error = experiment.error
    return ExperimentView.model_construct(
        **{name: getattr(experiment, name) for name in Experiment.model_fields},
        error_message=error.message if error else None,
    )


def freshness(state: State) -> Freshness:
    """Return how current what the portal knows is."""
    link = state.link
    return Freshness(age_seconds=round(state.age(), 3), hub=link.hub, broker_connected=link.broker)


def queue_of(queue: Queue, state: State) -> QueueOf:
    """Return the queue for REST."""
    return QueueOf(
        total_queued=queue.total_queued,
        total_running=queue.total_running,
        total_paused=queue.total_paused,
        queue=queue.waiting,
        running=queue.running,
        posture=queue.posture,
        posture_reason=queue.posture_reason,
        limits=queue.limits,
        moved=queue.moved,
        withheld=queue.withheld,
        revision=queue.revision,
        open=queue.open,
        freshness=freshness(state),
    )

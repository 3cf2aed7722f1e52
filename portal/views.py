"""What REST answers: the shapes that laboratory scripts read, and how old the answer is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, field_validator

from broker.messages import (
    Channels,
    Experiment,
    NodeReport,
    Parameters,
    Posture,
    Queue,
    QueueEntry,
    QueueLimits,
    StartForecast,
    Status,
    Withheld,
)
from portal.known import HubState, NodeView
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
    """An experiment, with its script if the asker may see it."""

    experiment: ExperimentView
    script: str | None = None
    freshness: Freshness


class Mine(BaseModel):
    """The asker's experiments, newest first; `next` is the `before` of the next page."""

    experiments: tuple[ExperimentView, ...]
    total: int
    next: str | None = None
    freshness: Freshness


class Commanded(BaseModel):
    """What became of a command.

    Attributes:
        outcome: `accepted` means that the reactor's answer is still awaited.
    """

    success: bool = True
    message: str
    outcome: str
    status: Status | None = None
    queue_position: int | None = None


class QueueOf(BaseModel):
    """The queue; `queue` holds those that wait, in order."""

    total_queued: int
    total_running: int
    total_paused: int
    queue: tuple[QueueEntry, ...]
    running: tuple[QueueEntry, ...]
    posture: Posture
    posture_reason: str
    limits: QueueLimits
    withheld: Mapping[str, Withheld]
    revision: int
    freshness: Freshness


class NodeOf(BaseModel):
    """A reactor as last reported; `withheld` says why the queue starts nothing there."""

    id: str
    label: str
    online: bool
    since: datetime | None
    simulated: bool
    speed: float
    channels: Channels | None
    report: NodeReport | None
    withheld: Withheld | None
    readings: dict[str, float | None]


class Nodes(BaseModel):
    """All reactors by name."""

    nodes: tuple[NodeOf, ...]
    freshness: Freshness


class StartRequest(BaseModel):
    """An experiment to queue.

    Attributes:
        config: Older scripts send it: taken for `parameters` where that is absent.
    """

    script_content: str
    name: str | None = None
    parameters: Parameters | None = None
    config: Parameters | None = None
    filename: Annotated[str, Field(max_length=200)] | None = None


class CheckRequest(BaseModel):
    """A script to check."""

    script_content: str
    parameters: Parameters = Field(default_factory=dict)


class ParametersRequest(BaseModel):
    """Parameters to change in a running experiment."""

    parameters: Parameters


class RunNowRequest(BaseModel):
    """Where to run, and whether what runs there may be cancelled for it."""

    node: str | None = None
    stop_running: bool = False


class LimitsRequest(BaseModel):
    """Limits to change; what is absent stays. Seconds, and bytes of a script."""

    per_user: int | None = None
    max_duration: float | None = None
    max_pause: float | None = None
    max_script: int | None = None


class RetentionRequest(BaseModel):
    """After how many days finished experiments are deleted; null: never."""

    days: int | None

    @field_validator("days", mode="before")
    @classmethod
    def _absent(cls, value: object) -> object:
        """Take a form's empty field for absent."""
        return None if value == "" else value


class DeadBody(BaseModel):
    """Whether somebody has seen to it that the reactor's power is off."""

    power_is_off: bool = False


class EstopBody(BaseModel):
    """Why a reactor is stopped."""

    reason: Annotated[str, Field(max_length=120)] = ""


class ReleaseBody(BaseModel):
    """Which emergency stop is released; absent: the one that the reactor reports."""

    latch: str | None = None


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
        withheld=queue.withheld,
        revision=queue.revision,
        freshness=freshness(state),
    )


def node_of(node: NodeView) -> NodeOf:
    """Return a reactor for REST."""
    return NodeOf(
        id=node.id,
        label=node.label,
        online=node.online,
        since=node.since,
        simulated=node.simulated,
        speed=node.speed,
        channels=node.channels,
        report=node.report,
        withheld=node.withheld,
        readings=node.readings,
    )

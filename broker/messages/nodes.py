"""What a node reports of itself and of what runs on it."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from broker.messages.base import Count, Name, Ordinal, Payload, Seconds, Time, Ulid, Whole
from broker.messages.errors import Error
from broker.messages.experiments import Outcome, Phase
from broker.messages.manual import Estop, ManualHold


class ContainerStatus(Payload):
    """The container, measured each second; memory in bytes, uptime in seconds.

    Attributes:
        log_bytes: What it printed, counted as the limit of the run is.
        cpu_limit: In cores.
    """

    container_id: str
    image: str
    state: Literal["created", "running", "paused", "exited"]
    cpu_percent: float = Field(ge=0)
    memory: Count
    memory_limit: Count
    pids: Count
    results_bytes: Count = 0
    log_bytes: Count = 0
    uptime: Seconds
    cpu_limit: float | None = Field(default=None, gt=0)
    pids_limit: Ordinal | None = None
    results_limit: Ordinal | None = None
    log_limit: Ordinal | None = None


class LedgerEntry(Payload):
    """What became of one attempt on this node; kept for good."""

    experiment_id: Ulid
    attempt: Ordinal
    state: Literal["accepted", "released", "finished"]
    outcome: Outcome | None = None


class Activity(Payload):
    """What runs on the node."""

    experiment_id: Ulid
    attempt: Whole
    phase: Phase
    detail: str = ""
    since: Time
    started_at: Time | None = None
    elapsed: Seconds = 0.0
    frozen_for: Seconds = 0.0
    lease: bool = False
    outputs_reset: bool = False


class StreamBacklog(Payload):
    """What of a journal stream the hub has not acknowledged."""

    entries: Count
    bytes: Count
    oldest: Time | None = None


class Alarm(Payload):
    """Something that people should look at."""

    id: str
    severity: Literal["warning", "critical"]
    message: str
    channel: Name | None = None
    since: Time


class NodeReport(Payload):
    """Reported, retained at `nodes/{node}/report`; sent on change and each second of a run.

    To a broker of several servers each half minute as well.
    """

    node: Name
    boot_id: Ulid
    at: Time
    seen_revision: Count
    seen_store_id: Ulid | None = None
    seen_generation: Count = 0
    accepts: bool
    refusal: Error | None = None
    isolation: str
    isolation_note: str = ""
    activity: Activity | None = None
    container: ContainerStatus | None = None
    ledger: tuple[LedgerEntry, ...] = ()
    safe: bool
    manual: ManualHold | None = None
    estop: Estop | None = None
    alarms: tuple[Alarm, ...] = ()
    backlog: Mapping[str, StreamBacklog] = Field(default_factory=dict)

"""What the hub desires of a node."""

from typing import Literal

from pydantic import Field

from broker.messages.base import (
    Count,
    Label,
    Name,
    Ordinal,
    Parameters,
    Payload,
    Seconds,
    Sha256,
    Ulid,
)
from broker.messages.errors import Error


class RunLimits(Payload):
    """What one run may use; sizes in bytes, times in seconds.

    Attributes:
        max_duration: After so long it is stopped; a script may ask for less.
        max_silence: Of a script that says nothing; left out: silence is no fault.
        grace: What a script that is stopped has to save its results, before it is killed.
        memory: Of all its processes; swap is none.
        cpus: Processors' worth of time.
        pids: Processes and threads.
        tmp: Of its `/tmp`, which counts as memory.
        results: What it may save.
        log: What it may print; each line counts as 200 bytes more than its text.
    """

    max_duration: Seconds = 14 * 86400.0
    max_silence: Seconds | None = None
    grace: Seconds = 10.0
    memory: int = Field(default=512 * 1024**2, ge=32 * 1024**2)
    cpus: float = Field(default=1.0, gt=0)
    pids: int = Field(default=64, ge=8)
    tmp: int = Field(default=64 * 1024**2, ge=1024**2)
    results: int = Field(default=512 * 1024**2, ge=1024**2)
    log: int = Field(default=32 * 1024**2, ge=64 * 1024)


class Assignment(Payload):
    """Desired, retained at `nodes/{node}/assignment`.

    Attributes:
        revision: Grows for ever; a node ignores what is lower than it has seen.
        store_id: Of the hub's store.
        generation: Of the hub's store.
        desired: ``idle`` is said only after `released` was committed.
        stop_reason: Why, for the author, where desired is ``stop``.
    """

    revision: Ordinal
    store_id: Ulid
    generation: Count
    desired: Literal["idle", "run", "pause", "stop"]
    experiment_id: Ulid | None = None
    attempt: Ordinal | None = None
    name: Label | None = None
    owner: str = ""
    script: str | None = None
    script_sha256: Sha256 | None = None
    image: Name = "standard"
    parameters: Parameters = Field(default_factory=dict)
    limits: RunLimits = RunLimits()
    stop_reason: Error | None = None

"""The record that a node sends to the hub: entries, batches, acknowledgements, gaps."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, TypeAdapter

from broker.messages.base import (
    Count,
    FileName,
    Name,
    Ordinal,
    Payload,
    RequestId,
    Sha256,
    Time,
    Ulid,
    Whole,
)
from broker.messages.errors import Error
from broker.messages.experiments import Outcome, ResultFile
from broker.messages.logs import LogSource
from broker.messages.nodes import ContainerStatus

MAX_BATCH_BYTES: Final = 256 * 1024
"""The largest journal batch, encoded."""


class Recorded(Payload):
    """What every record carries.

    Attributes:
        t: Wall time in UTC.
        mono: The node's monotonic clock in seconds; comparable within one epoch only.
        elapsed: Seconds of the experiment's clock.
    """

    t: Time
    mono: float = 0.0
    experiment_id: Ulid | None = None
    attempt: Whole | None = None
    elapsed: float | None = None


class SampleRecord(Recorded):
    """One reading of the channels."""

    kind: Literal["sample"] = "sample"
    values: Mapping[str, float | None]


class SeriesRecord(Recorded):
    """The author's own values.

    Attributes:
        id: Of the script's call, by which a node that was restarted knows that it is recorded.
    """

    kind: Literal["series"] = "series"
    values: Mapping[str, float | None]
    id: RequestId | None = None


class LogRecord(Recorded):
    """One log line.

    Attributes:
        id: Of the script's call that wrote it, as of `SeriesRecord`; a printed line has none.
    """

    kind: Literal["log"] = "log"
    n: Whole
    source: LogSource
    text: str
    id: RequestId | None = None


class EventRecord(Recorded):
    """Something that happened: a setpoint, a dose, an alarm, dropped entries.

    Attributes:
        event: Its name: set, dose, alarm, alarm-cleared, dropped, parameters, message, estop …
    """

    kind: Literal["event"] = "event"
    event: Name
    channel: Name | None = None
    value: float | None = None
    data: Mapping[str, JsonValue] = Field(default_factory=dict)


class ContainerRecord(Recorded):
    """The container's use of resources, kept as series."""

    kind: Literal["container"] = "container"
    status: ContainerStatus


class PhaseRecord(Recorded):
    """A step in the life of an attempt; the queue follows these.

    Attributes:
        phase: In order: accepted, executing, (paused, resumed)*, stopping?, released, finished.
            interrupted stands in place of finished after a reboot or a lost container.
        simulated: With executing: whether no real reactor stands behind it.
        speed: With executing: seconds of the reactor's clock in one second.
        files_upto: With finished: `[epoch, n]` of the last entry in the files stream that
            belongs to the attempt; absent if there is none.
    """

    kind: Literal["phase"] = "phase"
    phase: Literal[
        "accepted", "executing", "paused", "resumed", "stopping", "released", "finished",
        "interrupted",
    ]  # fmt: skip
    outcome: Outcome | None = None
    exit_code: Whole | None = None
    error: Error | None = None
    image: str | None = None
    isolation: str | None = None
    simulated: bool | None = None
    speed: float | None = Field(default=None, gt=0)
    files: tuple[ResultFile, ...] = ()
    files_upto: tuple[Ulid, Whole] | None = None


Record = Annotated[
    SampleRecord | SeriesRecord | LogRecord | EventRecord | ContainerRecord | PhaseRecord,
    Field(discriminator="kind"),
]

RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Record)


class FileChunk(Payload):
    """A piece of a result file, base64; pieces of a file come in order.

    Attributes:
        last: Whether the file ends here; then size and sha256 of the whole are given.
    """

    kind: Literal["chunk"] = "chunk"
    experiment_id: Ulid
    attempt: Whole
    name: FileName
    offset: Count
    data: str
    last: bool = False
    size: Count | None = None
    sha256: Sha256 | None = None


class Batch(Payload):
    """Entries `first`, `first + 1`, … of one epoch of a stream.

    Attributes:
        epoch: Fresh at every opening of the journal.
        order: Grows with each opening; older epochs are sent first.
        floor: The oldest number of this epoch that the node still has.
    """

    epoch: Ulid
    order: Ordinal
    floor: Ordinal
    first: Ordinal
    entries: tuple[JsonValue, ...]


class JournalAck(Payload):
    """Committed by the hub: for each epoch all entries up to a number."""

    epochs: Mapping[Ulid, Whole]


class Gap(Payload):
    """Entries that a node no longer had: a visible hole in the record."""

    node: Name
    stream: Literal["records", "files"]
    epoch: Ulid
    first: int
    upto: int
    noticed_at: Time

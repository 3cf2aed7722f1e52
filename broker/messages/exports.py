"""Files that are made from an experiment, and fetching them."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from broker.messages.base import FileName, Payload, Sha256, Ulid
from broker.messages.requests import Request

MAX_FETCH_BYTES: Final = 256 * 1024
"""The largest piece of a stored file that one reply carries, before base64."""
MAX_EXPORT_CHANNELS: Final = 100
"""The most channels that an export of telemetry names."""


class ExportKind(StrEnum):
    """What can be exported from an experiment."""

    RESULTS = "results"  # one ZIP with everything
    TELEMETRY_CSV = "telemetry-csv"
    TELEMETRY_PARQUET = "telemetry-parquet"
    LOG = "log"
    SCRIPT = "script"
    FILE = "file"  # one file of the results


class Export(Request):
    """Make a file ready to be fetched; answered when it is.

    Attributes:
        file: Which of the results, for kind ``file``.
        channels: Of telemetry alone: only these columns, and only rows that have one of them;
            those that were never recorded are left out. Absent: all.
        start: Of telemetry alone: with end, seconds of the experiment's clock, both included.
    """

    experiment_id: Ulid
    kind: ExportKind
    file: FileName | None = None
    channels: Annotated[tuple[str, ...], Field(max_length=MAX_EXPORT_CHANNELS)] | None = None
    start: float | None = None
    end: float | None = None


class Fetch(Request):
    """Fetch a piece of an exported file."""

    ref: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    offset: int = Field(default=0, ge=0, le=2**53)
    length: int = Field(default=MAX_FETCH_BYTES, ge=1, le=MAX_FETCH_BYTES)


class Exported(Payload):
    """A file that is ready to be fetched for an hour at least."""

    kind: Literal["exported"] = "exported"
    ref: str
    filename: str
    media_type: str
    size: int
    sha256: Sha256


class Fetched(Payload):
    """A piece of a file, base64."""

    kind: Literal["fetched"] = "fetched"
    offset: int
    size: int
    data: str

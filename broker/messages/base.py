"""The base of every payload, and the kinds of fields that payloads are made of."""

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, NewType

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from broker.topics import EXPERIMENT_ID, NAME

MAX_PAYLOAD_BYTES: Final = 768 * 1024
"""The largest payload that is ever published; brokers disconnect the sender at 1 MiB."""
MAX_SCRIPT_BYTES: Final = 256 * 1024
"""The largest experiment script, in UTF-8."""

MAX_NAME: Final = 120
"""Characters of an experiment's name, of a token's, and of a handle."""
MAX_NOTE: Final = 4000
"""Characters of the note that people keep with an experiment."""

NodeId = NewType("NodeId", str)
ExperimentId = NewType("ExperimentId", str)


def utc_now() -> datetime:
    """Return the wall clock's time in UTC."""
    return datetime.now(UTC)


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its offset, for example 2026-02-17T14:26:01Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("no calendar has this time in UTC: the years are 1 to 9999") from None


def _printable(value: str) -> str:
    if any(ch in value for ch in "\x00\r\n") or not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


def _lines(value: str) -> str:
    """Return text of several lines, each ended as here."""
    plain = value.replace("\r\n", "\n").replace("\r", "\n").strip()
    if any(unicodedata.category(ch) in {"Cc", "Cs"} for ch in plain if ch not in "\n\t"):
        raise ValueError("control characters are not allowed")
    return plain


def _inside(value: str) -> str:
    if any(part in {"", ".", ".."} for part in value.split("/")):
        raise ValueError("a path inside the results without '.' and '..' is wanted")
    return value


Time = Annotated[datetime, AfterValidator(_in_utc)]
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
Ulid = Annotated[str, StringConstraints(pattern=rf"^{EXPERIMENT_ID.pattern}$")]
RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME),
    AfterValidator(_printable),
]
Text = Annotated[str, StringConstraints(max_length=4000)]
UserId = Annotated[
    str, StringConstraints(pattern=rf"^(mqtt:{NAME.pattern}|web:[A-Za-z0-9_-]{{8,64}})$")
]
"""Who owns experiments: a principal of the broker, or a portal's session."""
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=120), AfterValidator(_printable)
]
Note = Annotated[str, StringConstraints(max_length=MAX_NOTE), AfterValidator(_lines)]
"""What people keep with an experiment, in as many lines as they like."""
FileName = Annotated[
    str,
    StringConstraints(pattern=r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,239}$"),
    AfterValidator(_inside),
]
"""A result file's path relative to the results, with '/' between levels."""
Seconds = Annotated[float, Field(ge=0)]
Quota = Annotated[int, Field(ge=1, le=1000)]
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""An integer that every JSON parser carries exactly; a larger one is taken as a float."""
Count = Annotated[int, Field(ge=0, le=2**53)]
Ordinal = Annotated[int, Field(ge=1, le=2**53)]
Parameters = Mapping[str, bool | Whole | float | str]


class Payload(BaseModel):
    """Base of every payload: frozen, closed, finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null"
    )

    def encode(self) -> bytes:
        """Return the payload as JSON; fields that are None are left out."""
        return self.model_dump_json(exclude_none=True).encode()


def dumps(value: JsonValue) -> bytes:
    """Encode plain JSON; NaN becomes null."""
    return orjson.dumps(value)

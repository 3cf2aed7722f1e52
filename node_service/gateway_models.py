"""What travels between a script and its gateway: the bodies of requests and answers."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from broker.messages import (
    ChannelInfo,
    Error,
    Label,
    Name,
    Parameters,
    Payload,
    RequestId,
    ResultFile,
    RunLimits,
    Seconds,
    Time,
    Ulid,
)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


def _no_nan(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float, Field(strict=True)]
"""A number and nothing that could be taken for one: ``true`` is no volume."""

SeriesName = Annotated[
    str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)
]
SeriesValue = Annotated[float | None, Field(allow_inf_nan=True), AfterValidator(_no_nan)]
"""NaN and infinities, which many clients send although they are no JSON, are taken as null."""


class ClockInfo(Payload):
    """The experiment's clock: `elapsed` stands still while the experiment is paused."""

    elapsed: float
    speed: float
    now: Time


class ExperimentInfo(Payload):
    """What a script may know of itself."""

    experiment_id: Ulid
    attempt: int
    name: Label | None = None
    parameters: Parameters
    clock: ClockInfo
    limits: RunLimits


class ChannelList(Payload):
    """The channels of the reactor."""

    channels: tuple[ChannelInfo, ...]


class Reading(Payload):
    """What one channel says; null where it gives no sound value."""

    name: Name
    value: float | None
    unit: str
    t: Time


class Readings(Payload):
    """What all channels say."""

    t: Time
    elapsed: float
    values: Mapping[str, float | None]


class SetRequest(Payload):
    """Set an output, for `duration` seconds of the reactor's clock, or a setpoint."""

    value: Number
    duration: Annotated[Number, Field(gt=0)] | None = None
    id: RequestId


class SetAnswer(Payload):
    """The value in force."""

    value: float


class DoseRequest(Payload):
    """Pump a volume."""

    ml: Annotated[Number, Field(gt=0)]
    id: RequestId


class DoseAnswer(Payload):
    """What was pumped."""

    requested_ml: float
    delivered_ml: float
    seconds: Seconds


class RecordRequest(Payload):
    """Values of the author's own series, at most 64 at once."""

    values: Annotated[Mapping[SeriesName, SeriesValue], Field(min_length=1, max_length=64)]
    id: RequestId


class Nothing(Payload):
    """Done; there is nothing to say."""


class ParametersAnswer(Payload):
    """The parameters as the author last set them; `revision` grows with each change."""

    parameters: Parameters
    revision: int


class LogRequest(Payload):
    """A line, or several, for the experiment's log; without an id, a repeat is said again."""

    text: Annotated[str, StringConstraints(max_length=16_000)]
    level: Literal["debug", "info", "warning", "error"] = "info"
    id: RequestId | None = None


class MessageToScript(Payload):
    """A text, or parameters that changed."""

    n: int
    t: Time
    text: str | None = None
    parameters: Parameters | None = None


class Messages(Payload):
    """Messages with a higher number than asked for, oldest first."""

    messages: tuple[MessageToScript, ...]


class ErrorAnswer(Payload):
    """What went wrong."""

    error: Error


__all__ = [
    "ChannelList", "ClockInfo", "DoseAnswer", "DoseRequest", "ErrorAnswer", "ExperimentInfo",
    "LogRequest", "MessageToScript", "Messages", "Nothing", "ParametersAnswer", "Reading",
    "Readings", "RecordRequest", "ResultFile", "SetAnswer", "SetRequest",
]  # fmt: skip

"""Readings of a node's channels: live, and the history of them."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from broker.messages.base import Name, Payload, Time, Ulid
from broker.messages.journal import EventRecord, Gap
from broker.messages.requests import Request

MAX_HISTORY_POINTS: Final = 2000
"""The most points a channel has in one history reply."""


class Telemetry(Payload):
    """One reading of a node's channels, live.

    Attributes:
        elapsed: Seconds of the experiment's clock; absent while idle.
        values: By channel; null where the device gave none.
        series: The author's own series, as recorded.
    """

    t: Time
    experiment_id: Ulid | None = None
    elapsed: float | None = None
    values: Mapping[str, float | None] = Field(default_factory=dict)
    series: Mapping[str, float | None] = Field(default_factory=dict)


class History(Request):
    """Samples and series of an experiment, or of a node, downsampled by min and max.

    Attributes:
        channels: Absent: all.
        start: With end, seconds of the experiment's clock for an experiment.
        points: At most so many a channel.
        events: Only events of these kinds, `alarm` for example; absent: all.
    """

    experiment_id: Ulid | None = None
    node: Name | None = None
    channels: tuple[str, ...] | None = None
    events: tuple[Name, ...] | None = None
    start: float | None = None
    end: float | None = None
    points: int = Field(default=MAX_HISTORY_POINTS, ge=2, le=MAX_HISTORY_POINTS)


class Trace(Payload):
    """One channel or series, downsampled: arrays of equal length.

    Attributes:
        t: Seconds of the experiment's clock (an experiment) or of the Unix epoch (a node).
        v: Values; null where the device gave none.
        downsampled: Whether points were left out (minima and maxima never are).
    """

    unit: str = ""
    series: bool = False
    t: tuple[float, ...]
    v: tuple[float | None, ...]
    downsampled: bool = False


class HistoryOf(Payload):
    """Answer to history.

    Attributes:
        started_at: When the experiment's clock stood at 0.
        traces: By channel; the author's own series stand as `series.{name}`, since a series may be
            called like a channel; the container's use of resources, only where asked for by name,
            as `container.{field}`.
    """

    kind: Literal["history"] = "history"
    started_at: Time | None = None
    traces: Mapping[str, Trace]
    events: tuple[EventRecord, ...] = ()
    gaps: tuple[Gap, ...] = ()

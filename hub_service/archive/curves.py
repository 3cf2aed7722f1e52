"""Samples of runs as curves, row by row."""

import sqlite3
from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from broker.messages import Trace
from hub_service.archive.downsampling import downsample
from hub_service.archive.schema import PREFIXES, SERIES

MINUTE: Final = 60_000_000
_LONGEST: Final = 2**62


@dataclass(frozen=True, slots=True)
class Window:
    """What of an axis is asked for.

    Attributes:
        by_time: The axis is the time in seconds of the Unix epoch, not that of the runs.
    """

    start: float
    end: float
    by_time: bool

    @property
    def times(self) -> tuple[int, int]:
        """Microseconds of the Unix epoch; only for an axis of time."""
        return _micros(self.start), _micros(self.end)


def _micros(seconds: float) -> int:
    """Return microseconds, no more than the database can count."""
    return round(min(max(seconds * 1e6, -_LONGEST), _LONGEST))


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a run's samples of one kind that a window covers.

    Attributes:
        rows: How many samples, about.
        minutes: First and last minute of the Unix epoch.
        x: First and last place on the run's own axis.
    """

    run: int
    kind: int
    rows: int
    minutes: tuple[int, int]
    x: tuple[float, float]


@dataclass(slots=True)
class Curve:
    """Points of one trace; where they come in several parts, they are put in order at the end."""

    kind: int
    x: "array[float]" = field(default_factory=lambda: array("d"))
    v: "array[float]" = field(default_factory=lambda: array("d"))
    parts: int = 0

    def add(self, x: Iterable[float], v: Iterable[float]) -> None:
        """Add points, in order among themselves."""
        self.x.extend(x)
        self.v.extend(v)
        self.parts += 1

    def trace(self, points: int, *, rolled: bool) -> Trace:
        """Return at most so many points, rounded for eyes."""
        xs: Sequence[float] = self.x
        vs: Sequence[float] = self.v
        if self.parts > 1:
            order = sorted(range(len(xs)), key=xs.__getitem__)
            xs, vs = [xs[i] for i in order], [vs[i] for i in order]
        t, v, reduced = downsample(xs, vs, points)
        return Trace(
            series=self.kind == SERIES,
            t=tuple(round(time, 3) for time in t),
            v=tuple(None if value is None else float(f"{value:.7g}") for value in v),
            downsampled=reduced or rolled,
        )


def find_segment(
    connection: sqlite3.Connection, run: int, kind: int, window: Window
) -> Segment | None:
    """Return what a window covers of a run, or None if nothing."""
    query = (
        "SELECT sum(n), min(minute), max(minute), min(x_first), max(x_last) FROM minutes"
        " WHERE run = ? AND kind = ? AND "
    )
    if window.by_time:
        start, end = window.times
        query += "minute BETWEEN ? AND ?"
        bounds: tuple[float, float] = (start // MINUTE, end // MINUTE)
    else:
        query += "x_last >= ? AND x_first <= ?"
        bounds = (window.start, window.end)
    rows, first, last, x_first, x_last = connection.execute(query, (run, kind, *bounds)).fetchone()
    if not rows:
        return None
    x = (x_first, x_last) if window.by_time else (window.start, window.end)
    return Segment(run, kind, rows, (first, last), x)


def channels_of(
    connection: sqlite3.Connection, run: int, kind: int, wanted: Collection[str] | None
) -> dict[int, str]:
    """Return the channels of a run as a history calls them, by number."""
    found: dict[int, str] = {}
    for (channels,) in connection.execute(
        "SELECT channels FROM run_layouts JOIN layouts ON id = layout WHERE run = ? AND kind = ?",
        (run, kind),
    ).fetchall():
        for channel in orjson.loads(channels):
            if channel not in found:
                found[channel] = PREFIXES[kind] + channel_name(connection, channel)
    if wanted is None:
        return found
    return {channel: name for channel, name in found.items() if name in wanted}


def channel_name(connection: sqlite3.Connection, channel: int) -> str:
    """Return the name of a channel or series."""
    name: str = connection.execute("SELECT name FROM channels WHERE id = ?", (channel,)).fetchone()[
        0
    ]
    return name


def add_rows(
    connection: sqlite3.Connection,
    segment: Segment,
    window: Window,
    channels: dict[int, str],
    curves: dict[str, Curve],
) -> None:
    """Add every sample of a segment."""
    query = "SELECT {}, layout, v FROM samples WHERE run = ? AND kind = ? AND x BETWEEN ? AND ?"
    values: tuple[float, ...] = (segment.run, segment.kind, *segment.x)
    if window.by_time:
        query = query.format("t / 1e6") + " AND t BETWEEN ? AND ? ORDER BY t"
        values += window.times
    else:
        query = query.format("x") + " ORDER BY x"
    axes: dict[int, array[float]] = {}
    tables: dict[int, array[float]] = {}
    for x, layout, blob in connection.execute(query, values):
        axes.setdefault(layout, array("d")).append(x)
        tables.setdefault(layout, array("d")).frombytes(blob)
    for layout, axis in axes.items():
        table = tables.pop(layout)
        (text,) = connection.execute(
            "SELECT channels FROM layouts WHERE id = ?", (layout,)
        ).fetchone()
        order = orjson.loads(text)
        for place, channel in enumerate(order):
            if channel in channels:
                curve = curves.setdefault(channels[channel], Curve(segment.kind))
                curve.add(axis, table[place :: len(order)])

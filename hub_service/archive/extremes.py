"""Curves of what is too long to be read row by row: minima and maxima of one or ten minutes."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from math import nan
from typing import Final

from hub_service.archive.curves import Curve, Segment, Window, add_rows
from hub_service.archive.schema import TEN

MAX_CUT: Final = 10_000
"""Samples of a minute at a window's edge; with more, its extremes must do."""


def add_extremes(
    connection: sqlite3.Connection,
    segment: Segment,
    window: Window,
    channels: dict[int, str],
    curves: dict[str, Curve],
    *,
    points: int,
    minutes: int,
) -> None:
    """Add minima and maxima of a segment, where they stood: of as many minutes as it takes.

    That is told by `minutes`, of which there are to be so many `points`: the segment's own, or
    those of a whole chart of which the segment is a small part.

    The database finds them: a week has more minutes than a chart has points, and none of the
    others is worth its way to here. Of a minute that lies only partly in the window come its
    samples: its extremes may be outside.
    """
    cut = _cut_minutes(connection, segment, window)
    for minute, inside in cut.items():
        part = replace(segment, minutes=(minute, minute), x=_on_axis(connection, segment, minute))
        if not window.by_time:
            part = replace(part, x=(inside.start, inside.end))
        add_rows(connection, part, inside, channels, curves)
    first, last = segment.minutes
    # one stretch fewer than would fit: the first and the last may be cut
    stretch = -(-minutes // max(1, points // 2 - 1))
    if stretch < 2 * TEN:
        rows = _minutes(first, last, cut)
    else:
        stretch = -(-stretch // TEN) * TEN
        rows = _tens(first, last, cut)
    axis = "t_{0} / 1e6" if window.by_time else "x_{0}"
    query = f"SELECT {axis}, {{1}}({{0}}) FROM ({rows}) GROUP BY minute / {stretch}"  # noqa: S608  constants
    lowest, highest = query.format("lo", "min"), query.format("hi", "max")
    for channel, name in channels.items():
        values = {"run": segment.run, "channel": channel}
        lows = connection.execute(lowest, values).fetchall()
        highs = connection.execute(highest, values).fetchall()
        found = [(x, v) for x, v in _in_order(lows, highs) if window.start <= x <= window.end]
        if found:
            curves.setdefault(name, Curve(segment.kind)).add(*zip(*found, strict=True))


def _minutes(first: int, last: int, without: Collection[int]) -> str:
    """Return a query for the extremes of each minute but some."""
    return _select("rollups", "minute", 1, (first, last), without)


def _tens(first: int, last: int, cut: Collection[int]) -> str:
    """Return a query for the extremes of ten minutes each; of minutes where tens may be cut."""
    edges = {minute // TEN for minute in (first, last, *cut)}
    minutes = (
        _minutes(max(first, ten * TEN), min(last, ten * TEN + TEN - 1), cut) for ten in edges
    )
    tens = _select("tens", "ten", TEN, (first // TEN, last // TEN), edges)
    return " UNION ALL ".join((tens, *minutes))


def _select(
    table: str, row: str, minutes: int, between: tuple[int, int], without: Collection[int]
) -> str:
    first, last = between
    return (
        f"SELECT {row} * {minutes} AS minute, lo, hi, x_lo, x_hi, t_lo, t_hi FROM {table}"  # noqa: S608  constants
        f" WHERE run = :run AND channel = :channel AND {row} BETWEEN {first} AND {last}"
        f" AND {row} NOT IN ({', '.join(map(str, without))})"
    )


def _in_order(
    lows: Sequence[tuple[float, float | None]], highs: Sequence[tuple[float, float | None]]
) -> Iterator[tuple[float, float]]:
    """Yield the lowest and the highest point of each stretch; once where they are the same."""
    for (x_lo, lo), (x_hi, hi) in zip(lows, highs, strict=True):
        if lo is None or hi is None:
            yield x_lo, nan
        elif x_lo == x_hi:
            yield x_lo, lo
        else:
            yield from sorted(((x_lo, lo), (x_hi, hi)))


def _cut_minutes(
    connection: sqlite3.Connection, segment: Segment, window: Window
) -> dict[int, Window]:
    """Return the minutes at the window's edges, and what of each is inside."""
    bounds = ("minute * 60.0", "minute * 60.0 + 60") if window.by_time else ("x_first", "x_last")
    first, last = bounds
    found = connection.execute(
        f"SELECT minute, max({first}, ?1), min({last}, ?2) FROM minutes"  # noqa: S608  constants
        " WHERE run = ?3 AND kind = ?4 AND minute BETWEEN ?5 AND ?6 AND n <= ?7"
        f" AND {last} >= ?1 AND {first} <= ?2 AND NOT ({first} >= ?1 AND {last} <= ?2)",
        (window.start, window.end, segment.run, segment.kind, *segment.minutes, MAX_CUT),
    )
    return {minute: Window(start, end, by_time=window.by_time) for minute, start, end in found}


def _on_axis(connection: sqlite3.Connection, segment: Segment, minute: int) -> tuple[float, float]:
    found: tuple[float, float] = connection.execute(
        "SELECT x_first, x_last FROM minutes WHERE run = ? AND kind = ? AND minute = ?",
        (segment.run, segment.kind, minute),
    ).fetchone()
    return found

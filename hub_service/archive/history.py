"""Curves for charts: an experiment's latest attempt, or what a node measured."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from broker.messages import EventRecord, Gap, History, HistoryOf
from hub_service.archive.curves import (
    Curve,
    Segment,
    Window,
    add_rows,
    channels_of,
    find_segment,
)
from hub_service.archive.extremes import add_extremes
from hub_service.archive.gaps import gaps_of_node, gaps_of_runs
from hub_service.archive.runs import Run, latest_runs, micros, newest_record, runs_of_node
from hub_service.archive.schema import CONTAINER, NO_CLOCK, PREFIXES, SAMPLE, SERIES

RAW_ROWS: Final = 30_000
"""With more samples in the window, minima and maxima of minutes are taken in their place."""
MAX_POINTS: Final = 20_000
"""Of all traces of one answer, so that it fits into a message."""
MAX_EVENTS: Final = 500
"""In one answer: the last ones of the window."""
MAX_EVENT_BYTES: Final = 128 * 1024
MAX_GAPS: Final = 200
NODE_WINDOW: Final = 86400.0
"""Seconds of a node's past where no start is asked for."""


PUBLIC_EVENTS: Final = ("alarm", "alarm-cleared", "estop", "estop-released")
"""Events that concern everybody in the laboratory, whoever's experiment ran."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """Who looks, where not everybody may see every experiment.

    Attributes:
        live: The user's experiments that are not finished.
    """

    user: str
    live: Collection[str]


def history(
    connection: sqlite3.Connection, request: History, eyes: Eyes | None = None
) -> HistoryOf:
    """Answer a request for an experiment's or a node's curves from what is committed.

    Args:
        connection: To the archive.
        request: What is asked for.
        eyes: Of a node's past, leave out what others' experiments measured and did.
    """
    start = -inf if request.start is None else request.start
    end = inf if request.end is None else request.end
    gaps: list[Gap]
    if request.experiment_id is not None:
        window = Window(max(start, NO_CLOCK), end, by_time=False)
        runs = latest_runs(connection, request.experiment_id)
        gaps = gaps_of_runs(connection, [run.id for run in runs])
    else:
        node = request.node or ""
        if request.start is None:
            newest = newest_record(connection, node) or 0
            start = min(end, newest / 1e6) - NODE_WINDOW
        window = Window(start, end, by_time=True)
        runs = runs_of_node(connection, node, *window.times)
        gaps = [gap for gap in gaps_of_node(connection, node) if _noticed_in(window, gap)]
    started = [run.started for run in runs if run.started is not None]
    own: list[Run] = []
    theirs: list[Run] = []
    for run in runs:
        (own if eyes is None or _seen(connection, run, eyes) else theirs).append(run)
    curves, rolled, points = _curves(connection, own, window, request.channels, request.points)
    public = [kind for kind in PUBLIC_EVENTS if request.events is None or kind in request.events]
    kinds = [*((run, request.events) for run in own), *((run, public) for run in theirs)]
    return HistoryOf(
        started_at=min(started) if started and not window.by_time else None,
        traces={name: curve.trace(points, rolled=rolled) for name, curve in curves.items()},
        events=tuple(_events(connection, kinds, window)),
        gaps=tuple(gaps[-MAX_GAPS:]),
    )


def _curves(
    connection: sqlite3.Connection,
    runs: Sequence[Run],
    window: Window,
    wanted: Sequence[str] | None,
    points: int,
) -> tuple[dict[str, Curve], bool, int]:
    """Return the curves, whether they are of minutes, and how many points each may have."""
    kinds = [SAMPLE, SERIES]
    if any(name.startswith(PREFIXES[CONTAINER]) for name in wanted or ()):
        kinds.append(CONTAINER)
    parts = [
        (segment, channels)
        for run in runs
        for kind in kinds
        if (segment := find_segment(connection, run.id, kind, window)) is not None
        and (channels := channels_of(connection, run.id, kind, wanted))
    ]
    rolled = sum(segment.rows for segment, _ in parts) > RAW_ROWS
    names = {name for _, channels in parts for name in channels.values()}
    points = min(points, max(2, MAX_POINTS // max(1, len(names))))
    curves: dict[str, Curve] = {}
    whole = _minutes([segment for segment, _ in parts]) if window.by_time else None
    for segment, channels in parts:
        if rolled:
            minutes = whole or _minutes([segment])
            add_extremes(
                connection, segment, window, channels, curves, points=points, minutes=minutes
            )
        else:
            add_rows(connection, segment, window, channels, curves)
    return curves, rolled, points


def _minutes(segments: Sequence[Segment]) -> int:
    """Return how many minutes segments span together."""
    first = min((segment.minutes[0] for segment in segments), default=0)
    return max((segment.minutes[1] for segment in segments), default=0) - first + 1


def _seen(connection: sqlite3.Connection, run: Run, eyes: Eyes) -> bool:
    """Whether it is idle time, or a run of the user's own."""
    if not run.experiment_id or run.experiment_id in eyes.live:
        return True
    found = connection.execute(
        "SELECT 1 FROM finished WHERE experiment_id = ? AND user = ?",
        (run.experiment_id, eyes.user),
    )
    return found.fetchone() is not None


def _events(
    connection: sqlite3.Connection,
    runs: Sequence[tuple[Run, Sequence[str] | None]],
    window: Window,
) -> list[EventRecord]:
    """Return the last events of the window; of some kinds only, where a run names them."""
    column = "t" if window.by_time else "x"
    bounds = window.times if window.by_time else (window.start, window.end)
    found: list[tuple[float, str]] = []
    for run, kinds in reversed(runs):  # the last ones first: few of a year's runs are read
        if len(found) == MAX_EVENTS and window.by_time and _ended_before(run, found[-1][0]):
            continue
        only = "" if kinds is None else f" AND body ->> 'event' IN ({', '.join('?' * len(kinds))})"
        found += connection.execute(
            f"SELECT {column}, body FROM events WHERE run = ? AND {column} BETWEEN ? AND ?"  # noqa: S608  constants
            f"{only} ORDER BY {column} DESC, id DESC LIMIT ?",
            (run.id, *bounds, *(kinds or ()), MAX_EVENTS),
        ).fetchall()
        found.sort(key=lambda event: event[0], reverse=True)
        del found[MAX_EVENTS:]
    events: list[EventRecord] = []
    room = MAX_EVENT_BYTES
    for _, body in found:
        room -= len(body)
        if room < 0:
            break
        events.append(EventRecord.model_validate_json(body))
    return events[::-1]


def _ended_before(run: Run, when: float) -> bool:
    return run.last is not None and micros(run.last) < when


def _noticed_in(window: Window, gap: Gap) -> bool:
    return window.start <= gap.noticed_at.timestamp() <= window.end

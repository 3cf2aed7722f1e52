"""Log lines of an experiment's latest attempt."""

import sqlite3
from typing import Final

import orjson

from broker.messages import LogLine, LogPage
from hub_service.archive.runs import latest_runs, moment
from hub_service.archive.schema import SOURCES

MAX_BYTES: Final = 512 * 1024
"""Of the lines of one page, encoded."""
_LINE_OVERHEAD: Final = 80


def logs(
    connection: sqlite3.Connection, experiment_id: str, after: int | None, limit: int
) -> LogPage:
    """Return lines after a number, or the last ones.

    A page is complete when there is no line after it yet.
    """
    runs = latest_runs(connection, experiment_id)
    if not runs:
        return LogPage(lines=(), last=after or 0, complete=True)
    run = runs[-1].id
    order, start = ("DESC", -1) if after is None else ("ASC", after)
    rows = connection.execute(
        f"SELECT n, t, source, text FROM logs WHERE run = ? AND n > ? ORDER BY n {order} LIMIT ?",  # noqa: S608  constants
        (run, start, limit),
    )
    lines: list[LogLine] = []
    room = MAX_BYTES
    for n, t, source, text in rows:
        room -= len(orjson.dumps(text)) + _LINE_OVERHEAD
        if room < 0 and lines:
            break
        lines.append(LogLine(n=n, t=moment(t), source=SOURCES[source], text=text))
    rows.close()
    if after is None:
        lines.reverse()
    last = lines[-1].n if lines else (after or 0)
    more = connection.execute(
        "SELECT 1 FROM logs WHERE run = ? AND n > ? LIMIT 1", (run, last)
    ).fetchone()
    return LogPage(lines=tuple(lines), last=last, complete=more is None)

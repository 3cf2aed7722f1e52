"""Log lines of an experiment's latest attempt."""

import re
import sqlite3
from dataclasses import dataclass
from typing import Final

import orjson

from broker.messages import LogLine, LogPage
from hub_service.archive.runs import latest_runs, moment
from hub_service.archive.schema import SOURCES

MAX_BYTES: Final = 512 * 1024
"""Of the lines of one page, encoded."""
_LINE_OVERHEAD: Final = 80
_WILD: Final = re.compile(r"[%_\\]")
_LITERAL: Final = r"\\\g<0>"


@dataclass(frozen=True, slots=True)
class WantedLines:
    """Which lines of a log: those with a text, those of some sources; empty: all."""

    search: str = ""
    sources: tuple[str, ...] = ()

    @property
    def clause(self) -> tuple[str, tuple[object, ...]]:
        """What to add to a query of lines, and its values."""
        text = ""
        values: tuple[object, ...] = ()
        if self.search:
            text += " AND text LIKE ? ESCAPE '\\'"
            values += (f"%{_WILD.sub(_LITERAL, self.search)}%",)
        if self.sources:
            text += f" AND source IN ({', '.join('?' * len(self.sources))})"
            values += tuple(SOURCES.index(source) for source in self.sources)
        return text, values


ALL: Final = WantedLines()


def logs(
    connection: sqlite3.Connection,
    experiment_id: str,
    after: int | None,
    limit: int,
    wanted: WantedLines = ALL,
) -> LogPage:
    """Return lines after a number, or the last ones.

    A page is complete when there is no line after it yet.
    """
    runs = latest_runs(connection, experiment_id)
    if not runs:
        return LogPage(lines=(), last=after or 0, complete=True)
    run = runs[-1].id
    order, start = ("DESC", -1) if after is None else ("ASC", after)
    clause, values = wanted.clause
    rows = connection.execute(
        f"SELECT n, t, source, text FROM logs WHERE run = ? AND n > ?{clause}"  # noqa: S608  constants
        f" ORDER BY n {order} LIMIT ?",
        (run, start, *values, limit),
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
        f"SELECT 1 FROM logs WHERE run = ? AND n > ?{clause} LIMIT 1",  # noqa: S608  constants
        (run, last, *values),
    ).fetchone()
    found: int | None = None
    if clause:
        (found,) = connection.execute(
            f"SELECT count(*) FROM logs WHERE run = ?{clause}",  # noqa: S608  constants
            (run, *values),
        ).fetchone()
    return LogPage(lines=tuple(lines), last=last, complete=more is None, found=found)

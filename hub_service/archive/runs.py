"""Which runs there are: attempts of experiments, and the idle time of nodes."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_COLUMNS: Final = (
    "r.id, r.experiment_id, r.attempt, n.name, r.entries, r.first_t, r.last_t, r.started_t"
    " FROM runs r JOIN nodes n ON n.id = r.node"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of an experiment on a node, or a node's idle time.

    Attributes:
        experiment_id: Empty for idle time.
        entries: How many journal entries it has, of both streams.
        first: When the first record was made; None if there are only files.
        last: When the last record was made.
        started: When the script began.
    """

    id: int
    experiment_id: str
    attempt: int
    node: str
    entries: int
    first: datetime | None
    last: datetime | None
    started: datetime | None


def moment(micros: int) -> datetime:
    """Return the time of microseconds of the Unix epoch, the last of all where there is none."""
    return _EPOCH + timedelta(microseconds=min(micros, _LAST))


def micros(at: datetime) -> int:
    """Return microseconds of the Unix epoch, exactly: rounded up, the last time would be none."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def runs_of(connection: sqlite3.Connection, experiment_id: str) -> list[Run]:
    """Return all runs of an experiment, the first attempt first."""
    return _runs(
        connection.execute(
            f"SELECT {_COLUMNS} WHERE r.experiment_id = ? ORDER BY r.attempt, r.id",
            (experiment_id,),
        )
    )


def latest_runs(connection: sqlite3.Connection, experiment_id: str) -> list[Run]:
    """Return the runs of an experiment's latest attempt."""
    runs = runs_of(connection, experiment_id)
    return [run for run in runs if run.attempt == runs[-1].attempt]


def runs_of_node(connection: sqlite3.Connection, node: str, start: int, end: int) -> list[Run]:
    """Return the runs of a node with records between two times, microseconds of the Unix epoch."""
    return _runs(
        connection.execute(
            f"SELECT {_COLUMNS} WHERE r.node = (SELECT id FROM nodes WHERE name = ?)"  # noqa: S608  constant
            " AND r.last_t >= ? AND r.first_t <= ? ORDER BY r.first_t",
            (node, start, end),
        )
    )


def newest_record(connection: sqlite3.Connection, node: str) -> int | None:
    """Return when a node made its newest record, microseconds of the Unix epoch."""
    newest: int | None = connection.execute(
        "SELECT max(last_t) FROM runs WHERE node = (SELECT id FROM nodes WHERE name = ?)", (node,)
    ).fetchone()[0]
    return newest


def _runs(
    rows: Iterable[tuple[int, str, int, str, int, int | None, int | None, int | None]],
) -> list[Run]:
    return [
        Run(
            number,
            experiment,
            attempt,
            node,
            entries,
            None if first is None else moment(first),
            None if last is None else moment(last),
            None if started is None else moment(started),
        )
        for number, experiment, attempt, node, entries, first, last, started in rows
    ]

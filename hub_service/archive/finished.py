"""Finished experiments: kept as they were told, found by user, state, time and words."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from broker.messages import Experiment, SortKey, Status
from hub_service.archive.runs import micros, moment

SortValue = float | str | None


class Cursor(NamedTuple):
    """Where a page ended: what it is ordered by, and the id of the last one."""

    value: SortValue
    experiment_id: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which finished experiments; what is absent does not matter.

    Attributes:
        search: Part of the name, note, owner, reactor or id; case does not matter.
        node: Only those of which this reactor recorded something.
        since: Only those created then or later; with `until`, before that.
        before: Only those that come after this one in the order asked for.
    """

    user: str | None = None
    status: Sequence[Status] = ()
    search: str = ""
    node: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sort: SortKey = SortKey.CREATED
    ascending: bool = False
    before: Cursor | None = None
    limit: int = 50


class Kept(NamedTuple):
    """A finished experiment, and when it came here by the hub's clock."""

    experiment: Experiment
    archived_at: datetime


def put(connection: sqlite3.Connection, experiment: Experiment, archived_at: datetime) -> bool:
    """Keep a finished experiment; False if it replaced what was kept of it before.

    That it came here first stays as it was.
    """
    row = connection.execute(
        "SELECT archived FROM finished WHERE experiment_id = ?", (experiment.experiment_id,)
    ).fetchone()
    archived = micros(archived_at) if row is None else row[0]
    said_again = remove(connection, experiment.experiment_id)
    values = (sort_value(experiment, key) for key in _COLUMNS)
    connection.execute(
        "INSERT INTO finished (experiment_id, user, status, search, body, archived, created,"  # noqa: S608  constants
        f" {', '.join(_COLUMNS.values())}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            experiment.experiment_id,
            experiment.user,
            experiment.status.value,
            words(experiment),
            experiment.encode().decode(),
            archived,
            experiment.created_at.timestamp(),
            *values,
        ),
    )
    connection.execute(
        "INSERT INTO tally VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
        (experiment.user, experiment.status.value),
    )
    return not said_again


def remove(connection: sqlite3.Connection, experiment_id: str) -> bool:
    """Forget a finished experiment; False if there is none."""
    row = connection.execute(
        "SELECT user, status FROM finished WHERE experiment_id = ?", (experiment_id,)
    ).fetchone()
    if row is None:
        return False
    connection.execute("DELETE FROM finished WHERE experiment_id = ?", (experiment_id,))
    connection.execute("UPDATE tally SET n = n - 1 WHERE user = ? AND status = ?", row)
    return True


def get(connection: sqlite3.Connection, experiment_id: str) -> Kept | None:
    """Return a finished experiment."""
    row = connection.execute(
        "SELECT body, archived FROM finished WHERE experiment_id = ?", (experiment_id,)
    ).fetchone()
    return None if row is None else kept(*row)


def newest(connection: sqlite3.Connection, before: str | None, limit: int) -> list[Kept]:
    """Return those created last, or last before an id, the newest first."""
    where, values = ("TRUE", []) if before is None else ("experiment_id < ?", [before])
    rows = connection.execute(
        f"SELECT body, archived FROM finished WHERE {where}"  # noqa: S608  constants
        " ORDER BY experiment_id DESC LIMIT ?",
        [*values, limit],
    )
    return [kept(*row) for row in rows]


def kept(body: str, archived: int) -> Kept:
    """Return what a row holds."""
    return Kept(Experiment.model_validate_json(body), moment(archived))


def words(experiment: Experiment) -> str:
    """Return what a search looks into."""
    said = (experiment.name, experiment.owner, experiment.node or "", experiment.experiment_id)
    return "\n".join((*said, experiment.note)).casefold()


def sort_value(experiment: Experiment, key: SortKey) -> SortValue:
    """Return what an experiment is ordered by besides its id; None where it is not known."""
    started, ended = experiment.started_at, experiment.completed_at
    match key:
        case SortKey.CREATED:
            return None  # ids grow with each submission
        case SortKey.STARTED:
            return None if started is None else started.timestamp()
        case SortKey.FINISHED:
            return None if ended is None else ended.timestamp()
        case SortKey.DURATION:
            known = started is not None and ended is not None
            return (ended - started).total_seconds() if known else None  # type: ignore[operator]
        case SortKey.NAME:
            return experiment.name.casefold()


_COLUMNS: Final[Mapping[SortKey, str]] = {
    SortKey.STARTED: "started",
    SortKey.FINISHED: "ended",
    SortKey.DURATION: "took",
    SortKey.NAME: "title",
}


def page(connection: sqlite3.Connection, wanted: Wanted) -> tuple[list[Experiment], int]:
    """Return a page of finished experiments, and how many there are in all."""
    terms: list[str] = []
    values: list[object] = []
    if wanted.user is not None:
        terms.append("user = ?")
        values.append(wanted.user)
    if wanted.status:
        terms.append(f"status IN ({', '.join('?' * len(wanted.status))})")
        values += [status.value for status in wanted.status]
    counted, source = len(terms), "finished"
    if wanted.search.strip():
        source = "finished INDEXED BY finished_list"  # it has the words; bodies are far longer
        terms.append("instr(search, ?) > 0")  # both without case, which LIKE knows of ASCII alone
        values.append(wanted.search.strip().casefold())
    if wanted.node is not None:
        terms.append(
            "experiment_id IN (SELECT experiment_id FROM runs"
            " WHERE node = (SELECT id FROM nodes WHERE name = ?))"
        )
        values.append(wanted.node)
    for comparison, at in ((">=", wanted.since), ("<", wanted.until)):
        if at is not None:
            terms.append(f"created {comparison} ?")
            values.append(at.timestamp())
    each = len(terms) > counted
    table, what = (source, "count(*)") if each else ("tally", "ifnull(sum(n), 0)")
    total = connection.execute(
        f"SELECT {what} FROM {table} WHERE {' AND '.join(terms) or 'TRUE'}",  # noqa: S608  constants
        values,
    ).fetchone()[0]
    order, after, place = _order(wanted)
    ids = [
        row[0]
        for row in connection.execute(
            f"SELECT experiment_id FROM {source} WHERE {' AND '.join((*terms, after))}"  # noqa: S608  constants
            f" ORDER BY {order} LIMIT ?",
            [*values, *place, wanted.limit],
        )
    ]
    bodies = dict(
        connection.execute(
            "SELECT experiment_id, body FROM finished"  # noqa: S608  constants
            f" WHERE experiment_id IN ({', '.join('?' * len(ids))})",
            ids,
        )
    )
    return [Experiment.model_validate_json(bodies[i]) for i in ids], int(total)


def _order(wanted: Wanted) -> tuple[str, str, list[object]]:
    """Return the order, the condition that a row comes after the page before, and its values.

    What is not known comes last in either direction, and the id decides among equals.
    """
    way, sign = ("ASC", ">") if wanted.ascending else ("DESC", "<")
    column, before = _COLUMNS.get(wanted.sort), wanted.before
    if column is None:
        order = f"experiment_id {way}"
        if before is None:
            return order, "TRUE", []
        return order, f"experiment_id {sign} ?", [before.experiment_id]
    order = f"{column} IS NULL, {column} {way}, experiment_id {way}"
    if before is None:
        return order, "TRUE", []
    if before.value is None:
        return order, f"({column} IS NULL AND experiment_id {sign} ?)", [before.experiment_id]
    condition = (
        f"({column} {sign} ? OR {column} = ? AND experiment_id {sign} ? OR {column} IS NULL)"
    )
    return order, condition, [before.value, before.value, before.experiment_id]


def names(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return what finished experiments are called, those that are there."""
    return dict(
        connection.execute(
            "SELECT experiment_id, json_extract(body, '$.name') FROM finished"  # noqa: S608  constants
            f" WHERE experiment_id IN ({', '.join('?' * len(ids))})",
            ids,
        )
    )

"""Finished experiments: kept as they were told, found by user, state, time and words."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from broker.messages import Experiment, Status


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which finished experiments; what is absent does not matter.

    Attributes:
        search: Part of the name, owner, reactor or id; case does not matter.
        node: Only those of which this reactor recorded something.
        before: Only those created before this experiment.
    """

    user: str | None = None
    status: Sequence[Status] = ()
    search: str = ""
    node: str | None = None
    before: str | None = None
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
    archived = round(archived_at.timestamp() * 1e6) if row is None else row[0]
    said_again = remove(connection, experiment.experiment_id)
    words = (experiment.name, experiment.owner, experiment.node or "", experiment.experiment_id)
    connection.execute(
        "INSERT INTO finished VALUES (?, ?, ?, ?, ?, ?)",
        (
            experiment.experiment_id,
            experiment.user,
            experiment.status.value,
            "\n".join(words).casefold(),
            experiment.encode().decode(),
            archived,
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


def get(connection: sqlite3.Connection, experiment_id: str) -> Experiment | None:
    """Return a finished experiment."""
    row = connection.execute(
        "SELECT body FROM finished WHERE experiment_id = ?", (experiment_id,)
    ).fetchone()
    return None if row is None else Experiment.model_validate_json(row[0])


def newest(connection: sqlite3.Connection, before: str | None, limit: int) -> list[Kept]:
    """Return those created last, or last before an id, the newest first."""
    where, values = ("TRUE", []) if before is None else ("experiment_id < ?", [before])
    rows = connection.execute(
        f"SELECT body, archived FROM finished WHERE {where}"  # noqa: S608  constants
        " ORDER BY experiment_id DESC LIMIT ?",
        [*values, limit],
    )
    return [
        Kept(Experiment.model_validate_json(body), datetime.fromtimestamp(archived / 1e6, UTC))
        for body, archived in rows
    ]


def page(connection: sqlite3.Connection, wanted: Wanted) -> tuple[list[Experiment], int]:
    """Return a page of finished experiments, newest first, and how many there are in all."""
    terms: list[str] = []
    values: list[object] = []
    if wanted.user is not None:
        terms.append("user = ?")
        values.append(wanted.user)
    if wanted.status:
        terms.append(f"status IN ({', '.join('?' * len(wanted.status))})")
        values += [status.value for status in wanted.status]
    text = wanted.search.strip().casefold()
    if text:
        terms.append("search LIKE ? ESCAPE '!'")
        values.append(f"%{_escape(text)}%")
    if wanted.node is not None:
        terms.append(
            "experiment_id IN (SELECT experiment_id FROM runs"
            " WHERE node = (SELECT id FROM nodes WHERE name = ?))"
        )
        values.append(wanted.node)
    each = bool(text) or wanted.node is not None
    table = "finished" if each else "tally"
    where = " AND ".join(terms) or "TRUE"
    what = "count(*)" if each else "ifnull(sum(n), 0)"
    total = connection.execute(
        f"SELECT {what} FROM {table} WHERE {where}",  # noqa: S608  constants
        values,
    ).fetchone()[0]
    before = "TRUE" if wanted.before is None else "experiment_id < ?"
    rows = connection.execute(
        f"SELECT body FROM finished WHERE {where} AND {before}"  # noqa: S608  constants
        " ORDER BY experiment_id DESC LIMIT ?",
        [*values, *([] if wanted.before is None else [wanted.before]), wanted.limit],
    )
    return [Experiment.model_validate_json(body) for (body,) in rows], int(total)


def _escape(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")

"""Who did what, and what came of it; kept for good."""

import sqlite3
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, NamedTuple

import orjson
from pydantic import JsonValue

from hub_service.archive.runs import moment


class Audit(NamedTuple):
    """Who did what, and what came of it."""

    principal: str
    user: str
    verb: str
    experiment_id: str | None
    outcome: str
    details: Mapping[str, JsonValue]


class AuditRow(NamedTuple):
    """An audit as it is kept; `n` grows with each."""

    n: int
    at: datetime
    audit: Audit


Row = tuple[object, ...]
_COLUMNS: Final = "principal, user, verb, experiment_id, outcome, details"


def row_of(audit: Audit) -> Row:
    """Return what is to be kept, as of now."""
    details = orjson.dumps(dict(audit.details)).decode()
    return (time.time_ns() // 1000, *audit[:-1], details)


def put(connection: sqlite3.Connection, row: Row) -> None:
    """Keep what `row_of` made."""
    connection.execute(
        f"INSERT INTO audit (at, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  constants
        row,
    )


def of_experiment(connection: sqlite3.Connection, experiment_id: str) -> list[Audit]:
    """Return what was done to an experiment, the oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM audit WHERE experiment_id = ? ORDER BY id",  # noqa: S608  constants
        (experiment_id,),
    )
    return [_audit(row) for row in rows]


def page(
    connection: sqlite3.Connection,
    *,
    experiment_id: str | None,
    before: int | None,
    limit: int,
    hidden: Collection[str],
    verb: str | None = None,
    who: str | None = None,
) -> list[AuditRow]:
    """Return a page of what was done, newest first.

    Args:
        connection: Of the archive.
        experiment_id: Only what was done to it; None: everything.
        before: The number of the last one of the page before.
        limit: At most so many.
        hidden: Verbs that are left out.
        verb: Only this one.
        who: Only what this one did: a handle, or a user's id.
    """
    terms, values = ["TRUE"], list[object]()
    if experiment_id is not None:
        terms.append("experiment_id = ?")
        values.append(experiment_id)
    if verb is not None:
        terms.append("verb = ?")
        values.append(verb)
    if who is not None:
        terms.append("(user = ? OR json_extract(details, '$.by') = ?)")
        values += [who, who]
    if before is not None:
        terms.append("id < ?")
        values.append(before)
    if hidden:
        terms.append(f"verb NOT IN ({', '.join('?' * len(hidden))})")
        values += hidden
    rows = connection.execute(
        f"SELECT id, at, {_COLUMNS} FROM audit WHERE {' AND '.join(terms)}"  # noqa: S608  constants
        " ORDER BY id DESC LIMIT ?",
        [*values, limit],
    )
    return [AuditRow(n, moment(at), _audit(row)) for n, at, *row in rows]


def _audit(row: Collection[object]) -> Audit:
    *said, details = row
    return Audit._make((*said, orjson.loads(str(details))))

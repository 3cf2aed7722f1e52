"""Who did what, and what came of it; kept for good."""

import sqlite3
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, NamedTuple

import orjson
from pydantic import JsonValue

from hub_service.archive.runs import moment
from hub_service.archive.schema import AUDIT_BY


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
    found: list[str] = []
    values: list[object] = []
    # Somebody is named in two ways: the newest by either are looked up, by an index each.
    for whose in ("user",) if who is None else ("user", AUDIT_BY):
        wanted = {"experiment_id": experiment_id, whose: who, "verb": verb}
        given = {column: value for column, value in wanted.items() if value is not None}
        # Behind a plus SQLite uses no index: it could not tell which leaves least to read.
        terms = [f"{'+' if n else ''}{column} = ?" for n, column in enumerate(given)]
        if before is not None:
            terms.append("id < ?")
        if hidden:
            terms.append(f"verb NOT IN ({', '.join('?' * len(hidden))})")
        found.append(
            "SELECT id FROM (SELECT id FROM audit"  # noqa: S608  constants
            f" WHERE {' AND '.join(terms) or 'TRUE'} ORDER BY id DESC LIMIT ?)"
        )
        values += [*given.values(), *([] if before is None else [before]), *hidden, limit]
    rows = connection.execute(
        f"SELECT id, at, {_COLUMNS} FROM audit WHERE id IN ({' UNION '.join(found)})"  # noqa: S608  constants
        " ORDER BY id DESC LIMIT ?",
        [*values, limit],
    )
    return [AuditRow(n, moment(at), _audit(row)) for n, at, *row in rows]


def _audit(row: Collection[object]) -> Audit:
    *said, details = row
    return Audit._make((*said, orjson.loads(str(details))))

"""The journal's database: which entry stands where.

An entry's rowid is its epoch's order number and its own number in one, so that entries lie in the
order in which they are sent and a range of them is one scan.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final, Literal

from broker.journal.shelves import ENTRY_OVERHEAD, Shelf
from broker.topics import STREAMS

Stream = Literal["records", "files"]

APPLICATION_ID: Final = 0x42494F4A  # "BIOJ"
MAX_SHELVES: Final = 1000
"""Epochs that are remembered after all of their entries are gone, to be able to say so."""

MIGRATIONS: Final = (
    """
    CREATE TABLE epochs (ord INTEGER PRIMARY KEY AUTOINCREMENT, epoch TEXT NOT NULL UNIQUE);
    CREATE TABLE shelves (
        stream TEXT,
        ord INTEGER,
        floor INTEGER NOT NULL,         -- the oldest number that is there
        size_dropped INTEGER NOT NULL,  -- cumulative size below it
        acked INTEGER NOT NULL,
        PRIMARY KEY (stream, ord)
    ) WITHOUT ROWID;
    """
    + "".join(
        f"""
        CREATE TABLE {stream} (
            id INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,    -- when it was appended, in microseconds of the Unix epoch
            size INTEGER NOT NULL,  -- cumulative within its epoch
            body BLOB NOT NULL
        );
        """
        for stream in STREAMS
    ),
)

_BITS: Final = 40


def row_id(order: int, number: int) -> int:
    """Return the rowid of an entry."""
    return (order << _BITS) | number


def begin_epoch(connection: sqlite3.Connection, epoch: str) -> int:
    """Add an epoch and return its order number; forget epochs that say nothing any more."""
    connection.execute("BEGIN IMMEDIATE")
    known = [row[0] for row in connection.execute("SELECT ord FROM epochs ORDER BY ord DESC")]
    for place, order in enumerate(known):
        empty = all(_last_row(connection, stream, order) is None for stream in STREAMS)
        told = connection.execute(
            "SELECT count(*) FROM shelves WHERE ord = ? AND acked < floor - 1", (order,)
        ).fetchone()[0]
        silent = not connection.execute(
            "SELECT count(*) FROM shelves WHERE ord = ?", (order,)
        ).fetchone()[0]
        if empty and (silent or (place >= MAX_SHELVES and not told)):
            connection.execute("DELETE FROM epochs WHERE ord = ?", (order,))
            connection.execute("DELETE FROM shelves WHERE ord = ?", (order,))
    order = connection.execute("INSERT INTO epochs (epoch) VALUES (?)", (epoch,)).lastrowid
    connection.execute("COMMIT")
    assert order is not None  # noqa: S101  an INSERT has a rowid
    return order


def load_shelves(connection: sqlite3.Connection, stream: str) -> list[Shelf]:
    """Return all epochs of a stream, the oldest first."""
    rows = connection.execute(
        "SELECT e.ord, epoch, ifnull(floor, 1), ifnull(size_dropped, 0), ifnull(acked, 0)"
        " FROM epochs e LEFT JOIN shelves s ON s.ord = e.ord AND s.stream = ? ORDER BY e.ord",
        (stream,),
    ).fetchall()
    shelves = []
    for order, epoch, floor, dropped, acked in rows:
        shelf = Shelf(epoch, order, floor, floor - 1, 0, dropped, 0, dropped, None, acked)
        newest = _last_row(connection, stream, order)
        if newest is not None:
            shelf.last = newest[0] & ((1 << _BITS) - 1)
            shelf.size = newest[1]
        shelf.acknowledge(*measure(connection, stream, shelf, acked))
        shelves.append(shelf)
    return shelves


def measure(
    connection: sqlite3.Connection, stream: str, shelf: Shelf, upto: int
) -> tuple[int, int, int | None]:
    """Return up to where an acknowledgement holds, its size, and when the next entry was made."""
    upto = min(upto, shelf.last)
    rows = {
        number - row_id(shelf.order, 0): (size, at)
        for number, size, at in connection.execute(
            f"SELECT id, size, at FROM {stream} WHERE id BETWEEN ? AND ?",  # noqa: S608  constant
            (row_id(shelf.order, upto), row_id(shelf.order, max(upto + 1, shelf.floor))),
        )
    }
    size = rows[upto][0] if upto in rows else shelf.size_dropped
    after = rows.get(max(upto + 1, shelf.floor))
    return upto, size if upto else 0, after[1] if after else None


def insert(
    connection: sqlite3.Connection,
    stream: str,
    *,
    first_id: int,
    size: int,
    at: int,
    bodies: Sequence[bytes],
) -> None:
    """Insert entries with consecutive rowids; `size` is cumulative before the first."""
    rows = []
    for offset, body in enumerate(bodies):
        size += len(body) + ENTRY_OVERHEAD
        rows.append((first_id + offset, at, size, body))
    connection.executemany(f"INSERT INTO {stream} VALUES (?, ?, ?, ?)", rows)  # noqa: S608  constant


def read(
    connection: sqlite3.Connection, stream: str, *, order: int, first: int, last: int, limit: int
) -> list[bytes]:
    """Return entries from `first` on, without a hole, that take at most `limit` bytes together."""
    bodies: list[bytes] = []
    rows = connection.execute(
        f"SELECT id, body FROM {stream} WHERE id BETWEEN ? AND ? ORDER BY id",  # noqa: S608  constant
        (row_id(order, first), row_id(order, last)),
    )
    for number, body in rows:
        limit -= len(body) + 1
        if limit < 0 or number != row_id(order, first + len(bodies)):
            break
        bodies.append(body)
    rows.close()
    return bodies


def find_droppable(
    connection: sqlite3.Connection,
    stream: str,
    shelf: Shelf,
    *,
    before: int,
    size: int,
    limit: int,
) -> tuple[int, int] | None:
    """Find the oldest acknowledged entries that may go.

    Args:
        connection: To the journal.
        stream: Which.
        shelf: The epoch.
        before: Those appended before this time may go, µs of the Unix epoch.
        size: So many bytes must go even if they are younger.
        limit: At most so many entries.

    Returns:
        The number of the first entry that stays, and the cumulative size below it.
    """
    found: tuple[int, int] | None = None
    rows = connection.execute(
        f"SELECT id, at, size FROM {stream} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",  # noqa: S608  constant
        (row_id(shelf.order, shelf.floor), row_id(shelf.order, shelf.acked), limit),
    )
    for number, at, upto in rows:
        gone = found[1] - shelf.size_dropped if found else 0
        if at >= before and gone >= size:
            break
        found = (number - row_id(shelf.order, 0) + 1, upto)
    rows.close()
    return found


def drop(
    connection: sqlite3.Connection, stream: str, shelf: Shelf, *, below: int, size: int, acked: int
) -> None:
    """Delete the entries below a number; note the new floor and what the hub has."""
    connection.execute(
        f"DELETE FROM {stream} WHERE id BETWEEN ? AND ?",  # noqa: S608  constant
        (row_id(shelf.order, shelf.floor), row_id(shelf.order, below - 1)),
    )
    connection.execute(
        "INSERT OR REPLACE INTO shelves VALUES (?, ?, ?, ?, ?)",
        (stream, shelf.order, below, size, acked),
    )


def save_acknowledged(connection: sqlite3.Connection, stream: str, order: int, acked: int) -> None:
    """Note what the hub has of an epoch."""
    connection.execute(
        "INSERT INTO shelves VALUES (?, ?, 1, 0, ?)"
        " ON CONFLICT DO UPDATE SET acked = excluded.acked",
        (stream, order, acked),
    )


def _last_row(connection: sqlite3.Connection, stream: str, order: int) -> tuple[int, int] | None:
    row: tuple[int, int] | None = connection.execute(
        f"SELECT id, size FROM {stream} WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",  # noqa: S608  constant
        (row_id(order, 0), row_id(order + 1, 0) - 1),
    ).fetchone()
    return row

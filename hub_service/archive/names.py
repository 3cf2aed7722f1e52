"""Names that are kept once and meant by number: nodes, epochs, runs, channels."""

import sqlite3
import struct
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import orjson

_MOST: Final = 10_000

V = TypeVar("V")

_DELETED: Final = """
    SELECT experiment_id FROM runs r WHERE id = ? AND experiment_id <> ''
        AND NOT EXISTS (SELECT 1 FROM finished WHERE experiment_id = r.experiment_id)
        AND NOT EXISTS (SELECT 1 FROM trash WHERE experiment_id = r.experiment_id)
        AND EXISTS (
            SELECT 1 FROM audit WHERE experiment_id = r.experiment_id
                AND (verb, outcome) IN (VALUES ('delete', 'done'), ('retention', 'deleted'))
        )
"""


@dataclass(slots=True)
class Epoch:
    """One epoch of one stream of one node.

    Attributes:
        upto: Entries are committed up to here, the open transaction included.
    """

    id: int
    upto: int
    last_run: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which channels a sample has values of, in which order."""

    id: int
    channels: tuple[int, ...]
    packer: struct.Struct


class Names:
    """Finds or makes the numbers of names; used on the writer's thread only.

    What it remembers may be of a transaction that is undone: then `forget` is called.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, object] = {}

    def forget(self) -> None:
        """Drop what is remembered."""
        self._known = {}

    def node(self, connection: sqlite3.Connection, name: str) -> int:
        """Return the number of a node."""

        def make() -> int:
            return _find_or_insert(connection, "nodes", {"name": name})

        return self._remember(("node", name), make)

    def epoch(
        self, connection: sqlite3.Connection, node: int, stream: str, epoch: str, order: int
    ) -> Epoch:
        """Return an epoch; a new one stands at 0."""

        def make() -> Epoch:
            row = connection.execute(
                "SELECT id, upto, last_run FROM epochs WHERE node = ? AND stream = ? AND epoch = ?",
                (node, stream, epoch),
            ).fetchone()
            if row is not None:
                return Epoch(*row)
            made = connection.execute(
                "INSERT INTO epochs (node, stream, epoch, ord, upto) VALUES (?, ?, ?, ?, 0)",
                (node, stream, epoch, order),
            ).lastrowid
            before = connection.execute(
                "SELECT last_run FROM epochs WHERE node = ? AND stream = ? AND ord < ?"
                " AND last_run IS NOT NULL ORDER BY ord DESC LIMIT 1",
                (node, stream, order),
            ).fetchone()
            return Epoch(made or 0, 0, before[0] if before else None)

        return self._remember(("epoch", node, stream, epoch), make)

    def run(
        self, connection: sqlite3.Connection, experiment: str | None, attempt: int | None, node: int
    ) -> int:
        """Return the number of an attempt on a node, or of the node's idle time."""
        label = (experiment or "", attempt or 0, node)

        def make() -> int:
            row = connection.execute(
                "SELECT id FROM runs WHERE experiment_id = ? AND attempt = ? AND node = ?", label
            ).fetchone()
            if row is not None:
                return int(row[0])
            made = connection.execute(
                "INSERT INTO runs (experiment_id, attempt, node, entries) VALUES (?, ?, ?, 0)",
                label,
            ).lastrowid
            return made or 0

        return self._remember(("run", label), make)

    def deleted(self, connection: sqlite3.Connection, run: int) -> str:
        """Return the experiment of a run if it was deleted for good, else nothing."""

        def make() -> str:
            row = connection.execute(_DELETED, (run,)).fetchone()
            return "" if row is None else str(row[0])

        return self._remember(("deleted", run), make)

    def layout(self, connection: sqlite3.Connection, kind: int, names: tuple[str, ...]) -> Layout:
        """Return the layout of these channels in this order."""

        def make() -> Layout:
            channels = tuple(self.channel(connection, kind, name) for name in names)
            made = _find_or_insert(
                connection, "layouts", {"channels": orjson.dumps(channels).decode()}, kind=kind
            )
            return Layout(made, channels, struct.Struct(f"<{len(channels)}d"))

        return self._remember(("layout", kind, names), make)

    def channel(self, connection: sqlite3.Connection, kind: int, name: str) -> int:
        """Return the number of a channel or series."""

        def make() -> int:
            return _find_or_insert(connection, "channels", {"kind": kind, "name": name})

        return self._remember(("channel", kind, name), make)

    def once(self, connection: sqlite3.Connection, table: str, row: tuple[object, ...]) -> None:
        """Insert a row that may be there already."""

        def make() -> bool:
            places = ", ".join("?" * len(row))
            connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608  constant
            return True

        self._remember((table, row), make)

    def _remember(self, key: Hashable, make: Callable[[], V]) -> V:
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = self._known[key] = make()
        return found  # type: ignore[return-value]  # a key always holds what its maker made


def _find_or_insert(
    connection: sqlite3.Connection, table: str, key: dict[str, object], **more: object
) -> int:
    """Return the id of the row with this key, made if missing."""
    where = " AND ".join(f"{column} = ?" for column in key)
    row = connection.execute(
        f"SELECT id FROM {table} WHERE {where}",  # noqa: S608  constants
        tuple(key.values()),
    ).fetchone()
    if row is not None:
        return int(row[0])
    return insert(connection, table, key | more)


def insert(connection: sqlite3.Connection, table: str, row: dict[str, object]) -> int:
    """Insert a row and return its id."""
    columns, places = ", ".join(row), _places(row)
    made = connection.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({places})",  # noqa: S608  constants
        tuple(row.values()),
    ).lastrowid
    return made or 0


def _places(row: Iterable[object]) -> str:
    return ", ".join("?" for _ in row)

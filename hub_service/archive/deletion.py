"""Deleting all that was recorded of an experiment, piece by piece, so that commits go on."""

import sqlite3
from typing import Final

from broker.database import Transaction
from hub_service.archive import finished
from hub_service.archive.blobs import Blobs
from hub_service.archive.files import delete_unused

_PIECE: Final = 5000
_RUNS: Final = "SELECT id FROM runs WHERE experiment_id = ?"
_KEYS: Final = {
    "samples": "run, kind, x, tie",
    "minutes": "run, kind, minute",
    "rollups": "run, channel, minute",
    "tens": "run, channel, ten",
    "logs": "run, n, tie",
    "events": "id",
    "run_layouts": "run, layout",
    "containers": "run, container_id, image",
}
"""Tables with rows of a run, and what their rows are known by."""


def forget_experiment(transaction: Transaction, experiment_id: str) -> bool:
    """Take a finished experiment out of all lists; what it recorded goes by `delete_piece`.

    The order to delete is in the database with it, so that a start goes on where a crash stopped.
    """
    connection = transaction.connection
    if not finished.remove(connection, experiment_id):
        return False
    connection.execute("INSERT OR IGNORE INTO deletions VALUES (?)", (experiment_id,))
    return True


def delete_piece(transaction: Transaction, blobs: Blobs, experiment_id: str) -> bool:
    """Delete some thousand rows; True if there may be more."""
    connection = transaction.connection
    for table, key in _KEYS.items():
        gone = connection.execute(
            f"DELETE FROM {table} WHERE ({key}) IN"  # noqa: S608  constants
            f" (SELECT {key} FROM {table} WHERE run IN ({_RUNS}) LIMIT {_PIECE})",
            (experiment_id,),
        ).rowcount
        if gone:
            return True
    files = connection.execute(
        f"SELECT sha256 FROM files WHERE run IN ({_RUNS})",  # noqa: S608  constants
        (experiment_id,),
    ).fetchall()
    connection.execute(f"DELETE FROM files WHERE run IN ({_RUNS})", (experiment_id,))  # noqa: S608  constants
    for (sha256,) in files:
        delete_unused(transaction, blobs, sha256)
    for (file,) in connection.execute(
        f"SELECT file FROM staging WHERE run IN ({_RUNS})",  # noqa: S608  constants
        (experiment_id,),
    ).fetchall():
        connection.execute("DELETE FROM staging WHERE file = ?", (file,))
        blobs.discard(file)
    connection.execute("DELETE FROM deletions WHERE experiment_id = ?", (experiment_id,))
    return False


def unfinished(connection: sqlite3.Connection) -> list[str]:
    """Return the experiments whose deletion a crash cut short."""
    return [row[0] for row in connection.execute("SELECT experiment_id FROM deletions")]

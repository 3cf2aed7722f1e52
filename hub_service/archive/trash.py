"""Finished experiments that were deleted and can still be restored: in no list, all data in place.

An experiment is in `finished` or here, never in both, and moves in one transaction with the audit
that says so.
"""

import sqlite3
from functools import partial

from broker.database import Transaction
from hub_service.archive import audits, finished
from hub_service.archive.audits import Audit
from hub_service.archive.finished import Kept, kept
from hub_service.archive.outbox import Read, Write


class Trash:
    """What was deleted.

    Args:
        write: Runs a job on the archive's writer.
        read: Runs a query.
    """

    def __init__(self, write: Write, read: Read) -> None:
        self._write = write
        self._read = read

    async def get(self, experiment_id: str) -> Kept | None:
        """Return a deleted experiment that can still be restored."""
        return await self._read(partial(_get, experiment_id=experiment_id))

    async def ids(self) -> list[str]:
        """Return the deleted experiments that can still be restored."""
        return await self._read(
            lambda c: [row[0] for row in c.execute("SELECT experiment_id FROM trash")]
        )

    async def put(self, experiment_id: str, noted: Audit) -> bool:
        """Take a finished experiment out of all lists; False if there is none."""
        row = audits.row_of(noted)

        def discard(transaction: Transaction) -> bool:
            connection = transaction.connection
            connection.execute(
                "INSERT INTO trash SELECT experiment_id, body, archived FROM finished"
                " WHERE experiment_id = ?",
                (experiment_id,),
            )
            if not finished.remove(connection, experiment_id):
                return False
            audits.put(connection, row)
            return True

        return await self._write(discard)

    async def restore(self, experiment_id: str, noted: Audit) -> Kept | None:
        """Put a deleted experiment back as it was; None if there is none."""
        row = audits.row_of(noted)

        def restore(transaction: Transaction) -> Kept | None:
            connection = transaction.connection
            found = _get(connection, experiment_id)
            if found is not None:
                finished.put(connection, found.experiment, found.archived_at)
                connection.execute("DELETE FROM trash WHERE experiment_id = ?", (experiment_id,))
                audits.put(connection, row)
            return found

        return await self._write(restore)

    async def purge(self, experiment_id: str) -> bool:
        """Order a deleted experiment to be removed for good; False if there is none."""

        def purge(transaction: Transaction) -> bool:
            connection = transaction.connection
            gone = connection.execute(
                "DELETE FROM trash WHERE experiment_id = ?", (experiment_id,)
            ).rowcount
            if gone:
                connection.execute("INSERT OR IGNORE INTO deletions VALUES (?)", (experiment_id,))
            return bool(gone)

        return await self._write(purge)


def _get(connection: sqlite3.Connection, experiment_id: str) -> Kept | None:
    row = connection.execute(
        "SELECT body, archived FROM trash WHERE experiment_id = ?", (experiment_id,)
    ).fetchone()
    return None if row is None else kept(*row)

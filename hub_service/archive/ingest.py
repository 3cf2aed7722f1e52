"""What a journal brings, and its cursor, in one transaction."""

import time
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from broker.database import Transaction
from broker.journal.reception import Commit
from broker.messages import EventRecord, PhaseRecord
from hub_service.archive import outbox
from hub_service.archive.blobs import Blobs
from hub_service.archive.files import Files
from hub_service.archive.gaps import close_gap, record_gap
from hub_service.archive.names import Names
from hub_service.archive.records import Records


def _nothing() -> None:
    """Take no notice."""


class Ingest:
    """Takes commits on the writer's thread.

    Args:
        blobs: Where result files go.

    Attributes:
        notable: Called when something was committed that people are to be told.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.notable: Callable[[], object] = _nothing
        self._names = Names()

    def forget(self) -> None:
        """Drop what is remembered of a transaction that was undone."""
        self._names.forget()

    def take(
        self, transaction: Transaction, *, node: str, stream: str, commit: Commit[JsonValue]
    ) -> Sequence[str]:
        """Write entries, the gap before them and the cursor.

        Returns:
            Experiments of which something came though they are deleted, as from a reactor that was
            declared dead: the order to delete is given once more with it.

        Raises:
            ValueError: They do not follow what is there: each entry is taken once, in order.
        """
        connection = transaction.connection
        number = self._names.node(connection, node)
        epoch = self._names.epoch(connection, number, stream, commit.epoch, commit.order)
        gap = None
        upto = epoch.upto
        if commit.gap is not None:
            if commit.gap[0] != upto + 1:
                raise ValueError(f"a gap from {commit.gap[0]} does not follow entry {upto}")
            upto = commit.gap[1]
            gap = record_gap(connection, epoch, commit.gap, time.time_ns() // 1000)
        if commit.first != upto + 1:
            raise ValueError(f"entries from {commit.first} do not follow entry {upto}")

        def tell(record: EventRecord | PhaseRecord, number: int) -> None:
            if outbox.put_record(connection, record, node=node, epoch=commit.epoch, number=number):
                transaction.after_commit(self.notable)

        writer = (
            Records(connection, self._names, number, tell)
            if stream == "records"
            else Files(transaction, self._names, self._blobs, number)
        )
        writer.write(epoch, commit.first, commit.entries)
        if gap is not None and (runs := writer.runs()):
            close_gap(connection, gap, runs[0])
        epoch.upto = upto + len(commit.entries)
        connection.execute(
            "UPDATE epochs SET upto = ?, last_run = ? WHERE id = ?",
            (epoch.upto, epoch.last_run, epoch.id),
        )
        deleted = {self._names.deleted(connection, run) for run in writer.runs()} - {""}
        connection.executemany(
            "INSERT OR IGNORE INTO deletions VALUES (?)", [(identity,) for identity in deleted]
        )
        return sorted(deleted)

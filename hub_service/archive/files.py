"""What the files stream brings: pieces of result files."""

import binascii
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Final

from pydantic import JsonValue, ValidationError

from broker.database import Transaction
from broker.messages import FileChunk
from hub_service.archive.blobs import Blobs
from hub_service.archive.names import Epoch, Names
from hub_service.archive.quarantine import put_aside

_MAX_OFFSET: Final = 2**34


class Files:
    """Writes the pieces of one commit; on the disk when `write` returns.

    Args:
        transaction: Open.
        names: Of the archive.
        blobs: Of the archive.
        node: Whose files.
    """

    def __init__(self, transaction: Transaction, names: Names, blobs: Blobs, node: int) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._names = names
        self._blobs = blobs
        self._node = node
        self._runs: dict[int, int] = {}

    def write(self, epoch: Epoch, first: int, entries: Sequence[JsonValue]) -> None:
        """Write entries numbered from `first`."""
        for number, entry in enumerate(entries, first):
            try:
                chunk, data = _parse(entry)
            except (ValidationError, ValueError) as error:
                put_aside(self._connection, epoch, number, entry, str(error))
                continue
            run = self._names.run(self._connection, chunk.experiment_id, chunk.attempt, self._node)
            self._runs[run] = self._runs.get(run, 0) + 1
            epoch.last_run = run
            self._put(run, f"{epoch.id}-{number}", chunk, data)
        self._blobs.sync()
        self._connection.executemany(
            "UPDATE runs SET entries = entries + ? WHERE id = ?",
            [(count, run) for run, count in self._runs.items()],
        )

    def runs(self) -> list[int]:
        """Return the runs that had entries, in the order of their first ones."""
        return list(self._runs)

    def _put(self, run: int, fresh: str, chunk: FileChunk, data: bytes) -> None:
        staged: tuple[str, str | None] | None = self._connection.execute(
            "SELECT file, problem FROM staging WHERE run = ? AND name = ?", (run, chunk.name)
        ).fetchone()
        if chunk.offset == 0 or staged is None:
            if staged is not None:  # an earlier version that was never finished
                self._transaction.after_commit(partial(self._blobs.discard, staged[0]))
            staged = (fresh, None)
            self._blobs.begin(fresh)
        file, problem = staged
        problem = self._blobs.write(file, chunk.offset, data) or problem
        if not chunk.last:
            self._connection.execute(
                "INSERT OR REPLACE INTO staging VALUES (?, ?, ?, ?)",
                (run, chunk.name, file, problem),
            )
            return
        size, sha256 = self._blobs.measure(file)
        if problem is None and (size, sha256) != (chunk.size, chunk.sha256):
            problem = f"the node had {chunk.size} bytes with SHA-256 {chunk.sha256}"
        self._connection.execute(
            "DELETE FROM staging WHERE run = ? AND name = ?", (run, chunk.name)
        )
        replaced = self._connection.execute(
            "SELECT sha256 FROM files WHERE run = ? AND name = ?", (run, chunk.name)
        ).fetchone()
        self._connection.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
            (run, chunk.name, size, sha256, file, problem),
        )
        self._transaction.after_commit(partial(self._blobs.publish, file, sha256))
        if replaced is not None and replaced[0] != sha256:
            delete_unused(self._transaction, self._blobs, replaced[0])


def _parse(entry: JsonValue) -> tuple[FileChunk, bytes]:
    chunk = FileChunk.model_validate(entry)
    if max(chunk.offset, chunk.attempt) > _MAX_OFFSET:
        raise ValueError("a number is too large")
    return chunk, binascii.a2b_base64(chunk.data, strict_mode=True)


def delete_unused(transaction: Transaction, blobs: Blobs, sha256: str) -> None:
    """Delete a file's content after the commit if no run has it any more."""
    used = transaction.connection.execute(
        "SELECT 1 FROM files WHERE sha256 = ? LIMIT 1", (sha256,)
    ).fetchone()
    if used is None:
        transaction.after_commit(partial(blobs.delete, sha256))


def finish_staged(connection: sqlite3.Connection, blobs: Blobs) -> None:
    """Do at a start what a crash kept from being done after a commit."""
    connection.execute("BEGIN IMMEDIATE")
    for file, sha256 in connection.execute(
        "SELECT staged, sha256 FROM files WHERE staged IS NOT NULL"
    ).fetchall():
        blobs.publish(file, sha256)  # also where it was moved: is the move itself on the disk?
    connection.execute("UPDATE files SET staged = NULL WHERE staged IS NOT NULL")
    staged = [row[0] for row in connection.execute("SELECT file FROM staging")]
    connection.execute("COMMIT")
    blobs.discard_all_but(staged)

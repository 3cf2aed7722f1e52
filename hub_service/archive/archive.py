"""The archive: one SQLite database, and result files beside it."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

from pydantic import JsonValue

from broker.database import (
    Reader,
    Transaction,
    Writer,
    claim_directory,
    is_full,
    open_database,
)
from broker.journal import MAX_ACK_EPOCHS
from broker.journal.reception import Commit
from broker.messages import (
    ContractError,
    ErrorCode,
    Experiment,
    Gap,
    History,
    HistoryOf,
    LogPage,
    LogSource,
    Milestone,
    PhaseRecord,
    utc_now,
)
from hub_service.archive import audits, finished, outbox, people
from hub_service.archive.audits import Audit, AuditRow
from hub_service.archive.blobs import Blobs
from hub_service.archive.deletion import delete_piece, forget_experiment, unfinished
from hub_service.archive.durations import taken
from hub_service.archive.files import finish_staged
from hub_service.archive.finished import Kept, Wanted
from hub_service.archive.gaps import gaps_of_node, gaps_of_runs
from hub_service.archive.history import Eyes, history
from hub_service.archive.ingest import Ingest
from hub_service.archive.logs import WantedLines, logs
from hub_service.archive.milestones import milestones
from hub_service.archive.outbox import Outbox
from hub_service.archive.people import Person
from hub_service.archive.results import StoredFile, result_files
from hub_service.archive.runs import Run, runs_of
from hub_service.archive.schema import APPLICATION_ID, MIGRATIONS
from hub_service.archive.tokens import AdmittedTokens
from hub_service.archive.trash import Trash
from hub_service.queue.durations import Taken

T = TypeVar("T")

DATABASE: Final = "archive.sqlite"
RETRY_S: Final = 5.0
"""After the disk was full."""

_log = logging.getLogger(__name__)


class PhaseEntry(NamedTuple):
    """A phase record as the queue applies it; `seq` grows with each."""

    seq: int
    node: str
    epoch: str
    n: int
    record: PhaseRecord


class Archive:
    """What was recorded. Whatever a method writes is durable when it returns.

    Implements `broker.journal.JournalSink`. One process owns the directory; other processes may
    read it. Use on one event loop.

    Attributes:
        directory: Holds ``archive.sqlite`` and the result files.
        blobs: The result files.
        outbox: What people are to be told.
        trash: Finished experiments that were deleted and can still be restored.
        tokens: Which tokens for scripts are admitted.
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.directory = directory
        self.blobs = Blobs(directory)
        self._lock = lock
        self._applied = 0
        finish_staged(connection, self.blobs)
        self._unfinished = unfinished(connection)
        self._cut_short = asyncio.Event()
        self._ingest = Ingest(self.blobs)
        self._writer = Writer(
            connection, name="archive", on_rollback=self._ingest.forget, explain=_explain
        )
        self._reader = Reader(directory / DATABASE, name="archive-read", threads=2)
        self.outbox = Outbox(self._write, self._reader.run)
        self.trash = Trash(self._write, self._reader.run)
        self.tokens = AdmittedTokens(self._write, self._reader.run)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the archive, or make it. Blocks.

        Raises:
            DatabaseError: Another process has it open, or it is damaged or of a newer version.
        """
        lock = claim_directory(directory)
        try:
            connection = open_database(directory / DATABASE, MIGRATIONS, APPLICATION_ID)
            try:
                return cls(directory, connection, lock)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Finish what waits and give the directory free. Blocks."""
        self._reader.close()  # the last to close puts the write-ahead log into the database
        self._writer.close()
        os.close(self._lock)

    def when_notable(self, called: Callable[[], object]) -> None:
        """Have this called, on the writer's thread, when a journal filled the outbox."""
        self._ingest.notable = called

    def when_committed(self, called: Callable[[float], object]) -> None:
        """Have this called, on the writer's thread, with the seconds that each commit took."""
        self._writer.on_commit = called

    async def probe(self) -> None:
        """Return when the writer has done what waited before; writes nothing."""
        await self._write(lambda _: None)

    async def streams(self) -> Sequence[tuple[str, str]]:
        """Return node and stream of everything that ever came."""
        return await self._rows(
            "SELECT DISTINCT name, stream FROM epochs e JOIN nodes n ON n.id = e.node"
        )

    async def cursors(self, node: str, stream: str) -> Mapping[str, int]:
        """Return by epoch up to where entries are committed."""
        return dict(await self._rows(f"{_CURSORS} ORDER BY id", node, stream))

    async def commit(self, node: str, stream: str, commit: Commit[JsonValue]) -> None:
        """Make entries, the gap before them and the new cursor durable together.

        Raises:
            ContractError: STORAGE_FULL. Nothing was taken.
            ValueError: They do not follow what is there. Nothing was taken.
        """
        take = partial(self._ingest.take, node=node, stream=stream, commit=commit)
        for deleted in await self._write(take):
            self._delete_later(deleted)

    async def applied(self, node: str, stream: str, heard: Sequence[str] = ()) -> Mapping[str, int]:
        """Return what may be acknowledged: never a phase record that the queue has not applied."""
        newest = dict(
            await self._rows(f"{_CURSORS} ORDER BY id DESC LIMIT ?", node, stream, MAX_ACK_EPOCHS)
        )
        older = [epoch for epoch in heard if epoch not in newest]
        marks = ", ".join("?" * len(older))
        cursors = dict(
            await self._rows(f"{_CURSORS} AND epoch IN ({marks}) ORDER BY id", node, stream, *older)
            if older
            else ()
        )
        cursors.update(reversed(newest.items()))
        if stream == "records":
            for epoch, first in await self._rows(
                "SELECT e.epoch, min(p.n) FROM phases p JOIN epochs e ON e.id = p.epoch"
                " JOIN nodes n ON n.id = e.node WHERE p.seq > ? AND n.name = ? GROUP BY e.id",
                self._applied,
                node,
            ):
                if epoch in cursors:
                    cursors[epoch] = first - 1
        return cursors

    async def set_applied(self, seq: int) -> None:
        """Say up to which phase record the queue is durable; 0 until it is said."""
        self._applied = seq

    async def phase_records(self, after: int, limit: int = 500) -> list[PhaseEntry]:
        """Return phase records in the order in which they were committed."""
        rows = await self._rows(
            "SELECT p.seq, n.name, e.epoch, p.n, p.body FROM phases p"
            " JOIN epochs e ON e.id = p.epoch JOIN nodes n ON n.id = e.node"
            " WHERE p.seq > ? ORDER BY p.seq LIMIT ?",
            after,
            limit,
        )
        return [
            PhaseEntry(seq, node, epoch, n, PhaseRecord.model_validate_json(body))
            for seq, node, epoch, n, body in rows
        ]

    async def last_phase(self) -> int:
        """Return the `seq` of the newest phase record; lower than before after a restore."""
        rows = await self._rows("SELECT ifnull(max(seq), 0) FROM phases")
        return int(rows[0][0])

    async def files_committed(self, node: str, epoch: str, n: int) -> bool:
        """Return whether the files stream is here up to a number of an epoch."""
        rows = await self._rows(f"{_CURSORS} AND epoch = ?", node, "files", epoch)
        return bool(rows) and rows[0][1] >= n

    async def get_script(self, sha256: str) -> str | None:
        """Return a script."""
        rows = await self._rows("SELECT script FROM scripts WHERE sha256 = ?", sha256)
        return rows[0][0] if rows else None

    def record(self, audit: Audit, script: tuple[str, str] | None = None) -> Future[None]:
        """Note who did what, and what came of it; durable when the future is done.

        Args:
            audit: What to note.
            script: Hash and text of a script to be kept with it.
        """
        row = audits.row_of(audit)

        def put(transaction: Transaction) -> None:
            if script is not None:
                transaction.connection.execute(
                    "INSERT OR IGNORE INTO scripts VALUES (?, ?)", script
                )
            audits.put(transaction.connection, row)

        return self._writer.submit(put)

    async def audited(self, experiment_id: str) -> list[Audit]:
        """Return what was done to an experiment, the oldest first."""
        return await self._reader.run(partial(audits.of_experiment, experiment_id=experiment_id))

    async def audit_page(
        self,
        *,
        experiment_id: str | None,
        before: int | None,
        limit: int,
        hidden: Collection[str] = (),
        verb: str | None = None,
        who: str | None = None,
    ) -> list[AuditRow]:
        """Return a page of what was done, newest first; see `audits.page`."""
        return await self._reader.run(
            partial(
                audits.page,
                experiment_id=experiment_id,
                before=before,
                limit=limit,
                hidden=hidden,
                verb=verb,
                who=who,
            )
        )

    async def finish(self, experiment: Experiment, at: datetime | None = None) -> None:
        """Keep a finished experiment; said again, the later word counts, and the earlier time.

        Args:
            experiment: As it ended.
            at: When that is, by the hub's clock; absent: now.
        """
        archived_at = at or utc_now()

        def put(transaction: Transaction) -> None:
            if finished.put(transaction.connection, experiment, archived_at):
                outbox.put_end(transaction.connection, experiment)

        await self._write(put)

    async def revise(
        self,
        experiment_id: str,
        change: Callable[[Experiment], Experiment],
        noted: Audit | None = None,
    ) -> Kept | None:
        """Change a finished experiment; None if there is none.

        Args:
            experiment_id: Which one.
            change: Returns it changed, or as it is; called where nothing else changes it.
            noted: Kept with a change.

        Raises:
            ContractError: What `change` raised. Nothing was changed.
        """
        row = None if noted is None else audits.row_of(noted)

        def put(transaction: Transaction) -> Kept | None:
            connection = transaction.connection
            known = finished.get(connection, experiment_id)
            if known is None:
                return None
            changed = change(known.experiment)
            if changed != known.experiment:
                finished.put(connection, changed, known.archived_at)
                if row is not None:
                    audits.put(connection, row)
            return Kept(changed, known.archived_at)

        return await self._write(put)

    async def is_over(self, experiment_id: str) -> bool:
        """Whether an experiment is finished, be it deleted since and still to be restored."""
        rows = await self._rows(
            "SELECT 1 FROM finished WHERE experiment_id = ?1"
            " UNION ALL SELECT 1 FROM trash WHERE experiment_id = ?1",
            experiment_id,
        )
        return bool(rows)

    async def names(self, ids: Sequence[str]) -> dict[str, str]:
        """Return what finished experiments are called, those that are there."""
        return await self._reader.run(partial(finished.names, ids=ids))

    async def finished(self, experiment_id: str) -> Experiment | None:
        """Return a finished experiment."""
        kept = await self._reader.run(partial(finished.get, experiment_id=experiment_id))
        return None if kept is None else kept.experiment

    async def taken(self, experiment_id: str | None = None) -> list[Taken]:
        """Return how long a finished run took, or the newest ones; see `durations.taken`."""
        return await self._reader.run(partial(taken, experiment_id=experiment_id))

    async def page(self, wanted: Wanted) -> tuple[list[Experiment], int]:
        """Return a page of finished experiments, and how many there are in all."""
        return await self._reader.run(partial(finished.page, wanted=wanted))

    async def newest(self, limit: int, before: str | None = None) -> list[Kept]:
        """Return finished experiments with when they came here, those created last first."""
        return await self._reader.run(partial(finished.newest, before=before, limit=limit))

    async def people(self, after: str, limit: int) -> list[Person]:
        """Return users with finished experiments, in the order of their ids."""
        return await self._reader.run(partial(people.people, after=after, limit=limit))

    async def count(self) -> int:
        """Return how many finished experiments there are."""
        rows = await self._rows("SELECT ifnull(sum(n), 0) FROM tally")
        return int(rows[0][0])

    async def file_bytes(self) -> int:
        """Return the bytes of all result files, each content once."""
        return await self._reader.run(people.file_bytes)

    async def delete(self, experiment_id: str, noted: Audit) -> bool:
        """Delete a finished experiment and all it recorded; False if there is none.

        The audit stays, and says who deleted it exactly if it is deleted. A crash or a full disk
        leaves it out of all lists; `keep_deleting` does the rest.
        """
        row = audits.row_of(noted)

        def forget(transaction: Transaction) -> bool:
            if not forget_experiment(transaction, experiment_id):
                return False
            audits.put(transaction.connection, row)
            return True

        if not await self._write(forget):
            return False
        await self._delete_now_or_later(experiment_id)
        return True

    async def purge(self, experiment_id: str) -> None:
        """Remove a deleted experiment and all it recorded for good; unknown ones are ignored."""
        if await self.trash.purge(experiment_id):
            await self._delete_now_or_later(experiment_id)

    async def keep_deleting(self) -> None:
        """Go on with deletions that a crash or a full disk cut short, until cancelled."""
        while True:
            await self.finish_deletions()
            self._cut_short.clear()
            await self._cut_short.wait()

    async def finish_deletions(self) -> None:
        """Go on with deletions that were cut short; while the disk is full they wait."""
        while self._unfinished:
            try:
                await self._delete(self._unfinished[0])
            except ContractError as error:
                _log.error("a deletion waits: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                del self._unfinished[0]

    async def history(self, request: History, eyes: Eyes | None = None) -> HistoryOf:
        """Return curves: an experiment's latest attempt, or what a node measured.

        Args:
            request: What is asked for.
            eyes: Who looks, where not everybody may see every experiment.
        """
        return await self._reader.run(partial(history, request=request, eyes=eyes))

    async def logs(
        self,
        experiment_id: str,
        after: int | None,
        limit: int,
        *,
        search: str = "",
        sources: Collection[LogSource] = (),
    ) -> LogPage:
        """Return log lines of the latest attempt: those after a number, or the last ones."""
        return await self._reader.run(
            partial(
                logs,
                experiment_id=experiment_id,
                after=after,
                limit=limit,
                wanted=WantedLines(search, tuple(sources)),
            )
        )

    async def milestones(self, experiment_id: str) -> tuple[Milestone, ...]:
        """Return what happened rarely in an experiment's life, in order."""
        return await self._reader.run(partial(milestones, experiment_id=experiment_id))

    async def gaps(self, *, experiment_id: str | None = None, node: str | None = None) -> list[Gap]:
        """Return the gaps next to what an experiment recorded, or all of a node."""

        def find(connection: sqlite3.Connection) -> list[Gap]:
            if experiment_id is None:
                return gaps_of_node(connection, node or "")
            return gaps_of_runs(connection, [r.id for r in runs_of(connection, experiment_id)])

        return await self._reader.run(find)

    async def runs(self, experiment_id: str) -> list[Run]:
        """Return what there is of an experiment, the first attempt first."""
        return await self._reader.run(partial(runs_of, experiment_id=experiment_id))

    async def results(self, experiment_id: str) -> list[StoredFile]:
        """Return the result files of the latest attempt."""
        return await self._reader.run(
            partial(result_files, blobs=self.blobs, experiment_id=experiment_id)
        )

    async def _delete_now_or_later(self, experiment_id: str) -> None:
        """Delete what the order to delete, which is durable, leaves of an experiment."""
        try:
            await self._delete(experiment_id)
        except ContractError as error:
            _log.error("a deletion waits: %s", error)
            self._delete_later(experiment_id)

    def _delete_later(self, experiment_id: str) -> None:
        if experiment_id not in self._unfinished[1:]:  # the first may be done with in a moment
            self._unfinished.append(experiment_id)
        self._cut_short.set()

    async def _delete(self, experiment_id: str) -> None:
        await self._write(lambda _: self._ingest.forget())  # what comes from now on is too late
        piece = partial(delete_piece, blobs=self.blobs, experiment_id=experiment_id)
        while await self._write(piece):
            pass

    async def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return await self._reader.run(lambda c: c.execute(query, values).fetchall())

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        return await self._writer.run(work)


def _explain(error: Exception) -> Exception:
    """Return what is told of a failed write."""
    if not is_full(error):
        return error
    told = ContractError(
        ErrorCode.STORAGE_FULL,
        "the hub's disk is full, nothing more can be recorded",
        "free disk space on the hub's machine; the nodes keep their data until then",
    )
    told.__cause__ = error
    return told


_CURSORS: Final = (
    "SELECT epoch, upto FROM epochs"
    " WHERE node = (SELECT id FROM nodes WHERE name = ?) AND stream = ?"
)

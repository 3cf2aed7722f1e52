"""The node's journal on its disk: what must not be lost is here before it is sent."""

import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Self

from ulid import ULID

from broker.database import (
    Reader,
    Transaction,
    Writer,
    claim_directory,
    is_full,
    open_database,
)
from broker.journal import tables
from broker.journal.reception import acknowledged
from broker.journal.reserve import Reserve
from broker.journal.shelves import ENTRY_OVERHEAD, Shelf, backlog
from broker.journal.tables import Stream
from broker.journal.window import Span, Want
from broker.messages import (
    MAX_BATCH_BYTES,
    ContractError,
    ErrorCode,
    JournalAck,
    Payload,
    PhaseRecord,
    StreamBacklog,
    utc_now,
)
from broker.topics import STREAMS

BUDGET: Final = 2 * 1024**3
ALARM_FILL: Final = 0.8
"""From here on people should be told."""
NO_NEW_RUN_FILL: Final = 0.9
"""From here on no experiment should be started."""
KEEP_ACKNOWLEDGED: Final = timedelta(days=7)
SPARE_SHARE: Final = 0.7
"""Acknowledged entries stay only while all entries together take less than this of the budget."""
MAX_ENTRY_BYTES: Final = MAX_BATCH_BYTES - 256
"""The largest entry, encoded: a batch holds it and its own head."""
_DROP_AT_ONCE: Final = 2000
_HEADROOM: Final = 24 * 1024**2
"""What the disk must have beside the entries: the write-ahead log and the reserve."""

_log = logging.getLogger(__name__)


def _free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free


class Journal:
    """Ordered entries in two streams, durable before they are sent, kept until acknowledged.

    Each opening begins a new epoch, in which the entries of a stream count from 1. One process owns
    the directory. Use on one event loop.

    Attributes:
        epoch: Of this opening, a ULID.
        order: Grows with each opening.
    """

    def __init__(
        self,
        directory: Path,
        connection: sqlite3.Connection,
        lock: int,
        *,
        epoch: str,
        budget_bytes: int,
        now: Callable[[], datetime],
        free_bytes: Callable[[], int],
    ) -> None:
        self.epoch = epoch
        self._path = directory / "journal.sqlite"
        self._lock_file = lock
        self._budget = budget_bytes
        self._now = now
        self._free = free_bytes
        self._reserve = Reserve(directory / "reserve", self._free)
        try:
            self.order = tables.begin_epoch(connection, epoch)
        except sqlite3.Error as error:
            if not (is_full(error) and self._reserve.release()):
                raise
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self.order = tables.begin_epoch(connection, epoch)
        self._shelves = {stream: tables.load_shelves(connection, stream) for stream in STREAMS}
        self._lock = threading.Lock()  # of the shelves: the writer's thread and the loop use them
        self._tails: dict[str, tuple[int, int]] = {}  # (last, size) within the open transaction
        self._listeners: list[Callable[[], None]] = []
        self._writer = Writer(connection, name="journal", on_rollback=self._tails.clear)
        self._reader = Reader(self._path, name="journal-read")
        self._reserve.refill()

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        budget_bytes: int = BUDGET,
        now: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = lambda: str(ULID()),
        free_bytes: Callable[[Path], int] = _free_bytes,
    ) -> Self:
        """Open the journal, or make it, and begin a new epoch. Blocks.

        Args:
            directory: Of the journal alone; made if missing.
            budget_bytes: What unacknowledged entries may take on the disk, about.
            now: The wall clock.
            new_id: Makes a ULID.
            free_bytes: What the disk has left; where that is less than the budget, it counts.

        Raises:
            DatabaseError: Another process has it open, or it is damaged or of a newer version.
        """
        lock = claim_directory(directory)
        try:
            connection = open_database(
                directory / "journal.sqlite",
                tables.MIGRATIONS,
                tables.APPLICATION_ID,
                backup_needed=False,  # the reactor comes first
            )
            try:
                return cls(
                    directory,
                    connection,
                    lock,
                    epoch=new_id(),
                    budget_bytes=budget_bytes,
                    now=now,
                    free_bytes=partial(free_bytes, directory),
                )
            except BaseException:
                connection.close()
                raise
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Finish what waits and give the directory free. Blocks."""
        saved = self._writer.submit(self._save_acknowledged)
        self._reader.close()  # the last to close puts the write-ahead log into the database
        self._writer.close()
        if (error := saved.exception()) is not None:
            _log.warning("the hub will be asked again what it has: %s", error)
        os.close(self._lock_file)

    async def append(self, stream: Stream, entries: Sequence[Payload]) -> tuple[str, int]:
        """Append entries; they are durable when this returns. Concurrent calls share one fsync.

        Phase records are never refused for want of budget, and room is held back for them where
        the disk itself is full. When cancelled, the entries may or may not have been appended.

        Returns:
            The epoch, and the number of the last entry in it.

        Raises:
            ContractError: STORAGE_FULL: the budget is spent or the disk is full. TOO_LARGE: an
                entry does not fit into a batch. Nothing was appended.
            sqlite3.Error: The disk failed otherwise. Nothing was appended.
        """
        if not entries:
            raise ValueError("nothing to append")
        bodies = [entry.encode() for entry in entries]
        size = sum(len(body) + ENTRY_OVERHEAD for body in bodies)
        if max(len(body) for body in bodies) > MAX_ENTRY_BYTES:
            raise ContractError(
                ErrorCode.TOO_LARGE,
                f"an entry of the journal has {max(len(body) for body in bodies)} bytes, at most "
                f"{MAX_ENTRY_BYTES} are allowed",
                "split it into several",
                limit=MAX_ENTRY_BYTES,
            )
        essential = any(isinstance(entry, PhaseRecord) for entry in entries)
        if self._excess(size) > 0:
            await self.prune(size)

        work = partial(self._append, stream=stream, bodies=bodies, size=size, essential=essential)
        try:
            try:
                last = await self._writer.run(work)
            except sqlite3.Error as error:
                if not (is_full(error) and essential and self._reserve.release()):
                    raise
                last = await self._writer.run(work)
        except sqlite3.Error as error:
            if is_full(error):
                raise _full("the disk is full") from error
            raise
        finally:
            for listener in self._listeners:
                listener()
        return self.epoch, last

    def fill(self) -> float:
        """Return how much of the budget is spent on what the hub has not acknowledged: 0 to 1."""
        capacity = self._capacity()
        return min(1.0, self._unsent() / capacity) if capacity > 0 else 1.0

    def backlog(self) -> Mapping[str, StreamBacklog]:
        """Return what of each stream the hub has not acknowledged."""
        with self._lock:
            return {stream: backlog(shelves) for stream, shelves in self._shelves.items()}

    def on_append(self, listener: Callable[[], None]) -> None:
        """Have something called on the event loop after entries were appended."""
        self._listeners.append(listener)

    def pending(self, stream: Stream) -> list[Span]:
        """Return the epochs that the hub has not acknowledged to their end, the oldest first."""
        with self._lock:
            return [s.span for s in self._shelves[stream] if s.acked < s.last]

    def floor(self, stream: Stream, order: int) -> int:
        """Return the number of an epoch's oldest entry that is still there.

        One above the newest if none is, 1 of an epoch that is not known.
        """
        with self._lock:
            return next((s.floor for s in self._shelves[stream] if s.order == order), 1)

    async def read(self, stream: Stream, want: Want) -> list[bytes]:
        """Return encoded entries from ``want.first`` on, as many as one batch holds."""
        if want.first > want.last:
            return []
        read = partial(
            tables.read,
            stream=stream,
            order=want.order,
            first=want.first,
            last=want.last,
            limit=MAX_ENTRY_BYTES + 1,
        )
        return await self._reader.run(read)

    async def newest(self, stream: Stream) -> bytes | None:
        """Return the encoded entry that was appended last, in whatever epoch; None if none is."""
        for shelf in reversed(self._shelves[stream]):
            span = shelf.span
            if span.last < span.floor:
                continue
            found = await self.read(
                stream, Want(span.epoch, span.order, span.floor, span.last, span.last)
            )
            if found:
                return found[0]
        return None

    async def acknowledge(self, stream: Stream, ack: JournalAck) -> bool:
        """Note what the hub says that it has; less than before means that it must get it again.

        Kept in memory and written with the next append: should that be lost, the hub's retained
        word comes again.

        Returns:
            Whether this was news.
        """
        news = False
        told = acknowledged(ack, [shelf.epoch for shelf in self._shelves[stream]])
        for shelf in self._shelves[stream]:
            upto = min(told.get(shelf.epoch, shelf.acked), shelf.last)
            if upto == shelf.acked:
                continue
            measure = partial(tables.measure, stream=stream, shelf=shelf, upto=upto)
            measured = await self._reader.run(measure)
            with self._lock:
                shelf.acknowledge(*measured)
            news = True
        return news

    async def prune(self, incoming: int = 0) -> None:
        """Drop acknowledged entries that are older than 7 days, or whose room is needed.

        They stay where the disk has not even the room that it takes to drop them.

        Args:
            incoming: Room that is needed in addition, in bytes.
        """
        try:
            await self._drop_spare(incoming)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            _log.debug("nothing can be dropped: %s", error)
        self._reserve.refill()

    async def _drop_spare(self, incoming: int) -> None:
        old = self._micros(self._now() - KEEP_ACKNOWLEDGED)
        for stream in reversed(STREAMS):  # bulk goes first
            for shelf in self._shelves[stream]:
                drop = partial(self._drop, stream=stream, shelf=shelf, old=old, incoming=incoming)
                while shelf.spare and await self._writer.run(drop):
                    pass

    def _append(
        self,
        transaction: Transaction,
        stream: str,
        bodies: Sequence[bytes],
        size: int,
        essential: bool,
    ) -> int:
        shelf = self._shelves[stream][-1]
        last, before = self._tails.get(stream, (shelf.last, shelf.size))
        waiting = sum(tail - self._shelves[s][-1].size for s, (_, tail) in self._tails.items())
        if not essential and self._unsent() + waiting + size > self._capacity():
            raise _full("the journal's budget is spent on what the hub has not fetched yet")
        at = self._micros(self._now())
        self._save_acknowledged(transaction)
        tables.insert(
            transaction.connection,
            stream,
            first_id=tables.row_id(self.order, last + 1),
            size=before,
            at=at,
            bodies=bodies,
        )
        self._tails[stream] = (last + len(bodies), before + size)

        def publish() -> None:
            self._tails.clear()
            with self._lock:
                shelf.append(len(bodies), size, at)

        transaction.after_commit(publish)
        return last + len(bodies)

    def _save_acknowledged(self, transaction: Transaction) -> None:
        for stream, shelves in self._shelves.items():
            for shelf in shelves:
                acked = shelf.acked
                if acked == shelf.saved_acked:
                    continue
                tables.save_acknowledged(transaction.connection, stream, shelf.order, acked)
                transaction.after_commit(partial(setattr, shelf, "saved_acked", acked))

    def _drop(
        self, transaction: Transaction, stream: str, shelf: Shelf, old: int, incoming: int
    ) -> bool:
        connection = transaction.connection
        excess = self._excess(incoming)
        found = tables.find_droppable(
            connection, stream, shelf, before=old, size=excess, limit=_DROP_AT_ONCE
        )
        if found is None:
            return False
        below, size = found
        acked = shelf.acked
        tables.drop(connection, stream, shelf, below=below, size=size, acked=acked)

        def publish() -> None:
            with self._lock:
                shelf.drop(below, size)
                shelf.saved_acked = acked

        transaction.after_commit(publish)
        return True

    def _unsent(self) -> int:
        with self._lock:
            return sum(s.unsent for shelves in self._shelves.values() for s in shelves)

    def _excess(self, incoming: int) -> int:
        """Return by how many bytes the entries exceed what they may take with spare ones."""
        with self._lock:
            kept = sum(s.kept for shelves in self._shelves.values() for s in shelves)
        return max(0, kept + incoming - int(SPARE_SHARE * self._capacity()))

    def _capacity(self) -> int:
        """Return the budget, or what the disk allows if that is less."""
        return min(self._budget, self._path.stat().st_size + self._free() - _HEADROOM)

    @staticmethod
    def _micros(time: datetime) -> int:
        return round(time.timestamp() * 1e6)


def _full(why: str) -> ContractError:
    return ContractError(
        ErrorCode.STORAGE_FULL,
        f"nothing more can be recorded on this node: {why}",
        "make the hub reachable, or free disk space on the node",
    )

"""The durable queue: TinyDB, one snapshot, nothing told before it is on the disk."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Self

from tinydb.table import Document

from broker.messages import ContractError, ErrorCode, utc_now
from hub_service import snapshot
from hub_service.answers import Answers
from hub_service.changes import Change, New, decide_all, wait_for
from hub_service.queue import Decision, Event, QueueState
from hub_service.snapshot import Remembered, SnapshotError
from hub_service.storage import (
    Database,
    SnapshotFile,
    SnapshotStorage,
    StoreError,
    lock,
    nothing,
)

log = logging.getLogger(__name__)

MAX_GROUP: Final = 64
"""Changes that share one write at most, so that the first ones never wait long."""

FILE: Final = "queue.json"


def _ignored(_: float) -> None:
    """Take no notice."""


class QueueStore:
    """The queue as the disk has it.

    One snapshot holds experiments, order, nodes' revisions, answers by request id, and the
    position up to which the archive's phase records are applied; a change is all of it or nothing.
    `state` is always what is durable, but for what is known of nodes in this life of the hub.

    Made by `open`. One process owns the directory.
    """

    def __init__(
        self,
        storage: SnapshotStorage,
        held: snapshot.Contents,
        lock_number: int,
        count: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._database = Database(storage=lambda: storage)
        self._lock_number = lock_number
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="queue")
        self._waiting: list[list[Change]] = []
        self._writing: asyncio.Future[None] | None = None
        self._state = held.state
        self._cursor = held.cursor
        self._count = count
        self._answers = Answers(held.answers, count())
        self._unusable: StoreError | None = None
        self.on_written: Callable[[float], object] = _ignored
        self.is_new = held.state.revision == 0 and held.state.generation == 1

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        new_id: Callable[[], str],
        before: Callable[[str], None] = nothing,
        now: Callable[[], datetime] = utc_now,
        count: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Open or make the store; blocks for the disk.

        The store's generation has grown, durably, when it returns.

        Args:
            directory: Made if it is missing; nobody else may read it.
            new_id: Makes a ULID, the identity of a new store.
            before: See `SnapshotFile`.
            now: The wall clock, for the name of a copy that is kept of an older version.
            count: Seconds that only grow, for how long answers are remembered.

        Raises:
            StoreError: Another hub uses it, or the file is torn, empty or foreign. Nothing was
                changed then; a queue that cannot be read is never replaced by an empty one.
            OSError: The directory cannot be written.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = lock(directory / "hub.lock")
        try:
            file = SnapshotFile(directory / FILE, before)
            storage = SnapshotStorage(file)
            held = _read(storage, file)
            file.clean()
            if held is None:
                held = snapshot.Contents(QueueState(new_id(), 0), 0, {})
            elif held.version != snapshot.SCHEMA:
                kept = file.keep_as(f"schema-{held.version}.{now():%Y%m%dT%H%M%SZ}")
                log.info("the queue is brought to schema %d; %s has it as it was",
                         snapshot.SCHEMA, kept)  # fmt: skip
            begun = replace(held.state, generation=held.state.generation + 1, listening=True)
            store = cls(storage, replace(held, state=begun), number, count)
            store._stage(held.state, begun, held.cursor, {}, ())
            storage.prepare(storage.content())
            storage.publish()
        except BaseException:
            os.close(number)
            raise
        return store

    @property
    def state(self) -> QueueState:
        """The durable state."""
        return self._state

    @property
    def cursor(self) -> int:
        """Up to where the archive's phase records are applied, durably."""
        return self._cursor

    def answer(self, key: str) -> Remembered | None:
        """Return what was answered to a request, by principal, user and id."""
        return self._answers.get(key)

    async def apply(
        self,
        *events: Event,
        now: datetime,
        cursor: int | None = None,
        first: Callable[[Decision], Future[None]] | None = None,
        remember: Callable[[Decision], tuple[str, Remembered] | None] | None = None,
    ) -> Decision:
        """Let events happen and make what follows durable; durable when it returns.

        Calls are decided one after another; those that wait while the disk is busy share the next
        write. One that is cancelled is completed all the same: the disk and `state` never differ.

        Args:
            events: Decided one after another; one change on the disk.
            now: By the hub's clock, in UTC.
            cursor: Up to where phase records are applied with these events.
            first: Begins what must be done before the change counts, for example its audit; done
                with its future. Begun once more if the write failed for what shared it.
            remember: Returns key and answer to keep in the same snapshot; called before `first`.

        Returns:
            The state after these events and the effects of all of them.

        Raises:
            ContractError: STORAGE_FULL, the disk did not take it; nothing has happened.
            StoreError: The disk took it and does not say whether for good, or cannot be read any
                more: whether it has happened is unknown, and the store is of no use until it is
                opened again.
        """
        done: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting.append([Change(events, now, cursor, first, remember, done)])
        self._go_on()
        return await done

    async def close(self) -> None:
        """Wait for what is being written and let the directory go."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
            await asyncio.sleep(0)  # what is done with it may begin the next
        self._thread.shutdown()
        self._database.close()
        self._storage.close()
        if self._lock_number >= 0:
            os.close(self._lock_number)
            self._lock_number = -1

    def _go_on(self) -> None:
        """Decide what waits, and have the disk take it, unless it is busy."""
        while self._waiting and self._writing is None:
            group = self._waiting.pop(0)
            while self._waiting and len(group) + len(self._waiting[0]) <= MAX_GROUP:
                if group[-1].alone or self._waiting[0][0].alone:
                    break
                group += self._waiting.pop(0)
            try:
                self._begin(group)
            except Exception as error:  # noqa: BLE001  whoever waits for the change gets it
                self._failed(group, error)

    def _begin(self, group: list[Change]) -> None:
        if self._unusable is not None:
            raise self._unusable
        new = New(self._state, self._cursor, {})
        decisions: list[Decision] = []
        for change in group:
            decision = decide_all(new.state, change.events, change.now)
            kept = None if change.remember is None else change.remember(decision)
            if kept is not None:
                new.added[kept[0]] = kept[1]
            new.state = decision.state
            new.cursor = new.cursor if change.cursor is None else change.cursor
            decisions.append(decision)
        written = bool(new.added) or (new.state.durable, new.cursor) != (
            self._state.durable,
            self._cursor,
        )
        if written:
            new.dropped = self._answers.outdated(new.added, self._count())
        before = [
            change.first(decision)
            for change, decision in zip(group, decisions, strict=True)
            if change.first is not None
        ]
        if not written and not before:
            self._succeeded(group, decisions, new)
            return
        work = self._write if written else wait_for
        loop = asyncio.get_running_loop()
        writing: asyncio.Future[None] = loop.create_future()
        ended = partial(self._ended, group, decisions, new)
        self._thread.submit(work, before, new).add_done_callback(
            lambda written: loop.call_soon_threadsafe(ended, writing, written)
        )
        self._writing = writing

    def _ended(
        self,
        group: list[Change],
        decisions: list[Decision],
        new: New,
        writing: "asyncio.Future[None]",
        written: Future[None],
    ) -> None:
        self._writing = None
        writing.set_result(None)
        error = asyncio.CancelledError() if written.cancelled() else written.exception()
        if error is None:
            self._succeeded(group, decisions, new)
        else:
            self._failed(group, self._after(error))
        self._go_on()

    def _succeeded(self, group: list[Change], decisions: list[Decision], new: New) -> None:
        self._state, self._cursor = new.state, new.cursor
        self._answers.change(new.added, new.dropped, self._count())
        for change, decision in zip(group, decisions, strict=True):
            if not change.done.done():
                change.done.set_result(decision)

    def _failed(self, group: list[Change], error: BaseException) -> None:
        """Tell who waits; where there are several, try each by itself: one may be to blame."""
        if len(group) > 1 and isinstance(error, Exception):
            self._waiting[:0] = [[replace(change, alone=True)] for change in group]
            return
        for change in group:
            if change.done.done():
                log.error("a change that nobody waited for any more failed: %s", error)
            elif isinstance(error, asyncio.CancelledError):
                change.done.cancel()
            else:
                change.done.set_exception(error)

    def _after(self, error: BaseException) -> BaseException:
        """Make the memory what the disk is, and return what is told of a failed write."""
        if isinstance(error, StoreError):
            self._unusable = error
            return error
        if isinstance(error, Exception):
            try:
                held = snapshot.contents(self._storage.read() or {})
            except SnapshotError as foreign:
                self._unusable = StoreError(f"the queue's file was changed by another: {foreign}")
                return self._unusable
            self._state = snapshot.with_live(held.state, self._state)
            self._cursor = held.cursor
            self._answers = Answers(held.answers, self._count())
        if not isinstance(error, OSError):
            return error
        told = ContractError(
            ErrorCode.STORAGE_FULL,
            f"the hub could not store the change ({error.strerror}); nothing has happened",
            "free space on the hub's disk, then ask again",
        )
        told.__cause__ = error
        return told

    def _write(self, before: Sequence[Future[None]], new: New) -> None:
        """Have the new snapshot on the disk, on the store's thread; `_state` stays meanwhile.

        It counts only once what comes before it is done. Both wait for the disk, so they wait
        together.

        Raises:
            OSError: The disk did not take it; the storage's cache is what the disk has.
            StoreError: The disk cannot be read either, or has it and may lose it. Nothing is
                written from here on, lest what was refused be written with the next change.
        """
        began = time.perf_counter()
        try:
            try:
                self._stage(self._state, new.state, new.cursor, new.added, new.dropped)
                self._storage.prepare(self._storage.content())
            finally:
                wait_for(before, new)
            self._storage.publish()
            self.on_written(time.perf_counter() - began)
        except Exception:
            self._storage.reload()  # TinyDB changes its cache before the write
            raise

    def _stage(
        self,
        old: QueueState,
        new: QueueState,
        cursor: int,
        added: Mapping[str, Remembered],
        dropped: Iterable[str],
    ) -> None:
        """Bring the documents up to date; only those that changed are touched."""
        self._put("about", {"queue": snapshot.about(new, cursor)})
        self._put(
            "experiments",
            {i: snapshot.entry(e) for i, e in new.entries.items() if old.entries.get(i) is not e},
            gone=[i for i in old.entries if i not in new.entries],
        )
        self._put(
            "nodes",
            {
                name: snapshot.node(n)
                for name, n in new.nodes.items()
                if n.kept != old.node(name).kept
            },
        )
        self._put(
            "answers",
            {key: snapshot.remembered(value) for key, value in added.items()},
            gone=dropped,
        )

    def _put(
        self, table: str, documents: Mapping[str, snapshot.Document], gone: Iterable[str] = ()
    ) -> None:
        name = self._database.table(table)
        for key, document in documents.items():
            name.upsert(Document(document, doc_id=key))  # type: ignore[arg-type]  # our ids are text
        ids = list(gone)
        if ids:
            name.remove(doc_ids=ids)  # type: ignore[arg-type]


def _read(storage: SnapshotStorage, file: SnapshotFile) -> snapshot.Contents | None:
    """Return what the disk has, in the present form; None where there never was a queue.

    Raises:
        StoreError: It is no queue, or one of a newer version.
    """
    tables = storage.read()
    if tables is None:
        return None
    try:
        now, version = snapshot.upgraded(tables)
        held = snapshot.contents(tables)
    except SnapshotError as error:
        raise file.damaged(str(error)) from error
    if version != snapshot.SCHEMA:
        storage.write({name: dict(documents) for name, documents in now.items()})
    return held

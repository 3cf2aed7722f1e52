"""The durable queue: TinyDB, one snapshot, nothing told before it is on the disk."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from tinydb.table import Document

from broker.messages import ContractError, ErrorCode
from hub_service import snapshot
from hub_service.queue import Decision, Effect, Event, QueueState, decide
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

REMEMBERED_FOR: Final = timedelta(days=1)
MAX_ANSWERS: Final = 2000
"""How many answers are remembered in all; the oldest go first."""
MAX_ANSWERS_PER_USER: Final = 300
"""Of one user, so that nobody can make the hub forget what it answered others."""

FILE: Final = "queue.json"


class QueueStore:
    """The queue as the disk has it.

    One snapshot holds experiments, order, nodes' revisions, answers by request id, and the
    position up to which the archive's phase records are applied; a change is all of it or nothing.
    `state` is always what is durable, but for what is known of nodes in this life of the hub.

    Made by `open`. One process owns the directory.
    """

    def __init__(self, storage: SnapshotStorage, held: snapshot.Contents, lock_number: int) -> None:
        self._storage = storage
        self._database = Database(storage=lambda: storage)
        self._lock_number = lock_number
        self._turn = asyncio.Lock()
        self._state = held.state
        self._cursor = held.cursor
        self._answers = dict(held.answers)
        self._unusable: StoreError | None = None
        self.is_new = held.state.revision == 0 and held.state.generation == 1

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        new_id: Callable[[], str],
        before: Callable[[str], None] = nothing,
    ) -> Self:
        """Open or make the store; blocks for the disk.

        The store's generation has grown, durably, when it returns.

        Args:
            directory: Made if it is missing; nobody else may read it.
            new_id: Makes a ULID, the identity of a new store.
            before: See `SnapshotFile`.

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
            tables = storage.read()
            try:
                held = (
                    snapshot.Contents(QueueState(new_id(), 0), 0, {})
                    if tables is None
                    else snapshot.contents(tables)
                )
            except SnapshotError as error:
                raise file.damaged(str(error)) from error
            file.clean()
            begun = replace(held.state, generation=held.state.generation + 1)
            store = cls(storage, snapshot.Contents(begun, held.cursor, held.answers), number)
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
        first: Callable[[Decision], Awaitable[None]] | None = None,
        remember: Callable[[Decision], tuple[str, Remembered] | None] | None = None,
    ) -> Decision:
        """Let events happen and make what follows durable; durable when it returns.

        Calls are served one after another. One that is cancelled while it writes is completed all
        the same: the disk and `state` never differ.

        Args:
            events: Decided one after another; one change on the disk.
            now: By the hub's clock, in UTC.
            cursor: Up to where phase records are applied with these events.
            first: Awaited with the decision before it is made durable, for example to audit it.
            remember: Returns key and answer to keep in the same snapshot; called before `first`.

        Returns:
            The last state and the effects of all events.

        Raises:
            ContractError: STORAGE_FULL, the disk did not take it; nothing has happened.
            StoreError: The disk did not take it and cannot be read any more; the store is of no
                use until it is opened again.
        """
        work = asyncio.ensure_future(self._in_turn(events, now, cursor, first, remember))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(_log_failure)
            raise

    async def close(self) -> None:
        """Wait for what is being written and let the directory go."""
        async with self._turn:
            self._database.close()
            if self._lock_number >= 0:
                os.close(self._lock_number)
                self._lock_number = -1

    async def _in_turn(
        self,
        events: Sequence[Event],
        now: datetime,
        cursor: int | None,
        first: Callable[[Decision], Awaitable[None]] | None,
        remember: Callable[[Decision], tuple[str, Remembered] | None] | None,
    ) -> Decision:
        async with self._turn:
            if self._unusable is not None:
                raise self._unusable
            decision = _decide_all(self._state, events, now)
            kept = None if remember is None else remember(decision)
            position = self._cursor if cursor is None else cursor
            before = None if first is None else asyncio.ensure_future(first(decision))
            unchanged = decision.state.durable == self._state.durable
            if unchanged and kept is None and position == self._cursor:
                if before is not None:
                    await before
                self._state = decision.state
                return decision
            added = {} if kept is None else {kept[0]: kept[1]}
            await self._commit(decision.state, position, added, now, before)
            return decision

    async def _commit(
        self,
        state: QueueState,
        cursor: int,
        added: Mapping[str, Remembered],
        now: datetime,
        before: Awaitable[None] | None,
    ) -> None:
        dropped = list(_outdated(self._answers, added, now))
        try:
            await self._prepare(state, cursor, added, dropped, before)
            await asyncio.to_thread(self._storage.publish)
        except Exception as error:
            await self._return_to_disk()
            if not isinstance(error, OSError):
                raise
            raise ContractError(
                ErrorCode.STORAGE_FULL,
                f"the hub could not store the change ({error.strerror}); nothing has happened",
                "free space on the hub's disk, then ask again",
            ) from error
        self._state, self._cursor = state, cursor
        self._answers.update(added)
        for key in dropped:
            del self._answers[key]

    async def _prepare(
        self,
        state: QueueState,
        cursor: int,
        added: Mapping[str, Remembered],
        dropped: Sequence[str],
        before: Awaitable[None] | None,
    ) -> None:
        """Have the new snapshot on the disk, not counting yet, and what comes before it done.

        Both wait for the disk, so they wait together.
        """
        await asyncio.sleep(0)  # lets what comes before begin
        writing: list[Awaitable[None]] = [] if before is None else [before]
        try:
            self._stage(self._state, state, cursor, added, dropped)
            content = self._storage.content()
            writing.append(asyncio.to_thread(self._storage.prepare, content))
        finally:
            done = await asyncio.gather(*writing, return_exceptions=True)
        for error in done:
            if error is not None:
                raise error

    async def _return_to_disk(self) -> None:
        """Make the memory what the disk is: TinyDB changes its cache before the write.

        Raises:
            StoreError: The disk cannot be read either. Nothing is written from here on, lest what
                was refused be written with the next change.
        """
        try:
            await asyncio.to_thread(self._storage.reload)
        except StoreError as error:
            self._unusable = error
            raise
        held = snapshot.contents(self._storage.read() or {})
        self._state = snapshot.with_live(held.state, self._state)
        self._cursor = held.cursor
        self._answers = dict(held.answers)

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


def _decide_all(state: QueueState, events: Sequence[Event], now: datetime) -> Decision:
    effects: list[Effect] = []
    for event in events:
        decision = decide(state, event, now)
        state = decision.state
        effects += decision.effects
    return Decision(state, tuple(effects))


def _outdated(
    answers: Mapping[str, Remembered], added: Mapping[str, Remembered], now: datetime
) -> Iterable[str]:
    """Yield the keys to forget: older than a day, or the oldest where there are too many."""
    left = []
    for key, value in answers.items():
        if now - value.at > REMEMBERED_FOR:
            yield key
        else:
            left.append(key)
    for value in added.values():
        own = [key for key in left if answers[key].user == value.user]
        if len(own) >= MAX_ANSWERS_PER_USER:
            left.remove(own[0])
            yield own[0]
        elif len(left) >= MAX_ANSWERS:
            yield left.pop(0)


def _log_failure(work: "asyncio.Future[Decision]") -> None:
    error = None if work.cancelled() else work.exception()
    if error is not None:
        log.error("a change that nobody waited for any more failed: %s", error)

"""The node's memory: every attempt for good, what the hub last wanted, the emergency stop's latch.

SQLite with WAL and ``synchronous=FULL``: what a method wrote is on the disk when it returns, and
a kill or power cut leaves either the state before or the state after. All calls run on one thread
of the ledger's own; the small state that is asked for often is kept in memory beside it. While the
disk is full a write waits.

Steps of an attempt that the hub must learn are written twice: here, in the same transaction as
the new stage, into an outbox; and from there into the journal. A crash between the two makes the
step appear twice in the journal, never not at all; the hub takes a repeated step as one.
"""

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final, Self, TypeVar

from ulid import ULID

from broker.database import is_full
from broker.messages import (
    Assignment,
    ContractError,
    ErrorCode,
    Estop,
    LedgerEntry,
    PhaseRecord,
    utc_now,
)
from node_service.identity import LOCAL
from node_service.ledger_file import RUN_COLUMNS, connect, read_run
from node_service.runs import (
    ClockAnchor,
    Ending,
    LogPosition,
    PackedFile,
    Recorded,
    Run,
    RunKey,
    Stage,
)

T = TypeVar("T")

RETRY_SECONDS: Final = 2.0
NO_ROOM: Final = "engaged before this start, when the disk had no room to say by whom and why"

logger = logging.getLogger(__name__)


class Ledger:
    """Open with `Ledger.open`; close when done."""

    def __init__(
        self, connection: sqlite3.Connection, executor: ThreadPoolExecutor, mark: Path
    ) -> None:
        self._db = connection
        self._executor = executor
        self._mark = mark
        self._latching = asyncio.Lock()
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        self.seen_revision = int(meta.get("seen_revision", "0"))
        self.seen_store_id: str | None = meta.get("seen_store_id")
        self.seen_generation = int(meta.get("seen_generation", "0"))
        kept = meta.get("assignment")
        self.assignment = None if kept is None else Assignment.model_validate_json(kept)
        order, number = json.loads(meta.get("checkpoint", "[0, 0]"))
        self.checkpoint: tuple[int, int] = (order, number)
        self.recorded: Recorded = {
            RunKey(experiment_id, attempt): calls
            for experiment_id, attempt, calls in json.loads(meta.get("recorded", "[]"))
        }
        latch = meta.get("estop")
        self.estop = None if latch is None else Estop.model_validate_json(latch)
        if self.estop is None and mark.exists():
            self.estop = Estop(latch=str(ULID()), by=LOCAL, since=utc_now(), reason=NO_ROOM)
            self._keep_if_room([("estop", self.estop.model_dump_json())])

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the ledger; blocks while SQLite recovers what a crash left.

        Raises:
            ContractError: INTERNAL, the file is damaged or of a newer version; nothing was
                changed. A node without its memory could start an attempt twice, so it refuses
                to begin with an empty one.
        """
        executor = ThreadPoolExecutor(1, "ledger")
        try:
            connection = executor.submit(connect, path).result()
            return cls(connection, executor, path.with_suffix(".estop"))
        except sqlite3.DatabaseError as error:
            executor.shutdown()
            raise ContractError(
                ErrorCode.INTERNAL,
                f"the node's ledger {path} cannot be read: {error}",
                "restore it from a backup, or move it away if this node ran nothing since",
            ) from error
        except BaseException:
            executor.shutdown()
            raise

    def close(self) -> None:
        """Close the file and end the thread; blocks for what is under way."""
        self._executor.submit(self._db.close).result()
        self._executor.shutdown()

    # What the hub wants

    async def see(self, assignment: Assignment) -> None:
        """Keep an assignment and the revision, store and generation that it carries."""
        pairs = [
            ("assignment", assignment.model_dump_json()),
            ("seen_revision", str(assignment.revision)),
            ("seen_store_id", assignment.store_id),
            ("seen_generation", str(assignment.generation)),
        ]
        await self._call(lambda: self._put(pairs))
        self.assignment = assignment
        self.seen_revision = assignment.revision
        self.seen_store_id = assignment.store_id
        self.seen_generation = assignment.generation

    async def see_generation(self, store_id: str, generation: int) -> None:
        """Remember a higher generation of the store that the last assignment came from.

        Another store is remembered only once it assigns: until then the report must go on
        naming the one that this node served, for that is how a new hub learns of its history.
        """
        if store_id != self.seen_store_id or generation <= self.seen_generation:
            return
        await self._call(lambda: self._put([("seen_generation", str(generation))]))
        self.seen_generation = generation

    async def save_checkpoint(self, order: int, number: int) -> None:
        """Keep up to which record of which epoch everything that was asked for was answered.

        What was asked of an earlier process of the node is in `save_recorded`.
        """
        await self._call(lambda: self._put([_checkpoint(order, number)]))

    async def save_recorded(self, recorded: Recorded, order: int) -> None:
        """Keep which calls earlier processes of the node recorded and may not have answered.

        From now on the journal is looked at for others from the beginning of an epoch only.
        """
        calls = json.dumps([[*key, dict(calls)] for key, calls in recorded.items()])
        await self._call(lambda: self._put([("recorded", calls), _checkpoint(order, 0)]))

    # Attempts

    async def find(self, key: RunKey) -> Run | None:
        """Return an attempt, however old, or None if this node never accepted it."""
        runs = await self._call(lambda: self._runs("WHERE experiment_id = ? AND attempt = ?", key))
        return runs[0] if runs else None

    async def unfinished(self) -> Sequence[Run]:
        """Return the attempts that have not finished, in the order in which they were accepted."""
        return await self._call(lambda: self._runs("WHERE stage <> 'finished' ORDER BY seq", ()))

    async def entries(self, limit: int) -> tuple[LedgerEntry, ...]:
        """Return the newest entries, newest first, at most `limit`."""
        runs = await self._call(lambda: self._runs("ORDER BY seq DESC LIMIT ?", (limit,)))
        return tuple(run.entry for run in runs)

    async def accept(
        self, assignment: Assignment, at: datetime, step: PhaseRecord, ending: Ending | None = None
    ) -> Run:
        """Take an attempt for good: from now on it is never accepted again.

        With an ending it is taken as one that has ended, so that it never runs.

        Raises:
            ContractError: WRONG_STATE, it was accepted before; INTERNAL, it names no attempt.
        """
        key = RunKey.of(assignment)
        if key is None:
            raise ContractError(ErrorCode.INTERNAL, "an assignment without an attempt was accepted")
        stage = Stage.ACCEPTED if ending is None else Stage.ENDED
        run = Run(key, stage, assignment, at, ending=ending)

        def insert() -> None:
            with self._db:
                self._db.execute(
                    "INSERT INTO attempts"
                    " (experiment_id, attempt, stage, assignment, accepted_at, ending)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        *key,
                        stage,
                        assignment.model_dump_json(),
                        at.isoformat(),
                        None if ending is None else ending.model_dump_json(),
                    ),
                )
                self._post(step)

        try:
            await self._call(insert)
        except sqlite3.IntegrityError as error:
            raise ContractError(
                ErrorCode.WRONG_STATE, f"attempt {key} was accepted before", "use the next attempt"
            ) from error
        return run

    async def starting(self, key: RunKey, image: str) -> None:
        """Note that a container may exist from now on; call before it is created."""
        await self._update(key, stage=Stage.STARTING, image=image)

    async def running(
        self, key: RunKey, container_id: str, at: datetime, clock: ClockAnchor, step: PhaseRecord
    ) -> None:
        """Note the container and when its script began."""
        await self._update(
            key,
            step,
            stage=Stage.RUNNING,
            container_id=container_id,
            started_at=at.isoformat(),
            clock=clock.model_dump_json(),
        )

    async def clock(self, key: RunKey, clock: ClockAnchor, step: PhaseRecord) -> None:
        """Note that the experiment's clock was stopped or went on."""
        await self._update(key, step, clock=clock.model_dump_json())

    async def stopping(self, key: RunKey, ending: Ending, step: PhaseRecord) -> None:
        """Note how the attempt is going to end because somebody ordered it."""
        await self._update(key, step, ending=ending.model_dump_json())

    async def ended(self, key: RunKey, ending: Ending, clock: ClockAnchor) -> None:
        """Note how the attempt ended and where its clock stands."""
        await self._update(
            key,
            stage=Stage.ENDED,
            ending=ending.model_dump_json(),
            clock=clock.model_dump_json(),
        )

    async def released(self, key: RunKey, step: PhaseRecord) -> None:
        """Note that the container is gone and the reactor safe."""
        await self._update(key, step, stage=Stage.RELEASED)

    async def finished(self, key: RunKey, step: PhaseRecord) -> None:
        """Note that everything of the attempt is in the journal; lets its script and files go."""

        def update() -> None:
            with self._db:
                self._set(key, {"stage": Stage.FINISHED, "assignment": None, "log": None})
                self._db.execute("DELETE FROM files WHERE experiment_id = ? AND attempt = ?", key)
                self._post(step)

        await self._call(update)

    async def save_parameters(self, key: RunKey, assignment: Assignment) -> None:
        """Keep the assignment with the latest parameters."""
        await self._update(key, assignment=assignment.model_dump_json())

    async def save_log(self, key: RunKey, position: LogPosition) -> None:
        """Keep how far the console was journaled."""
        await self._update(key, log=position.model_dump_json())

    async def save_setpoints(self, key: RunKey, setpoints: Iterable[tuple[str, float]]) -> None:
        """Keep the controllers' setpoints, to be restored after a restart of the node."""
        await self._update(key, setpoints=json.dumps(list(setpoints)))

    # Results

    async def packed(self, key: RunKey) -> Sequence[PackedFile]:
        """Return the result files that are whole in the files stream, in the order of names."""

        def select() -> list[PackedFile]:
            rows = self._db.execute(
                "SELECT name, size, sha256, epoch, n FROM files"
                " WHERE experiment_id = ? AND attempt = ? ORDER BY name",
                key,
            )
            return [
                PackedFile(name=name, size=size, sha256=sha256, epoch=epoch, n=n)
                for name, size, sha256, epoch, n in rows
            ]

        return await self._call(select)

    async def save_packed(self, key: RunKey, file: PackedFile) -> None:
        """Note that a result file is whole in the files stream."""

        def insert() -> None:
            with self._db:
                self._db.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*key, file.name, file.size, file.sha256, file.epoch, file.n),
                )

        await self._call(insert)

    # Steps on their way to the journal

    async def outbox(self) -> Sequence[tuple[int, PhaseRecord]]:
        """Return the steps that are not known to be in the journal, oldest first."""

        def select() -> list[tuple[int, PhaseRecord]]:
            rows = self._db.execute("SELECT seq, record FROM outbox ORDER BY seq")
            return [(seq, PhaseRecord.model_validate_json(record)) for seq, record in rows]

        return await self._call(select)

    async def journaled(self, upto: int) -> None:
        """Remove the steps up to a number from the outbox: the journal has them."""

        def delete() -> None:
            with self._db:
                self._db.execute("DELETE FROM outbox WHERE seq <= ?", (upto,))

        await self._call(delete)

    # The emergency stop

    async def latch(self, estop: Estop) -> None:
        """Keep the latch of an emergency stop.

        That there is one is marked first, for which a full disk has room: by a file with nothing
        in it. Who engaged it waits for room, and is lost if the node is killed before.
        """
        async with self._latching:
            if await self._call(self._set_mark):
                self.estop = estop
            await self._call(lambda: self._put([("estop", estop.model_dump_json())]))
            self.estop = estop

    async def unlatch(self) -> None:
        """Let the latch go."""

        def delete() -> None:
            with self._db:
                self._db.execute("DELETE FROM meta WHERE key = 'estop'")

        async with self._latching:
            await self._call(delete)
            await self._call(lambda: self._mark.unlink(missing_ok=True))
            self.estop = None

    async def _call(self, work: Callable[[], T]) -> T:
        told = False
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, work)
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                if not told:
                    logger.error("the ledger waits for room on the disk: %s", error)  # noqa: TRY400 - no fault of ours
                    told = True
            await asyncio.sleep(RETRY_SECONDS)

    async def _update(
        self, key: RunKey, step: PhaseRecord | None = None, **columns: str | int | None
    ) -> None:
        def update() -> None:
            with self._db:
                self._set(key, columns)
                if step is not None:
                    self._post(step)

        await self._call(update)

    def _set(self, key: RunKey, columns: dict[str, str | int | None]) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)  # names are ours, never input
        changed = self._db.execute(
            f"UPDATE attempts SET {assignments} WHERE experiment_id = ? AND attempt = ?",  # noqa: S608 - no input in the text
            (*columns.values(), *key),
        )
        if changed.rowcount != 1:
            raise ContractError(ErrorCode.INTERNAL, f"attempt {key} is not in the ledger")

    def _put(self, pairs: Iterable[tuple[str, str]]) -> None:
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", pairs)

    def _keep_if_room(self, pairs: Iterable[tuple[str, str]]) -> None:
        try:
            self._put(pairs)
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise

    def _set_mark(self) -> bool:
        try:
            os.close(os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            directory = os.open(self._mark.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            logger.warning("the emergency stop could not be marked: %s", error)
            return False
        return True

    def _post(self, step: PhaseRecord) -> None:
        self._db.execute("INSERT INTO outbox (record) VALUES (?)", (step.model_dump_json(),))

    def _runs(self, where: str, values: tuple[str | int, ...]) -> list[Run]:
        rows = self._db.execute(f"SELECT {RUN_COLUMNS} FROM attempts {where}", values)  # noqa: S608 - the condition is one of three constants above
        return [read_run(*row) for row in rows]


def _checkpoint(order: int, number: int) -> tuple[str, str]:
    return "checkpoint", json.dumps([order, number])

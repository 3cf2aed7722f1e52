"""SQLite as journal and archive use it: durable when a commit returns, one writer, many readers.

Every database is in WAL mode with ``synchronous=FULL``: a transaction whose commit returned
survives a power cut, one that did not leaves nothing. Blocking calls run on threads that `Writer`
and `Reader` own and end.
"""

import asyncio
import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

from broker.migration import NoRoomError, free_bytes, migrate

T = TypeVar("T")

MAX_GROUP: Final = 256
"""Jobs that share one commit at most, so that the first ones never wait long."""


class DatabaseError(Exception):
    """A database that cannot be used; the message says which, why, and what to do."""


class StorageFullError(DatabaseError):
    """A database that cannot be used until its disk has room."""


def claim_directory(directory: Path) -> int:
    """Return the descriptor that keeps other processes out of a database's directory until closed.

    The directory is made if it is missing.

    Raises:
        DatabaseError: Another process has it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise DatabaseError(
            f"{directory} is in use by another process: stop that one, or name another directory"
        ) from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def open_database(
    path: Path,
    migrations: Sequence[str],
    application_id: int,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    free: Callable[[Path], int] = free_bytes,
    backup_needed: bool = True,
) -> sqlite3.Connection:
    """Open a database for writing, create it or bring its schema up to date.

    Before its schema is changed it is copied beside itself.

    Args:
        path: The file; its directory exists.
        migrations: For each schema version the statements that make it from the one before, ended
            by semicolons that stand nowhere else. All that is missing is applied in one
            transaction, so a crash leaves the old schema or the new one.
        application_id: Tells our kinds of databases apart.
        now: The wall clock, for the copy's name.
        free: Returns the bytes that a directory's disk has left.
        backup_needed: Refuse to change the schema where the disk has no room for the copy; False
            for what is of use only while it is at work.

    Raises:
        DatabaseError: It is damaged, of another kind, or of a newer schema. It was not changed.
        StorageFullError: The disk has no room to open it, or for the copy. It was not changed.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path)
        _check(connection, path, len(migrations), application_id)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {16 * 1024**2}")
        version = _number(connection, "user_version")
        if version < len(migrations):
            migrate(
                connection,
                path,
                migrations,
                application_id,
                version=version,
                now=now,
                free=free,
                backup_needed=backup_needed,
            )
    except (sqlite3.Error, NoRoomError, OSError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, NoRoomError) or is_full(error):
            raise StorageFullError(
                f"{path} cannot be opened: {error}; nothing was changed: free space on its disk"
            ) from error
        raise DatabaseError(
            f"{path} cannot be opened: {error}; nothing was changed: restore it from a backup, or "
            "move it away (and keep it) to begin with an empty one"
        ) from error
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an existing database for reading only."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10.0,
        cached_statements=64,
    )
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cache_size = -2048")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=10.0, cached_statements=64
    )
    connection.execute("PRAGMA cache_size = -4096")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.create_function("casefold", 1, _casefold, deterministic=True)
    return connection


def _casefold(text: str | None) -> str | None:
    """Be the `casefold` of SQL: its own `lower` knows of ASCII alone."""
    return None if text is None else text.casefold()


def _check(connection: sqlite3.Connection, path: Path, newest: int, application_id: int) -> None:
    version = _number(connection, "user_version")
    kind = _number(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (version or tables) and kind != application_id:
        raise DatabaseError(f"{path} is a database of another program: name another directory")
    if version > newest:
        raise DatabaseError(
            f"{path} has schema {version}, this version knows up to {newest}: "
            "install the version that wrote it, or a newer one"
        )


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    value = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    assert isinstance(value, int)  # noqa: S101  both pragmas are integers by definition
    return value


def is_full(error: BaseException) -> bool:
    """Whether the disk has no room left."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


class Transaction:
    """What a job works in.

    Attributes:
        connection: Inside a transaction that the job must not end.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._actions: list[Callable[[], object]] = []

    def after_commit(self, action: Callable[[], object]) -> None:
        """Have something done on the writer's thread once the job is durable; it must not fail."""
        self._actions.append(action)

    def committed(self) -> None:
        """Do what waited for the commit."""
        for action in self._actions:
            action()


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Transaction], T]) -> None:
        self.work = work
        self.future: Future[T] = Future()
        self._done: tuple[Transaction, T] | None = None

    def execute(self, connection: sqlite3.Connection) -> None:
        transaction = Transaction(connection)
        self._done = (transaction, self.work(transaction))

    def finish(self) -> None:
        assert self._done is not None  # noqa: S101  only called after execute
        transaction, result = self._done
        transaction.committed()
        self.future.set_result(result)


class Writer:
    """Runs jobs in order on one thread; those that wait share one transaction and one fsync.

    A job that raises is undone alone. If the transaction itself fails, each of its jobs is run
    again on its own, so that a large one that finds the disk full does not take others with it;
    jobs must therefore bear being run again.

    Args:
        on_rollback: Called on the writer's thread after something was undone, so that caches of
            what is in the database can be dropped.
        explain: Returns what is raised in place of an error.

    Attributes:
        on_commit: Called on the writer's thread with the seconds that a transaction took.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        name: str,
        on_rollback: Callable[[], None] = lambda: None,
        explain: Callable[[Exception], Exception] = lambda error: error,
    ) -> None:
        self._connection = connection
        self._on_rollback = on_rollback
        self._explain = explain
        self.on_commit: Callable[[float], object] = lambda _: None
        self._lock = threading.Lock()
        self._waiting: list[_Job[object]] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run a job; durable when this returns.

        When cancelled, the job may or may not have been done.

        Raises:
            sqlite3.Error: The database refused it; nothing of it remains.
            Exception: What the job raised; nothing of it remains.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Have a job run without waiting for it; its future is done when it is durable."""
        job: _Job[T] = _Job(work)
        with self._lock:
            self._waiting.append(job)  # type: ignore[arg-type]  # T is invariant in Future
        self._thread.submit(self._drain)
        return job.future

    def close(self) -> None:
        """Finish what waits, end the thread and close the connection. Blocks."""
        self._thread.shutdown(wait=True)
        self._connection.close()

    def _drain(self) -> None:
        with self._lock:
            jobs, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        try:
            self._commit(jobs)
        except Exception as error:  # noqa: BLE001  whoever waits for the job gets it
            if len(jobs) == 1:
                jobs[0].future.set_exception(self._explain(error))
                return
            for job in jobs:
                try:
                    self._commit([job])
                except Exception as its_error:  # noqa: BLE001  as above
                    job.future.set_exception(self._explain(its_error))

    def _commit(self, jobs: Sequence[_Job[object]]) -> None:
        """Run jobs in one transaction; raise what undid all of them."""
        connection = self._connection
        began = time.perf_counter()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job.execute(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._on_rollback()
            raise
        self.on_commit(time.perf_counter() - began)
        for job in jobs:
            job.finish()


class Reader:
    """Runs queries on a few threads, each with a connection that can only read."""

    def __init__(self, path: Path, *, name: str, threads: int = 1) -> None:
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._connections = [open_reader(path) for _ in range(threads)]
        for connection in self._connections:
            self._idle.put(connection)
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on what is committed now."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._query, query)

    def close(self) -> None:
        """Let running queries end, then close. Blocks."""
        self._threads.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._idle.get()
        try:
            return query(connection)
        finally:
            self._idle.put(connection)

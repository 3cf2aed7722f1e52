"""SQLite with one writer whose jobs share commits."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.database import (
    DatabaseError,
    Reader,
    StorageFullError,
    Transaction,
    Writer,
    open_database,
    open_reader,
)

MIGRATIONS = ("CREATE TABLE numbers (n INTEGER PRIMARY KEY)",)
NEWER = "ALTER TABLE numbers ADD COLUMN name TEXT; CREATE INDEX i ON numbers (name)"
KIND = 0x7E57


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "numbers.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    writer = Writer(open_database(path, MIGRATIONS, KIND), name="test")
    yield writer
    writer.close()


def numbers(path: Path) -> list[int]:
    connection = open_reader(path)
    found = [row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")]
    connection.close()
    return found


class Insert:
    def __init__(self, n: int) -> None:
        self.n = n
        self.runs = 0
        self.committed = 0

    def __call__(self, transaction: Transaction) -> int:
        self.runs += 1
        transaction.connection.execute("INSERT INTO numbers VALUES (?)", (self.n,))
        transaction.after_commit(self._done)
        return self.n

    def _done(self) -> None:
        self.committed += 1


async def blocked(writer: Writer) -> threading.Event:
    """Keep the writer's thread busy until the event is set."""
    started, gate = threading.Event(), threading.Event()

    def wait(_: Transaction) -> None:
        started.set()
        gate.wait(10)

    writer.submit(wait)
    await asyncio.to_thread(started.wait, 10)
    return gate


async def test_jobs_that_wait_share_a_commit(writer: Writer, path: Path) -> None:
    gate = await blocked(writer)
    commits: list[str] = []
    writer._connection.set_trace_callback(commits.append)
    jobs = [Insert(n) for n in range(50)]
    waiting = [asyncio.create_task(writer.run(job)) for job in jobs]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == list(range(50))
    assert commits.count("COMMIT") == 2  # of the job that blocked, and of all others
    assert {(job.runs, job.committed) for job in jobs} == {(1, 1)}
    assert numbers(path) == list(range(50))


async def test_a_job_that_fails_is_undone_alone(writer: Writer, path: Path) -> None:
    gate = await blocked(writer)
    jobs = [Insert(1), Insert(1), Insert(2)]
    waiting = [asyncio.create_task(writer.run(job)) for job in jobs]
    await asyncio.sleep(0)
    gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [int, sqlite3.IntegrityError, int]
    assert [job.committed for job in jobs] == [1, 0, 1]
    assert numbers(path) == [1, 2]


async def test_what_was_undone_is_told(path: Path) -> None:
    told = []
    connection = open_database(path, MIGRATIONS, KIND)
    writer = Writer(connection, name="test", on_rollback=lambda: told.append(1))
    await writer.run(Insert(1))
    assert not told
    with pytest.raises(sqlite3.IntegrityError):
        await writer.run(Insert(1))
    assert told
    writer.close()


async def test_a_job_cancelled_before_its_turn_is_not_done(writer: Writer, path: Path) -> None:
    gate = await blocked(writer)
    waiting = asyncio.create_task(writer.run(Insert(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    await writer.run(Insert(2))
    assert numbers(path) == [2]


async def test_closing_finishes_what_waits(path: Path) -> None:
    writer = Writer(open_database(path, MIGRATIONS, KIND), name="test")
    futures = [writer.submit(Insert(n)) for n in range(600)]
    await asyncio.to_thread(writer.close)
    assert [future.result() for future in futures] == list(range(600))
    assert numbers(path) == list(range(600))


async def test_readers_see_what_is_committed_and_cannot_write(writer: Writer, path: Path) -> None:
    await writer.run(Insert(1))
    reader = Reader(path, name="test-read", threads=2)
    assert await reader.run(lambda c: c.execute("SELECT n FROM numbers").fetchall()) == [(1,)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await reader.run(lambda c: c.execute("INSERT INTO numbers VALUES (2)"))
    reader.close()


def test_a_commit_is_synced(path: Path) -> None:
    connection = open_database(path, MIGRATIONS, KIND)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


def test_a_schema_is_brought_up_to_date_once(path: Path) -> None:
    open_database(path, MIGRATIONS, KIND).close()
    newer = (*MIGRATIONS, NEWER)
    for _ in range(2):
        connection = open_database(path, newer, KIND)
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        connection.execute("SELECT name FROM numbers")
        connection.close()
    with pytest.raises(DatabaseError, match="schema 2, this version knows up to 1"):
        open_database(path, MIGRATIONS, KIND)


def test_a_database_is_kept_as_it_was_before_its_schema_changed(path: Path) -> None:
    connection = open_database(path, MIGRATIONS, KIND)
    connection.execute("INSERT INTO numbers VALUES (7)")
    # Not closed: the row stands in the write-ahead log alone, as after a kill.
    (path.parent / "numbers.sqlite.schema-1.20250101T000000Z").write_bytes(
        b"of a migration that did not end"
    )
    (path.parent / "numbers.sqlite.schema-1.20250102T000000Z.partial").write_bytes(b"not whole")
    later = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    open_database(path, (*MIGRATIONS, NEWER), KIND, now=lambda: later).close()
    connection.close()
    kept = path.parent / "numbers.sqlite.schema-1.20260301T123000Z"
    assert {p.name for p in path.parent.glob("*.schema-*")} == {kept.name}
    assert kept.stat().st_mode & 0o777 == 0o600
    restored = open_database(kept, MIGRATIONS, KIND)
    assert restored.execute("SELECT n FROM numbers").fetchall() == [(7,)]
    restored.close()


def test_a_new_database_is_not_copied(path: Path) -> None:
    open_database(path, (*MIGRATIONS, NEWER), KIND).close()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_without_room_for_a_copy_the_schema_stays(
    path: Path,
) -> None:
    open_database(path, MIGRATIONS, KIND).close()
    newer = (*MIGRATIONS, NEWER)
    with pytest.raises(StorageFullError, match="free space"):
        open_database(path, newer, KIND, free=lambda _: 100)
    open_database(path, MIGRATIONS, KIND).close()
    open_database(path, newer, KIND, free=lambda _: 100, backup_needed=False).close()
    assert list(path.parent.glob("*.schema-*")) == []


@pytest.mark.parametrize("step", ["copied", "changed"])
def test_a_kill_in_the_middle_leaves_the_old_schema(path: Path, step: str) -> None:
    connection = open_database(path, MIGRATIONS, KIND)
    connection.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(1000)])
    connection.close()
    killed = subprocess.run(
        [sys.executable, "-m", "tests.unit.broker.migration_killed_main", str(path), step],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (1000,)
    connection = open_database(path, (*MIGRATIONS, NEWER), KIND)
    assert connection.execute("SELECT count(name), count(*) FROM numbers").fetchone() == (0, 1000)
    connection.close()
    (kept,) = path.parent.glob("numbers.sqlite.schema-1.*")
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (1000,)


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    open_database(path, MIGRATIONS, KIND).close()
    broken = (*MIGRATIONS, "CREATE TABLE more (x); NONSENSE")
    with pytest.raises(DatabaseError, match="NONSENSE"):
        open_database(path, broken, KIND)
    connection = open_database(path, MIGRATIONS, KIND)
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (1,)
    connection.close()

"""The journal on a real disk."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ulid import ULID

from broker.database import DatabaseError
from broker.journal.sender import encode_batch
from broker.journal.store import MAX_ENTRY_BYTES, Journal
from broker.journal.window import Span, Want
from broker.messages import (
    MAX_BATCH_BYTES,
    Batch,
    ContractError,
    ErrorCode,
    JournalAck,
    LogRecord,
    PhaseRecord,
    decode,
)

T0 = datetime(2026, 3, 1, tzinfo=UTC)
PLENTY = 10**12
WEEK = timedelta(days=7)


def log(n: int, text: str = "a line") -> LogRecord:
    return LogRecord(t=T0, n=n, source="stdout", text=text)


def phase() -> PhaseRecord:
    return PhaseRecord(t=T0, phase="finished")


def want_all(span: Span) -> Want:
    return Want(span.epoch, span.order, span.floor, max(span.acked + 1, span.floor), span.last)


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


async def numbers(journal: Journal) -> list[int]:
    (span,) = journal.pending("records")
    bodies = await journal.read("records", want_all(span))
    return [orjson.loads(body)["n"] for body in bodies]


async def test_entries_are_numbered_from_one_and_read_back(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    assert await journal.append("records", [log(1), log(2)]) == (journal.epoch, 2)
    assert await journal.append("records", [log(3)]) == (journal.epoch, 3)
    assert await journal.append("files", [log(1)]) == (journal.epoch, 1)
    (span,) = journal.pending("records")
    assert span == Span(journal.epoch, 1, 1, 3, 0)
    bodies = await journal.read("records", want_all(span))
    batch = decode(Batch, encode_batch(want_all(span), bodies))
    assert (batch.epoch, batch.order, batch.floor, batch.first) == (journal.epoch, 1, 1, 1)
    assert [LogRecord.model_validate(e) for e in batch.entries] == [log(1), log(2), log(3)]
    journal.close()


async def test_a_clean_stop_leaves_the_database_in_one_file(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    await journal.append("records", [log(1)])
    log_file = tmp_path / "journal.sqlite-wal"
    assert log_file.exists()
    journal.close()
    assert not log_file.exists()


async def test_each_opening_is_a_new_epoch_and_older_ones_come_first(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        journal = Journal.open(tmp_path)
        epochs.append(journal.epoch)
        await journal.append("records", [log(1)])
        journal.close()
    journal = Journal.open(tmp_path)
    spans = journal.pending("records")
    assert [s.epoch for s in spans] == epochs
    assert [s.order for s in spans] == [1, 2, 3]
    assert journal.order == 4
    journal.close()


async def test_an_epoch_without_entries_is_forgotten_but_its_order_is_not(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        journal = Journal.open(tmp_path)
        assert journal.order == expected
        journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM epochs").fetchone() == (1,)
    connection.close()


async def test_concurrent_appends_share_commits_and_keep_their_order(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    results = await asyncio.gather(*(journal.append("records", [log(n)]) for n in range(1, 301)))
    assert [n for _, n in results] == list(range(1, 301))
    assert await numbers(journal) == list(range(1, 301))
    journal.close()


async def test_the_newest_entry_is_found_in_whatever_epoch(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    assert await journal.newest("records") is None
    await journal.append("records", [log(1), log(2)])
    await journal.append("files", [log(9)])
    journal.close()
    journal = Journal.open(tmp_path)
    for n in (2, 3):
        newest = await journal.newest("records")
        assert newest is not None
        assert orjson.loads(newest)["n"] == n
        await journal.append("records", [log(3)])
    journal.close()


async def test_acknowledgements_survive_a_clean_end(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    await journal.append("records", [log(n) for n in range(1, 6)])
    assert await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 3}))
    assert not await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 3}))
    assert await numbers(journal) == [4, 5]
    journal.close()
    journal = Journal.open(tmp_path)
    assert await numbers(journal) == [4, 5]
    assert journal.backlog()["records"].entries == 2
    journal.close()


async def test_a_lower_acknowledgement_brings_entries_back(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    await journal.append("records", [log(n) for n in range(1, 6)])
    await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 99}))
    assert journal.pending("records") == []
    await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 2}))
    assert await numbers(journal) == [3, 4, 5]
    await journal.acknowledge("records", JournalAck(epochs={}))
    assert await numbers(journal) == [1, 2, 3, 4, 5]
    journal.close()


async def test_backlog_counts_and_dates_what_is_not_acknowledged(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal.open(tmp_path, now=clock)
    await journal.append("records", [log(1)])
    clock.now += timedelta(seconds=5)
    await journal.append("records", [log(2), log(3)])
    before = journal.backlog()["records"]
    assert (before.entries, before.oldest) == (3, T0)
    await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 1}))
    after = journal.backlog()["records"]
    assert (after.entries, after.oldest) == (2, T0 + timedelta(seconds=5))
    assert 0 < after.bytes < before.bytes
    await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 3}))
    assert journal.backlog()["records"].bytes == 0
    assert journal.backlog()["records"].oldest is None
    assert journal.fill() == 0.0
    journal.close()


async def test_acknowledged_entries_stay_seven_days(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal.open(tmp_path, now=clock)
    await journal.append("records", [log(1)])
    clock.now += timedelta(days=3)
    await journal.append("records", [log(2)])
    await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 2}))
    clock.now += timedelta(days=5)
    await journal.prune()
    await journal.acknowledge("records", JournalAck(epochs={}))
    (span,) = journal.pending("records")
    assert span == Span(journal.epoch, 1, floor=2, last=2, acked=0)
    assert await numbers(journal) == [2]
    journal.close()
    journal = Journal.open(tmp_path, now=clock)
    assert journal.pending("records")[0].floor == 2
    assert await journal.read("records", want_all(journal.pending("records")[0])) != []
    journal.close()


async def test_unsent_entries_are_never_dropped(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal.open(tmp_path, now=clock, budget_bytes=10_000)
    await journal.append("records", [log(1), log(2)])
    clock.now += timedelta(days=365)
    await journal.prune(incoming=10**9)
    assert await numbers(journal) == [1, 2]
    journal.close()


async def test_a_spent_budget_refuses_all_but_phases(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, budget_bytes=20_000)
    refused = None
    count = 0
    while refused is None:
        try:
            await journal.append("records", [log(count + 1, "x" * 500)])
            count += 1
        except ContractError as error:
            refused = error
    assert refused.error.code is ErrorCode.STORAGE_FULL
    assert 0.9 < journal.fill() <= 1.0
    await journal.append("records", [phase()])
    assert journal.backlog()["records"].entries == count + 1
    await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 5}))
    await journal.append("records", [log(0, "x" * 500)])
    journal.close()


async def test_acknowledged_entries_give_way_when_room_is_needed(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, budget_bytes=100_000)
    for n in range(1, 400):
        await journal.append("records", [log(n, "x" * 1000)])
        await journal.acknowledge("records", JournalAck(epochs={journal.epoch: n}))
    await journal.acknowledge("records", JournalAck(epochs={}))
    kept = journal.backlog()["records"]
    assert 30_000 < kept.bytes <= 75_000
    journal.close()


async def test_what_the_disk_has_left_counts_as_budget(tmp_path: Path) -> None:
    free = PLENTY
    journal = Journal.open(tmp_path, free_bytes=lambda _: free)
    await journal.append("records", [log(1)])
    assert journal.fill() < 0.01
    free = 0
    assert journal.fill() == 1.0
    with pytest.raises(ContractError) as refused:
        await journal.append("records", [log(2)])
    assert refused.value.error.code is ErrorCode.STORAGE_FULL
    await journal.append("records", [phase()])
    journal.close()


async def test_an_entry_that_fits_no_batch_is_refused(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    overhead = len(log(1, "").encode())
    await journal.append("records", [log(1, "x" * (MAX_ENTRY_BYTES - overhead))])
    (span,) = journal.pending("records")
    bodies = await journal.read("records", want_all(span))
    assert len(encode_batch(want_all(span), bodies)) <= MAX_BATCH_BYTES
    with pytest.raises(ContractError) as refused:
        await journal.append("records", [log(2, "x" * MAX_ENTRY_BYTES)])
    assert refused.value.error.code is ErrorCode.TOO_LARGE
    journal.close()


async def test_a_batch_holds_no_more_than_allowed(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    await journal.append("records", [log(n, "x" * 1000) for n in range(1, 1001)])
    (span,) = journal.pending("records")
    want, seen = want_all(span), 0
    while want.first <= span.last:
        bodies = await journal.read("records", want)
        assert len(encode_batch(want, bodies)) <= MAX_BATCH_BYTES
        seen += len(bodies)
        want = Want(span.epoch, span.order, 1, want.first + len(bodies), span.last)
    assert seen == 1000
    journal.close()


def test_one_process_owns_it(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    with pytest.raises(DatabaseError, match="in use by another process"):
        Journal.open(tmp_path)
    journal.close()
    Journal.open(tmp_path).close()


def test_a_damaged_journal_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(DatabaseError, match="cannot be opened"):
        Journal.open(tmp_path)
    assert path.read_bytes() == b"this is no database" * 1000


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseError, match="schema 99"):
        Journal.open(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_a_full_disk_still_takes_the_outcome_of_a_run(small_disk: Path) -> None:
    directory = small_disk / "journal"
    journal = Journal.open(directory, free_bytes=lambda _: PLENTY)
    await journal.append("records", [log(1)])
    with (small_disk / "others").open("wb") as others:
        os.posix_fallocate(others.fileno(), 0, shutil.disk_usage(small_disk).free - 64 * 1024)

    async def flood() -> None:
        for n in range(2, 200):
            await journal.append("records", [log(n, "x" * 10_000)])

    with pytest.raises(ContractError) as refused:
        await flood()
    assert refused.value.error.code is ErrorCode.STORAGE_FULL
    epoch, last = await journal.append("records", [phase()])
    journal.close()
    journal = Journal.open(directory, free_bytes=lambda _: PLENTY)
    (span,) = [s for s in journal.pending("records") if s.epoch == epoch]
    bodies = await journal.read("records", Want(epoch, span.order, 1, last, last))
    assert PhaseRecord.model_validate_json(bodies[0]) == phase()
    journal.close()


async def test_a_full_disk_on_which_old_entries_cannot_be_dropped(small_disk: Path) -> None:
    journal = Journal.open(small_disk / "journal")
    for n in range(1, 20):
        await journal.append("records", [log(n, "x" * 10_000)])
    await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 19}))
    with suppress(OSError), (small_disk / "others").open("wb", buffering=0) as others:
        while True:
            others.write(bytes(4096))
    assert journal.fill() == 1.0
    await journal.prune()
    with pytest.raises(ContractError) as refused:
        await journal.append("records", [log(20)])
    assert refused.value.error.code is ErrorCode.STORAGE_FULL
    for _ in range(50):
        await journal.append("records", [phase()])
    journal.close()


class Store(RuleBasedStateMachine):
    """The journal agrees with a plain list, whatever is done in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.counter = 0
        self.epochs: list[str] = []
        self.entries: dict[str, list[int]] = {}
        self.acked: dict[str, int] = {}
        self.floor: dict[str, int] = {}
        self.times: dict[str, list[datetime]] = {}

    @initialize()
    def open(self) -> None:
        self.journal = Journal.open(self.directory, now=self.clock)
        epoch = self.journal.epoch
        self.epochs.append(epoch)
        self.entries[epoch], self.times[epoch] = [], []
        self.acked[epoch], self.floor[epoch] = 0, 1

    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:
        if clean:
            self.journal.close()
            self.open()
            return
        copy = Path(tempfile.mkdtemp())  # as a power cut leaves it: the files, nothing else
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            if (self.directory / name).exists():
                shutil.copy(self.directory / name, copy / name)
        self.journal.close()
        shutil.rmtree(self.directory)
        self.directory = copy
        self.open()
        for epoch in self.epochs:  # acknowledgements may be forgotten; the hub repeats them
            self.acked[epoch] = 0
        self.runner.run(self.journal.acknowledge("records", JournalAck(epochs={})))

    @rule(count=st.integers(1, 5), calls=st.integers(1, 4))
    def append(self, count: int, calls: int) -> None:
        async def work() -> None:
            entries = [
                [log(self.counter + call * count + n) for n in range(count)]
                for call in range(calls)
            ]
            await asyncio.gather(*(self.journal.append("records", e) for e in entries))

        self.runner.run(work())
        self.entries[self.journal.epoch] += range(self.counter, self.counter + count * calls)
        self.times[self.journal.epoch] += [self.clock.now] * (count * calls)
        self.counter += count * calls

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        epochs = data.draw(st.dictionaries(st.sampled_from(self.epochs), st.integers(0, 30)))
        self.runner.run(self.journal.acknowledge("records", JournalAck(epochs=epochs)))
        for epoch in self.epochs:
            self.acked[epoch] = min(epochs.get(epoch, 0), len(self.entries[epoch]))

    @rule(days=st.integers(1, 10))
    def time_passes(self, days: int) -> None:
        self.clock.now += timedelta(days=days)

    @rule(incoming=st.sampled_from([0, 0, 10**12]))
    def prune(self, incoming: int) -> None:
        self.runner.run(self.journal.prune(incoming))
        for epoch in self.epochs:
            while self.floor[epoch] <= self.acked[epoch] and (
                incoming or self.times[epoch][self.floor[epoch] - 1] < self.clock.now - WEEK
            ):
                self.floor[epoch] += 1

    @invariant()
    def what_is_pending_can_be_read(self) -> None:
        if not self.epochs:
            return
        spans = {s.epoch: s for s in self.journal.pending("records")}
        backlog = 0
        for epoch in self.epochs:
            entries = self.entries[epoch]
            assert (epoch in spans) == (self.acked[epoch] < len(entries))
            if epoch not in spans:
                continue
            span = spans[epoch]
            assert (span.last, span.acked) == (len(entries), self.acked[epoch])
            assert span.floor == self.floor[epoch]
            bodies = self.runner.run(self.journal.read("records", want_all(span)))
            first = max(span.acked + 1, span.floor)
            assert [orjson.loads(b)["n"] for b in bodies] == entries[first - 1 :]
            backlog += len(bodies)
        assert self.journal.backlog()["records"].entries == backlog
        assert (self.journal.fill() > 0) == (backlog > 0)

    def teardown(self) -> None:
        if self.epochs:
            self.journal.close()
        self.runner.close()
        shutil.rmtree(self.directory)


Store.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestStore = Store.TestCase


async def test_ids_are_ulids(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    assert str(ULID.from_str(journal.epoch)) == journal.epoch
    journal.close()

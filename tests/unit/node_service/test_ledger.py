"""The node's memory survives, and says no rather than forget."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ulid import ULID

from broker.messages import Assignment, ContractError, ErrorCode, Estop, PhaseRecord
from node_service import ledger as module
from node_service.ledger import Ledger
from node_service.ledger_file import read_estop
from node_service.runs import ClockAnchor, Ending, LogPosition, PackedFile, RunKey, Stage

NOW = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)
KEY = RunKey(str(ULID()), 1)
STORE = str(ULID())


def assignment(key: RunKey = KEY, revision: int = 1) -> Assignment:
    return Assignment(
        revision=revision, store_id=STORE, generation=3, desired="run",
        experiment_id=key.experiment_id, attempt=key.attempt, script="pass",
    )  # fmt: skip


def step(phase: str, key: RunKey = KEY) -> PhaseRecord:
    return PhaseRecord.model_validate(
        {"t": NOW, "experiment_id": key.experiment_id, "attempt": key.attempt, "phase": phase}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(Ledger.open(path)) as ledger:
        yield ledger


async def test_what_was_seen_survives(ledger: Ledger, path: Path) -> None:
    await ledger.see(assignment(revision=7))
    await ledger.see_generation(STORE, 5)
    await ledger.see_generation(STORE, 4)
    await ledger.see_generation(str(ULID()), 9)
    with closing(Ledger.open(path)) as again:
        assert (again.seen_revision, again.seen_store_id) == (7, STORE)
        assert again.seen_generation == 5
        assert again.assignment == assignment(revision=7)


async def test_what_earlier_processes_recorded_is_kept_while_the_checkpoint_moves(
    ledger: Ledger, path: Path
) -> None:
    recorded = {KEY: {"a": 1, "b": 3}, RunKey(str(ULID()), 2): {"c": 1}}
    await ledger.save_recorded(recorded, 4)
    with closing(Ledger.open(path)) as again:
        assert (again.recorded, again.checkpoint) == (recorded, (4, 0))
    await ledger.save_checkpoint(4, 17)
    with closing(Ledger.open(path)) as again:
        assert (again.recorded, again.checkpoint) == (recorded, (4, 17))


async def test_an_attempt_is_accepted_once_for_good(ledger: Ledger, path: Path) -> None:
    await ledger.accept(assignment(), NOW, step("accepted"))
    with pytest.raises(ContractError) as error:
        await ledger.accept(assignment(), NOW, step("accepted"))
    assert error.value.error.code is ErrorCode.WRONG_STATE
    await ledger.ended(KEY, Ending(outcome="completed"), ClockAnchor())
    await ledger.released(KEY, step("released"))
    await ledger.finished(KEY, step("finished"))
    with closing(Ledger.open(path)) as again:
        with pytest.raises(ContractError):
            await again.accept(assignment(), NOW, step("accepted"))
        run = await again.find(KEY)
        assert run is not None
        assert (run.entry.state, run.entry.outcome) == ("finished", "completed")
        assert run.assignment is None  # the script is let go
        assert await again.unfinished() == []


async def test_every_detail_of_a_run_survives(ledger: Ledger, path: Path) -> None:
    await ledger.accept(assignment(), NOW, step("accepted"))
    await ledger.starting(KEY, "sha256:1")
    anchor = ClockAnchor(elapsed=1.5, frozen=True, monotonic=3.0, machine_boot="x")
    await ledger.running(KEY, "c" * 12, NOW, anchor, step("executing"))
    position = LogPosition(cursor="c", n=4, bytes=9, writing="chunks", order=2, after=7)
    await ledger.save_log(KEY, position)
    await ledger.save_setpoints(KEY, [("stirring", 200.0)])
    with closing(Ledger.open(path)) as again:
        (run,) = await again.unfinished()
        assert (run.stage, run.container_id, run.image) == (Stage.RUNNING, "c" * 12, "sha256:1")
        assert (run.clock, run.log, run.started_at) == (anchor, position, NOW)
        assert run.setpoints == (("stirring", 200.0),)
        assert run.assignment == assignment()
        assert run.entry.state == "accepted"


async def test_steps_wait_in_the_outbox_until_they_are_journaled(
    ledger: Ledger, path: Path
) -> None:
    await ledger.accept(assignment(), NOW, step("accepted"))
    await ledger.stopping(KEY, Ending(outcome="cancelled"), step("stopping"))
    with closing(Ledger.open(path)) as again:
        waiting = await again.outbox()
        assert [record.phase for _, record in waiting] == ["accepted", "stopping"]
        await again.journaled(waiting[0][0])
        assert [record.phase for _, record in await again.outbox()] == ["stopping"]


async def test_an_attempt_may_be_closed_without_a_run(ledger: Ledger) -> None:
    ending = Ending(outcome="cancelled")
    run = await ledger.accept(assignment(), NOW, step("accepted"), ending)
    assert (run.stage, run.ending) == (Stage.ENDED, ending)
    assert await ledger.find(KEY) == run


async def test_files_are_remembered_until_the_attempt_is_finished(ledger: Ledger) -> None:
    await ledger.accept(assignment(), NOW, step("accepted"))
    file = PackedFile(name="a/b.txt", size=1, sha256="0" * 64, epoch=str(ULID()), n=3)
    await ledger.save_packed(KEY, file)
    await ledger.save_packed(KEY, file)
    assert await ledger.packed(KEY) == [file]
    await ledger.finished(KEY, step("finished"))
    assert await ledger.packed(KEY) == []


async def test_the_newest_entries_come_first(ledger: Ledger) -> None:
    keys = [RunKey(str(ULID()), 1) for _ in range(5)]
    for key in keys:
        await ledger.accept(assignment(key), NOW, step("accepted", key))
    entries = await ledger.entries(2)
    assert [entry.experiment_id for entry in entries] == [
        keys[4].experiment_id,
        keys[3].experiment_id,
    ]


async def test_the_latch_survives_and_can_be_read_beside(ledger: Ledger, path: Path) -> None:
    estop = Estop(latch=str(ULID()), by="ada", since=NOW, reason="smoke")
    await ledger.latch(estop)
    assert read_estop(path) == estop
    with closing(Ledger.open(path)) as again:
        assert again.estop == estop
        await again.unlatch()
    assert read_estop(path) is None


@pytest.mark.parametrize("damage", ["text", "torn", "newer"])
def test_a_ledger_that_cannot_be_read_is_not_replaced(path: Path, damage: str) -> None:
    Ledger.open(path).close()
    if damage == "text":
        path.write_text("this is no database, but long enough to be taken for one " * 20)
    elif damage == "torn":
        content = bytearray(path.read_bytes())
        content[4096:] = bytes(len(content) - 4096)
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(ContractError) as error:
        Ledger.open(path)
    assert str(path) in error.value.error.message
    assert error.value.error.hint
    assert path.read_bytes() == before


async def test_while_the_disk_is_full_a_write_waits(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    await ledger._call(lambda: ledger._db.execute(f"PRAGMA max_page_count = {pages}"))
    big = assignment().model_copy(update={"script": "x" * 200_000})
    writing = asyncio.create_task(ledger.see(big))
    await asyncio.sleep(0.1)
    assert not writing.done()
    assert ledger.seen_revision == 0
    await ledger._call(lambda: ledger._db.execute("PRAGMA max_page_count = 1000000"))
    await writing
    assert ledger.seen_revision == 1

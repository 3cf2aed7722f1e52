"""The archive on a real disk."""

import asyncio
import errno
import hashlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from broker.database import DatabaseError, Transaction, open_database
from broker.journal.reception import Commit
from broker.messages import ContractError, Error, ErrorCode, Status, utc_now
from hub_service.archive import Archive, Audit, Wanted
from hub_service.archive import archive as archive_module
from hub_service.archive.archive import DATABASE
from hub_service.archive.blobs import Blobs
from hub_service.archive.deletion import delete_piece
from hub_service.archive.finished import Cursor
from hub_service.archive.schema import APPLICATION_ID, MIGRATIONS
from tests.unit.hub_service.archive_entries import (
    CANCELLED,
    EPOCH,
    EPOCH_2,
    EXPERIMENT,
    NODE,
    OTHER,
    T0,
    Node,
    chunks,
    event,
    experiment,
    log,
    note,
    phase,
    plain,
    sample,
)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive.open(tmp_path / "archive")
    yield archive
    archive.close()


def rows(archive: Archive, query: str) -> list[tuple[JsonValue, ...]]:
    with sqlite3.connect(archive.directory / "archive.sqlite") as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


async def test_entries_and_cursor_come_together(archive: Archive) -> None:
    node = Node(archive)
    await node.record(log(1), log(2))
    await node.record(log(3))
    assert await archive.cursors(NODE, "records") == {EPOCH: 3}
    assert await archive.cursors(NODE, "files") == {}
    assert await archive.streams() == [(NODE, "records")]
    page = await archive.logs(EXPERIMENT, 0, 100)
    assert [line.n for line in page.lines] == [1, 2, 3]


async def test_entries_that_do_not_follow_are_refused_whole(archive: Archive) -> None:
    node = Node(archive)
    await node.record(log(1))
    for first in (1, 3):
        with pytest.raises(ValueError, match="do not follow entry 1"):
            await archive.commit(NODE, "records", Commit(EPOCH, 1, first, plain([log(9)]), None))
    await node.record(log(2))
    page = await archive.logs(EXPERIMENT, 0, 100)
    assert [line.n for line in page.lines] == [1, 2]


async def test_commits_in_flight_together_stay_in_order(archive: Archive) -> None:
    await asyncio.gather(
        *(
            archive.commit(NODE, "records", Commit(EPOCH, 1, n, plain([log(n)]), None))
            for n in range(1, 101)
        )
    )
    assert await archive.cursors(NODE, "records") == {EPOCH: 100}


async def test_one_bad_commit_does_not_spoil_those_beside_it(archive: Archive) -> None:
    results = await asyncio.gather(
        archive.commit(NODE, "records", Commit(EPOCH, 1, 1, plain([log(1)]), None)),
        archive.commit(NODE, "records", Commit(EPOCH, 1, 7, plain([log(7)]), None)),
        archive.commit("reactor-2", "records", Commit(EPOCH_2, 1, 1, plain([log(1)]), None)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    assert await archive.cursors(NODE, "records") == {EPOCH: 1}
    assert await archive.cursors("reactor-2", "records") == {EPOCH_2: 1}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        42,
        "text",
        {},
        {"kind": "unknown"},
        {"kind": "log", "t": "2026-01-01", "n": 1, "source": "stdout", "text": "no offset"},
        {"kind": "log", "t": "2026-01-01T00:00:00Z", "n": 2**70, "source": "stdout", "text": ""},
        {"kind": "phase", "t": "2026-01-01T00:00:00Z", "phase": "finished", "exit_code": 2**70},
        {"kind": "phase", "t": "9999-12-31T23:59:59-01:00", "phase": "finished"},
        {"kind": "sample", "t": "2026-01-01T00:00:00Z", "values": {"od": "much"}},
        {"kind": "sample", "t": "2026-01-01T00:00:00Z", "attempt": 2**70, "values": {"od": 1}},
    ],
)
async def test_an_entry_that_makes_no_sense_is_put_aside(
    archive: Archive, entry: JsonValue
) -> None:
    await Node(archive).take("records", [*plain([log(1)]), entry, *plain([log(2)])])
    assert await archive.cursors(NODE, "records") == {EPOCH: 3}
    page = await archive.logs(EXPERIMENT, 0, 100)
    assert [line.n for line in page.lines] == [1, 2]
    ((number, error),) = rows(archive, "SELECT n, error FROM quarantine")
    assert number == 2
    assert error


@pytest.mark.parametrize(
    "change", [{"data": "not base64!"}, {"offset": 2**60}, {"name": "../x"}, {"data": 7}]
)
async def test_a_piece_of_a_file_that_makes_no_sense_is_put_aside(
    archive: Archive, change: dict[str, JsonValue]
) -> None:
    (good,) = plain(chunks("a.txt", b"abc"))
    assert isinstance(good, dict)
    await Node(archive).take("files", [{**good, **change}, good])
    assert await archive.cursors(NODE, "files") == {EPOCH: 2}
    assert len(rows(archive, "SELECT n FROM quarantine")) == 1
    (file,) = await archive.results(EXPERIMENT)
    assert file.path.read_bytes() == b"abc"


async def test_phases_come_in_the_order_of_their_commits(archive: Archive) -> None:
    node, other = Node(archive), Node(archive, "reactor-2")
    await node.record(phase("accepted"), log(1), phase("executing"))
    await other.record(phase("accepted", attempt=2))
    await node.record(phase("released"), phase("finished"))
    found = await archive.phase_records(0)
    assert [(p.seq, p.node, p.n, p.record.phase) for p in found] == [
        (1, NODE, 1, "accepted"),
        (2, NODE, 3, "executing"),
        (3, "reactor-2", 1, "accepted"),
        (4, NODE, 4, "released"),
        (5, NODE, 5, "finished"),
    ]
    assert [p.seq for p in await archive.phase_records(3)] == [4, 5]
    assert [p.seq for p in await archive.phase_records(1, limit=2)] == [2, 3]
    assert await archive.last_phase() == 5


async def test_nothing_is_acknowledged_past_a_phase_that_was_not_applied(
    archive: Archive,
) -> None:
    node = Node(archive)
    await node.record(log(1), phase("accepted"), log(2), phase("executing"), log(3))
    await node.save(*chunks("a", b"x"))
    assert await archive.applied(NODE, "records") == {EPOCH: 1}
    await archive.set_applied(1)
    assert await archive.applied(NODE, "records") == {EPOCH: 3}
    await archive.set_applied(2)
    assert await archive.applied(NODE, "records") == {EPOCH: 5}
    assert await archive.applied(NODE, "files") == {EPOCH: 1}


async def test_the_newest_epochs_and_those_heard_of_are_acknowledged(archive: Archive) -> None:
    node = Node(archive)
    epochs = [f"{n:026d}" for n in range(1, 121)]
    for order, epoch in enumerate(epochs, 1):
        await node.record(log(order), epoch=epoch, order=order)
    assert list(await archive.applied(NODE, "records")) == epochs[-100:]
    heard = await archive.applied(NODE, "records", [epochs[3], epochs[100], EPOCH])
    assert list(heard) == [epochs[3], *epochs[-100:]]


async def test_a_gap_is_told_with_its_bounds(archive: Archive) -> None:
    node = Node(archive)
    await node.record(log(1))
    await node.take("records", plain([log(9)]), lost=7)
    await node.take("records", plain([log(1, experiment=OTHER)]), EPOCH_2, 2)
    assert await archive.cursors(NODE, "records") == {EPOCH: 9, EPOCH_2: 1}
    (gap,) = await archive.gaps(experiment_id=EXPERIMENT)
    assert (gap.node, gap.stream, gap.epoch, gap.first, gap.upto) == (NODE, "records", EPOCH, 2, 8)
    assert await archive.gaps(node=NODE) == [gap]
    assert await archive.gaps(experiment_id=OTHER) == []


async def test_a_gap_between_experiments_may_be_of_either(archive: Archive) -> None:
    node = Node(archive)
    await node.record(log(1))
    await node.take("records", plain([log(1, experiment=OTHER)]), EPOCH_2, 2, lost=5)
    assert len(await archive.gaps(experiment_id=EXPERIMENT)) == 1
    assert len(await archive.gaps(experiment_id=OTHER)) == 1


async def test_lost_entries_at_the_end_of_an_epoch_are_a_gap_too(archive: Archive) -> None:
    node = Node(archive)
    await node.record(log(1))
    await node.take("records", [], lost=3)
    (gap,) = await archive.gaps(experiment_id=EXPERIMENT)
    assert (gap.first, gap.upto) == (2, 4)


async def test_files_are_put_together_and_named_by_content(archive: Archive) -> None:
    node = Node(archive)
    big = bytes(range(256)) * 40
    for chunk in chunks("plots/big.bin", big):
        await node.save(chunk)
    await node.save(*chunks("same.bin", big), *chunks("empty", b""))
    files = {file.name: file for file in await archive.results(EXPERIMENT)}
    assert set(files) == {"plots/big.bin", "same.bin", "empty"}
    for name, content in [("plots/big.bin", big), ("same.bin", big), ("empty", b"")]:
        file = files[name]
        assert file.path.read_bytes() == content
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert file.problem == ""
    assert files["plots/big.bin"].path == files["same.bin"].path
    assert list((archive.directory / "staging").iterdir()) == []


async def test_a_file_saved_again_replaces_the_first(archive: Archive) -> None:
    node = Node(archive)
    await node.save(*chunks("a", b"first"), *chunks("a", b"second"))
    (file,) = await archive.results(EXPERIMENT)
    assert file.path.read_bytes() == b"second"
    assert len([p for p in (archive.directory / "blobs").rglob("*") if p.is_file()]) == 1


async def test_a_file_whose_beginning_was_given_up_starts_anew(archive: Archive) -> None:
    node = Node(archive)
    await node.save(chunks("a", b"x" * 3000)[0])
    await node.save(*chunks("a", b"y" * 2500))
    (file,) = await archive.results(EXPERIMENT)
    assert (file.path.read_bytes(), file.problem) == (b"y" * 2500, "")
    assert list((archive.directory / "staging").iterdir()) == []


async def test_a_file_with_a_hole_is_kept_and_said_to_be_wrong(archive: Archive) -> None:
    node = Node(archive)
    parts = chunks("a", b"x" * 3000)
    await node.save(parts[0])
    await node.take("files", plain([parts[2]]), lost=1)
    (file,) = await archive.results(EXPERIMENT)
    assert file.size == 3000
    assert file.problem == "bytes 1000 to 1999 never arrived"


async def test_a_file_that_is_not_what_the_node_had_is_said_to_be_wrong(archive: Archive) -> None:
    (chunk,) = chunks("a", b"abc")
    await Node(archive).save(chunk.model_copy(update={"sha256": "0" * 64}))
    (file,) = await archive.results(EXPERIMENT)
    assert "the node had 3 bytes with SHA-256 000" in file.problem
    assert file.path.read_bytes() == b"abc"


async def test_files_go_on_after_a_restart(archive: Archive, tmp_path: Path) -> None:
    content = b"0123456789" * 500
    parts = chunks("a", content)
    first = Archive.open(tmp_path / "second")
    await Node(first).save(*parts[:3])
    first.close()
    second = Archive.open(tmp_path / "second")
    await Node(second).save(*parts[3:])
    (file,) = await second.results(EXPERIMENT)
    assert (file.path.read_bytes(), file.problem) == (content, "")
    second.close()


async def test_files_committed_but_not_yet_moved_are_moved_at_a_start(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path)
    await Node(archive).save(*chunks("a", b"content"))
    (file,) = await archive.results(EXPERIMENT)
    archive.close()
    with sqlite3.connect(tmp_path / "archive.sqlite") as connection:
        (staged,) = connection.execute("SELECT staged FROM files").fetchone() or (None,)
    connection.close()
    file.path.rename(tmp_path / "staging" / str(staged))  # as if the move had not happened
    (tmp_path / "staging" / "leftover").write_bytes(b"of a commit that never was")
    archive = Archive.open(tmp_path)
    (again,) = await archive.results(EXPERIMENT)
    assert again.path.read_bytes() == b"content"
    assert list((tmp_path / "staging").iterdir()) == []
    archive.close()


async def test_attempts_keep_their_data_apart(archive: Archive) -> None:
    node = Node(archive)
    await node.record(log(1, "old"), log(2, "old"))
    await node.record(log(1, "new", attempt=2))
    await node.save(*chunks("a", b"old"), *chunks("a", b"new", attempt=2))
    page = await archive.logs(EXPERIMENT, 0, 10)
    assert [line.text for line in page.lines] == ["new"]
    (file,) = await archive.results(EXPERIMENT)
    assert file.path.read_bytes() == b"new"
    runs = await archive.runs(EXPERIMENT)
    assert [(run.attempt, run.entries) for run in runs] == [(1, 3), (2, 2)]


async def test_log_pages(archive: Archive) -> None:
    await Node(archive).record(*(log(n) for n in range(1, 11)))
    page = await archive.logs(EXPERIMENT, 2, 3)
    assert ([line.n for line in page.lines], page.last, page.complete) == ([3, 4, 5], 5, False)
    page = await archive.logs(EXPERIMENT, 7, 100)
    assert ([line.n for line in page.lines], page.last, page.complete) == ([8, 9, 10], 10, True)
    page = await archive.logs(EXPERIMENT, None, 2)
    assert ([line.n for line in page.lines], page.last, page.complete) == ([9, 10], 10, True)
    page = await archive.logs(OTHER, None, 2)
    assert (page.lines, page.last, page.complete) == ((), 0, True)


async def test_the_whole_log_is_searched(archive: Archive) -> None:
    lines = ["OD 0.4", "100%_done", "od 0.5", "100 percent"]
    await Node(archive).record(*(log(n, text) for n, text in enumerate(lines, 1)))
    page = await archive.logs(EXPERIMENT, 0, 1, search="od")
    assert ([line.n for line in page.lines], page.found, page.complete) == ([1], 2, False)
    page = await archive.logs(EXPERIMENT, page.last, 1, search="od")
    assert ([line.n for line in page.lines], page.found, page.complete) == ([3], 2, True)
    page = await archive.logs(EXPERIMENT, 0, 10, search="0%_")
    assert [line.n for line in page.lines] == [2]
    page = await archive.logs(EXPERIMENT, 0, 10, sources=["stderr"])
    assert (page.lines, page.found) == ((), 0)


async def test_what_happened_rarely_is_told_in_order(archive: Archive) -> None:
    first, second = phase("accepted", 0), phase("interrupted", 50)
    await Node(archive).record(first, phase("executing", 1), event(20, "dose"), second)
    later = [
        phase("accepted", 60, attempt=2),
        event(70, "parameters", changed={"target": 0.5}, revision=9),
        event(75, "parameters-seen", revision=9),
        event(90, "dose", note='"event":"adopted"'),
    ]
    await Node(archive).record(*later)
    found = await archive.milestones(EXPERIMENT)
    assert [m.what for m in found] == [
        "accepted", "executing", "interrupted", "accepted", "parameters", "parameters-seen",
    ]  # fmt: skip
    assert [m.revision for m in found[-2:]] == [9, 9]
    assert found[-2].parameters == {"target": 0.5}
    assert await archive.milestones(OTHER) == ()


async def test_a_log_page_fits_into_a_message(archive: Archive) -> None:
    for start in range(1, 101, 10):
        await Node(archive).record(*(log(n, "\x01" * 10_000) for n in range(start, start + 10)))
    page = await archive.logs(EXPERIMENT, 0, 2000)
    assert len(page.encode()) < 600 * 1024
    assert not page.complete
    page = await archive.logs(EXPERIMENT, None, 2000)
    assert page.lines[-1].n == 100


async def test_scripts_are_kept_by_hash(archive: Archive) -> None:
    for _ in range(2):
        await note(archive, script=("a" * 64, "print('hä')"))
    assert await archive.get_script("a" * 64) == "print('hä')"
    assert await archive.get_script("b" * 64) is None


async def test_the_audit_says_who_did_what(archive: Archive) -> None:
    await note(archive)
    await note(archive, Audit("admin", "mqtt:admin", "pause-queue", None, "done", {}))
    assert await archive.audited(EXPERIMENT) == [CANCELLED]


async def test_finished_experiments_are_found(archive: Archive) -> None:
    for n in range(1, 8):
        await archive.finish(
            experiment(
                n,
                user="mqtt:bob" if n % 2 else "mqtt:alice",
                status=Status.FAILED if n > 5 else Status.COMPLETED,
                name=f"Run 100%_{n}",
            )
        )
    page, total = await archive.page(Wanted(limit=3))
    assert ([e.name[-1] for e in page], total) == (["7", "6", "5"], 7)
    page, total = await archive.page(Wanted(limit=3, before=Cursor(None, page[-1].experiment_id)))
    assert ([e.name[-1] for e in page], total) == (["4", "3", "2"], 7)
    page, total = await archive.page(Wanted(user="mqtt:bob", status=[Status.COMPLETED]))
    assert ([e.name[-1] for e in page], total) == (["5", "3", "1"], 3)
    page, total = await archive.page(Wanted(search="100%_7"))
    assert ([e.name[-1] for e in page], total) == (["7"], 1)
    page, total = await archive.page(Wanted(search="RUN"))
    assert total == 7
    page, total = await archive.page(Wanted(search="100!"))
    assert (page, total) == ([], 0)


async def test_what_ran_on_a_reactor_is_found(archive: Archive) -> None:
    await Node(archive).record(log(1))  # of EXPERIMENT, which is still running
    ran = experiment(1)
    await Node(archive, "reactor-10").record(
        log(1).model_copy(update={"experiment_id": ran.experiment_id})
    )
    for one in (ran, experiment(2, name="reactor-10")):
        await archive.finish(one)
    assert await archive.page(Wanted(node="reactor-10")) == ([ran], 1)
    assert await archive.page(Wanted(node=NODE)) == ([], 0)


async def test_a_finished_experiment_said_again_is_one(archive: Archive) -> None:
    await archive.finish(experiment(1))
    await archive.finish(experiment(1, status=Status.FAILED, name="Renamed"))
    page, total = await archive.page(Wanted())
    assert ([e.name for e in page], total) == (["Renamed"], 1)
    assert await archive.finished(experiment(1).experiment_id) == page[0]
    assert await archive.finished(EXPERIMENT) is None


async def test_how_long_runs_took_is_read_from_their_steps(archive: Archive) -> None:
    node = Node(archive)
    await node.record(
        phase("executing"),
        phase("released", 200.0, attempt=1).model_copy(update={"elapsed": 150.0}),
        phase("released", 90.0, attempt=2).model_copy(update={"elapsed": 80.0}),
    )
    over = experiment(experiment_id=EXPERIMENT, attempt=2)
    await archive.finish(over)
    await archive.finish(experiment(2, attempt=1))  # no step of it is there
    (known,) = await archive.taken()
    assert (known.experiment_id, known.user, known.seconds) == (EXPERIMENT, "mqtt:alice", 80.0)
    assert await archive.taken(EXPERIMENT) == [known]
    cancelled = over.model_copy(update={"status": Status.CANCELLED})
    await archive.finish(cancelled)
    assert await archive.taken() == []
    limit = Error(code=ErrorCode.LIMIT, message="it took longer than its 80 s")
    await archive.finish(over.model_copy(update={"status": Status.FAILED, "error": limit}))
    assert len(await archive.taken()) == 1


async def test_deleting_takes_everything_but_the_audit(archive: Archive) -> None:
    node = Node(archive)
    content = b"only here"
    await node.record(
        phase("executing"), log(1), *(sample(float(n), {"od": 1.0}) for n in range(100))
    )
    await node.save(*chunks("a", content), *chunks("b", b"shared"), chunks("c", b"x" * 2000)[0])
    await node.save(*chunks("b", b"shared", experiment=OTHER))
    await node.record(log(1, experiment=OTHER))
    gone = experiment(1, experiment_id=EXPERIMENT)
    await archive.finish(gone)
    noted = CANCELLED._replace(verb="delete")
    assert await archive.delete(EXPERIMENT, noted)
    assert not await archive.delete(EXPERIMENT, noted)
    assert await archive.audited(EXPERIMENT) == [noted]
    assert await archive.finished(EXPERIMENT) is None
    assert (await archive.logs(EXPERIMENT, 0, 10)).lines == ()
    assert await archive.results(EXPERIMENT) == []
    for table in ("samples", "rollups", "tens", "minutes", "staging"):
        assert rows(archive, "SELECT count(*) FROM " + table) == [(0,)]  # noqa: S608  constants
    (kept,) = await archive.results(OTHER)
    assert kept.path.read_bytes() == b"shared"
    assert not archive.blobs.path(hashlib.sha256(content).hexdigest()).exists()
    assert list((archive.directory / "staging").iterdir()) == []
    assert (await archive.logs(OTHER, 0, 10)).lines != ()
    assert len(await archive.audited(EXPERIMENT)) == 1
    assert await archive.page(Wanted()) == ([], 0)


async def test_a_deletion_cut_short_goes_on_after_a_start(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path)
    await Node(archive).record(log(1))
    archive.close()
    with sqlite3.connect(tmp_path / "archive.sqlite") as connection:
        connection.execute("INSERT INTO deletions VALUES (?)", (EXPERIMENT,))
    connection.close()
    archive = Archive.open(tmp_path)
    await archive.finish_deletions()
    assert (await archive.logs(EXPERIMENT, 0, 10)).lines == ()
    archive.close()


async def test_a_deletion_cut_short_waits_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive.open(tmp_path)
    await Node(archive).record(log(1))
    archive.close()
    with sqlite3.connect(tmp_path / "archive.sqlite") as connection:
        connection.execute("INSERT INTO deletions VALUES (?)", (EXPERIMENT,))
    connection.close()
    archive = Archive.open(tmp_path)
    monkeypatch.setattr(archive_module, "RETRY_S", 0.01)
    deleted, tries = archive._delete, []

    async def full_once(experiment_id: str) -> None:
        tries.append(experiment_id)
        if len(tries) == 1:
            raise ContractError(ErrorCode.STORAGE_FULL, "the disk is full")
        await deleted(experiment_id)

    monkeypatch.setattr(archive, "_delete", full_once)
    await archive.finish_deletions()
    assert tries == [EXPERIMENT, EXPERIMENT]
    assert (await archive.logs(EXPERIMENT, 0, 10)).lines == ()
    archive.close()


@pytest.mark.parametrize("how", ["purge", "delete"])
async def test_a_deletion_that_a_full_disk_cut_short_goes_on_when_there_is_room(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(archive_module, "RETRY_S", 0.01)
    await Node(archive).record(log(1))
    await archive.finish(experiment(1, experiment_id=EXPERIMENT))
    noted = Audit("p", "u", "delete", EXPERIMENT, "done", {})
    keeping = asyncio.create_task(archive.keep_deleting())
    room = threading.Event()

    def full(transaction: Transaction, blobs: Blobs, experiment_id: str) -> bool:
        if not room.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return delete_piece(transaction, blobs, experiment_id)

    monkeypatch.setattr(archive_module, "delete_piece", full)
    if how == "purge":
        assert await archive.trash.put(EXPERIMENT, noted)
        await archive.purge(EXPERIMENT)
    else:
        assert await archive.delete(EXPERIMENT, noted)
    assert await archive.finished(EXPERIMENT) is None
    assert len((await archive.logs(EXPERIMENT, 0, 10)).lines) == 1
    room.set()
    async with asyncio.timeout(30):
        while (await archive.logs(EXPERIMENT, 0, 10)).lines:
            await archive.probe()
    keeping.cancel()


async def test_everything_is_there_after_a_power_cut(archive: Archive, tmp_path: Path) -> None:
    node = Node(archive)
    await node.record(phase("accepted"), log(1))
    await node.save(*chunks("a", b"abc"))
    await archive.finish(experiment(1))
    shutil.copytree(archive.directory, tmp_path / "copy")  # the files as they are now
    copy = Archive.open(tmp_path / "copy")
    assert await copy.cursors(NODE, "records") == {EPOCH: 2}
    assert (await copy.results(EXPERIMENT))[0].path.read_bytes() == b"abc"
    assert (await copy.page(Wanted()))[1] == 1
    copy.close()


def test_one_process_owns_it(archive: Archive) -> None:
    with pytest.raises(DatabaseError, match="in use by another process"):
        Archive.open(archive.directory)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Archive.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "archive.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    newer = f"schema {len(MIGRATIONS) + 1}, this version knows up to {len(MIGRATIONS)}"
    with pytest.raises(DatabaseError, match=newer):
        Archive.open(tmp_path)


async def test_of_what_an_older_schema_has_the_end_is_believed_where_it_can_be(
    tmp_path: Path,
) -> None:
    ends = {1: T0 + timedelta(days=1), 2: T0 - timedelta(days=1), 3: T0.replace(year=2190), 4: None}
    bodies = [experiment(n, completed_at=end) for n, end in ends.items()]
    older = open_database(tmp_path / DATABASE, MIGRATIONS[:2], APPLICATION_ID)
    for told in bodies:
        row = (told.experiment_id, told.user, told.status.value, "", told.encode().decode())
        older.execute("INSERT INTO finished VALUES (?, ?, ?, ?, ?)", row)
    older.execute("INSERT INTO finished VALUES ('0', 'u', 'completed', '', '{damaged')")
    older.close()
    before = utc_now() - timedelta(seconds=1)  # it is kept in whole seconds there
    archive = Archive.open(tmp_path)
    kept = {k.experiment.experiment_id: k.archived_at for k in await archive.newest(4)}
    archived = [kept[told.experiment_id] for told in bodies]
    assert archived[0] == T0 + timedelta(days=1)
    assert all(before <= at <= utc_now() for at in archived[1:])
    archive.close()


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "archive.sqlite") as connection:
        connection.execute("CREATE TABLE something (x)")
    connection.close()
    with pytest.raises(DatabaseError, match="another program"):
        Archive.open(tmp_path)


async def test_a_full_disk_takes_nothing_and_says_so(archive: Archive) -> None:
    await Node(archive).record(log(1))

    def shrink(pages: int) -> None:
        archive._writer._connection.execute(f"PRAGMA max_page_count = {pages}")

    shrink(1)
    with pytest.raises(ContractError) as refused:
        await Node(archive).record(*(log(n, "x" * 10_000) for n in range(2, 30)))
    assert refused.value.error.code is ErrorCode.STORAGE_FULL
    assert await archive.cursors(NODE, "records") == {EPOCH: 1}
    shrink(10**6)
    await Node(archive).record(log(2))
    assert [line.n for line in (await archive.logs(EXPERIMENT, 0, 100)).lines] == [1, 2]


async def test_files_are_complete_up_to_a_mark(archive: Archive) -> None:
    assert not await archive.files_committed(NODE, EPOCH, 1)
    await Node(archive).save(*chunks("a", b"x" * 3000))
    assert await archive.files_committed(NODE, EPOCH, 3)
    assert not await archive.files_committed(NODE, EPOCH, 4)
    assert not await archive.files_committed(NODE, EPOCH_2, 1)
    await Node(archive).take("files", [], lost=2)
    assert await archive.files_committed(NODE, EPOCH, 5)


@pytest.mark.parametrize("restart", [False, True])
async def test_what_comes_of_a_deleted_experiment_is_deleted_too(
    tmp_path: Path, *, restart: bool
) -> None:
    """Its reactor was declared dead, and came back when the experiment was deleted already."""
    archive = Archive.open(tmp_path)
    await Node(archive).record(phase("executing"), sample(1.0, {"od": 0.5}))
    await archive.finish(experiment(1, experiment_id=EXPERIMENT))
    await archive.trash.put(EXPERIMENT, Audit("ada", "mqtt:ada", "delete", EXPERIMENT, "done", {}))
    await Node(archive).record(sample(2.0, {"od": 0.5}))
    assert rows(archive, "SELECT count(*) FROM samples") == [(2,)]  # it may still be restored
    await archive.purge(EXPERIMENT)
    await Node(archive).record(sample(3.0, {"od": 0.5}), log(1), phase("finished"))
    await Node(archive).save(*chunks("late.txt", b"late"))
    if restart:
        archive.close()
        archive = Archive.open(tmp_path)
    await archive.finish_deletions()
    for table in ("samples", "logs", "files", "deletions"):
        assert rows(archive, f"SELECT * FROM {table}") == []  # noqa: S608  constants
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert len(await archive.phase_records(0)) == 2  # the queue is to know of its end
    archive.close()

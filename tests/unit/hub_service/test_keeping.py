"""Deleting that can be taken back: hidden at once, removed later, in step with the queue."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from broker.messages import Annotate, ContractError, Done, ErrorCode, OnExperiment, Request
from broker.requests import Asked
from hub_service.archive import Archive, Audit, Wanted
from hub_service.checking.agreement import check_agreement
from hub_service.checking.findings import Finding
from hub_service.checking.records import check_records, open_archive
from hub_service.desk import Desk
from hub_service.keeping import UNDO_S, Keeping
from hub_service.queue.events import Submitted
from hub_service.queue.state import QueueState
from hub_service.snapshot import Contents
from hub_service.store import QueueStore
from tests.unit.hub_service.archive_entries import EXPERIMENT, Node, experiment, log, note
from tests.unit.hub_service.builders import T0, plan, ulid


class House:
    """What keeps finished experiments, without a broker."""

    def __init__(self, store: QueueStore, archive: Archive) -> None:
        self.archive, self.counted = archive, 0.0
        self.shown: list[str] = []
        self.desk = Desk(store, archive, clock=lambda: T0, changed=lambda: None)
        self.keeping = Keeping(
            self.desk,
            archive,
            show=lambda kept: self.shown.extend(k.experiment.name for k in kept),
            forget=lambda _: None,
            everybody=False,
            monotonic=lambda: self.counted,
        )


@asynccontextmanager
async def life(directory: Path) -> AsyncIterator[House]:
    store = QueueStore.open(directory, new_id=lambda: ulid(1, "STR"))
    archive = Archive.open(directory / "archive")
    try:
        yield House(store, archive)
    finally:
        archive.close()
        await store.close()


def asked(verb: str, request: Request, by: str = "alice", *, admin: bool = False) -> Asked:
    return Asked(by, admin, verb, request, f"{verb} {by}", T0)


def about(verb: str, by: str = "alice", *, admin: bool = False) -> Asked:
    return asked(verb, OnExperiment(experiment_id=EXPERIMENT), by, admin=admin)


def findings(directory: Path) -> list[Finding]:
    connection = open_archive(directory / "archive")
    assert not isinstance(connection, Finding)
    with closing(connection):
        path = directory / "archive" / "archive.sqlite"
        held = Contents(QueueState(ulid(1, "STR"), 1), 0, {})
        return [
            *check_records(connection, path, lambda *_: None),
            *check_agreement(connection, held),
        ]


async def finished(house: House) -> None:
    submitted = Audit("alice", "mqtt:alice", "submit", EXPERIMENT, "done", {})
    await note(house.archive, submitted)
    await Node(house.archive).record(log(1))
    await house.archive.finish(experiment(1, experiment_id=EXPERIMENT))


def rows(archive: Archive, query: str) -> list[tuple[int]]:
    with closing(sqlite3.connect(archive.directory / "archive.sqlite")) as connection:
        return connection.execute(query).fetchall()


async def refused(work: Awaitable[Done]) -> ErrorCode:
    with pytest.raises(ContractError) as told:
        await work
    return told.value.error.code


async def test_what_was_deleted_comes_back_whole(tmp_path: Path) -> None:
    async with life(tmp_path) as house:
        await finished(house)
        before = await house.archive.newest(1)
        done = await house.keeping.delete(about("delete"), EXPERIMENT)
        assert done.undo_seconds == UNDO_S
        assert await house.archive.page(Wanted()) == ([], 0)
        assert await house.archive.finished(EXPERIMENT) is None
        assert await house.archive.is_over(EXPERIMENT)
        house.counted = UNDO_S - 1
        assert await house.keeping.look() == 0
        await house.keeping.restore(about("restore"), EXPERIMENT)
        assert await house.archive.newest(1) == before
        assert (await house.archive.page(Wanted(user="mqtt:alice")))[1] == 1
        assert len((await house.archive.logs(EXPERIMENT, 0, 9)).lines) == 1
        again = await house.keeping.restore(about("restore"), EXPERIMENT)
        assert again.outcome == "unchanged"
        house.counted += UNDO_S
        assert await house.keeping.look() == 0
        verbs = [audit.verb for audit in await house.archive.audited(EXPERIMENT)]
        assert verbs == ["submit", "delete", "restore"]
    assert findings(tmp_path) == []


async def test_what_nobody_restores_is_removed_and_every_start_counts_anew(
    tmp_path: Path,
) -> None:
    async with life(tmp_path) as house:
        await finished(house)
        await house.keeping.delete(about("delete"), EXPERIMENT)
    assert findings(tmp_path) == []
    async with life(tmp_path) as house:
        house.counted = UNDO_S * 9  # the machine's clock may say anything after a start
        assert await house.keeping.look() == 0
        house.counted += UNDO_S
        assert await house.keeping.look() == 1
        assert rows(house.archive, "SELECT count(*) FROM logs") == [(0,)]
        assert not await house.archive.is_over(EXPERIMENT)
        restoring = house.keeping.restore(about("restore"), EXPERIMENT)
        assert await refused(restoring) is ErrorCode.NOT_FOUND
    assert findings(tmp_path) == []


async def test_what_an_older_queue_still_has_stays_deleted(tmp_path: Path) -> None:
    """The queue was restored from before the experiment's end, the archive was not."""
    async with life(tmp_path) as house:
        await house.desk.learn(Submitted(replace(plan(1), experiment_id=EXPERIMENT)))
        await house.archive.finish(experiment(1, experiment_id=EXPERIMENT))
        await house.archive.trash.put(EXPERIMENT, about_deletion())
        await house.desk.open()
        assert EXPERIMENT not in house.desk.state.entries
        assert await house.archive.finished(EXPERIMENT) is None


def about_deletion() -> Audit:
    return Audit("alice", "mqtt:alice", "delete", EXPERIMENT, "done", {})


async def test_one_restored_in_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path) as house:
        await finished(house)
        await house.keeping.delete(about("delete"), EXPERIMENT)
        purge = house.archive.purge

        async def restored_before(experiment_id: str) -> None:
            await house.keeping.restore(about("restore"), experiment_id)
            await purge(experiment_id)

        monkeypatch.setattr(house.archive, "purge", restored_before)
        house.counted = UNDO_S
        await house.keeping.look()
        assert await house.archive.finished(EXPERIMENT) is not None


async def test_what_comes_after_the_end_takes_nothing_back(tmp_path: Path) -> None:
    """A node tells of an old attempt while people delete the experiment, or keep a note with it."""
    async with life(tmp_path) as house:
        await finished(house)
        request = Annotate(experiment_id=EXPERIMENT, note="blue")
        noting = house.keeping.annotate(asked("annotate", request), request)
        await asyncio.gather(house.desk._label(EXPERIMENT, "late"), noting)
        kept = await house.archive.finished(EXPERIMENT)
        assert kept is not None
        assert (kept.warnings, kept.note) == (("late",), "blue")
        deleting = house.archive.trash.put(EXPERIMENT, about_deletion())
        await asyncio.gather(house.desk._label(EXPERIMENT, "later"), deleting)
        assert await house.archive.finished(EXPERIMENT) is None


async def test_only_owners_and_administrators_delete(tmp_path: Path) -> None:
    async with life(tmp_path) as house:
        await finished(house)
        deleting = house.keeping.delete(about("delete", "bob"), EXPERIMENT)
        assert await refused(deleting) is ErrorCode.FORBIDDEN
        await house.keeping.delete(about("delete", "ada", admin=True), EXPERIMENT)
        restoring = house.keeping.restore(about("restore", "bob"), EXPERIMENT)
        assert await refused(restoring) is ErrorCode.FORBIDDEN
        await house.keeping.restore(about("restore"), EXPERIMENT)


async def test_nobody_overwrites_a_note_unseen(tmp_path: Path) -> None:
    async with life(tmp_path) as house:
        await finished(house)

        async def annotate(by: str = "alice", **fields: object) -> Done:
            request = Annotate.model_validate({"experiment_id": EXPERIMENT, **fields})
            return await house.keeping.annotate(asked("annotate", request, by), request)

        done = await annotate(name="Better", note="  a\r\nb ", edition=0)
        assert (done.outcome, done.edition) == ("done", 1)
        with pytest.raises(ContractError) as crossed:
            await annotate(note="unseen", edition=0)
        assert crossed.value.error.code is ErrorCode.CHANGED_MEANWHILE
        assert crossed.value.error.details == {"name": "Better", "note": "a\nb", "edition": 1}
        assert (await annotate(note="a\nb", edition=1)).outcome == "unchanged"
        repeat = await annotate(name="Better", note="  a\r\nb ", edition=0)  # its answer was lost
        assert (repeat.outcome, repeat.edition) == ("unchanged", 1)
        assert await refused(annotate("bob", note="x")) is ErrorCode.FORBIDDEN
        kept = await house.archive.finished(EXPERIMENT)
        assert kept is not None
        assert (kept.name, kept.note, kept.edition) == ("Better", "a\nb", 1)
        assert house.shown[0] == "Better"
        assert (await house.archive.page(Wanted(search="A\nB")))[1] == 1
        said = [a.verb for a in await house.archive.audited(EXPERIMENT)]
        assert said == ["submit", "annotate"]
    assert findings(tmp_path) == []

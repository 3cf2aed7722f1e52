"""Backups of a hub: one moment of it even while it works, restored where there was nothing."""

import asyncio
import hashlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.messages import Posture
from hub_service.archive import Archive
from hub_service.checking.backup import BackupError, back_up
from hub_service.checking.command import FOUND, NO_INPUT, SOUND, check, main
from hub_service.checking.findings import Aside, Finding, Severity
from hub_service.checking.restoring import FROM_BACKUP
from hub_service.queue.events import Submitted
from hub_service.store import QueueStore
from tests.unit.hub_service.archive_entries import (
    CANCELLED,
    EXPERIMENT,
    RESULT,
    SCRIPT,
    SCRIPT_SHA,
    Node,
    chunks,
    note,
    phase,
)
from tests.unit.hub_service.builders import T0, plan, ulid

RESULT_SHA = hashlib.sha256(RESULT).hexdigest()


def quiet(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def looked_over(directory: Path) -> list[Finding]:
    return list(check(directory, Aside(directory, "test"), quiet))


async def test_a_backup_is_restored_on_another_machine(hub: Path, tmp_path: Path) -> None:
    backups, other = tmp_path / "backups", tmp_path / "other" / "hub"
    assert main(["backup", str(hub), str(backups)]) == SOUND
    (backup,) = backups.iterdir()
    other.parent.mkdir()
    shutil.rmtree(hub)
    assert main(["restore", str(other), "--from", str(backup)]) == SOUND
    assert main(["check", str(other)]) == SOUND
    store = QueueStore.open(other, new_id=lambda: ulid(9))
    archive = Archive.open(other / "archive")
    assert store.state.posture is Posture.RECOVERY
    assert store.state.posture_reason == FROM_BACKUP
    assert list(store.state.entries) == [ulid(1)]
    (kept,) = await archive.newest(5)
    assert kept.experiment.experiment_id == EXPERIMENT
    assert archive.blobs.path(RESULT_SHA).read_bytes() == RESULT
    archive.close()
    await store.close()


async def test_while_the_hub_works_each_backup_is_one_moment_of_it(
    hub: Path, tmp_path: Path
) -> None:
    """Each change is in the archive first, then in the queue; a copy never has half of one."""
    store = QueueStore.open(hub, new_id=lambda: ulid(9))
    archive = Archive.open(hub / "archive")
    node, enough = Node(archive, "reactor-2"), asyncio.Event()
    began = replace(plan(2), script_sha256=SCRIPT_SHA, experiment_id=ulid(2))
    submitted = CANCELLED._replace(verb="submit", experiment_id=began.experiment_id)
    await note(archive, submitted, script=(SCRIPT_SHA, SCRIPT))
    await store.apply(Submitted(began), now=T0)

    async def work() -> int:
        turns = 0
        while not enough.is_set():
            turns += 1
            await node.record(phase("executing"))
            await node.save(*chunks(f"{turns}.txt", f"{turns}".encode()))
            await store.apply(now=T0, cursor=await archive.last_phase())
        return turns

    working = asyncio.create_task(work())
    copies = []
    try:
        for n in range(6):
            now = T0 + timedelta(seconds=n)
            copies.append(
                await asyncio.to_thread(
                    back_up, hub, tmp_path / "backups", now, quiet, running=True
                )
            )
    finally:
        enough.set()
        turns = await working
        archive.close()
        await store.close()
    assert turns > len(copies)
    for copy in copies:
        assert [f for f in looked_over(copy) if f.severity is not Severity.NOTE] == []


async def test_a_result_that_is_deleted_meanwhile_makes_the_copy_begin_again(
    hub: Path, tmp_path: Path
) -> None:
    archive = Archive.open(hub / "archive")
    told: list[str] = []

    def delete(what: str, done: int, total: int) -> None:
        if what == "result files" and what not in told:
            with closing(sqlite3.connect(hub / "archive" / "archive.sqlite")) as other, other:
                other.execute("DELETE FROM files WHERE sha256 = ?", (RESULT_SHA,))
            archive.blobs.path(RESULT_SHA).unlink()
        told.append(what)

    made = await asyncio.to_thread(back_up, hub, tmp_path / "backups", T0, delete, running=True)
    archive.close()
    assert looked_over(made) == []
    assert not (made / "archive" / "blobs" / RESULT_SHA[:2] / RESULT_SHA).exists()


async def test_only_the_newest_are_kept_and_a_bad_copy_deletes_none(
    hub: Path, tmp_path: Path
) -> None:
    backups = tmp_path / "backups"
    for n in range(3):
        back_up(hub, backups, T0 + timedelta(days=n), quiet, running=False)
    (backups / "hub-20260101T000000Z.partial").mkdir()
    assert main(["backup", str(hub), str(backups), "--keep", "2"]) == SOUND
    earlier, newest = sorted(backups.iterdir())
    newest.rename(earlier.with_name("hub-20260304T120000Z"))  # two in a second have one name
    (hub / "archive" / "blobs" / RESULT_SHA[:2] / RESULT_SHA).write_bytes(b"other")
    assert main(["backup", str(hub), str(backups), "--keep", "1"]) == FOUND
    assert len(list(backups.iterdir())) == 3


@pytest.mark.parametrize(
    ("command", "status", "told"),
    [
        ("backup {hub} {hub}/mine", FOUND, "keep backups elsewhere"),
        ("backup {hub}/archive {hub}-b", NO_INPUT, "not the data directory"),
        ("restore {hub}-new --from {hub}-none", NO_INPUT, "no backup"),
        ("restore {hub} --from {hub}", FOUND, "is not empty"),
    ],
)
async def test_what_cannot_be_done_is_said_in_one_sentence(
    hub: Path, command: str, status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.format(hub=hub).split()) == status
    assert told in capsys.readouterr().out


async def test_an_archive_that_is_gone_is_not_backed_up(hub: Path, tmp_path: Path) -> None:
    (hub / "archive" / "archive.sqlite").unlink()
    with pytest.raises(BackupError, match="the database is gone"):
        back_up(hub, tmp_path / "backups", T0, quiet, running=False)


async def test_a_disk_without_room_is_told_before_anything_is_copied(
    hub: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(hub / "archive" / "archive.sqlite")) as change, change:
        change.execute("UPDATE files SET size = ?", (2**60,))
    with pytest.raises(BackupError, match="make room there, or delete older backups"):
        back_up(hub, tmp_path / "backups", T0, quiet, running=False)
    assert list((tmp_path / "backups").iterdir()) == []

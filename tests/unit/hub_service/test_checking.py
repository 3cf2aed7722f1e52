"""Every kind of damage to a hub's directory: made, found, told, and mended where that is safe."""

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from broker.doorbook import FILE as DOORBOOK
from broker.doorbook import Doorbook
from broker.messages import Posture
from broker.session import Message
from hub_service.archive import Archive
from hub_service.checking.command import FOUND, IN_USE, NO_INPUT, SOUND, main
from hub_service.queue.events import Submitted
from hub_service.store import QueueStore
from tests.unit.hub_service.archive_entries import (
    CANCELLED,
    RESULT,
    Node,
    chunks,
    experiment,
    note,
)
from tests.unit.hub_service.builders import T0, plan, ulid

SHA = hashlib.sha256(RESULT).hexdigest()


def blob(hub: Path, sha256: str = SHA) -> Path:
    return hub / "archive" / "blobs" / sha256[:2] / sha256


def change(hub: Path, *statements: str) -> None:
    with closing(sqlite3.connect(hub / "archive" / "archive.sqlite")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def change_queue(hub: Path, **about: object) -> None:
    path = hub / "queue.json"
    tables = orjson.loads(path.read_bytes())
    tables["about"]["queue"] |= about
    path.write_bytes(orjson.dumps(tables))


def tear(path: Path, keep: float = 0.5) -> None:
    content = path.read_bytes().rstrip()
    path.write_bytes(content[: int(len(content) * keep)])


def spoil_pages(hub: Path) -> None:
    path = hub / "archive" / "archive.sqlite"
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(path.stat().st_size - 8192))


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[2] ^= 1
    path.write_bytes(bytes(content))


def everything(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")  # memory that SQLite's readers share
    }


def test_a_sound_directory_is_said_to_be_sound(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(hub)
    assert main(["check", str(hub)]) == SOUND
    assert capsys.readouterr().out == f"{hub} is sound\n"
    assert everything(hub) == before


async def test_what_the_hub_notes_of_requests_is_its_own(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a retained request and of a repeated one; and what a crash leaves of that note."""
    book = Doorbook(hub / DOORBOOK)
    await book.expect_echo("bioreactor/hub/request/ada/cancel")
    assert await book.begin(Message("bioreactor/hub/request/ada/cancel", b"{}", repeated=True))
    assert main(["check", str(hub)]) == SOUND
    assert capsys.readouterr().out == f"{hub} is sound\n"
    (hub / f".{DOORBOOK}.0123abcd").write_bytes(b"{")
    assert main(["check", str(hub), "--mend"]) == SOUND
    assert "a crash cut short" in capsys.readouterr().out
    assert main(["check", str(hub)]) == SOUND
    assert capsys.readouterr().out == f"{hub} is sound\n"


def no_file(path: Path) -> None:
    """Leave what nobody can open as a file: of one that is not theirs root sees no difference."""
    path.unlink()
    path.mkdir()


Damage = Callable[[Path], object]
DAMAGES: dict[str, tuple[Damage, str, bool]] = {
    # what is done, what is said, whether `--mend` makes it sound
    "torn queue": (lambda hub: tear(hub / "queue.json"), "torn", False),
    "empty queue": (lambda hub: tear(hub / "queue.json", 0), "empty", False),
    "foreign queue": (
        lambda hub: (hub / "queue.json").write_text('{"a": {}}'),
        "not a queue",
        False,
    ),
    "queue gone": (lambda hub: (hub / "queue.json").unlink(), "it is gone", False),
    "newer queue": (lambda hub: change_queue(hub, schema_version=99), "has schema 99", False),
    "queue gone with its previous generation": (
        lambda hub: remove(*hub.glob("queue.json*")),
        "an archive but no queue",
        False,
    ),
    "torn previous generation": (
        lambda hub: tear(hub / "queue.json.previous"),
        "previous generation of the queue cannot be used",
        True,
    ),
    "archive gone": (
        lambda hub: (hub / "archive" / "archive.sqlite").unlink(),
        "the database is gone",
        False,
    ),
    "archive of noise": (
        lambda hub: (hub / "archive" / "archive.sqlite").write_bytes(b"noise" * 2000),
        "cannot be read",
        False,
    ),
    "torn pages": (spoil_pages, "SQLite", False),
    "foreign archive": (
        lambda hub: change(hub, "PRAGMA application_id = 7"),
        "no archive of a hub",
        False,
    ),
    "newer archive": (lambda hub: change(hub, "PRAGMA user_version = 99"), "schema 99", False),
    "changed script": (
        lambda hub: change(hub, "UPDATE scripts SET script = 'other'"),
        "not the one that was submitted",
        False,
    ),
    "finished experiment that is none": (
        lambda hub: change(hub, "UPDATE finished SET body = '{}'"),
        "is not a finished experiment",
        False,
    ),
    "database that cannot be opened": (
        lambda hub: no_file(hub / "archive/archive.sqlite"),
        "it cannot be read: unable to open",
        False,
    ),
    "wrong counts": (
        lambda hub: change(hub, "UPDATE tally SET n = n + 1"),
        "counts of finished experiments",
        True,
    ),
    "result file gone": (lambda hub: blob(hub).unlink(), "gone from the hub's disk", True),
    "result file changed": (lambda hub: flip(blob(hub)), "is not what was recorded", True),
    "result file shorter": (lambda hub: tear(blob(hub)), "it has 4 bytes", True),
    "result file of nobody": (
        lambda hub: blob(hub).with_name("f" * 64).write_bytes(b"?"),
        "no result file has this content",
        True,
    ),
    "row gone": (
        lambda hub: change(hub, "DELETE FROM files WHERE name = 'a.txt'"),
        "no result file has this content",
        True,
    ),
    "transfer gone": (
        lambda hub: change(hub, "INSERT INTO staging VALUES (1, 'c', '1-9', NULL)"),
        "what came so far of a result file is gone",
        False,
    ),
    "archive older than the queue": (
        lambda hub: change(hub, "DELETE FROM phases"),
        "it is older than the queue",
        False,
    ),
    "script gone": (
        lambda hub: change(hub, "DELETE FROM scripts"),
        "its script is not in the archive",
        False,
    ),
    "lost submission": (
        lambda hub: change(
            hub,
            "INSERT INTO audit (at, principal, user, verb, experiment_id, outcome, details)"
            " SELECT at, principal, user, verb, lower(experiment_id), outcome, '{}' FROM audit",
        ),
        "neither in the queue nor finished",
        False,
    ),
    "open to others": (lambda hub: hub.chmod(0o755), "others on this machine", False),
}


@pytest.mark.parametrize(("spoil", "said", "mendable"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_found_told_and_mended_where_that_is_safe(
    hub: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Damage,
    said: str,
    mendable: bool,
) -> None:
    spoil(hub)
    before = everything(hub)
    assert main(["check", str(hub)]) == FOUND
    told = capsys.readouterr().out
    assert said in told
    assert "→" in told
    assert everything(hub) == before
    assert main(["check", str(hub), "--mend"]) == (SOUND if mendable else FOUND)
    assert ("mended: " in capsys.readouterr().out) is mendable
    kept = [content for content, _ in everything(hub).values()]
    for name, (content, _) in before.items():
        if not name.startswith("archive/archive.sqlite"):
            assert content in kept  # nothing is deleted, whatever was mended


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda hub: (hub / "queue.json.new").write_bytes(b"{"), "a crash cut short"),
        (lambda hub: (hub / "archive/staging/1-2").write_bytes(b"x"), "its bytes come again"),
        (lambda hub: (hub / "archive/x.partial").write_bytes(b"x"), "change of schema"),
        (lambda hub: write(hub / "exports" / "a1.order", b"{}"), "an export that was cut short"),
        (lambda hub: (hub / "notes.txt").write_bytes(b"x"), "none of the hub's"),
        (lambda hub: change(hub, "PRAGMA user_version = 0"), "start the hub once"),
        (
            lambda hub: change(
                hub, "INSERT INTO quarantine (epoch, n, at, error, body) VALUES (1, 1, 1, '', '')"
            ),
            "made no sense",
        ),
    ],
)
def test_what_the_hub_deals_with_itself_is_a_note(
    hub: Path, capsys: pytest.CaptureFixture[str], spoil: Damage, said: str
) -> None:
    spoil(hub)
    assert main(["check", str(hub)]) == SOUND
    told = capsys.readouterr().out
    assert said in told
    assert "note" in told


@pytest.mark.parametrize(
    ("outcomes", "gone"),
    [
        (["done"], True),
        (["done", "NOT_FOUND"], True),
        (["accepted"], True),
        (["accepted", "accepted", "NOT_FOUND"], True),
        (["NOT_FOUND"], False),
        (["WRONG_STATE"], False),
        (["accepted", "NOT_FOUND"], False),
    ],
)
async def test_only_a_deletion_that_happened_explains_a_lost_submission(
    hub: Path, capsys: pytest.CaptureFixture[str], outcomes: list[str], *, gone: bool
) -> None:
    archive = Archive.open(hub / "archive")
    submitted = CANCELLED._replace(verb="submit", experiment_id=ulid(5))
    await note(archive, submitted)
    for outcome in outcomes:
        await note(archive, submitted._replace(verb="delete", outcome=outcome))
    archive.close()
    assert main(["check", str(hub)]) == (SOUND if gone else FOUND)
    assert ("neither in the queue nor finished" in capsys.readouterr().out) is not gone


async def test_an_experiment_in_both_stores_is_a_note(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive.open(hub / "archive")
    await archive.finish(experiment(1, experiment_id=ulid(1)))
    archive.close()
    assert main(["check", str(hub)]) == SOUND
    assert "the archive is right" in capsys.readouterr().out


async def test_what_stands_in_the_write_ahead_log_alone_counts(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a kill leaves it: copied while the database is open, nothing is in the main file yet."""
    archive = Archive.open(hub / "archive")
    await Node(archive, "reactor-2").save(*chunks("late.txt", b"late"))
    files = everything(hub)
    archive.close()
    for name, (content, _) in files.items():
        (hub / name).write_bytes(content)
    assert (hub / "archive" / "archive.sqlite-wal").stat().st_size > 0
    assert main(["check", str(hub)]) == SOUND
    blob(hub, hashlib.sha256(b"late").hexdigest()).unlink()
    assert main(["check", str(hub)]) == FOUND
    assert "late.txt" in capsys.readouterr().out


async def test_the_directory_of_a_running_hub_is_refused(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = QueueStore.open(hub, new_id=lambda: ulid(1, "STR"))
    assert main(["check", str(hub)]) == IN_USE
    assert f"process {os.getpid()} uses {hub}" in capsys.readouterr().out
    assert main(["restore", str(hub)]) == IN_USE
    await store.close()


def test_another_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        assert main(["check", str(path)]) == NO_INPUT
        assert "is not the data directory of a hub" in capsys.readouterr().out


async def test_the_previous_generation_is_restored_in_recovery(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = QueueStore.open(hub, new_id=lambda: ulid(1, "STR"))
    await store.apply(Submitted(plan(2)), now=T0)
    await store.close()
    tear(hub / "queue.json")
    torn = (hub / "queue.json").read_bytes()
    assert main(["restore", str(hub)]) == SOUND
    assert "resume the queue" in capsys.readouterr().out
    (kept,) = (hub / "set-aside").rglob("queue.json")
    assert kept.read_bytes() == torn
    store = QueueStore.open(hub, new_id=lambda: ulid(1, "STR"))
    assert list(store.state.entries) == [ulid(1)]
    assert store.state.posture is Posture.RECOVERY
    assert "previous generation" in store.state.posture_reason
    await store.close()
    assert main(["check", str(hub)]) == SOUND


def test_a_sound_queue_is_not_restored(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(hub)
    assert main(["restore", str(hub)]) == FOUND
    assert "is sound" in capsys.readouterr().out
    tear(hub / "queue.json")
    tear(hub / "queue.json.previous", 0)
    before = everything(hub)
    assert main(["restore", str(hub)]) == FOUND
    assert "cannot be used either" in capsys.readouterr().out
    assert everything(hub) == before

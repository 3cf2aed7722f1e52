"""The file under the queue: replaced as a whole, refused when it is not what it should be."""

import errno
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from hub_service import snapshot
from hub_service.queue.events import Submitted
from hub_service.queue.state import Entry
from hub_service.storage import SnapshotFile, StoreError, lock, nothing
from hub_service.store import FILE, QueueStore
from tests.unit.hub_service.builders import T0, plan, ulid


def make(directory: Path) -> QueueStore:
    return QueueStore.open(directory, new_id=lambda: ulid(1, "STR"))


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_a_new_store_has_an_identity_and_each_opening_a_generation(tmp_path: Path) -> None:
    store = make(tmp_path)
    assert (store.state.store_id, store.state.generation, store.is_new) == (
        ulid(1, "STR"), 1, True,
    )  # fmt: skip
    await store.close()
    again = QueueStore.open(tmp_path, new_id=lambda: ulid(2, "STR"))
    assert (again.state.store_id, again.state.generation, again.is_new) == (
        ulid(1, "STR"), 2, False,
    )  # fmt: skip
    await again.close()


async def test_a_second_hub_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    store = make(tmp_path)
    with pytest.raises(StoreError, match=r"another hub \(process \d+\)"):
        make(tmp_path)
    await store.close()
    await make(tmp_path).close()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda whole: whole[: len(whole) // 2], "torn"),
        (lambda whole: whole[:-1], "torn"),
        (lambda _: b"", "empty"),
        (lambda whole: b"\0" * len(whole), "empty"),
        (lambda _: b"[1, 2]", "not a queue"),
        (lambda _: b'{"_default": {"1": {"name": "x"}}}', "not a queue"),
        (lambda _: b'{"about": []}', "not a queue"),
        (lambda whole: whole.replace(b'"schema_version":3', b'"schema_version":99'), "99"),
        (lambda whole: whole.replace(b'"generation":1', b'"generation":"x"'), "generation"),
        (lambda whole: whole.replace(b'"order":[]', b'"order":["gone"]'), "order"),
        (lambda whole: whole.replace(b'"counter"', b'"unknown"'), "counter"),
    ],
)
async def test_a_damaged_or_foreign_file_is_never_replaced_by_an_empty_queue(
    tmp_path: Path, spoil: Callable[[bytes], bytes], why: str
) -> None:
    await make(tmp_path).close()
    path = tmp_path / FILE
    spoilt = spoil(path.read_bytes().rstrip())
    path.write_bytes(spoilt)
    (tmp_path / (FILE + ".previous")).write_bytes(b"{}")
    with pytest.raises(StoreError) as told:
        make(tmp_path)
    assert why in str(told.value)
    assert str(path) in str(told.value)
    assert f"{FILE}.previous (2 bytes)" in str(told.value)
    assert f"`bioreactor hub restore {tmp_path}`" in str(told.value)
    assert path.read_bytes() == spoilt
    # The lock is let go: once the file is restored the hub starts.
    path.unlink()
    (tmp_path / (FILE + ".previous")).unlink()
    await make(tmp_path).close()


async def make_older(directory: Path, version: int = 1) -> dict[str, Any]:
    """Leave a queue as a version of its form wrote it, with one experiment that waits."""
    store = make(directory)
    await store.apply(Submitted(plan(1)), now=T0)
    await store.close()
    path = directory / FILE
    older: dict[str, Any] = orjson.loads(path.read_bytes())
    about = older["about"]["queue"]
    about["schema_version"] = version
    for name in ("moved", "recovered"):
        del about[name]
    del about["limits"]["exceptions"]
    (waiting,) = older["experiments"].values()
    del waiting["edition"], waiting["note"]
    if version == 1:
        about["durations"] = {"a" * 64: 60.0}
    path.write_bytes(orjson.dumps(older))
    return older


async def open_newer(directory: Path, older: dict[str, Any]) -> None:
    """Open it twice, and look at what is kept of the older version."""
    for _ in range(2):
        store = QueueStore.open(directory, new_id=lambda: ulid(9), now=lambda: T0)
        assert list(store.state.entries) == [ulid(1)]
        await store.close()
    (kept,) = (directory / name for name in names(directory) if ".schema-" in name)
    version = older["about"]["queue"]["schema_version"]
    assert kept.name == f"{FILE}.schema-{version}.{T0:%Y%m%dT%H%M%SZ}"
    assert orjson.loads(kept.read_bytes()) == older
    newer = orjson.loads((directory / FILE).read_bytes())
    assert newer["about"]["queue"]["schema_version"] == 3
    assert "durations" not in newer["about"]["queue"]


@pytest.mark.parametrize("version", [1, 2])
async def test_a_queue_of_an_older_version_is_kept_and_brought_up_to_date_once(
    tmp_path: Path, version: int
) -> None:
    await open_newer(tmp_path, await make_older(tmp_path, version))


def fields_of(schema: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names that each part of a document may have."""
    parts = {name: part for name, part in schema.get("$defs", {}).items() if "properties" in part}
    return {name: sorted(part["properties"]) for name, part in {**parts, "": schema}.items()}


def test_the_form_of_the_queue_has_a_number_of_its_own() -> None:
    # Answers that are remembered are the contract's; all else is the queue's own.
    adapters = (TypeAdapter(snapshot._About), TypeAdapter(snapshot._Node), TypeAdapter(Entry))
    form = [fields_of(adapter.json_schema(mode="serialization")) for adapter in adapters]
    written = orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
    assert (snapshot.SCHEMA, sha256(written).hexdigest()[:16]) == (3, "7b6b28886b393e4c"), (
        "what the queue writes has changed: add a step to UPGRADES that makes the new form of the "
        "old one, then set both here"
    )


@pytest.mark.parametrize("where", ["write", "sync", "keep", "replace", "sync directory"])
async def test_a_kill_while_it_is_brought_up_to_date_loses_neither_version(
    tmp_path: Path, where: str
) -> None:
    class KilledError(BaseException):
        pass

    def die(step: str) -> None:
        if step == where:
            raise KilledError

    older = await make_older(tmp_path)
    with pytest.raises(KilledError):
        QueueStore.open(tmp_path, new_id=lambda: ulid(9), now=lambda: T0, before=die)
    await open_newer(tmp_path, older)


async def test_a_missing_file_beside_its_previous_generation_is_damage(tmp_path: Path) -> None:
    await make(tmp_path).close()
    await make(tmp_path).close()
    (tmp_path / FILE).unlink()
    with pytest.raises(StoreError, match="it is gone"):
        make(tmp_path)


async def test_the_previous_generation_is_kept_and_a_leftover_removed(tmp_path: Path) -> None:
    await make(tmp_path).close()
    before = (tmp_path / FILE).read_bytes()
    (tmp_path / (FILE + ".new")).write_bytes(b'{"about"')
    (tmp_path / (FILE + ".keep")).write_bytes(b"left by a crash")
    await make(tmp_path).close()
    assert (tmp_path / (FILE + ".previous")).read_bytes() == before
    assert names(tmp_path) == {FILE, FILE + ".previous", "hub.lock"}


def put(path: Path, content: bytes, before: Callable[[str], None] = nothing) -> None:
    file = SnapshotFile(path, before)
    file.prepare(content)
    file.publish()


def test_the_old_content_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    put(path, b"old")
    seen: dict[str, bytes] = {}

    def watch(step: str) -> None:
        seen[step] = path.read_bytes()

    put(path, b"new", watch)
    assert seen == {
        "write": b"old", "sync": b"old", "keep": b"old", "replace": b"old",
        "sync directory": b"new", "return": b"new",
    }  # fmt: skip
    assert (tmp_path / "file.previous").read_bytes() == b"old"


@pytest.mark.parametrize("where", ["write", "sync", "keep", "replace"])
def test_an_error_of_the_disk_leaves_the_old_content(tmp_path: Path, where: str) -> None:
    path = tmp_path / "file"
    put(path, b"old")

    def full(step: str) -> None:
        if step == where:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        put(path, b"new", full)
    assert path.read_bytes() == b"old"


def test_what_nobody_needs_any_more_is_written_over(tmp_path: Path) -> None:
    path, previous = tmp_path / "file", tmp_path / "file.previous"
    for content in (b"1", b"22"):
        put(path, content)
    oldest = previous.stat().st_ino
    for content in (b"333", b"4"):
        put(path, content)
    assert (path.read_bytes(), previous.read_bytes()) == (b"4", b"333")
    assert path.stat().st_ino == oldest
    (tmp_path / "backup").hardlink_to(path)
    for content in (b"5", b"6", b"7", b"8"):
        put(path, content)
    assert (path.read_bytes(), previous.read_bytes()) == (b"8", b"7")
    assert (tmp_path / "backup").read_bytes() == b"4"


@pytest.mark.parametrize("where", ["keep", "replace", "sync directory"])
def test_what_the_disk_may_still_call_the_previous_generation_is_not_written_over(
    tmp_path: Path, where: str
) -> None:
    path, previous = tmp_path / "file", tmp_path / "file.previous"
    put(path, b"old")
    put(path, b"mid")
    on_disk = [path.open("rb"), previous.open("rb")]

    def broken(step: str) -> None:
        if step == where:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input"):
        put(path, b"new", broken)

    def look(step: str) -> None:
        if step == "sync directory":
            assert [file.read() for file in on_disk] == [b"mid", b"old"]

    put(path, b"newer", look)
    assert path.read_bytes() == b"newer"
    for file in on_disk:
        file.close()


def test_the_lock_is_let_go_with_its_descriptor(tmp_path: Path) -> None:
    number = lock(tmp_path / "x.lock")
    with pytest.raises(StoreError):
        lock(tmp_path / "x.lock")
    os.close(number)
    os.close(lock(tmp_path / "x.lock"))

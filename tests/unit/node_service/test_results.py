"""Results of hostile scripts, and their way into the journal."""

import asyncio
import base64
import hashlib
import io
import os
import random
import socket
import tarfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.messages import MAX_BATCH_BYTES, FileChunk, PhaseRecord, ResultFile, utc_now
from node_service.packing import ARCHIVE, PIECE, Packer, parcels
from node_service.results import MAX_DEPTH, FoundFile, NotAFileError, look, open_file
from node_service.runs import PackedFile, RunKey
from tests.unit.node_service.conftest import KEY, MemoryJournal


class Kept:
    """Where it is kept which files are moved."""

    def __init__(self) -> None:
        self.files: dict[str, PackedFile] = {}

    async def packed(self, key: RunKey) -> Sequence[PackedFile]:
        assert key == KEY
        return list(self.files.values())

    async def save_packed(self, key: RunKey, file: PackedFile) -> None:
        assert key == KEY
        self.files[file.name] = file


class Packing:
    """A packer with what it writes to."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.kept = Kept()
        self.told: list[str] = []
        self.slept = 0
        self.packer = Packer(KEY, journal, self.kept, self._tell, sleep=self._sleep)

    async def pack(
        self, root: Path, limit: int = 10**9
    ) -> tuple[tuple[ResultFile, ...], tuple[str, int] | None]:
        return await self.packer.pack(look(root, limit).files)

    def contents(self) -> dict[str, bytes]:
        """Put the files together as a hub does."""
        parts: dict[str, bytearray] = {}
        whole: dict[str, bytes] = {}
        for entry in self.journal.files:
            assert isinstance(entry, FileChunk)
            assert len(entry.encode()) < MAX_BATCH_BYTES - 256
            part = parts.setdefault(entry.name, bytearray())
            del part[entry.offset :]
            assert len(part) == entry.offset
            part += base64.b64decode(entry.data)
            if entry.last:
                assert entry.size == len(part)
                assert entry.sha256 == hashlib.sha256(part).hexdigest()
                whole[entry.name] = bytes(part)
        return whole

    async def _tell(self, text: str) -> None:
        self.told.append(text)

    async def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept += 1
        if self.slept == 3:
            self.journal.full, self.journal.level = False, 0.0


@pytest.fixture
def packing(journal: MemoryJournal) -> Packing:
    return Packing(journal)


def names(root: Path, limit: int = 10**9) -> list[str]:
    return [file.name for file in look(root, limit).files]


def test_a_missing_directory_is_empty(tmp_path: Path) -> None:
    assert look(tmp_path / "none", 1).files == []


def test_only_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.txt").write_text("b")
    (tmp_path / "c.txt").write_text("c")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    tree = look(tmp_path, 100)
    assert [file.name for file in tree.files] == ["a/b.txt", "c.txt"]
    refused = {text.split(":")[0] for text in tree.refused}
    assert refused == {"'link'", "'folder'", "'pipe'", "'zero'", "'socket'"}


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for name in (b"bad\xff", b"new\nline", b"tab\t", b"n" * 250):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("x")
    (tmp_path / "größe µm.txt").write_text("x")
    tree = look(tmp_path, 100)
    assert [file.name for file in tree.files] == ["größe µm.txt"]
    assert len(tree.refused) == 4
    assert all(text.isascii() for text in tree.refused)


def test_a_deep_tree_is_cut_off(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(MAX_DEPTH + 10):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
    tree = look(tmp_path, 100)
    assert tree.files == []
    assert "too deep" in tree.refused[0]


def test_files_without_content_do_not_fill_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**13)
    (tmp_path / "small").write_text("x")
    tree = look(tmp_path, 1000)
    assert [file.name for file in tree.files] == ["small"]
    assert "more than is allowed" in tree.refused[0]


def test_what_was_exchanged_after_the_look_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_text("12345")
    (tmp_path / "c").write_text("12345")
    inside, top = look(tmp_path, 100).files
    (tmp_path / "a").rename(tmp_path / "old")
    (tmp_path / "a").symlink_to("/etc")
    with pytest.raises(OSError):
        open_file(inside)
    (tmp_path / "c").unlink()
    os.mkfifo(tmp_path / "c")
    with pytest.raises(NotAFileError):
        open_file(top)
    (tmp_path / "c").unlink()
    (tmp_path / "c").symlink_to("old/b")
    with pytest.raises(OSError):
        open_file(top)


@given(
    contents=st.dictionaries(
        st.sampled_from(["a", "b.txt", "d/e", "d/f/g", "ü"]),
        st.one_of(
            st.binary(max_size=100),
            st.integers(-2, 2).map(lambda n: bytes(PIECE + n)),
            st.integers(-1, 1).map(lambda n: bytes(3 * PIECE + n)),
        ),
    )
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_file_arrives_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("results")
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    packing = Packing(MemoryJournal())
    manifest, upto = asyncio.run(packing.pack(root))
    assert packing.contents() == contents
    assert [file.name for file in manifest] == sorted(contents)
    assert upto == (("0" * 26, len(packing.journal.files)) if contents else None)


async def test_a_large_file_takes_no_memory(tmp_path: Path, packing: Packing) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(64 * 1024**2)

    class Sink(MemoryJournal):
        pieces = 0

    sink = Sink()

    async def append(stream: str, entries: Sequence[object]) -> tuple[str, int]:
        sink.pieces += 1
        return "0" * 26, sink.pieces

    sink.append = append  # type: ignore[method-assign]
    packing = Packing(sink)
    tracemalloc.start()
    try:
        await packing.pack(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sink.pieces == 64 * 1024**2 // PIECE
    assert peak < 4 * 1024**2


async def test_moved_files_are_not_moved_again(tmp_path: Path, packing: Packing) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    first = await packing.pack(tmp_path)
    (tmp_path / "c").write_text("c")
    manifest, upto = await packing.pack(tmp_path)
    assert [file.name for file in manifest] == ["a", "b", "c"]
    assert [entry.name for entry in packing.journal.files if isinstance(entry, FileChunk)] == [
        "a", "b", "c",
    ]  # fmt: skip
    assert first[1] == ("0" * 26, 2)
    assert upto == ("0" * 26, 3)


@pytest.mark.parametrize("came", [1, 3, 5])
async def test_a_file_goes_on_where_a_crash_cut_it_off(
    tmp_path: Path, packing: Packing, came: int
) -> None:
    content = random.Random(came).randbytes(5 * PIECE + 17)  # noqa: S311 - no secret
    (tmp_path / "big.bin").write_bytes(content)
    manifest, _ = await packing.pack(tmp_path)
    assert len(packing.journal.files) == 6
    del packing.journal.files[came:]
    packing.kept.files.clear()
    again, _ = await packing.pack(tmp_path)
    assert again == manifest
    assert len(packing.journal.files) == 6
    assert packing.contents() == {"big.bin": content}


async def test_a_file_behind_another_runs_begins_anew(tmp_path: Path, packing: Packing) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(2 * PIECE))
    other = "01M8A8A89A318QFTQ3BKZH2242"
    piece = FileChunk(experiment_id=other, attempt=1, name="big.bin", offset=PIECE, data="AAAA")
    packing.journal.files.append(piece)
    await packing.pack(tmp_path)
    del packing.journal.files[0]
    assert packing.contents() == {"big.bin": bytes(2 * PIECE)}


@pytest.mark.parametrize("how", ["full", "level"])
async def test_results_wait_for_room(tmp_path: Path, packing: Packing, how: str) -> None:
    (tmp_path / "a").write_text("a")
    packing.journal.full = how == "full"
    packing.journal.level = 0.96 if how == "level" else 0.0
    manifest, _ = await packing.pack(tmp_path)
    assert [file.name for file in manifest] == ["a"]
    assert packing.slept == 3
    assert len(packing.told) == 1


async def test_a_file_that_vanishes_is_told_and_left_out(tmp_path: Path, packing: Packing) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    found = look(tmp_path, 100).files
    (tmp_path / "a").unlink()
    manifest, _ = await packing.packer.pack(found)
    assert [file.name for file in manifest] == ["b"]
    assert "a" in packing.told[0]


async def test_very_many_files_travel_in_an_archive(tmp_path: Path, packing: Packing) -> None:
    for i in range(1500):
        (tmp_path / f"plot-{i:06}-{'x' * 60}.txt").write_text(str(i))
    manifest, _ = await packing.pack(tmp_path)
    assert len(manifest) < 1500
    assert ARCHIVE in {file.name for file in manifest}
    record = PhaseRecord(t=utc_now(), phase="finished", files=manifest)
    assert len(record.encode()) < MAX_BATCH_BYTES - 256
    contents = packing.contents()
    with tarfile.open(fileobj=io.BytesIO(contents[ARCHIVE])) as archive:
        found = {
            member.name: (archive.extractfile(member) or io.BytesIO()).read()
            for member in archive.getmembers()
        }
    del contents[ARCHIVE]
    assert len(found.keys() | contents.keys()) == 1500
    assert all(content == str(int(name.split("-")[1])).encode() for name, content in found.items())


def test_the_archive_takes_no_name_that_is_there() -> None:
    files = [FoundFile(Path(), f"{i:0220}", 1) for i in range(1000)]
    files.append(FoundFile(Path(), ARCHIVE, 1))
    assert parcels(files)[-1].name == "_" + ARCHIVE

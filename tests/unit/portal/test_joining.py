"""Several ZIPs become one, whatever they hold and however large they are."""

import io
import os
import zlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest

from broker.messages import ContractError, ErrorCode
from portal.joining import Directory, Part, joined

PIECE = 64 * 1024
GIB = 1024**3


def zipped(files: Sequence[tuple[str, bytes]], compression: int = ZIP_DEFLATED) -> bytes:
    """Return a ZIP as the hub makes them."""
    made = io.BytesIO()
    with ZipFile(made, "w", compression) as file:
        for name, content in files:
            info = ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            info.external_attr = 0o644 << 16
            info.compress_type = compression
            with file.open(info, "w", force_zip64=True) as sink:
                sink.write(content)
    return made.getvalue()


def part_of(folder: str, content: bytes) -> Part:
    async def read(start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, stop, PIECE):
            yield content[at : min(stop, at + PIECE)]

    return Part(folder, len(content), read)


async def join(*parts: Part) -> bytes:
    async def each() -> AsyncGenerator[Part, None]:
        for part in parts:
            yield part

    return b"".join([piece async for piece in joined(each())])


async def test_all_of_them_are_there_each_in_its_folder() -> None:
    noise = os.urandom(3 * PIECE + 17)
    first = [("experiment.json", b"{}"), ("files/Größe \N{SNOWMAN}.txt", b"x" * 100_000)]
    second = [("experiment.json", b"[]"), ("telemetry.parquet", noise), ("empty", b"")]
    whole = await join(
        part_of("growth", zipped(first)),
        part_of("nothing", zipped([])),
        part_of("decay", zipped(second, ZIP_STORED)),
    )
    with ZipFile(io.BytesIO(whole)) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == {
            **{f"growth/{name}": content for name, content in first},
            **{f"decay/{name}": content for name, content in second},
        }
        one = file.getinfo("growth/files/Größe \N{SNOWMAN}.txt")
        assert one.date_time == (2026, 1, 2, 3, 4, 6)
        assert one.external_attr == 0o644 << 16


async def test_many_files_are_found_from_the_end() -> None:
    many = [(f"files/{number:06d}-{'n' * 80}", b"%d" % number) for number in range(3000)]
    whole = await join(part_of("run", zipped(many, ZIP_STORED)))
    with ZipFile(io.BytesIO(whole)) as file:
        assert len(file.namelist()) == 3000
        assert file.read(f"run/{many[-1][0]}") == b"2999"


def test_more_than_the_short_form_can_count() -> None:
    directory, like = Directory(), ZipInfo("empty")
    like.CRC = 0
    members = [directory.add(f"files/{number}", like) for number in range(0x10001)]
    with ZipFile(io.BytesIO(b"".join(members) + directory.end())) as file:
        assert len(file.namelist()) == 0x10001


def test_what_is_larger_than_four_gigabytes_is_told_in_full(tmp_path: Path) -> None:
    large, note = ZipInfo("hole.bin"), ZipInfo("note.txt")
    large.CRC, large.file_size, large.compress_size = 0, 5 * GIB, 5 * GIB
    text = b"behind all that"
    note.file_size = note.compress_size = len(text)
    note.CRC = zlib.crc32(text)
    directory = Directory()
    out = tmp_path / "all.zip"
    with out.open("wb") as raw:
        raw.write(directory.add("run/hole.bin", large))
        raw.seek(5 * GIB, io.SEEK_CUR)  # a hole: nothing of that size is written
        raw.write(directory.add("last/note.txt", note) + text)
        raw.write(directory.end())
    with ZipFile(out) as file:
        assert file.getinfo("run/hole.bin").file_size == 5 * GIB
        with file.open("run/hole.bin") as hole:
            assert hole.read(10) == bytes(10)
        assert file.read("last/note.txt") == text


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no ZIP at all",
        zipped([("a", b"1" * 500)])[:-30],
        b"XX" + zipped([("a", b"1")])[2:],
    ],
    ids=["empty", "text", "cut", "other"],
)
async def test_what_is_no_zip_ends_it(damaged: bytes) -> None:
    with pytest.raises(ContractError) as refused:
        await join(part_of("one", zipped([("a", b"1")])), part_of("bad", damaged))
    assert refused.value.error.code is ErrorCode.INTERNAL

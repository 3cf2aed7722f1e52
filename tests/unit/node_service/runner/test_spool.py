"""The output of a sandbox: bounded, in order, readable while it grows."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_service.runner.interface import MAX_LOG_LINE, LogChunk, LogCursor, RunnerError
from node_service.runner.spool import Lines, Spool

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@given(st.lists(st.binary(max_size=50) | st.just(b"\n") | st.just(b"y" * 20_000), max_size=20))
def test_lines_lose_nothing(pieces: list[bytes]) -> None:
    lines = Lines()
    out = [part for piece in pieces for part in lines.feed(piece)]
    out += lines.feed(b"", end=True)
    text = "".join(text + ("" if partial else "\n") for text, partial in out)
    whole = b"".join(pieces)
    clean = whole.decode(errors="replace").replace("\x00", "\ufffd").replace("\r\n", "\n")
    if b"\r" not in whole and whole.isascii():
        assert text == clean + ("" if clean.endswith("\n") or not clean else "\n")
    assert all(len(part.encode()) <= 3 * MAX_LOG_LINE for part, _ in out)


async def read(spool: Spool, after: LogCursor | None = None) -> list[LogChunk]:
    async with aclosing(spool.read(after)) as chunks:
        return [chunk async for chunk in chunks]


async def test_it_can_be_followed_and_read_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "output", 10_000)
    following = asyncio.create_task(read(spool))
    await spool.write(NOW, "stdout", [("one", False), ("tw", True)])
    await spool.write(NOW, "stderr", [("o", False)])
    await spool.end(NOW)
    chunks = await following
    assert [(chunk.text, chunk.partial) for chunk in chunks] == [
        ("one", False), ("tw", True), ("o", False),
    ]  # fmt: skip
    again = Spool(tmp_path / "output", 10_000)
    await again.end(NOW)
    assert await read(again) == chunks
    assert await read(again, chunks[0].cursor) == chunks[1:]
    for value in ("x", "-1", "999999"):
        with pytest.raises(RunnerError):
            await read(again, LogCursor(value))


async def test_what_is_too_much_is_dropped_and_said(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "output", 1000)
    for number in range(100):
        await spool.write(NOW, "stdout", [(str(number), False)])
    await spool.end(NOW)
    chunks = await read(spool)
    numbers = [int(chunk.text) for chunk in chunks if chunk.text]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) < 100
    assert [chunk.lost for chunk in chunks] == [False] * len(numbers) + [True]
    assert (tmp_path / "output").stat().st_size < 1100


async def test_a_full_disk_stops_the_log_and_not_the_run(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "missing" / "output", 1000)
    await spool.write(NOW, "stdout", [("one", False)])
    assert spool.size == 0

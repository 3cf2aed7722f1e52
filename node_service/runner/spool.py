"""The output of a sandbox, in a file of bounded size that can be read while it grows."""

import asyncio
import codecs
import json
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from node_service.runner.interface import MAX_LOG_LINE, LogChunk, LogCursor, RunnerError

_PIECE: Final = 256 * 1024
Source = Literal["stdout", "stderr"]


class Lines:
    """Splits one stream of bytes into lines, and long lines into pieces. Pure."""

    def __init__(self) -> None:
        self._rest = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes, *, end: bool = False) -> Iterator[tuple[str, bool]]:
        """Give what is complete: the text, and whether the line goes on."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield from self._pieces(line, partial=False)
        if len(self._rest) >= MAX_LOG_LINE:
            cut = len(self._rest) - len(self._rest) % MAX_LOG_LINE
            yield from self._pieces(self._rest[:cut], partial=True)
            self._rest = self._rest[cut:]
        if end and self._rest:
            yield from self._pieces(self._rest, partial=False)
            self._rest = b""

    def _pieces(self, line: bytes, *, partial: bool) -> Iterator[tuple[str, bool]]:
        last = max(0, (len(line) - 1) // MAX_LOG_LINE) * MAX_LOG_LINE
        for start in range(0, last + 1, MAX_LOG_LINE):
            goes_on = partial or start != last
            text = self._decoder.decode(line[start : start + MAX_LOG_LINE], final=not goes_on)
            yield text.replace("\x00", "\N{REPLACEMENT CHARACTER}").removesuffix("\r"), goes_on


class Spool:
    """One file of output: lines of JSON; a cursor is a place in it.

    What would exceed the budget is dropped, and a last empty chunk says so. A crash may cut the
    last line, which is then not there.

    Args:
        path: Of the file; made by the first write.
        budget: Bytes that it may grow to.
    """

    def __init__(self, path: Path, budget: int) -> None:
        self._path = path
        self._budget = budget
        self._size = path.stat().st_size if path.exists() else 0
        self._written = self._size
        self._dropping = False
        self._ended = False
        self._change = asyncio.Condition()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    async def write(self, t: datetime, source: Source, lines: list[tuple[str, bool]]) -> None:
        """Keep lines, or drop them."""
        kept = []
        for text, partial in lines:
            record = _encode(t, source, text, partial=partial, lost=False)
            if self._size + len(record) > self._budget:
                self._dropping = True
            if self._dropping:
                break
            self._size += len(record)
            kept.append(record)
        if kept:
            try:
                await self._append(b"".join(kept))
            except OSError:  # the disk is full: the run goes on, its output is dropped
                self._dropping = True
                self._size = self._written

    async def end(self, t: datetime) -> None:
        """Say that nothing follows."""
        if self._dropping:
            record = _encode(t, "stderr", "", partial=False, lost=True)
            self._size += len(record)
            await self._append(record)
        self._ended = True
        async with self._change:
            self._change.notify_all()

    async def read(self, after: LogCursor | None) -> AsyncGenerator[LogChunk, None]:
        """Give all chunks after the cursor, until the end.

        Raises:
            RunnerError: The cursor is not one of this file.
        """
        place = 0
        if after is not None:
            if not after.value.isdecimal() or int(after.value) > self._size:
                raise RunnerError(f"{after.value!r} is no cursor of this output", code="MALFORMED")
            place = int(after.value)
        while True:
            async with self._change:
                while self._written <= place and not self._ended:
                    await self._change.wait()
                ended = self._ended
            data = await asyncio.to_thread(self._piece, place)
            if not data and ended:
                return
            for line in data.splitlines(keepends=True):
                place += len(line)
                yield _decode(line, place)

    async def _append(self, data: bytes) -> None:
        await asyncio.to_thread(_append, self._path, data)
        async with self._change:
            self._written += len(data)
            self._change.notify_all()

    def _piece(self, place: int) -> bytes:
        """Return whole lines from a place on."""
        if not self._path.exists():
            return b""
        with self._path.open("rb") as file:
            file.seek(place)
            data = file.read(_PIECE)
        return data[: data.rfind(b"\n") + 1]


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _encode(t: datetime, source: Source, text: str, *, partial: bool, lost: bool) -> bytes:
    return json.dumps([t.isoformat(), source, text, partial, lost]).encode() + b"\n"


def _decode(line: bytes, place: int) -> LogChunk:
    t, source, text, partial, lost = json.loads(line)
    return LogChunk(datetime.fromisoformat(t), source, text, partial, lost, LogCursor(str(place)))

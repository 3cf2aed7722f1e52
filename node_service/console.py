"""What a run says: its output and what the node tells about it, numbered, journaled, shown live.

The position is kept before the lines behind it are journaled, so that after a crash the journal's
own last line says how much of the output is there: no line is lost and none comes twice. A run
has a budget of log bytes; what exceeds it is counted and told in one ``dropped`` event.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from broker.messages import Console as ConsolePayload
from broker.messages import ContractError, ErrorCode, EventRecord, LogLine, LogRecord
from node_service.live import Screen
from node_service.recorder import Recorder
from node_service.runclock import RunClock
from node_service.runner.interface import LogChunk
from node_service.runs import LogPosition, RunKey

Source = Literal["stdout", "stderr", "system"]

LOST: Final = "Some output before the next line was lost: more was printed than is kept."
LINE_BYTES: Final = 200
"""What a line's record takes beside its text. It counts, for else nothing would bound the journal
of a script that prints empty lines."""
MAX_LINES: Final = 200
MAX_BYTES: Final = 96 * 1024
"""At once: a live message must stay small whatever a script prints."""


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    source: Source
    t: datetime | None = None
    call: str | None = None

    @property
    def cost(self) -> int:
        """Bytes of the budget."""
        return len(self.text.encode()) + LINE_BYTES


class Console:
    """The log of one attempt.

    Attributes:
        complaint: The last line that the script's process wrote to standard error.

    Args:
        position: Where an earlier console of the attempt stopped, as recovered.
        budget: Bytes of lines that are kept; what the node itself says is not counted.
        keep: Keeps a position, durable when it returns.
    """

    def __init__(
        self,
        key: RunKey,
        position: LogPosition,
        budget: int,
        *,
        clock: RunClock,
        recorder: Recorder,
        live: Screen,
        keep: Callable[[LogPosition], Awaitable[None]],
    ) -> None:
        self._key = key
        self._position = position
        self._budget = budget
        self._clock = clock
        self._recorder = recorder
        self._live = live
        self._keep = keep
        self._lock = asyncio.Lock()
        self.complaint = ""

    @property
    def position(self) -> LogPosition:
        """How far the output was journaled."""
        return self._position

    async def tell(self, text: str) -> None:
        """Have the node say something in the log; left out where the disk has no room."""
        async with self._lock:
            await self._write_if_room([_Said(text, "system")], self._position)

    async def say(
        self, text: str, source: Source, call: str | None = None, *, done: int = 0
    ) -> None:
        """Have the script say something; several lines are as many lines of the log.

        Args:
            text: The lines.
            source: What they count as.
            call: Id of the script's call.
            done: So many of the lines are in the journal already.

        Raises:
            ContractError: STORAGE_FULL, it was left out.
        """
        said = [_Said(line, source, call=call) for line in text.splitlines() or [""]][done:]
        if not said:
            return
        async with self._lock:
            kept, after = self._ration(said)
            await self._write(kept, after)

    async def follow(self, chunks: AsyncIterator[LogChunk]) -> None:
        """Take the container's output until it ends; returns when all of it is journaled."""
        queue: asyncio.Queue[LogChunk | None] = asyncio.Queue(2 * MAX_LINES)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._take(queue), name=f"log of {self._key}")
                async for chunk in chunks:
                    await queue.put(chunk)
                await queue.put(None)
        except ExceptionGroup as group:
            # One of the two failed and the other was cancelled; what was not journaled is read
            # again from the position.
            raise group.exceptions[0] from group

    async def close(self) -> None:
        """Tell what the budget left out, if anything."""
        position = self._position
        if not position.dropped_lines:
            return
        event = EventRecord(
            t=self._clock.clock.now(),
            mono=self._clock.clock.monotonic(),
            experiment_id=self._key.experiment_id,
            attempt=self._key.attempt,
            elapsed=self._clock.elapsed,
            event="dropped",
            data={
                "kind": "log",
                "count": position.dropped_lines,
                "bytes": position.dropped_bytes,
                "reason": f"the run's log budget of {self._budget} bytes was spent",
            },
        )
        self._position = position.model_copy(update={"dropped_lines": 0, "dropped_bytes": 0})
        await self._keep(self._position)
        await self._recorder.write([event])

    async def _take(self, queue: asyncio.Queue[LogChunk | None]) -> None:
        """Journal what waits, all that came meanwhile at once."""
        chunk = await queue.get()
        while chunk is not None:
            batch, size = [chunk], len(chunk.text)
            chunk = None
            while len(batch) < MAX_LINES and size < MAX_BYTES and not queue.empty():
                chunk = queue.get_nowait()
                if chunk is None:
                    await self._journal(batch)
                    return
                batch.append(chunk)
                size += len(chunk.text)
            await self._journal(batch)
            chunk = await queue.get()

    async def _journal(self, batch: Sequence[LogChunk]) -> None:
        async with self._lock:
            skipped = min(self._position.skip, len(batch))
            if skipped:
                self._position = self._position.model_copy(
                    update={
                        "skip": self._position.skip - skipped,
                        "cursor": batch[skipped - 1].cursor.value,
                    }
                )
            fresh = batch[skipped:]
            if not fresh:
                return
            for chunk in fresh:
                if chunk.source == "stderr" and chunk.text.strip():
                    self.complaint = chunk.text
            for part in _split(fresh):
                if part[0].lost:
                    await self._write_if_room([_Said(LOST, "system")], self._position)
                await self._journal_part(part)

    async def _journal_part(self, part: Sequence[LogChunk]) -> None:
        kept, after = self._ration([_Said(chunk.text, chunk.source, chunk.t) for chunk in part])
        after = after.model_copy(update={"cursor": part[-1].cursor.value})
        await self._write_if_room(kept, after, writing="chunks")

    async def _write_if_room(
        self,
        said: Sequence[_Said],
        after: LogPosition,
        *,
        writing: Literal["chunks", "other"] = "other",
    ) -> None:
        """Write; what the disk has no room for is left out, which the recorder counts."""
        try:
            await self._write(said, after, writing=writing)
        except ContractError as error:
            if error.error.code is not ErrorCode.STORAGE_FULL:
                raise

    def _ration(self, said: Sequence[_Said]) -> tuple[list[_Said], LogPosition]:
        """Return what the budget allows, and the position with the rest counted."""
        kept: list[_Said] = []
        position = self._position
        used, lines, lost = position.bytes, position.dropped_lines, position.dropped_bytes
        for one in said:
            if lines or used + one.cost > self._budget:
                if not lines:
                    kept.append(_Said(self._spent(), "system"))
                lines += 1
                lost += one.cost
            else:
                kept.append(one)
                used += one.cost
        return kept, position.model_copy(
            update={"bytes": used, "dropped_lines": lines, "dropped_bytes": lost}
        )

    def _spent(self) -> str:
        return (
            f"The log budget of {self._budget} bytes is spent: what the script prints from here on "
            "is counted and not kept. Print less, or save data with experiment.save()."
        )

    async def _write(
        self,
        said: Sequence[_Said],
        after: LogPosition,
        *,
        writing: Literal["chunks", "other"] = "other",
    ) -> None:
        """Journal and show the lines; the position is kept before and after.

        Whatever becomes of the lines, the position moves on: what the disk had no room for is
        counted by the recorder.
        """
        before = self._position
        at = {"writing": writing, "order": self._recorder.order, "after": self._recorder.last}
        await self._keep(before.model_copy(update=at))
        self._position = after.model_copy(update={"n": before.n + len(said), "writing": None})
        records = self._records(said, before.n)
        try:
            await self._recorder.write(records)
        finally:
            await self._keep(self._position)
        if not records:
            return
        await self._live.console(
            ConsolePayload(
                experiment_id=self._key.experiment_id,
                lines=tuple(
                    LogLine(n=record.n, t=record.t, source=record.source, text=record.text)
                    for record in records
                ),
            )
        )

    def _records(self, said: Sequence[_Said], n: int) -> list[LogRecord]:
        clock = self._clock.clock
        return [
            LogRecord(
                t=one.t or clock.now(),
                mono=clock.monotonic(),
                experiment_id=self._key.experiment_id,
                attempt=self._key.attempt,
                elapsed=self._clock.elapsed,
                n=n + i,
                source=one.source,
                text=one.text,
                id=one.call,
            )
            for i, one in enumerate(said, start=1)
        ]


def _split(chunks: Sequence[LogChunk]) -> Iterator[Sequence[LogChunk]]:
    """Give the chunks in parts, each new one beginning where something is missing before it."""
    start = 0
    for at in range(1, len(chunks) + 1):
        if at == len(chunks) or chunks[at].lost:
            yield chunks[start:at]
            start = at

"""One ordered way into the journal's records, which never makes the sampler wait for the disk.

What is posted is kept in memory for the moment that a commit takes; what is written with `write`
is on the disk when it returns. A single task appends, in the order given, many at a time. When the
disk fills up, records are left out by the rules of `storage`, counted, and the counts recorded as
``dropped`` events as soon as there is room; steps of attempts and what was done to the reactor
wait for room instead.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from broker.journal import MAX_ENTRY_BYTES
from broker.messages import (
    ContainerRecord,
    ContractError,
    Error,
    ErrorCode,
    EventRecord,
    LogRecord,
    Payload,
    PhaseRecord,
    Record,
    SampleRecord,
    SeriesRecord,
)
from hardware.clock import Clock
from node_service import storage

MAX_PENDING: Final = 20_000
"""Records in memory; the disk must stall for minutes before more are posted."""
MAX_AT_ONCE: Final = 500
RETRY_SECONDS: Final = 2.0

_NO_ROOM: Final = Error(
    code=ErrorCode.STORAGE_FULL,
    message="the node's disk budget is spent, so this was not recorded",
    hint="record less, or bring hub and broker back so that the data can leave",
)
_OVERSIZE: Final = Error(
    code=ErrorCode.TOO_LARGE,
    message=f"one record may have {MAX_ENTRY_BYTES} bytes, this has more and was not recorded",
    hint="record it in parts, or save it as a file",
)

logger = logging.getLogger(__name__)


class RecordJournal(Protocol):
    """The part of the journal that is needed here."""

    @property
    def order(self) -> int:
        """Order number of the present epoch."""
        ...

    async def append(
        self, stream: Literal["records", "files"], entries: Sequence[Payload]
    ) -> tuple[str, int]:
        """Append; durable on return. STORAGE_FULL if the budget is spent."""
        ...

    def fill(self) -> float:
        """Return how much of the budget is used, 0 to 1."""
        ...


@dataclass(slots=True, eq=False)
class _Pending:
    record: Record
    done: asyncio.Future[None] | None


class Recorder:
    """Writes records; `run` must be running.

    Attributes:
        last: Number of the last record in the journal's present epoch.
    """

    def __init__(self, journal: RecordJournal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._samples = 0
        self._entered = self._gone_through = 0
        self._full = False
        self._step = asyncio.Event()
        self._dropped: Counter[str] = Counter()
        self.last = 0

    @property
    def order(self) -> int:
        """Order number of the journal's present epoch."""
        return self._journal.order

    @property
    def strained(self) -> bool:
        """Whether so little room is left that a write may have to wait for the hub."""
        return not storage.keeps_log(self._journal.fill())

    def post(self, record: Record) -> None:
        """Take a record; it is on the disk a commit later."""
        if len(self._pending) >= MAX_PENDING:
            self._dropped[record.kind] += 1
            return
        self._enter([_Pending(record, None)])

    async def settled(self) -> bool:
        """Return when what was posted is on the disk; whether it is.

        It is not where there is no room: whoever waits for this goes on then, and so does what he
        controls.
        """
        upto = self._entered
        while self._gone_through < upto and not self._full:
            await self._step.wait()
        return self._gone_through >= upto

    async def write(self, records: Sequence[Record]) -> None:
        """Write records; on the disk when it returns.

        Raises:
            ContractError: STORAGE_FULL, some of them are series or log lines and were left out;
                TOO_LARGE, one was.
        """
        if not records:
            return
        loop = asyncio.get_running_loop()
        items = [_Pending(record, loop.create_future()) for record in records]
        self._enter(items)
        results = await asyncio.gather(
            *(item.done for item in items if item.done), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def run(self) -> None:
        """Append what is posted and written, until closed and everything is on the disk.

        After `close` it gives up what has no room instead of waiting for it.
        """
        while not self._closed or self._pending:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                if not await self._append_some():
                    if self._closed:
                        logger.error("%d records found no room on the disk", len(self._pending))
                        return
                    await asyncio.sleep(RETRY_SECONDS)

    def close(self) -> None:
        """Have `run` end once everything is written."""
        self._closed = True
        self._wake.set()

    def _enter(self, items: Sequence[_Pending]) -> None:
        self._entered += len(items)
        self._pending.extend(items)
        self._wake.set()

    async def _append_some(self) -> bool:
        """Append some of what is pending; False if there is no room for it."""
        room = await self._append_next()
        self._full = not room
        self._gone_through = self._entered - len(self._pending)
        self._step.set()
        self._step = asyncio.Event()
        return room

    async def _append_next(self) -> bool:
        keep = self._take()
        counts = self._countable()
        told = self._told(counts)
        entries = [item.record for item in keep] + told
        if not entries:
            return True
        try:
            _, self.last = await self._journal.append("records", entries)
        except ContractError as error:
            if error.error.code is ErrorCode.TOO_LARGE:
                self._sort_out(keep)
                return True
            if error.error.code is not ErrorCode.STORAGE_FULL:
                raise
            logger.warning("the journal is full: %s", error)
            self._put_back(keep)
            return not self._pending
        self._dropped -= counts  # more may have been left out meanwhile
        for item in keep:
            if item.done is not None and not item.done.done():
                item.done.set_result(None)
        return True

    def _take(self) -> list[_Pending]:
        """Take the next ones; those for which there is no room any more are left out."""
        fill = self._journal.fill()
        keep: list[_Pending] = []
        for _ in range(min(MAX_AT_ONCE, len(self._pending))):
            item = self._pending.popleft()
            if self._keeps(item.record, fill):
                keep.append(item)
            else:
                self._leave_out(item)
        return keep

    def _sort_out(self, items: Sequence[_Pending]) -> None:
        """Have all but the oversize ones tried again."""
        for item in reversed(items):
            if len(item.record.encode()) <= MAX_ENTRY_BYTES:
                self._pending.appendleft(item)
            else:
                logger.error("a %s record is too large and was left out", item.record.kind)
                self._leave_out(item, _OVERSIZE)

    def _put_back(self, items: Sequence[_Pending]) -> None:
        """Have steps and events tried again; the rest is left out."""
        for item in reversed(items):
            if isinstance(item.record, PhaseRecord | EventRecord):
                self._pending.appendleft(item)
            else:
                self._leave_out(item)

    def _keeps(self, record: Record, fill: float) -> bool:
        match record:
            case SampleRecord() | ContainerRecord():
                self._samples += 1
                return storage.keeps_sample(fill, self._samples)
            case LogRecord() | SeriesRecord():
                return storage.keeps_log(fill)
            case EventRecord() | PhaseRecord():
                return True

    def _leave_out(self, item: _Pending, why: Error = _NO_ROOM) -> None:
        self._dropped[item.record.kind] += 1
        if item.done is not None and not item.done.done():
            item.done.set_exception(ContractError(why.code, why.message, why.hint))

    def _countable(self) -> Counter[str]:
        """Return how many records were left out, once there is room to say so."""
        return Counter() if self.strained else self._dropped.copy()

    def _told(self, counts: Counter[str]) -> list[Record]:
        """Return what says which records were left out."""
        return [
            EventRecord(
                t=self._clock.now(),
                mono=self._clock.monotonic(),
                event="dropped",
                data={"kind": kind, "count": count, "reason": "there was no room for them"},
            )
            for kind, count in counts.items()
        ]

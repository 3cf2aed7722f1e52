"""A node that records 1 000 samples a second: how far the disk lags behind."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.journal_ingest import raw_database
from broker.journal import Journal
from broker.messages import Payload, SampleRecord, utc_now
from hardware.clock import RealClock
from node_service.recorder import Recorder

RATE = 1000
SECONDS = 10
COMMITS = 300
Row = tuple[str, float, str, float, str]


class TimedJournal:
    """The journal, noting how long after it was taken a sample was on the disk."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.lags: list[float] = []

    @property
    def order(self) -> int:
        return self._journal.order

    async def append(
        self, stream: Literal["records", "files"], entries: Sequence[Payload]
    ) -> tuple[str, int]:
        place = await self._journal.append(stream, entries)
        now = time.monotonic()
        self.lags += [now - e.mono for e in entries if isinstance(e, SampleRecord) and e.mono]
        return place

    def fill(self) -> float:
        return self._journal.fill()


def rows() -> list[Row]:
    """Return the lag, and how many samples are not on the disk a second after the last one."""
    with tempfile.TemporaryDirectory() as directory:
        bare = _bare_commit(Path(directory) / "bare")
        lags, missing = asyncio.run(_record(Path(directory) / "journal"))
    return [
        ("1 000 samples/s → on the node's disk, p50", 1e3 * lags[0], "ms", bare, "a bare commit"),
        ("1 000 samples/s → on the node's disk, p99", 1e3 * lags[1], "ms", bare, "a bare commit"),
        ("of 10 000 samples, late by more than a second", missing, "", 1.0, "none is wanted"),
    ]


def _bare_commit(path: Path) -> float:
    """Return the median of a durable commit of one row, ms."""
    connection = raw_database(path)
    took = []
    for n in range(COMMITS):
        begin = time.perf_counter()
        connection.execute("INSERT INTO samples VALUES (?, 1, ?)", (n, n))
        took.append(time.perf_counter() - begin)
    connection.close()
    return 1e3 * statistics.median(took)


async def _record(path: Path) -> tuple[tuple[float, float], float]:
    journal = Journal.open(path)
    timed = TimedJournal(journal)
    recorder = Recorder(timed, RealClock())
    running = asyncio.create_task(recorder.run())
    begin = time.monotonic()
    total = RATE * SECONDS
    for n in range(total):
        await asyncio.sleep(max(0.0, begin + n / RATE - time.monotonic()))
        values = {f"channel-{c}": n / (c + 1) for c in range(16)}
        recorder.post(SampleRecord(t=utc_now(), mono=time.monotonic(), values=values))
    await asyncio.sleep(1.0)
    late = total - len(timed.lags) + sum(lag > 1.0 for lag in timed.lags)
    recorder.close()
    await running
    journal.close()
    lags = sorted(timed.lags)
    return (lags[len(lags) // 2], lags[int(0.99 * len(lags))]), float(late)

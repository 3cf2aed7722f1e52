"""The journal: from a node's append to the hub's commit, over a real broker, in one process."""

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from pydantic import JsonValue
from ulid import ULID

from broker.access import Principal
from broker.connection import Connection, Message
from broker.embedded import EmbeddedBroker
from broker.journal import Journal, JournalReceiver, JournalSender
from broker.journal.reception import Commit
from broker.messages import History, HubStatus, SampleRecord, utc_now
from broker.topics import Topic
from hub_service.archive import Archive

NODE = "reactor-1"
SAMPLES = 30_000
APPEND = 100
SINGLE = 300
PACED = 300
PAUSE = 0.01
READ_EVERY = 0.5
Row = tuple[str, float, str, float, str]


class TimedSink:
    """The archive, noting when entries became durable."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.durable: dict[int, float] = {}
        self.done = asyncio.Event()
        self.wanted = 0

    async def streams(self) -> Sequence[tuple[str, str]]:
        return await self.archive.streams()

    async def cursors(self, node: str, stream: str) -> Mapping[str, int]:
        return await self.archive.cursors(node, stream)

    async def commit(self, node: str, stream: str, commit: Commit[JsonValue]) -> None:
        await self.archive.commit(node, stream, commit)
        now = time.perf_counter()
        for number in range(commit.first, commit.first + len(commit.entries)):
            self.durable[number] = now
        if len(self.durable) >= self.wanted:
            self.done.set()

    async def applied(self, node: str, stream: str, heard: Sequence[str]) -> Mapping[str, int]:
        return await self.archive.applied(node, stream, heard)

    async def wait(self, wanted: int) -> None:
        self.wanted = wanted
        self.done.clear()
        if len(self.durable) < wanted:
            async with asyncio.timeout(120):
                await self.done.wait()


def sample(n: int) -> SampleRecord:
    return SampleRecord(t=utc_now(), elapsed=float(n), values={"od": n / 1000})


def raw_throughput(path: Path) -> float:
    """Rows a second of bare SQLite with the same durability, as many a commit as an append has."""
    connection = raw_database(path)
    start = time.perf_counter()
    for first in range(0, SAMPLES, APPEND):
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO samples VALUES (?, ?, ?)",
            [(time.time(), 1, n / 1000) for n in range(first, first + APPEND)],
        )
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - start
    connection.close()
    return SAMPLES / elapsed


def raw_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE samples (t REAL, channel INTEGER, v REAL)")
    return connection


async def raw_latency(node: Connection, hub: Connection, directory: Path) -> float:
    """Median seconds of a bare commit, a bare message and another bare commit."""
    first, second = raw_database(directory / "first"), raw_database(directory / "second")
    came = asyncio.Event()

    async def hear(_message: Message) -> None:
        second.execute("INSERT INTO samples VALUES (1.0, 1, 1.0)")
        came.set()

    topic = node.topics.build(Topic.NODE_JOURNAL, node=NODE, stream="files")
    stop = hub.subscribe(topic, hear)
    took = []
    for _ in range(SINGLE):
        start = time.perf_counter()
        first.execute("INSERT INTO samples VALUES (1.0, 1, 1.0)")
        came.clear()
        await node.publish(topic, b"x" * 200)
        async with asyncio.timeout(10):
            await came.wait()
        took.append(time.perf_counter() - start)
        await asyncio.sleep(PAUSE)
    stop()
    first.close()
    second.close()
    return statistics.median(took)


async def latency(journal: Journal, sink: TimedSink, *, count: int, size: int) -> float:
    """Median seconds from append to commit, appending so many entries every `PAUSE`."""
    begun = {}
    wanted = len(sink.durable) + count * size
    start = time.perf_counter()
    for n in range(count):
        now = time.perf_counter()
        _, number = await journal.append("records", [sample(n) for _ in range(size)])
        begun[number] = now
        await asyncio.sleep(max(0.0, start + (n + 1) * PAUSE - time.perf_counter()))
    await sink.wait(wanted)
    return statistics.median(sink.durable[number] - then for number, then in begun.items())


async def throughput(journal: Journal, sink: TimedSink) -> float:
    """Return how many samples a second go all the way."""
    before = len(sink.durable)
    start = time.perf_counter()
    for first in range(0, SAMPLES, APPEND):
        await journal.append("records", [sample(n) for n in range(first, first + APPEND)])
    await sink.wait(before + SAMPLES)
    return SAMPLES / (time.perf_counter() - start)


async def read(archive: Archive) -> None:
    """Look at the node's last day, as a page that is opened does, time and again."""
    while True:
        await archive.history(History(node=NODE))
        await asyncio.sleep(READ_EVERY)


async def measure(directory: Path) -> list[Row]:
    roles = (Principal("hub", "hub"), Principal(NODE, "node"))
    journal = Journal.open(directory / "journal")
    archive = Archive.open(directory / "archive")
    sink = TimedSink(archive)

    async def apply(_node: str, _stream: str) -> None:
        await archive.set_applied(await archive.last_phase())

    try:
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(
                EmbeddedBroker(directory / "broker", roles=roles)
            )
            hub, taker, node = [
                await stack.enter_async_context(
                    Connection(broker.settings_for(name), client_id=f"bench-{place}")
                )
                for place, name in enumerate(("hub", "hub", NODE))
            ]
            for connection in (hub, taker, node):
                await connection.wait_connected(10)
            bare = await raw_latency(node, hub, directory)
            status = HubStatus(
                state="online",
                version="0",
                boot_id=str(ULID()),
                since=utc_now(),
                store_id=str(ULID()),
                generation=1,
            )
            await hub.publish(hub.topics.build(Topic.HUB_STATUS), status.encode(), retain=True)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = [
                tasks.create_task(JournalReceiver(taker, sink, apply).run()),
                tasks.create_task(JournalSender(journal, node, NODE).run()),
            ]
            await journal.append("records", [sample(0)])
            await sink.wait(1)

            single = await latency(journal, sink, count=SINGLE, size=1)
            paced = await latency(journal, sink, count=PACED, size=APPEND)
            rate = await throughput(journal, sink)
            reading = tasks.create_task(read(archive))
            paced_read = await latency(journal, sink, count=PACED, size=APPEND)
            rate_read = await throughput(journal, sink)
            for task in (*running, reading):
                task.cancel()
    finally:
        journal.close()
        archive.close()
    raw = raw_throughput(directory / "raw")
    hop = "bare commit, message, commit"
    at_pace = "journal → committed at 10 000 samples/s"
    reading_too = f"{1 / READ_EVERY:.0f} histories a second read"
    return [
        ("journal → committed at the hub", rate, "samples/s", raw, "one bare SQLite insert each"),
        ("journal → committed, p50", single * 1e3, "ms", bare * 1e3, hop),
        (f"{at_pace}, p50", paced * 1e3, "ms", 25.0, "the budget"),
        (f"{at_pace}, p50, {reading_too}", paced_read * 1e3, "ms", 25.0, "the budget"),
        (
            f"journal → committed at the hub, {reading_too}",
            rate_read,
            "samples/s",
            1e4,
            "the budget",
        ),
    ]


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(measure(Path(directory)))

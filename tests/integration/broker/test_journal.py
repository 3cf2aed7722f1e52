"""The journal from node to hub over real brokers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import JsonValue

from broker.connection import Connection, Message
from broker.journal import Journal, JournalReceiver, JournalSender
from broker.messages import FileChunk, JournalAck, LogRecord, decode
from broker.topics import Topic
from tests.support.brokers import Connector
from tests.support.journal import MemorySink, announce_hub
from tests.support.waiting import eventually

T0 = datetime(2026, 3, 1, tzinfo=UTC)
NODE = "reactor-1"
HEAD = b'{"epoch": "01JNE5X6T3M9Y2Q8R4V7W0ZABC", "order": 1, '


def log(n: int, text: str = "a line") -> LogRecord:
    return LogRecord(t=T0, n=n, source="stdout", text=text)


def chunk(n: int) -> FileChunk:
    return FileChunk(
        experiment_id="01JNE5X6T3M9Y2Q8R4V7W0ZABC",
        attempt=1,
        name="big.bin",
        offset=n * 90_000,
        data="A" * 120_000,
    )


def numbers(sink: MemorySink) -> list[JsonValue]:
    """Return the numbers of the log lines that arrived, -1 for those that never can."""
    return [e["n"] if isinstance(e, dict) else -1 for e in sink.all_of(NODE, "records")]


@asynccontextmanager
async def running(work: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Task[None]]:
    async def go() -> None:
        await work()

    task = asyncio.create_task(go())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ignore(_node: str, _stream: str) -> None:
    """Apply nothing: these tests have no queue."""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path / "journal")
    yield journal
    journal.close()


async def hear_acks(connection: Connection) -> list[dict[str, int]]:
    heard: list[dict[str, int]] = []

    async def hear(message: Message) -> None:
        heard.append(dict(decode(JournalAck, message.payload).epochs))

    connection.subscribe(
        connection.topics.build(Topic.NODE_JOURNAL_ACK, node=NODE, stream="records"), hear
    )
    return heard


async def test_entries_reach_the_hub_and_are_acknowledged(
    connect: Connector, journal: Journal
) -> None:
    sink = MemorySink()
    receiver = JournalReceiver(await connect("hub"), sink, ignore)
    await announce_hub(await connect("hub"))
    sender = JournalSender(journal, await connect(NODE), NODE)
    async with running(receiver.run), running(sender.run):
        for n in range(1, 51):
            await journal.append("records", [log(n)])
        await eventually(lambda: not journal.pending("records"))
    assert numbers(sink) == list(range(1, 51))


async def test_nothing_is_sent_while_the_hub_is_away(connect: Connector, journal: Journal) -> None:
    sink = MemorySink()
    receiver = JournalReceiver(await connect("hub"), sink, ignore)
    hub = await connect("hub")
    node = await connect(NODE)
    sender = JournalSender(journal, node, NODE)
    async with running(receiver.run), running(sender.run):
        await journal.append("records", [log(1)])
        await announce_hub(hub, "offline")
        heard = asyncio.Event()

        async def hear(_: Message) -> None:
            heard.set()

        node.subscribe(node.topics.build(Topic.HUB_STATUS), hear)
        await asyncio.wait_for(heard.wait(), 10)
        assert sink.commits == 0
        await announce_hub(hub, "online")
        await eventually(lambda: numbers(sink) == [1])


async def test_a_hub_that_starts_late_gets_all_epochs_in_order(
    connect: Connector, tmp_path: Path
) -> None:
    for start in (1, 4, 7):
        journal = Journal.open(tmp_path / "journal")
        await journal.append("records", [log(n) for n in range(start, start + 3)])
        journal.close()
    journal = Journal.open(tmp_path / "journal")
    sink = MemorySink()
    hub = await connect("hub")
    await announce_hub(hub)
    sender = JournalSender(journal, await connect(NODE), NODE)
    receiver = JournalReceiver(await connect("hub"), sink, ignore)
    async with running(sender.run), running(receiver.run):
        await eventually(lambda: numbers(sink) == list(range(1, 10)))
        await eventually(lambda: not journal.pending("records"))
    journal.close()


async def test_a_hub_restored_from_a_backup_is_fed_again(
    connect: Connector, journal: Journal
) -> None:
    sink = MemorySink()
    hub = await connect("hub")
    await announce_hub(hub)
    sender = JournalSender(journal, await connect(NODE), NODE)
    async with running(sender.run):
        async with running(JournalReceiver(await connect("hub"), sink, ignore).run):
            await journal.append("records", [log(1), log(2)])
            await eventually(lambda: not journal.pending("records"))
            old = sink.backup()
            await journal.append("records", [log(3), log(4)])
            await eventually(lambda: not journal.pending("records"))
        sink.entries = old
        async with running(JournalReceiver(await connect("hub"), sink, ignore).run):
            await announce_hub(hub)
            await eventually(lambda: numbers(sink) == [1, 2, 3, 4])


async def test_a_hub_that_lost_everything_is_fed_from_the_start(
    connect: Connector, journal: Journal
) -> None:
    hub = await connect("hub")
    await announce_hub(hub)
    sender = JournalSender(journal, await connect(NODE), NODE)
    async with running(sender.run):
        first = MemorySink()
        async with running(JournalReceiver(await connect("hub"), first, ignore).run):
            await journal.append("records", [log(1), log(2)])
            await eventually(lambda: not journal.pending("records"))
        second = MemorySink()
        async with running(JournalReceiver(await connect("hub"), second, ignore).run):
            await announce_hub(hub)
            await journal.append("records", [log(3)])  # a hole for the new one: it says so
            await eventually(lambda: numbers(second) == [1, 2, 3])


async def test_what_the_node_no_longer_has_is_a_visible_gap(
    connect: Connector, journal: Journal
) -> None:
    hub = await connect("hub")
    await announce_hub(hub)
    await journal.append("records", [log(1), log(2), log(3)])
    await journal.acknowledge("records", JournalAck(epochs={journal.epoch: 2}))
    await journal.prune(incoming=10**12)
    sink = MemorySink()
    sender = JournalSender(journal, await connect(NODE), NODE)
    receiver = JournalReceiver(await connect("hub"), sink, ignore)
    async with running(receiver.run), running(sender.run):
        await eventually(lambda: numbers(sink) == [-1, -1, 3])


async def test_only_what_was_applied_is_acknowledged(connect: Connector, journal: Journal) -> None:
    sink = MemorySink()
    sink.hold = 2
    await announce_hub(await connect("hub"))
    acks = await hear_acks(await connect(NODE))
    sender = JournalSender(journal, await connect(NODE), NODE)
    receiver = JournalReceiver(await connect("hub"), sink, ignore)
    async with running(receiver.run), running(sender.run):
        await journal.append("records", [log(n) for n in range(1, 6)])
        await eventually(lambda: numbers(sink) == [1, 2, 3, 4, 5])
        await eventually(lambda: {journal.epoch: 2} in acks)
        await eventually(lambda: journal.pending("records")[0].acked == 2)
        sink.hold = None
        await receiver.acknowledge(NODE, "records")
        await eventually(lambda: not journal.pending("records"))


async def test_a_hub_that_cannot_write_takes_it_later(
    connect: Connector, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    sink = MemorySink()
    sink.failing = True
    hub = await connect("hub")
    await announce_hub(hub)
    sender = JournalSender(journal, await connect(NODE), NODE)
    receiver = JournalReceiver(await connect("hub"), sink, ignore)
    async with running(receiver.run), running(sender.run):
        await journal.append("records", [log(1)])
        await eventually(lambda: "was not taken" in caplog.text)
        assert journal.pending("records")
        sink.failing = False
        await announce_hub(hub)  # sooner than the ten seconds of the resend
        await eventually(lambda: numbers(sink) == [1])


async def test_bulk_does_not_delay_records(connect: Connector, journal: Journal) -> None:
    sink = MemorySink()
    await announce_hub(await connect("hub"))
    await journal.append("files", [chunk(n) for n in range(60)])
    sender = JournalSender(journal, await connect(NODE), NODE)
    receiver = JournalReceiver(await connect("hub"), sink, ignore)
    async with running(receiver.run), running(sender.run):
        await eventually(lambda: sink.commits > 0)
        await journal.append("records", [log(1)])
        await eventually(lambda: numbers(sink) == [1], every=0.001)
        assert journal.pending("files")
        await eventually(lambda: not journal.pending("files"))
    assert len(sink.all_of(NODE, "files")) == 60


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b'{"epoch": "x", "order": 1, "floor": 1, "first": 1, "entries": []}',
        HEAD + b'"floor": 1, "first": 1}',
        HEAD + b'"floor": 1, "first": 99999999999999999999, "entries": [1]}',
        b'"' + b"x" * 300_000 + b'"',
    ],
    ids=lambda payload: payload[:20].decode() or "empty",
)
@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_a_batch_that_makes_no_sense_is_dropped(
    connect: Connector, journal: Journal, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    sink = MemorySink()
    await announce_hub(await connect("hub"))
    node = await connect(NODE)
    receiver = JournalReceiver(await connect("hub"), sink, ignore)
    async with running(receiver.run):
        topic = node.topics.build(Topic.NODE_JOURNAL, node=NODE, stream="records")

        async def refused() -> bool:  # the first ones may come before the receiver listens
            await node.publish(topic, payload)
            return "cannot be read" in caplog.text

        await eventually(refused)
        async with running(JournalSender(journal, node, NODE).run):
            await journal.append("records", [log(1)])
            await eventually(lambda: numbers(sink) == [1])

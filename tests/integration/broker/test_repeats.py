"""What is retained is said again now and again to a broker of several servers, and to no other.

One server named twice stands for several.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from unittest.mock import Mock

import pytest
from ulid import ULID

from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.messages import Channels, NodeReport, utc_now
from broker.topics import Topic, Topics
from hub_service.retained import Retained
from node_service.reports import Reporter
from tests.support.brokers import Connector
from tests.support.inbox import Inbox

pytestmark = pytest.mark.parametrize("broker_kind", ["mosquitto"])

TOPICS = Topics("bioreactor")
REPORT = TOPICS.build(Topic.NODE_REPORT, node="reactor-1")
CHANNELS = TOPICS.build(Topic.NODE_CHANNELS, node="reactor-1")


@asynccontextmanager
async def speaker(
    broker: EmbeddedBroker, principal: str, servers: int
) -> AsyncIterator[Connection]:
    settings = broker.settings_for(principal)
    urls = ",".join([settings.url] * servers)
    async with Connection(settings.model_copy(update={"url": urls}), client_id="speaker") as link:
        await link.wait_connected(10)
        yield link


@asynccontextmanager
async def running(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def heard(connect: Connector, *topics: str) -> Inbox:
    inbox = Inbox()

    def listen(connection: Connection) -> None:
        for topic in topics:
            connection.subscribe(topic, inbox)

    await connect("admin", prepare=listen)
    return inbox


@pytest.mark.parametrize("servers", [1, 2])
async def test_the_hubs_topics(
    broker: EmbeddedBroker, connect: Connector, monkeypatch: pytest.MonkeyPatch, servers: int
) -> None:
    monkeypatch.setattr("hub_service.retained.REPEAT_S", 0.05)
    monkeypatch.setattr("hub_service.retained.AT_ONCE", 2)
    topics = [TOPICS.build(Topic.EXPERIMENT, experiment=str(ULID())) for _ in range(5)]
    inbox = await heard(connect, *topics)
    async with speaker(broker, "hub", servers) as link:
        kept = Retained(link)
        for topic in topics:
            kept.put(topic, b"{}")
        async with running(kept.run()):
            await kept.settled()
            if servers == 1:
                await asyncio.sleep(0.3)
                await link.publish(topics[0], b"last")
                await inbox.wait_until(lambda: b"last" in inbox.payloads)
                assert len(inbox.messages) == len(topics) + 1
                return
            # each of them, once more and again
            await inbox.wait_until(
                lambda: all(
                    sum(message.topic == topic for message in inbox.messages) > 2
                    for topic in topics
                )
            )


@pytest.mark.parametrize("servers", [1, 2])
async def test_a_nodes_report_and_channels(
    broker: EmbeddedBroker, connect: Connector, monkeypatch: pytest.MonkeyPatch, servers: int
) -> None:
    monkeypatch.setattr("node_service.reports.AGAIN_S", 0.05)
    monkeypatch.setattr("node_service.reports.IDLE_SECONDS", 0.05)
    inbox = await heard(connect, REPORT, CHANNELS)
    boot_id = str(ULID())

    async def report() -> NodeReport:
        return NodeReport(
            node="reactor-1", boot_id=boot_id, at=utc_now(), seen_revision=0, accepts=True,
            isolation="none", safe=True,
        )  # fmt: skip

    engine = Mock(spec_set=["known"], known=asyncio.Event())
    engine.known.set()
    async with speaker(broker, "reactor-1", servers) as link:
        reporter = Reporter(
            link,
            "reactor-1",
            engine,
            report=report,
            channels=lambda: Channels(node="reactor-1", label="One", channels=(), images={}),
            may_speak=lambda: True,
        )
        async with running(reporter.run()):
            if servers == 1:
                await inbox.wait_for(2)
                await asyncio.sleep(0.5)
                assert len(inbox.messages) == 2
                return
            for topic in (REPORT, CHANNELS):
                await inbox.wait_until(
                    lambda t=topic: sum(m.topic == t for m in inbox.messages) > 2  # type: ignore[misc]
                )

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from ulid import ULID

from broker.connection import Connection, Presence
from broker.embedded import EmbeddedBroker
from broker.messages import HubStatus, ServiceStatus, decode
from broker.settings import BrokerSettings
from broker.topics import Topic
from tests.support.brokers import Connector
from tests.support.inbox import Inbox

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def node_status() -> ServiceStatus:
    return ServiceStatus(state="online", version="1", boot_id=str(ULID()), since=LONG_AGO)


def hub_status() -> HubStatus:
    return HubStatus(
        state="online",
        version="1",
        boot_id=str(ULID()),
        since=LONG_AGO,
        store_id=str(ULID()),
        generation=3,
    )


async def test_presence_is_said_at_connect_and_at_a_clean_exit(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    inbox, status = Inbox(), hub_status()
    portal = await connect("portal")
    topic = portal.topics.build(Topic.HUB_STATUS)
    portal.subscribe(topic, inbox)

    connection = Connection(broker.settings_for("hub"), client_id="hub")
    async with connection, Presence(connection, topic, status):
        await inbox.wait_for(1)
    await inbox.wait_for(2)

    online, offline = (decode(HubStatus, payload) for payload in inbox.payloads)
    assert (online.state, offline.state) == ("online", "offline")
    assert online.store_id == offline.store_id == status.store_id
    assert LONG_AGO < online.since <= offline.since


async def test_what_others_did_not_hear_is_said_again(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    """Others may be told `offline` late, or not of `online`: the service itself notices neither."""
    inbox, status = Inbox(), node_status()
    hub = await connect("hub")
    topic = hub.topics.build(Topic.NODE_STATUS, node="reactor-1")
    connection = Connection(broker.settings_for("reactor-1"), client_id="reactor-1")
    async with connection, Presence(connection, topic, status, again=0.05):
        await connection.wait_connected(10)
        hub.subscribe(topic, inbox)
        await inbox.wait_for(4)
    said = {decode(ServiceStatus, payload) for payload in inbox.payloads[:4]}
    assert len(said) == 1, "always the same, since the same moment"
    assert said.pop().state == "online"


async def test_the_last_will_says_offline_when_the_connection_is_cut(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    inbox = Inbox()
    hub = await connect("hub")
    topic = hub.topics.build(Topic.NODE_STATUS, node="reactor-1")
    hub.subscribe("bioreactor/nodes/+/status", inbox)
    async with AsyncExitStack() as stack:
        connection = Connection(broker.settings_for("reactor-1"), client_id="reactor-1")
        presence = Presence(connection, topic, node_status())
        await stack.enter_async_context(connection)
        await stack.enter_async_context(presence)
        await inbox.wait_for(1)

        assert connection._session is not None
        connection._session.abort("the cable was pulled")
        await inbox.wait_for(3)
        assert b'"offline"' in inbox.payloads[1]
        # it comes back by itself and says so
        await inbox.wait_until(lambda: b'"online"' in inbox.payloads[-1])


async def test_a_stale_last_will_is_contradicted(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    inbox, status = Inbox(), node_status()
    hub, impostor = await connect("hub"), await connect("reactor-1")
    topic = hub.topics.build(Topic.NODE_STATUS, node="reactor-1")
    hub.subscribe("bioreactor/nodes/+/status", inbox)
    connection = Connection(broker.settings_for("reactor-1"), client_id="reactor-1")
    async with connection, Presence(connection, topic, status):
        await inbox.wait_for(1)

        for stale in (
            node_status().model_copy(update={"state": "offline"}).encode(),  # an earlier boot's
            status.model_copy(update={"state": "offline"}).encode(),  # our own, late
            b"",  # somebody removed it
            b"\xff not a status",
        ):
            before = len(inbox.messages)
            await impostor.publish(topic, stale, retain=True)
            await inbox.wait_for(before + 2)
            said = decode(ServiceStatus, inbox.payloads[-1])
            assert (said.state, said.boot_id) == ("online", status.boot_id)

    await inbox.wait_until(lambda: b'"offline"' in inbox.payloads[-1])


async def test_presence_leaves_in_peace_when_the_broker_is_gone() -> None:
    connection = Connection(BrokerSettings(url="mqtt://127.0.0.1:9"), client_id="alone")
    async with asyncio.timeout(5):
        async with connection, Presence(connection, "bioreactor/hub/status", hub_status()):
            await asyncio.sleep(0)
    assert not connection.connected

"""What the contract forbids does not arrive; what it allows does, on both brokers alike."""

import asyncio
from functools import partial

import pytest

from broker.access import grants
from broker.connection import Connection, Message, SubscriptionRefusedError
from broker.embedded import EmbeddedBroker
from broker.session import Session
from broker.streams import open_stream
from broker.topics import SPECS, Topic, Topics
from tests.support.brokers import ROLES, Connector
from tests.support.inbox import Inbox
from tests.support.waiting import PATIENCE

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
TOPICS = Topics()
LEVELS = {
    "portal": "portal",
    "verb": "list",
    "client": "tool",
    "experiment": ULID,
    "stream": "records",
    "kind": "alarm",
    "channel": "media",
}
PRINCIPALS = {principal.name: principal for principal in ROLES}


@pytest.mark.parametrize("sender", PRINCIPALS)
async def test_only_senders_named_by_the_contract_are_heard(
    connect: Connector, sender: str
) -> None:
    """Each principal publishes to every kind of topic, as itself and as another."""
    inboxes = {name: Inbox() for name in PRINCIPALS}

    def listen(connection: Connection, name: str) -> None:
        for topic_filter in grants(PRINCIPALS[name], TOPICS).read:
            connection.subscribe(topic_filter, inboxes[name])

    for name in PRINCIPALS:  # connected only when every subscription was granted
        await connect(name, prepare=partial(listen, name=name))
    speaker = await connect(sender)
    allowed: set[str] = set()
    for text in texts():
        if may_say(sender, text):
            allowed.add(text)
        await speaker.publish(text, sender.encode(), qos=1)

    # the sender's last message passes the same queues, so what came before it has come
    heard = {m.topic for inbox in inboxes.values() for m in inbox.messages}
    async with asyncio.timeout(PATIENCE):
        while not allowed <= heard:
            await asyncio.sleep(0.02)
            heard = {m.topic for inbox in inboxes.values() for m in inbox.messages}
    cleared = {text for text in heard - allowed if clears(sender, text)}
    assert heard - cleared == allowed


def clears(sender: str, text: str) -> bool:
    """Whether the sender is the reader of this command, who may remove a retained one."""
    address = TOPICS.parse(text)
    assert address is not None
    if address.topic in {Topic.HUB_REQUEST, Topic.HUB_ADMIN}:
        return sender == "hub"
    commands = {
        *(Topic.NODE_COMMAND, Topic.NODE_MANUAL_END),
        *(Topic.NODE_ESTOP, Topic.NODE_ESTOP_RELEASE),
    }
    return address.topic in commands and address["node"] == sender


def texts() -> set[str]:
    """Return topics of every kind, of each node and each principal."""
    return {
        TOPICS.build(topic, node=node, principal=principal, **LEVELS)
        for topic in SPECS
        for node in ("reactor-1", "reactor-2")
        for principal in ("alice", "bob", "admin", "portal")
    }


def may_read(reader: str, text: str) -> bool:
    """What the table of the contract says."""
    address = TOPICS.parse(text)
    assert address is not None
    role = PRINCIPALS[reader].role
    if role not in SPECS[address.topic].readers:
        return False
    if role == "node":
        return address.levels.get("node", reader) == reader
    return role == "hub" or address.levels.get("principal", reader) == reader


@pytest.mark.parametrize("reader", PRINCIPALS)
async def test_only_readers_named_by_the_contract_hear(
    broker: EmbeddedBroker, connect: Connector, reader: str
) -> None:
    """Each principal subscribes to each topic by itself, and everything is said once."""
    speakers = {name: await connect(name) for name in PRINCIPALS}
    said = {text: name for text in texts() for name in PRINCIPALS if may_say(name, text)}
    wanted = {text for text in said if may_read(reader, text)}
    heard: set[str] = set()
    ended: list[bool] = []
    done = asyncio.Event()

    def deliver(message: Message, mid: int | None) -> None:
        heard.add(message.topic)
        if mid is not None:
            session.acknowledge(mid)
        ended.append(message.payload == b"end")
        if any(ended) and wanted <= heard:  # NATS keeps no order between subscriptions
            done.set()

    settings = broker.settings_for(reader)
    session = Session(
        await open_stream(settings),
        settings,
        client_id="reader",
        clean_session=True,
        will=None,
        deliver=deliver,
    )
    try:
        await session.open()
        for text in texts():
            try:
                await session.subscribe([(text, 1)])
            except SubscriptionRefusedError:
                assert not may_read(reader, text)
        for text, sender in said.items():
            await speakers[sender].publish(text, b"said", qos=1)
        await speakers["hub"].publish("bioreactor/hub/status", b"end", qos=1)
        async with asyncio.timeout(PATIENCE):
            await done.wait()
    finally:
        await session.close()
    assert heard == wanted


def may_say(sender: str, text: str) -> bool:
    """What the table of the contract says, but for commands that their readers clear."""
    address = TOPICS.parse(text)
    assert address is not None
    role = PRINCIPALS[sender].role
    if role not in SPECS[address.topic].senders:
        return False
    if role == "node":
        return address.levels.get("node", sender) == sender
    return role == "hub" or address.levels.get("principal", sender) == sender


SECRETS = [
    ("bob", "bioreactor/reply/alice/+"),
    ("alice", "bioreactor/hub/request/+/+"),
    ("alice", "bioreactor/nodes/reactor-1/assignment"),
    ("alice", "bioreactor/nodes/reactor-1/journal/records"),
    ("reactor-2", "bioreactor/nodes/reactor-1/assignment"),
    ("reactor-1", "bioreactor/hub/request/alice/submit"),
    ("portal", "bioreactor/nodes/reactor-1/journal/files"),
    ("alice", "#"),
    ("alice", "bioreactor/#"),
    ("alice", "$MQTT/#"),
    ("alice", "$SYS/#"),
]


@pytest.mark.parametrize(("reader", "topic_filter"), SECRETS)
async def test_what_is_not_for_a_reader_never_reaches_it(
    broker: EmbeddedBroker, connect: Connector, reader: str, topic_filter: str
) -> None:
    """NATS refuses the subscription, Mosquitto grants it and delivers nothing."""
    speakers = {name: await connect(name) for name in ("hub", "alice", "reactor-1")}
    inbox = Inbox()

    async def spy() -> None:
        async with Connection(broker.settings_for(reader), client_id="spy") as connection:
            connection.subscribe(topic_filter, inbox)
            await connection.wait_connected(10)
            other = "bob" if reader == "alice" else "alice"
            await speakers["hub"].publish(f"bioreactor/reply/{other}/tool", b"secret")
            await speakers["hub"].publish("bioreactor/nodes/reactor-1/assignment", b"secret")
            await speakers["alice"].publish("bioreactor/hub/request/alice/submit", b"secret")
            for stream in ("records", "files"):
                topic = f"bioreactor/nodes/reactor-1/journal/{stream}"
                await speakers["reactor-1"].publish(topic, b"secret")
            # a message that the reader may read, sent last
            done = Inbox()
            connection.subscribe("bioreactor/hub/status", done)
            await speakers["hub"].publish("bioreactor/hub/status", b"end", retain=True)
            await done.wait_for(1)

    if broker.kind == "nats":
        with pytest.raises(SubscriptionRefusedError):
            await spy()
    else:
        await spy()
    assert b"secret" not in inbox.payloads

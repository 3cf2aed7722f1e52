"""What the contract forbids does not arrive; what it allows does, on both brokers alike."""

import asyncio

import pytest

from broker.access import grants
from broker.connection import Connection, SubscriptionRefusedError
from broker.embedded import EmbeddedBroker
from broker.topics import SPECS, Topic, Topics
from tests.support.brokers import ROLES, Connector
from tests.support.inbox import Inbox

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

    for name, reader in PRINCIPALS.items():
        connection = await connect(name)
        for topic_filter in grants(reader, TOPICS).read:
            connection.subscribe(topic_filter, inboxes[name])
    speaker = await connect(sender)
    allowed: set[str] = set()
    for topic, spec in SPECS.items():
        for node in ("reactor-1", "reactor-2"):
            for principal in ("alice", "bob", "admin", "portal"):
                text = TOPICS.build(topic, node=node, principal=principal, **LEVELS)
                role = PRINCIPALS[sender].role
                own_node = role != "node" or "{node}" not in topic.value or node == sender
                speaks_for_itself = role in {"hub", "node"} or "{principal}" not in topic.value
                own = own_node and (speaks_for_itself or principal == sender)
                if role in spec.senders and own:
                    allowed.add(text)
                await speaker.publish(text, sender.encode(), qos=1)

    # the sender's last message passes the same queues, so what came before it has come
    heard = {m.topic for inbox in inboxes.values() for m in inbox.messages}
    async with asyncio.timeout(10):
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

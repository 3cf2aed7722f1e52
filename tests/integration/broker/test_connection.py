import asyncio
import os
import signal
from typing import Literal

import pytest

from broker.brokers import NATS_ACK_WAIT_S
from broker.connection import (
    Connection,
    Handler,
    Message,
    NotConnectedError,
    NotReachedError,
    SubscriptionRefusedError,
)
from broker.embedded import EmbeddedBroker
from broker.messages import MAX_PAYLOAD_BYTES, ContractError, ErrorCode
from broker.settings import BrokerSettings
from broker.topics import Topic
from tests.support.brokers import Connector
from tests.support.inbox import Inbox

Transport = Literal["tcp", "websockets"]
BOTH = pytest.mark.parametrize("transport", ["tcp", "websockets"])


@BOTH
async def test_payloads_of_any_size_arrive_whole_and_in_order(
    connect: Connector, transport: Transport
) -> None:
    inbox = Inbox()
    hub = await connect("hub", transport=transport)
    topic = hub.topics.build(Topic.QUEUE)
    await connect("portal", transport=transport, prepare=lambda c: listen(c, topic, inbox))
    sizes = [
        0,
        1,
        125,
        126,
        3990,
        4000,
        4096,
        65535,
        65536,
        MAX_PAYLOAD_BYTES,
        7,
        MAX_PAYLOAD_BYTES,
    ]
    sent = [Message(topic, os.urandom(size)) for size in sizes]

    for message in sent:
        await hub.publish_message(message)

    assert await inbox.wait_for(len(sent)) == sent


@BOTH
async def test_many_large_messages_at_once_fill_every_buffer_and_arrive(
    connect: Connector, transport: Transport
) -> None:
    inbox = Inbox()
    hub = await connect("hub", transport=transport)
    topic = hub.topics.build(Topic.QUEUE)
    await connect("portal", transport=transport, prepare=lambda c: listen(c, topic, inbox))
    sent = [bytes([n]) * 256 * 1024 for n in range(64)]

    await asyncio.gather(*(hub.publish(topic, payload, timeout=30) for payload in sent))

    await inbox.wait_for(len(sent))
    assert inbox.payloads == sent


@BOTH
@pytest.mark.parametrize("broker_kind", ["mosquitto"], indirect=True)
async def test_a_large_message_is_not_held_up_by_the_websocket_listener(
    connect: Connector, transport: Transport
) -> None:
    inbox = Inbox()
    hub = await connect("hub", transport=transport)
    topic = hub.topics.build(Topic.QUEUE)
    await connect("portal", transport=transport, prepare=lambda c: listen(c, topic, inbox))

    await hub.publish(topic, os.urandom(MAX_PAYLOAD_BYTES))

    await inbox.wait_for(1, within=3)  # 4 KiB each 0.1 s would take 19 s


async def test_qos_0_and_retained_messages(connect: Connector) -> None:
    node = await connect("reactor-1")
    live = node.topics.build(Topic.NODE_TELEMETRY, node="reactor-1")
    kept = node.topics.build(Topic.NODE_CHANNELS, node="reactor-1")
    await node.publish(kept, b"channels", retain=True)
    early, late = Inbox(), Inbox()

    def prepare(connection: Connection) -> None:
        connection.subscribe("bioreactor/nodes/+/channels", early)
        connection.subscribe("bioreactor/nodes/+/telemetry", early)

    portal = await connect("portal", prepare=prepare)
    await node.publish(live, b"now", qos=0)

    assert await early.wait_for(2) == [
        Message(kept, b"channels", 1, retain=True),
        Message(live, b"now", 0, retain=False),
    ]
    # a second handler of the same filter, made while connected, gets what is retained, too
    portal.subscribe("bioreactor/nodes/+/channels", late)
    assert (await late.wait_for(1))[0].payload == b"channels"


async def test_unsubscribed_handlers_are_not_called(connect: Connector) -> None:
    hub, portal = await connect("hub"), await connect("portal")
    topic = hub.topics.build(Topic.QUEUE)
    first, second = Inbox(), Inbox()
    stop = portal.subscribe(topic, first)
    portal.subscribe(topic, second)
    await hub.publish(topic, b"1", retain=True)
    await first.wait_for(1)
    await second.wait_for(1)

    stop()
    await hub.publish(topic, b"2")

    await second.wait_until(lambda: second.payloads[-1] == b"2")
    assert b"2" not in first.payloads


async def test_a_message_that_breaks_its_handler_does_not_block_the_next(
    connect: Connector, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()
    hub = await connect("hub")
    topic = hub.topics.build(Topic.QUEUE)

    async def handle(message: Message) -> None:
        if message.payload == b"poison":
            raise RuntimeError("cannot digest this")
        await inbox(message)

    await connect("portal", prepare=lambda c: listen(c, topic, handle))
    for payload in (b"poison", b"poison", b"food"):
        await hub.publish(topic, payload)

    await inbox.wait_for(1)
    assert inbox.payloads == [b"food"]
    assert f"handling a message on {topic} failed" in caplog.text


async def test_what_is_too_large_is_refused_before_the_broker_would_hang_up(
    connect: Connector,
) -> None:
    hub = await connect("hub")

    with pytest.raises(ContractError) as caught:
        await hub.publish(hub.topics.build(Topic.QUEUE), bytes(MAX_PAYLOAD_BYTES + 1))

    assert caught.value.error.code is ErrorCode.TOO_LARGE
    assert hub.connected


async def test_a_slow_handler_holds_the_broker_back_and_loses_nothing(connect: Connector) -> None:
    count, handled = 5000, Inbox()

    async def slow(message: Message) -> None:
        await asyncio.sleep(0)
        if len(handled.messages) in {0, 10}:
            await asyncio.sleep(0.5)  # meanwhile everything has been sent
        await handled(message)

    hub = await connect("hub")
    topic = hub.topics.build(Topic.QUEUE)
    portal = await connect("portal", prepare=lambda c: listen(c, topic, slow))
    for start in range(0, count, 500):
        numbers = range(start, start + 500)
        await asyncio.gather(*(hub.publish(topic, b"%d" % n, timeout=30) for n in numbers))

    await handled.wait_for(count, within=60)
    assert handled.payloads == [b"%d" % n for n in range(count)]
    assert portal.connected


async def test_after_the_broker_was_killed_everything_is_there_again(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    inbox, hub_inbox = Inbox(), Inbox()
    times = 0
    published = asyncio.Event()

    async def republish() -> None:
        nonlocal times
        times += 1
        await hub.publish(topic, b"%d" % times, retain=True)
        published.set()

    hub = await connect("hub")
    topic = hub.topics.build(Topic.QUEUE)
    lost: list[str] = []
    hub.on_disconnect(lambda: lost.append("hub"))
    hub.on_connect(republish)  # connected already: called at once
    hub.subscribe(hub.topics.build(Topic.HUB_REQUEST, principal="+", verb="+"), hub_inbox)
    await published.wait()
    portal = await connect("portal", prepare=lambda c: listen(c, topic, inbox))
    await inbox.wait_until(lambda: b"1" in inbox.payloads)

    os.kill(broker.pid, signal.SIGKILL)

    # the broker is started again on the same port; the state comes from its owner, not from disk
    await inbox.wait_until(lambda: b"2" in inbox.payloads)
    assert lost == ["hub"]
    await portal.wait_connected(10)
    await portal.publish(
        portal.topics.build(Topic.HUB_REQUEST, principal="portal", verb="list"), b"{}"
    )
    await hub_inbox.wait_for(1)


@pytest.mark.parametrize("broker_kind", ["mosquitto"], indirect=True)
async def test_publishing_while_the_broker_is_frozen_times_out_and_comes_back(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    hub = await connect("hub")
    topic = hub.topics.build(Topic.QUEUE)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError, match="did not acknowledge"):
            await hub.publish(topic, b"x", timeout=0.2)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    await hub.publish(topic, b"x")


async def test_publishing_offline_fails_at_once() -> None:
    settings = BrokerSettings(url="mqtt://127.0.0.1:9")

    async with Connection(settings, client_id="nobody-there") as connection:
        with pytest.raises(NotConnectedError):
            await connection.publish("bioreactor/queue", b"")
        with pytest.raises(NotReachedError, match=r"refused|failed"):
            await connection.wait_connected(0.3)
        assert connection.disconnected_since is not None
        assert not connection.connected


async def test_a_wrong_password_is_told(broker: EmbeddedBroker) -> None:
    settings = broker.settings_for("hub").model_copy(update={"username": "mallory"})

    async with Connection(settings, client_id="mallory") as connection:
        with pytest.raises(NotReachedError, match="refuses mallory: wrong password"):
            await connection.wait_connected(2)


@pytest.mark.parametrize("broker_kind", ["nats"], indirect=True)
async def test_a_refused_subscription_is_fatal_and_names_the_topic(
    broker: EmbeddedBroker,
) -> None:
    async def ignore(message: Message) -> None:
        raise AssertionError(message)

    async def serve() -> None:
        async with Connection(broker.settings_for("alice"), client_id="alice") as connection:
            connection.subscribe("bioreactor/nodes/+/journal/+", ignore)
            await asyncio.get_running_loop().create_future()  # serves for ever

    with pytest.raises(SubscriptionRefusedError, match=r"bioreactor/nodes/\+/journal/\+"):
        async with asyncio.timeout(10):
            await serve()


async def test_cancelling_the_owner_ends_the_connection_quietly(broker: EmbeddedBroker) -> None:
    entered = asyncio.Event()

    async def serve() -> None:
        async with Connection(broker.settings_for("hub"), client_id="hub") as connection:
            await connection.wait_connected(10)
            entered.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(serve())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_two_clients_with_one_id_do_not_melt_the_broker(connect: Connector) -> None:
    first = await connect("hub", client_id="twin")
    taken = asyncio.Event()
    first.on_disconnect(taken.set)

    await connect("hub", client_id="twin")

    async with asyncio.timeout(5):
        await taken.wait()


async def test_a_persistent_session_gets_what_came_while_it_was_away(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    hub = await connect("hub")
    topic = hub.topics.build(Topic.QUEUE)
    inbox = Inbox()
    settings = broker.settings_for("portal")
    async with Connection(settings, client_id="stays", clean_session=False) as portal:
        portal.subscribe(topic, inbox)
        await portal.wait_connected(10)
    await hub.publish(topic, b"while away")

    async with Connection(settings, client_id="stays", clean_session=False) as portal:
        portal.subscribe(topic, inbox)
        # NATS may still have sent it to the connection that was just closed
        within = 10.0 + NATS_ACK_WAIT_S
        await inbox.wait_until(lambda: b"while away" in inbox.payloads, within=within)


def listen(connection: Connection, topic: str, handler: Handler) -> None:
    connection.subscribe(topic, handler)

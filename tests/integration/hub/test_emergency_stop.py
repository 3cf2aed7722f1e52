"""The command line's emergency stop: said to the reactor itself, without the hub."""

from broker.connection import Connection
from broker.topics import ANY, Topic
from tests.integration.hub.conftest import Site
from tests.integration.hub.doors import CommandLineDoor
from tests.support.fake_node import FakeNode
from tests.support.inbox import Inbox
from tests.support.waiting import eventually


async def test_it_stops_and_releases_without_a_hub(site: Site) -> None:
    node = FakeNode(await site.connect("reactor-1"))
    await node.announce()
    await node.report(1)
    door = CommandLineDoor(site.broker.settings_for("admin"), site.path)

    code, told = await door.run(["estop", "reactor-1", "--reason", "it smells"])
    assert (code, told["outcome"]) == ("", "done")
    assert node.estop is not None
    assert "it smells" in node.estop.reason

    assert (await door.run(["reactor", "release", "reactor-1"]))[0] == "CONFIRMATION_REQUIRED"
    assert node.estop is not None
    code, told = await door.run(["reactor", "release", "reactor-1", "--yes"])
    assert (code, told["outcome"]) == ("", "done")
    assert (await door.run(["reactor", "release", "reactor-1", "--yes"]))[0] == "WRONG_STATE"


async def test_an_order_to_a_reactor_that_nobody_knows_stays_until_it_appears(site: Site) -> None:
    """It may exist: a broker that was restarted has forgotten it, and it connects again slowly."""
    door = CommandLineDoor(site.broker.settings_for("admin"), site.path)
    assert (await door.run(["estop", "reactor-1"]))[0] == "NOT_FOUND"
    assert (await door.run(["reactor", "release", "reactor-1", "--yes"]))[0] == "NOT_FOUND"
    node = FakeNode(await site.connect("reactor-1"))
    await node.announce()
    await eventually(lambda: node.estop is not None)
    assert (await door.run(["estop", "reactor-1", "--take-back", "--yes"]))[0] == "WRONG_STATE"
    assert node.estop is not None


async def test_an_order_to_a_wrong_name_is_said_and_can_be_taken_back(site: Site) -> None:
    """Somebody in need must not believe that a reactor is stopped whose name was mistyped."""
    node = FakeNode(await site.connect("reactor-1"))
    await node.announce()
    await node.report(1)
    door = CommandLineDoor(site.broker.settings_for("admin"), site.path)
    assert (await door.run(["estop", "reactor-2"]))[0] == "NOT_FOUND"
    assert (await door.run(["estop", "Reactor 1"]))[0] == "MALFORMED"
    assert node.estop is None

    wanted = ["estop", "reactor-2", "--take-back"]
    assert (await door.run(wanted))[0] == "CONFIRMATION_REQUIRED"
    code, told = await door.run([*wanted, "--yes"])
    assert (code, told["outcome"]) == ("", "done")
    orders = Inbox()
    topics = node.connection.topics
    every = topics.build(Topic.NODE_ESTOP, node="reactor-2", principal=ANY)
    await site.connect("reactor-2", prepare=lambda c: _listen(c, every, orders))
    # What is retained comes before this, which is not; the order was taken back.
    admin = await site.connect("admin")
    topic = topics.build(Topic.NODE_ESTOP, node="reactor-2", principal="admin")
    await admin.publish(topic, b"live")
    await orders.wait_for(1)
    assert orders.payloads == [b"live"]


def _listen(connection: Connection, topic: str, inbox: Inbox) -> None:
    connection.subscribe(topic, inbox)

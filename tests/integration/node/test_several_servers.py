"""Servers of a cluster that do not hear what is retained at one another.

Two brokers that know nothing of one another stand for them; the node takes them for one cluster.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.messages import EstopRelease, EstopRequest, NodeReport, decode
from broker.topics import ANY, Topic, Topics
from tests.support.brokers import ROLES, Connector
from tests.support.inbox import Inbox
from tests.support.node import BASE_IMAGE, Node, remove_containers, write_config
from tests.support.waiting import eventually

TOPICS = Topics("bioreactor")
STATUS = TOPICS.build(Topic.NODE_STATUS, node="reactor-1")
REPORT = TOPICS.build(Topic.NODE_REPORT, node="reactor-1")


@pytest.fixture
async def brokers(tmp_path: Path) -> AsyncIterator[list[EmbeddedBroker]]:
    one, other = (
        EmbeddedBroker(tmp_path / name, roles=ROLES, kind="mosquitto", websocket_port=None)
        for name in ("one", "other")
    )
    async with one:
        (tmp_path / "other").mkdir()
        shutil.copy(tmp_path / "one" / "passwords.json", tmp_path / "other")
        async with other:
            yield [one, other]


@pytest.fixture
async def node(
    brokers: list[EmbeddedBroker], tmp_path: Path, bare_recipe: Path, image_cache: Path
) -> AsyncIterator[Node]:
    node = Node(tmp_path / "node.toml", tmp_path / "node")
    urls = ",".join(broker.settings_for("reactor-1").url for broker in brokers)
    write_config(
        node.config,
        brokers[0].settings_for("reactor-1").model_copy(update={"url": urls}),
        {"bare": bare_recipe},
        id="reactor-1", data_dir=str(node.data), base_image=BASE_IMAGE,
        cache_dir=str(image_cache),
    )  # fmt: skip
    node.start()
    try:
        yield node
    finally:
        await node.stop()
        await remove_containers(node.data)


async def test_a_stop_is_heard_that_another_server_alone_knows_of(
    brokers: list[EmbeddedBroker], node: Node
) -> None:
    async with AsyncExitStack() as stack:
        heard: list[dict[str, Inbox]] = []
        connects = [Connector(broker, stack) for broker in brokers]
        for connect in connects:
            boxes = {STATUS: Inbox(), REPORT: Inbox()}
            heard.append(boxes)
            await connect("hub", prepare=lambda c, b=boxes: _listen(c, b))  # type: ignore[misc]
        await eventually(lambda: any(boxes[STATUS].messages for boxes in heard))
        near = int(bool(heard[1][STATUS].messages))
        far = 1 - near

        def report() -> NodeReport | None:
            said = heard[near][REPORT].payloads
            return decode(NodeReport, said[-1]) if said else None

        order = TOPICS.build(Topic.NODE_ESTOP, node="reactor-1", principal="admin")
        stranger = await connects[far]("admin")
        await stranger.publish(order, EstopRequest(reason="fire").encode(), retain=True)
        await eventually(lambda: (now := report()) is not None and now.estop is not None)
        assert not heard[far][STATUS].messages

        held = report()
        assert held is not None
        assert held.estop is not None
        release = TOPICS.build(Topic.NODE_ESTOP_RELEASE, node="reactor-1", principal="admin")
        admin = await connects[near]("admin")
        await admin.publish(release, EstopRelease(latch=held.estop.latch).encode())
        await eventually(lambda: (now := report()) is not None and now.estop is None)

        # It is not engaged again by what stands at the other server: what is retained comes first.
        left = Inbox()
        every = TOPICS.build(Topic.NODE_ESTOP, node="reactor-1", principal=ANY)
        await connects[far]("reactor-1", prepare=lambda c: _listen(c, {every: left}))
        await stranger.publish(order, b"live")
        await left.wait_for(1)
        assert left.payloads == [b"live"]


def _listen(connection: Connection, boxes: dict[str, Inbox]) -> None:
    for topic, inbox in boxes.items():
        connection.subscribe(topic, inbox)

"""Spoiled messages on every topic that a node reads: told where a person asked, no change."""

import asyncio

import pytest

from broker.asyncapi import PAYLOADS
from broker.connection import Connection
from broker.messages import MAX_PAYLOAD_BYTES, ErrorCode, ErrorReport, Payload, Reply, decode
from broker.topics import SPECS, STREAMS, Topic
from tests.support.brokers import Connector
from tests.support.inbox import Inbox
from tests.support.node import Hub, Node
from tests.support.spoiled import spoiled
from tests.support.waiting import eventually

FROM_THE_HUB = [
    topic
    for topic, spec in SPECS.items()
    if "hub" in spec.senders and "node" in spec.readers and topic is not Topic.NODE_ESTOP
]
FROM_PEOPLE = (Topic.NODE_COMMAND, Topic.NODE_MANUAL_END, Topic.NODE_ESTOP_RELEASE)
"""An emergency stop is none of them: whatever is in it, it counts."""


def sendable(model: type[Payload]) -> list[bytes]:
    return [payload for _, payload, _ in spoiled(model) if len(payload) <= MAX_PAYLOAD_BYTES]


async def send(connection: Connection, topic: str, payloads: list[bytes]) -> None:
    for start in range(0, len(payloads), 50):
        some = payloads[start : start + 50]
        await asyncio.gather(*(connection.publish(topic, payload) for payload in some))


@pytest.mark.parametrize(
    "node_settings", [{"runner": "bubblewrap", "allow_reduced_isolation": True}]
)
async def test_spoiled_messages_change_nothing(running: Node, hub: Hub, connect: Connector) -> None:
    before = hub.report
    for topic in FROM_THE_HUB:
        levels = [{"stream": stream} for stream in STREAMS] if "{stream}" in topic else [{}]
        for level in levels:
            named = {"node": hub.node} if "{node}" in topic else {}
            address = hub.connection.topics.build(topic, **named, **level)
            await send(hub.connection, address, sendable(PAYLOADS[topic]))
    told = Inbox()

    def listen(connection: Connection) -> None:
        topics = connection.topics
        connection.subscribe(topics.build(Topic.REPLY, principal="admin", client="+"), told)
        connection.subscribe(topics.build(Topic.ERRORS, principal="admin"), told)

    admin = await connect("admin", prepare=listen)
    sent = 0
    for asked in FROM_PEOPLE:
        levels_ = {"channel": "media"} if "{channel}" in asked else {}
        address = admin.topics.build(asked, node=hub.node, principal="admin", **levels_)
        bad = sendable(PAYLOADS[asked])
        sent += len(bad)
        await send(admin, address, bad)
    await eventually(lambda: len(told.messages) >= sent)
    assert len(told.messages) == sent
    for message in told.messages:
        address_ = admin.topics.parse(message.topic)
        assert address_ is not None
        if address_.topic is Topic.REPLY:
            error = decode(Reply, message.payload).error
        else:
            error = decode(ErrorReport, message.payload).error
        assert error is not None
        assert error.code in {ErrorCode.MALFORMED, ErrorCode.TOO_LARGE}
    await hub.say_online()
    assignment = await hub.run("print('hello')")
    await hub.until_phase(str(assignment.experiment_id), "finished")
    assert hub.log(str(assignment.experiment_id)) == ["hello"]
    after = hub.report
    assert (after.boot_id, after.estop) == (before.boot_id, None)
    assert after.seen_revision == assignment.revision
    assert {entry.experiment_id for entry in after.ledger} == {assignment.experiment_id}

"""Spoiled messages on every topic that the hub reads: an error on the right channel, no change."""

import asyncio
from typing import Any

import pytest

from broker.asyncapi import PAYLOADS
from broker.connection import Connection
from broker.messages import (
    ADMIN_REQUESTS,
    MAX_PAYLOAD_BYTES,
    REQUESTS,
    ErrorCode,
    ErrorReport,
    OnExperiment,
    Payload,
    Reply,
    decode,
)
from broker.topics import SPECS, STREAMS, Topic
from hub_service.queue.state import NodeState
from tests.integration.hub.conftest import Site, unknown_id
from tests.support.inbox import Inbox
from tests.support.spoiled import spoiled, whole
from tests.support.waiting import eventually

AT_ONCE = 100
SPOILED = {ErrorCode.MALFORMED, ErrorCode.TOO_LARGE}
FROM_NODES = [t for t, spec in SPECS.items() if "node" in spec.senders and "hub" in spec.readers]


@pytest.fixture
def broker_kind() -> str:
    return "mosquitto"


def sendable(model: type[Payload]) -> list[bytes]:
    """Return spoiled messages but those that are too large for our own connections to send."""
    return [payload for _, payload, _ in spoiled(model) if len(payload) <= MAX_PAYLOAD_BYTES]


async def answered(replies: Inbox, errors: Inbox, count: int) -> None:
    await eventually(lambda: len(replies.messages) + len(errors.messages) >= count)


def everything(site: Site) -> tuple[object, bytes]:
    """Return what the hub knows, and what its disk holds."""
    assert site.hub is not None
    queue = (site.path / "hub" / "queue.json").read_bytes()
    return site.hub.store.state.durable, queue


async def test_spoiled_requests_change_nothing_and_are_answered(site: Site) -> None:
    """To whom they name as their client, else on errors/."""
    hub = await site.start_hub()
    alice, _ = await site.person("alice"), await site.start_node()
    one = (await alice.submit()).experiment_id
    await eventually(lambda: hub.store.state.entries[one].phase == "executing")
    before = everything(site)
    replies, errors = Inbox(), Inbox()

    def listen(connection: Connection) -> None:
        topics = connection.topics
        connection.subscribe(topics.build(Topic.REPLY, principal="portal", client="+"), replies)
        connection.subscribe(topics.build(Topic.ERRORS, principal="portal"), errors)

    portal = await site.connect("portal", prepare=listen)
    sent = 0
    kinds = [(Topic.HUB_REQUEST, REQUESTS), (Topic.HUB_ADMIN, ADMIN_REQUESTS)]
    for topic, verbs in kinds:
        done = set[type]()
        for verb, model in verbs.items():
            if model in done:
                continue  # the same door: what differs comes after it
            done.add(model)
            address = portal.topics.build(topic, principal="portal", verb=verb)
            bad = sendable(model)
            for start in range(0, len(bad), AT_ONCE):
                some = bad[start : start + AT_ONCE]
                await asyncio.gather(*(portal.publish(address, payload) for payload in some))
                sent += len(some)
                await answered(replies, errors, sent)
    assert len(replies.messages) + len(errors.messages) == sent
    assert len(replies.messages) > sent / 4
    assert len(errors.messages) > sent / 20
    told = [decode(Reply, m.payload).error for m in replies.messages]
    told += [decode(ErrorReport, m.payload).error for m in errors.messages]
    assert {error.code for error in told if error is not None} <= SPOILED
    assert None not in told
    assert everything(site) == before
    assert (await alice.submit()).queue_position == 1


_FILTERS = frozenset({"list", "audit"})
"""Verbs that only filter by an experiment or a node: what nobody knows, they find nothing of."""


async def test_whole_requests_about_nothing_are_refused_in_words(site: Site) -> None:
    """Each verb with every field, on an experiment and a node that do not exist."""
    await site.start_hub()
    alice = await site.person("alice")
    await alice.submit()
    portal, admin = await site.person("portal"), await site.person("admin")
    for verbs, person, is_admin in ((REQUESTS, portal, False), (ADMIN_REQUESTS, admin, True)):
        for verb, model in verbs.items():
            if not {"experiment_id", "node", "ref"} & set(model.model_fields):
                continue
            if verb in _FILTERS:
                continue
            fields: dict[str, Any] = {**whole(model), "expires_at": None, "actor": None}
            fields |= {"id": f"{verb}-{is_admin}", "client": None}
            if "experiment_id" in fields:
                fields["experiment_id"] = unknown_id()
            request = model.model_validate(fields)
            code = await person.refused(verb, request, admin=is_admin)
            assert code in {"NOT_FOUND", "MALFORMED", "CONFIRMATION_REQUIRED"}, (verb, code)
    assert (await alice.submit()).queue_position == 2


async def test_wrong_levels_reach_nobody_and_harm_nobody(site: Site) -> None:
    await site.start_hub()
    alice = await site.connect("alice")
    errors = Inbox()
    alice.subscribe(alice.topics.build(Topic.ERRORS, principal="alice"), errors)
    root = alice.topics.root
    body = OnExperiment(experiment_id=unknown_id()).encode()
    for levels in (
        "hub/request/alice/no-such-verb", "hub/request/alice/UPPER", "hub/request/alice/a b",
        "hub/request/alice/" + "x" * 300, "hub/request/alice/cancel/more", "hub/request/alice",
        "hub/request//cancel", "hub/request/bob/cancel", "hub/admin/alice/cancel",
        "hub/request/alice/\u00e9",
    ):  # fmt: skip
        await alice.publish(f"{root}/{levels}", body)
    person = await site.person("alice")
    assert (await person.submit()).queue_position == 1
    await errors.wait_for(1)
    told = [decode(ErrorReport, message.payload) for message in errors.messages]
    assert {report.error.code for report in told} == {"UNKNOWN_VERB"}


@pytest.mark.parametrize("topic", FROM_NODES, ids=lambda topic: topic.name)
async def test_spoiled_words_of_nodes_change_nothing(site: Site, topic: Topic) -> None:
    hub = await site.start_hub()
    alice, node = await site.person("alice"), await site.start_node()
    one = (await alice.submit()).experiment_id
    await eventually(lambda: node.holder is not None)
    await eventually(lambda: hub.store.state.entries[one].phase == "executing")
    before = hub.store.state
    stranger = await site.connect("reactor-2")
    levels = [{"stream": stream} for stream in STREAMS] if "{stream}" in topic else [{}]
    for level in levels:
        address = stranger.topics.build(topic, node="reactor-2", **level)
        bad = sendable(PAYLOADS[topic])
        await asyncio.gather(*(stranger.publish(address, payload) for payload in bad))
    assert (await alice.submit()).queue_position == 1  # what came before is handled
    assert hub.store.state.node("reactor-2").kept == NodeState().kept
    assert hub.store.state.entries[one] == before.entries[one]
    await node.end()
    await eventually(lambda: one not in hub.store.state.entries)

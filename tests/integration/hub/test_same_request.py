"""A request that is made again: one effect, one answer; and a flood that harms its sender alone."""

import asyncio
import errno
import threading
from contextlib import AsyncExitStack

import pytest

from broker.asking import Asker
from broker.connection import Connection
from broker.messages import (
    ContractError,
    Done,
    ErrorCode,
    ErrorReport,
    List,
    Listed,
    OnExperiment,
    OnNode,
    Submit,
    Submitted,
    decode,
)
from broker.topics import ANY, Topic
from hub_service.storage import StoreError
from tests.integration.hub.conftest import Site
from tests.support.inbox import Inbox
from tests.support.relay import Relay
from tests.support.waiting import eventually

PLAIN = "print('x')\n"


async def through(stack: AsyncExitStack, site: Site, relay: Relay, client_id: str) -> Asker:
    """Connect as alice through a relay."""
    direct = site.broker.settings_for("alice")
    settings = direct.model_copy(update={"url": f"mqtt://127.0.0.1:{relay.port}"})
    connection = await stack.enter_async_context(Connection(settings, client_id=client_id))
    await connection.wait_connected(10)
    return Asker(connection, "alice")


async def test_a_connection_cut_before_the_answer_makes_one_experiment(site: Site) -> None:
    """The reply is cut off, again and again; the asker asks again by itself, with the same id."""
    await site.start_hub()
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay.to(site.broker.port))
        asker = await through(stack, site, relay, "cut")
        relay.answered = lambda data: not (b'"submitted"' in data and relay.cuts < 2)
        done = await asker.ask("submit", Submit(script=PLAIN, id="cut-1"), timeout=30)
    assert isinstance(done, Submitted)
    assert relay.cuts == 2
    assert site.hub is not None
    assert list(site.hub.store.state.entries) == [done.experiment_id]


async def test_a_client_that_begins_anew_gets_the_answer_it_missed(site: Site) -> None:
    """As a program that is started again: another connection, another client, a restarted hub."""
    await site.start_hub()
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay.to(site.broker.port))
        first = await through(stack, site, relay, "first")
        relay.answered = lambda data: b'"submitted"' not in data
        with pytest.raises(ContractError) as told:
            await first.ask("submit", Submit(script=PLAIN, id="anew"), timeout=2)
        assert told.value.error.code in {ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE}
    assert site.hub is not None
    [known] = site.hub.store.state.entries
    await site.stop_hub()
    hub = await site.start_hub()
    again = await site.person("alice")
    assert (await again.submit(PLAIN, id="anew")).experiment_id == known
    assert await again.refused("submit", Submit(script="x = 1\n", id="anew")) == "ID_REUSED"
    assert list(hub.store.state.entries) == [known]


async def test_deletions_and_emergency_stops_are_remembered_like_all_others(site: Site) -> None:
    """Asked for again by the next life of the hub: the answer, and nothing is done again."""
    hub = await site.start_hub()
    alice, admin = await site.person("alice"), await site.person("admin")
    orders = Inbox()
    async with site.node_for_a_while() as node:
        every = node.connection.topics.build(Topic.NODE_ESTOP, node="reactor-1", principal=ANY)
        await site.connect("reactor-1", prepare=lambda c: _listen(c, every, orders))
        await eventually(lambda: "reactor-1" in hub.store.state.nodes)
        one = (await alice.submit(PLAIN)).experiment_id
        await alice.ask("cancel", OnExperiment(experiment_id=one), Done)
        await eventually(lambda: one not in hub.store.state.entries)
        delete = OnExperiment(experiment_id=one, id="gone")
        stop = OnNode(node="reactor-1", id="stop")
        told = [
            await admin.ask("delete", delete, Done, admin=True),
            await admin.ask("estop", stop, Done, admin=True),
        ]
        await orders.wait_for(1)
        await site.stop_hub()
        await site.start_hub()
        assert told == [
            await admin.ask("delete", delete, Done, admin=True),
            await admin.ask("estop", stop, Done, admin=True),
        ]
        other = OnExperiment(experiment_id=one, id="other")
        assert await admin.refused("delete", other, admin=True) == "NOT_FOUND"
        assert len([payload for payload in orders.payloads if payload]) == 1


async def test_a_change_that_the_disk_may_have_is_answered_by_the_next_life(site: Site) -> None:
    """Told that it failed, its sender would submit again, with a new id, and it would run twice."""
    unsure, failed = False, threading.Event()

    def before(step: str) -> None:
        if unsure and step.startswith("sync directory"):
            failed.set()
            raise OSError(errno.EIO, "Input/output error")

    hub = await site.start_hub(before=before)
    alice = await site.person("alice")
    unsure = True
    asking = asyncio.create_task(alice.submit(PLAIN, id="unsure"))
    await eventually(lambda: failed.is_set() and not hub.service.health().ready)
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="does not say")):
        await site.stop_hub()
    assert not asking.done()
    hub = await site.start_hub()
    submitted = await asking
    assert list(hub.store.state.entries) == [submitted.experiment_id]


async def test_a_flood_is_limited_and_others_are_answered(site: Site) -> None:
    hub = await site.start_hub()
    alice, bob = await site.connect("alice"), await site.person("bob")
    errors = Inbox()
    alice.subscribe(alice.topics.build(Topic.ERRORS, principal="alice"), errors)
    topic = alice.topics.build(Topic.HUB_REQUEST, principal="alice", verb="pause")
    nothing = b'{"experiment_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}'
    async with asyncio.TaskGroup() as flood:
        for _ in range(3000):
            flood.create_task(alice.publish(topic, nothing, timeout=60))
        for number in range(3):
            listed = await bob.ask("list", List(limit=1), Listed)
            assert listed.total == number
            await bob.submit(PLAIN, id=f"calm-{number}")
    await errors.wait_until(lambda: any(b"RATE_LIMIT" in payload for payload in errors.payloads))
    codes = {decode(ErrorReport, payload).error.code for payload in errors.payloads}
    assert codes == {ErrorCode.NOT_FOUND, ErrorCode.RATE_LIMIT}
    assert {entry.plan.user for entry in hub.store.state.entries.values()} == {"mqtt:bob"}


def _listen(connection: Connection, topic: str, inbox: Inbox) -> None:
    connection.subscribe(topic, inbox)

"""Hub, broker, node away or emptied: nothing lost, nothing run twice."""

import asyncio
import errno
import shutil

import pytest

from broker.messages import (
    Assignment,
    Done,
    Got,
    Limits,
    OnExperiment,
    Plain,
    Posture,
    Status,
    Submit,
)
from broker.topics import Topic
from hub_service.storage import StoreError
from tests.integration.hub.conftest import Site
from tests.support.hub import SCRIPT
from tests.support.inbox import Inbox
from tests.support.waiting import eventually

REQUEUE = "# /// script\n# [tool.bioreactor]\n# on_interruption = 'requeue'\n# ///\nprint(1)\n"


async def test_a_run_ends_while_the_hub_is_away(site: Site) -> None:
    hub = await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    two = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    generation = hub.store.state.generation
    await site.stop_hub()
    await node.measure(5)
    await node.end("failed", exit_code=3, file=b"x" * 200_000)
    hub = await site.start_hub()
    done = await watcher.until(one, lambda e: e.status is Status.FAILED)
    assert done.exit_code == 3
    assert done.error is not None
    assert done.error.code == "SCRIPT_FAILED"
    await watcher.until(two, lambda e: e.phase == "executing")
    assert node.started == {(one, 1): 1, (two, 1): 1}
    assert hub.store.state.generation == generation + 1
    await eventually(lambda: node.memory.generation == generation + 1)
    lines = await hub.archive.logs(one, None, 10)
    assert len(lines.lines) == 5


async def test_cancel_while_the_node_is_away_waits_for_its_evidence(site: Site) -> None:
    hub = await site.start_hub()
    alice, watcher = await site.person("alice"), await site.watcher()
    async with site.node_for_a_while() as node:
        one = (await alice.submit()).experiment_id
        await watcher.until(one, lambda e: e.phase == "executing")
        memory, ledger, started = node.memory, node.ledger, node.started
    await eventually(lambda: not hub.store.state.nodes["reactor-1"].online)
    done = await alice.ask("cancel", OnExperiment(experiment_id=one), Done)
    assert (done.outcome, done.status) == ("accepted", Status.RUNNING)
    told = await watcher.until(one, lambda e: e.phase == "stopping")
    assert told.status is Status.RUNNING
    assert told.unreachable_since is not None
    assert told.phase_detail.startswith("reactor-1 is unreachable since ")
    assert told.phase_detail.endswith("it is told to stop when it is back")
    async with site.node_for_a_while() as node:
        # The same node, whose container ran on: its script has ended meanwhile.
        node.memory, node.ledger, node.started = memory, ledger, started
        node.holder = (one, 1)
        await node.end("completed", exit_code=0)
        done_ = await watcher.until(one, lambda e: e.status.finished)
        assert done_.status is Status.COMPLETED
        assert node.started == {(one, 1): 1}


async def test_an_interrupted_run_is_repeated_where_its_author_asked(site: Site) -> None:
    await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    one = (await alice.submit(REQUEUE)).experiment_id
    two = (await alice.submit()).experiment_id
    for attempt in (1, 2):
        await watcher.until(one, lambda e, n=attempt: (e.attempt, e.phase) == (n, "executing"))  # type: ignore[misc]
        await node.interrupt()
    await watcher.until(one, lambda e: (e.attempt, e.phase) == (3, "executing"))
    await node.interrupt()
    done = await watcher.until(one, lambda e: e.status is Status.FAILED)
    assert done.error is not None
    assert done.error.code == "INTERRUPTED"
    await watcher.until(two, lambda e: e.phase == "executing")
    assert node.started == {(one, 1): 1, (one, 2): 1, (one, 3): 1, (two, 1): 1}


async def test_a_broker_that_forgot_everything_is_told_again(site: Site) -> None:
    hub = await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    two = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    watcher.experiments.clear()
    watcher.queue = None
    await site.restart_broker()
    await eventually(lambda: watcher.queue is not None)
    await watcher.until(one, lambda e: e.phase == "executing")
    await watcher.until(two, lambda e: e.queue_position == 1)
    await node.end()
    await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    await watcher.until(two, lambda e: e.phase == "executing")
    assert node.started == {(one, 1): 1, (two, 1): 1}
    assert hub.store.state.posture is Posture.RUNNING


async def test_a_node_that_missed_its_assignment_is_told_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of a cluster may give a node that comes back what was retained before."""
    monkeypatch.setattr("hub_service.service.HOUSEKEEPING_TICKS", 1)
    await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    told: list[Assignment] = []

    def first(assignment: Assignment) -> bool:
        told.append(assignment)
        return len(told) == 1

    node.missed = first
    await alice.ask("cancel", OnExperiment(experiment_id=one), Done)
    await watcher.until(one, lambda e: e.status is Status.CANCELLED)
    assert [a.desired for a in told[:2]] == ["stop", "stop"]
    assert told[0].revision == told[1].revision


async def test_a_new_hub_among_nodes_with_history_recovers(site: Site) -> None:
    await site.start_hub()
    alice, admin = await site.person("alice"), await site.person("admin")
    node, watcher = await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    revision = node.memory.seen_revision
    await site.stop_hub()
    shutil.rmtree(site.path / "hub")

    hub = await site.start_hub()
    await eventually(lambda: hub.store.state.posture is Posture.RECOVERY)
    found = await watcher.until(one, lambda e: e.name == "found running")
    assert found.status is Status.RUNNING
    two = (await alice.submit()).experiment_id
    assert node.holder == (one, 1)
    assert node.memory.seen_revision == revision
    generation = hub.store.state.generation
    await admin.ask("resume-queue", Plain(), Done, admin=True)
    await node.end()
    await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    await watcher.until(two, lambda e: e.phase == "executing")
    assert node.started == {(one, 1): 1, (two, 1): 1}
    assert node.memory.seen_revision > revision
    assert hub.store.state.posture is Posture.RUNNING
    assert hub.store.state.generation == generation + 1  # a recovery's end begins a new one


async def test_a_lost_queue_is_told_by_the_archive_what_runs(site: Site) -> None:
    await site.start_hub()
    alice, admin = await site.person("alice"), await site.person("admin")
    node, watcher = await site.start_node(), await site.watcher()
    one = (await alice.submit(parameters={"target": 2})).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    await site.stop_hub()
    (site.path / "hub" / "queue.json").unlink()
    (site.path / "hub" / "queue.json.previous").unlink()

    hub = await site.start_hub()
    assert hub.store.state.posture is Posture.RECOVERY
    found = await watcher.until(one, lambda e: e.revision < 20 and e.name == "hold")
    assert (found.owner, found.parameters) == ("alice", {"target": 2.0})
    await admin.ask("resume-queue", Plain(), Done, admin=True)
    await node.end()
    await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    got = await alice.ask("get", OnExperiment(experiment_id=one), Got)
    assert got.script == SCRIPT
    assert node.started == {(one, 1): 1}


async def test_a_hub_restored_from_a_backup_starts_nothing_twice(site: Site) -> None:
    hub = await site.start_hub()
    alice, admin = await site.person("alice"), await site.person("admin")
    node, watcher = await site.start_node(), await site.watcher()
    node.accepts = False
    await node.report()
    await eventually(lambda: "reactor-1" in hub.store.state.nodes)
    one = (await alice.submit()).experiment_id
    two = (await alice.submit()).experiment_id
    await site.stop_hub()
    shutil.copytree(site.path / "hub", site.path / "backup")
    hub = await site.start_hub()
    await site.stop_hub()
    hub = await site.start_hub()
    node.accepts, node.automatic = True, True
    await node.report()
    await watcher.until(two, lambda e: e.status is Status.COMPLETED)
    assert node.started == {(one, 1): 1, (two, 1): 1}
    await site.stop_hub()
    shutil.rmtree(site.path / "hub")
    shutil.copytree(site.path / "backup", site.path / "hub")

    hub = await site.start_hub()
    await eventually(lambda: hub.store.state.posture is Posture.RECOVERY)
    assert "backup" in hub.store.state.posture_reason
    # The node feeds its journal again, so the hub learns what happened since.
    await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    await watcher.until(two, lambda e: e.status is Status.COMPLETED)
    before = hub.store.state.generation
    await admin.ask("resume-queue", Plain(), Done, admin=True)
    assert hub.store.state.generation > before
    three = (await alice.submit()).experiment_id
    await watcher.until(three, lambda e: e.status is Status.COMPLETED)
    assert node.started == {(one, 1): 1, (two, 1): 1, (three, 1): 1}


async def test_a_full_disk_refuses_and_is_forgiven(site: Site) -> None:
    full: list[bool] = []

    def disk(step: str) -> None:
        if full and step == "write":
            raise OSError(errno.ENOSPC, "No space left on device")

    hub = await site.start_hub(before=disk)
    alice, admin = await site.person("alice"), await site.person("admin")
    node, watcher = await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    full.append(True)
    assert await alice.refused("submit", Submit(script="x = 1\n", id="a")) == "STORAGE_FULL"
    assert await admin.refused("limits", Limits(per_user=1), admin=True) == "STORAGE_FULL"
    await node.measure(3)
    await node.end(file=b"results")
    full.clear()
    await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    submitted = await alice.submit("x = 1\n", id="a")
    await watcher.until(submitted.experiment_id, lambda e: e.phase == "executing")
    assert hub.store.state.limits.per_user == 5


async def test_retained_and_malformed_messages_of_nodes_do_no_harm(site: Site) -> None:
    hub = await site.start_hub()
    reactor, alice = await site.connect("reactor-2"), await site.person("alice")
    topics = reactor.topics
    for topic in (Topic.NODE_STATUS, Topic.NODE_REPORT, Topic.NODE_CHANNELS):
        for payload in (b"", b"{", b'{"node": "reactor-1"}', b"\xff" * 1000, b"[]"):
            await reactor.publish(topics.build(topic, node="reactor-2"), payload, retain=True)
    assert (await alice.submit()).queue_position == 1
    assert "reactor-2" not in hub.store.state.nodes


async def test_only_one_hub_at_a_time(site: Site) -> None:
    await site.start_hub()
    with pytest.raises(StoreError, match="another hub"):
        await site.second_hub()


async def test_readers_of_the_queue_never_see_what_is_not_durable(site: Site) -> None:
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(step: str) -> None:
        if step == "replace" and held.is_set():
            asyncio.run_coroutine_threadsafe(_until_cleared(held), loop).result(10)

    await site.start_hub(before=slow)
    alice, portal = await site.person("alice"), await site.connect("portal")
    queue = Inbox()
    portal.subscribe(portal.topics.build(Topic.QUEUE), queue)
    await queue.wait_for(1)
    count = len(queue.messages)
    held.set()
    asking = asyncio.create_task(alice.submit())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.shield(asking)
    assert len(queue.messages) == count
    held.clear()
    assert (await asking).queue_position == 1
    await queue.wait_for(count + 1)


async def _until_cleared(event: asyncio.Event) -> None:
    await eventually(lambda: not event.is_set())

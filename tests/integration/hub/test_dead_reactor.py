"""A reactor that an administrator gives up, and its old attempt that returns."""

from broker.messages import (
    DeclareDead,
    Done,
    LogPage,
    Logs,
    Notification,
    OnNode,
    Status,
    decode,
)
from broker.topics import ANY, Topic
from tests.integration.hub.conftest import Site
from tests.support.hub import SCRIPT
from tests.support.inbox import Inbox
from tests.support.waiting import eventually

REPEATED = SCRIPT.replace('name = "hold"', 'name = "hold"\n# on_interruption = "requeue"')


async def test_an_attempt_that_was_given_up_is_stopped_when_it_returns(site: Site) -> None:
    portal, notifications = await site.connect("portal"), Inbox()
    portal.subscribe(portal.topics.build(Topic.NOTIFICATION, kind=ANY), notifications)
    hub = await site.start_hub()
    alice, admin, watcher = (
        await site.person("alice"),
        await site.person("admin"),
        await site.watcher(),
    )
    async with site.node_for_a_while() as node:
        one = (await alice.submit(REPEATED)).experiment_id
        await watcher.until(one, lambda e: e.phase == "executing")
        await node.measure(2)
        await eventually(lambda: not node.journal.backlog()["records"].entries)
        memory, ledger, started = node.memory, node.ledger, node.started
    await eventually(lambda: not hub.store.state.nodes["reactor-1"].online)

    dead = DeclareDead(node="reactor-1", power_is_off=True)
    assert (await admin.ask("declare-dead", dead, Done, admin=True)).outcome == "done"
    failed = await watcher.until(one, lambda e: e.status is Status.FAILED)
    assert failed.error is not None
    assert failed.error.code == "INTERRUPTED"
    assert (await alice.get(one)).attempt == 1
    await eventually(lambda: one not in hub.store.state.entries)
    two = (await alice.submit()).experiment_id

    async with site.node_for_a_while() as node:
        # Its power was never off: the container ran on, and the same node comes back with it.
        node.memory, node.ledger, node.started = memory, ledger, started
        node.holder, node.lines = (one, 1), 2
        await node.measure(3)
        await eventually(lambda: node.ledger[one, 1] == ("finished", "cancelled"))
        await eventually(lambda: hub.store.state.nodes["reactor-1"].abandoned == ())
        assert node.started == {(one, 1): 1}  # withheld: the one that waits is not started

        logs = await alice.ask("logs", Logs(experiment_id=one), LogPage)
        assert [line.text for line in logs.lines] == [f"line {n}" for n in range(1, 6)]
        known = await alice.get(one)
        assert known.status is Status.FAILED
        assert "came back with reactor-1" in known.warnings[-1]
        record = [(a.user, a.verb, a.outcome) for a in await hub.archive.audited(one)]
        assert record == [
            ("mqtt:alice", "submit", "done"),
            ("hub", "given-up", "done"),
            ("hub", "returned", "done"),
        ]

        await admin.ask("resume-node", OnNode(node="reactor-1"), Done, admin=True)
        await watcher.until(two, lambda e: e.phase == "executing")
        assert node.started == {(one, 1): 1, (two, 1): 1}
        await node.end("completed", exit_code=0)
        await watcher.until(two, lambda e: e.status is Status.COMPLETED)

    await notifications.wait_for(2)
    told = [decode(Notification, payload) for payload in notifications.payloads]
    assert [(n.kind, n.experiment_id) for n in told] == [("failed", one), ("finished", two)]
    assert "declared dead by admin" in told[0].message


async def test_a_drain_and_a_death_outlive_the_hub(site: Site) -> None:
    hub = await site.start_hub()
    admin, alice = await site.person("admin"), await site.person("alice")
    node = await site.start_node()
    await eventually(lambda: hub.store.state.node("reactor-1").known)
    await admin.ask("drain-node", OnNode(node="reactor-1"), Done, admin=True)
    await site.stop_hub()
    hub = await site.start_hub()
    watcher = await site.watcher()
    one = (await alice.submit()).experiment_id
    await eventually(lambda: watcher.queue is not None and "reactor-1" in watcher.queue.withheld)
    await watcher.until(one, lambda e: "reactor-1 is drained" in e.phase_detail)
    await eventually(lambda: hub.store.state.node("reactor-1").known)
    assert not node.started
    await admin.ask("resume-node", OnNode(node="reactor-1"), Done, admin=True)
    await watcher.until(one, lambda e: e.phase == "executing")

"""Links between hub, node and broker that break, stall, and say old things late."""

import asyncio
import random

import pytest

from broker.messages import (
    ContractError,
    OnExperiment,
    ServiceStatus,
    Status,
    utc_now,
)
from broker.topics import Topic
from tests.integration.hub.conftest import Site, unknown_id
from tests.support.contract_node import ContractNode
from tests.support.hub import running_hub
from tests.support.proxy import Link
from tests.support.waiting import eventually

LINES = 60


@pytest.fixture
def broker_kind() -> str:
    return "mosquitto"


async def test_links_that_break_and_stall_cost_nothing(site: Site) -> None:
    chance = random.Random(20260217)  # noqa: S311
    alice, watcher = await site.person("alice"), await site.watcher()
    async with (
        Link.to(site.broker.settings_for("hub")) as near,
        Link.to(site.broker.settings_for("reactor-1")) as far,
        running_hub(near.settings, site.path / "hub") as hub,
        ContractNode.running(far.settings, site.path / "nodes") as node,
    ):
        one = (await alice.submit()).experiment_id
        two = (await alice.submit()).experiment_id
        await watcher.until(one, lambda e: e.phase == "executing")
        for turn in range(LINES // 10):
            link = chance.choice([near, far])
            if chance.random() < 0.5:
                link.cut()
            else:
                link.freeze()
            verb = "pause" if turn % 2 == 0 else "resume"
            asking = asyncio.create_task(
                alice.asker.ask(verb, OnExperiment(experiment_id=one, id=f"t{turn}"), timeout=20)
            )
            await node.measure(10)
            await asyncio.sleep(0.2)
            link.mend()
            await asking
        await watcher.until(one, lambda e: e.phase == "executing")
        far.freeze()
        await node.measure(5)
        ending = asyncio.create_task(node.end("failed", exit_code=4, file=b"x" * 300_000))
        await asyncio.sleep(0.3)
        far.cut()
        far.mend()
        await ending
        done = await watcher.until(one, lambda e: e.status is Status.FAILED)
        assert (done.exit_code, done.gaps) == (4, 0)
        await watcher.until(two, lambda e: e.phase == "executing")
        page = await hub.archive.logs(one, None, 1000)
        assert [line.text for line in page.lines] == [f"line {n + 1}" for n in range(LINES + 5)]
        assert node.started == {(one, 1): 1, (two, 1): 1}


async def test_a_last_will_that_comes_late_says_nothing(site: Site) -> None:
    """Of an earlier life of the node, and of this one: it reads it and says that it is there."""
    hub = await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    double = await site.connect("reactor-1")
    topic = double.topics.build(Topic.NODE_STATUS, node="reactor-1")
    for boot in (unknown_id(), node.boot_id):
        will = ServiceStatus(state="offline", version="test", boot_id=boot, since=utc_now())
        await double.publish(topic, will.encode(), retain=True)
        await asyncio.sleep(0.1)
        await eventually(lambda: hub.store.state.nodes["reactor-1"].online)
        assert hub.store.state.nodes["reactor-1"].boot_id == node.boot_id
    await node.end()
    await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    with pytest.raises(ContractError):
        await alice.asker.ask("cancel", OnExperiment(experiment_id=one))

"""Several reactors: who gets what, when the others start, what is said of one that left."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.messages import Experiment, Status
from tests.integration.hub.conftest import Site
from tests.support.hub import SCRIPT
from tests.support.waiting import eventually

pytestmark = pytest.mark.parametrize("broker_kind", ["mosquitto"])


async def test_starts_are_forecast_by_what_runs_took_even_after_a_restart(site: Site) -> None:
    await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()

    async def run(seconds: float) -> None:
        one = await alice.submit()
        await watcher.until(one.experiment_id, lambda e: e.phase == "executing")
        await node.end(elapsed=seconds)
        await watcher.until(one.experiment_id, lambda e: e.status is Status.COMPLETED)

    first = (await alice.submit()).experiment_id
    await watcher.until(first, lambda e: e.phase == "executing")
    unknown = await alice.submit()
    assert (unknown.forecast, unknown.estimated_start) == (None, None)
    await node.end(elapsed=600.0)
    await watcher.until(unknown.experiment_id, lambda e: e.phase == "executing")
    await node.end(elapsed=900.0)
    await watcher.until(unknown.experiment_id, lambda e: e.status is Status.COMPLETED)
    await run(660.0)
    running = (await alice.submit()).experiment_id
    began = (await watcher.until(running, lambda e: e.phase == "executing")).started_at
    assert began is not None
    waiting = await alice.submit()
    forecast = waiting.forecast
    assert forecast is not None
    assert forecast.basis == "script"
    told = (forecast.earliest, forecast.likely, forecast.latest)
    assert told == tuple(
        (began + timedelta(seconds=s)).replace(microsecond=0) for s in (600, 660, 900)
    )
    await site.stop_hub()
    await site.start_hub()
    shown = await watcher.until(waiting.experiment_id, lambda e: e.forecast is not None)
    assert shown.forecast == forecast
    assert shown.estimated_start == forecast.likely
    await eventually(lambda: watcher.queue is not None and watcher.queue.total_running == 1)
    assert watcher.queue is not None
    assert watcher.queue.waiting[0].forecast == forecast


async def test_an_idle_reactor_takes_the_first_that_it_satisfies(site: Site) -> None:
    hub = await site.start_hub()
    alice, watcher = await site.person("alice"), await site.watcher()
    first, second = await site.start_node("reactor-1"), await site.start_node("reactor-2")
    await eventually(
        lambda: (
            all(n.offer and n.report for n in hub.store.state.nodes.values())
            and len(hub.store.state.nodes) == 2
        )
    )
    named = SCRIPT.replace('needs = ["od"]', 'needs = ["od"]\n# node = "reactor-2"')
    one = (await alice.submit(named)).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    two = (await alice.submit(named)).experiment_id
    three = (await alice.submit()).experiment_id
    await watcher.until(three, lambda e: e.phase == "executing")
    assert first.holder == (three, 1)
    assert (await alice.get(two)).status is Status.QUEUED
    await second.end()
    await watcher.until(two, lambda e: e.phase == "executing")
    assert second.holder == (two, 1)


async def test_a_reactor_that_left_keeps_its_experiment_and_is_said_to_be_away(site: Site) -> None:
    await site.start_hub()
    alice, watcher = await site.person("alice"), await site.watcher()

    def away(experiment: Experiment) -> bool:
        return experiment.unreachable_since is not None

    async with site.node_for_a_while() as node:
        one = (await alice.submit()).experiment_id
        before = await watcher.until(one, lambda e: e.phase == "executing")
        assert not away(before)
    gone = await watcher.until(one, away)
    assert (gone.status, gone.node) == (Status.RUNNING, "reactor-1")
    assert "it may well be running on" in gone.phase_detail
    assert away(await alice.get(one))
    assert watcher.queue is not None
    assert watcher.queue.running[0].unreachable_since == gone.unreachable_since
    memory, ledger, started = node.memory, node.ledger, node.started
    async with site.node_for_a_while() as node:
        node.memory, node.ledger, node.started = memory, ledger, started
        node.holder = (one, 1)
        await node.report()
        back = await watcher.until(one, lambda e: not away(e))
        assert (back.status, back.attempt) == (Status.RUNNING, 1)


async def test_what_a_node_with_a_wrong_clock_ran_is_shown_for_a_day_all_the_same(
    site: Site,
) -> None:
    hub = await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    node.clock = lambda: datetime(2020, 1, 1, tzinfo=UTC)
    one = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    await node.end()
    ended = await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    assert "the clock of reactor-1 was wrong" in ended.warnings[-1]
    await eventually(lambda: one not in hub.store.state.entries)

    async def still_shown() -> None:
        site.hub.service._bulletin.expire()  # type: ignore[union-attr]
        another = (await alice.submit()).experiment_id
        await watcher.until(another, lambda e: e.phase == "executing")
        await node.end()
        assert watcher.experiments[one] == ended

    await still_shown()
    await site.stop_hub()
    await site.start_hub()
    await still_shown()

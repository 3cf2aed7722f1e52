"""A running experiment needs nothing but its node: broker and hub may go as they like."""

import asyncio
import os
import signal
from itertools import pairwise

import pytest

from broker.embedded import EmbeddedBroker
from broker.messages import SeriesRecord
from tests.support.node import Hub, Node
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

SCRIPT = """
    from bioreactor import experiment, reactor

    for i in range(60):
        reactor.dose("media", ml=0.01)
        print("line", i, flush=True)
        experiment.record(i=i)
        experiment.sleep(0.1)
    experiment.save("data.bin", bytes(1_000_000))
"""


def check_whole(hub: Hub, experiment: str) -> None:
    """Everything that the run produced is there, once."""
    assert hub.log(experiment) == [f"line {i}" for i in range(60)]
    series = [r.values["i"] for r in hub.records(experiment) if isinstance(r, SeriesRecord)]
    assert series == list(range(60))
    times = [sample.elapsed or 0.0 for sample in hub.samples(experiment)]
    assert max(b - a for a, b in pairwise(times)) < 3  # due each 0.2 s; the broker was away for 8
    assert min(b - a for a, b in pairwise(times)) > 0
    assert hub.phases(experiment) == ["accepted", "executing", "released", "finished"]
    assert hub.gaps == 0


async def test_a_run_goes_on_to_its_end_without_a_broker(
    running: Node, hub: Hub, broker: EmbeddedBroker
) -> None:
    assignment = await hub.run(SCRIPT)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "line 5")
    await broker.__aexit__(None, None, None)
    finished = asyncio.get_running_loop().time() + 8
    await eventually(lambda: asyncio.get_running_loop().time() > finished)
    assert "finished" not in hub.phases(experiment)
    await broker.__aenter__()
    step = await hub.until_phase(experiment, "finished", within=40)
    assert step.outcome == "completed"
    await eventually(lambda: len(hub.files(experiment).get("data.bin", b"")) == 1_000_000)
    check_whole(hub, experiment)
    await eventually(lambda: hub.report.activity is None)


async def test_a_broker_killed_again_and_again_costs_nothing(
    running: Node, hub: Hub, broker: EmbeddedBroker
) -> None:
    assignment = await hub.run(SCRIPT)
    experiment = str(assignment.experiment_id)
    for line in (5, 20, 35):
        await hub.until_said(experiment, f"line {line}", within=60)
        os.kill(broker.pid, signal.SIGKILL)
    step = await hub.until_phase(experiment, "finished", within=60)
    assert step.outcome == "completed"
    await eventually(lambda: len(hub.files(experiment).get("data.bin", b"")) == 1_000_000)
    check_whole(hub, experiment)


async def test_a_node_restarts_without_a_broker_and_goes_on(
    running: Node, hub: Hub, broker: EmbeddedBroker
) -> None:
    assignment = await hub.run("""
        from bioreactor import experiment, reactor
        reactor.set("temperature-setpoint", 37)
        for i in range(40):
            print("line", i, flush=True)
            experiment.sleep(0.1)
        print("temperature-setpoint", reactor.read("temperature-setpoint"))
    """)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "line 5")
    await broker.__aexit__(None, None, None)
    await running.kill()
    running.start()
    await eventually(lambda: any("no connection" in line for line in running.lines))
    later = asyncio.get_running_loop().time() + 4
    await eventually(lambda: asyncio.get_running_loop().time() > later)
    await broker.__aenter__()
    step = await hub.until_phase(experiment, "finished", within=40)
    assert step.outcome == "completed"
    lines = hub.log(experiment, "stdout")  # on stderr it may say that it waits for the node
    assert lines == [*(f"line {i}" for i in range(40)), "temperature-setpoint 37.0"]

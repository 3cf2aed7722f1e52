"""The container engine is stopped and started again under a running experiment."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.messages import Assignment, ErrorCode, Phase
from node_service.attempt import TRIES
from node_service.preparing import RETRY_SECONDS
from tests.support.engine import PrivateEngine
from tests.support.node import BASE_IMAGE, Hub, Node
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

COUNTING = """
    from bioreactor import experiment, reactor

    reactor.set("temperature-setpoint", 37)
    for i in range(100_000):
        print("line", i, flush=True)
        experiment.record(i=i)
        if experiment.parameters.get("end"):
            break
        experiment.sleep(0.05)
"""


@pytest.fixture
def engine() -> Iterator[PrivateEngine]:
    """An engine whose containers outlive it, until it is told otherwise."""
    with (
        tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as directory,
        PrivateEngine(Path(directory), live_restore=True) as engine,
    ):
        engine.load(BASE_IMAGE)
        yield engine


async def counting(engine: PrivateEngine, node: Node, hub: Hub) -> Assignment:
    """Start the node and, on it, a script that counts; return when it has begun."""
    node.start(DOCKER_HOST=engine.host)
    await node.until_ready(hub)
    assignment = await hub.run(COUNTING)
    await hub.until_said(str(assignment.experiment_id), "line 10")
    return assignment


async def test_a_run_survives_its_engine_or_was_interrupted(
    engine: PrivateEngine, node: Node, hub: Hub
) -> None:
    # Its container outlives the engine: the run goes on as if nothing had been.
    assignment = await counting(engine, node, hub)
    experiment = str(assignment.experiment_id)
    await asyncio.to_thread(engine.stop)
    before = len(hub.samples(experiment))
    await eventually(lambda: len(hub.samples(experiment)) > before + 5)  # nobody waits for it
    await asyncio.to_thread(engine.start)
    said = len(hub.log(experiment))
    await eventually(lambda: len(hub.log(experiment)) > said + 10)
    await hub.again(assignment, parameters={"end": True})
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    lines = hub.log(experiment)
    assert lines == [f"line {i}" for i in range(len(lines))]
    await eventually(lambda: hub.report.activity is None)

    # The engine takes its containers along: the run was cut off, not failed by its script.
    await asyncio.to_thread(engine.stop)
    engine.live_restore = False
    await asyncio.to_thread(engine.start)
    await eventually(lambda: hub.report.accepts)
    cut = str((await hub.run(COUNTING)).experiment_id)
    await hub.until_said(cut, "line 10")
    await asyncio.to_thread(engine.stop)
    await eventually(lambda: not hub.report.accepts)
    await asyncio.to_thread(engine.start)
    step = await hub.until_phase(cut, "interrupted")
    assert step.error is not None
    assert (step.outcome, step.error.code) == ("failed", ErrorCode.INTERRUPTED)
    assert "engine" in step.error.message
    await eventually(lambda: hub.report.activity is None and hub.report.safe)
    again = str((await hub.run("print('after')")).experiment_id)
    await hub.until_phase(again, "finished")
    assert hub.log(again) == ["after"]


async def test_an_engine_that_is_away_when_a_run_begins_is_waited_for(
    engine: PrivateEngine, node: Node, hub: Hub
) -> None:
    """It is killed when all is prepared, and away for longer than one that refuses is asked."""
    node.start(DOCKER_HOST=engine.host)
    await node.until_ready(hub)
    first = str((await hub.run("print('first')")).experiment_id)  # the image is there then
    await hub.until_phase(first, "finished")
    experiment = str((await hub.run("print('hello')")).experiment_id)
    saved = node.data / "runner" / "runs" / f"{experiment}.1" / "saved"
    await eventually(saved.exists, every=0.001)
    engine.kill()
    await asyncio.sleep((TRIES + 1) * RETRY_SECONDS)
    assert "released" not in hub.phases(experiment)
    await asyncio.to_thread(engine.start)
    finished = await hub.until_phase(experiment, "finished")
    assert (finished.outcome, hub.log(experiment)) == ("completed", ["hello"])
    said = "\n".join(hub.log(experiment, "system"))
    assert "could not be started: the container engine does not answer" in said


async def test_what_is_cancelled_while_an_engine_is_away_is_safe_at_once(
    engine: PrivateEngine, node: Node, hub: Hub
) -> None:
    """Though the node is about to pause it, which waits for the engine."""
    assignment = await counting(engine, node, hub)
    experiment = str(assignment.experiment_id)
    await asyncio.to_thread(engine.stop)
    await hub.again(assignment, desired="pause")
    await eventually(lambda: hub.report.activity and hub.report.activity.phase is Phase.PAUSING)
    assert not hub.report.safe
    await hub.again(assignment, desired="stop", script=None)
    await eventually(lambda: hub.report.safe)
    await asyncio.to_thread(engine.start)
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "cancelled"

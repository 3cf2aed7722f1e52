"""A node with real drivers, on emulated devices, is killed while it heats, lights and stirs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.messages import EventRecord
from hardware.emulators.bench import Bench
from tests.support.node import Hub, Node
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

OUTPUTS = ("heater", "light", "stirring")
SCRIPT = """
    from bioreactor import experiment, reactor

    reactor.set("temperature-setpoint", 37)
    reactor.set("stirring", 300)
    reactor.set("light", 50, seconds=3600)
    print("on", flush=True)
    while not experiment.parameters.get("end"):
        experiment.sleep(0.1)
"""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    directory = tmp_path / "bench"
    directory.mkdir()
    async with Bench(directory) as bench:
        yield bench


@pytest.fixture
def node_settings(bench: Bench) -> dict[str, str | float | bool]:
    return {"reactor": "configured", "configuration": str(bench.file)}


async def test_every_output_goes_off_and_the_next_node_goes_on(
    bench: Bench, running: Node, hub: Hub
) -> None:
    assignment = await hub.run(SCRIPT)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "on")
    await eventually(lambda: all(bench.board.output(name) > 0 for name in OUTPUTS))
    await running.kill()
    await eventually(lambda: not any(bench.board.output(name) for name in OUTPUTS))
    running.start()
    await eventually(lambda: bench.board.output("heater") > 0)
    assert bench.board.output("light") == 0  # direct outputs stay off until the script knows
    (rescued,) = [
        record
        for record in hub.records(experiment)
        if isinstance(record, EventRecord) and record.event == "rescued"
    ]
    assert rescued.data["unsafe"] == {}
    assert isinstance(rescued.data["safe"], dict)
    assert {"board", "media", "waste"} <= set(rescued.data["safe"])
    await hub.again(assignment, parameters={"end": True})
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    assert not any(bench.board.output(name) for name in OUTPUTS)

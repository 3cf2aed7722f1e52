"""Node, watchdog and container killed at random instants; the record compared one by one."""

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from broker.journal import Journal
from broker.messages import ErrorCode, Record, SampleRecord, SeriesRecord
from node_service.datadir import DataDir
from node_service.tail import records_after
from tests.support.node import Hub, Node, engine
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

SEED = 20260217
ROUNDS = 8
KILLED_ALONE = 0.3
"""Of the rounds, those in which the watchdog is killed and the node lives."""

COUNTING = """
    from bioreactor import experiment, reactor

    reactor.set("temperature-setpoint", 37)
    for i in range(100_000):
        print("line", i, flush=True)
        experiment.record(i=i)
        experiment.log(f"logged {i}")
        if experiment.parameters.get("end"):
            break
        experiment.sleep(0.02)
    print("end", i)
"""


def kill_watchdog(node: Node) -> None:
    """Kill the watchdog that the node has now, if it has one."""
    with suppress(ProcessLookupError, FileNotFoundError, ValueError):
        pid = int(DataDir(node.data).watchdog_lock.read_text())
        if str(node.data) in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)


async def journaled(node: Node) -> Sequence[Record]:
    """Return what the node wrote to its disk, in order; it must not run."""
    with closing(Journal.open(DataDir(node.data).journal)) as journal:
        return [record async for record in records_after(journal, 1, 0)]


def check_counts(hub: Hub, experiment: str) -> int:
    """Check that each line and each value of the script came once; return how many there are."""
    log = hub.log(experiment)
    lines = [line for line in log if line.startswith("line ")]
    assert lines == [f"line {i}" for i in range(len(lines))]
    logged = [line for line in log if line.startswith("logged ")]
    assert logged == [f"logged {i}" for i in range(len(logged))]
    values = [r.values["i"] for r in hub.records(experiment) if isinstance(r, SeriesRecord)]
    assert values == list(range(len(values)))
    assert abs(len(values) - len(lines)) <= 1
    assert len(values) - 1 <= len(logged) <= len(values)
    return len(lines)


def absences(samples: Sequence[SampleRecord]) -> int:
    """Check that samples go forward; return how often the node was away for a while."""
    steps = [(b.elapsed or 0.0) - (a.elapsed or 0.0) for a, b in pairwise(samples)]
    assert min(steps) > 0
    return sum(step > 3 * 0.2 for step in steps)


async def test_nothing_is_missing_and_nothing_came_twice(running: Node, hub: Hub) -> None:
    chance = random.Random(SEED)  # noqa: S311 - what is wanted is the same chance each time
    assignment = await hub.run(COUNTING)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "line 10")
    deaths = 0
    for _ in range(ROUNDS):
        await asyncio.sleep(chance.uniform(0.05, 2.5))  # at any instant, of a start as well
        kill_watchdog(running)
        if chance.random() > KILLED_ALONE:
            await running.kill()
            deaths += 1
            running.start()
    said = len(hub.log(experiment))
    await eventually(lambda: len(hub.log(experiment)) > said + 20)
    await hub.again(assignment, parameters={"end": True})
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    assert hub.log(experiment)[-1] == f"end {check_counts(hub, experiment) - 1}"
    assert absences(hub.samples(experiment)) <= deaths
    assert hub.phases(experiment) == ["accepted", "executing", "released", "finished"]

    # The container itself, and its node in the same instant: cut off, and as completely kept.
    cut = str((await hub.run(COUNTING)).experiment_id)
    await hub.until_said(cut, "line 20")
    await asyncio.sleep(chance.uniform(0.0, 1.0))
    (container,) = engine("ps", "-q", "--filter", f"label=bioreactor.experiment={cut}")
    await asyncio.to_thread(engine, "kill", "--signal=KILL", container)
    await running.kill()
    running.start()
    step = await hub.until_phase(cut, "interrupted")
    assert step.error is not None
    assert step.error.code is ErrorCode.INTERRUPTED
    check_counts(hub, cut)

    await running.stop()
    written = await journaled(running)
    arrived = hub.records()
    assert arrived == written[: len(arrived)]  # what was written while it ended is on its way
    assert step in arrived
    assert hub.gaps == 0

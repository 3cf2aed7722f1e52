"""What a node says of a runner that hangs."""

import asyncio
from typing import cast

from hardware.clock import ManualClock
from node_service.alarms import ENGINE, Alarms
from node_service.engine import Engine
from node_service.runner.interface import Runner, RunnerInfo
from tests.support.waiting import eventually

INFO = RunnerInfo(isolation="docker", note="", results_mode="tmpfs", images={}, version="1")


class Hanging:
    """A runner that takes calls, and answers only while it runs on."""

    def __init__(self) -> None:
        self.runs_on = asyncio.Event()

    async def info(self) -> RunnerInfo:
        await self.runs_on.wait()
        return INFO


async def test_a_runner_that_hangs_is_an_alarm_until_it_answers() -> None:
    runner, alarms = Hanging(), Alarms(ManualClock(), lambda _: None)
    engine = Engine(cast("Runner", runner), alarms, lambda: None, patience=0.05)
    watching = asyncio.create_task(engine.watch())
    await eventually(lambda: engine.refusal and alarms.current)
    (alarm,) = alarms.current
    assert (alarm.id, alarm.severity) == (ENGINE, "critical")
    assert "the runner's process does not answer" in alarm.message
    runner.runs_on.set()
    await eventually(lambda: not alarms.current)
    assert (engine.refusal, engine.info) == (None, INFO)
    watching.cancel()

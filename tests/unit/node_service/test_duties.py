"""Of what the hub desires the newest counts, in whatever order it is heard."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from broker.connection import Message
from broker.messages import Assignment
from hardware.clock import ManualClock
from node_service.alarms import Alarms
from node_service.attempt import Attempt
from node_service.duties import Duties
from node_service.runs import Ending, Run, RunKey, Stage
from node_service.workplace import Station

STORE = "01JNE5X6T3M9Y2Q8R4V7W0ZABC"
KEY = RunKey("01J00000000000000000000000", 1)
RUNNING = Assignment(
    revision=4,
    store_id=STORE,
    generation=1,
    desired="run",
    experiment_id=KEY.experiment_id,
    attempt=KEY.attempt,
    script="",
)


class Memory:
    """The part of the ledger that hearing needs."""

    def __init__(self) -> None:
        self.seen_revision = 4
        self.assignment: Assignment | None = None
        self.saw = asyncio.Event()

    async def see(self, assignment: Assignment) -> None:
        self.seen_revision, self.assignment = assignment.revision, assignment
        self.saw.set()


def idle(revision: int) -> Message:
    said = Assignment(revision=revision, store_id=STORE, generation=1, desired="idle")
    return Message("assignment", said.encode())


async def test_an_old_assignment_does_not_hide_a_newer_one_that_waits() -> None:
    memory = Memory()
    alarms = Alarms(ManualClock(), lambda _: None)
    station = cast("Station", SimpleNamespace(ledger=memory, alarms=alarms, changed=lambda: None))
    async with asyncio.TaskGroup() as tasks:
        duties = Duties(station, lambda: None, tasks)
        await duties.hear(idle(6))
        await duties.hear(idle(5))
        following = tasks.create_task(duties.run())
        async with asyncio.timeout(5):
            await memory.saw.wait()
        following.cancel()
    assert memory.seen_revision == 6


async def test_what_is_no_assignment_is_an_alarm_until_a_good_one_comes() -> None:
    alarms = Alarms(ManualClock(), lambda _: None)
    station = cast("Station", SimpleNamespace(alarms=alarms, changed=lambda: None))
    async with asyncio.TaskGroup() as tasks:
        duties = Duties(station, lambda: None, tasks)
        await duties.hear(Message("assignment", b"[]"))
        (alarm,) = alarms.current
        assert "cannot be understood" in alarm.message
        await duties.hear(idle(6))
    assert alarms.current == ()


class FullDisk(Memory):
    """Has an attempt that runs, and no room to write anything down."""

    async def unfinished(self) -> list[Run]:
        return [Run(KEY, Stage.RUNNING, RUNNING, ManualClock().now())]

    async def see(self, assignment: Assignment) -> None:  # noqa: ARG002 - never
        self.saw.set()
        await asyncio.Event().wait()


async def test_an_order_to_stop_waits_for_no_room_on_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[Ending] = []
    monkeypatch.setattr(Attempt, "stop", lambda _, ending: stopped.append(ending))
    clock, memory = ManualClock(), FullDisk()
    alarms = Alarms(clock, lambda _: None)
    station = cast(
        "Station",
        SimpleNamespace(ledger=memory, alarms=alarms, clock=clock, changed=lambda: None),
    )
    async with asyncio.TaskGroup() as tasks:
        duties = Duties(station, lambda: None, tasks)
        await duties.restore()
        following = tasks.create_task(duties.run())
        for revision, desired in ((5, "run"), (4, "stop"), (6, "stop")):
            assert stopped == []
            order = RUNNING.model_copy(update={"revision": revision, "desired": desired})
            await duties.hear(Message("assignment", order.encode()))
            async with asyncio.timeout(5):
                await memory.saw.wait()  # what comes next finds it still writing
        following.cancel()
    assert [ending.outcome for ending in stopped] == ["cancelled"]

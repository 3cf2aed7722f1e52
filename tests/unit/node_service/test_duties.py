"""Of what the hub desires the newest counts, in whatever order it is heard."""

import asyncio
from types import SimpleNamespace
from typing import cast

from broker.connection import Message
from broker.messages import Assignment
from hardware.clock import ManualClock
from node_service.alarms import Alarms
from node_service.duties import Duties
from node_service.workplace import Station

STORE = "01JNE5X6T3M9Y2Q8R4V7W0ZABC"


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

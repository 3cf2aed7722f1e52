"""What a script that runs is given, and what of that is on record."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from ulid import ULID

from broker.messages import Assignment, ContainerStatus, PhaseRecord
from hardware.clock import ManualClock
from node_service.alarms import Alarms
from node_service.console import Console
from node_service.container import Container
from node_service.inbox import Inbox
from node_service.ledger import Ledger
from node_service.recorder import Recorder
from node_service.runner.interface import Exit, Runner
from node_service.runs import Ending, LogPosition
from node_service.steps import Outbox
from node_service.supervision import Orders, Supervision
from node_service.workplace import Station, make_console
from tests.support.waiting import eventually
from tests.unit.node_service.conftest import KEY, Gate

NOW = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)


class Standing(Container):
    """A container whose script says nothing and ends when it is told to."""

    def __init__(self) -> None:
        super().__init__(cast("Runner", None), KEY, "standing")
        self.ended = asyncio.Event()

    async def exit(self) -> Exit | None:
        await self.ended.wait()
        return None

    async def stop(self, grace: float) -> None:
        del grace
        self.ended.set()

    async def watch(self, measured: Callable[[ContainerStatus], Awaitable[None]]) -> None:
        del measured
        await asyncio.Future()

    async def follow(self, console: Console) -> None:
        del console
        await asyncio.Future()


def assigned(revision: int, target: float) -> Assignment:
    return Assignment(
        revision=revision, store_id=str(ULID()), generation=1, desired="run", script="pass",
        experiment_id=KEY.experiment_id, attempt=KEY.attempt, parameters={"target": target},
    )  # fmt: skip


@asynccontextmanager
async def supervised(
    gate: Gate,
    ledger: Ledger,
    recorder: Recorder,
    clock: ManualClock,
    container: Container | None = None,
) -> AsyncIterator[Orders]:
    """Have the gate's script supervised, as of revision 3, while the block runs."""
    station = Station(
        runner=cast("Runner", None), reactor=gate.reactor, clock=clock, ledger=ledger,
        journal=gate.journal, recorder=recorder, outbox=Outbox(ledger, recorder),
        live=gate.shown, alarms=Alarms(clock, recorder.post), runs=gate.socket.parent,
        recorded={}, simulated=True, isolation=lambda: "none",
        changed=lambda: None, freed=lambda: None,
    )  # fmt: skip
    before = assigned(3, 0.4)
    step = PhaseRecord.model_validate(
        {"t": NOW, "experiment_id": KEY.experiment_id, "attempt": KEY.attempt, "phase": "accepted"}
    )
    await ledger.accept(before, NOW, step)
    orders = Orders(before)
    supervision = Supervision(
        station, KEY, container or Standing(), assignment=before, orders=orders,
        clock=gate.run_clock,
        console=make_console(station, KEY, gate.run_clock, LogPosition(), 1000), lease=gate.lease,
        inbox=gate.inbox, frozen=False, show=lambda _phase, _detail: None,
    )  # fmt: skip

    async def begin() -> None:
        return

    running = asyncio.create_task(supervision.run(begin, lambda _: Ending(outcome="completed")))
    try:
        yield orders
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_a_change_is_on_record_before_the_script_has_seen_it(
    gate: Gate, recorder: Recorder, clock: ManualClock, tmp_path: Path
) -> None:
    """The script may look while the node still writes the change down: a disk takes its time."""
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger.open(path)) as ledger, closing(sqlite3.connect(path)) as other:
        async with supervised(gate, ledger, recorder, clock) as orders:
            other.execute("BEGIN IMMEDIATE")  # the ledger's writes wait
            orders.steer(assigned(4, 0.6), frozen=False)
            await eventually(lambda: gate.inbox.revision == 4)
            assert (await gate.get("/parameters"))["parameters"] == {"target": 0.6}
            other.rollback()
            await eventually(lambda: len(gate.journal.of("event")) == 2)
            sent, seen = gate.journal.of("event")
            assert (sent.event, seen.event) == ("parameters", "parameters-seen")
            assert sent.data["revision"] == seen.data["revision"] == 4
            assert sent.t <= seen.t


@pytest.mark.parametrize("end", ["by itself", "by order"])
async def test_the_end_is_safe_though_the_disk_hangs(
    gate: Gate, recorder: Recorder, clock: ManualClock, tmp_path: Path, end: str
) -> None:
    """Whatever of the run was just being written down."""
    path, container = tmp_path / "ledger.sqlite", Standing()
    with closing(Ledger.open(path)) as ledger, closing(sqlite3.connect(path)) as other:
        async with supervised(gate, ledger, recorder, clock, container) as orders:
            await gate.post("/channels/stirring/set", value=200, id="1")
            assert not gate.reactor.safe
            other.execute("BEGIN IMMEDIATE")  # the ledger's writes wait
            orders.steer(assigned(4, 0.6), frozen=False)
            await eventually(lambda: gate.inbox.revision == 4)
            if end == "by itself":
                container.ended.set()
            else:
                orders.stop(Ending(outcome="cancelled"))
            await eventually(lambda: gate.reactor.safe)
            assert await gate.refused("/channels/stirring/set", value=200, id="2") == (
                410, "LEASE_ENDED",
            )  # fmt: skip
            other.rollback()
            await eventually(container.ended.is_set)


async def test_parameters_keep_their_revision_when_the_node_comes_back(
    gate: Gate, recorder: Recorder, clock: ManualClock, tmp_path: Path
) -> None:
    with closing(Ledger.open(tmp_path / "ledger.sqlite")) as ledger:
        async with supervised(gate, ledger, recorder, clock) as orders:
            orders.steer(assigned(4, 0.6), frozen=False)

            async def kept() -> bool:
                run = await ledger.find(KEY)
                assert run is not None
                assert run.assignment is not None
                return (run.assignment.revision, run.assignment.parameters) == (4, {"target": 0.6})

            await eventually(kept)


def test_what_a_script_knew_before_the_node_came_back_counts_once_more() -> None:
    """Else a change that it had not looked at yet would never be told as seen."""
    begun = Inbox({"target": 0.4}, 3, lambda: NOW)
    assert not begun.look()
    found = Inbox({"target": 0.6}, 4, lambda: NOW, seen=False)
    assert found.look()
    assert not found.look()

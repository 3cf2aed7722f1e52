"""One attempt on a node whose disk has no room, or hangs, at a bad moment."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import httpx
import pytest
from ulid import ULID

from broker.messages import Assignment, PhaseRecord
from node_service.alarms import Alarms
from node_service.attempt import Attempt
from node_service.ledger import Ledger
from node_service.recorder import Recorder
from node_service.runner.interface import (
    Exit,
    Found,
    LogChunk,
    NoSuchContainerError,
    Progress,
    Runner,
    RunSpec,
)
from node_service.runner.paths import socket_address
from node_service.runs import ClockAnchor, Ending, Run, RunKey, Stage
from node_service.steps import Outbox
from node_service.workplace import Station, runner_attempt
from tests.support.plain import PLAIN
from tests.support.waiting import eventually
from tests.unit.node_service.conftest import KEY, Gate

NOW = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)
ASSIGNMENT = Assignment(
    revision=3, store_id=str(ULID()), generation=1, desired="run", script="pass",
    experiment_id=KEY.experiment_id, attempt=KEY.attempt,
)  # fmt: skip


class FullDisk(Ledger):
    """Has no room to write down that a script runs, until there is."""

    waits: asyncio.Event
    room: asyncio.Event

    async def running(
        self, key: RunKey, container_id: str, at: datetime, clock: ClockAnchor, step: PhaseRecord
    ) -> None:
        self.waits.set()
        await self.room.wait()
        await super().running(key, container_id, at, clock, step)


class OneContainer:
    """A runner whose container runs until `ended` is set."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def prepare(self, image: str, progress: Progress) -> str:
        del image, progress
        return "sha256:0"

    async def start(self, spec: RunSpec) -> str:
        del spec
        return "one"

    async def find(self) -> list[Found]:
        return [Found(runner_attempt(KEY), "one", "sha256:0", "running", NOW, None)]

    async def wait(self, container_id: str) -> Exit:
        del container_id
        await self.ended.wait()
        return Exit(0, None, oom_killed=False, error="", finished_at=NOW)

    async def status(self, container_id: str) -> None:
        raise NoSuchContainerError(container_id)

    async def logs(self, *_: object) -> AsyncIterator[LogChunk]:
        await self.ended.wait()
        no_output: list[LogChunk] = []
        for chunk in no_output:
            yield chunk

    async def stop(self, *_: object) -> None:
        self.ended.set()

    async def remove(self, container_id: str) -> None:
        """Have removed it."""

    async def open_results(self, run: object) -> None:
        """Have none."""

    async def discard(self, run: object) -> None:
        """Have left nothing."""


@asynccontextmanager
async def script_of(socket: Path) -> AsyncIterator[httpx.AsyncClient]:
    with socket_address(socket) as address:
        transport = httpx.AsyncHTTPTransport(uds=address, verify=PLAIN)
        async with httpx.AsyncClient(transport=transport, base_url="http://reactor/v1") as client:
            yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[FullDisk]:
    with closing(FullDisk.open(tmp_path / "ledger.sqlite")) as ledger:
        ledger.waits, ledger.room = asyncio.Event(), asyncio.Event()
        yield ledger


@pytest.fixture
def station(gate: Gate, ledger: FullDisk, recorder: Recorder, tmp_path: Path) -> Station:
    return Station(
        runner=cast("Runner", OneContainer()), reactor=gate.reactor, clock=gate.clock,
        ledger=ledger, journal=gate.journal, recorder=recorder,
        outbox=Outbox(ledger, recorder), live=gate.shown,
        alarms=Alarms(gate.clock, recorder.post), runs=tmp_path / "runs", recorded={},
        simulated=True, isolation=lambda: "none", changed=lambda: None, freed=lambda: None,
    )  # fmt: skip


@pytest.mark.parametrize("end", ["by itself", "by order"])
@pytest.mark.parametrize("stage", [Stage.ACCEPTED, Stage.STARTING])
async def test_the_end_is_safe_though_it_is_not_on_record_yet_that_it_runs(
    station: Station, ledger: FullDisk, gate: Gate, end: str, stage: Stage
) -> None:
    accepted = PhaseRecord(
        t=NOW, experiment_id=KEY.experiment_id, attempt=KEY.attempt, phase="accepted"
    )
    await ledger.accept(ASSIGNMENT, NOW, accepted)
    paths = station.paths(KEY)
    paths.gateway.mkdir(parents=True)
    heated = (("temperature-setpoint", 37.0),)
    attempt = Attempt(Run(KEY, stage, ASSIGNMENT, NOW, setpoints=heated), station)
    living = asyncio.create_task(attempt.run())
    await ledger.waits.wait()
    async with script_of(paths.socket) as script:
        if stage is Stage.STARTING:
            told = await script.post("/channels/stirring/set", json={"value": 200, "id": "1"})
            assert told.json()["error"]["code"] == "OUTPUTS_RESET"
        done = await script.post("/channels/stirring/set", json={"value": 200, "id": "2"})
        assert done.status_code == 200, done.text
        assert not gate.reactor.safe
        if end == "by itself":
            await station.runner.stop("one", 0)
        else:
            attempt.stop(Ending(outcome="cancelled"))
        await eventually(lambda: gate.reactor.safe)
        refused = await script.post("/channels/stirring/set", json={"value": 200, "id": "3"})
        assert refused.json()["error"]["code"] == "LEASE_ENDED"
    ledger.room.set()
    await living
    assert [event.channel for event in gate.events()] == ["stirring"]  # no setpoint came back
    phases = [record.phase for record in gate.journal.of("phase")]
    stopping = ["stopping"] if end == "by order" else []
    assert phases == ["accepted", "executing", *stopping, "released", "finished"]

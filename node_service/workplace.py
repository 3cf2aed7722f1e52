"""Where one attempt works: its files on the node, its gateway, what its script may reach."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker.messages import Assignment, EventRecord
from hardware.clock import Clock
from hardware.reactor import Reactor
from node_service.alarms import Alarms
from node_service.answers import Answers
from node_service.console import Console
from node_service.doses import Doses
from node_service.gateway import Access, create_app
from node_service.gateway_server import GatewayServer
from node_service.inbox import Inbox
from node_service.lease import Lease
from node_service.ledger import Ledger
from node_service.live import Screen
from node_service.packing import FilesJournal
from node_service.recorder import Recorder
from node_service.runclock import RunClock
from node_service.runner.interface import Attempt as RunnerAttempt
from node_service.runner.interface import Runner, RunPaths
from node_service.runs import LogPosition, Recorded, RunKey
from node_service.saves import Saves
from node_service.steps import Outbox
from node_service.tail import ReadableJournal


class StationJournal(FilesJournal, ReadableJournal, Protocol):
    """What attempts need of the journal beside the recorder."""


@dataclass(frozen=True, slots=True)
class Station:
    """What all attempts on a node share.

    Attributes:
        runs: Directory of the attempts' files, shared with the runner.
        recorded: What scripts had recorded before the node came back, as `Recorded` says.
        simulated: Whether no real reactor stands behind it.
        isolation: Names how containers are isolated.
        changed: Called when the report has something new to say.
        freed: Called when the reactor was given back.
    """

    runner: Runner
    reactor: Reactor
    clock: Clock
    ledger: Ledger
    journal: StationJournal
    recorder: Recorder
    outbox: Outbox
    live: Screen
    alarms: Alarms
    runs: Path
    recorded: Recorded
    simulated: bool
    isolation: Callable[[], str]
    changed: Callable[[], None]
    freed: Callable[[], None]

    def paths(self, key: RunKey) -> RunPaths:
        """Return where the files of an attempt lie."""
        return RunPaths.of(self.runs, runner_attempt(key))


def runner_attempt(key: RunKey) -> RunnerAttempt:
    """Return an attempt as the runner names it."""
    return RunnerAttempt(key.experiment_id, key.attempt)


def make_console(
    station: Station, key: RunKey, clock: RunClock, position: LogPosition, budget: int
) -> Console:
    """Return the console of an attempt, which keeps its position in the ledger."""
    return Console(
        key,
        position,
        budget,
        clock=clock,
        recorder=station.recorder,
        live=station.live,
        keep=lambda at: station.ledger.save_log(key, at),
    )


async def lay_out(paths: RunPaths, script: str) -> None:
    """Make the files that the runner expects; blocks no loop.

    The parent directory is the node's alone; what the container sees of it is open to its user.
    """

    def make() -> None:
        paths.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths.gateway.mkdir(mode=0o755, exist_ok=True)
        paths.gateway.chmod(0o755)
        paths.script.write_text(script, encoding="utf-8", newline="")
        paths.script.chmod(0o644)

    await asyncio.to_thread(make)


async def clear_away(paths: RunPaths) -> None:
    """Remove what `lay_out` made; for attempts that the runner never heard of."""
    await asyncio.to_thread(shutil.rmtree, paths.directory, ignore_errors=True)


def _doses(station: Station, key: RunKey) -> Path:
    return station.paths(key).directory / "doses.json"


async def record_lost_doses(station: Station, key: RunKey, clock: RunClock) -> None:
    """Record the doses that were under way when the node was killed, unless they are on record."""
    doses = await Doses.load(_doses(station, key))
    for dose in doses.untold:
        if dose.id not in station.recorded.get(key, {}):
            begun = {} if dose.begun is None else {"begun": dose.begun.isoformat()}
            event = EventRecord(
                t=station.clock.now(),
                mono=station.clock.monotonic(),
                experiment_id=key.experiment_id,
                attempt=key.attempt,
                elapsed=clock.elapsed,
                event="dose",
                channel=dose.channel,
                value=dose.ml,
                data={"requested_ml": dose.ml, "id": dose.id, "cut_off": True, **begun},
            )
            station.recorder.post(event)
            if not await station.recorder.settled():
                return  # should the node be killed before there is room, the next tells it
        await doses.tell(dose)


@asynccontextmanager
async def open_gateway(
    station: Station,
    assignment: Assignment,
    key: RunKey,
    *,
    clock: RunClock,
    console: Console,
    lease: Lease,
    inbox: Inbox,
    results_bytes: Callable[[], int],
    known: Mapping[str, int],
) -> AsyncIterator[None]:
    """Serve the gateway of an attempt while the block runs.

    `results_bytes` returns what the container's own results directory holds; `known` is what
    its calls had recorded before the node came back, by id.
    """
    paths = station.paths(key)
    saves = Saves(paths.directory, assignment.limits.results, results_bytes)
    await saves.open()
    answers = Answers(known=known)

    async def keep_setpoints() -> None:
        await station.ledger.save_setpoints(key, station.reactor.setpoints().items())

    access = Access(
        key=key,
        name=assignment.name,
        limits=assignment.limits,
        clock=clock,
        reactor=station.reactor,
        lease=lease,
        inbox=inbox,
        answers=answers,
        doses=await Doses.load(_doses(station, key)),
        saves=saves,
        recorder=station.recorder,
        console=console,
        live=station.live,
        keep_setpoints=keep_setpoints,
        series=set(),
    )
    # In a thread: it takes so long on a small machine that samples would be late.
    app = await asyncio.to_thread(create_app, access)
    async with GatewayServer(paths.socket, app, lease.touch):
        try:
            yield
        finally:
            await answers.close()

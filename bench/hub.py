"""The hub's process: how soon it serves again with much behind it, and what it keeps in memory.

A real broker and a real hub process. A million samples come as a node sends them: through a
journal, over the broker, into the archive; then they are exported.
"""

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

from ulid import ULID

from bench._node import child_of, resident
from bench.submit import Hub
from broker.access import Principal
from broker.children import Child
from broker.connection import Connection, Message
from broker.embedded import EmbeddedBroker
from broker.identity import write_private
from broker.journal import Journal, JournalSender
from broker.messages import (
    Experiment,
    Export,
    Exported,
    ExportKind,
    History,
    HistoryOf,
    HubStatus,
    List,
    Listed,
    SampleRecord,
    Status,
    decode,
    utc_now,
)
from broker.requests import Asker
from broker.topics import Topic
from hub_service.archive import Archive

FINISHED = 100_000
WAITING = 500
RESTART_BUDGET = 2.0
RECORDS = 100_000
CHANNELS = 10
APPEND = 200
MEMORY_BUDGET = 80.0
EXPORT_BOUND = 200.0
NODE = "reactor-1"
ROLES = (Principal("hub", "hub"), Principal("admin", "administrator"), Principal(NODE, "node"))
Row = tuple[str, float, str, float, str]


class Running:
    """A hub's process and somebody who asks it."""

    def __init__(self, broker: EmbeddedBroker, data: Path, asking: Connection) -> None:
        self._broker, self._data = broker, data
        self._online = asyncio.Event()
        self.asker = Asker(asking, "admin")
        asking.subscribe(asking.topics.build(Topic.HUB_STATUS), self._hear)

    @asynccontextmanager
    async def hub(self) -> AsyncIterator[Child]:
        """Run the hub; it has said that it is online and has answered once."""
        settings = self._broker.settings_for("hub")
        assert settings.password is not None
        config = self._data.with_suffix(".toml")
        write_private(
            config,
            f'[broker]\nurl = "{settings.url}"\nusername = "hub"\n'
            f'password = "{settings.password.get_secret_value()}"\n'
            f'[hub]\ndata_dir = "{self._data}"\n',
        )
        self._online.clear()
        child = Child.start(
            [sys.executable, "-m", "hub_service", "--config", str(config)], on_line=_ignore
        )
        try:
            async with asyncio.timeout(60):
                await self._online.wait()
            answer = await self.asker.ask("list", List(limit=50), timeout=30)
            assert isinstance(answer, Listed)
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            await child.wait()

    async def _hear(self, message: Message) -> None:
        if message.payload and decode(HubStatus, message.payload).state == "online":
            self._online.set()


@asynccontextmanager
async def site(directory: Path, data: Path) -> AsyncIterator[tuple[EmbeddedBroker, Running]]:
    async with (
        EmbeddedBroker(directory / "broker", roles=ROLES) as broker,
        Connection(broker.settings_for("admin"), client_id="bench-admin") as asking,
    ):
        await asking.wait_connected(10)
        yield broker, Running(broker, data, asking)


async def restart(directory: Path) -> list[Row]:
    data = directory / "hub"
    before = Hub(data)
    await before.fill(FINISHED)
    for _ in range(WAITING - len(before.store.state.order)):
        await before.submit()
    await before.close()
    async with site(directory, data) as (_, running):
        began = time.perf_counter()
        async with running.hub() as child:
            took = time.perf_counter() - began
            busy = _processor(child.pid)
    what = f"hub start with {FINISHED} finished and {WAITING} waiting, until it answers"
    return [
        (what, took, "s", RESTART_BUDGET, "the budget"),
        (f"{what}: processor time", busy, "s", RESTART_BUDGET, "the same, on an idle machine"),
    ]


async def memory(directory: Path) -> list[Row]:
    data = directory / "hub"
    experiment = _finished()
    with closing(Archive.open(data / "archive")) as archive:
        await archive.finish(experiment)
    found: list[float] = []
    export: dict[ExportKind, float] = {}
    async with (
        site(directory, data) as (broker, running),
        running.hub() as child,
        Connection(broker.settings_for(NODE), client_id="bench-node") as connection,
    ):
        found.append(resident(child.pid))
        with closing(Journal.open(directory / "journal")) as journal:
            sending = asyncio.create_task(JournalSender(journal, connection, NODE).run())
            for tenth in range(10):
                await _feed(journal, experiment, tenth * RECORDS // 10, (tenth + 1) * RECORDS // 10)
                history = History(experiment_id=experiment.experiment_id)
                assert isinstance(
                    await running.asker.ask("history", history, timeout=60), HistoryOf
                )
                found.append(resident(child.pid))
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        for kind in (ExportKind.TELEMETRY_CSV, ExportKind.TELEMETRY_PARQUET, ExportKind.RESULTS):
            export[kind] = await _export(running, child.pid, experiment, kind)
        found.append(resident(child.pid))
        peak = _peak(child.pid)
    total = f"{RECORDS * CHANNELS:,} samples".replace(",", " ")
    first = f"after six tenths; {found[1]:.0f} after one, {found[0]:.0f} idle"
    most_held = f"hub, most of all over {total} and their exports"
    exporting = f"process that exports {total} as"
    return [
        (f"hub after {total}", found[-2], "MiB", found[6], first),
        (most_held, peak, "MiB", MEMORY_BUDGET, "the budget"),
        *(
            (f"{exporting} {k}", most, "MiB", EXPORT_BOUND, "our bound")
            for k, most in export.items()
        ),
    ]


async def _feed(journal: Journal, experiment: Experiment, start: int, end: int) -> None:
    """Append records and wait until the hub has them."""
    for first in range(start, end, APPEND):
        await journal.append(
            "records",
            [
                SampleRecord(
                    t=utc_now(),
                    experiment_id=experiment.experiment_id,
                    attempt=1,
                    elapsed=n * 0.1,
                    values={f"channel-{c}": n * 0.001 + c for c in range(CHANNELS)},
                )
                for n in range(first, first + APPEND)
            ],
        )
    async with asyncio.timeout(300):
        while journal.backlog()["records"].entries:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.05)


async def _export(running: Running, hub: int, experiment: Experiment, kind: ExportKind) -> float:
    """Return the most that the exporting process held, in MiB."""
    request = Export(experiment_id=experiment.experiment_id, kind=kind)
    asking = asyncio.create_task(running.asker.ask("export", request, timeout=300))
    most = 0.0
    while not asking.done():
        with suppress(AssertionError, FileNotFoundError, ProcessLookupError):
            most = max(most, _peak(child_of(hub, "hub_service.exporting")))
        await asyncio.sleep(0.02)
    assert isinstance(await asking, Exported)
    return most


def _ignore(_line: str) -> None:
    """The hub's log is not the subject."""


def _processor(pid: int) -> float:
    """Return the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> float:
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if match is None:
        raise ProcessLookupError(pid)
    return int(match[1]) / 1024


def _finished() -> Experiment:
    now = utc_now()
    return Experiment(
        experiment_id=str(ULID()),
        name="a million samples",
        user="mqtt:admin",
        owner="admin",
        status=Status.COMPLETED,
        revision=1,
        created_at=now,
        completed_at=now,
        script_sha256="0" * 64,
    )


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        return [
            *asyncio.run(restart(Path(first))),
            *asyncio.run(memory(Path(second))),
        ]

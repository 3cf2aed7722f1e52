"""A submission at the hub: checked, durable in both stores, answered; the broker is not in it."""

import asyncio
import hashlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ulid import ULID

from broker.database import Transaction
from broker.messages import (
    Actor,
    EstopRequest,
    Experiment,
    OnExperiment,
    Request,
    Status,
    Submit,
    Submitted,
    utc_now,
)
from broker.requests import Asked
from hub_service.archive import Archive
from hub_service.archive.finished import put
from hub_service.commands import Commands
from hub_service.desk import Desk
from hub_service.ids import GrowingIds
from hub_service.keeping import Keeping
from hub_service.queue.durations import Durations
from hub_service.queue.events import NodeOffered, NodePresence
from hub_service.queue.state import Offer
from hub_service.scripts import Checker
from hub_service.settings import HubSettings
from hub_service.store import FILE, QueueStore
from hub_service.tokens import TokenBook

WAITING = 100
ROUNDS = 150
FEW, MANY = 100, 100_000
SCRIPT = """\
# /// script
# [tool.bioreactor]
# name = "Turbidostat"
# max_duration = "12 h"
# needs = ["od", "media", "waste"]
# [tool.bioreactor.parameters]
# target_od = {default = 0.6, unit = "OD600", min = 0.05, max = 4}
# ///
from bioreactor import experiment, reactor

for _ in experiment.every(seconds=60):
    od = reactor.read("od")
    if od > experiment.parameters["target_od"]:
        reactor.dose("waste", ml=1.0)
        reactor.dose("media", ml=1.0)
    experiment.record(od=od)
"""


class Hub:
    """The hub's inside: everything between a checked request and its answer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = QueueStore.open(directory, new_id=lambda: str(ULID()))
        self.archive = Archive.open(directory / "archive")
        self.desk = Desk(self.store, self.archive, clock=utc_now, changed=lambda: None)
        self.checker = Checker()
        self.commands = Commands(
            self.desk,
            self.archive,
            HubSettings(data_dir=directory),
            checker=self.checker,
            durations=Durations(),
            stop_node=self._stop_node,
            keeping=Keeping(
                self.desk, self.archive, show=lambda _: None, forget=lambda _: None, everybody=True
            ),
            tokens=TokenBook(self.desk, self.archive, show=lambda _: None, clock=utc_now),
            new_id=GrowingIds(utc_now),
        )
        self.count = 0

    @staticmethod
    async def _stop_node(node: str, request: EstopRequest) -> None:
        raise AssertionError((node, request))

    async def fill(self, finished: int) -> None:
        """Make a reactor known, and experiments that are over and that wait."""
        offer = Offer(frozenset({"od", "media", "waste"}), {"standard": {}})
        await self.desk.learn(NodePresence("r", str(ULID()), online=True), NodeOffered("r", offer))
        over = [_finished(number) for number in range(finished)]

        def put_all(transaction: Transaction) -> None:
            for experiment in over:
                put(transaction.connection, experiment, utc_now())

        await self.archive._write(put_all)  # noqa: SLF001  one commit each would take minutes
        for _ in range(WAITING):
            await self.submit()

    async def submit(self, *, checked: bool = False) -> tuple[str, float]:
        """Submit a script that differs from all others; return its id and the seconds it took.

        Args:
            checked: It was checked before, as the upload page does while it is chosen.
        """
        self.count += 1
        request = Submit(script=f"{SCRIPT}# {self.count}\n", id=f"job-{self.count}")
        if checked:
            state = self.store.state
            await self.checker.check(request.script, {}, state.nodes, state.limits)
        began = time.perf_counter()
        answer = await self._ask("submit", request)
        seconds = time.perf_counter() - began
        assert isinstance(answer, Submitted)
        return answer.experiment_id, seconds

    async def cancel(self, experiment_id: str) -> None:
        await self._ask("cancel", OnExperiment(experiment_id=experiment_id))

    async def _ask(self, verb: str, request: Request) -> object:
        actor = Actor(user=f"web:session{self.count}", name="somebody")
        request = request.model_copy(update={"actor": actor})
        asked = Asked("portal", False, verb, request, str(self.count), utc_now())
        return await self.commands.handle(asked)

    def snapshot(self) -> bytes:
        return (self.directory / FILE).read_bytes()

    async def close(self) -> None:
        await self.store.close()
        self.archive.close()


class Bare:
    """The same writes and fsyncs and nothing else: one commit of SQLite, one file replaced."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.path = directory / "file"
        self.database = sqlite3.connect(directory / "bare.sqlite", isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = FULL")
        self.database.execute("CREATE TABLE scripts (sha256 TEXT PRIMARY KEY, script TEXT)")
        self.database.execute("CREATE TABLE audit (id INTEGER PRIMARY KEY, body TEXT)")
        self.path.write_bytes(b"")

    def write(self, number: int, snapshot: bytes) -> float:
        """Return the seconds that it took."""
        script = f"{SCRIPT}# {number}\n"
        digest = hashlib.sha256(script.encode()).hexdigest()
        began = time.perf_counter()
        self.database.execute("BEGIN IMMEDIATE")
        self.database.execute("INSERT INTO scripts VALUES (?, ?)", (digest, script))
        self.database.execute("INSERT INTO audit (body) VALUES (?)", ("x" * 300,))
        self.database.execute("COMMIT")
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(snapshot)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
        return time.perf_counter() - began


def _finished(number: int) -> Experiment:
    now = utc_now()
    return Experiment(
        experiment_id=str(ULID()),
        name=f"experiment {number}",
        user=f"web:session{number % 500:04}",
        owner="somebody",
        status=Status.COMPLETED,
        revision=number,
        created_at=now,
        completed_at=now,
        script_sha256="0" * 64,
    )


async def _measure(directory: Path) -> Mapping[str, float]:
    """Return medians in milliseconds: few finished, checked before, many finished, bare writes.

    They take turns, so that whatever else the machine does meets all of them alike.
    """
    few, many = Hub(directory / "few"), Hub(directory / "many")
    await few.fill(FEW)
    await many.fill(MANY)
    reference = Bare(directory / "bare")
    taken: dict[str, list[float]] = {"few": [], "checked": [], "many": [], "bare": []}
    with closing(reference.database):
        for number in range(ROUNDS):
            snapshot = few.snapshot()
            for name, hub in (("few", few), ("checked", few), ("many", many)):
                experiment_id, seconds = await hub.submit(checked=name == "checked")
                taken[name].append(seconds)
                await hub.cancel(experiment_id)
                await hub.desk._archive_ended()  # noqa: SLF001  so that 100 wait each time
            taken["bare"].append(reference.write(number, snapshot))
    for hub in (few, many):
        await hub.close()
    return {name: statistics.median(seconds) * 1e3 for name, seconds in taken.items()}


def rows() -> list[tuple[str, float, str, float, str]]:
    """Return the budgets of a submission, measured side by side."""
    with tempfile.TemporaryDirectory() as directory:
        took = asyncio.run(_measure(Path(directory)))
    bare = "the same writes and fsyncs, bare"
    return [
        (f"submit, {WAITING} waiting, p50", took["few"], "ms", took["bare"], bare),
        ("the same, checked by a page before", took["checked"], "ms", took["bare"], bare),
        (f"submit, {MANY} finished, p50", took["many"], "ms", took["few"], f"{FEW} finished"),
    ]

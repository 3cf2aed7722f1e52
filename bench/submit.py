"""A submission at the hub: checked, durable in both stores, answered; the broker is not in it."""

import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ulid import ULID

from broker.database import Transaction, open_database
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
from hub_service.archive import Archive, Audit
from hub_service.archive.audits import Row, row_of
from hub_service.archive.audits import put as put_audit
from hub_service.archive.finished import put
from hub_service.archive.schema import APPLICATION_ID, MIGRATIONS
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
SLOW_ROUNDS = 40
SLOW_SYNC_MS = 4
"""What a sync takes longer at the slower disk: this much or more at a memory card."""
WARM = 400
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
        asked = self._asked("submit", request)
        began = time.perf_counter()
        answer = await self.commands.handle(asked)
        seconds = time.perf_counter() - began
        assert isinstance(answer, Submitted)
        return answer.experiment_id, seconds

    async def cancel(self, experiment_id: str) -> None:
        await self.commands.handle(self._asked("cancel", OnExperiment(experiment_id=experiment_id)))

    def _asked(self, verb: str, request: Request) -> Asked:
        actor = Actor(user=f"web:session{self.count}", name="somebody")
        request = request.model_copy(update={"actor": actor})
        return Asked("portal", False, verb, request, str(self.count), utc_now())

    def snapshot(self) -> bytes:
        return (self.directory / FILE).read_bytes()

    async def noted(self) -> Audit:
        """Return what was noted of the last submission."""
        page = await self.archive.audit_page(
            experiment_id=None, before=None, limit=1, verb="submit"
        )
        return page[0].audit

    async def close(self) -> None:
        await self.store.close()
        self.archive.close()


class Bare:
    """The same writes and fsyncs and nothing else, one after another.

    One commit into tables like the archive's, of the same rows; a snapshot of the same bytes over
    the generation before the previous one, which takes the file's place and keeps the previous.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.folder = str(directory)
        self.path = str(directory / "file")
        self.database = open_database(directory / "bare.sqlite", MIGRATIONS, APPLICATION_ID)
        for ending in ("", ".previous", ".spare"):
            Path(self.path + ending).write_bytes(b"")
        # Until the log of SQLite goes round, as the hubs' do: a file that grows costs more.
        for number in range(WARM):
            self._commit(str(number), "", row_of(Audit("", "", "", None, "", {})))

    def write(self, number: int, snapshot: bytes, noted: Audit) -> float:
        """Return the seconds that it took."""
        script = f"{SCRIPT}# {number}\n"
        digest = hashlib.sha256(script.encode()).hexdigest()
        row = row_of(noted)
        began = time.perf_counter()
        self._commit(digest, script, row)
        path = self.path
        os.rename(f"{path}.spare", f"{path}.new")  # noqa: PTH104  nothing but the call, as below
        file = os.open(f"{path}.new", os.O_WRONLY)
        os.write(file, snapshot)
        os.ftruncate(file, len(snapshot))
        os.fdatasync(file)
        os.close(file)
        os.link(f"{path}.previous", f"{path}.spare")
        os.link(path, f"{path}.keep")
        os.rename(f"{path}.keep", f"{path}.previous")  # noqa: PTH104
        os.rename(f"{path}.new", path)  # noqa: PTH104
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
        return time.perf_counter() - began

    def _commit(self, digest: str, script: str, row: Row) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        self.database.execute("INSERT INTO scripts VALUES (?, ?)", (digest, script))
        put_audit(self.database, row)
        self.database.execute("COMMIT")


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


async def _measure(directory: Path, rounds: int) -> Mapping[str, float]:
    """Return medians in milliseconds: few finished, checked before, many finished, bare writes.

    They take turns, so that whatever else the machine does meets all of them alike.
    """
    few, many = Hub(directory / "few"), Hub(directory / "many")
    await few.fill(FEW)
    await many.fill(MANY)
    reference = Bare(directory / "bare")
    taken: dict[str, list[float]] = {"few": [], "checked": [], "many": [], "bare": []}
    with closing(reference.database):
        for number in range(rounds):
            snapshot = few.snapshot()
            for name, hub in (("few", few), ("checked", few), ("many", many)):
                experiment_id, seconds = await hub.submit(checked=name == "checked")
                taken[name].append(seconds)
                await hub.cancel(experiment_id)
                await hub.desk._archive_ended()  # noqa: SLF001  so that 100 wait each time
            taken["bare"].append(reference.write(number, snapshot, await few.noted()))
    for hub in (few, many):
        await hub.close()
    return {name: statistics.median(seconds) * 1e3 for name, seconds in taken.items()}


def _took(rounds: int) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(Path(directory), rounds))


def _took_with_a_slower_disk() -> Mapping[str, float]:
    """Measure in another process, whose every sync to the disk takes longer.

    Raises:
        RuntimeError: There is no C compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the slower disk needs a C compiler: apt-get install gcc libc6-dev")
    with tempfile.TemporaryDirectory() as directory:
        library = f"{directory}/submit.so"
        source = str(Path(__file__).with_suffix(".c"))
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
        environment = {**os.environ, "LD_PRELOAD": library, "DISK_SYNC_MS": str(SLOW_SYNC_MS)}
        command = [sys.executable, "-m", "bench.submit"]
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    took: dict[str, float] = json.loads(said.stdout)
    return took


def rows() -> list[tuple[str, float, str, float, str]]:
    """Return the budgets of a submission, measured side by side."""
    took, slow = _took(ROUNDS), _took_with_a_slower_disk()
    bare = "the same writes and fsyncs, bare"
    slower = f"with syncs that take {SLOW_SYNC_MS} ms longer"
    return [
        (f"submit, {WAITING} waiting, p50", took["few"], "ms", took["bare"], bare),
        ("the same, checked by a page before", took["checked"], "ms", took["bare"], bare),
        (f"submit, {WAITING} waiting, {slower}, p50", slow["few"], "ms", slow["bare"], bare),
        (f"submit, {MANY} finished, p50", took["many"], "ms", took["few"], f"{FEW} finished"),
    ]


if __name__ == "__main__":
    print(json.dumps(dict(_took(SLOW_ROUNDS))))

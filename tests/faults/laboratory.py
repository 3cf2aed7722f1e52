"""A hub and a node as processes that are killed again and again, and people who go on working.

What runs is run by a runner of its own, which nobody kills, as a container engine is.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self

from broker.children import Child
from broker.connection import AckTimeoutError, Connection, NotConnectedError
from broker.identity import write_private
from broker.messages import (
    ContractError,
    Done,
    ErrorCode,
    Experiment,
    ExperimentId,
    Got,
    Limits,
    OnExperiment,
    Request,
    Result,
    Status,
    Submit,
    Submitted,
)
from broker.requests import Asker
from node_service.datadir import DataDir
from tests.faults.nursery import Life, Nursery
from tests.support.brokers import Broker, broker_section
from tests.support.node import write_config
from tests.support.waiting import eventually

Service = Literal["hub", "node"]

ROOT: Final = Path(__file__).resolve().parents[2]
SERVICES: Final[tuple[Service, ...]] = ("hub", "node")
LIFE_SECONDS: Final = 12.0
"""How long a life waits for its step to come; then it is killed all the same."""
_AGAIN: Final = {ErrorCode.EXPIRED, ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT, ErrorCode.RATE_LIMIT}
LINES: Final = 12
HEAD: Final = """\
# /// script
# [tool.bioreactor]
# needs = ["od"]
# ///
from bioreactor import experiment, reactor
print("begun", flush=True)
"""
SCRIPTS: Final = {
    "completed": HEAD
    + f"""\
for i in range({LINES}):
    print("line", i, flush=True)
    experiment.record(i=i)
    experiment.sleep(0.02)
experiment.save("kept.bin", b"kept" * 5000)
""",
    "failed": HEAD + 'experiment.save("kept.bin", b"kept" * 5000)\nraise SystemExit(3)\n',
    "held": HEAD
    + """\
experiment.save("kept.bin", b"kept" * 5000)
print("kept", flush=True)
while True: experiment.sleep(0.1)
""",
}  # fmt: skip
KEPT: Final = b"kept" * 5000
PEOPLE: Final = 3
"""Who begin experiments, each one after another."""


def configure(path: Path, broker: Broker) -> Path:
    """Write a hub's configuration: its data lie in `path`, below ``hub``."""
    config = path / "hub.toml"
    section = broker_section(broker.settings_for("hub"))
    lines = [
        "[broker]",
        *(f'{key} = "{value}"' for key, value in section.items()),
        "[hub]",
        f'data_dir = "{path / "hub"}"',
    ]
    write_private(config, "\n".join(lines))
    return config


@dataclass
class Job:
    """What somebody wants done with an experiment.

    Attributes:
        kind: A script of `SCRIPTS`, or what is done to one: paused, cancelled.
    """

    kind: str
    number: int
    experiment_id: str = ""


@dataclass
class Laboratory:
    """Use `Laboratory.open`.

    Attributes:
        jobs: What was begun.
        said: Lines that a service printed.
        late: Nobody begins anything new.
    """

    path: Path
    broker: Broker
    person: Connection
    admin: Connection
    jobs: list[Job] = field(default_factory=list)
    nurseries: dict[Service, Nursery] = field(default_factory=dict)
    late: bool = False
    said: dict[Service, list[str]] = field(default_factory=lambda: {"hub": [], "node": []})

    def __post_init__(self) -> None:
        links = {"alice": self.person, "admin": self.admin}
        self._askers = {name: Asker(link, name) for name, link in links.items()}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, broker: Broker, recipe: Path, cache: Path
    ) -> AsyncIterator[Self]:
        async with AsyncExitStack() as stack:

            async def somebody(principal: str) -> Connection:
                connection = Connection(broker.settings_for(principal), client_id=principal)
                await stack.enter_async_context(connection)
                await connection.wait_connected(10)
                return connection

            lab = cls(path, broker, await somebody("alice"), await somebody("admin"))
            configure(path, broker)
            write_config(
                lab.config("node"), broker.settings_for("reactor-1"), {"standard": recipe},
                id="reactor-1", data_dir=str(path / "node"), runner="bubblewrap",
                allow_reduced_isolation=True, sample_interval=0.1, cache_dir=str(cache),
                hang_after=30.0,
            )  # fmt: skip
            runner = lab._start_runner(recipe, cache)
            stack.push_async_callback(runner.stop)
            for service in SERVICES:
                lab.nurseries[service] = lab._start_nursery(service)
                stack.push_async_callback(lab.nurseries[service].stop)
            await eventually(lambda: DataDir(path / "node").runner.joinpath("runner.sock").exists())
            yield lab

    def config(self, service: Service) -> Path:
        return self.path / f"{service}.toml"

    def notes(self, service: Service) -> Path:
        return self.path / f"{service}.steps"

    @property
    def starts(self) -> Counter[str]:
        """How often each run was started: its id and attempt."""
        noted = self.path / "starts"
        return Counter(noted.read_text().split() if noted.exists() else ())

    def _start_nursery(self, service: Service) -> Nursery:
        program = [sys.executable, "-m", "tests.faults.killed_main", service]
        return Nursery.start(
            [*program, str(self.config(service)), str(self.notes(service))],
            cwd=ROOT,
            on_line=self.said[service].append,
        )

    def _start_runner(self, recipe: Path, cache: Path) -> Child:
        directory = DataDir(self.path / "node").runner
        program = [sys.executable, "-m", "tests.faults.runner_main", str(directory)]
        return Child.start([*program, str(cache), str(recipe), str(self.path / "starts")], cwd=ROOT)

    @asynccontextmanager
    async def life(self, service: Service, at: str = "") -> AsyncIterator[Life]:
        """Run a service; it kills itself before a step."""
        async with self.nurseries[service].life(at) as life:
            yield life

    async def live_and_die(self, service: Service, at: str) -> bool:
        """Let a service live up to a step; return whether that came."""
        async with self.life(service, at) as life:
            try:
                async with asyncio.timeout(LIFE_SECONDS):
                    status = await life.wait()
            except TimeoutError:
                return False
            said = self.nurseries[service].last_lines
            assert status == -9, "\n".join([f"{service} before {at}: {status}", *said])
            return True

    # People

    async def ask(self, verb: str, request: Request, *, admin: bool = False) -> Result:
        """Ask until there is an answer, always with the same id."""
        asker = self._askers["admin" if admin else "alice"]
        while True:
            try:
                return await asker.ask(verb, request, admin=admin, timeout=5)
            except ContractError as error:
                if error.error.code not in _AGAIN:
                    raise
            except (NotConnectedError, AckTimeoutError):
                pass  # the hub may have it all the same
            await asyncio.sleep(0.1)

    async def shown(self, job: Job) -> Experiment:
        got = await self.ask("get", self.about(job))
        assert isinstance(got, Got)
        return got.experiment

    @staticmethod
    def about(job: Job, identity: str | None = None) -> OnExperiment:
        return OnExperiment(experiment_id=ExperimentId(job.experiment_id), id=identity)

    async def until(self, job: Job, condition: Callable[[Experiment], bool]) -> Experiment:
        while True:
            experiment = await self.shown(job)
            if condition(experiment) or experiment.status.finished:
                return experiment
            await asyncio.sleep(0.1)

    async def do(self, kind: str) -> None:
        """Submit something and see it through to its end."""
        job = Job(kind, len(self.jobs))
        self.jobs.append(job)
        script = SCRIPTS.get(kind, SCRIPTS["held"])
        told = await self.ask("submit", Submit(script=script, id=f"job-{job.number}"))
        assert isinstance(told, Submitted)
        job.experiment_id = told.experiment_id
        if kind not in SCRIPTS:
            await self.until(job, lambda e: e.phase == "executing")
            if kind == "paused":
                await self.steer(job, "pause")
                await self.until(job, lambda e: e.status is Status.PAUSED)
                await self.steer(job, "resume")
                await self.until(job, lambda e: e.phase == "executing")
            await self.steer(job, "cancel")
        await self.until(job, lambda _: False)

    async def steer(self, job: Job, verb: str) -> None:
        try:
            answer = await self.ask(verb, self.about(job, f"{verb}-{job.number}"))
        except ContractError as error:
            if error.error.code is not ErrorCode.WRONG_STATE:  # then it has ended meanwhile
                raise
            return
        assert isinstance(answer, Done)

    async def everybody_works(self, seed: int) -> None:
        """Keep a few experiments waiting; return when the last are over, once it is late."""
        chance = random.Random(seed)  # noqa: S311
        kinds = ["completed", "failed", "paused", "cancelled"]

        async def somebody() -> None:
            while not self.late:
                await self.do(chance.choice(kinds))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(PEOPLE):
                tasks.create_task(somebody())

    async def raise_limit(self) -> None:
        await self.ask("limits", Limits(per_user=1000), admin=True)

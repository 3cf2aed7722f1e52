"""A real gateway in front of a simulated reactor, without broker, hub and container.

Scripts run as child processes that find it through `BIOREACTOR_SOCKET`, as in a container.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from broker.journal import Journal
from broker.messages import Parameters, Record, RunLimits
from broker.topics import Topics
from hardware.clock import Clock, RealClock
from hardware.reactor import Reactor
from hardware.reactors import simulated_reactor
from node_service.answers import Answers
from node_service.console import Console
from node_service.doses import Doses
from node_service.gateway import Access, create_app
from node_service.gateway_server import GatewayServer
from node_service.image.recipe import sdk_files
from node_service.inbox import Inbox
from node_service.lease import Lease
from node_service.live import Live
from node_service.recorder import Recorder
from node_service.runclock import RunClock
from node_service.runs import LogPosition, RunKey
from node_service.saves import Saves
from node_service.tail import records_after
from tests.support.steady import SITE, SOCKET_VARIABLE, SteadyClock, SteadyLease, sleeping

KEY = RunKey("01J00000000000000000000000", 1)


class Nobody:
    """A broker that is not there."""

    connected = False

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        raise ConnectionError(f"{topic} {len(payload)} {qos} {retain}")


@dataclass(frozen=True)
class Ended:
    """How a script ended and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Bench:
    """One attempt with its gateway, which can go away and come back as a node does."""

    directory: Path
    sdk: Path
    reactor: Reactor
    journal: Journal
    recorder: Recorder
    clock: RunClock
    lease: Lease
    inbox: Inbox
    saves: Saves
    console: Console
    series: set[str] = field(default_factory=set)
    answers: Answers = field(default_factory=Answers)
    steady: bool = False
    _serving: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def socket(self) -> Path:
        return self.directory / "gateway" / "gateway.sock"

    async def open(self) -> None:
        """Serve."""
        access = Access(
            key=KEY,
            name="bench",
            limits=RunLimits(),
            clock=self.clock,
            reactor=self.reactor,
            lease=self.lease,
            inbox=self.inbox,
            answers=self.answers,
            doses=await Doses.load(self.directory / "doses.json"),
            saves=self.saves,
            recorder=self.recorder,
            console=self.console,
            live=Live(Nobody(), Topics(), "reactor-1"),
            keep_setpoints=_nothing,
            series=self.series,
        )
        await self._serving.enter_async_context(
            GatewayServer(self.socket, create_app(access), self.lease.touch)
        )

    async def close(self) -> None:
        """Stop serving, as a node that went away."""
        await self._serving.aclose()
        await self.answers.close()

    async def come_back(self) -> None:
        """Serve again as a node that was restarted and found the script running."""
        self.answers = Answers()
        self.lease = Lease(self.clock, outputs_reset=True)
        await self.open()

    async def records(self) -> Sequence[Record]:
        """Return what was journaled so far."""
        return [record async for record in records_after(self.journal, self.journal.order, 0)]

    async def start(
        self,
        script: str,
        *,
        python: str = sys.executable,
        packages: Path | None = None,
        stdin: bool = False,
    ) -> asyncio.subprocess.Process:
        """Start a script; it finds nothing of ours but the SDK."""
        path = self.directory / "script.py"
        path.write_text(script)
        paths = [self.sdk, *([packages] if packages else [])]
        more = {}
        if self.steady:
            more = {SOCKET_VARIABLE: str(self.directory / "sleep.sock")}
            site = self.directory / "site"
            site.mkdir(exist_ok=True)
            (site / "sitecustomize.py").write_text(SITE)
            paths.insert(0, site)
        return await asyncio.create_subprocess_exec(
            python,
            "-u",
            "-P",
            str(path),
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": ":".join(str(one) for one in paths),
                "BIOREACTOR_SOCKET": str(self.socket),
                "MPLCONFIGDIR": str(self.directory),
                **more,
            },
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(
        self,
        script: str,
        *,
        python: str = sys.executable,
        packages: Path | None = None,
        seconds: float = 60.0,
    ) -> Ended:
        """Run a script to its end."""
        process = await self.start(script, python=python, packages=packages)
        return await ended(process, seconds)


async def ended(process: asyncio.subprocess.Process, seconds: float = 60.0) -> Ended:
    """Wait for a script; kill it if it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"the script did not end:\n{out.decode()}\n{err.decode()}") from None
    if process.returncode is None:
        raise AssertionError("the script has ended")
    return Ended(process.returncode, out.decode(), err.decode())


async def _nothing() -> None:
    return


async def _forget(_: LogPosition) -> None:
    return


def sdk_only(directory: Path) -> Path:
    """Return a directory that holds the SDK as in the image, and nothing else of ours."""
    package = directory / "sdk" / "bioreactor"
    package.mkdir(parents=True)
    for name, data in sdk_files().items():
        (package / name).write_bytes(data)
    return package.parent


@asynccontextmanager
async def bench(
    directory: Path,
    *,
    speed: float = 1.0,
    parameters: Parameters | None = None,
    seed: int = 1,
    results: int = RunLimits().results,
    steady: bool = False,
) -> AsyncIterator[Bench]:
    """Serve a gateway below `directory` while the block runs.

    `steady`: the reactor's time passes only while the script waits for it.
    """
    moving = SteadyClock(speed) if steady else None
    clock: Clock = moving or RealClock(speed)
    (directory / "gateway").mkdir(parents=True)
    async with AsyncExitStack() as stack:
        journal = Journal.open(directory / "journal")
        stack.callback(journal.close)
        reactor = await stack.enter_async_context(
            simulated_reactor(clock, seed=seed, state_file=None)
        )
        recorder = Recorder(journal, clock)
        recording = asyncio.create_task(recorder.run())

        async def stop_recording() -> None:
            recorder.close()
            await recording

        stack.push_async_callback(stop_recording)
        run_clock = RunClock(clock)
        run_clock.begin()
        saves = Saves(directory, results, lambda: 0)
        await saves.open()
        it = Bench(
            directory,
            sdk_only(directory),
            reactor,
            journal,
            recorder,
            run_clock,
            Lease(run_clock) if moving is None else SteadyLease(run_clock, moving),
            Inbox(parameters or {}, 1, clock.now),
            saves,
            Console(
                KEY,
                LogPosition(),
                2**20,
                clock=run_clock,
                recorder=recorder,
                live=Live(Nobody(), Topics(), "reactor-1"),
                keep=_forget,
            ),
            steady=steady,
        )
        if moving is not None:
            await stack.enter_async_context(sleeping(directory / "sleep.sock", moving))
        await it.open()
        stack.push_async_callback(it.close)
        yield it

"""Experiments in bubblewrap sandboxes: the declared fallback where there is no container engine.

A sandbox dies with this process. What it wrote, its output and how it ended stay in the directory
of the run. Whoever was started and ended with the process is gone: it is neither found nor ever
started again.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from node_service.image.tree import PackageTrees
from node_service.runner import cgroups, volumes
from node_service.runner.interface import (
    Attempt,
    ContainerStatus,
    Exit,
    Found,
    Leftover,
    LogChunk,
    LogCursor,
    NoSuchContainerError,
    Progress,
    ResultsMode,
    RunnerError,
    RunnerInfo,
    RunPaths,
    RunSpec,
)
from node_service.runner.leftovers import leftover_files, runs_in
from node_service.runner.sandbox import Sandbox
from node_service.runner.sandbox_record import (
    Record,
    load,
    open_spool,
    output_file,
    save,
    state_file,
)

_NOTE: Final = (
    "Reduced isolation: without a container engine experiments run under bubblewrap. They share "
    "this machine's programs, can read them, and end when the node's runner ends."
)


_SHORTEST_S: Final = 0.2
"""Over less, a load says more about the reading than about the script."""


@dataclass(slots=True)
class _Running:
    sandbox: Sandbox
    ended: asyncio.Task[Exit]
    processor: tuple[float, int]
    percent: float = 0.0

    def load(self, now: float, processor: int) -> float:
        """Return the load since the previous call, 100 is one core.

        Over a moment it could not be told from the time that reading it takes: then it is the
        load as last measured.
        """
        before, used = self.processor
        if now - before >= _SHORTEST_S:
            self.processor = (now, processor)
            self.percent = max(0.0, (processor - used) / 1e7 / (now - before))
        return self.percent


class BubblewrapRunner:
    """Implements `Runner`.

    Args:
        trees: Makes the packages.
        runs: Directory of the runs, shared with the node.
        instance: Tells this runner's control groups from those of others.
        results: How `/results` is made.
    """

    def __init__(
        self, trees: PackageTrees, runs: Path, instance: str, results: ResultsMode
    ) -> None:
        self._trees = trees
        self._runs = runs
        self._instance = instance
        self._results = results
        self._running: dict[str, _Running] = {}
        self._starting = asyncio.Lock()

    async def close(self) -> None:
        """End all sandboxes: they cannot outlive this process."""
        for running in self._running.values():
            running.sandbox.kill()
        ends = [running.ended for running in self._running.values()]
        await asyncio.gather(*ends, return_exceptions=True)

    async def info(self) -> RunnerInfo:
        """See `Runner.info`; so for the methods below."""
        program = shutil.which("bwrap")
        if program is None:
            raise RunnerError(
                "bubblewrap is not installed", "install it: apt-get install bubblewrap"
            )
        asked = await asyncio.create_subprocess_exec(
            program, "--version", stdout=asyncio.subprocess.PIPE
        )
        version, _ = await asked.communicate()
        return RunnerInfo(
            isolation="bubblewrap",
            note=" ".join([_NOTE, *self._missing()]),
            results_mode=self._results,
            images=self._trees.offered(),
            version=version.decode().strip(),
        )

    async def prepare(self, image: str, progress: Progress) -> str:  # noqa: D102
        return await self._trees.prepare(image, progress)

    async def start(self, spec: RunSpec) -> str:  # noqa: D102
        container_id = _container_id(spec.run)
        paths = RunPaths.of(self._runs, spec.run)
        async with self._starting:
            if container_id in self._running:
                return container_id
            record = await asyncio.to_thread(load, paths)
            if record is not None and record.exit is not None:
                return container_id
            if record is not None:
                raise RunnerError("this attempt was started before and ended with its runner")
            await self._start(spec, paths, container_id)
        return container_id

    async def find(self) -> Sequence[Found]:  # noqa: D102
        return await asyncio.to_thread(self._find)

    async def pause(self, container_id: str) -> None:  # noqa: D102
        running = await self._live(container_id)
        if not running.sandbox.paused:
            running.sandbox.freeze(frozen=True)

    async def resume(self, container_id: str) -> None:  # noqa: D102
        running = await self._live(container_id)
        if running.sandbox.paused:
            running.sandbox.freeze(frozen=False)

    async def stop(self, container_id: str, grace: float) -> None:  # noqa: D102
        running = self._running.get(container_id)
        if running is None:
            await self._record(container_id)
            return
        running.sandbox.terminate()
        await asyncio.wait((running.ended,), timeout=grace)
        await self.kill(container_id)

    async def kill(self, container_id: str) -> None:  # noqa: D102
        running = self._running.get(container_id)
        if running is None:
            await self._record(container_id)
            return
        running.sandbox.kill()
        await asyncio.shield(running.ended)

    async def remove(self, container_id: str) -> None:  # noqa: D102
        if container_id in self._running:
            await self.kill(container_id)
        with suppress(NoSuchContainerError):
            paths = self._paths(container_id)
            for file in (state_file(paths), output_file(paths)):
                await asyncio.to_thread(file.unlink, missing_ok=True)

    async def wait(self, container_id: str) -> Exit:  # noqa: D102
        running = self._running.get(container_id)
        if running is not None:
            return await asyncio.shield(running.ended)
        _, ended = await self._record(container_id)
        return ended

    async def status(self, container_id: str) -> ContainerStatus:  # noqa: D102
        paths = self._paths(container_id)
        used = await asyncio.to_thread(volumes.used, paths)
        running = self._running.get(container_id)
        if running is None:
            record, ended = await self._record(container_id)
            seconds = (ended.finished_at - record.started_at).total_seconds()
            size = (await asyncio.to_thread(open_spool, paths, record.limits)).size
            return ContainerStatus(
                container_id, record.image, "exited", 0.0, 0, record.limits.memory, 0, used, size,
                max(0.0, seconds),
            )  # fmt: skip
        loaded = await asyncio.to_thread(load, paths)
        if loaded is None:
            raise NoSuchContainerError(container_id)
        sandbox, usage, now = running.sandbox, running.sandbox.usage(), time.monotonic()
        return ContainerStatus(
            container_id=container_id,
            image=loaded.image,
            state="paused" if sandbox.paused else "running",
            cpu_percent=running.load(now, usage.processor),
            memory=usage.memory,
            memory_limit=loaded.limits.memory,
            pids=usage.pids,
            results_bytes=used,
            log_bytes=sandbox.spool.size,
            uptime=(datetime.now(UTC) - sandbox.started_at).total_seconds(),
        )

    async def logs(  # noqa: D102
        self, container_id: str, after: LogCursor | None = None
    ) -> AsyncGenerator[LogChunk, None]:
        running = self._running.get(container_id)
        if running is not None:
            spool = running.sandbox.spool
        else:
            record, ended = await self._record(container_id)
            spool = await asyncio.to_thread(open_spool, self._paths(container_id), record.limits)
            await spool.end(ended.finished_at)
        async with aclosing(spool.read(after)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def open_results(self, run: Attempt) -> None:  # noqa: D102
        await asyncio.to_thread(volumes.mount, RunPaths.of(self._runs, run))

    async def discard(self, run: Attempt) -> None:  # noqa: D102
        if _container_id(run) in self._running:
            await self.kill(_container_id(run))
        await asyncio.to_thread(volumes.discard, RunPaths.of(self._runs, run))

    async def leftovers(self, known: Collection[Attempt]) -> Sequence[Leftover]:  # noqa: D102
        sandboxes = [
            Leftover(found.run, "container", found.container_id)
            for found in await self.find()
            if found.run not in known and found.state != "exited"
        ]
        return [*sandboxes, *await asyncio.to_thread(leftover_files, self._runs, known)]

    async def _start(self, spec: RunSpec, paths: RunPaths, container_id: str) -> None:
        tree = await asyncio.to_thread(self._trees.tree, spec.image)
        if self._results == "filesystem":
            await asyncio.to_thread(volumes.create, paths, spec.limits.results)
        spool = await asyncio.to_thread(open_spool, paths, spec.limits)
        cgroup = cgroups.make(f"{self._instance}-{container_id}")
        record = Record(spec.image, spec.limits, datetime.now(UTC))
        await asyncio.to_thread(save, paths, record)  # before: it is started at most once
        try:
            sandbox = await Sandbox.start(
                spec.limits, paths, tree, self._results, cgroup=cgroup, spool=spool
            )
        except RunnerError:
            await asyncio.to_thread(state_file(paths).unlink)
            raise
        ended = asyncio.create_task(
            self._until_ended(sandbox, paths, record, container_id), name="sandbox"
        )
        self._running[container_id] = _Running(sandbox, ended, (time.monotonic(), 0))

    async def _until_ended(
        self, sandbox: Sandbox, paths: RunPaths, record: Record, container_id: str
    ) -> Exit:
        try:
            ended = await sandbox.run()
            whole = replace(record, exit=ended)
            await asyncio.to_thread(save, paths, whole)
        finally:
            del self._running[container_id]
        return ended

    def _find(self) -> Sequence[Found]:
        found = []
        for run in runs_in(self._runs):
            record = load(RunPaths.of(self._runs, run))
            running = self._running.get(_container_id(run))
            if record is None or (record.exit is None and running is None):
                continue
            state: Any = "exited"
            if running is not None:
                state = "paused" if running.sandbox.paused else "running"
            found.append(
                Found(run, _container_id(run), record.image, state, record.started_at, record.exit)
            )
        return found

    async def _live(self, container_id: str) -> _Running:
        running = self._running.get(container_id)
        if running is None:
            await self._record(container_id)
            raise RunnerError("the container is exited, not running", code="WRONG_STATE")
        return running

    async def _record(self, container_id: str) -> tuple[Record, Exit]:
        """Return what is kept of a sandbox that has ended."""
        record = await asyncio.to_thread(load, self._paths(container_id))
        if record is None or record.exit is None:
            raise NoSuchContainerError(container_id)
        return record, record.exit

    def _paths(self, container_id: str) -> RunPaths:
        experiment_id, _, attempt = container_id.partition(".")
        try:
            return RunPaths.of(self._runs, Attempt(experiment_id, int(attempt)))
        except ValueError as error:
            raise NoSuchContainerError(container_id) from error

    def _missing(self) -> Sequence[str]:
        notes = []
        group = cgroups.make(f"{self._instance}-probe")
        held = group.directories if group is not None else {}
        if group is not None:
            group.remove()
        if "memory" not in held:
            notes.append("Memory is limited for each process only, not in all.")
        if "cpu" not in held:
            notes.append("Processor time is not limited.")
        if os.geteuid() != 0:
            notes.append("They run as the node's own user.")
        if self._results == "tmpfs":
            notes.append("Files are kept only if the script saves them with experiment.save.")
        return notes


def _container_id(run: Attempt) -> str:
    return f"{run.experiment_id}.{run.attempt}"

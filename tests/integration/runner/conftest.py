"""A real runner process per test, with an image that holds the SDK and nothing else."""

import asyncio
import os
import textwrap
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ulid import ULID

from node_service.runner.client import RunnerClient
from node_service.runner.interface import (
    Attempt,
    Exit,
    Limits,
    LogChunk,
    LogCursor,
    RunPaths,
    RunSpec,
)
from node_service.runner.process import RunnerProcess, RunnerSettings
from tests.support.waiting import PATIENCE

BASE_IMAGE = os.environ.get("BIOREACTOR_NODE_BASE_IMAGE", "bioreactor-base:debian12")
SMALL = Limits(memory=64 * 1024**2, results=4 * 1024**2, tmp=4 * 1024**2, pids=32)


@dataclass
class Bench:
    """One runner and what a test did with it."""

    settings: RunnerSettings
    process: RunnerProcess
    client: RunnerClient
    runs: list[Attempt] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)

    async def image(self, name: str = "bare") -> str:
        async def note(line: str) -> None:
            self.progress.append(line)

        return await self.client.prepare(name, note)

    def new_run(self, script: str, run: Attempt | None = None) -> RunPaths:
        """Do what a node does before a start."""
        run = run or Attempt(str(ULID()), 1)
        self.runs.append(run)
        paths = RunPaths.of(self.settings.runs, run)
        paths.directory.mkdir(mode=0o700)
        paths.gateway.mkdir(mode=0o755)
        paths.script.write_text(textwrap.dedent(script))
        return paths

    async def start(self, script: str, limits: Limits = SMALL, image: str = "bare") -> str:
        self.new_run(script)
        spec = RunSpec(self.runs[-1], await self.image(image), limits)
        return await self.client.start(spec)

    @property
    def paths(self) -> RunPaths:
        return RunPaths.of(self.settings.runs, self.runs[-1])

    async def finish(self, container_id: str, within: float = PATIENCE) -> tuple[Exit, str]:
        """Wait for the end; return how it ended and all that it wrote."""
        async with asyncio.timeout(within):
            ended = await self.client.wait(container_id)
            return ended, text_of(await self.output(container_id))

    async def run(self, script: str, limits: Limits = SMALL) -> tuple[Exit, str]:
        return await self.finish(await self.start(script, limits))

    async def output(
        self, container_id: str, after: LogCursor | None = None, first: int | None = None
    ) -> Sequence[LogChunk]:
        """Return the output until its end, or the first chunks of it."""
        chunks: list[LogChunk] = []
        async with aclosing(self.client.logs(container_id, after)) as logs:
            async for chunk in logs:
                chunks.append(chunk)
                if len(chunks) == first:
                    break
        return chunks

    async def until_said(self, container_id: str, text: str, within: float = PATIENCE) -> None:
        """Wait until it has written a line."""
        async with asyncio.timeout(within), aclosing(self.client.logs(container_id)) as logs:
            async for chunk in logs:
                if text in chunk.text:
                    return
        raise AssertionError(f"it never said {text!r}")


def text_of(chunks: Sequence[LogChunk]) -> str:
    return "".join(chunk.text + ("" if chunk.partial else "\n") for chunk in chunks)


@pytest.fixture(scope="session")
def bare_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("recipe")
    (directory / "packages.toml").write_text("")
    (directory / "requirements.lock").write_text("")
    return directory


@pytest.fixture(scope="session")
def image_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(
    params=[pytest.param("docker", marks=pytest.mark.engine), pytest.param("bubblewrap")]
)
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, bare_recipe: Path, image_cache: Path
) -> RunnerSettings:
    return RunnerSettings(
        kind=request.param,
        node="test",
        directory=tmp_path / "runner",
        base_image=BASE_IMAGE,
        cache=image_cache,
        images={"bare": bare_recipe},
    )


@pytest.fixture
async def bench(settings: RunnerSettings) -> AsyncIterator[Bench]:
    settings.runs.mkdir(parents=True)  # as a node does that is older than its runner
    process = RunnerProcess(settings)
    running = asyncio.create_task(process.run(), name="runner-process")
    bench = Bench(settings, process, process.client)
    try:
        yield bench
    finally:
        for run in bench.runs:
            await bench.client.discard(run)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def more(**changes: float) -> Limits:
    return replace(SMALL, **changes)  # type: ignore[arg-type]

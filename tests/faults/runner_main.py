"""The runner's own program with bubblewrap, which notes each start of a sandbox in a file.

``python -m tests.faults.runner_main DIRECTORY CACHE RECIPE STARTS``
"""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from node_service.image.tree import PackageTrees
from node_service.runner.bubblewrap import BubblewrapRunner
from node_service.runner.interface import RunPaths, RunSpec
from node_service.runner.server import Server, only_one


class CountingRunner(BubblewrapRunner):
    """Notes what it starts, before it does."""

    starts: int

    async def _start(self, spec: RunSpec, paths: RunPaths, container_id: str) -> None:
        os.write(self.starts, f"{spec.run.experiment_id}.{spec.run.attempt}\n".encode())
        await super()._start(spec, paths, container_id)


async def main(directory: Path, cache: Path, recipe: Path, starts: Path) -> None:
    runs = directory / "runs"
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    runner = CountingRunner(PackageTrees(cache, {"standard": recipe}), runs, "fault", "tmpfs")
    runner.starts = os.open(starts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with only_one(runs, 10.0):
        try:
            await Server(runner).run(directory / "runner.sock")
        finally:
            await runner.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(*map(Path, sys.argv[1:])))

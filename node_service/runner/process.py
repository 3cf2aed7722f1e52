"""The runner's process, started and kept running by the node."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, NoReturn

from broker.children import Child, keep_running
from node_service.runner.client import RunnerClient
from node_service.runner.interface import ResultsMode, RunnerError
from node_service.runner.paths import socket_address

_log = logging.getLogger(__name__)
_REFUSED: Final = 78
_LOOK: Final = 0.02


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """What the runner's process is told at its start.

    Attributes:
        kind: Which runner.
        node: The node's name, for labels on containers.
        directory: The runner's own, 0700; holds its socket and the runs.
        base_image: Of the experiment image.
        cache: Where images are made; None is the user's cache directory.
        runtime: Of the engine, for example ``runsc``; None is its default.
        results: How `/results` is made; None finds out.
        images: Image name → directory of its allow-list; empty is the standard one.
    """

    kind: Literal["docker", "bubblewrap"]
    node: str
    directory: Path
    base_image: str = "python:3.11-slim-bookworm"
    cache: Path | None = None
    runtime: str | None = None
    results: ResultsMode | None = None
    images: Mapping[str, Path] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        """Where the process listens."""
        return self.directory / "runner.sock"

    @property
    def runs(self) -> Path:
        """Directory of the runs; see `RunPaths`."""
        return self.directory / "runs"

    def elsewhere(self, directory: Path) -> "RunnerSettings":
        """Return the same for another directory, with results that need no rights."""
        return replace(self, directory=directory, results="tmpfs")

    def command(self) -> Sequence[str]:
        """Return the command that starts the process."""
        options = {
            "--socket": self.socket,
            "--runs": self.runs,
            "--node": self.node,
            "--kind": self.kind,
            "--base-image": self.base_image,
            "--cache": self.cache,
            "--runtime": self.runtime,
            "--results": self.results,
        }
        given = [f"{name}={value}" for name, value in options.items() if value is not None]
        images = [f"--image={name}={directory}" for name, directory in self.images.items()]
        return [sys.executable, "-m", "node_service.runner", *given, *images]


class RunnerProcess:
    """Starts the runner's process, and again whenever it ends.

    It dies with this process, even if this one is killed; containers stay and are found again.

    Attributes:
        client: Reaches it; calls wait while it starts.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        self._settings = settings
        self._child: Child | None = None
        self.client = RunnerClient(settings.socket)

    @property
    def pid(self) -> int | None:
        """Process id of the runner that was started last."""
        return None if self._child is None else self._child.pid

    async def run(self) -> NoReturn:
        """Keep it running until cancelled, then stop it.

        Raises:
            RunnerError: This machine cannot do what is asked; starting again would not help.
        """
        directory = self._settings.directory
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self._settings.runs.mkdir, mode=0o700, exist_ok=True)
        await keep_running("the runner", self._start, started=self._until_ready)

    def _start(self) -> Child:
        environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}  # its threads need no heaps apart
        self._child = Child.start(
            self._settings.command(),
            env=environment,
            on_line=lambda line: _log.info("runner: %s", line),
        )
        return self._child

    async def _until_ready(self, child: Child) -> None:
        while not await asyncio.to_thread(_answers, self._settings.socket):
            if child.returncode == _REFUSED:
                raise RunnerError("; ".join(list(child.last_lines)[-1:]) or "the runner refused")
            if child.returncode is not None:
                raise ChildProcessError(f"it ended with status {child.returncode}")
            await asyncio.sleep(_LOOK)


class SeparateRunner:
    """A runner that somebody else starts and keeps running, such as a container of its own.

    Attributes:
        client: Reaches it; calls wait while it starts.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        self._settings = settings
        self.client = RunnerClient(settings.socket)

    async def run(self) -> NoReturn:
        """Make the directory of the runs, where the two meet, and wait until cancelled."""
        runs = self._settings.runs
        await asyncio.to_thread(runs.mkdir, mode=0o700, parents=True, exist_ok=True)
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody sets this future")


def _answers(path: Path) -> bool:
    """Say whether somebody listens on the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            with socket_address(path) as address:
                probe.connect(address)
        except OSError:
            return False
    return True

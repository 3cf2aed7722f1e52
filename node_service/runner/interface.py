"""What a runner is: it runs experiments in isolation, and knows nothing else.

`RunnerClient` (in the node's process), `DockerRunner` and `BubblewrapRunner` (in the runner's
process) implement `Runner` alike. Every call may be repeated: after a lost answer the caller asks
again and gets the same outcome. Nothing here imports pydantic, so that the runner's process stays
small.

The runner is told no paths. Node and runner share one directory of runs, given to both at their
start, and `RunPaths` says what lies where for each attempt.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from broker.topics import EXPERIMENT_ID

CONTAINER_UID: Final = 65532
"""User and group of the experiment inside the container, and owner of `/results`."""

GATEWAY_DIRECTORY: Final = "/run/bioreactor"
SCRIPT_PATH: Final = "/experiment/script.py"
RESULTS_PATH: Final = "/results"
MAX_LOG_LINE: Final = 16 * 1024
"""Bytes of output in one chunk; a longer line comes in several."""

Progress = Callable[[str], Awaitable[None]]
State = Literal["created", "running", "paused", "exited"]
ResultsMode = Literal["filesystem", "tmpfs"]


class RunnerError(Exception):
    """The runner could not do what was asked.

    Attributes:
        code: A value of `broker.messages.ErrorCode`.
        hint: One sentence: what to do.
    """

    def __init__(self, message: str, hint: str = "", code: str = "ENGINE") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class NoSuchContainerError(RunnerError):
    """The container does not exist, or not any more."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"there is no container {container_id[:12]}", code="NOT_FOUND")


class RunnerUnavailableError(RunnerError):
    """The runner's process does not answer (raised by the client alone)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, code="UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which run: one attempt of one experiment.

    Raises:
        ValueError: The id is no ULID, or the attempt is not positive; so it is safe in a path.
    """

    experiment_id: str
    attempt: int

    def __post_init__(self) -> None:
        if EXPERIMENT_ID.fullmatch(self.experiment_id) is None or self.attempt < 1:
            raise ValueError(f"{self.experiment_id!r}, {self.attempt!r} names no attempt")


class LimitsOfRun(Protocol):
    """The part of `broker.messages.RunLimits` that a runner enforces."""

    @property
    def memory(self) -> int: ...  # noqa: D102 (see Limits)
    @property
    def cpus(self) -> float: ...  # noqa: D102
    @property
    def pids(self) -> int: ...  # noqa: D102
    @property
    def tmp(self) -> int: ...  # noqa: D102
    @property
    def results(self) -> int: ...  # noqa: D102
    @property
    def log(self) -> int: ...  # noqa: D102
    @property
    def grace(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use; sizes in bytes, times in seconds.

    Attributes:
        memory: Without swap; `/tmp` and shared memory count.
        cpus: Cores, may be a fraction.
        pids: Processes and threads together.
        tmp: Size of `/tmp`.
        results: Size of `/results`.
        log: Size of the output that is kept.
        grace: From the request to stop until the kill.
    """

    memory: int = 512 * 1024**2
    cpus: float = 1.0
    pids: int = 64
    tmp: int = 64 * 1024**2
    results: int = 512 * 1024**2
    log: int = 32 * 1024**2
    grace: float = 10.0

    @classmethod
    def of(cls, limits: LimitsOfRun) -> Self:
        """Take over the limits of an assignment."""
        return cls(
            memory=limits.memory,
            cpus=limits.cpus,
            pids=limits.pids,
            tmp=limits.tmp,
            results=limits.results,
            log=limits.log,
            grace=limits.grace,
        )


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where the files of one attempt lie on the node.

    The node makes `directory` (0700, inside the runs directory), writes `script` (readable by
    everybody), makes `gateway` (0755) and listens there on `socket` (0666) before it calls
    `start`. The runner makes `results`; the node reads it after the end, following no links.
    """

    directory: Path

    @classmethod
    def of(cls, runs: Path, run: Attempt) -> Self:
        """Return the paths of an attempt below the runs directory."""
        return cls(runs / f"{run.experiment_id}.{run.attempt}")

    @property
    def script(self) -> Path:
        """The script, seen by the experiment as `/experiment/script.py`, read-only."""
        return self.directory / "script.py"

    @property
    def gateway(self) -> Path:
        """The directory mounted read-only at `/run/bioreactor`; it outlives the node's socket."""
        return self.directory / "gateway"

    @property
    def socket(self) -> Path:
        """The gateway's socket."""
        return self.gateway / "gateway.sock"

    @property
    def results(self) -> Path:
        """What the experiment sees as `/results`; empty if the results mode is ``tmpfs``."""
        return self.directory / "results"


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What to run.

    Attributes:
        image: The digest that `prepare` returned.
    """

    run: Attempt
    image: str
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class RunnerInfo:
    """What this runner is and can do.

    Attributes:
        isolation: ``docker``, ``docker+runsc``, ``bubblewrap``.
        note: What it cannot do, in sentences for people; empty if nothing is missing.
        results_mode: ``filesystem``: `/results` is a file system of fixed size and outlives the
            run. ``tmpfs``: it is small, in memory, and gone with the run; only what the script
            saves through the gateway is kept.
        images: What scripts may import: image name → import name → distribution.
        version: Of the engine.
    """

    isolation: str
    note: str
    results_mode: ResultsMode
    images: Mapping[str, Mapping[str, str]]
    version: str


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended.

    Attributes:
        exit_code: Of the script; negative is the signal that ended it (a script that itself exits
            with 128 + n looks the same as one ended by signal n).
        signal: Number of that signal, if any.
        oom_killed: The kernel killed it, or a process of it, for using more memory than allowed.
        error: What the engine said if it could not run it, else empty.
        finished_at: In UTC.
    """

    exit_code: int
    signal: int | None
    oom_killed: bool
    error: str
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """A container of this node that exists, whoever started it and when."""

    run: Attempt
    container_id: str
    image: str
    state: State
    started_at: datetime | None
    exit: Exit | None


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What a container uses; the fields of `broker.messages.ContainerStatus`.

    Attributes:
        cpu_percent: Since the previous call, 100 is one core.
        memory: Bytes, without the page cache.
        uptime: Seconds since its start.
    """

    container_id: str
    image: str
    state: State
    cpu_percent: float
    memory: int
    memory_limit: int
    pids: int
    results_bytes: int
    log_bytes: int
    uptime: float


@dataclass(frozen=True, slots=True)
class LogCursor:
    """Up to where the output was read. Keep it with the lines; its parts mean something to
    the runner alone.
    """  # noqa: D205 (one sentence)

    value: str


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A line of output, or a piece of at most `MAX_LOG_LINE` bytes of a longer one.

    Attributes:
        text: Without the line's end; what is no UTF-8 is replaced by U+FFFD.
        partial: The line goes on in the next chunk of this source.
        lost: Output before this chunk was dropped, because more was written than is kept.
        cursor: Read on from here to get everything after this chunk.
    """

    t: datetime
    source: Literal["stdout", "stderr"]
    text: str
    partial: bool
    lost: bool
    cursor: LogCursor


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that an attempt left on this machine.

    Attributes:
        kind: ``container``, ``mount`` (a mounted results file system) or ``directory`` (of the
            run, with everything in it).
        name: Of the thing, for people.
    """

    run: Attempt
    kind: Literal["container", "mount", "directory"]
    name: str


class Runner(Protocol):
    """Runs attempts of experiments in isolation.

    Every method raises `RunnerError`; those that take a container id raise
    `NoSuchContainerError` if it does not exist, unless said otherwise.
    """

    async def info(self) -> RunnerInfo:
        """Say what this runner is and can do."""
        ...

    async def prepare(self, image: str, progress: Progress) -> str:
        """Build the image if it is missing; return its digest.

        Args:
            image: Name in the allow-list file, for example ``standard``.
            progress: Awaited with one line for people at each step.
        """
        ...

    async def start(self, spec: RunSpec) -> str:
        """Start an attempt, or find it if it was ever started; return the container's id.

        An attempt is started at most once: if its container exists it is not run again, even if
        it has ended. A container that was made but never started (a crash in between) is.
        """
        ...

    async def find(self) -> Sequence[Found]:
        """Return all containers of this node."""
        ...

    async def pause(self, container_id: str) -> None:
        """Freeze all its processes; nothing happens if they are frozen."""
        ...

    async def resume(self, container_id: str) -> None:
        """Let them run on; nothing happens if they do."""
        ...

    async def stop(self, container_id: str, grace: float) -> None:
        """Send SIGTERM, after `grace` seconds SIGKILL; return when it has ended.

        A paused one is resumed so that it can end by itself. Nothing happens if it has ended.
        """
        ...

    async def kill(self, container_id: str) -> None:
        """End it now; return when it has ended. Nothing happens if it has."""
        ...

    async def remove(self, container_id: str) -> None:
        """Remove an ended container and its output; kill it first if it runs.

        The results stay until `discard`. Nothing happens if it does not exist.
        """
        ...

    async def wait(self, container_id: str) -> Exit:
        """Return when it has ended; at once if it has."""
        ...

    async def status(self, container_id: str) -> ContainerStatus:
        """Return what it uses."""
        ...

    def logs(
        self, container_id: str, after: LogCursor | None = None
    ) -> AsyncGenerator[LogChunk, None]:
        """Follow its output from the start, or after a cursor, until it has ended.

        A line is given once and none is left out, also across restarts of node and runner.
        Close the iterator (`contextlib.aclosing`) to stop following.
        """
        ...

    async def open_results(self, run: Attempt) -> None:
        """Make the results of an attempt readable again, for example after a reboot.

        Afterwards `RunPaths.results` holds what the attempt had written. Nothing happens if it
        does already, or if there are none.
        """
        ...

    async def discard(self, run: Attempt) -> None:
        """Remove all that an attempt left: container, results, its directory."""
        ...

    async def leftovers(self, known: Collection[Attempt]) -> Sequence[Leftover]:
        """List what attempts other than the known ones left on this machine."""
        ...

"""One experiment in one bubblewrap sandbox."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node_service.image.tree import Tree
from node_service.runner import seccomp
from node_service.runner.cgroups import Cgroup, Usage
from node_service.runner.docker_state import split_exit_code
from node_service.runner.interface import Exit, Limits, ResultsMode, RunnerError, RunPaths
from node_service.runner.sandbox_options import Descriptors, sandbox_command, sandbox_options
from node_service.runner.spool import Lines, Source, Spool

_PIECE: Final = 64 * 1024


class Sandbox:
    """A running sandbox; made by `start`. It dies with the process that made it.

    Attributes:
        paused: Whether it is frozen.
        started_at: In UTC.
        spool: Its output.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, pid: int, cgroup: Cgroup | None, spool: Spool
    ) -> None:
        self._process = process
        self._pid = pid
        self._cgroup = cgroup
        self.spool = spool
        self.paused = False
        self.started_at = datetime.now(UTC)

    @classmethod
    async def start(
        cls,
        limits: Limits,
        paths: RunPaths,
        tree: Tree,
        results: ResultsMode,
        *,
        cgroup: Cgroup | None,
        spool: Spool,
    ) -> "Sandbox":
        """Start it; its limits are in force before the script's first instruction.

        Raises:
            RunnerError: bubblewrap is missing or refused.
        """
        root = os.geteuid() == 0
        block, go = os.pipe()
        told, info = os.pipe()
        inherited = [block, info, seccomp.compiled()]
        try:
            descriptors = Descriptors(seccomp=inherited[2], block=block, info=info)
            options = sandbox_options(limits, paths, tree, results, descriptors, root=root)
            inherited.append(_memory_file(options))
            process = await _spawn(inherited, sandbox_command(root=root))
        except BaseException:
            os.close(go)
            os.close(told)
            raise
        finally:
            for descriptor in inherited:
                os.close(descriptor)
        try:
            pid = await asyncio.to_thread(_sandbox_pid, told)
            _bind(pid, limits, cgroup)
            os.write(go, b"1")
        except (ValueError, KeyError, OSError) as error:
            with suppress(ProcessLookupError):
                process.kill()
            _, said = await process.communicate()
            raise RunnerError(
                f"bubblewrap refused: {said.decode(errors='replace').strip() or error}",
                "see that user namespaces are allowed on this machine, or use a container engine",
            ) from error
        finally:
            os.close(go)
        return cls(process, pid, cgroup, spool)

    async def run(self) -> Exit:
        """Take its output until it ends; return how it ended."""
        process = self._process
        if process.stdout is None or process.stderr is None:
            raise AssertionError("the output is piped")
        try:
            await asyncio.gather(
                self._keep("stdout", process.stdout), self._keep("stderr", process.stderr)
            )
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        finished_at = datetime.now(UTC)
        await self.spool.end(finished_at)
        killed = self._cgroup is not None and self._cgroup.out_of_memory()
        if self._cgroup is not None:
            await asyncio.to_thread(self._cgroup.remove)
        code, number = (status, -status) if status < 0 else split_exit_code(status)
        return Exit(code, number, killed, "", finished_at)

    def freeze(self, *, frozen: bool) -> None:
        """Stop all its processes, or let them go on."""
        if self._cgroup is not None and self._cgroup.can_freeze():
            self._cgroup.freeze(frozen=frozen)
        else:
            _signal_all(self._pid, signal.SIGSTOP if frozen else signal.SIGCONT)
        self.paused = frozen

    def terminate(self) -> None:
        """Ask the script to end; frozen ones are let go."""
        if self.paused:
            self.freeze(frozen=False)
        for pid in _children(self._pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it: with its first process all others end."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        if self.paused:
            self.freeze(frozen=False)

    def usage(self) -> Usage:
        """Return what it uses; zeros if nothing counts it."""
        return Usage(0, 0, 0) if self._cgroup is None else self._cgroup.usage()

    async def _keep(self, source: Source, stream: asyncio.StreamReader) -> None:
        lines = Lines()
        while data := await stream.read(_PIECE):
            await self.spool.write(datetime.now(UTC), source, list(lines.feed(data)))
        await self.spool.write(datetime.now(UTC), source, list(lines.feed(b"", end=True)))


async def _spawn(inherited: Sequence[int], command: Sequence[str]) -> asyncio.subprocess.Process:
    """Start bubblewrap with its arguments in the last descriptor, where nobody inside sees them."""
    try:
        return await asyncio.create_subprocess_exec(
            *("bwrap", "--args", str(inherited[-1]), "--", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=inherited,
            env={"PATH": "/usr/bin:/bin:/usr/local/bin"},
        )
    except FileNotFoundError as error:
        raise RunnerError(
            "bubblewrap is not installed", "install it: apt-get install bubblewrap"
        ) from error


def _memory_file(options: Sequence[str]) -> int:
    descriptor = os.memfd_create("options")
    os.write(descriptor, b"".join(os.fsencode(option) + b"\0" for option in options))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _sandbox_pid(told: int) -> int:
    """Read the process id of the sandbox's first process, as we see it."""
    with os.fdopen(told) as information:
        return int(json.load(information)["child-pid"])


def _bind(pid: int, limits: Limits, cgroup: Cgroup | None) -> None:
    """Put limits on the waiting sandbox; all it starts inherits them."""
    fixed = {resource.RLIMIT_NOFILE: 1024, resource.RLIMIT_CORE: 0, resource.RLIMIT_MEMLOCK: 65536}
    held = cgroup.directories if cgroup is not None else {}
    if "memory" not in held:
        fixed[resource.RLIMIT_DATA] = limits.memory
    if "pids" not in held:
        fixed[resource.RLIMIT_NPROC] = limits.pids
    for kind, value in fixed.items():
        resource.prlimit(pid, kind, (value, value))
    if cgroup is not None:
        cgroup.limit(limits)
        cgroup.add(pid)


def _children(pid: int) -> Sequence[int]:
    with suppress(FileNotFoundError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []


def _signal_all(pid: int, number: signal.Signals) -> None:
    """Send a signal to all below a process, until no new ones appear."""
    reached: set[int] = set()
    while found := _descendants(pid) - reached:
        for child in found:
            with suppress(ProcessLookupError):
                os.kill(child, number)
        reached |= found


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    open_ones = [pid]
    while open_ones:
        children = set(_children(open_ones.pop())) - found
        found |= children
        open_ones.extend(children)
    return found

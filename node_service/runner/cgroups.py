"""Control groups for sandboxes, version 1 and 2, where this process may make them.

A runner that is killed leaves empty groups behind; making one of the same name takes it over.
Everything here blocks for microseconds, `Cgroup.remove` for milliseconds.
"""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node_service.runner.interface import Limits

_ROOT: Final = Path("/sys/fs/cgroup")
_PARENT: Final = "bioreactor"
_GONE_WITHIN: Final = 2.0
_PERIOD: Final = 100_000
_CONTROLLERS: Final = ("memory", "pids", "cpu", "cpuacct", "freezer")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group uses: nanoseconds of processor time, bytes, processes."""

    processor: int
    memory: int
    pids: int


class Cgroup:
    """One group; the directories of its controllers.

    Attributes:
        directories: Controller → directory. With version 2 all are the same one, and ``cgroup`` is
            among them.
        unified: Whether it is version 2.
    """

    def __init__(self, directories: Mapping[str, Path], *, unified: bool) -> None:
        self.directories = directories
        self.unified = unified

    def limit(self, limits: Limits) -> None:
        """Set the limits of what is in it, all together."""
        quota = max(1000, int(limits.cpus * _PERIOD))
        if self.unified:
            self._write("memory", "memory.max", limits.memory)
            self._write("memory", "memory.swap.max", 0)
            self._write("pids", "pids.max", limits.pids)
            self._write("cpu", "cpu.max", f"{quota} {_PERIOD}")
            return
        self._write("memory", "memory.limit_in_bytes", limits.memory)
        self._write("memory", "memory.memsw.limit_in_bytes", limits.memory)
        self._write("pids", "pids.max", limits.pids)
        self._write("cpu", "cpu.cfs_period_us", _PERIOD)
        self._write("cpu", "cpu.cfs_quota_us", quota)

    def add(self, pid: int) -> None:
        """Move a process into it; its later children follow.

        Raises:
            OSError: It is gone.
        """
        for directory in set(self.directories.values()):
            (directory / "cgroup.procs").write_text(str(pid))

    def can_freeze(self) -> bool:
        """Say whether all processes in it can be stopped at once."""
        return self.unified or "freezer" in self.directories

    def freeze(self, *, frozen: bool) -> None:
        """Stop all processes in it, or let them go on."""
        if self.unified:
            directory = next(iter(self.directories.values()))
            (directory / "cgroup.freeze").write_text(str(int(frozen)))
        else:
            self._write("freezer", "freezer.state", "FROZEN" if frozen else "THAWED")

    def usage(self) -> Usage:
        """Return what it uses."""
        if self.unified:
            processor = 1000 * self._table("cpu", "cpu.stat").get("usage_usec", 0)
            memory = self._number("memory", "memory.current")
            cache = self._table("memory", "memory.stat").get("inactive_file", 0)
        else:
            processor = self._number("cpuacct", "cpuacct.usage")
            memory = self._number("memory", "memory.usage_in_bytes")
            cache = self._table("memory", "memory.stat").get("total_inactive_file", 0)
        return Usage(processor, max(0, memory - cache), self._number("pids", "pids.current"))

    def out_of_memory(self) -> bool:
        """Say whether the kernel killed something in it for want of memory."""
        file = "memory.events" if self.unified else "memory.oom_control"
        return self._table("memory", file).get("oom_kill", 0) > 0

    def remove(self) -> None:
        """Remove it; what was killed in it may take some milliseconds to be gone."""
        for directory in set(self.directories.values()):
            _remove(directory, time.monotonic() + _GONE_WITHIN)

    def _write(self, controller: str, file: str, value: object) -> None:
        directory = self.directories.get(controller)
        if directory is not None and (directory / file).exists():
            (directory / file).write_text(str(value))

    def _number(self, controller: str, file: str) -> int:
        directory = self.directories.get(controller)
        if directory is None:
            return 0
        with suppress(FileNotFoundError):
            return int((directory / file).read_text())
        return 0

    def _table(self, controller: str, file: str) -> Mapping[str, int]:
        directory = self.directories.get(controller)
        if directory is None:
            return {}
        with suppress(FileNotFoundError):
            lines = (directory / file).read_text().splitlines()
            return {key: int(value) for key, value in (line.split() for line in lines)}
        return {}


def sweep(prefix: str) -> None:
    """Remove the groups that a runner left when it was killed.

    Args:
        prefix: With which their names begin.
    """
    for parent in (_ROOT / _PARENT, *(_ROOT / name / _PARENT for name in _CONTROLLERS)):
        for directory in parent.glob(f"{prefix}*"):
            _remove(directory, deadline=0)


def make(name: str, root: Path = _ROOT) -> Cgroup | None:
    """Make a group, with whatever controllers this process may use; None if there are none.

    Args:
        name: Of the group.
        root: Where the control groups of this machine are mounted.
    """
    if (root / "cgroup.controllers").exists():
        return _make_unified(name, root)
    directories = {}
    for controller in _CONTROLLERS:
        directory = root / controller / _PARENT / name
        with suppress(OSError):
            if (root / controller / "cgroup.procs").exists():
                directory.mkdir(parents=True, exist_ok=True)
                directories[controller] = directory
    return Cgroup(directories, unified=False) if directories else None


def _make_unified(name: str, root: Path) -> Cgroup | None:
    directory = root / _PARENT / name
    try:
        for above in (root, root / _PARENT):
            above.mkdir(exist_ok=True)
            for controller in ("memory", "pids", "cpu"):
                with suppress(OSError):
                    (above / "cgroup.subtree_control").write_text(f"+{controller}")
        directory.mkdir(exist_ok=True)
    except OSError:
        return None
    if not os.access(directory / "cgroup.procs", os.W_OK):
        return None
    offered = (directory / "cgroup.controllers").read_text().split()
    names = ["cgroup", *(name for name in ("memory", "pids", "cpu") if name in offered)]
    return Cgroup(dict.fromkeys(names, directory), unified=True)


def _remove(directory: Path, deadline: float) -> None:
    while True:
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        else:
            return

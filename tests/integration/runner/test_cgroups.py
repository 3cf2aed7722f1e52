"""Control groups of both versions, as far as this machine has them."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from node_service.runner import cgroups
from node_service.runner.interface import Limits
from tests.support.waiting import eventually

ROOTS = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
CHANGEABLE = [root for root in ROOTS if os.geteuid() == 0 and any(root.glob("*/cgroup.procs"))]


@pytest.mark.parametrize("root", CHANGEABLE, ids=str)
async def test_a_group_holds_freezes_and_goes(root: Path) -> None:
    group = cgroups.make("test-of-groups", root)
    assert group is not None
    busy = await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done")
    try:
        group.limit(Limits(pids=10))
        group.add(busy.pid)
        assert group.can_freeze()
        group.freeze(frozen=True)
        await eventually(lambda: _processor(busy.pid) == _processor(busy.pid, after=0.05))
        group.freeze(frozen=False)
        await eventually(lambda: _processor(busy.pid) != _processor(busy.pid, after=0.05))
        if "pids" in group.directories:
            assert group.usage().pids == 1
        if "memory" in group.directories:
            assert not group.out_of_memory()
            assert group.usage().processor > 0
    finally:
        busy.kill()
        await busy.wait()
        group.remove()
    assert not any(directory.exists() for directory in group.directories.values())


def _processor(pid: int, after: float = 0.0) -> int:
    time.sleep(after)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])

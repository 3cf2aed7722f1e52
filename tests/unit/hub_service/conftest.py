"""A hub's directory for whoever looks at one."""

from dataclasses import replace
from pathlib import Path

import pytest

from hub_service.archive import Archive
from hub_service.queue.events import Submitted
from hub_service.store import QueueStore
from tests.unit.hub_service.archive_entries import (
    CANCELLED,
    EXPERIMENT,
    RESULT,
    SCRIPT,
    SCRIPT_SHA,
    Node,
    chunks,
    experiment,
    log,
    note,
    phase,
    sample,
)
from tests.unit.hub_service.builders import T0, plan, ulid


@pytest.fixture
async def hub(tmp_path: Path) -> Path:
    """A hub's directory after a clean stop: one finished experiment, one that waits."""
    directory = tmp_path / "hub"
    store = QueueStore.open(directory, new_id=lambda: ulid(1, "STR"))
    archive = Archive.open(directory / "archive")
    waiting = replace(plan(1), script_sha256=SCRIPT_SHA)
    submitted = CANCELLED._replace(verb="submit", experiment_id=waiting.experiment_id)
    await note(archive, submitted, script=(SCRIPT_SHA, SCRIPT))
    await store.apply(Submitted(waiting), now=T0)
    node = Node(archive)
    await node.record(phase("executing"), log(1), sample(0.0, {"od": 0.1}), phase("released"))
    await node.save(*chunks("a.txt", RESULT), *chunks("b.txt", b"another"))
    await note(archive, submitted._replace(experiment_id=EXPERIMENT))
    await archive.finish(experiment(1, experiment_id=EXPERIMENT))
    await store.apply(now=T0, cursor=await archive.last_phase())
    archive.close()
    await store.close()
    return directory

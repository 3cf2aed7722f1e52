"""Hub and node are killed before each step that becomes durable or public, both at once.

A first life of each, which nobody kills, tells which steps there are (`Fate`). Then each step is
the end of one life, while people go on submitting, pausing, cancelling and collecting results.
Usually so many steps are taken, by chance but always the same, as the time allows, and of each
kind one before a second of any; `BIOREACTOR_KILLS=all` takes all, a number so many seconds of them.
"""

import asyncio
import json
import os
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.journal import Journal
from broker.messages import Experiment, PhaseRecord, SampleRecord, Status
from node_service.datadir import DataDir
from node_service.tail import records_after
from tests.faults.laboratory import KEPT, LINES, SCRIPTS, Job, Laboratory, Service
from tests.integration.node.conftest import bare_recipe, image_cache

__all__ = ["bare_recipe", "image_cache"]

ASKED = os.environ.get("BIOREACTOR_KILLS", "75")
SECONDS = 3600.0 if ASKED == "all" else float(ASKED)
OF_A_KIND = 3
"""How often a kind of step is taken at most: its first ones in a life."""
SEED = 20260217


@pytest.fixture
def broker_kind() -> str:
    return "mosquitto"


def chosen(noted: Sequence[str]) -> list[str]:
    """Return the steps to die before: the first of each kind, then the second ones, …"""
    by_turn: dict[int, list[str]] = defaultdict(list)
    for one in dict.fromkeys(noted):
        count = int(one.rpartition("#")[2])
        if count <= OF_A_KIND:
            by_turn[count].append(one)
    chance = random.Random(SEED)  # noqa: S311
    for turn in by_turn.values():
        chance.shuffle(turn)
    return [one for _, turn in sorted(by_turn.items()) for one in turn]


@pytest.mark.timeout(SECONDS + 240)
async def test_killed_before_every_step(
    broker: EmbeddedBroker, tmp_path: Path, bare_recipe: Path, image_cache: Path
) -> None:
    async with Laboratory.open(tmp_path, broker, bare_recipe, image_cache) as lab:
        async with lab.life("hub"), lab.life("node"):
            await lab.raise_limit()
            async with asyncio.timeout(60):
                await asyncio.gather(*(lab.do(kind) for kind in [*SCRIPTS][:2]))
                await asyncio.gather(lab.do("paused"), lab.do("cancelled"))
        steps = {s: chosen(lab.notes(s).read_text().splitlines()) for s in ("hub", "node")}
        working = asyncio.create_task(lab.everybody_works(SEED))
        deadline = asyncio.get_running_loop().time() + SECONDS
        died: dict[Service, list[str]] = {"hub": [], "node": []}

        async def die_and_die(service: Service) -> None:
            for at in steps[service]:
                if asyncio.get_running_loop().time() > deadline:
                    break
                if await lab.live_and_die(service, at):
                    died[service].append(at)

        try:
            await asyncio.gather(die_and_die("hub"), die_and_die("node"))
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
        for service, ends in died.items():
            print(f"{service}: {len(ends)} of {len(steps[service])} steps killed it")  # noqa: T201
            print("  " + "\n  ".join(ends))  # noqa: T201

        async with lab.life("hub"), lab.life("node"):
            found = await brought_to_an_end(lab)
        await check(lab, found)
    assert min(map(len, died.values())) >= 3


async def brought_to_an_end(lab: Laboratory) -> dict[str, Experiment]:
    """End what still runs or waits; return all experiments."""
    promised = [job for job in lab.jobs if job.experiment_id]
    async with asyncio.timeout(120):
        for job in lab.jobs:
            if not job.experiment_id:  # nobody heard the answer: asking again is harmless
                kind = job.kind
                job.kind = "cancelled" if kind not in SCRIPTS else kind
                await lab.see_through(job)
            elif job.kind not in SCRIPTS:
                await lab.steer(job, "cancel")
        for job in promised:
            await lab.until(job, lambda _: False)
        return {job.experiment_id: await lab.shown(job) for job in lab.jobs}


async def check(lab: Laboratory, found: dict[str, Experiment]) -> None:
    """Compare everything with what was promised and with what the node wrote down."""
    with closing(Journal.open(DataDir(lab.path / "node").journal)) as journal:
        written = [record async for record in records_after(journal, 1, 0)]
    began = [r for r in written if isinstance(r, PhaseRecord) and r.phase == "executing"]
    ran = {f"{r.experiment_id}.{r.attempt}" for r in began}
    assert max(lab.starts.values()) == 1, "an experiment ran twice"
    assert ran <= set(lab.starts)
    queue = json.loads((lab.path / "hub" / "queue.json").read_bytes())
    assert queue["experiments"] == {}
    with closing(sqlite3.connect(lab.path / "hub" / "archive" / "archive.sqlite")) as archive:
        known = {i for (i,) in archive.execute("SELECT experiment_id FROM finished")}
        assert known == {job.experiment_id for job in lab.jobs}, "lost, or never asked for"
        check_samples(archive, [r for r in written if isinstance(r, SampleRecord)])
        check_order(archive)
        for job in lab.jobs:
            check_job(archive, job, found[job.experiment_id], f"{job.experiment_id}.1" in ran)
    print(Counter((job.kind, found[job.experiment_id].status) for job in lab.jobs))  # noqa: T201


def check_samples(archive: sqlite3.Connection, written: list[SampleRecord]) -> None:
    there = [t for (t,) in archive.execute("SELECT t FROM samples WHERE kind = 0 ORDER BY t")]
    assert there == sorted(round(r.t.timestamp() * 1e6) for r in written)
    assert len(set(there)) == len(there)
    assert archive.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
    assert archive.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)


def check_order(archive: sqlite3.Connection) -> None:
    """Nobody moved anything: accepted in the order in which they came in."""
    accepted = archive.execute(
        "SELECT DISTINCT r.experiment_id FROM phases p JOIN runs r ON r.id = p.run"
        " WHERE json_extract(p.body, '$.phase') = 'accepted' ORDER BY p.seq"
    )
    order = [i for (i,) in accepted]
    assert order == sorted(order)


def check_job(archive: sqlite3.Connection, job: Job, shown: Experiment, ran: bool) -> None:
    lines = archive.execute(
        "SELECT l.text FROM logs l JOIN runs r ON r.id = l.run"
        " WHERE r.experiment_id = ? AND l.source = 0 ORDER BY l.n, l.tie",
        (job.experiment_id,),
    )
    said = [text for (text,) in lines]
    if not ran:  # the container was lost with the node before it began, or it was never asked for
        assert shown.status in {Status.FAILED, Status.CANCELLED}, shown
        assert shown.error is not None
        assert shown.error.code in {"INTERRUPTED", "CANCELLED"}, shown
        assert said == []
        return
    true = Status(job.kind) if job.kind in SCRIPTS and job.kind != "held" else Status.CANCELLED
    assert shown.status is true, shown
    assert shown.gaps == 0
    assert shown.exit_code == {"completed": 0, "failed": 3}.get(job.kind, shown.exit_code)
    if job.kind == "completed":
        assert said == ["begun", *(f"line {i}" for i in range(LINES))]
    elif job.kind == "failed":
        assert said == ["begun"]
    else:  # it may have been cancelled at any moment
        assert said in (["begun", "kept"], ["begun"], [])
    if said and (said[-1] == "kept" or job.kind in {"completed", "failed"}):
        assert [(f.name, f.size) for f in shown.results] == [("kept.bin", len(KEPT))], shown

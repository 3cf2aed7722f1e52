"""Each server of a cluster is killed in turn, while people and their experiments go on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.laboratory import PEOPLE, Laboratory
from tests.faults.promises import check
from tests.integration.node.conftest import bare_recipe, image_cache
from tests.support.cluster import SERVERS, RunningCluster
from tests.support.waiting import eventually

__all__ = ["bare_recipe", "image_cache"]

SEED = 20260217
GOES_ON_S = 240.0
"""On two cores with three busy loops beside it takes 65 s at worst."""
UNREACHED = "Error trying to connect to route"
"""What each server says of one that is dead, each second."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RunningCluster]:
    async with RunningCluster.open(tmp_path / "cluster") as running:
        yield running


@pytest.mark.timeout(900)  # a busy machine elects slowly; nothing here is measured
async def test_any_one_server_may_die(
    cluster: RunningCluster, tmp_path: Path, bare_recipe: Path, image_cache: Path
) -> None:
    async with Laboratory.open(tmp_path, cluster, bare_recipe, image_cache) as lab:
        async with lab.life("hub"), lab.life("node"):
            await lab.raise_limit()
            working = asyncio.create_task(lab.everybody_works(SEED))
            try:
                for name in SERVERS:
                    await goes_on(lab, cluster, working)
                    await cluster.kill(name)
                    await goes_on(lab, cluster, working)  # with the two that are left
                    cluster.start(name)
                    await cluster.until_all_serve()
                lab.late = True
                await working
            finally:
                working.cancel()
            found = {job.experiment_id: await lab.shown(job) for job in lab.jobs}
        await check(lab, found)
        assert all(any(name in line for line in cluster.said) for name in SERVERS)


async def goes_on(lab: Laboratory, cluster: RunningCluster, working: asyncio.Task[None]) -> None:
    """Wait until experiments that begin from now on have come to their ends."""
    begun, ran = len(lab.jobs), sum(lab.starts.values())
    try:
        await eventually(
            lambda: (
                working.done() or (len(lab.jobs) > begun + 1 and sum(lab.starts.values()) > ran)
            ),
            within=GOES_ON_S,
        )
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *await standstill(lab, cluster)])) from None
    if working.done():
        await working
        pytest.fail("people stopped working")


async def standstill(lab: Laboratory, cluster: RunningCluster) -> list[str]:
    """Return what does not go on, and what everybody said last."""
    facts = [f"{sum(lab.starts.values())} runs were started; servers that run: {cluster.running}"]
    for name, link in (("alice", lab.person), ("admin", lab.admin)):
        facts.append(f"{name} is connected: {link.connected}, {link.last_error}")
    for job in lab.jobs[-PEOPLE:]:
        try:
            async with asyncio.timeout(15):
                seen = await lab.shown(job)
        except TimeoutError:
            facts.append(f"of {job} the hub tells nothing")
        else:
            facts.append(f"{job}: {seen.status}, {seen.phase}: {seen.phase_detail}")
    for service, lines in lab.said.items():
        facts += [f"{service}: {line}" for line in lines[-20:]]
    for server in SERVERS:
        of_it = [line for line in cluster.said if line.startswith(server) and UNREACHED not in line]
        facts += of_it[-20:]
    return facts

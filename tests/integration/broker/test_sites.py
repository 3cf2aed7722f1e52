"""Several sites on one cluster: each below its own root, none sees or disturbs another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.access import Principal
from broker.connection import Connection
from broker.messages import ContractError
from broker.topics import Topic
from tests.support.cluster import RunningCluster
from tests.support.inbox import Inbox

SEVEN, EIGHT = "bioreactor/lab-7", "bioreactor/lab-8"
SITES = (
    (SEVEN, (Principal("hub-7", "hub"), Principal("admin-7", "administrator"))),
    (EIGHT, (Principal("hub-8", "hub"), Principal("admin-8", "administrator"))),
)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RunningCluster]:
    async with RunningCluster.open(tmp_path, sites=SITES) as running:
        yield running


async def test_a_site_sees_its_own_root_alone(cluster: RunningCluster) -> None:
    heard: dict[str, Inbox] = {}
    async with AsyncExitStack() as stack:
        links = {}
        for root, roles in SITES:
            for role in roles:
                link = Connection(cluster.settings_for(role.name, root=root), client_id=role.name)
                links[role.name] = await stack.enter_async_context(link)
                if role.role == "administrator":
                    heard[role.name] = Inbox()
                    link.subscribe(link.topics.build(Topic.QUEUE), heard[role.name])
        await asyncio.gather(*(link.wait_connected(60) for link in links.values()))
        for name in ("hub-7", "hub-8"):
            hub = links[name]
            await hub.publish(hub.topics.build(Topic.QUEUE), name.encode(), retain=True)
        # acknowledged and dropped, as every forbidden message
        await links["hub-7"].publish(f"{EIGHT}/queue", b"from the other site")
        await links["hub-8"].publish(links["hub-8"].topics.build(Topic.QUEUE), b"last")
        assert (await heard["admin-7"].wait_for(1))[0].payload == b"hub-7"
        assert [m.payload for m in await heard["admin-8"].wait_for(2)] == [b"hub-8", b"last"]


async def test_another_sites_topics_are_refused(cluster: RunningCluster) -> None:
    link = Connection(cluster.settings_for("admin-7", root=SEVEN, only="n1"), client_id="curious")
    link.subscribe(f"{EIGHT}/queue", Inbox())
    with pytest.raises(ContractError, match="refuses the subscription"):
        await stay(link)


async def stay(link: Connection) -> None:
    async with link:
        await link.wait_connected(60)

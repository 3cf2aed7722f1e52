"""A hub, a node that follows the contract and a portal, in this process, on a broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from tests.support.contract_node import ContractNode
from tests.support.hub import running_hub
from tests.support.portal import portal_on
from tests.support.waiting import eventually


@asynccontextmanager
async def queue_system_on(broker: EmbeddedBroker, path: Path) -> AsyncIterator[str]:
    """Run the system until the block ends; gives the portal's address."""
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub(broker.settings_for("hub"), path / "hub"))
        node = await stack.enter_async_context(
            ContractNode.running(broker.settings_for("reactor-1"), path / "nodes")
        )
        connection = await stack.enter_async_context(
            Connection(broker.settings_for("portal"), client_id="queue-system-portal")
        )
        await connection.wait_connected(10)
        portal = await stack.enter_async_context(portal_on(connection, path / "portal"))
        writing = asyncio.create_task(_write(node))
        stack.callback(writing.cancel)
        await eventually(lambda: hub.store.state.node("reactor-1").known)
        async with portal.client() as client:
            await eventually(lambda: _knows_reactor(client), every=0.05)
        yield portal.url


async def _knows_reactor(client: httpx.AsyncClient) -> bool:
    nodes = (await client.get("/api/nodes")).json()["nodes"]
    return any(node["online"] and (node["report"] or {}).get("accepts") for node in nodes)


async def _write(node: ContractNode) -> None:
    """Have what runs write a line of its log."""
    await eventually(lambda: node.holder is not None and node.phase == "executing", within=60)
    await node.measure()

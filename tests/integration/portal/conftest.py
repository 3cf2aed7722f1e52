"""A portal on a free port of loopback, before a small hub on a real broker."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from broker.embedded import Kind
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import SESSION, Portal, eventually, hub_on, portal_on

EXAMPLE = '"""Growth </script> curve.\n\nWatch it <b>grow</b>."""\nprint("grow")\n'


@pytest.fixture
def broker_kind() -> Kind:
    """Mosquitto, unless a test asks for both."""
    return "mosquitto"


@pytest.fixture
async def hub(connect: Connector) -> AsyncIterator[FakeHub]:
    async with hub_on(await connect("hub")) as fake:
        yield fake


@pytest.fixture
async def portal(connect: Connector, hub: FakeHub, tmp_path: Path) -> AsyncIterator[Portal]:
    connection = await connect("portal")
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "growth.py").write_text(EXAMPLE)
    async with portal_on(
        connection, tmp_path / "portal", stall_seconds=1.0, examples=examples
    ) as running:
        async with running.client() as client:
            await eventually(
                lambda: client.get("/health/ready"), lambda answer: answer.status_code == 200
            )
        yield running


@pytest.fixture
async def client(portal: Portal) -> AsyncIterator[httpx.AsyncClient]:
    """A script with a session of its own."""
    async with portal.client(headers=SESSION) as open_client:
        yield open_client


@pytest.fixture
async def node(connect: Connector) -> FakeNode:
    made = FakeNode(await connect("reactor-1"))
    await made.announce()
    return made

"""A node as a process, with a small image, under a hub that is a plain client."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from tests.support.node import BASE_IMAGE, Hub, Node, remove_containers, write_config


@pytest.fixture(scope="session")
def bare_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of an image that holds the SDK and nothing else."""
    directory = tmp_path_factory.mktemp("recipe")
    (directory / "packages.toml").write_text("")
    (directory / "requirements.lock").write_text("")
    return directory


@pytest.fixture(scope="session")
def image_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def broker_kind() -> str:
    """One broker is enough here: that both carry the contract is tested elsewhere."""
    return "mosquitto"


@pytest.fixture
def node_settings() -> dict[str, str | float | bool]:
    """What a test wants other than usual; parametrize it."""
    return {}


@pytest.fixture
async def node(
    broker: EmbeddedBroker,
    tmp_path: Path,
    bare_recipe: Path,
    image_cache: Path,
    node_settings: dict[str, str | float | bool],
) -> AsyncIterator[Node]:
    """A node that is configured but not started."""
    node = Node(tmp_path / "node.toml", tmp_path / "node")
    usual: dict[str, str | float | bool] = {
        "id": "reactor-1",
        "data_dir": str(node.data),
        "base_image": BASE_IMAGE,
        "cache_dir": str(image_cache),
        "sample_interval": 0.2,
    }
    write_config(
        node.config,
        broker.settings_for("reactor-1"),
        {"bare": bare_recipe},
        **(usual | node_settings),
    )
    try:
        yield node
    finally:
        if node.child is not None and node.child.returncode is None:
            await node.stop()
        await remove_containers(node.data)
        sys.stdout.write("\n".join(node.lines))


@pytest.fixture
async def hub(broker: EmbeddedBroker) -> AsyncIterator[Hub]:
    """A hub that is connected; it desires nothing yet."""
    connection = Connection(broker.settings_for("hub"), client_id="test-hub")
    hub = Hub(connection)
    hub.listen()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(connection)
        await connection.wait_connected(10)
        yield hub


@pytest.fixture
async def running(node: Node, hub: Hub) -> Node:
    """The node, started and ready to accept."""
    node.start()
    await node.until_ready(hub)
    return node

"""The node of the integration tests, to be killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.listening import free_port
from tests.integration.node.conftest import (
    bare_recipe,
    hub,
    image_cache,
    node,
    node_settings,
    running,
)
from tests.support.brokers import ROLES

__all__ = [
    "bare_recipe",
    "broker",
    "hub",
    "image_cache",
    "node",
    "node_settings",
    "running",
]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    """A broker that a test may leave and enter again: it comes back at the same place."""
    broker = EmbeddedBroker(
        tmp_path / "broker", roles=ROLES, kind="mosquitto", port=free_port(), websocket_port=None
    )
    async with broker:
        yield broker

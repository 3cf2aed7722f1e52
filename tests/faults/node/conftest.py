"""The node of the integration tests, to be killed."""

from tests.integration.node.conftest import (
    bare_recipe,
    broker_kind,
    hub,
    image_cache,
    node,
    node_settings,
    running,
)

__all__ = [
    "bare_recipe",
    "broker_kind",
    "hub",
    "image_cache",
    "node",
    "node_settings",
    "running",
]

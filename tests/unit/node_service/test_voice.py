"""What is retained is removed at each server of a cluster, at all of them side by side."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from broker.connection import AckTimeoutError, Connection, NotConnectedError
from node_service.voice import Voice

TOPIC = "bioreactor/nodes/reactor-1/estop/ada"


@dataclass
class Server:
    """A connection to one; it answers when all of them have been asked."""

    together: asyncio.Barrier
    fails: Exception | None = None
    cleared: list[str] = field(default_factory=list)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        assert (payload, qos, retain) == (b"", 1, True)
        async with asyncio.timeout(10):
            await self.together.wait()
        if self.fails is not None:
            raise self.fails
        self.cleared.append(topic)


def cluster(*fails: Exception | None) -> tuple[Voice, list[Server]]:
    together = asyncio.Barrier(len(fails))
    servers = [Server(together, why) for why in fails]
    first, *others = (cast("Connection", server) for server in servers)
    return Voice(first, "reactor-1", others), servers


async def test_a_silent_server_keeps_no_other_from_being_told() -> None:
    voice, servers = cluster(None, AckTimeoutError("silent"), AckTimeoutError("silent"), None)
    await voice.clear(TOPIC)
    assert [server.cleared for server in servers] == [[TOPIC], [], [], [TOPIC]]


async def test_who_is_not_connected_has_cleared_nothing() -> None:
    voice, _ = cluster(NotConnectedError("the broker left"), None)
    with pytest.raises(NotConnectedError):
        await voice.clear(TOPIC)


async def test_a_fault_of_our_own_is_no_silent_server() -> None:
    voice, _ = cluster(None, ValueError("a topic too long"))
    with pytest.raises(ValueError, match="too long"):
        await voice.clear(TOPIC)

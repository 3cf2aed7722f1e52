"""Hears the emergency stop at each server of a cluster, whichever one the node is connected to.

A server may not know what is retained at another, see `Connection.several`; and the node itself
needs half a minute at worst to come from a server that died to the next one. These subscriptions
have QoS 0, of which a server keeps nothing: they are there at once.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from broker.connection import Connection, Handler
from broker.messages import ContractError

HINT: Final = "what is ordered while the node is not connected may be heard late"

logger = logging.getLogger(__name__)


class Ears:
    """One connection to each server.

    Args:
        connections: Not entered yet; none where the broker is one server.
        topic: Of the orders to stop.
    """

    def __init__(self, connections: Sequence[Connection], topic: str) -> None:
        self._connections = connections
        self._topic = topic

    async def run(self, hear: Handler) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for connection in self._connections:
                tasks.create_task(self._listen(connection, hear), name="ear")

    async def _listen(self, connection: Connection, hear: Handler) -> None:
        connection.subscribe(self._topic, hear, qos=0)
        try:
            async with connection:
                await asyncio.get_running_loop().create_future()
        except ContractError as error:
            logger.error("a server does not tell of emergency stops (%s): %s", error, HINT)  # noqa: TRY400

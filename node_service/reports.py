"""What the node says of itself: retained, on change, and each second of a run.

The report is built when it is sent, so that it never tells of a revision whose consequences it
does not show. Channels are told at each connect and when the images' contents change. To a broker
of several servers both are told now and again, too, see `Connection.several`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from broker.connection import Connection
from broker.messages import Channels, NodeReport
from broker.presence import AGAIN_S
from broker.topics import Topic
from node_service.engine import Engine

ACTIVE_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 5.0
GAP_SECONDS: Final = 0.1
"""Between two reports, however much happens."""
LEDGER_ENTRIES: Final = 50

logger = logging.getLogger(__name__)


class Reporter:
    """Publishes report and channels of one node.

    Args:
        report: Builds the report as of now.
        channels: Builds the channels; asked only once the engine is known.
        may_speak: Whether this process speaks for the node.
    """

    def __init__(
        self,
        connection: Connection,
        node: str,
        engine: Engine,
        *,
        report: Callable[[], Awaitable[NodeReport]],
        channels: Callable[[], Channels],
        may_speak: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._report_topic = connection.topics.build(Topic.NODE_REPORT, node=node)
        self._channels_topic = connection.topics.build(Topic.NODE_CHANNELS, node=node)
        self._engine = engine
        self._report = report
        self._channels = channels
        self._may_speak = may_speak
        self._changed = asyncio.Event()
        self._told: NodeReport | None = None
        self._told_channels: Channels | None = None

    def changed(self) -> None:
        """Have a report sent soon."""
        self._changed.set()

    async def connected(self) -> None:
        """Say everything again: brokers forget."""
        self._told = None
        self._told_channels = None
        self._changed.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        await self._engine.known.wait()
        clock = asyncio.get_running_loop().time
        again_at = clock() + AGAIN_S
        while True:
            active = self._told is not None and self._told.activity is not None
            try:
                async with asyncio.timeout(ACTIVE_SECONDS if active else IDLE_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            if self._connection.several and clock() >= again_at:
                self._told = self._told_channels = None
                again_at = clock() + AGAIN_S
            if self._connection.connected and self._may_speak():
                await self._publish()
            await asyncio.sleep(GAP_SECONDS)

    async def _publish(self) -> None:
        try:
            channels = self._channels()
            if channels != self._told_channels:
                await self._connection.publish(self._channels_topic, channels.encode(), retain=True)
                self._told_channels = channels
            report = await self._report()
            if self._told is None or report != self._told.model_copy(update={"at": report.at}):
                await self._connection.publish(self._report_topic, report.encode(), retain=True)
                self._told = report
        except (ConnectionError, TimeoutError) as error:
            logger.debug("the report was not sent: %s", error)
            self._changed.set()

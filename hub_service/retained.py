"""What the hub keeps retained at the broker: the latest of each topic, told again at each connect.

Brokers forget, and connections break in the middle of a burst. So what is wanted is kept here, and
one task makes the broker have it; a newer payload replaces one that still waits. Where the broker
is several servers all is said again in turn, see `Connection.several`.
"""

import asyncio
import logging
from typing import Final

from broker.connection import AckTimeoutError, Connection, Message, NotConnectedError
from broker.messages import ContractError

log = logging.getLogger(__name__)

AT_ONCE: Final = 32
"""Messages on their way to the broker at a time."""
_AGAIN_AFTER: Final = 5.0
REPEAT_S: Final = 10.0
"""How often some of it is said again to several servers, at most `AT_ONCE`."""


class Retained:
    """The retained topics of one owner.

    Args:
        connection: Entered by its owner; whatever is wanted is published whenever it connects.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._wanted: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def put(self, topic: str, payload: bytes) -> None:
        """Have the topic hold this payload; nothing is sent where it does already."""
        if self._wanted.get(topic) != payload:
            self._wanted[topic] = payload
            self._touch(topic)

    def clear(self, topic: str) -> None:
        """Have the topic hold nothing."""
        self._wanted.pop(topic, None)
        self._touch(topic)

    def again(self, topic: str) -> None:
        """Say once more what the topic is to hold, if anything."""
        if topic in self._wanted:
            self._touch(topic)

    def __contains__(self, topic: object) -> bool:
        """Whether the topic is to hold anything."""
        return topic in self._wanted

    async def run(self) -> None:
        """Publish until cancelled."""
        self._connection.on_connect(self._again)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(), name="retained sender")
            if self._connection.several:
                tasks.create_task(self._repeat(), name="retained repeats")

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dirty:
                topics = list(self._dirty)[:AT_ONCE]
                for topic in topics:
                    del self._dirty[topic]
                done = await asyncio.gather(*(self._publish(topic) for topic in topics))
                if not all(done):
                    break
            if not self._dirty:
                self._settled.set()
            elif self._connection.connected:
                await asyncio.sleep(_AGAIN_AFTER)
                self._wake.set()

    async def _repeat(self) -> None:
        place = 0
        while True:
            await asyncio.sleep(REPEAT_S)
            topics = list(self._wanted)
            place = place if place < len(topics) else 0
            for topic in topics[place : place + AT_ONCE]:
                self._touch(topic)
            place += AT_ONCE

    async def settled(self) -> None:
        """Return when the broker has everything."""
        await self._settled.wait()

    async def _again(self) -> None:
        # Those that wait already keep their turn.
        self._dirty |= dict.fromkeys(self._wanted)
        self._settled.clear()
        self._wake.set()

    def _touch(self, topic: str) -> None:
        self._dirty[topic] = None
        self._settled.clear()
        self._wake.set()

    async def _publish(self, topic: str) -> bool:
        payload = self._wanted.get(topic, b"")
        try:
            await self._connection.publish_message(Message(topic, payload, qos=1, retain=True))
        except (NotConnectedError, AckTimeoutError) as error:
            log.debug("%s waits: %s", topic, error)
            self._dirty[topic] = None
            return False
        except ContractError:
            log.exception("%s cannot be published", topic)
        return True

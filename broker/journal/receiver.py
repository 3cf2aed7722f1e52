"""Takes the nodes' journals at the hub, commits them, and acknowledges what was applied."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from pydantic import JsonValue, ValidationError

from broker.connection import Connection, Message
from broker.journal.lane import JournalSink, Lane
from broker.journal.reception import Arrived
from broker.messages import MAX_BATCH_BYTES, Batch
from broker.topics import ANY, Topic

_log = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 8 * 1024**2
"""Batches in memory, encoded; beyond it the broker is held back."""
_MAX_NUMBER: Final = 2**40


class JournalReceiver:
    """Receives all nodes' journals on a connection of its own, with a clean session.

    Args:
        connection: Entered by its owner; used for nothing else.
        sink: Where entries become durable.
        on_committed: Called with node and stream after entries were committed and before they are
            acknowledged: the hub applies phase records to the queue here.
    """

    def __init__(
        self,
        connection: Connection,
        sink: JournalSink,
        on_committed: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._sink = sink
        self._on_committed = on_committed
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._running: set[Lane] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._waiting_bytes = 0
        self._room = asyncio.Condition()

    async def run(self) -> None:
        """Receive until cancelled. Run it once, before or after the connection is entered."""
        topics = self._connection.topics
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            unsubscribe = self._connection.subscribe(
                topics.build(Topic.NODE_JOURNAL, node=ANY, stream=ANY), self._hear
            )
            self._connection.on_connect(self._acknowledge_all)
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None
                unsubscribe()

    async def acknowledge(self, node: str, stream: str) -> None:
        """Tell a node what may be acknowledged now, for example after a late apply."""
        await self._lane(node, stream).acknowledge()

    async def _acknowledge_all(self) -> None:
        for node, stream in await self._sink.streams():
            await self.acknowledge(node, stream)

    async def _hear(self, message: Message) -> None:
        address = self._connection.topics.parse(message.topic)
        tasks = self._tasks
        if address is None or tasks is None or message.retain:
            return
        batch = parse_batch(message.payload)
        if isinstance(batch, str):
            _log.warning("a batch on %s cannot be read: %s", message.topic, batch)
            return
        size = len(message.payload)
        async with self._room:
            await self._room.wait_for(lambda: self._waiting_bytes < MAX_WAITING_BYTES)
        lane = self._lane(address["node"], address["stream"])
        if lane.put(batch, size):
            self._waiting_bytes += size
        if lane not in self._running:
            self._running.add(lane)
            tasks.create_task(lane.run(self._taken), name=f"journal of {address['node']}")

    def _lane(self, node: str, stream: str) -> Lane:
        key = (node, stream)
        if key not in self._lanes:
            self._lanes[key] = Lane(self._connection, self._sink, self._on_committed, node, stream)
        return self._lanes[key]

    async def _taken(self, size: int) -> None:
        self._waiting_bytes -= size
        async with self._room:
            self._room.notify_all()


def parse_batch(payload: bytes) -> Arrived[JsonValue] | str:
    """Return a batch with its entries as plain JSON, or what is wrong with it.

    Only the head is judged here: an entry that makes no sense must not keep back its neighbours.
    """
    if len(payload) > MAX_BATCH_BYTES:
        return f"it has {len(payload)} bytes, at most {MAX_BATCH_BYTES} are allowed"
    try:
        content = orjson.loads(payload)
        entries = content.pop("entries") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            return "it has no list of entries"
        head = Batch.model_validate({**content, "entries": ()})
    except (orjson.JSONDecodeError, ValidationError, KeyError) as error:
        return str(error)
    if max(head.order, head.floor, head.first + len(entries)) >= _MAX_NUMBER:
        return "its numbers are too large"
    return Arrived(head.epoch, head.order, head.floor, head.first, entries)

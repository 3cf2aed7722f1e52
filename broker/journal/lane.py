"""One stream of one node at the hub: batches in, commits and acknowledgements out."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from pydantic import JsonValue

from broker.connection import AckTimeoutError, Connection, NotConnectedError
from broker.journal.reception import Arrived, Commit, acknowledgement, plan
from broker.topics import Topic

_log = logging.getLogger(__name__)

MAX_WAITING: Final = 32
"""Batches that wait; a node sends fewer at once. What exceeds it is dropped and comes again."""
_COMMIT_BYTES: Final = 1024**2


class JournalSink(Protocol):
    """Where entries become durable: the hub's archive."""

    async def streams(self) -> Sequence[tuple[str, str]]:
        """Return node and stream of everything that ever came."""

    async def cursors(self, node: str, stream: str) -> Mapping[str, int]:
        """Return by epoch up to where entries are committed."""

    async def commit(self, node: str, stream: str, commit: Commit[JsonValue]) -> None:
        """Make entries, the gap before them and the new cursor durable together.

        An entry that makes no sense is kept as it came, with what is wrong with it.
        """

    async def applied(self, node: str, stream: str, heard: Sequence[str]) -> Mapping[str, int]:
        """Return by epoch what may be acknowledged, in the order in which the epochs first came.

        Epochs that are neither `heard` nor among the last `MAX_ACK_EPOCHS` may be left out.
        """


class Lane:
    """Commits what arrives on one stream, several batches at once when they wait.

    Args:
        connection: For the acknowledgements.
        sink: Where entries become durable.
        on_committed: See `JournalReceiver`.
        node: Whose journal.
        stream: Which of its streams.
    """

    def __init__(
        self,
        connection: Connection,
        sink: JournalSink,
        on_committed: Callable[[str, str], Awaitable[None]],
        node: str,
        stream: str,
    ) -> None:
        self._connection = connection
        self._sink = sink
        self._on_committed = on_committed
        self._node = node
        self._stream = stream
        self._topic = connection.topics.build(Topic.NODE_JOURNAL_ACK, node=node, stream=stream)
        self._waiting: deque[tuple[Arrived[JsonValue], int]] = deque()
        self._cursors: dict[str, int] | None = None
        self._arrived = asyncio.Event()
        self._acknowledging = asyncio.Lock()

    def put(self, batch: Arrived[JsonValue], size: int) -> bool:
        """Have a batch committed; False if too many wait already."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append((batch, size))
        self._arrived.set()
        return True

    async def run(self, taken: Callable[[int], Awaitable[None]]) -> None:
        """Commit until cancelled.

        Args:
            taken: Called with the encoded size of what no longer waits.
        """
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batches, size = self._take()
                try:
                    await self._commit(batches)
                except Exception:  # noqa: BLE001  the other lanes go on; the node sends it again
                    _log.exception("a batch of %s %s was not taken", self._node, self._stream)
                finally:
                    await taken(size)

    async def acknowledge(self, heard: Sequence[str] = ()) -> None:
        """Tell the node what may be acknowledged now; it hears again after each connect.

        Args:
            heard: Epochs of the batches that came just now.
        """
        async with self._acknowledging:  # an older word must not overtake a newer one
            applied = await self._sink.applied(self._node, self._stream, heard)
            payload = acknowledgement(applied, heard).encode()
            try:
                await self._connection.publish(self._topic, payload, retain=True)
            except (NotConnectedError, AckTimeoutError) as error:
                _log.info("an acknowledgement to %s waits: %s", self._node, error)

    def _take(self) -> tuple[list[Arrived[JsonValue]], int]:
        batches: list[Arrived[JsonValue]] = []
        total = 0
        while self._waiting and total < _COMMIT_BYTES:
            batch, size = self._waiting.popleft()
            batches.append(batch)
            total += size
        return batches, total

    async def _commit(self, batches: Sequence[Arrived[JsonValue]]) -> None:
        if self._cursors is None:
            self._cursors = dict(await self._sink.cursors(self._node, self._stream))
        cursors, self._cursors = self._cursors, None  # asked for again if a commit fails
        for commit in plan(cursors, batches):
            if commit.gap is not None:
                _log.error(
                    "%s lost entries %d to %d of its %s before they arrived here",
                    self._node,
                    *commit.gap,
                    self._stream,
                )
            await self._sink.commit(self._node, self._stream, commit)
            cursors[commit.epoch] = commit.first + len(commit.entries) - 1
        self._cursors = cursors
        try:
            await self._on_committed(self._node, self._stream)
        except Exception:  # noqa: BLE001  what was not applied is not acknowledged
            _log.exception("what %s recorded was not applied", self._node)
        await self.acknowledge([batch.epoch for batch in batches])

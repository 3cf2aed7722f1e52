"""Sends a node's journal to the hub while the hub is there."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from broker.connection import AckTimeoutError, Connection, Message, NotConnectedError
from broker.journal.store import Journal
from broker.journal.tables import Stream
from broker.journal.window import Limit, Want, Window
from broker.messages import MAX_BATCH_BYTES, ContractError, HubStatus, JournalAck, decode
from broker.topics import Topic

_log = logging.getLogger(__name__)

RECORDS_WINDOW: Final = Limit(batches=16, bytes=16 * MAX_BATCH_BYTES)
FILES_WINDOW: Final = Limit(batches=16, bytes=512 * 1024)
_PRUNE_EVERY: Final = 60.0
_LOOK_EVERY: Final = 5.0


class JournalSender:
    """Publishes what the hub has not acknowledged, records before files, older epochs first.

    Args:
        journal: This node's; whoever opened it closes it after `run` has ended.
        connection: This node's connection.
        node: This node's name.
        monotonic: Seconds, for the resend.
    """

    def __init__(
        self,
        journal: Journal,
        connection: Connection,
        node: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._connection = connection
        self._node = node
        self._monotonic = monotonic
        self._windows: dict[Stream, Window] = {
            "records": Window(RECORDS_WINDOW),
            "files": Window(FILES_WINDOW),
        }
        self._hub: str | None = None  # the boot id of the hub that is online
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Send until cancelled."""
        topics = self._connection.topics
        self._journal.on_append(self._wake.set)
        self._connection.on_connect(self._connected)
        self._connection.subscribe(topics.build(Topic.HUB_STATUS), self._hear_hub)
        for stream in self._windows:
            self._connection.subscribe(
                topics.build(Topic.NODE_JOURNAL_ACK, node=self._node, stream=stream),
                self._hear_ack,
            )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(), name="journal sender")
            tasks.create_task(self._prune(), name="journal prune")

    async def _send(self) -> None:
        while True:
            self._wake.clear()
            if self._hub is not None and self._connection.connected and await self._send_one():
                continue
            deadlines = [w.deadline for w in self._windows.values() if w.deadline is not None]
            wait = min(deadlines, default=float("inf")) - self._monotonic()
            try:
                async with asyncio.timeout(max(0.0, min(wait, _LOOK_EVERY))):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _send_one(self) -> bool:
        """Send one batch of the first stream that has any; False if none has."""
        for stream, window in self._windows.items():
            want = window.next(self._journal.pending(stream), self._monotonic())
            if want is None:
                continue
            entries = await self._journal.read(stream, want)
            if not entries and want.first <= want.last:
                continue  # acknowledged and dropped in the meantime
            payload = encode_batch(want, entries)
            # Noted before it is published: the hub may acknowledge before the broker does.
            window.sent(want, want.first + len(entries) - 1, len(payload), self._monotonic())
            topic = self._connection.topics.build(
                Topic.NODE_JOURNAL, node=self._node, stream=stream
            )
            try:
                await self._connection.publish(topic, payload)
            except (NotConnectedError, AckTimeoutError) as error:
                _log.info("the journal waits: %s", error)
                return False
            return True
        return False

    async def _prune(self) -> None:
        while True:
            await self._journal.prune()
            await asyncio.sleep(_PRUNE_EVERY)

    async def _connected(self) -> None:
        self._restart()

    def _restart(self) -> None:
        for window in self._windows.values():
            window.restart()
        self._wake.set()

    async def _hear_hub(self, message: Message) -> None:
        try:
            status = decode(HubStatus, message.payload) if message.payload else None
        except ContractError as error:
            _log.warning("the hub's status cannot be read: %s", error)
            return
        hub = status.boot_id if status is not None and status.state == "online" else None
        if hub is not None and hub != self._hub:
            self._restart()
        self._hub = hub

    async def _hear_ack(self, message: Message) -> None:
        if not message.payload:
            return  # cleared by an administrator: no opinion
        address = self._connection.topics.parse(message.topic)
        stream: Stream = (
            "files" if address is not None and address["stream"] == "files" else "records"
        )
        try:
            ack = decode(JournalAck, message.payload)
        except ContractError as error:
            _log.warning("an acknowledgement of %s cannot be read: %s", stream, error)
            return
        if not await self._journal.acknowledge(stream, ack):
            self._windows[stream].hint(self._monotonic())
        self._wake.set()


def encode_batch(want: Want, entries: Sequence[bytes]) -> bytes:
    """Return a `Batch` made of entries that are encoded already."""
    head = (
        f'{{"epoch":"{want.epoch}","order":{want.order},"floor":{want.floor},'
        f'"first":{want.first},"entries":['
    )
    return head.encode() + b",".join(entries) + b"]}"

"""What the nodes say, taken from the broker to the queue."""

import logging
from collections.abc import Awaitable, Callable

from broker.connection import Connection, Message
from broker.logs import about
from broker.messages import Channels, ContractError, NodeReport, ServiceStatus, decode
from broker.topics import ANY, Topic
from hub_service.queue import Event
from hub_service.queue.events import NodeOffered, NodePresence, NodeReported
from hub_service.queue.state import Offer

log = logging.getLogger(__name__)


class NodeWatch:
    """Reads every node's presence, channels and report.

    What cannot be read, or speaks for another node, is logged and ignored: a node's mistake must
    not reach the queue.

    Args:
        connection: The hub's own, not entered yet.
        learn: Takes what was read; returns when that is durable.
        appeared: Called with the name of a node that says that it is online.
    """

    def __init__(
        self,
        connection: Connection,
        learn: Callable[[Event], Awaitable[object]],
        appeared: Callable[[str], Awaitable[None]],
    ) -> None:
        self._topics = connection.topics
        self._learn = learn
        self._appeared = appeared
        for topic, read in (
            (Topic.NODE_STATUS, _presence),
            (Topic.NODE_CHANNELS, _offer),
            (Topic.NODE_REPORT, _report),
        ):
            connection.subscribe(self._topics.build(topic, node=ANY), self._taking(read))

    def _taking(
        self, read: Callable[[str, bytes], Event | None]
    ) -> Callable[[Message], Awaitable[None]]:
        async def take(message: Message) -> None:
            address = self._topics.parse(message.topic)
            if address is None or not message.payload:
                return
            with about(node=address["node"]):
                await self._take(address["node"], message, read)

        return take

    async def _take(
        self, node: str, message: Message, read: Callable[[str, bytes], Event | None]
    ) -> None:
        try:
            event = read(node, message.payload)
        except ContractError as error:
            log.warning("ignored what stands on %s: %s", message.topic, error)
            return
        if event is None:
            log.warning("ignored what stands on %s: it is of another node", message.topic)
            return
        try:
            await self._learn(event)
        except ContractError as error:
            # A full disk; the node says it again, and the clock asks again.
            log.error("what %s said is not applied: %s", node, error)  # noqa: TRY400
        if isinstance(event, NodePresence) and event.online:
            await self._appeared(event.node)


def _presence(node: str, payload: bytes) -> Event:
    status = decode(ServiceStatus, payload)
    return NodePresence(node, status.boot_id, status.state == "online", status.since)


def _offer(node: str, payload: bytes) -> Event | None:
    channels = decode(Channels, payload)
    if channels.node != node:
        return None
    return NodeOffered(
        node,
        Offer(
            frozenset(channel.name for channel in channels.channels),
            {image: dict(packages) for image, packages in channels.images.items()},
            channels.speed,
        ),
    )


def _report(node: str, payload: bytes) -> Event | None:
    report = decode(NodeReport, payload)
    return NodeReported(node, report) if report.node == node else None

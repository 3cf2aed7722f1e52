"""What is only for eyes: samples and log lines, sent if the broker is there, else forgotten."""

from typing import Protocol

from broker.messages import Console, Payload, Telemetry
from broker.topics import Topic, Topics


class Publisher(Protocol):
    """The part of the connection that is needed here."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        ...

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish; with QoS 0 return at once. Raises `ConnectionError` without a broker."""
        ...


class Screen(Protocol):
    """Where readings and log lines are shown; never waits, never fails."""

    async def telemetry(self, payload: Telemetry) -> None:
        """Show a reading."""
        ...

    async def console(self, payload: Console) -> None:
        """Show log lines."""
        ...


class Live:
    """Shows readings and log lines to whoever looks; never waits, never fails."""

    def __init__(self, publisher: Publisher, topics: Topics, node: str) -> None:
        self._publisher = publisher
        self._telemetry = topics.build(Topic.NODE_TELEMETRY, node=node)
        self._console = topics.build(Topic.NODE_CONSOLE, node=node)

    async def telemetry(self, payload: Telemetry) -> None:
        """Show a reading."""
        await self._show(self._telemetry, payload)

    async def console(self, payload: Console) -> None:
        """Show log lines."""
        await self._show(self._console, payload)

    async def _show(self, topic: str, payload: Payload) -> None:
        if not self._publisher.connected:
            return
        try:
            await self._publisher.publish(topic, payload.encode(), qos=0)
        except ConnectionError:
            return  # the broker left between the question and the call

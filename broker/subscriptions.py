"""Who handles which message: filters, their handlers, and a bounded queue for each.

Messages of one subscription are handled one after another, in order. A message with QoS 1 is
acknowledged when every handler of it has returned, so a slow handler holds the broker back (it
stops at its window of unacknowledged messages) instead of losing anything. What has QoS 0 is for
eyes: where the queue is full, the latest is dropped and counted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from broker.session import Message

log = logging.getLogger(__name__)

Handler = Callable[[Message], Awaitable[None]]

QUEUE_LIMIT: Final = 1000
"""Messages that wait for one handler before those with QoS 0 are dropped."""


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a subscription filter with `+` and `#` covers the topic."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in {"+", levels[index]}:
            return False
    return len(wanted) == len(levels)


class _Delivery:
    """A message on its way to its handlers; acknowledged after the last."""

    __slots__ = ("_acknowledge", "_left", "message")

    def __init__(self, message: Message, left: int, acknowledge: Callable[[], None]) -> None:
        self.message = message
        self._left = left
        self._acknowledge = acknowledge

    def handled(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._acknowledge()


@dataclass(eq=False)
class Subscription:
    """One handler of one filter.

    Attributes:
        dropped: Messages with QoS 0 that came while the queue was full.
    """

    topic_filter: str
    qos: int
    handler: Handler
    dropped: int = 0
    _queue: deque[_Delivery] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    def put(self, delivery: _Delivery) -> None:
        """Queue a message, or drop it if it is only for eyes and the queue is full."""
        if delivery.message.qos == 0 and len(self._queue) >= QUEUE_LIMIT:
            self.dropped += 1
            if self.dropped in {1, 10} or self.dropped % 1000 == 0:
                log.warning(
                    "%s: the handler is too slow, %d live messages dropped so far",
                    self.topic_filter,
                    self.dropped,
                )
            return
        self._queue.append(delivery)
        self._arrived.set()

    def close(self) -> None:
        """Handle nothing more; what waits is acknowledged unhandled."""
        self._closed = True
        self._arrived.set()

    async def run(self) -> None:
        """Handle message after message until closed."""
        while not self._closed:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            delivery = self._queue.popleft()
            try:
                await self.handler(delivery.message)
            except Exception:
                log.exception("handling a message on %s failed", delivery.message.topic)
            delivery.handled()
        while self._queue:
            self._queue.popleft().handled()


class Subscriptions:
    """All subscriptions of a connection."""

    def __init__(self) -> None:
        self._by_filter: dict[str, list[Subscription]] = {}

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Yield each filter once, with the highest QoS that is wanted."""
        for topic_filter, subscriptions in self._by_filter.items():
            yield topic_filter, max(s.qos for s in subscriptions)

    def add(self, subscription: Subscription) -> None:
        """Add a handler; one filter may have several."""
        self._by_filter.setdefault(subscription.topic_filter, []).append(subscription)

    def remove(self, subscription: Subscription) -> bool:
        """Remove a handler and close it; True if it was the last one of its filter."""
        subscription.close()
        others = self._by_filter.get(subscription.topic_filter, [])
        if subscription not in others:
            return False
        others.remove(subscription)
        if others:
            return False
        del self._by_filter[subscription.topic_filter]
        return True

    def deliver(self, message: Message, acknowledge: Callable[[], None]) -> None:
        """Hand the message to everybody whose filter covers it."""
        takers = self._takers(message.topic)
        if not takers:
            acknowledge()
            return
        delivery = _Delivery(message, len(takers), acknowledge)
        for taker in takers:
            taker.put(delivery)

    def _takers(self, topic: str) -> list[Subscription]:
        return [
            subscription
            for topic_filter, subscriptions in self._by_filter.items()
            if topic_filter == topic or matches(topic_filter, topic)
            for subscription in subscriptions
        ]

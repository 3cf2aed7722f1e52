"""Who handles which message: filters, their handlers, and a bounded queue for each.

Messages of one subscription are handled one after another, in order. A message with QoS 1 is
acknowledged when every handler of it has returned, so a slow handler holds the broker back (it
stops at its window of unacknowledged messages) instead of losing anything. A taker says itself when
a message is done with, which may be long after it returned. What has QoS 0 is for eyes: where the
queue is full, the latest is dropped and counted.
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


class Delivery:
    """A message that the broker keeps until it is done with."""

    __slots__ = ("_acknowledge", "message")

    def __init__(self, message: Message, acknowledge: Callable[[], None]) -> None:
        self.message = message
        self._acknowledge: Callable[[], None] | None = acknowledge

    def done(self) -> None:
        """Have it acknowledged; again changes nothing."""
        acknowledge, self._acknowledge = self._acknowledge, None
        if acknowledge is not None:
            acknowledge()


Taker = Callable[[Delivery], Awaitable[None]]


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
    _queue: deque[Delivery] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    def put(self, delivery: Delivery) -> None:
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
        """Handle nothing more; what waits is acknowledged unhandled, unless it is for a taker."""
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
                await self._take(delivery)
            except Exception:
                log.exception("handling a message on %s failed", delivery.message.topic)
                delivery.done()
        while self._queue:
            self._leave(self._queue.popleft())

    async def _take(self, delivery: Delivery) -> None:
        await self.handler(delivery.message)
        delivery.done()

    def _leave(self, delivery: Delivery) -> None:
        delivery.done()


class TakenSubscription(Subscription):
    """One taker of one filter: it says when a message is done with."""

    def __init__(self, topic_filter: str, qos: int, taker: Taker) -> None:
        super().__init__(topic_filter, qos, _nobody)
        self._taker = taker

    async def _take(self, delivery: Delivery) -> None:
        await self._taker(delivery)

    def _leave(self, delivery: Delivery) -> None:
        """Leave it to the next life of the session."""


async def _nobody(_message: Message) -> None:
    raise AssertionError("a taker has no handler")


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
        left = len(takers)

        def done() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                acknowledge()

        for taker in takers:
            taker.put(Delivery(message, acknowledge if len(takers) == 1 else done))

    def _takers(self, topic: str) -> list[Subscription]:
        return [
            subscription
            for topic_filter, subscriptions in self._by_filter.items()
            if topic_filter == topic or matches(topic_filter, topic)
            for subscription in subscriptions
        ]

"""A handler that collects messages and lets a test wait for them."""

import asyncio
from collections.abc import Callable

from broker.connection import Message
from tests.support.waiting import PATIENCE


class Inbox:
    """Give it to `Connection.subscribe`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._news = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        """Take a message."""
        async with self._news:
            self.messages.append(message)
            self._news.notify_all()

    @property
    def payloads(self) -> list[bytes]:
        """The payloads of all messages so far."""
        return [message.payload for message in self.messages]

    async def wait_for(self, count: int, *, within: float = PATIENCE) -> list[Message]:
        """Wait until so many messages have come; return all."""
        await self.wait_until(lambda: len(self.messages) >= count, within=within)
        return self.messages

    async def wait_until(self, done: Callable[[], bool], *, within: float = PATIENCE) -> None:
        """Wait until a condition on the messages holds."""
        try:
            async with asyncio.timeout(within), self._news:
                await self._news.wait_for(done)
        except TimeoutError:
            raise AssertionError(f"not within {within} s; got {self.messages[-5:]}") from None

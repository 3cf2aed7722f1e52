"""How the node speaks to others beside its journal: complaints, cleared topics, built names."""

import asyncio
import logging
from collections.abc import Sequence

from broker.connection import Connection, Message
from broker.incoming import Back
from broker.messages import ContractError, Error, ErrorCode, ErrorReport, Payload, Reply
from broker.topics import Address, Topic

logger = logging.getLogger(__name__)


class Voice:
    """Speaks for one node over its connection.

    Args:
        others: Of the node as well, to each server of a cluster: one that does not know of what is
            retained at another does not remove it there.
    """

    def __init__(
        self, connection: Connection, node: str, others: Sequence[Connection] = ()
    ) -> None:
        self._connection = connection
        self._node = node
        self._others = others

    def topic(self, topic: Topic, **levels: str) -> str:
        """Return a topic of this node."""
        return self._connection.topics.build(topic, node=self._node, **levels)

    def parse(self, message: Message, topic: Topic) -> Address | None:
        """Return what a message's topic says, None if it is not of that kind."""
        address = self._connection.topics.parse(message.topic)
        return address if address is not None and address.topic is topic else None

    async def clear(self, topic: str) -> None:
        """Remove what is retained, at all servers side by side.

        Raises:
            NotConnectedError, TimeoutError: The broker did not acknowledge it.
        """
        told = await asyncio.gather(
            *(
                connection.publish(topic, b"", qos=1, retain=True)
                for connection in (self._connection, *self._others)
            ),
            return_exceptions=True,
        )
        ours, *others = told
        if ours is not None:
            raise ours
        for error in others:
            if error is None:
                continue
            if not isinstance(error, ConnectionError | TimeoutError):
                raise error
            logger.warning("%s may come again from another server: %s", topic, error)

    async def refuse_retained(self, message: Message) -> None:
        """Clear a command that somebody retained: it would come back at every reconnect.

        Raises:
            ContractError: RETAINED_COMMAND, if it was retained.
            NotConnectedError, TimeoutError: The broker did not acknowledge that it is cleared.
        """
        if message.retain:
            await self.clear(message.topic)
            raise ContractError(
                ErrorCode.RETAINED_COMMAND,
                "a command must not be retained: it would be carried out at every reconnect",
                "publish it again without the retain flag",
            )

    async def complain(
        self,
        principal: str,
        topic: str,
        error: Error,
        id_: str | None = None,
        *,
        user: str | None = None,
    ) -> None:
        """Tell a principal what was wrong with its message; lost if the broker is away.

        Args:
            principal: Who sent it.
            topic: That it came on.
            error: What was wrong.
            id_: Of the message.
            user: The person behind it, where the principal is a portal.
        """
        report = ErrorReport(id=id_, user=user, topic=topic, error=error)
        await self._say(self._connection.topics.build(Topic.ERRORS, principal=principal), report)

    async def answer(self, back: Back, reply: Reply) -> None:
        """Reply to who asked for it; lost if the broker is away."""
        if back.client is not None:
            topics = self._connection.topics
            where = topics.build(Topic.REPLY, principal=back.principal, client=back.client)
            await self._say(where, reply)

    async def refuse(self, back: Back, error: Error) -> None:
        """Tell what was wrong: as the reply, where one was asked for, else as a complaint."""
        if back.client is None:
            await self.complain(back.principal, back.topic, error, back.id)
        else:
            await self.answer(back, Reply(id=back.id, error=error))

    async def _say(self, topic: str, payload: Payload) -> None:
        try:
            await self._connection.publish(topic, payload.encode())
        except (ConnectionError, TimeoutError):
            return

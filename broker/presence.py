"""Presence: a service says that it is there, and the broker says so when it no longer is."""

import asyncio
import logging
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from broker.messages import ContractError, ErrorCode, ServiceStatus, decode, utc_now
from broker.session import Message, NotConnectedError

if TYPE_CHECKING:
    from broker.connection import Connection

log = logging.getLogger(__name__)


_HEARD_WITHIN_S: Final = 5.0
AGAIN_S: Final = 30.0
"""How often a status is said once more."""


class NotHeardError(ContractError):
    """The broker takes what this service says of itself, and passes it to nobody."""

    def __init__(self, topic: str, username: str | None) -> None:
        super().__init__(
            ErrorCode.FORBIDDEN,
            f"the broker does not let {username or 'us'} speak on {topic}",
            "give this service the credentials of a principal of its own role: "
            "`bioreactor access list` at the broker shows them",
            topic=topic,
        )


class Presence:
    """Keeps the service's retained status true.

    Make it before the connection is entered (it sets the last will), enter it with the connection:
    ``async with connection, Presence(connection, topic, status):``.

    Publishes `online` at each connect, has the broker publish `offline` when the connection is
    lost, and publishes `offline` at a clean exit. After a partition the old session's last will can
    arrive later than `online`, so whoever reads its own `offline` says `online` again. The servers
    of a cluster may bring the will late to others alone, or `online` to nobody while they elect
    who leads: so `online` is said once more now and again, whatever was heard.

    Brokers acknowledge what they forbid. So a service that never hears its own status has the
    credentials of somebody else: `NotHeardError` then ends the connection.

    Args:
        topic: The status topic of this service.
        status: Version, boot id and whatever else is said; state and time are filled in here.
        again: Seconds after which `online` is said once more.
    """

    def __init__(
        self,
        connection: "Connection",
        topic: str,
        status: ServiceStatus,
        *,
        again: float = AGAIN_S,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._status = status
        self._again = again
        self._since = utc_now()
        self._active = False
        self._said = asyncio.Event()
        self._heard = asyncio.Event()
        connection.set_will(self._will)

    async def tell(self, status: ServiceStatus) -> None:
        """Tell something else of the service from now on; if the broker is away, when it is back.

        The last will is made anew at the next connect: until then it has what was told before.
        """
        self._status = status
        await self.say_online()

    async def say_online(self) -> None:
        """Say once more that the service is there; if the broker is away, it is said later."""
        if self._active and self._connection.connected:
            try:
                await self._connection.publish_message(self._message("online", self._since))
            except (NotConnectedError, TimeoutError) as error:
                log.debug("%s waits: %s", self._topic, error)

    async def __aenter__(self) -> Self:
        """Start telling."""
        self._active = True
        self._connection.on_connect(self._say_online)
        self._connection.on_disconnect(self._said.clear)
        self._tasks = [
            asyncio.create_task(work, name=f"presence {self._topic}")
            for work in (self._listen(), self._repeat())
        ]
        self._unsubscribe = self._connection.subscribe(self._topic, self._read)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say that the service leaves; if the broker is away, it has said so itself."""
        self._active = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._unsubscribe()
        try:
            await self._connection.publish_message(self._message("offline", utc_now()), timeout=2.0)
        except (NotConnectedError, TimeoutError) as error_:
            log.debug("offline was not said: %s", error_)

    def _will(self) -> Message:
        return self._message("offline", utc_now())

    async def _say_online(self) -> None:
        if self._active:
            self._since = utc_now()
            await self._connection.publish_message(self._message("online", self._since))
            self._said.set()

    async def _listen(self) -> None:
        """Wait until the service has heard itself once."""
        while not self._heard.is_set():
            await self._said.wait()
            try:
                async with asyncio.timeout(_HEARD_WITHIN_S):
                    await self._heard.wait()
            except TimeoutError:
                if self._said.is_set():
                    self._connection.fail(NotHeardError(self._topic, self._connection.username))
                    return

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._again)
            await self.say_online()

    async def _read(self, message: Message) -> None:
        try:
            said = decode(type(self._status), message.payload)
        except ContractError:
            log.warning("%s held something else than a status", self._topic)
        else:
            if said.boot_id == self._status.boot_id:
                self._heard.set()
            if said.state == "online":
                return
        if self._active and self._connection.connected:
            log.info("%s was said to be offline, saying online again", self._topic)
            await self._connection.publish_message(self._message("online", self._since))

    def _message(self, state: Literal["online", "offline"], since: datetime) -> Message:
        status = self._status.model_copy(update={"state": state, "since": since})
        return Message(self._topic, status.encode(), qos=1, retain=True)

"""Asks a broker whether it lets somebody in, and whether it keeps people apart at all."""

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Final

from broker.messages import ContractError, ErrorCode
from broker.session import Message, Session, SubscriptionRefusedError
from broker.settings import BrokerSettings
from broker.streams import open_stream

if TYPE_CHECKING:
    from broker.connection import Connection

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 10.0


class OpenBrokerError(ContractError):
    """The broker has no access lists: everybody may speak as everybody."""

    def __init__(self, url: str) -> None:
        super().__init__(
            ErrorCode.FORBIDDEN,
            f"the broker at {url} has no access lists, so anybody may speak as anybody",
            "have it read the files that `bioreactor access` writes (acl_file and password_file of "
            "Mosquitto, authorization.conf of NATS), or set without_access_lists = true in "
            "[broker] where everybody is trusted",
        )


async def enforces_access_lists(settings: BrokerSettings) -> bool:
    """Whether the broker forbids what the contract does not know.

    Publishes to a topic that is in no contract and looks whether it comes back. Each broker answers
    in order, so what has not come when a later request is answered never will.

    Raises:
        OSError: It cannot be reached, refuses the user or does not answer; see `broker.refusals`.
    """
    heard = False

    def deliver(message: Message, _mid: int | None) -> None:
        nonlocal heard
        heard = heard or message.topic == topic

    topic = f"{settings.root}/access-check/{secrets.token_hex(8)}"
    async with asyncio.timeout(_TIMEOUT_S):
        session = Session(
            await open_stream(settings),
            settings,
            client_id=f"access-check-{secrets.token_hex(16)}",
            clean_session=True,
            will=None,
            deliver=deliver,
        )
        try:
            await session.open()
            try:
                await session.subscribe([(topic, 1)])
                await session.publish(Message(topic, b"", qos=1))
                await session.subscribe([(f"{topic}-end", 1)])
            except SubscriptionRefusedError:
                return True
            return not heard
        finally:
            await session.close()


def insist_on_access_lists(connection: "Connection", settings: BrokerSettings) -> None:
    """End a connection with `OpenBrokerError` at a broker where anybody may speak as anybody."""
    sure = settings.without_access_lists

    async def insist() -> None:
        nonlocal sure
        if sure:
            return
        try:
            sure = await enforces_access_lists(settings)
        except OSError as error:
            log.debug("whether there are access lists is asked at the next connect: %s", error)
            return
        if not sure:
            connection.fail(OpenBrokerError(settings.url))

    connection.on_connect(insist)

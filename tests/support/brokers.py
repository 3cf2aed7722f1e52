"""Real brokers for tests: who their users are, and connections that are ready and cleaned up."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final, Literal, Protocol

from broker.access import Principal
from broker.connection import Connection, Message
from broker.settings import BrokerSettings

ROLES: Final = (
    Principal("hub", "hub"),
    Principal("portal", "portal"),
    Principal("admin", "administrator"),
    Principal("alice", "script"),
    Principal("bob", "script"),
    Principal("reactor-1", "node"),
    Principal("reactor-2", "node"),
)
"""The users of the test brokers."""


class Broker(Protocol):
    """A broker, be it one server or several."""

    def settings_for(
        self, principal: str, transport: Literal["tcp", "websockets"] = "tcp"
    ) -> BrokerSettings:
        """Return how the principal connects."""
        ...


def broker_section(settings: BrokerSettings) -> dict[str, str]:
    """Return the settings as a service's file has them below `[broker]`."""
    assert settings.username is not None
    assert settings.password is not None
    files = {"ca_file": settings.ca_file, "cert_file": settings.cert_file}
    files["key_file"] = settings.key_file
    return {
        "url": settings.url,
        "username": settings.username,
        "password": settings.password.get_secret_value(),
        **{key: str(path) for key, path in files.items() if path is not None},
    }


class Connector:
    """Opens connections to a broker; they are connected when returned and closed with the test."""

    def __init__(self, broker: Broker, stack: AsyncExitStack) -> None:
        self._broker = broker
        self._stack = stack
        self._count = 0

    async def __call__(
        self,
        principal: str,
        *,
        transport: Literal["tcp", "websockets"] = "tcp",
        client_id: str | None = None,
        will: Message | None = None,
        clean_session: bool = True,
        prepare: Callable[[Connection], Awaitable[None] | None] | None = None,
    ) -> Connection:
        """Connect as a principal.

        Args:
            client_id: Absent: a fresh one.
            prepare: Called with the connection before it is entered, for example to subscribe.
        """
        self._count += 1
        connection = Connection(
            self._broker.settings_for(principal, transport),
            client_id=client_id or f"test-{principal}-{self._count}",
            will=will,
            clean_session=clean_session,
        )
        if prepare is not None:
            waiting = prepare(connection)
            if waiting is not None:
                await waiting
        await self._stack.enter_async_context(connection)
        await connection.wait_connected(10)
        return connection
